"""Bounding boxes, in the notation of Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from lightning_trackplus.media.images.wandb_format import Labels, Number, labels, mapping, number, tensor, wrong
from lightning_trackplus.runtime.lists import is_list

_GROUPS = 'a dict such as {"predictions": {"box_data": […], "class_labels": {…}}}'
_POSITION = 'a dict with "minX", "maxX", "minY" and "maxY", or with "middle", "width" and "height"'
_BOX_DATA = (
    "a list of dicts, or a tensor of shape (K, 4) with the minX, minY, maxX and maxY of each box in pixels, or (K, 5)"
    " with its class behind them"
)


class Box(NamedTuple):
    """One box.

    Attributes:
        corners: Its left, upper, right and lower edge.
        is_in_pixels: Whether these are pixels; if not, they are fractions of the width and height.
        class_id: Its class.
        caption: A line about it.
        scores: Numbers about it.
    """

    corners: tuple[Number, ...]
    is_in_pixels: bool
    class_id: Number | None
    caption: str | None
    scores: Mapping[str, Number]


class Boxes(NamedTuple):
    """Boxes that belong together, such as all predictions.

    Attributes:
        name: What they are.
        boxes: The boxes, or a tensor with the corners of each in pixels and maybe its class, shape
            ``(K, 4)`` or ``(K, 5)``.
        labels: The names of classes.
    """

    name: str
    boxes: tuple[Box, ...] | Tensor
    labels: Labels

    def each(self) -> Sequence[Box]:
        """Return the boxes; waits for the device of a tensor."""
        if not isinstance(self.boxes, Tensor):
            return self.boxes
        rows = self.boxes.cpu().tolist()
        return [Box(tuple(row[:4]), True, row[4] if len(row) > 4 else None, None, {}) for row in rows]


def boxes_of_image(given: Any, where: str) -> tuple[Boxes, ...]:
    """Return the boxes of one image; of tensors there are copies.

    Raises:
        ValueError: If they are not in the notation.
    """
    groups = mapping(given, where, _GROUPS)
    return tuple(_boxes(str(name), group, f"{where}[{name!r}]") for name, group in groups.items())


def _boxes(name: str, given: Any, where: str) -> Boxes:
    group = mapping(given, where, 'a dict such as {"box_data": […], "class_labels": {…}}')
    data, where_data = group.get("box_data"), f"{where}['box_data']"
    boxes: tuple[Box, ...] | Tensor
    if is_list(data):
        boxes = tuple(_box(one, f"{where_data}[{index}]") for index, one in enumerate(data))
    else:
        boxes = tensor(data, where_data, _BOX_DATA)
        if boxes.is_complex() or boxes.ndim != 2 or boxes.shape[1] not in (4, 5):
            raise wrong(boxes, where_data, _BOX_DATA)
        boxes = boxes.clone()
    return Boxes(name, boxes, labels(group, where))


def _box(given: Any, where: str) -> Box:
    box = mapping(given, where, 'a dict such as {"position": {…}, "class_id": 1}')
    domain, caption, class_id = box.get("domain"), box.get("box_caption"), box.get("class_id")
    if domain not in (None, "pixel"):
        raise wrong(domain, f"{where}['domain']", '"pixel", or leave it out for fractions of the width and height')
    if not isinstance(caption, str | None):
        raise wrong(caption, f"{where}['box_caption']", "a string")
    scores = mapping(box.get("scores") or {}, f"{where}['scores']", "a dict of numbers by name")
    return Box(
        _corners(box.get("position"), f"{where}['position']"),
        domain == "pixel",
        None if class_id is None else number(class_id, f"{where}['class_id']", is_class=True),
        caption,
        {str(name): number(score, f"{where}['scores'][{name!r}]") for name, score in scores.items()},
    )


def _corners(given: Any, where: str) -> tuple[Number, ...]:
    position = mapping(given, where, _POSITION)
    if "middle" not in position:
        return tuple(number(position.get(key), f"{where}[{key!r}]") for key in ("minX", "minY", "maxX", "maxY"))
    middle, where_middle = position["middle"], f"{where}['middle']"
    if not isinstance(middle, Sequence | Tensor | np.ndarray) or len(middle) != 2:
        raise wrong(middle, where_middle, "two numbers, [x, y]")
    x, y = (number(coordinate, f"{where_middle}[{axis}]") for axis, coordinate in enumerate(middle))
    width, height = (number(position.get(key), f"{where}[{key!r}]") for key in ("width", "height"))
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2
