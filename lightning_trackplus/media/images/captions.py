"""Copies of pictures with their captions and scores below them, for TensorBoard's cards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from lightning_trackplus.media.images.file_formats import FORMATS, ImageFormat, encode_image
from lightning_trackplus.media.images.lettering import height_of_line, wrapped
from lightning_trackplus.media.images.value_range import Picture
from lightning_trackplus.record import ImagePayload, Item

CARD = 350
"""The width of TensorBoard's card in pixels. It shows a picture of this width as it is, and scales others."""

# Of a grid, the narrowest column in which captions can be read.
_NARROWEST = 80
# A picture is not enlarged beyond the first height, nor a grid beyond the second.
_TALLEST, _TALLEST_GRID = 512, 4096
_LETTERS, _LINES = 13, 3
# The narrowest strip, in letters, in which a score has a title.
_TITLED = 10
# Very large pictures would have letters of hundreds of pixels.
_LARGEST_SCALE = 12
_GAP = 8
# White is opaque, too.
_WHITE, _CAPTION, _SCORE = 255, 32, 110


class Panel(NamedTuple):
    """A picture with its caption and score."""

    picture: Picture
    caption: str | None
    score: float | None

    @property
    def has_text(self) -> bool:
        """Whether there is something to write below it."""
        return self.score is not None or bool(self.caption and self.caption.strip())


class PanelGrid(NamedTuple):
    """The pictures in one file."""

    panels: Sequence[Panel]
    columns: int = 1


class CaptionedImages:
    """Draws the copies of some images, once; then it releases their pictures.

    Args:
        items: The images.
        grids: The pictures in each.
        size: The width and height of the first image.
    """

    def __init__(self, items: tuple[Item, ...], grids: Sequence[PanelGrid], size: tuple[int, int]) -> None:
        self._items = items
        self._grids = grids
        self._size = size
        self._drawn: ImagePayload | None = None

    @property
    def nbytes(self) -> int:
        """Memory of the pictures or, once they are drawn, of the copies, in bytes."""
        pictures = sum(panel.picture.nbytes for grid in self._grids for panel in grid.panels)
        return pictures if self._drawn is None else self._drawn.nbytes

    def draw(self) -> ImagePayload:
        """Return the images with their texts drawn below; captions are kept as text too if one is not shown in full."""
        # Another thread may draw at the same time: it finds the pictures, or what was drawn of them.
        grids = self._grids
        if self._drawn is None:
            self._drawn = self._draw(grids)
            # Writers for other loggers, which do not draw, may keep the payload for long.
            self._grids = ()
        return self._drawn

    def _draw(self, grids: Sequence[PanelGrid]) -> ImagePayload:
        items, sizes, are_exact = [], [], True
        for item, grid in zip(self._items, grids, strict=True):
            if any(panel.has_text for panel in grid.panels):
                picture, is_exact = _drawn(grid)
                file_format = item.suffix[1:]
                if max(picture.shape) > FORMATS[file_format].longest:
                    file_format = "png"
                items.append(item._replace(data=encode_image(picture, cast("ImageFormat", file_format))))
                sizes.append((picture.shape[2], picture.shape[1]))
                are_exact &= is_exact
            else:
                items.append(item)
                sizes.append(self._size)
        if are_exact:
            items = [item._replace(caption=None) for item in items]
        return ImagePayload(tuple(items), *sizes[0])


def captioned(items: tuple[Item, ...], pictures: Sequence[Picture]) -> CaptionedImages | None:
    """Return what draws copies of images, each of one picture; None if no image has a caption or a score."""
    panels = [Panel(picture, item.caption, item.score) for picture, item in zip(pictures, items, strict=True)]
    _, height, width = pictures[0].shape
    return captioned_grids(items, [PanelGrid([panel]) for panel in panels], (width, height))


def captioned_grids(
    items: tuple[Item, ...], grids: Sequence[PanelGrid], size: tuple[int, int]
) -> CaptionedImages | None:
    """Return what draws copies of images; None if no picture has a caption or a score."""
    if not any(panel.has_text for grid in grids for panel in grid.panels):
        return None
    return CaptionedImages(items, grids, size)


def _drawn(grid: PanelGrid) -> tuple[Picture, bool]:
    """Return pictures with their texts, in columns on white, and whether all texts are shown in full."""
    columns = min(grid.columns, len(grid.panels))
    _, tallest, widest = map(max, zip(*(panel.picture.shape for panel in grid.panels), strict=True))
    room = max(_NARROWEST, (CARD - (columns - 1) * _GAP) // columns)
    rows = -(-len(grid.panels) // columns)
    factor = max(1, min(room // widest, _TALLEST // tallest, _TALLEST_GRID // (rows * tallest)))
    cell = max(room, widest * factor)
    width = max(CARD, columns * (cell + _GAP) - _GAP)
    scale = max(1, min(width / CARD, cell / _NARROWEST, _LARGEST_SCALE))
    captions = [_caption(panel, cell, round(_LETTERS * scale)) for panel in grid.panels]
    heights = [
        panel.picture.shape[1] * factor + len(text) for panel, (text, _) in zip(grid.panels, captions, strict=True)
    ]
    tops = [0]
    for first in range(0, len(heights), columns):
        tops.append(tops[-1] + max(heights[first : first + columns]) + _GAP)
    channels = max(len(panel.picture) for panel in grid.panels)
    canvas = np.full((channels, tops[-1] - _GAP, width), _WHITE, np.uint8)
    for index, (panel, (text, _)) in enumerate(zip(grid.panels, captions, strict=True)):
        top, left = tops[index // columns], index % columns * (cell + _GAP)
        large = panel.picture.repeat(factor, axis=1).repeat(factor, axis=2)
        below, right = top + large.shape[1], left + large.shape[2]
        # A grey picture is broadcast over the colours; only one with an alpha channel has a fourth.
        canvas[:3, top:below, left:right] = large[:3]
        canvas[3:, top:below, left:right] = large[3:] if len(large) > 3 else _WHITE
        canvas[:3, below : below + len(text), left : left + cell] = text
    return canvas, all(is_exact for _, is_exact in captions)


def _caption(panel: Panel, width: int, letters: int) -> tuple[NDArray[np.uint8], bool]:
    """Return the strip below a picture, grey, shape ``(height, width)``, and whether its text is shown in full."""
    if not panel.has_text:
        return np.empty((0, width), np.uint8), True
    margin = letters // 3
    texts = []
    if panel.caption and panel.caption.strip():
        texts.append((wrapped(panel.caption, width - 2 * margin, letters, _LINES), _CAPTION))
    if panel.score is not None:
        title = "score " if width >= _TITLED * letters else ""
        texts.append((wrapped(f"{title}{panel.score:.4g}", width - 2 * margin, letters, 1), _SCORE))
    line = height_of_line(letters)
    strip = PIL.Image.new("L", (width, 2 * margin + line * sum(len(text.lines) for text, _ in texts)), _WHITE)
    top = margin
    for text, shade in texts:
        text.write(strip, margin, top, shade)
        top += line * len(text.lines)
    return np.asarray(strip), all(text.is_exact for text, _ in texts)
