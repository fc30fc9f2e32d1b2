"""Rows of a CSV file as bytes, written so that every reader finds the same cells, and read where they may be torn."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from lightning_trackplus.formats.atomic_file import replace_file

_ENCODING = "utf-8"
_BLOCK = 2**16

LOGGED_STEP = "step (logged)"
"""The column of a metric that is called step; the column ``step`` is the table's own."""

OTHERS = "other names"
"""The column of a wide table with what is in no other in a row; see `other_names.py`."""

_TAKEN = {"step": LOGGED_STEP, OTHERS: f"{OTHERS} (logged)"}
_NAMES = {column: name for name, column in _TAKEN.items()}


def column_of(name: str) -> str:
    """Return the column for the name of a metric: some are the table's own, and what has no UTF-8 is an escape there.

    Examples:
        >>> column_of("loss"), column_of("step")
        ('loss', 'step (logged)')
    """
    return _TAKEN.get(name) or name.encode(_ENCODING, "backslashreplace").decode(_ENCODING)


def name_of(column: str) -> str:
    """Return the name of the metric that a column is of.

    Examples:
        >>> name_of("loss"), name_of("step (logged)")
        ('loss', 'step')
    """
    return _NAMES.get(column, column)


def row_bytes(cells: Iterable[object]) -> bytes:
    """Return cells as one row; what has no UTF-8 is written as its escape.

    Args:
        cells: The cells; None is an empty one.
    """
    text = io.StringIO()
    # With this line end, which is the standard's, cells with a carriage return are quoted as well.
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().removesuffix("\r\n").encode(_ENCODING, "backslashreplace") + b"\n"


def cells_of(row: bytes) -> list[str]:
    """Return the cells of one row."""
    if len(row) < csv.field_size_limit():
        return next(csv.reader(io.StringIO(row.decode(_ENCODING, "replace"), newline="")), [])
    limit = csv.field_size_limit(sys.maxsize)  # A caption can be long; the limit is one for the whole process.
    try:
        return next(csv.reader(io.StringIO(row.decode(_ENCODING, "replace"), newline="")), [])
    finally:
        csv.field_size_limit(limit)


def read_row(file: IO[bytes]) -> bytes:
    """Return the next row, over as many lines as its quoted cells have, and leave the file behind it.

    A row that does not end with a line end was torn, and is the last; an empty one is the end of the file.
    """
    lines, quotes = [], 0
    while line := file.readline():
        lines.append(line)
        quotes += line.count(b'"')
        if quotes % 2 == 0:
            break
    return lines[0] if len(lines) == 1 else b"".join(lines)


def header_of(path: Path, columns: Iterable[str]) -> bytes:
    """Return the first row of a table, which gets one where it has none; nobody finds the file without it.

    Raises:
        OSError: If it could not be written.
    """
    header = b""
    if path.is_file():
        with path.open("rb") as file:
            header = read_row(file)
    if not is_whole(header):
        header = row_bytes(columns)
        try:
            replace_file(path, header)
        except OSError:
            path.write_bytes(header)  # Nothing may be written beside it, but it itself.
    return header


def last_row(file: IO[bytes], start: int) -> bytes:
    """Return the last row of those that are one line each, whole or torn; an empty one if there is none."""
    end = file.seek(0, io.SEEK_END)
    block = b""
    while end > start and b"\n" not in block[:-1]:
        size = min(max(len(block), _BLOCK), end - start)
        end = file.seek(end - size)
        block = file.read(size) + block
    return block[block[:-1].rfind(b"\n") + 1 :]


def is_whole(row: bytes) -> bool:
    """Return whether a row was written to its end."""
    return row.endswith(b"\n") and row.count(b'"') % 2 == 0
