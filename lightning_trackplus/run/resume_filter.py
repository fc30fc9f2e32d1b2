"""What a resumed run has already, of which its Trainer logs some again before its first batch."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from lightning_trackplus.formats.csv_rows import cells_of, column_of, read_row
from lightning_trackplus.formats.layout import MEDIA_INDEX, METRICS_FILE
from lightning_trackplus.formats.metrics_csv import EPOCH, STEP, read_stored, step_in
from lightning_trackplus.run.file_split import event_files_of
from lightning_trackplus.run.journal import Extent

NumberT = TypeVar("NumberT")
_KeyT = TypeVar("_KeyT")


class ResumeFilter:
    """Knows what a run logged between a checkpoint's save and the next batch: numbers, media and events.

    A checkpoint that was saved while a validation ended an epoch lets Lightning log the end of that epoch again, with
    what is left of its values; one that was saved before a validation lets it validate again. What was written stays as
    it is, and as much of it is left out when it comes again.
    """

    def __init__(self, directory: Path, saved: Extent) -> None:
        self._events = Counter(_events(directory, saved))
        table = directory / METRICS_FILE
        in_run = ((tag, step) for folder, tag, step in self._events.elements() if not folder)
        self._numbers = Counter(_cells(table, saved.rows) if table.is_file() else in_run)
        self._media = Counter(_media(directory / MEDIA_INDEX, saved.bytes.get(MEDIA_INDEX, 0)))

    def new_numbers(self, step: int | None, numbers: dict[str, NumberT]) -> dict[str, NumberT]:
        """Return the numbers that the run does not have.

        Args:
            step: Their step; None for those of a batch of an evaluation.
            numbers: What is logged now.
        """
        return {name: one for name, one in numbers.items() if not _taken(self._numbers, (column_of(name), step))}

    def new_batches(self, numbers: dict[str, NumberT]) -> dict[str, NumberT]:
        """Return the numbers of a batch of an evaluation that the run does not have."""
        return self.new_numbers(None, numbers)

    def has_medium(self, name: str, step: int) -> bool:
        """Return whether the run has a medium."""
        return _taken(self._media, (name, step))

    def has_event(self, folder: str, tag: str, step: int) -> bool:
        """Return whether the run has an event of a tag."""
        return _taken(self._events, (folder, tag, step))


def _taken(counts: Counter[_KeyT], key: _KeyT) -> bool:
    """Return whether one is left, and take it."""
    counts[key] -= 1
    return counts[key] >= 0


def _cells(path: Path, first_row: int) -> Iterator[tuple[str, int | None]]:
    """Yield the columns in which the rows from one on have something, and their steps; None for batches."""
    stored = read_stored(path, warns=False)
    # The row that was the last one at the save may have got more since.
    for number, row in enumerate(stored.rows(warns=False), start=1):
        if number >= first_row:
            cells = stored.cells(row)
            step, is_batch = step_in(cells.pop(STEP)), EPOCH not in cells
            if not (number == first_row and is_batch):
                yield from ((name, None if is_batch else step) for name in cells)


def _media(path: Path, start: int) -> Iterator[tuple[str, int]]:
    if not path.is_file():
        return
    with path.open("rb") as file:
        columns = cells_of(read_row(file))
        file.seek(max(start, file.tell()))
        items = Counter[tuple[str, int, str]]()
        for row in map(cells_of, iter(lambda: read_row(file), b"")):
            cells = dict(zip(columns, row, strict=False))
            if cells.get("step", "").lstrip("-").isdigit():
                # What was logged in one call has one time.
                items[cells.get("name", ""), int(cells["step"]), cells.get("wall_time", "")] += 1
    yield from ((name, step) for name, step, _ in items)


def _events(directory: Path, saved: Extent) -> Iterator[tuple[str, str, int]]:
    """Yield folders, tags and steps of the events of the run and of each run below it."""
    if importlib.util.find_spec("tensorboard") is None:
        return
    from lightning_trackplus.formats.event_files import placed_events  # noqa: PLC0415  needs tensorboard

    for path in event_files_of(directory):
        relative = path.relative_to(directory)
        start = saved.bytes.get(relative.as_posix(), 0)
        if path.stat().st_size <= start:
            continue
        folder = "" if path.parent == directory else relative.parent.as_posix()
        for event, end in placed_events(path):
            if end > start:
                yield from ((folder, value.tag, event.step) for value in event.summary.value)
