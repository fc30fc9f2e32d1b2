"""A matrix as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TypeAlias

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from lightning_trackplus.media.images.captions import CARD
from lightning_trackplus.media.images.lettering import (
    WHITE,
    contrasting,
    height_of_line,
    shortened,
    width_of,
    write,
    write_upwards,
)

_Numbers: TypeAlias = list[list[str]]

_GREY = (190, 190, 190)
_TITLE = (90, 90, 90)
# At the width of a card: gaps, the space before letters, the colour scale, letters beside the map, the widest name.
_GAP, _SPACE, _SCALE, _LETTERS, _WIDEST_NAME = 8, 4, 10, 11, 80
_LARGEST_CELL, _HIGHEST = 120, 420
# With few columns there is more room for names.
_FEW, _WIDEST_OF_FEW = 5, 110
# The sizes of the numbers in cells.
_LARGEST_NUMBERS, _SMALLEST_NUMBERS = 16, 9
# A map shows no numbers if it would be wider than this, or its cells smaller than that.
_LARGEST_WIDTH, _SMALLEST_CELL = 1024, 20
_LARGEST_ZOOM = 3
# Below it, two decimals are too few.
_SMALL = 0.1


@dataclass(frozen=True)
class _Layout:
    """The layout of a heat map, in pixels.

    Attributes:
        zoom: How many pixels of the picture are one of a card.
        cell: The side of a cell.
        numbers: The size of the numbers in the cells.
        left: The left edge of the map; its upper edge is one gap below the top.
        width: The map's.
        height: The map's.
        names: The names of rows and columns, shortened.
        step: Every how many rows or columns there is a name, if cells are smaller than letters.
        is_upright: Whether the names of columns are rotated.
        ends: The largest and the smallest number, for the colour scale; empty if there is none.
    """

    zoom: float
    cell: int
    numbers: int
    left: int
    width: int
    height: int
    names: list[str]
    step: int
    is_upright: bool
    ends: tuple[str, ...] = ()

    @property
    def letters(self) -> int:
        return self.scaled(_LETTERS)

    @property
    def gap(self) -> int:
        return self.scaled(_GAP)

    @property
    def line(self) -> int:
        return height_of_line(self.letters)

    @property
    def bottom(self) -> int:
        """The lower edge of the map, and of its colour scale."""
        return self.gap + max(self.height, 3 * self.line)

    def scaled(self, pixels: float) -> int:
        return round(pixels * self.zoom)


def drawn(matrix: NDArray[np.float64], names: Sequence[str] | None) -> NDArray[np.uint8]:
    """Return the RGB picture of a matrix, with its numbers if they fit, and otherwise with a colour scale.

    It is as wide as a card of TensorBoard, which shows it pixel by pixel. If it has to be wider, it has a colour scale
    as well, and the letters beside the map are larger by as much. NaN is grey; infinite numbers have the end colours of
    the scale. Rows are true classes, columns predicted ones.
    """
    finite = matrix[np.isfinite(matrix)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (math.nan, math.nan)
    layout, numbers = _layout(matrix, names or (), (_number(high), _number(low)))
    width = max(CARD, layout.left + layout.width + layout.gap + _beside(layout))
    sheet = PIL.Image.new("RGB", (width, layout.bottom + _below(layout) + layout.gap), WHITE)
    colours = _colours(matrix, low, high)
    pixels = colours.repeat(layout.cell, axis=0).repeat(layout.cell, axis=1)
    sheet.paste(PIL.Image.fromarray(pixels), (layout.left, layout.gap))
    _write_numbers(sheet, layout, numbers, colours)
    _write_names(sheet, layout)
    _draw_scale(sheet, layout)
    return np.asarray(sheet).transpose(2, 0, 1)


def _colours(matrix: NDArray[np.float64], low: float, high: float) -> NDArray[np.uint8]:
    # Halved, since the difference of two finite numbers can overflow.
    span = high / 2 - low / 2
    with np.errstate(invalid="ignore"):
        heights = ((matrix / 2 - low / 2) / (span or 1.0)).clip(0, 1)
    is_nan = np.isnan(matrix)
    colours = viridis(np.where(is_nan, 0.0, np.where(np.isinf(matrix), matrix > 0, heights)))
    colours[is_nan] = _GREY
    return colours


def _layout(matrix: NDArray[np.float64], names: Sequence[str], ends: tuple[str, str]) -> tuple[_Layout, _Numbers]:
    """Return the layout, and the numbers to write, or none if the map would become too large."""
    rows, columns = matrix.shape
    plain = _placed(matrix.shape, names)
    room = CARD - plain.left - plain.gap
    cell = max(1, min(_LARGEST_CELL, room // columns, _HIGHEST // rows))
    forms = _forms(matrix)
    for numbers in forms:
        for size in range(_LARGEST_NUMBERS, _SMALLEST_NUMBERS - 1, -1):
            if _cell_for(numbers, size) <= cell:
                return _placed(matrix.shape, names, cell=cell, numbers=size), numbers
    room -= _beside(replace(plain, ends=ends))
    cell = max(1, min(_LARGEST_CELL, room // columns, _HIGHEST // rows))
    written: _Numbers = []
    for numbers in forms:
        larger = max(_SMALLEST_CELL, _cell_for(numbers, _LETTERS))
        if max(rows, columns) * larger <= _LARGEST_WIDTH:
            written, cell = numbers, larger
            break
    zoom = min(max(1.0, cell * columns / room), _LARGEST_ZOOM)
    return replace(_placed(matrix.shape, names, zoom=zoom, cell=cell, numbers=_LETTERS), ends=ends), written


def _forms(matrix: NDArray[np.float64]) -> list[_Numbers]:
    """Return the numbers to write, in full and in fewer letters, or none if there are too many."""
    if max(matrix.shape) * _SMALLEST_CELL > _LARGEST_WIDTH:
        return []
    are_small = not np.any(np.abs(matrix) >= _SMALL)
    forms = (_number,) if are_small else (_number, _short_number)
    return [[[form(value) for value in row] for row in matrix.tolist()] for form in forms]


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if abs(value) < 1e6 and value.is_integer():
        return f"{value:.0f}"
    return f"{value:.2g}" if abs(value) < 1 else f"{value:.3g}"


def _short_number(value: float) -> str:
    """Return a number in at most four letters, if it is a share or the count of a class."""
    if 1e4 <= abs(value) < 1e6:
        return f"{value / 1e3:.0f}k"
    return f"{value:.2f}" if 0 < abs(value) < 1 else _number(value)


def _cell_for(numbers: _Numbers, size: int) -> int:
    """Return the side of a cell that the widest number fits into."""
    return max([size, *(width_of(number, size) for number in {*chain.from_iterable(numbers)})]) + size // 3


def _placed(
    shape: tuple[int, ...], names: Sequence[str], *, zoom: float = 1.0, cell: int = 1, numbers: int = 0
) -> _Layout:
    letters, space = round(_LETTERS * zoom), round(_SPACE * zoom)
    line = height_of_line(letters)
    longest = _WIDEST_OF_FEW if len(names) <= _FEW else _WIDEST_NAME
    shown = [shortened(name, round(longest * zoom), letters) for name in names]
    widest = max((width_of(name, letters) for name in shown), default=0)
    left = round(_GAP * zoom) + (line + widest + space if names else 0)
    step = -(-line // cell)
    is_upright = widest + space > cell * step
    return _Layout(zoom, cell, numbers, left, shape[1] * cell, shape[0] * cell, shown, step, is_upright)


def _beside(layout: _Layout) -> int:
    """Return the room for the scale, on the right of the map."""
    if not layout.ends:
        return 0
    return layout.gap + layout.scaled(_SCALE + _SPACE) + max(width_of(end, layout.letters) for end in layout.ends)


def _below(layout: _Layout) -> int:
    """Return the room for the names of columns, below the map."""
    if not layout.names:
        return 0
    names = max(width_of(name, layout.letters) for name in layout.names) if layout.is_upright else layout.line
    return layout.scaled(_SPACE) + names + layout.line


def _write_numbers(sheet: PIL.Image.Image, layout: _Layout, numbers: _Numbers, colours: NDArray[np.uint8]) -> None:
    middle = layout.cell // 2
    for row, texts in enumerate(numbers):
        for column, text in enumerate(texts):
            place = layout.left + column * layout.cell + middle, layout.gap + row * layout.cell + middle
            write(sheet, place, text, "mm", colour=contrasting(*colours[row, column].tolist()), size=layout.numbers)


def _write_names(sheet: PIL.Image.Image, layout: _Layout) -> None:
    if not layout.names:
        return
    size, space, top = layout.letters, layout.scaled(_SPACE), layout.gap
    for index in range(0, len(layout.names), layout.step):
        middle = index * layout.cell + layout.cell // 2
        write(sheet, (layout.left - space, top + middle), layout.names[index], "rm", size=size)
        below = layout.left + middle, top + layout.height + space
        if layout.is_upright:
            write_upwards(sheet, below, layout.names[index], size=size)
        else:
            write(sheet, below, layout.names[index], "ma", size=size)
    place = top + layout.line // 2, top + max(0, layout.height - width_of("true", size)) // 2
    write_upwards(sheet, place, "true", size=size, colour=_TITLE)
    place = layout.left + layout.width // 2, layout.bottom + _below(layout)
    write(sheet, place, "predicted", "md", size=size, colour=_TITLE)


def _draw_scale(sheet: PIL.Image.Image, layout: _Layout) -> None:
    """Draw the colour scale beside the map."""
    if not layout.ends:
        return
    height, left = layout.bottom - layout.gap, layout.left + layout.width + layout.gap
    colours = viridis(np.linspace(1, 0, height))[:, np.newaxis].repeat(layout.scaled(_SCALE), axis=1)
    sheet.paste(PIL.Image.fromarray(colours), (left, layout.gap))
    beside = left + layout.scaled(_SCALE + _SPACE)
    write(sheet, (beside, layout.gap), layout.ends[0], "la", size=layout.letters)
    write(sheet, (beside, layout.bottom), layout.ends[1], "ld", size=layout.letters)


_EVERY_EIGHTH = np.frombuffer(
    bytes.fromhex(
        "440154470d6048186a482374472d7b4536814240863f49893b528b375a8d33638d2f6a8e2c728e297a8e26818e23898e"
        "21908c1f988b1f9f8821a68528ae8031b57b3ebc744cc26c5dc9636ece5882d34c96d83fabdc32c0df24d5e21aeae51a"
        "fde725"
    ),
    np.uint8,
).reshape(-1, 3)
_LAST = 255


def _between() -> NDArray[np.uint8]:
    places = np.linspace(0, _LAST, len(_EVERY_EIGHTH))
    channels = [np.interp(range(_LAST + 1), places, channel) for channel in _EVERY_EIGHTH.T]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8)


_COLOURS = _between()


def viridis(heights: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return RGB colours, shape ``(..., 3)``, for heights in [0, 1]: from dark violet to bright yellow.

    Examples:
        >>> viridis(np.array([0.0, 1.0])).tolist()
        [[68, 1, 84], [253, 231, 37]]
    """
    return _COLOURS[np.rint(heights * _LAST).astype(np.uint8)]
