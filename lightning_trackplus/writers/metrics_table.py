"""The table of numbers, ``metrics.csv``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

from lightning_trackplus.writers.csv_rows import cells_of, is_whole, read_row, row_bytes
from lightning_trackplus.writers.whole_file import WholeFile

FIRST_COLUMNS = ("step", "epoch")
_LARGEST_EXACT = 2**53


class MetricsTable:
    """A growing table with one row a step, rectangular on disk at any moment.

    The row of the current step stays in memory until the next step or a flush. What comes for that
    step after a flush completes the row in place. A new name widens the whole file: the wider file
    is written beside the old one and then takes its place.

    Args:
        path: The file. One that is there already is continued.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: WholeFile | None = None
        self._columns: list[str] = []
        self._body_start = 0
        self._row: dict[str, str] = {}
        self._row_start = self._row_end = 0
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
        if self._row.get("step") != str(step):
            self._store()
            self._row, self._row_start = {"step": str(step)}, self._row_end
        if epoch is not None:
            self._row["epoch"] = str(int(epoch)) if float(epoch).is_integer() else _cell(epoch)
        self._row |= {_column(name): _cell(number) for name, number in numbers.items() if name != "epoch"}
        self._is_stored = False

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
                self._columns = cells_of(header)
                self._read_last_row(file)
            else:
                # The file is new, or the process was killed while it wrote the header: it has no rows.
                self._path.write_bytes(row_bytes(FIRST_COLUMNS))
                self._columns = list(FIRST_COLUMNS)
                self._body_start = self._row_start = self._row_end = self._path.stat().st_size
                self._row, self._is_stored = {}, True
        self._file = WholeFile(self._path, "r+b")

    def _read_last_row(self, file: IO[bytes]) -> None:
        self._body_start = end = file.tell()
        last = b""
        while row := read_row(file):
            last = row
            end += len(row)
        self._row_start, self._row_end = end - len(last), end
        cells = cells_of(last)
        self._is_stored = not last or is_whole(last)
        if not self._is_stored:
            cells = cells[:-1]  # The process was killed while it wrote: this cell may be cut short.
        self._row = {name: cell for name, cell in zip(self._columns, cells, strict=False) if cell}

    def _store(self) -> None:
        if self._is_stored or self._file is None:
            return
        if new := [name for name in self._row if name not in self._columns]:
            self._widen(new)
        else:
            row = self._row_bytes(self._columns) if self._row else b""
            self._file.seek(self._row_start)
            self._file.write(row)
            self._file.truncate()
            self._row_end = self._row_start + len(row)
        self._is_stored = True

    def _row_bytes(self, columns: Iterable[str]) -> bytes:
        return row_bytes(self._row.get(name) for name in columns)

    def _widen(self, new: list[str]) -> None:
        """Add columns, and store the current row, which has them."""
        columns = [*self._columns, *new]
        header, row = row_bytes(columns), self._row_bytes(columns)
        beside = self._path.with_suffix(".csv.new")
        try:
            with beside.open("wb") as wider:
                wider.write(header)
                self._copy_rows(wider, b"," * len(new))
                row_start = wider.tell()
                wider.write(row)
            beside.replace(self._path)
        except OSError:
            beside.unlink(missing_ok=True)
            raise
        opened, self._file = self._file, None
        if opened is not None:
            opened.close()
        self._file = WholeFile(self._path, "r+b")
        self._columns, self._body_start = columns, len(header)
        self._row_start, self._row_end = row_start, row_start + len(row)

    def _copy_rows(self, wider: IO[bytes], empty_cells: bytes) -> None:
        """Copy the rows before the current one as they stand, with empty cells at their ends."""
        with self._path.open("rb") as file:
            position = file.seek(self._body_start)
            for line in file:
                if position >= self._row_start:
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
