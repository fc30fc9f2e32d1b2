"""Several pictures in one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

import numpy as np

from lightning_trackplus.media.images.value_range import Picture

_GAP = 2


def checked_columns(grid: Any) -> int:
    """Return a number of columns that was given.

    Raises:
        ValueError: If it is none.
    """
    if not isinstance(grid, Integral) or isinstance(grid, bool) or grid < 1:
        raise ValueError(f"Image got grid={grid!r}; give a number of columns, an integer of at least 1.")
    return int(grid)


def grid_size(sizes: Iterable[tuple[int, int]], count: int, columns: int) -> tuple[int, int]:
    """Return the height and width of the picture that `arranged` makes."""
    height, width = map(max, zip(*sizes, strict=True))
    columns = min(columns, count)
    rows = -(-count // columns)
    return rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP


def arranged(pictures: Sequence[Picture], columns: int) -> Picture:
    """Return pictures side by side and below each other, each in the middle of its cell.

    Cells are as large as the largest picture, and lie 2 pixels apart. What is empty is black, and
    transparent if a picture has an alpha channel.
    """
    channels, height, width = map(max, zip(*(picture.shape for picture in pictures), strict=True))
    canvas = np.zeros((channels, *grid_size([(height, width)], len(pictures), columns)), np.uint8)
    for index, picture in enumerate(pictures):
        row, column = divmod(index, min(columns, len(pictures)))
        top = row * (height + _GAP) + (height - picture.shape[1]) // 2
        left = column * (width + _GAP) + (width - picture.shape[2]) // 2
        cell = canvas[:, top : top + picture.shape[1], left : left + picture.shape[2]]
        # A grey picture is spread over the colours.
        cell[:3] = picture[:3]
        if channels == 4:
            cell[3] = picture[3] if len(picture) == 4 else 255
    return canvas
