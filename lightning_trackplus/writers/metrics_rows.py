"""Rows of numbers as text, and the columns that they stand in."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeAlias

from lightning_trackplus.formats.csv_rows import OTHERS, cells_of, column_of, row_bytes
from lightning_trackplus.formats.other_names import OTHERS_PLACE, others_cell, with_column_for_others

FIRST_COLUMNS = ("step", "epoch")
_LARGEST_EXACT = 2**53
_MOST_LAYOUTS = 1000
# A row reaches this far in any case, and further if this part of its cells up to there is filled.
_FEWEST_COLUMNS = 1024
_FILLED_PART = 64


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
        has_others: Whether the column for other names is among them.
    """

    text: str
    width: int
    has_others: bool = False

    def line(self, width: int, *, has_others: bool = False) -> str:
        r"""Return the row as a line of a table.

        Examples:
            >>> row = RowText("7,,0.5", 3)
            >>> row.line(5), row.line(2), row.line(5, has_others=True)
            ('7,,0.5\n', '7,\n', '7,,,0.5\n')
        """
        line = f"{self.text}\n"
        if self.has_others == has_others and self.width <= width:
            return line
        cells = cells_of(with_column_for_others(line.encode()) if has_others and not self.has_others else line.encode())
        if self.has_others and not has_others:
            del cells[OTHERS_PLACE : OTHERS_PLACE + 1]
        return row_bytes(cells[:width]).decode()


class _Layout(NamedTuple):
    """How a row becomes text that has cells in some columns.

    Attributes:
        text: The row with a place for each cell that it has.
        cells: Returns these cells of a row, in the order of the columns.
        width: How many cells the text has.
        others: What stands in the column for other names.
    """

    text: str
    cells: Callable[[Row], tuple[float | Cell, ...]]
    width: int
    others: tuple[str, ...]


class Columns:
    """The columns of a table in the order in which they came, and how rows of them look. More can come; none goes.

    In a row that would be commas for the most part, what stands far behind is in the column for other names, and
    names that are in such rows alone get no column.

    Attributes:
        has_others: Whether there is one for other names.

    Examples:
        >>> columns = Columns(["step", "epoch"])
        >>> numbers = columns.by_column({"loss": 0.5, "step": 3.0})
        >>> columns.text({"step": Cell(7), "loss": 0.5})
        RowText(text='7,,0.5', width=3, has_others=False)
        >>> list(columns)
        ['step', 'epoch', 'loss', 'step (logged)']
        >>> columns.let_grow(can_grow=False)
        >>> columns.text({"step": Cell(8), "loss": 0.5, "acc": 0.25})
        RowText(text='8,,acc=0.25,0.5', width=4, has_others=True)
    """

    def __init__(self, columns: Iterable[str]) -> None:
        self._can_grow = True
        self._names_wait = False
        self._positions: dict[str, int] = {}
        self._column_of: dict[str, str] = {}
        self._has_renamed = False
        self._layouts: dict[tuple[str, ...], _Layout] = {}
        self.add(columns)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._positions)

    def __iter__(self) -> Iterator[str]:
        """Return the columns in their order."""
        return iter(self._positions)

    def add(self, columns: Iterable[str]) -> None:
        """Add those that are not there yet."""
        for column in columns:
            self._positions.setdefault(column, len(self._positions))
        self.has_others = OTHERS in self._positions

    def let_grow(self, *, can_grow: bool) -> None:
        """Say whether names that are new get a column; until then they stand in the one for other names."""
        if can_grow and not self._can_grow:
            self._layouts.clear()
        self._can_grow = can_grow

    def by_column(self, numbers: Mapping[str, float]) -> Mapping[str, float]:
        """Return numbers with the columns of their names."""
        if not numbers.keys() <= self._column_of.keys():
            new = {name: column_of(name) for name in numbers if name not in self._column_of}
            self._column_of |= new
            self._has_renamed |= any(name != column for name, column in new.items())
            self.add_few(new.values())
        if not self._has_renamed:
            return numbers
        return {self._column_of[name]: number for name, number in numbers.items()}

    def add_few(self, columns: Collection[str]) -> None:
        """Add columns for some names, unless these are many; what is added waits for the text of its row."""
        if self._can_grow and not self._names_wait and len(self) + len(columns) <= _FEWEST_COLUMNS:
            self.add(columns)
        else:
            self._names_wait = True

    def text(self, row: Row) -> RowText:
        """Return a row as text; names that are new get a column, or stand in the one for other names."""
        names = tuple(row)
        layout = self._layouts.get(names) or self._new_layout(names)
        if layout.others:
            texts = {name: repr(_spelled(row[name])) for name in layout.others}
            row = {**row, OTHERS: Cell(others_cell(texts))}
        text = layout.text % layout.cells(row)
        if "nan" in text:
            text = layout.text % tuple(map(_spelled, layout.cells(row)))
        return RowText(text, layout.width, self.has_others)

    def _new_layout(self, names: tuple[str, ...]) -> _Layout:
        if len(self._layouts) >= _MOST_LAYOUTS:
            self._layouts.clear()
        others = self._give_columns(names)
        if others and not self.has_others:
            columns = list(self._positions)
            columns.insert(OTHERS_PLACE, OTHERS)
            self._positions, self.has_others = {column: position for position, column in enumerate(columns)}, True
            self._layouts.clear()
        here = {*names, OTHERS} - set(others) if others else names
        ordered = sorted(here, key=self._positions.__getitem__)
        positions = [0, *map(self._positions.__getitem__, ordered)]
        text = "".join([f"{',' * (position - last)}%r" for last, position in itertools.pairwise(positions)])
        layout = self._layouts[names] = _Layout(text, operator.itemgetter(*ordered), positions[-1] + 1, others)
        return layout

    def _give_columns(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Give names of a row that are new their columns, and return those of all that stand in none in this row."""
        there = sorted((name for name in names if name in self._positions), key=self._positions.__getitem__)
        new = [name for name in names if name not in self._positions]
        places = [*map(self._positions.__getitem__, there), *range(len(self), len(self) + len(new))]
        if not new and places[-1] < _FEWEST_COLUMNS:
            return ()
        reached = len(there) if new and not self._can_grow else len(places)
        while reached and places[reached - 1] - self.has_others >= max(_FEWEST_COLUMNS, _FILLED_PART * reached):
            reached -= 1
        self.add(new[: max(reached - len(there), 0)])
        return tuple(name for name in [*there, *new][reached:] if name not in FIRST_COLUMNS)


def _spelled(cell: float | Cell) -> float | Cell:
    # polars takes a column for numbers only with NaN spelled like this.
    return Cell("NaN") if cell != cell else cell  # noqa: PLR0124


def number_cell(number: float) -> float | Cell:
    """Return a number as a float64; an integer that float64 cannot hold stays one."""
    return Cell(number) if isinstance(number, int) and abs(number) > _LARGEST_EXACT else float(number)


def epoch_cell(epoch: float) -> Cell:
    """Return an epoch as a cell; a whole one is written as an integer.

    Examples:
        >>> epoch_cell(2.0), epoch_cell(0.5)
        (2, 0.5)
    """
    number = number_cell(epoch)
    return Cell(int(number)) if isinstance(number, float) and number.is_integer() else Cell(repr(number))


def quoted(cell: str) -> Cell:
    """Return a cell that was read as it is written."""
    return Cell(row_bytes([cell]).decode().removesuffix("\n"))
