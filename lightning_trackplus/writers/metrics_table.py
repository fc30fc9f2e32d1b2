"""Writes ``metrics.csv``, the table of a run's numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lightning_trackplus.formats.csv_rows import cells_of, filled_cells, is_whole, without_torn
from lightning_trackplus.record import EvaluationBatch
from lightning_trackplus.writers.metrics_rows import (
    FIRST_COLUMNS,
    CellText,
    Columns,
    Row,
    RowText,
    epoch_cell,
    number_cell,
    quoted,
)
from lightning_trackplus.writers.table_file import TableFile

_LONGEST_TAIL = 1000
_MAX_WAITING = 256 * 2**10
# A new column costs a copy of the file.
_MAX_WAITING_FOR_COLUMNS = 4 * 2**20
_NAMES_REPORTED = 5


class MetricsTable:
    """A growing table with a row for each step; a row ends with its last value.

    A repeated name, or `seal`, begins another row of the step. Rows wait in memory until a flush, or until they are
    many; after a flush, further numbers of the last row's step complete the row in place. New names widen the header:
    a wider copy of the file replaces it. If that fails, rows are written without the new names, and it is tried again.

    Numbers of evaluation batches come while the row of a training step waits for its validation results. They get rows
    of their own before it, without an epoch.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = TableFile(path)
        self._columns = Columns(FIRST_COLUMNS)
        # Rows that are complete and not in the file; then those that may get more cells, in the file or not.
        self._complete: list[RowText] = []
        self._complete_size = 0
        self._tail: list[Row] = []
        self._tail_waits = False
        self._is_stored = True
        # Whether the last row has cells without columns in the file; and the error that the next flush raises.
        self._is_cut = False
        self._failure: OSError | None = None

    def write(
        self, step: int, epoch: float | None, numbers: Mapping[str, float], batch: EvaluationBatch | None = None
    ) -> None:
        """Add numbers to the row of a step."""
        if not self._file.is_open:
            self._open()
        numbers = self._columns.by_column(numbers)
        row = (
            self._row_of(CellText(step), epoch, numbers)
            if batch is None
            else self._new_batch_row(CellText(step), batch)
        )
        before = row.get("epoch")
        row.update(numbers)
        if set(map(type, numbers.values())) != {float}:
            row.update({name: number_cell(number) for name, number in numbers.items()})
        # The column `epoch` is the Trainer's; later numbers without an epoch leave it unchanged.
        is_known = before and "epoch" not in numbers
        row["epoch"] = (before or CellText()) if is_known or epoch is None else epoch_cell(epoch)
        self._is_stored = False

    def seal(self) -> None:
        """Add nothing more to the existing rows."""
        if not self._file.is_open and self._path.is_file():
            self._open()
        self._tail_waits = False

    def row_count(self) -> int:
        """Return the number of rows in the file, after a flush."""
        return self._file.row_count()

    def flush(self) -> None:
        """Write all rows into the file, the last one as far as it is complete.

        It raises `OSError` if complete rows are lost since the last flush, because they could not be written or the
        file was removed, and if they lost the cells of new names, because the file could not get more columns.
        """
        if self._file.is_open and not self._is_stored:
            if not self._path.exists():
                self._start_again()
            elif self._file.was_changed():
                self._append_to_others()
            self._store()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Flush and close the file; a later ``write`` continues it."""
        try:
            self._is_stored = self._is_stored and not self._is_cut
            self.flush()
        finally:
            self._file.close()

    def _row_of(self, step: CellText, epoch: float | None, numbers: Mapping[str, float]) -> Row:
        """Return the row for more numbers of a step: the one that waits, or a new one."""
        if self._tail and self._tail_waits:
            row = self._tail[-1]
            if row.get("step") == step and _fits(row, epoch, numbers):
                return row
        row = self._new_row(step)
        self._tail_waits = True
        return row

    def _new_batch_row(self, step: CellText, batch: EvaluationBatch) -> Row:
        """Return a new row, before the one that waits for validation results."""
        waits = self._tail_waits and self._tail[-1].get("step") == str(batch.waiting_step)
        if waits and len(self._tail) <= _LONGEST_TAIL:
            self._tail.insert(-1, {"step": step})
            return self._tail[-2]
        self._tail_waits = False
        return self._new_row(step)

    def _new_row(self, step: CellText) -> Row:
        if self._is_stored and not self._is_cut:
            self._file.finish_last_row()
        else:
            for row in self._tail:
                self._complete.append(text := self._columns.text(row))
                self._complete_size += len(text.text)
            self._tail = []
            is_wide_enough = len(self._columns) == len(self._file.columns)
            if self._complete_size > (_MAX_WAITING if is_wide_enough else _MAX_WAITING_FOR_COLUMNS):
                self._store()
        self._tail = [{"step": step}]
        return self._tail[-1]

    def _store(self) -> None:
        """Write what is not in the file; the next flush raises errors."""
        self._columns.let_grow(can_grow=self._file.can_be_copied)
        texts = [*self._complete, *map(self._columns.text, self._tail)]
        try:
            if self._has_columns_for(texts) or not self._add_columns(texts):
                self._file.write(*self._lines(texts, len(self._file.columns), self._file.has_others))
        except OSError as error:
            self._failure = self._failure or error
            # The first row may have been in the file before; the others are lost.
            self._keep(self._complete[:1])
            return
        self._keep([])
        self._tail = self._tail[-1:]
        self._is_stored = True
        self._is_cut = bool(self._tail) and not self._has_columns_for(texts[-1:])

    def _keep(self, complete: list[RowText]) -> None:
        """Set the complete rows that wait."""
        self._complete = complete
        self._complete_size = sum(len(text.text) for text in complete)

    def _lines(self, texts: list[RowText], width: int, has_others: bool) -> tuple[bytes, bytes]:
        """Return rows as lines of a table with these columns, and the last one if it can get more cells."""
        lines = [
            f"{text.text}\n"
            if text.width <= width and text.has_others == has_others
            else text.line(width, has_others=has_others)
            for text in texts
        ]
        return "".join(lines).encode(), lines[-1].encode() if self._tail else b""

    def _has_columns_for(self, texts: list[RowText]) -> bool:
        width = len(self._file.columns)
        is_wide_enough = len(self._columns) == width or all(text.width <= width for text in texts)
        return is_wide_enough and self._columns.has_others == self._file.has_others

    def _add_columns(self, texts: list[RowText]) -> bool:
        """Write rows together with the columns that they need; return False if the file cannot be copied."""
        try:
            self._file.add_columns(self._columns, *self._lines(texts, len(self._columns), self._columns.has_others))
        except OSError as error:
            if not self._file.is_open:
                raise
            # Without room for a copy, the file may still take the cells that it has columns for.
            self._failure = self._failure or self._missing_columns_error(error)
            return False
        return True

    def _missing_columns_error(self, error: OSError) -> OSError:
        in_file = set(self._file.columns)
        names = [name for name in self._columns if name not in in_file]
        others = f" and {rest} others" if (rest := len(names) - _NAMES_REPORTED) > 0 else ""
        return OSError(
            error.errno,
            f"{error.strerror}: {self._path} has no column yet for {', '.join(map(repr, names[:_NAMES_REPORTED]))}"
            f"{others}; rows are written without them",
        )

    def _start_again(self) -> None:
        """Start a new file, since the open one was removed."""
        self._keep([])
        self._open(self._tail)
        self._failure = FileNotFoundError(
            f"{self._path} was removed during the run; its rows are lost. A new one is started."
        )

    def _append_to_others(self) -> None:
        """Append the rows that wait to what another process has written, such as one of ``ddp_fork``."""
        names, has_others = list(self._columns), self._columns.has_others
        rows = [cells_of(text.line(len(names), has_others=has_others).encode()) for text in self._complete]
        waiting: list[Row] = [
            {name: CellText(cell) for name, cell in filled_cells(names, cells).items()} for cells in rows
        ]
        stored = filled_cells(self._file.columns, cells_of(self._file.last_row))
        first, *others = [*waiting, *self._tail]
        # The file has what the last row had; later numbers get a row of their own.
        first = {name: cell for name, cell in first.items() if name in {"step", "epoch"} or name not in stored}
        self._keep([])
        self._open([*([first] if first.keys() - {"step", "epoch"} else []), *others])

    def _open(self, tail: list[Row] | None = None) -> None:
        """Open the file to append rows; by default, its last row can get more numbers of its step."""
        self._file.close()
        self._file.open(FIRST_COLUMNS)
        self._columns = Columns(self._file.columns)
        self._is_cut = False
        if tail is None:
            self._read_tail(self._file.last_row)
        else:
            self._file.finish_last_row()
            self._tail, self._is_stored = tail, not tail
        self._columns.add(FIRST_COLUMNS)
        for row in self._tail:
            self._columns.add_few(row)

    def _read_tail(self, last: bytes) -> None:
        """Set the last row as the one that can get more numbers."""
        self._is_stored = not last or is_whole(last)
        # Without a line end, the process was killed while it wrote the row; its last cell may be incomplete.
        cells = cells_of(last) if self._is_stored else without_torn(list(self._columns), cells_of(last))
        row: Row = {name: quoted(cell) for name, cell in filled_cells(self._columns, cells).items()}
        self._tail = [row] if len(row) > 1 else []  # A step alone is not a row.
        self._tail_waits = "epoch" in row  # A batch's row takes nothing more.


def _fits(row: Row, epoch: float | None, numbers: Mapping[str, float]) -> bool:
    """Return whether a row can get these numbers: it has none of the names, and no other epoch."""
    is_same_epoch = epoch is None or row.get("epoch") in (None, "", epoch_cell(epoch))
    return is_same_epoch and row.keys() & numbers.keys() <= {"epoch"}
