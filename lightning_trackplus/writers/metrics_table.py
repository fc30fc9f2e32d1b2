"""The table of numbers, ``metrics.csv``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from lightning_trackplus.writers.csv_rows import cells_of, is_whole, read_row, row_bytes
from lightning_trackplus.writers.whole_file import WholeFile

FIRST_COLUMNS = ("step", "epoch")
_LARGEST_EXACT = 2**53
_LONGEST_TAIL = 1000


class MetricsTable:
    """A growing table with one row a step, rectangular on disk at any moment.

    The row of the current step stays in memory until the next step or a flush. What comes for that
    step after a flush completes the row in place. A new name widens the whole file: the wider file
    is written beside the old one and then takes its place.

    Lightning hands over series of evaluation batches, numbered by batch and without an epoch, while
    the row of a training step waits for its validation results. These get rows of their own before it.

    Args:
        path: The file. One that is there already is continued.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: WholeFile | None = None
        self._columns: dict[str, None] = {}
        self._new_columns: dict[str, None] = {}
        self._body_start = 0
        self._tail: list[dict[str, str]] = []
        self._tail_start = self._end = 0
        self._is_stored = True

    def write(self, step: int, epoch: float | None, numbers: Mapping[str, float]) -> None:
        """Add numbers to the row of a step.

        Args:
            step: The global step. Another step than the last call's begins a new row.
            epoch: The epoch, where it is known.
            numbers: The values by name; all become float64.
        """
        if self._file is None:
            self._open()
        row = self._row_of(str(step), epoch)
        if epoch is not None:
            row["epoch"] = str(int(epoch)) if float(epoch).is_integer() else _cell(epoch)
        row |= {_column(name): _cell(number) for name, number in numbers.items() if name != "epoch"}
        self._new_columns |= dict.fromkeys(name for name in row if name not in self._columns)
        self._is_stored = False

    def _row_of(self, step: str, epoch: float | None) -> dict[str, str]:
        """Return the row to add to; it is the tail's last one, but for a row of an evaluation batch."""
        if self._tail and self._tail[-1].get("step") == step:
            return self._tail[-1]
        if self._tail and epoch is None and "epoch" in self._tail[-1] and len(self._tail) <= _LONGEST_TAIL:
            self._tail.insert(-1, {"step": step})
            return self._tail[-2]
        self._store()
        self._tail, self._tail_start = [{"step": step}], self._end
        return self._tail[-1]

    def flush(self) -> None:
        """Bring the current row into the file."""
        self._store()

    def close(self) -> None:
        """Flush and close the file; a later ``write`` continues it."""
        self._store()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> None:
        """Open the file; its last row is the current one, so that its step can go on."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.touch()
        with self._path.open("rb") as file:
            header = read_row(file)
            if is_whole(header):
                self._columns = dict.fromkeys(cells_of(header))
                self._read_last_row(file)
            else:
                # The file is new, or the process was killed while it wrote the header: it has no rows.
                self._path.write_bytes(row_bytes(FIRST_COLUMNS))
                self._columns = dict.fromkeys(FIRST_COLUMNS)
                self._body_start = self._tail_start = self._end = self._path.stat().st_size
                self._tail, self._is_stored = [], True
        self._file = WholeFile(self._path, "r+b")

    def _read_last_row(self, file: IO[bytes]) -> None:
        self._body_start = end = file.tell()
        last = b""
        while row := read_row(file):
            last = row
            end += len(row)
        self._tail_start, self._end = end - len(last), end
        cells = cells_of(last)
        self._is_stored = not last or is_whole(last)
        if not self._is_stored:
            cells = cells[:-1]  # The process was killed while it wrote: this cell may be cut short.
        self._tail = [{name: cell for name, cell in zip(self._columns, cells, strict=False) if cell}]

    def _store(self) -> None:
        if self._is_stored or self._file is None:
            return
        columns = self._columns | self._new_columns if self._new_columns else self._columns
        # A row without a cell is what was left of one that was torn.
        rows = [row_bytes(row.get(name) for name in columns) if row else b"" for row in self._tail]
        if self._new_columns:
            self._widen(columns, rows)
        else:
            self._file.seek(self._tail_start)
            self._file.write(b"".join(rows))
            self._file.truncate()
        self._is_stored = True
        # All but the last have all they get.
        *complete, last = rows
        self._tail, self._tail_start = self._tail[-1:], self._tail_start + sum(map(len, complete))
        self._end = self._tail_start + len(last)

    def _widen(self, columns: dict[str, None], rows: list[bytes]) -> None:
        """Give the file more columns, and the rows of the tail, which have them."""
        header = row_bytes(columns)
        beside = self._path.with_suffix(".csv.new")
        try:
            with beside.open("wb") as wider:
                wider.write(header)
                self._copy_rows(wider, b"," * len(self._new_columns))
                tail_start = wider.tell()
                wider.writelines(rows)
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

    def _copy_rows(self, wider: IO[bytes], empty_cells: bytes) -> None:
        """Copy the rows before the tail as they stand, with empty cells at their ends."""
        with self._path.open("rb") as file:
            position = file.seek(self._body_start)
            for line in file:
                if position >= self._tail_start:
                    break
                position += len(line)
                wider.write(line.rstrip(b"\r\n") + empty_cells + b"\n")


def _column(name: str) -> str:
    """Return the column for a name: ``step`` is taken, and what has no UTF-8 stands there as its escape."""
    return "step (logged)" if name == "step" else name.encode("utf-8", "backslashreplace").decode()


def _cell(number: float) -> str:
    """Return a float64 in full; an integer that float64 cannot hold stays one."""
    if isinstance(number, int) and abs(number) > _LARGEST_EXACT:
        return str(number)
    number = float(number)
    # polars takes a column for numbers only with NaN spelled like this.
    return "NaN" if math.isnan(number) else repr(number)
