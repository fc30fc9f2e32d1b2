"""The cells of a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias, TypeGuard

import numpy as np
import PIL.Image
from torch import Tensor

from lightning_trackplus.lists import is_list
from lightning_trackplus.media.arrays import readable
from lightning_trackplus.media.figure import is_figure
from lightning_trackplus.media.media import Media
from lightning_trackplus.record import Cell

Column: TypeAlias = "Tensor | tuple[Cell | Tensor, ...]"
"""The cells of one column, from top to bottom; those that lie on a device are tensors there."""

_PLAIN = (str, float, int, bool, type(None))
_MISSING = ("NAType", "NaTType")  # What pandas has where there is nothing.
_BYTES_PER_NUMBER = 32


def column_of(values: Iterable[Any]) -> Column:
    """Return values as a column; waits for no device.

    Args:
        values: The values. Of a tensor or an array, what stands under its first dimension is one.

    Raises:
        ValueError: If a tensor is sparse or nested.
        TypeError: If a value is to be looked at, and has no text.
    """
    if isinstance(values, Tensor):
        numbers = _dense(values)
        return numbers if numbers.device.type != "cpu" else tuple(map(_cell, numbers.tolist()))
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        values = values.tolist()
    return tuple(map(_cell, values))


def copy_of(column: Column) -> Column:
    """Return a column that later changes to tensors do not reach.

    Args:
        column: The column.
    """
    if isinstance(column, Tensor):
        return column.clone()
    return tuple(cell.clone() if _is_tensor(cell) else cell for cell in column)


def cells_of(column: Column) -> tuple[Cell, ...]:
    """Return the cells of a column, on the host; waits for those that are on a device.

    Args:
        column: The column.
    """
    cells = column_of(column.cpu()) if isinstance(column, Tensor) else column
    return tuple(_number(cell.cpu()) if isinstance(cell, Tensor) else cell for cell in cells)


def nbytes_of(column: Column) -> int:
    """Return the memory that a column holds, in bytes, roughly.

    Args:
        column: The column.
    """
    if isinstance(column, Tensor):
        return column.nbytes
    return sum(len(cell) if isinstance(cell, str) else _BYTES_PER_NUMBER for cell in column)


def _cell(value: Any) -> Cell | Tensor:
    if type(value) in _PLAIN:
        return value  # type: ignore[no-any-return]
    if isinstance(value, Tensor):
        numbers = _dense(value)
        return numbers if numbers.device.type != "cpu" else _number(numbers)
    if isinstance(value, np.ndarray):
        return str(value.tolist())
    if isinstance(value, np.floating):
        return float(value)
    if isinstance(value, np.integer | np.bool_):
        return value.item()
    for one in value if is_list(value) else (value,):
        if isinstance(one, Media | PIL.Image.Image) or is_figure(one) or type(one).__module__.startswith("wandb."):
            raise TypeError(
                f"Table got the medium {type(one).__name__} in a cell, which holds text or a number; log it under a"
                " name of its own, for example with the other cells of its row as its caption."
            )
    is_nat = isinstance(value, np.datetime64 | np.timedelta64) and np.isnat(value)
    return None if is_nat or type(value).__name__ in _MISSING else str(value)


def _is_tensor(cell: Cell | Tensor) -> TypeGuard[Tensor]:
    # Of the many cells few are tensors, and to ask whether one is takes torch some time.
    return type(cell) not in _PLAIN


def _dense(tensor: Tensor) -> Tensor:
    dense = readable(tensor, "Table")
    assert dense is not None  # noqa: S101  only of an array is it not known
    return dense


def _number(tensor: Tensor) -> Cell:
    """Return a number; of several, their text."""
    number = tensor.item() if tensor.numel() == 1 else tensor.tolist()
    return number if isinstance(number, _PLAIN) else str(number)
