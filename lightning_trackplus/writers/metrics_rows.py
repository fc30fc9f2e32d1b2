"""Rows of numbers as text, and the columns that they stand in."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from lightning_trackplus.files.csv_rows import cells_of, column_of, row_bytes

_LARGEST_EXACT = 2**53
_MOST_LAYOUTS = 1000


class Cell(str):
    """The text of a cell that is no float, or that was read from the file."""

    __slots__ = ()

    __repr__ = str.__str__


Row: TypeAlias = "dict[str, float | Cell]"
"""The cells of a row that are not empty, by column."""


class RowText(NamedTuple):
    """A row as text, up to the last cell that it has.

    Attributes:
        text: Its cells with commas between them, without a line end.
        width: How many cells these are.
    """

    text: str
    width: int

    def line(self, width: int) -> str:
        r"""Return the row as a line of a table.

        Args:
            width: How many columns the table has; cells beyond are left out.

        Examples:
            >>> row = RowText("7,,0.5", 3)
            >>> row.line(5), row.line(2)
            ('7,,0.5\n', '7,\n')
        """
        if self.width <= width:
            return f"{self.text}\n"
        return row_bytes(cells_of(self.text.encode())[:width]).decode()


class _Layout(NamedTuple):
    """How a row becomes text that has cells in some columns.

    Attributes:
        text: The row with a place for each cell that it has.
        cells: Returns these cells of a row, in the order of the columns.
        width: How many cells the text has.
    """

    text: str
    cells: Callable[[Row], Any]
    width: int


class Columns:
    """The columns of a table in the order in which they came, and how rows of them look. More can come; none goes.

    Args:
        columns: The first ones.

    Examples:
        >>> columns = Columns(["step", "epoch"])
        >>> numbers = columns.by_column({"loss": 0.5, "step": 3.0})
        >>> list(columns)
        ['step', 'epoch', 'loss', 'step (logged)']
        >>> columns.text({"step": Cell(7), "loss": 0.5})
        RowText(text='7,,0.5', width=3)
    """

    def __init__(self, columns: Iterable[str]) -> None:
        self._positions: dict[str, int] = {}
        self._column_of: dict[str, str] = {}
        self._has_other_names = False
        self._layouts: dict[tuple[str, ...], _Layout] = {}
        self.add(columns)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._positions)

    def __iter__(self) -> Iterator[str]:
        """Return the columns in their order."""
        return iter(self._positions)

    def add(self, columns: Iterable[str]) -> None:
        """Add those that are not there yet.

        Args:
            columns: The columns.
        """
        for column in columns:
            self._positions.setdefault(column, len(self._positions))

    def by_column(self, numbers: Mapping[str, float]) -> Mapping[str, float]:
        """Return numbers with the columns of their names; names that are new get one.

        Args:
            numbers: The numbers by name.
        """
        if not numbers.keys() <= self._column_of.keys():
            new = {name: column_of(name) for name in numbers if name not in self._column_of}
            self._column_of |= new
            self._has_other_names |= any(name != column for name, column in new.items())
            self.add(new.values())
        if not self._has_other_names:
            return numbers
        return {self._column_of[name]: number for name, number in numbers.items()}

    def text(self, row: Row) -> RowText:
        """Return a row as text.

        Args:
            row: The row, all of whose columns are there.
        """
        names = tuple(row)
        layout = self._layouts.get(names) or self._new_layout(names)
        text = layout.text % layout.cells(row)
        # polars takes a column for numbers only with NaN spelled like this.
        return RowText(text.replace("nan", "NaN") if "nan" in text else text, layout.width)

    def _new_layout(self, names: tuple[str, ...]) -> _Layout:
        if len(self._layouts) >= _MOST_LAYOUTS:
            self._layouts.clear()
        ordered = sorted(names, key=self._positions.__getitem__)
        positions = [0, *map(self._positions.__getitem__, ordered)]
        text = "".join([f"{',' * (position - last)}%r" for last, position in itertools.pairwise(positions)])
        layout = self._layouts[names] = _Layout(text, operator.itemgetter(*ordered), positions[-1] + 1)
        return layout


def number_cell(number: float) -> float | Cell:
    """Return a number as a float64; an integer that float64 cannot hold stays one.

    Args:
        number: The number.
    """
    return Cell(number) if isinstance(number, int) and abs(number) > _LARGEST_EXACT else float(number)


def epoch_cell(epoch: float) -> Cell:
    """Return an epoch as a cell; a whole one is written as an integer.

    Args:
        epoch: The epoch.

    Examples:
        >>> epoch_cell(2.0), epoch_cell(0.5)
        (2, 0.5)
    """
    number = number_cell(epoch)
    return Cell(int(number)) if isinstance(number, float) and number.is_integer() else Cell(repr(number))


def quoted(cell: str) -> Cell:
    """Return a cell that was read as it is written.

    Args:
        cell: What it holds.
    """
    return Cell(row_bytes([cell]).decode().removesuffix("\n"))
