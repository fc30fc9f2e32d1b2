"""The cells of a table."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeGuard

import numpy as np
import PIL.Image
from torch import Tensor

from lightning_trackplus.media.base import Media
from lightning_trackplus.media.figure import is_figure
from lightning_trackplus.media.tensors import readable
from lightning_trackplus.record import Cell
from lightning_trackplus.runtime.lists import is_list
from lightning_trackplus.runtime.names import a_type

Column: TypeAlias = "Tensor | tuple[Cell | Tensor, ...]"
"""The cells of one column from top to bottom; cells on a device are tensors."""

_PLAIN = (str, float, int, bool, type(None))
_MISSING = ("NAType", "NaTType")  # The missing values of pandas.
_BYTES_PER_NUMBER = 32


def column_of(values: Iterable[Any]) -> Column:
    """Return values as a column, without waiting for a device."""
    if isinstance(values, Tensor):
        numbers = _dense(values)
        return numbers if numbers.device.type != "cpu" else tuple(map(_cell, numbers.tolist()))
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        values = values.tolist()
    return tuple(map(_cell, values))


def copy_of(column: Column) -> Column:
    """Return a copy of a column."""
    if isinstance(column, Tensor):
        return column.clone()
    return tuple(cell.clone() if _is_tensor(cell) else cell for cell in column)


def cells_of(column: Column) -> tuple[Cell, ...]:
    """Return the cells of a column on the host, after waiting for those on a device."""
    cells = column_of(column.cpu()) if isinstance(column, Tensor) else column
    return tuple(_number(cell.cpu()) if isinstance(cell, Tensor) else cell for cell in cells)


def nbytes_of(column: Column) -> int:
    """Return the memory of a column in bytes, roughly."""
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
    # Few cells are tensors, and isinstance() with torch's Tensor is slow.
    return type(cell) not in _PLAIN


def _dense(tensor: Tensor) -> Tensor:
    dense = readable(tensor, "Table")
    assert dense is not None  # noqa: S101  only an array can have an unknown dtype
    return dense


def _number(tensor: Tensor) -> Cell:
    """Return a number, or the text of several."""
    number = tensor.item() if tensor.numel() == 1 else tensor.tolist()
    return number if isinstance(number, _PLAIN) else str(number)


Named: TypeAlias = "Sequence[tuple[str, Iterable[Any]]]"


def columns_of(data: Any, names: Sequence[str] | None) -> dict[str, Column]:
    """Return the columns of a table by name, without waiting for a device."""
    columns = {name: column_of(values) for name, values in _named(data, names)}
    if not columns:
        raise ValueError("Table got no columns; expected at least one.")
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"Table got columns with {lengths} values; expected equally many for each.")
    return columns


def _named(data: Any, names: Sequence[str] | None) -> Named:
    """Return the columns of data of any kind."""
    if is_data_frame(data):
        return _taken(columns_of_data_frame(data), names)
    if isinstance(data, Mapping):
        return _taken([(str(name), _column(name, values)) for name, values in data.items()], names)
    rows = _rows(data)
    if isinstance(rows, list) and rows and all(isinstance(row, Mapping) for row in rows):
        found = dict.fromkeys(name for row in rows for name in row)
        return _taken([(str(name), [row.get(name) for row in rows]) for name in found], names)
    if names is None:
        raise ValueError("Table got rows without names for their columns; expected names, Table(rows, columns=[…]).")
    return _taken(list(zip(names, _turned(rows, len(names)), strict=True)), None)


def _taken(found: Named, names: Sequence[str] | None) -> Named:
    """Return the columns with these names, or all."""
    for titles in ([name for name, _ in found], names or []):
        if twice := next((name for name in titles if titles.count(name) > 1), None):
            raise ValueError(f"Table got {twice!r} as the name of two columns; expected a name of its own for each.")
    if names is None:
        return found
    columns = dict(found)
    for name in names:
        if name not in columns:
            raise ValueError(f"Table got {name!r} as a name of a column, and the data have {list(columns)}.")
    return [(name, columns[name]) for name in names]


def _column(name: object, values: Any) -> Iterable[Any]:
    """Return one column of a dict."""
    is_single = isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable)
    if is_single or (isinstance(values, Tensor | np.ndarray) and not values.ndim):
        raise TypeError(
            f"Table got {a_type(values)} as the column {str(name)!r}; expected a list, a tensor or an array"
            " with a value for each row."
        )
    return values  # type: ignore[no-any-return]


def _rows(data: Any) -> Tensor | np.ndarray[Any, Any] | list[Any]:
    if isinstance(data, Tensor | np.ndarray):
        if data.ndim != 2:
            raise ValueError(f"Table got rows of shape {tuple(data.shape)}; expected (rows, columns).")
        return data
    if isinstance(data, str | bytes) or not isinstance(data, Iterable):
        raise TypeError(
            f"Table got {a_type(data)}; expected a list of rows, a dict of columns, or a data frame of"
            " pandas or polars."
        )
    return list(data)


def _turned(rows: Tensor | np.ndarray[Any, Any] | list[Any], count: int) -> Iterable[Iterable[Any]]:
    """Return the columns of rows."""
    if isinstance(rows, Tensor | np.ndarray):
        if rows.shape[1] != count:
            raise ValueError(
                f"Table got rows of {rows.shape[1]} cells and {count} columns; expected a name for each cell."
            )
        dense = readable(rows, "Table")
        return list(rows.T) if dense is None else dense.unbind(1)
    for number, row in enumerate(rows):
        is_row = is_list(row) or (isinstance(row, Tensor | np.ndarray) and row.ndim == 1)
        if not is_row:
            raise TypeError(f"Table got {a_type(row)} as row {number}; expected each row as a list.")
        if len(row) != count:
            raise ValueError(
                f"Table got {len(row)} cells in row {number} and {count} columns; expected a cell for each column."
            )
    return zip(*rows, strict=True) if rows else [()] * count


_PACKAGES = ("pandas", "polars")


def is_data_frame(value: object) -> bool:
    """Return whether a value is a data frame of pandas or polars."""
    # A package that is not imported has no instances.
    return any(isinstance(value, getattr(sys.modules.get(package), "DataFrame", ())) for package in _PACKAGES)


def columns_of_data_frame(frame: Any) -> list[tuple[str, list[Any]]]:
    """Return the names of the columns of a data frame, and their values."""
    if hasattr(frame, "get_columns"):
        return [(column.name, column.to_list()) for column in frame.get_columns()]
    return [(str(name), _values(frame.iloc[:, number])) for number, name in enumerate(frame.columns)]


def _values(series: Any) -> list[Any]:
    """Return the values of a series of pandas; NaN is a value in a float series and missing in others."""
    if series.dtype.kind == "f":
        return list(series.tolist())
    return [None if missing else value for value, missing in zip(series.tolist(), series.isna(), strict=True)]
