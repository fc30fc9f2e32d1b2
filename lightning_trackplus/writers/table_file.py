"""The file of ``metrics.csv``: rows are appended, the last row can be rewritten, and columns can be added."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from lightning_trackplus.formats.atomic_files import AtomicFile, FilePart
from lightning_trackplus.formats.csv_rows import (
    OTHERS,
    cells_of,
    header_of,
    last_row,
    read_row,
    row_bytes,
    with_column_for_others,
)

# All copies together have at most this size plus this many times the size of the file.
_MAX_COPIED, _MAX_COPIES = 256 * 2**20, 16
_CHUNK = 2**20


class TableFile:
    """A CSV file whose rows are one line each; writes are complete or change nothing but the last row."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: AtomicFile | None = None
        self.columns: list[str] = []
        self.has_others = False
        # The last row as the file has it, which the next write replaces; empty if it is final.
        self.last_row = b""
        self._body_start = self._end = 0
        self._copied = 0
        # An offset in the body, and the number of rows before it.
        self._counted = (0, 0)

    @property
    def is_open(self) -> bool:
        """Whether the file is open."""
        return self._file is not None

    @property
    def can_be_copied(self) -> bool:
        """Whether `add_columns` has not copied too much yet."""
        return self._copied <= _MAX_COPIED + _MAX_COPIES * self._end

    def open(self, first_columns: Iterable[str]) -> None:
        """Open the file; a new one gets these columns."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        header = header_of(self._path, first_columns)
        self.columns = list(dict.fromkeys(cells_of(header)))
        self.has_others = OTHERS in self.columns
        self._body_start, self._counted = len(header), (0, 0)
        self._file = AtomicFile(self._path, "r+b")
        self.last_row = last_row(self._file, self._body_start)
        self._end = self._file.seek(0, os.SEEK_END)

    def was_changed(self) -> bool:
        """Return whether another process wrote or replaced the file."""
        file = self._file
        return file is None or not file.still_linked() or os.fstat(file.fileno()).st_size != self._end

    def finish_last_row(self) -> None:
        """Let the next write append instead of replacing the last row."""
        self.last_row = b""

    def write(self, rows: bytes, last: bytes) -> None:
        """Replace the last row by rows that end with ``last``; after an `OSError`, the file ends before them."""
        if self._file is None:
            return
        start = self._last_start
        # Most rows grow at their end. What the file has stays, also if a kill interrupts the write.
        unchanged = _common_length(rows, self.last_row)
        self.last_row = b""
        self._file.seek(start + unchanged)
        try:
            self._file.write(rows[unchanged:])
        except OSError:
            self._end = start
            self._file.truncate(start)
            raise
        if self._end > start + len(rows):
            self._file.truncate(start + len(rows))
        self._end = start + len(rows)
        self.last_row = last

    def add_columns(self, columns: Iterable[str], new_rows: bytes, last: bytes) -> None:
        """Write rows as `write` does, into a copy with more columns, which replaces the file."""
        columns = list(columns)
        header = row_bytes(columns)
        has_others = OTHERS in columns
        is_shifted = has_others != self.has_others
        copy = self._path.with_suffix(".csv.new")
        self._copied += self._end
        try:
            with copy.open("wb") as wider:
                wider.write(header)
                with io.BufferedReader(FilePart(self._path, self._body_start, self._last_start), _CHUNK) as rows:
                    if is_shifted:
                        wider.writelines(map(with_column_for_others, iter(lambda: read_row(rows), b"")))
                    else:
                        shutil.copyfileobj(rows, wider, _CHUNK)
                wider.write(new_rows)
                end = wider.tell()
            self._replace(copy)
        except OSError:
            with contextlib.suppress(OSError):
                copy.unlink()
            raise
        if is_shifted:
            self._counted = (0, 0)
        self.columns, self.has_others, self._body_start, self._end = columns, has_others, len(header), end
        self.last_row = last

    def row_count(self) -> int:
        """Return the number of rows; rows that were counted before are not read again."""
        if self._file is None:
            return 0
        offset, count = self._counted
        with self._path.open("rb") as file:
            file.seek(self._body_start + offset)
            while (left := self._end - file.tell()) > 0 and (chunk := file.read(min(left, _CHUNK))):
                count += chunk.count(b"\n")
        # The last row may still grow.
        self._counted = self._last_start - self._body_start, count - self.last_row.count(b"\n")
        return count

    def close(self) -> None:
        """Close the file; it can be opened again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def _last_start(self) -> int:
        return self._end - len(self.last_row)

    def _replace(self, copy: Path) -> None:
        """Replace the open file."""
        self.close()  # Windows does not replace an open file.
        try:
            copy.replace(self._path)
        finally:
            self._file = AtomicFile(self._path, "r+b")


def _common_length(first: bytes, second: bytes) -> int:
    """Return the length of the common prefix."""
    length = min(len(first), len(second))
    if first[:length] == second[:length]:
        return length
    return next(position for position in range(length) if first[position] != second[position])
