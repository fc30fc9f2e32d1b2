"""Rows of CSV files as bytes: written so that every reader finds the same cells, and read where they may be torn.

``metrics.csv`` can have a column ``other names``, with those numbers of a row that have no column of their own, as in a
URL: ``val/loss=0.5&layer+3=0.25``, which `urllib.parse.parse_qsl` reads. Such a cell needs no quotes: if a quoted cell
is cut short, other readers refuse the whole file.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO
from urllib.parse import parse_qsl, quote_plus

from lightning_trackplus.formats.atomic_files import replace_file
from lightning_trackplus.formats.layout import escaped

_ENCODING = "utf-8"
_BLOCK = 2**16

LOGGED_STEP = "step (logged)"
"""The column of a metric named ``step``; the column ``step`` is the table's own."""

OTHERS = "other names"
"""The column for numbers without a column of their own."""

OTHERS_POSITION = 2
"""Its position, after the step and the epoch, so that rows without further cells stay short."""

_RENAMED = {"step": LOGGED_STEP, OTHERS: f"{OTHERS} (logged)"}
_NAMES = {column: name for name, column in _RENAMED.items()}
_UNQUOTED = "/:;()[]"


def column_of(name: str) -> str:
    """Return the column of a metric."""
    return _RENAMED.get(name) or escaped(name)


def name_of(column: str) -> str:
    """Return the metric of a column."""
    return _NAMES.get(column, column)


def row_bytes(cells: Iterable[object]) -> bytes:
    """Return cells as one row, None as an empty cell; texts are `escaped`."""
    text = io.StringIO()
    # With the standard's line end, cells with a carriage return are quoted as well.
    csv.writer(text, lineterminator="\r\n").writerow([escaped(one) if isinstance(one, str) else one for one in cells])
    return text.getvalue().removesuffix("\r\n").encode(_ENCODING) + b"\n"


def cells_of(row: bytes) -> list[str]:
    """Return the cells of one row."""
    return next(read_rows(io.StringIO(row.decode(_ENCODING, "replace"), newline="")), [])


def read_rows(lines: Iterable[str]) -> Iterator[list[str]]:
    """Yield the cells of each row, of any length, such as a long caption or a cell of `OTHERS`."""
    # NUL is only in damaged files, and Python 3.10 reads no row that has it.
    reader = csv.reader(line.replace("\0", "\\x00") for line in lines)
    while True:
        limit = csv.field_size_limit(sys.maxsize)  # It is global to the process.
        try:
            row = next(reader, None)
        finally:
            csv.field_size_limit(limit)
        if row is None:
            return
        yield row


def read_row(file: IO[bytes]) -> bytes:
    """Return the next row, with all lines of its quoted cells; empty at the end of the file."""
    lines, quotes = [], 0
    while line := file.readline():
        lines.append(line)
        quotes += line.count(b'"')
        if quotes % 2 == 0:
            break
    return lines[0] if len(lines) == 1 else b"".join(lines)


def is_whole(row: bytes) -> bool:
    """Return whether a row was written to its end."""
    return row.endswith(b"\n") and row.count(b'"') % 2 == 0


def header_of(path: Path, columns: Iterable[str]) -> bytes:
    """Return the header of a table; a table without one is given these columns, in one step."""
    header = b""
    if path.is_file():
        with path.open("rb") as file:
            header = read_row(file)
    if not is_whole(header):
        header = row_bytes(columns)
        try:
            replace_file(path, header)
        except OSError:
            path.write_bytes(header)  # The folder takes no new file, but the file itself may be writable.
    return header


def last_row(file: IO[bytes], start: int, end: int | None = None) -> bytes:
    """Return the last row between two offsets, whole or torn, if rows are one line each; empty if there is none."""
    end = file.seek(0, io.SEEK_END) if end is None else end
    block = b""
    while end > start and b"\n" not in block[:-1]:
        size = min(max(len(block), _BLOCK), end - start)
        end = file.seek(end - size)
        block = file.read(size) + block
    return block[block[:-1].rfind(b"\n") + 1 :]


def others_cell(cells: Mapping[str, str]) -> str:
    """Return cells, by column, as one cell of `OTHERS`."""
    return "&".join([f"{quote_plus(name, _UNQUOTED)}={quote_plus(cells[name])}" for name in cells])


def cells_in(cell: str) -> dict[str, str]:
    """Return the cells in a cell of `OTHERS`, by column; one that cannot be parsed stays a cell of `OTHERS`."""
    try:
        return dict(parse_qsl(cell, strict_parsing=True))
    except ValueError:
        return {OTHERS: cell}


def filled_cells(columns: Iterable[str], row: Iterable[str]) -> dict[str, str]:
    """Return the non-empty cells of a row by column, with those in `OTHERS`.

    Examples:
        >>> filled_cells(["step", "epoch", OTHERS, "loss"], ["7", "", "acc=0.25", "0.5"])
        {'step': '7', 'loss': '0.5', 'acc': '0.25'}
    """
    cells = {name: cell for name, cell in zip(columns, row, strict=False) if cell}
    return cells | cells_in(cells.pop(OTHERS)) if OTHERS in cells else cells


def without_torn(columns: Sequence[str], row: Sequence[str]) -> list[str]:
    """Return the cells of a row that was cut short, without the value that may be cut.

    Examples:
        >>> without_torn(["step", "epoch", OTHERS], ["7", "0", "acc=0.25&loss=0."])
        ['7', '0', 'acc=0.25']
        >>> without_torn(["step", "epoch", "loss"], ["7", "0", "0."])
        ['7', '0']
    """
    *whole, torn = row or [""]
    is_of_others = OTHERS in columns[len(whole) : len(whole) + 1]
    return [*whole, torn.rpartition("&")[0]] if is_of_others else whole


def with_column_for_others(row: bytes) -> bytes:
    r"""Return a row with an empty cell for `OTHERS`, unless it ends before it.

    Examples:
        >>> with_column_for_others(b"7,0,0.5\n"), with_column_for_others(b"7,0\n")
        (b'7,0,,0.5\n', b'7,0\n')
    """
    if b'"' in row:
        cells = cells_of(row)
        split = OTHERS_POSITION
        return row_bytes([*cells[:split], "", *cells[split:]]) if len(cells) > split else row
    parts = row.split(b",", OTHERS_POSITION)
    return b",".join([*parts[:-1], b"", parts[-1]]) if len(parts) > OTHERS_POSITION else row
