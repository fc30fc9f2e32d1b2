"""Boxes and masks drawn on a picture, and pictures arranged in a grid."""

from __future__ import annotations

import colorsys
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
from numpy.typing import NDArray

from lightning_trackplus.media.images.annotations import Annotations, Box, Boxes, Labels, Mask
from lightning_trackplus.media.images.file_formats import as_pillow, opaque
from lightning_trackplus.media.images.lettering import Colour, contrasting, height_of_line, width_of, write
from lightning_trackplus.media.images.value_range import Picture

# A smaller picture is enlarged, since labels could not be read on it.
_ROOM_FOR_LABELS = 256
_GOLDEN_RATIO = 0.618034
# The first group is vivid, the second pale, the third dark.
_SATURATION_AND_VALUE = ((0.85, 1.0), (0.4, 1.0), (0.85, 0.6))
_GAP = 2


def annotated(picture: Picture, annotations: Annotations, name: str) -> Picture:
    """Return a picture with masks and boxes drawn on it, in RGB on white.

    Masks are half transparent, boxes are outlines. Each class has a colour, and in a second group of boxes or masks a
    paler one. A picture of less than 256 pixels is enlarged by a whole factor.
    """
    pixels = np.array(opaque(as_pillow(picture)).convert("RGB"))
    legend = [entry for index, mask in enumerate(annotations.masks) for entry in _tint(pixels, mask, index)]
    scale = max(1, _ROOM_FOR_LABELS // max(pixels.shape[:2]))
    drawing = LabelDrawing(PIL.Image.fromarray(pixels.repeat(scale, axis=0).repeat(scale, axis=1)))
    strange = sum(
        _draw(drawing, boxes, index, scale, annotations.boxes) for index, boxes in enumerate(annotations.boxes)
    )
    drawing.legend([(_in_group(text, mask.name, annotations.masks), colour) for text, mask, colour in legend])
    if strange:
        warnings.warn(f"Image {name!r}: {strange} boxes have no finite position and are not drawn.", stacklevel=2)
    return np.asarray(drawing.picture).transpose(2, 0, 1)


def colour_of_class(class_id: int, group: int = 0) -> Colour:
    """Return the colour of a class; consecutive hues are a golden section apart.

    Examples:
        >>> colour_of_class(0)
        (255, 38, 38)
    """
    saturation, value = _SATURATION_AND_VALUE[group % len(_SATURATION_AND_VALUE)]
    red, green, blue = colorsys.hsv_to_rgb(class_id * _GOLDEN_RATIO % 1, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


class LabelDrawing:
    """Draws boxes and labels on a picture, with lines and letters that fit its size."""

    def __init__(self, picture: PIL.Image.Image) -> None:
        self.picture = picture
        self._draw = PIL.ImageDraw.Draw(picture)
        self._letters = max(10, max(picture.size) // 80)
        self._line = max(2, max(picture.size) // 400)
        self._height = height_of_line(self._letters) + 2

    def box(self, edges: tuple[int, int, int, int], text: str, colour: Colour) -> None:
        """Draw a box, with its label above it, or inside if there is no room above."""
        self._draw.rectangle(edges, outline=colour, width=self._line)
        if text:
            left, top = edges[:2]
            self._label(left, top - self._height if top >= self._height else top, text, colour)

    def legend(self, entries: Sequence[tuple[str, Colour]]) -> None:
        """Draw labels in the lower left corner, one below the other."""
        for row, (text, colour) in enumerate(reversed(entries), start=1):
            self._label(0, self.picture.height - row * self._height, text, colour)

    def _label(self, left: int, top: int, text: str, colour: Colour) -> None:
        width = width_of(text, self._letters) + 4
        left = max(0, min(left, self.picture.width - width))
        self._draw.rectangle((left, top, left + width - 1, top + self._height - 1), fill=colour)
        write(self.picture, (left + 2, top + 1), text, colour=contrasting(*colour), size=self._letters)


def _tint(pixels: NDArray[np.uint8], mask: Mask, group: int) -> Iterator[tuple[str, Mask, Colour]]:
    """Tint pixels of shape (H, W, 3) in the colours of their classes, and yield a legend entry for each class.

    Class 0 is the background, which is not tinted unless it has a name.
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
    """Return the class of each pixel of an image, with the mask stretched; floats are truncated, NaN is class 0."""
    classes = mask.classes.cpu()
    if classes.is_floating_point():
        classes = classes.double().nan_to_num(0, 0, 0).long()
    if classes.shape == (height, width):
        return classes.numpy()
    # The row and column of the mask at the middle of each pixel.
    rows, columns = (
        (2 * np.arange(pixels) + 1) * cells // (2 * pixels)
        for pixels, cells in zip((height, width), classes.shape, strict=True)
    )
    return classes.numpy()[rows[:, None], columns]


def _draw(drawing: LabelDrawing, boxes: Boxes, index: int, scale: int, groups: Sequence[Boxes]) -> int:
    """Draw the boxes of a group and return how many could not be drawn."""
    strange = 0
    for box in boxes.each():
        edges = _edges(box, drawing.picture.size, scale)
        class_id = None if box.class_id is None else int(box.class_id)
        if edges is None:
            strange += 1
            continue
        text = _in_group(_label(box, class_id, boxes.labels), boxes.name, groups)
        drawing.box(edges, text, colour_of_class(class_id or 0, index))
    return strange


def _edges(box: Box, size: tuple[int, int], scale: int) -> tuple[int, int, int, int] | None:
    """Return the left, upper, right and lower edge on the picture, or None if one is not finite."""
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
    # Captions written for W&B, which shows only them, often contain the class.
    parts = [caption] if name in caption else [name, caption]
    scores = [f"{score}={float(value):.3g}" for score, value in box.scores.items()]
    return " ".join(part for part in (*parts, *scores) if part)


def _class_name(class_id: int, labels: Labels) -> str:
    return labels.get(class_id, f"class_{class_id}")


def _in_group(text: str, name: str, groups: Sequence[Boxes] | Sequence[Mask]) -> str:
    """Return a label, with the name of its group if there are several."""
    return f"{name}: {text}" if len(groups) > 1 else text


def grid_size(sizes: Iterable[tuple[int, int]], count: int, columns: int) -> tuple[int, int]:
    """Return the height and width of the picture that `arranged` makes."""
    height, width = map(max, zip(*sizes, strict=True))
    columns = min(columns, count)
    rows = -(-count // columns)
    return rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP


def arranged(pictures: Sequence[Picture], columns: int) -> Picture:
    """Return pictures in a grid, each centered in its cell.

    Cells are as large as the largest picture, with gaps of 2 pixels. Empty parts are black, and transparent if a
    picture has an alpha channel.
    """
    channels, height, width = map(max, zip(*(picture.shape for picture in pictures), strict=True))
    canvas = np.zeros((channels, *grid_size([(height, width)], len(pictures), columns)), np.uint8)
    for index, picture in enumerate(pictures):
        row, column = divmod(index, min(columns, len(pictures)))
        top = row * (height + _GAP) + (height - picture.shape[1]) // 2
        left = column * (width + _GAP) + (width - picture.shape[2]) // 2
        cell = canvas[:, top : top + picture.shape[1], left : left + picture.shape[2]]
        # A grey picture is broadcast over the colours.
        cell[:3] = picture[:3]
        if channels == 4:
            cell[3] = picture[3] if len(picture) == 4 else 255
    return canvas
