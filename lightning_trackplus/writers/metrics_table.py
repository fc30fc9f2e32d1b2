"""The table of numbers, ``metrics.csv``."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeAlias

from lightning_trackplus.writers.csv_rows import cells_of, is_whole, last_row, read_row, row_bytes
from lightning_trackplus.writers.whole_file import WholeFile

FIRST_COLUMNS = ("step", "epoch")
_LARGEST_EXACT = 2**53
_LONGEST_TAIL = 1000
_MOST_WAITING = 256 * 2**10
_MOST_LAYOUTS = 1000
_CHUNK = 2**20


class _Cell(str):
    """The text of a cell that is no float, or that was read from the file."""

    __slots__ = ()

    __repr__ = str.__str__


_Row: TypeAlias = "dict[str, float | _Cell]"


class _Layout(NamedTuple):
    """How a row becomes text that has some of the columns.

    Attributes:
        text: The row with a place for each cell that it has.
        cells: Returns these cells of a row, in the order of the columns.
    """

    text: str
    cells: Callable[[_Row], Any]


class _Text(NamedTuple):
    """A row as text.

    Attributes:
        text: The row.
        width: How many cells it has; columns that came later are not among them.
    """

    text: str
    width: int


class MetricsTable:
    """A growing table with one row a step, rectangular on disk after each flush.

    Rows wait in memory until a flush, or until they are many. What comes for the last row's step after a flush
    completes the row in place. A new name widens the whole file: the wider file is written beside the old one and
    then takes its place.

    Lightning hands over series of evaluation batches, numbered by batch, while the row of a training step waits for
    its validation results. These get rows of their own before it, without an epoch.

    Args:
        path: The file. One that is there already is continued.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: WholeFile | None = None
        self._columns: dict[str, None] = {}
        self._new_columns: dict[str, None] = {}
        self._column_of: dict[str, str] = {}
        self._has_other_columns = False
        self._layouts: dict[tuple[str, ...], _Layout] = {}
        self._body_start = 0
        # Rows that are complete and not in the file yet; behind them those that may get more, stored or not.
        self._complete: list[_Text] = []
        self._complete_size = 0
        self._tail: list[_Row] = []
        self._tail_waits = False
        self._tail_start = self._end = 0
        self._is_stored = True

    def write(
        self,
        step: int,
        epoch: float | None,
        numbers: Mapping[str, float],
        *,
        counts_batches: bool = False,
        waiting_step: int | None = None,
    ) -> None:
        """Add numbers to the row of a step.

        Args:
            step: The global step. Another step than the last call's begins a new row.
            epoch: The epoch, where it is known.
            numbers: The values by name; all become float64.
            counts_batches: Whether the step counts the batches of evaluations; these have rows of their own.
            waiting_step: Which step's row waits for the results of the evaluation; by default, that of the last row.
        """
        if self._file is None:
            self._open()
        row = self._new_batch_row(_Cell(step), waiting_step) if counts_batches else self._row_of(_Cell(step))
        if not numbers.keys() <= self._column_of.keys():
            self._learn(numbers)
        if self._has_other_columns:
            numbers = {self._column_of[name]: number for name, number in numbers.items()}
        before = row.get("epoch")
        row.update(numbers)
        if set(map(type, numbers.values())) != {float}:
            row.update({name: _plain(number) for name, number in numbers.items()})
        # The column `epoch` is the Trainer's; what comes later for a row without saying its epoch leaves it as it is.
        is_known = before and "epoch" not in numbers
        row["epoch"] = (before or _Cell()) if is_known or epoch is None else _epoch_cell(epoch)
        self._is_stored = False

    def flush(self) -> None:
        """Bring all rows into the file, and the last one as far as it has come.

        Raises:
            OSError: If they could not be written; then complete rows are lost. Also if the file was removed
                meanwhile; then another one is begun.
        """
        if self._file is None or self._is_stored:
            return
        if self._file.is_there():
            self._store()
            return
        self._complete, self._complete_size = [], 0
        self._file.close()
        self._open(self._tail)
        self._store()
        raise FileNotFoundError(f"{self._path} was removed in mid-run, with what it held; it goes on with later rows.")

    def close(self) -> None:
        """Flush and close the file; a later ``write`` continues it."""
        try:
            self.flush()
        finally:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _learn(self, names: Iterable[str]) -> None:
        """Note the columns of names that may be new."""
        self._column_of |= {name: _column(name) for name in names}
        self._has_other_columns = any(name != column for name, column in self._column_of.items())
        columns = (self._column_of[name] for name in names)
        new = [column for column in columns if column not in self._columns and column not in self._new_columns]
        self._new_columns |= dict.fromkeys(new)
        if new:
            self._layouts.clear()

    def _row_of(self, step: _Cell) -> _Row:
        """Return the row to add to: the one that waits, or a new one."""
        if self._tail and self._tail_waits and self._tail[-1].get("step") == step:
            return self._tail[-1]
        self._tail_waits = True
        return self._new_row(step)

    def _new_batch_row(self, step: _Cell, waiting_step: int | None) -> _Row:
        """Return a new row, which stands before the one that waits, or that is still to come."""
        waits = self._tail_waits and (waiting_step is None or self._tail[-1].get("step") == str(waiting_step))
        if waits and len(self._tail) <= _LONGEST_TAIL:
            self._tail.insert(-1, {"step": step})
            return self._tail[-2]
        self._tail_waits = False
        return self._new_row(step)

    def _new_row(self, step: _Cell) -> _Row:
        tail = self._tail
        if self._is_stored:
            self._tail_start = self._end
        else:
            for row in tail:
                self._complete.append(text := self._formatted(row))
                self._complete_size += len(text.text)
        self._tail = tail = [{"step": step}]
        if self._complete_size > _MOST_WAITING:
            self._store()
        return tail[-1]

    def _formatted(self, row: _Row) -> _Text:
        names = tuple(row)
        layout = self._layouts.get(names) or self._new_layout(names)
        text = layout.text % layout.cells(row)
        # polars takes a column for numbers only with NaN spelled like this.
        return _Text(text.replace("nan", "NaN") if "nan" in text else text, self._width)

    def _new_layout(self, names: tuple[str, ...]) -> _Layout:
        if len(self._layouts) >= _MOST_LAYOUTS:
            self._layouts.clear()
        columns = [*self._columns, *self._new_columns]
        filled = set(names)
        text = ",".join("%r" if column in filled else "" for column in columns) + "\n"
        ordered = [column for column in columns if column in filled]
        cells = operator.itemgetter(*ordered) if ordered else lambda _: ()
        layout = self._layouts[names] = _Layout(text, cells)
        return layout

    @property
    def _width(self) -> int:
        """How many columns there are, with those that are not in the file yet."""
        return len(self._columns) + len(self._new_columns)

    def _store(self) -> None:
        """Write what is not in the file."""
        if self._is_stored or self._file is None:
            return
        width = self._width
        complete, self._complete, self._complete_size = self._complete, [], 0
        texts = [
            one.text if one.width == width else f"{one.text[:-1]}{',' * (width - one.width)}\n" for one in complete
        ]
        tail = [self._formatted(row).text for row in self._tail]
        data, last = "".join(texts + tail).encode(), "".join(tail[-1:]).encode()
        if self._new_columns:
            try:
                self._widen(data)
            except OSError:
                # Where no file can be written beside it, this one may still take what it has columns for.
                narrow = [row_bytes(cells_of(row.encode())[: len(self._columns)]) for row in texts + tail]
                self._write_in_place(b"".join(narrow))
                self._go_on_behind(b"".join(narrow), b"".join(narrow[-1:]))
                raise
        else:
            self._write_in_place(data)
        self._go_on_behind(data, last)
        self._is_stored = True

    def _write_in_place(self, rows: bytes) -> None:
        """Write rows at the place where those begin that are not in the file."""
        if self._file is not None:
            self._file.seek(self._tail_start)
            self._file.write(rows)
            if self._end > (end := self._tail_start + len(rows)):
                self._file.truncate(end)

    def _go_on_behind(self, rows: bytes, last: bytes) -> None:
        """Take rows for stored: all but the last one have all they get."""
        self._end = self._tail_start + len(rows)
        self._tail = self._tail[-1:]
        self._tail_start = self._end - len(last)

    def _widen(self, rows: bytes) -> None:
        """Give the file more columns, and rows that have them at the place where those begin that are not in it."""
        columns = self._columns | self._new_columns
        header = row_bytes(columns)
        beside = self._path.with_suffix(".csv.new")
        try:
            with beside.open("wb") as wider:
                wider.write(header)
                self._copy_rows(wider, b"," * len(self._new_columns) + b"\n")
                tail_start = wider.tell()
                wider.write(rows)
            beside.replace(self._path)
        except OSError:
            beside.unlink(missing_ok=True)
            raise
        opened, self._file = self._file, None
        if opened is not None:
            opened.close()
        self._file = WholeFile(self._path, "r+b")
        self._columns, self._new_columns = columns, {}
        self._body_start, self._tail_start = len(header), tail_start

    def _copy_rows(self, wider: IO[bytes], end: bytes) -> None:
        """Copy the rows before the tail as they stand, with empty cells at their ends."""
        with self._path.open("rb") as file:
            left = self._tail_start - file.seek(self._body_start)
            # A row is one line: it holds numbers alone.
            while left > 0 and (chunk := file.read(min(left, _CHUNK))):
                left -= len(chunk)
                wider.write(chunk.replace(b"\r", b"").replace(b"\n", end))

    def _open(self, tail: list[_Row] | None = None) -> None:
        """Open the file; by default, its last row is the current one, so that its step can go on."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.touch()
        with self._path.open("rb") as file:
            header = read_row(file)
            if is_whole(header):
                self._columns = dict.fromkeys(cells_of(header))
                self._body_start = file.tell()
                self._read_tail(last_row(file, self._body_start))
            else:
                # The file is new, or the process was killed while it wrote the header: it has no rows.
                self._body_start = self._path.write_bytes(row_bytes(FIRST_COLUMNS))
                self._columns = dict.fromkeys(FIRST_COLUMNS)
                self._tail_start = self._end = self._body_start
                self._tail, self._is_stored = [], True
        if tail is not None:
            self._tail_start, self._tail, self._is_stored = self._end, tail, not tail
        self._column_of.clear()
        self._layouts.clear()
        wanted = dict.fromkeys([*FIRST_COLUMNS, *itertools.chain.from_iterable(self._tail)])
        self._new_columns = {column: None for column in wanted if column not in self._columns}
        self._file = WholeFile(self._path, "r+b")

    def _read_tail(self, last: bytes) -> None:
        """Take the last row as the one that goes on."""
        self._end = self._path.stat().st_size
        self._tail_start = self._end - len(last)
        cells = cells_of(last)
        self._is_stored = not last or (is_whole(last) and len(cells) == len(self._columns))
        if not self._is_stored:
            # The process was killed while it wrote. A line without its end lost its last cells, one of which may be
            # cut short; with an end, it is what the row before it had beyond its new end.
            cells = [] if is_whole(last) else cells[:-1]
        row: _Row = {name: _quoted(cell) for name, cell in zip(self._columns, cells, strict=False) if cell}
        self._tail = [row] if row else []
        self._tail_waits = bool(row)


def _column(name: str) -> str:
    """Return the column for a name: ``step`` is taken, and what has no UTF-8 stands there as its escape."""
    return "step (logged)" if name == "step" else name.encode("utf-8", "backslashreplace").decode()


def _plain(number: float) -> float | _Cell:
    """Return a float64; an integer that float64 cannot hold stays one."""
    return _Cell(number) if isinstance(number, int) and abs(number) > _LARGEST_EXACT else float(number)


def _epoch_cell(epoch: float) -> _Cell:
    number = _plain(epoch)
    return _Cell(int(number)) if isinstance(number, float) and number.is_integer() else _Cell(repr(number))


def _quoted(cell: str) -> _Cell:
    """Return a cell that was read as it is written."""
    return _Cell(row_bytes([cell]).decode().removesuffix("\n"))
