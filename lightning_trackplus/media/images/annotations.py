"""Boxes and masks to be drawn on images, checked in the notation of Weights & Biases.

What is wrong raises a ValueError that names the key.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import PIL.Image
from torch import Tensor

from lightning_trackplus.media.tensors import as_tensor, snapshot_tensor
from lightning_trackplus.runtime.lists import is_list
from lightning_trackplus.runtime.names import a_type

Number: TypeAlias = "float | Tensor"
"""A number, or a tensor of one number, on any device."""

Labels: TypeAlias = Mapping[int, str]
"""The names of classes."""

Notation: TypeAlias = "Mapping[str, Any] | Sequence[Mapping[str, Any] | None] | None"
"""A dict for the only image, or a list with one for each."""

_BOX_GROUPS = 'a dict such as {"predictions": {"box_data": […], "class_labels": {…}}}'
_POSITION = 'a dict with "minX", "maxX", "minY" and "maxY", or with "middle", "width" and "height"'
_BOX_DATA = (
    "a list of dicts, or a tensor of shape (K, 4) with the minX, minY, maxX and maxY of each box in pixels, or (K, 5)"
    " with its class behind them"
)
_MASK_GROUPS = 'a dict such as {"predictions": {"mask_data": …, "class_labels": {…}}}'


class Box(NamedTuple):
    """One box.

    Attributes:
        corners: Its left, upper, right and lower edge.
        is_in_pixels: Whether the corners are pixels and not fractions of width and height.
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
    """A group of boxes, such as all predictions.

    Attributes:
        name: The name of the group.
        boxes: The boxes, or a tensor with the corners of each in pixels and maybe its class, shape
            ``(K, 4)`` or ``(K, 5)``.
        labels: The names of classes.
    """

    name: str
    boxes: tuple[Box, ...] | Tensor
    labels: Labels

    def each(self) -> Sequence[Box]:
        """Return the boxes, after waiting for the device of a tensor."""
        if not isinstance(self.boxes, Tensor):
            return self.boxes
        rows = self.boxes.cpu().tolist()
        return [Box(tuple(row[:4]), True, row[4] if len(row) > 4 else None, None, {}) for row in rows]


class Mask(NamedTuple):
    """The class of each pixel.

    Attributes:
        name: The name of the mask, such as "predictions".
        classes: Numbers or bools, shape ``(H, W)``; as large as the image, or stretched over it.
        labels: The names of classes.
    """

    name: str
    classes: Tensor
    labels: Labels


class Annotations(NamedTuple):
    """What is drawn on one image.

    Attributes:
        boxes: The boxes.
        masks: The masks.
    """

    boxes: tuple[Boxes, ...] = ()
    masks: tuple[Mask, ...] = ()

    @property
    def nbytes(self) -> int:
        """Memory that the masks hold, in bytes."""
        return sum(mask.classes.nbytes for mask in self.masks)

    def snapshot(self) -> Annotations:
        """Return a copy, without waiting for a device."""
        return self._replace(masks=tuple(mask._replace(classes=snapshot_tensor(mask.classes)) for mask in self.masks))


def annotations_of(boxes: Notation, masks: Notation, count: int) -> list[Annotations]:
    """Return the boxes and masks of each image."""
    return [
        Annotations(_boxes_of_image(*boxes_given), _masks_of_image(*masks_given))
        for boxes_given, masks_given in zip(
            _one_each(boxes, "boxes", count), _one_each(masks, "masks", count), strict=True
        )
    ]


def _one_each(given: Notation, key: str, count: int) -> list[tuple[Any, str]]:
    """Return the notation for each image, with its name in messages."""
    if given is None:
        return [({}, key)] * count
    if isinstance(given, Mapping) and count == 1:
        return [(given, key)]
    if not is_list(given) or len(given) != count:
        number = len(given) if is_list(given) else a_type(given)
        raise ValueError(
            f"Image got {count} item{'s' if count > 1 else ''} and {number} as {key}; expected a list with a dict or"
            " None for each item."
        )
    return [({} if one is None else one, f"{key}[{index}]") for index, one in enumerate(given)]


def _boxes_of_image(given: Any, where: str) -> tuple[Boxes, ...]:
    """Return the boxes of one image; tensors are copied."""
    groups = _mapping(given, where, _BOX_GROUPS)
    return tuple(_boxes(str(name), group, f"{where}[{name!r}]") for name, group in groups.items())


def _boxes(name: str, given: Any, where: str) -> Boxes:
    group = _mapping(given, where, 'a dict such as {"box_data": […], "class_labels": {…}}')
    data, where_data = group.get("box_data"), f"{where}['box_data']"
    boxes: tuple[Box, ...] | Tensor
    if is_list(data):
        boxes = tuple(_box(one, f"{where_data}[{index}]") for index, one in enumerate(data))
    else:
        boxes = _tensor(data, where_data, _BOX_DATA)
        if boxes.is_complex() or boxes.ndim != 2 or boxes.shape[1] not in (4, 5):
            raise _wrong(boxes, where_data, _BOX_DATA)
        boxes = boxes.clone()
    return Boxes(name, boxes, _labels(group, where))


def _box(given: Any, where: str) -> Box:
    box = _mapping(given, where, 'a dict such as {"position": {…}, "class_id": 1}')
    domain, caption, class_id = box.get("domain"), box.get("box_caption"), box.get("class_id")
    if domain not in (None, "pixel"):
        raise _wrong(domain, f"{where}['domain']", '"pixel", or leave it out for fractions of the width and height')
    if not isinstance(caption, str | None):
        raise _wrong(caption, f"{where}['box_caption']", "a string")
    scores = _mapping(box.get("scores") or {}, f"{where}['scores']", "a dict of numbers by name")
    return Box(
        _corners(box.get("position"), f"{where}['position']"),
        domain == "pixel",
        None if class_id is None else _number(class_id, f"{where}['class_id']", is_class=True),
        caption,
        {str(name): _number(score, f"{where}['scores'][{name!r}]") for name, score in scores.items()},
    )


def _corners(given: Any, where: str) -> tuple[Number, ...]:
    position = _mapping(given, where, _POSITION)
    if "middle" not in position:
        return tuple(_number(position.get(key), f"{where}[{key!r}]") for key in ("minX", "minY", "maxX", "maxY"))
    middle, where_middle = position["middle"], f"{where}['middle']"
    if not isinstance(middle, Sequence | Tensor | np.ndarray) or len(middle) != 2:
        raise _wrong(middle, where_middle, "two numbers, [x, y]")
    x, y = (_number(coordinate, f"{where_middle}[{axis}]") for axis, coordinate in enumerate(middle))
    width, height = (_number(position.get(key), f"{where}[{key!r}]") for key in ("width", "height"))
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _masks_of_image(given: Any, where: str) -> tuple[Mask, ...]:
    """Return the masks of one image; files are read."""
    groups = _mapping(given, where, _MASK_GROUPS)
    return tuple(_mask(str(name), group, f"{where}[{name!r}]") for name, group in groups.items())


def _mask(name: str, given: Any, where: str) -> Mask:
    mask = _mapping(given, where, 'a dict such as {"mask_data": …, "class_labels": {…}}')
    key = "path" if "path" in mask else "mask_data"
    where_data, wanted = f"{where}[{key!r}]", "the class of each pixel, shape (H, W)"
    data = _read(mask["path"], where_data) if key == "path" else mask.get(key)
    classes = _tensor(data, where_data, wanted)
    if classes.is_complex() or classes.ndim != 2 or not classes.numel():
        raise _wrong(classes, where_data, wanted)
    return Mask(name, classes, _labels(mask, where))


def _read(path: Any, where: str) -> np.ndarray[Any, Any]:
    if not isinstance(path, str | os.PathLike):
        raise _wrong(path, where, "the path of an image file")
    with PIL.Image.open(Path(path)) as opened:
        return np.array(opened)


def _mapping(given: Any, where: str, wanted: str) -> Mapping[Any, Any]:
    if not isinstance(given, Mapping):
        raise _wrong(given, where, wanted)
    return given


def _number(given: Any, where: str, *, is_class: bool = False) -> Number:
    """Return a number; a tensor is copied on its device."""
    if isinstance(given, np.ndarray) and given.size == 1:
        given = given.item()
    if isinstance(given, Tensor) and given.numel() == 1 and not (is_class and given.is_floating_point()):
        return given.detach().reshape(()).clone()
    if is_class:
        if not isinstance(given, Integral):
            raise _wrong(given, where, "an integer")
        return int(given)
    if not isinstance(given, Real):
        raise _wrong(given, where, "a number")
    return float(given)


def _tensor(given: Any, where: str, wanted: str) -> Tensor:
    if isinstance(given, Tensor):
        return given.detach()
    if isinstance(given, np.ndarray) and given.dtype.kind in "biuf":
        return as_tensor(given)
    raise _wrong(given, where, wanted)


def _labels(group: Mapping[str, Any], where: str) -> Labels:
    """Return the names of classes by their ids."""
    where = f"{where}['class_labels']"
    wanted = 'a dict of class ids to names, such as {0: "road", 1: "car"}'
    names = _mapping(group.get("class_labels") or {}, where, wanted)
    for class_id, name in names.items():
        if not isinstance(class_id, Real) or not isinstance(name, str):
            raise _wrong(f"{class_id!r}: {name!r}", where, wanted)
    return {int(class_id): name for class_id, name in names.items()}


def _wrong(given: Any, where: str, wanted: str) -> ValueError:
    """Return the error about a value that is not in the notation."""
    described = a_type(given)
    if given is None:
        described = "nothing"
    elif isinstance(given, Tensor | np.ndarray):
        described = f"{str(given.dtype).removeprefix('torch.')} of shape {tuple(given.shape)}"
    elif isinstance(given, str | Real):
        described = repr(given)
    return ValueError(f"Image got {described} as {where}; expected {wanted}.")
