"""Tables."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from torch import Tensor
from typing_extensions import override

from lightning_trackplus.formats.layout import escaped
from lightning_trackplus.media.base import Media
from lightning_trackplus.media.table_cells import Column, cells_of, columns_of, copy_of, nbytes_of
from lightning_trackplus.record import Cell, TableData, TablePayload

Columns: TypeAlias = "Mapping[str, Column]"


class Table(Media[Columns]):
    """A table, written as CSV and shown in TensorBoard's text tab.

    A cell is a string, a number, a bool or None. A scalar of numpy or torch is a number, on any device. A
    missing value of pandas is None; any other object is written as `str` returns it. Media in cells are refused.

    Args:
        data: Rows as lists, or as a tensor or an array of shape ``(rows, columns)``, both with ``columns``;
            rows as dicts, in which cells may be missing; columns as a dict of lists, tensors or arrays; or a
            data frame of polars, or of pandas, whose index is left out.
        columns: The names of the columns. If the data have names: which columns to take, in this order.
        caption: A line about the table.
        score: A number for the table.

    Raises:
        TypeError: If the data are not one of these, or a cell is a medium.
        ValueError: If rows or columns differ in length, columns have no names, two columns have the same name,
            a name is not in the data, or there are no columns.

    Examples:
        >>> Table([[7, "one"], [3, "eight"]], columns=["digit", "taken for"])
        <Table: 1 item>
        >>> Table({"digit": [7, 3], "taken for": ["one", "eight"]}, caption="the worst two")
        <Table: 1 item>
    """

    def __init__(
        self,
        data: Any,
        columns: Sequence[str] | None = None,
        caption: str | None = None,
        score: float | Tensor | None = None,
    ) -> None:
        if isinstance(columns, str):
            raise TypeError(f"Table got columns={columns!r}; expected a list of names.")
        names = None if columns is None else [str(name) for name in columns]
        super().__init__([columns_of(data, names)], caption, score)

    @property
    @override
    def nbytes(self) -> int:
        """Memory of the cells in bytes, roughly."""
        return sum(nbytes_of(column) for table in self._items for column in table.values())

    @override
    def encode(self, name: str) -> TablePayload:
        """Return the tables as cells and as CSV."""
        tables = tuple(
            TableData(tuple(table), tuple(zip(*map(cells_of, table.values()), strict=True))) for table in self._items
        )
        return TablePayload(self._encoded([_csv(table) for table in tables], ".csv"), tables)

    @override
    def snapshot_item(self, item: Columns) -> Columns:
        return {name: copy_of(column) for name, column in item.items()}


def _csv(table: TableData) -> bytes:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(map(_spelled, table.columns))
    writer.writerows(map(_spelled, row) for row in table.rows)
    return file.getvalue().encode()


def _spelled(cell: Cell) -> Cell:
    if isinstance(cell, str):
        return escaped(cell)
    # polars takes a column for numbers only with NaN spelled like this.
    return "NaN" if isinstance(cell, float) and math.isnan(cell) else cell
