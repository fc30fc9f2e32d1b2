"""Boxes and masks drawn on a picture."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from lightning_trackplus.media.images.annotations import Annotations
from lightning_trackplus.media.images.boxes import Box, Boxes
from lightning_trackplus.media.images.image_files import as_pillow, opaque
from lightning_trackplus.media.images.label_drawing import Colour, LabelDrawing, colour_of_class
from lightning_trackplus.media.images.masks import Mask
from lightning_trackplus.media.images.value_range import Picture
from lightning_trackplus.media.images.wandb_format import Labels

# On a picture of fewer pixels than this, no label could be read; it is enlarged.
_ROOM_FOR_LABELS = 256


def annotated(picture: Picture, annotations: Annotations, name: str) -> Picture:
    """Return a picture with masks and boxes drawn on it, in RGB and before white.

    Masks are half transparent, boxes are lines. Each class has a colour, and in a second group of boxes or
    masks a paler one. A picture of less than 256 pixels is enlarged a whole number of times.
    """
    pixels = np.array(opaque(as_pillow(picture)).convert("RGB"))
    legend = [entry for index, mask in enumerate(annotations.masks) for entry in _tint(pixels, mask, index)]
    scale = max(1, _ROOM_FOR_LABELS // max(pixels.shape[:2]))
    pen = LabelDrawing(PIL.Image.fromarray(pixels.repeat(scale, axis=0).repeat(scale, axis=1)))
    strange = sum(_draw(pen, boxes, index, scale, annotations.boxes) for index, boxes in enumerate(annotations.boxes))
    pen.legend([(_in_group(text, mask.name, annotations.masks), colour) for text, mask, colour in legend])
    if strange:
        warnings.warn(f"Image {name!r}: {strange} boxes have no finite position and are not drawn.", stacklevel=2)
    return np.asarray(pen.picture).transpose(2, 0, 1)


def _tint(pixels: NDArray[np.uint8], mask: Mask, group: int) -> Iterator[tuple[str, Mask, Colour]]:
    """Tint pixels of shape (H, W, 3) in the colours of their classes, and yield an entry of the legend for each.

    The class 0 is the background, which stays as it is, unless it has a name.
    """
    classes, places = np.unique(_stretched(mask, pixels.shape[0], pixels.shape[1]), return_inverse=True)
    is_drawn = np.array([class_id != 0 or 0 in mask.labels for class_id in classes])
    colours = [colour_of_class(int(class_id), group) for class_id in classes]
    places = places.reshape(pixels.shape[:2])
    tinted = is_drawn[places]
    pixels[tinted] = (pixels[tinted] + np.array(colours, np.uint16)[places[tinted]]) // 2
    for class_id, colour in zip(classes[is_drawn], np.array(colours)[is_drawn].tolist(), strict=True):
        yield _class_name(int(class_id), mask.labels), mask, tuple(colour)


def _stretched(mask: Mask, height: int, width: int) -> NDArray[Any]:
    """Return the class of each pixel of an image, whatever the mask's size; a float is cut off, and NaN is class 0."""
    classes = mask.classes.cpu()
    if classes.is_floating_point():
        classes = classes.double().nan_to_num(0, 0, 0).long()
    if classes.shape == (height, width):
        return classes.numpy()
    # Where the middle of each pixel falls.
    rows, columns = (
        (2 * np.arange(pixels) + 1) * cells // (2 * pixels)
        for pixels, cells in zip((height, width), classes.shape, strict=True)
    )
    return classes.numpy()[rows[:, None], columns]


def _draw(pen: LabelDrawing, boxes: Boxes, index: int, scale: int, groups: Sequence[Boxes]) -> int:
    """Draw the boxes of a group, and return how many could not be drawn."""
    strange = 0
    for box in boxes.each():
        edges = _edges(box, pen.picture.size, scale)
        class_id = None if box.class_id is None else int(box.class_id)
        if edges is None:
            strange += 1
            continue
        text = _in_group(_label(box, class_id, boxes.labels), boxes.name, groups)
        pen.box(edges, text, colour_of_class(class_id or 0, index))
    return strange


def _edges(box: Box, size: tuple[int, int], scale: int) -> tuple[int, int, int, int] | None:
    """Return the left, upper, right and lower edge on the picture; None if they are not finite."""
    corners = [float(corner) for corner in box.corners]
    if not all(map(math.isfinite, corners)):
        return None
    factors = (scale, scale) if box.is_in_pixels else size
    x, y = (
        sorted(min(max(corner * factor, 0), most - 1) for corner in ends)
        for ends, factor, most in zip((corners[::2], corners[1::2]), factors, size, strict=True)
    )
    return round(x[0]), round(y[0]), round(x[1]), round(y[1])


def _label(box: Box, class_id: int | None, labels: Labels) -> str:
    name = "" if class_id is None else _class_name(class_id, labels)
    caption = box.caption or ""
    # Captions written for W&B, which shows them alone, often say the class themselves.
    parts = [caption] if name in caption else [name, caption]
    scores = [f"{score}={float(value):.3g}" for score, value in box.scores.items()]
    return " ".join(part for part in (*parts, *scores) if part)


def _class_name(class_id: int, labels: Labels) -> str:
    return labels.get(class_id, f"class_{class_id}")


def _in_group(text: str, name: str, groups: Sequence[Boxes] | Sequence[Mask]) -> str:
    """Return a label that says its group where there are several."""
    return f"{name}: {text}" if len(groups) > 1 else text
