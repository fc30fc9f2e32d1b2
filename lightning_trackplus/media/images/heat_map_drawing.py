"""A matrix as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from lightning_trackplus.media.images.lettering import (
    LINE,
    WHITE,
    contrasting,
    shortened,
    width_of,
    write,
    write_upwards,
)

_GREY = (190, 190, 190)
_GAP, _SCALE = 8, 14
_LONGEST_NAME = 24
_LARGEST_CELL, _USUAL_WIDTH = 64, 640
# A map shows no numbers if it would be wider than this, or its cells smaller than that.
_LARGEST_WIDTH, _SMALLEST_CELL = 1024, 20


@dataclass(frozen=True)
class _Layout:
    """The layout of a heat map, in pixels.

    Attributes:
        cell: The side of a cell.
        left: The left edge of the map; its upper edge is one gap below the top.
        width: The map's.
        height: The map's.
        below: The room below it.
        step: Every how many rows or columns there is a name, if cells are smaller than letters.
        is_upright: Whether the names of columns are rotated.
    """

    cell: int
    left: int
    width: int
    height: int
    below: int
    step: int
    is_upright: bool


def drawn(matrix: NDArray[np.float64], names: Sequence[str] | None) -> NDArray[np.uint8]:
    """Return the RGB picture of a matrix, with a colour scale, and with its numbers if they fit.

    NaN is grey; infinite numbers have the end colours of the scale. Rows are true classes, columns predicted ones.
    """
    finite = matrix[np.isfinite(matrix)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (math.nan, math.nan)
    numbers = _numbers(matrix)
    shown = [shortened(name, _LONGEST_NAME) for name in names or ()]
    layout = _layout(matrix.shape[0], matrix.shape[1], numbers, shown)
    ends = (_number(high), _number(low))
    width = layout.left + layout.width + 2 * _GAP + _SCALE + 4 + max(map(width_of, ends))
    sheet = PIL.Image.new("RGB", (width, _GAP + max(layout.height, 3 * LINE) + layout.below + _GAP), WHITE)
    colours = _colours(matrix, low, high)
    pixels = colours.repeat(layout.cell, axis=0).repeat(layout.cell, axis=1)
    sheet.paste(PIL.Image.fromarray(pixels), (layout.left, _GAP))
    _write_numbers(sheet, layout, numbers, colours)
    _write_names(sheet, layout, shown)
    _draw_scale(sheet, layout, ends)
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


def _numbers(matrix: NDArray[np.float64]) -> list[list[str]]:
    """Return the numbers to write, or none if the map would become too large."""
    most = max(matrix.shape)
    if most * _SMALLEST_CELL > _LARGEST_WIDTH:
        return []
    numbers = [[_number(value) for value in row] for row in matrix.tolist()]
    return numbers if most * _widest(numbers) <= _LARGEST_WIDTH else []


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if abs(value) < 1e6 and value.is_integer():
        return f"{value:.0f}"
    return f"{value:.2g}" if abs(value) < 1 else f"{value:.3g}"


def _widest(numbers: list[list[str]]) -> int:
    return 6 + max((width_of(number) for row in numbers for number in row), default=0)


def _layout(rows: int, columns: int, numbers: list[list[str]], names: list[str]) -> _Layout:
    cell = max(1, min(_LARGEST_CELL, _USUAL_WIDTH // max(rows, columns)))
    if numbers:
        cell = max(cell, _SMALLEST_CELL, _widest(numbers))
    widest = max(map(width_of, names), default=0)
    step = -(-LINE // cell)
    is_upright = widest + 4 > cell * step
    if not names:
        return _Layout(cell, _GAP, columns * cell, rows * cell, 0, step, is_upright)
    below = 4 + (widest if is_upright else LINE) + LINE
    return _Layout(cell, _GAP + LINE + widest + 4, columns * cell, rows * cell, below, step, is_upright)


def _write_numbers(
    sheet: PIL.Image.Image, layout: _Layout, numbers: list[list[str]], colours: NDArray[np.uint8]
) -> None:
    middle = layout.cell // 2
    for row, texts in enumerate(numbers):
        for column, text in enumerate(texts):
            place = layout.left + column * layout.cell + middle, _GAP + row * layout.cell + middle
            write(sheet, place, text, "mm", colour=contrasting(*colours[row, column].tolist()))


def _write_names(sheet: PIL.Image.Image, layout: _Layout, names: list[str]) -> None:
    if not names:
        return
    bottom = _GAP + layout.height
    for index in range(0, len(names), layout.step):
        middle = index * layout.cell + layout.cell // 2
        write(sheet, (layout.left - 4, _GAP + middle), names[index], "rm")
        if layout.is_upright:
            write_upwards(sheet, (layout.left + middle, bottom + 4), names[index])
        else:
            write(sheet, (layout.left + middle, bottom + 4), names[index], "ma")
    write_upwards(sheet, (_GAP + LINE // 2, _GAP + max(0, layout.height - width_of("true")) // 2), "true")
    write(sheet, (layout.left + layout.width // 2, bottom + layout.below), "predicted", "md")


def _draw_scale(sheet: PIL.Image.Image, layout: _Layout, ends: tuple[str, str]) -> None:
    """Draw the colour scale beside the map."""
    height, left = max(layout.height, 3 * LINE), layout.left + layout.width + _GAP
    colours = viridis(np.linspace(1, 0, height))[:, np.newaxis].repeat(_SCALE, axis=1)
    sheet.paste(PIL.Image.fromarray(colours), (left, _GAP))
    write(sheet, (left + _SCALE + 4, _GAP), ends[0], "la")
    write(sheet, (left + _SCALE + 4, _GAP + height), ends[1], "ld")


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
