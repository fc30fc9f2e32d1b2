"""From what people have as a table to its columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

from lightning_trackplus.lists import is_list
from lightning_trackplus.media.arrays import readable
from lightning_trackplus.media.tables.cells import Column, column_of
from lightning_trackplus.media.tables.data_frames import columns_of_data_frame, is_data_frame

Named: TypeAlias = "Sequence[tuple[str, Iterable[Any]]]"


def columns_of(data: Any, names: Sequence[str] | None) -> dict[str, Column]:
    """Return the columns of a table by name; waits for no device.

    Args:
        data: What `Table` takes.
        names: What it takes as ``columns``.

    Raises:
        TypeError: If the data are nothing that `Table` takes.
        ValueError: If they are no table.
    """
    columns = {name: column_of(values) for name, values in _named(data, names)}
    if not columns:
        raise ValueError("Table got no columns; give at least one.")
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"Table got columns with {lengths} values; give equally many for each.")
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
        raise ValueError("Table got rows without names for their columns; give them, Table(rows, columns=[…]).")
    return _taken(list(zip(names, _turned(rows, len(names)), strict=True)), None)


def _taken(found: Named, names: Sequence[str] | None) -> Named:
    """Return the columns that are asked for; without names, all."""
    for titles in ([name for name, _ in found], names or []):
        if twice := next((name for name in titles if titles.count(name) > 1), None):
            raise ValueError(f"Table got {twice!r} as the name of two columns; give each a name of its own.")
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
            f"Table got a {type(values).__name__} as the column {str(name)!r}; give a list, a tensor or an array with"
            " a value for each row."
        )
    return values  # type: ignore[no-any-return]


def _rows(data: Any) -> Tensor | np.ndarray[Any, Any] | list[Any]:
    if isinstance(data, Tensor | np.ndarray):
        if data.ndim != 2:
            raise ValueError(f"Table got rows of shape {tuple(data.shape)}; give (rows, columns).")
        return data
    if isinstance(data, str | bytes) or not isinstance(data, Iterable):
        raise TypeError(
            f"Table got a {type(data).__name__}; give a list of rows, a dict of columns, or a data frame of pandas or"
            " polars."
        )
    return list(data)


def _turned(rows: Tensor | np.ndarray[Any, Any] | list[Any], count: int) -> Iterable[Iterable[Any]]:
    """Return the columns of rows."""
    if isinstance(rows, Tensor | np.ndarray):
        if rows.shape[1] != count:
            raise ValueError(f"Table got rows of {rows.shape[1]} cells and {count} columns; give a name for each cell.")
        dense = readable(rows, "Table")
        return list(rows.T) if dense is None else dense.unbind(1)
    for number, row in enumerate(rows):
        is_row = is_list(row) or (isinstance(row, Tensor | np.ndarray) and row.ndim == 1)
        if not is_row:
            raise TypeError(f"Table got a {type(row).__name__} as row {number}; give each row as a list.")
        if len(row) != count:
            raise ValueError(
                f"Table got {len(row)} cells in row {number} and {count} columns; give a cell for each column."
            )
    return zip(*rows, strict=True) if rows else [()] * count
