"""What a run has last of some names."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from lightning_trackplus.files.csv_rows import cells_of, is_whole, read_row
from lightning_trackplus.run_directory import METRICS_FILE

_BLOCK = 2**18


class Point(NamedTuple):
    """A value and its step."""

    step: int
    value: float


def last_points(directory: Path, names: set[str]) -> dict[str, Point]:
    """Return the last point of each name that a run has.

    Args:
        directory: The run directory.
        names: The names.
    """
    if not names or not directory.is_dir():
        return {}
    table = directory / METRICS_FILE
    return _in_table(table, names) if table.is_file() else _in_events(directory, names)


def _in_table(path: Path, names: set[str]) -> dict[str, Point]:
    found: dict[str, Point] = {}
    with path.open("rb") as file:
        header = read_row(file)
        columns = cells_of(header) if is_whole(header) else []
        left = names.intersection(columns)
        for row in _rows_from_the_end(file, file.tell()):
            if not left:
                break
            cells = dict(zip(columns, cells_of(row), strict=False))
            for name in [name for name in left if cells.get(name)]:
                found[name] = Point(int(float(cells["step"])), float(cells[name]))
                left.remove(name)
    return found


def _rows_from_the_end(file: IO[bytes], start: int) -> Iterator[bytes]:
    """Yield the whole rows of a table, the last one first; each is one line."""
    end = file.seek(0, io.SEEK_END)
    rest = b""
    is_end = True
    while end > start:
        size = min(_BLOCK, end - start)
        end = file.seek(end - size)
        first, *lines = (file.read(size) + rest).split(b"\n")
        if lines and is_end:
            lines.pop()  # What stands behind the last line end was torn.
            is_end = False
        yield from (line for line in reversed(lines) if line)
        rest = first
    if rest and not is_end:
        yield rest


def _in_events(directory: Path, names: set[str]) -> dict[str, Point]:
    # Imported here, since it needs tensorboard.
    from lightning_trackplus.files.event_files import event_files, read_events  # noqa: PLC0415

    found: dict[str, Point] = {}
    for event in (event for path in event_files(directory) for event in read_events(path)):
        for value in event.summary.value:
            if value.tag in names and value.HasField("simple_value"):
                found[value.tag] = Point(event.step, value.simple_value)
    return found
