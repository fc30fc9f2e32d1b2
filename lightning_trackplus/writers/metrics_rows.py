"""The columns of ``metrics.csv``, and its rows as text."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeAlias

from lightning_trackplus.formats.csv_rows import (
    OTHERS,
    OTHERS_POSITION,
    cells_of,
    column_of,
    others_cell,
    row_bytes,
    with_column_for_others,
)

FIRST_COLUMNS = ("step", "epoch")
_LARGEST_EXACT = 2**53
_MAX_TEMPLATES = 1000
# A row has cells in this many columns in any case, and in more if one of `_FILLED_PART` cells is filled.
_FEWEST_COLUMNS = 1024
_FILLED_PART = 64


class CellText(str):
    """The text of a cell that is not a float, or that was read from the file."""

    __slots__ = ()

    __repr__ = str.__str__


Row: TypeAlias = "dict[str, float | CellText]"
"""The non-empty cells of a row, by column."""


class RowText(NamedTuple):
    """A row as text up to its last cell, the number of its cells, and whether it has one for other names."""

    text: str
    width: int
    has_others: bool = False

    def line(self, width: int, *, has_others: bool = False) -> str:
        r"""Return the row as a line of a table that has some columns.

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
            del cells[OTHERS_POSITION : OTHERS_POSITION + 1]
        return row_bytes(cells[:width]).decode()


class _RowTemplate(NamedTuple):
    """The text of rows with certain names: a format string, and what returns its cells from a row."""

    # Apart from the templates of events in `scalar_events.py`: those are bytes, and do not depend on columns.

    text: str
    cells: Callable[[Row], tuple[float | CellText, ...]]
    width: int
    # The names in the column for other names.
    others: tuple[str, ...]


class Columns:
    """The columns of a table, which can be added but not removed, and rows in these columns as text.

    In a row that would be mostly commas, the last cells go to the column for other names; names that are only in such
    rows get no column.

    Examples:
        >>> columns = Columns(["step", "epoch"])
        >>> numbers = columns.by_column({"loss": 0.5, "step": 3.0})
        >>> columns.text({"step": CellText(7), "loss": 0.5})
        RowText(text='7,,0.5', width=3, has_others=False)
        >>> list(columns)
        ['step', 'epoch', 'loss', 'step (logged)']
        >>> columns.let_grow(can_grow=False)
        >>> columns.text({"step": CellText(8), "loss": 0.5, "acc": 0.25})
        RowText(text='8,,acc=0.25,0.5', width=4, has_others=True)
    """

    def __init__(self, columns: Iterable[str]) -> None:
        self._can_grow = True
        self._names_wait = False
        self._positions: dict[str, int] = {}
        self._column_of: dict[str, str] = {}
        self._has_renamed = False
        self._templates: dict[tuple[str, ...], _RowTemplate] = {}
        self.add(columns)

    def __len__(self) -> int:
        """Return the number of columns."""
        return len(self._positions)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the columns in their order."""
        return iter(self._positions)

    def add(self, columns: Iterable[str]) -> None:
        """Add those that are new."""
        for column in columns:
            self._positions.setdefault(column, len(self._positions))
        self.has_others = OTHERS in self._positions

    def let_grow(self, *, can_grow: bool) -> None:
        """Set whether new names get a column, or go to the one for other names."""
        if can_grow and not self._can_grow:
            self._templates.clear()
        self._can_grow = can_grow

    def by_column(self, numbers: Mapping[str, float]) -> Mapping[str, float]:
        """Return numbers by column instead of by name."""
        if not numbers.keys() <= self._column_of.keys():
            new = {name: column_of(name) for name in numbers if name not in self._column_of}
            self._column_of |= new
            self._has_renamed |= any(name != column for name, column in new.items())
            self.add_few(new.values())
        if not self._has_renamed:
            return numbers
        return {self._column_of[name]: number for name, number in numbers.items()}

    def add_few(self, columns: Collection[str]) -> None:
        """Add columns now unless they are many; otherwise `text` decides which of the names get one."""
        if self._can_grow and not self._names_wait and len(self) + len(columns) <= _FEWEST_COLUMNS:
            self.add(columns)
        else:
            self._names_wait = True

    def text(self, row: Row) -> RowText:
        """Return a row as text; new names get a column, or go to the one for other names."""
        names = tuple(row)
        template = self._templates.get(names) or self._new_template(names)
        if template.others:
            texts = {name: repr(_spelled(row[name])) for name in template.others}
            row = {**row, OTHERS: CellText(others_cell(texts))}
        text = template.text % template.cells(row)
        if "nan" in text:
            text = template.text % tuple(map(_spelled, template.cells(row)))
        return RowText(text, template.width, self.has_others)

    def _new_template(self, names: tuple[str, ...]) -> _RowTemplate:
        if len(self._templates) >= _MAX_TEMPLATES:
            self._templates.clear()
        others = self._give_columns(names)
        if others and not self.has_others:
            columns = list(self._positions)
            columns.insert(OTHERS_POSITION, OTHERS)
            self._positions, self.has_others = {column: position for position, column in enumerate(columns)}, True
            self._templates.clear()
        filled = {*names, OTHERS} - set(others) if others else names
        ordered = sorted(filled, key=self._positions.__getitem__)
        positions = [0, *map(self._positions.__getitem__, ordered)]
        text = "".join([f"{',' * (position - last)}%r" for last, position in itertools.pairwise(positions)])
        template = self._templates[names] = _RowTemplate(text, operator.itemgetter(*ordered), positions[-1] + 1, others)
        return template

    def _give_columns(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Add columns for new names of a row; return the names that this row has in the column for other names."""
        known = sorted((name for name in names if name in self._positions), key=self._positions.__getitem__)
        new = [name for name in names if name not in self._positions]
        positions = [*map(self._positions.__getitem__, known), *range(len(self), len(self) + len(new))]
        if not new and positions[-1] < _FEWEST_COLUMNS:
            return ()
        count = len(known) if new and not self._can_grow else len(positions)
        while count and positions[count - 1] - self.has_others >= max(_FEWEST_COLUMNS, _FILLED_PART * count):
            count -= 1
        self.add(new[: max(count - len(known), 0)])
        return tuple(name for name in [*known, *new][count:] if name not in FIRST_COLUMNS)


def _spelled(cell: float | CellText) -> float | CellText:
    # polars reads a column as numbers only if NaN is spelled like this.
    return CellText("NaN") if cell != cell else cell  # noqa: PLR0124


def number_cell(number: float) -> float | CellText:
    """Return a number as float64; an integer that float64 cannot hold stays an integer."""
    return CellText(number) if isinstance(number, int) and abs(number) > _LARGEST_EXACT else float(number)


def epoch_cell(epoch: float) -> CellText:
    """Return an epoch as a cell, a whole one as an integer."""
    number = number_cell(epoch)
    return CellText(int(number)) if isinstance(number, float) and number.is_integer() else CellText(repr(number))


def quoted(cell: str) -> CellText:
    """Return the content of a cell as it is written, with quotes if needed."""
    return CellText(row_bytes([cell]).decode().removesuffix("\n"))
