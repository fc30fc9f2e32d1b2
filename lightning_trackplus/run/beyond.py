"""What of a run's files lies at or beyond a step."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING

from lightning_trackplus.files.axes import BATCH, known_axes
from lightning_trackplus.files.csv_rows import cells_of, is_whole, read_row
from lightning_trackplus.run.byte_ranges import Parting, Range, RangesThatGo
from lightning_trackplus.run_directory import BACKUP_FOLDER, MEDIA_FOLDER, MEDIA_INDEX, METRICS_FILE

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event

_WITHOUT_EVENTS = {BACKUP_FOLDER, MEDIA_FOLDER, "checkpoints"}
_OF_HYPERPARAMETERS = "_hparams_/"


def partings(directory: Path, step: int) -> Iterator[Parting]:
    """Yield how each file of a run that holds something at or beyond a step is to be parted.

    Args:
        directory: The run directory; it need not exist.
        step: The first global step that goes.
    """
    yield from _of_table(directory / METRICS_FILE, step, by=("step", "epoch"))
    yield from _of_table(directory / MEDIA_INDEX, step, by=("step",))
    for folder in _folders_with_events(directory):
        # What a run below has, such as the curves of `add_scalars`, was given its step by the user.
        yield from _of_events(folder, step, known_axes(directory) if folder == directory else {})


def _of_table(path: Path, step: int, by: tuple[str, ...]) -> Iterator[Parting]:
    """Yield how a table is parted: a row without one of the cells in ``by`` goes with the next one that has them."""
    if not path.is_file():
        return
    size = path.stat().st_size
    with path.open("rb") as file:
        header = read_row(file)
        columns = cells_of(header)
        if not is_whole(header) or "step" not in columns:
            return
        wanted = _deciding(file, columns, by)
        file.seek(len(header))
        ranges, start = RangesThatGo(), len(header)
        while row := read_row(file):
            end = start + len(row)
            if not is_whole(row) or (end == size and len(cells_of(row)) < len(columns)):
                break  # It was torn.
            cells = _numbers(row, wanted)
            if cells is None:
                ranges.wait(path, (start, end))
            else:
                ranges.judge(path, (start, end), goes=cells[0] >= step)
            start = end
    ranges.end()
    going = ranges.of(path)
    if going or start < size:
        yield Parting(path, len(header), start, going)


def _deciding(file: IO[bytes], columns: list[str], by: tuple[str, ...]) -> list[int]:
    """Return which columns decide over rows: the step alone, where no row has all, so that none waits for another."""
    wanted = [columns.index(name) for name in by if name in columns]
    rows = iter(lambda: read_row(file), b"")
    return wanted if any(_numbers(row, wanted) for row in rows) else [columns.index("step")]


def _numbers(row: bytes, columns: list[int]) -> list[float] | None:
    # Most rows have no quotes, and in tables with many columns only the first cells are of interest.
    cells: list[bytes] | list[str] = cells_of(row) if b'"' in row else row.split(b",", max(columns) + 1)
    try:
        return [float(cells[column]) for column in columns]
    except (ValueError, IndexError):
        return None


def _folders_with_events(directory: Path) -> Iterator[Path]:
    """Yield the folders of a run that have event files; one with a table of its own is another run."""
    for path, folders, files in os.walk(directory):
        if Path(path) == directory:
            folders[:] = [folder for folder in folders if folder not in _WITHOUT_EVENTS]
        elif METRICS_FILE in files:
            folders.clear()
            continue
        if any("tfevents" in file for file in files):
            yield Path(path)


def _of_events(folder: Path, step: int, axes: Mapping[str, str]) -> Iterator[Parting]:
    # Imported here, since it needs tensorboard.
    from lightning_trackplus.files.event_files import event_files, placed_events  # noqa: PLC0415

    judge, files = _EventJudge(step, axes), []
    for path in event_files(folder):
        head = end = 0
        for event, event_end in placed_events(path):
            bounds = start, end = end, event_end
            if start == 0 and event.file_version:
                head = end
            else:
                judge.judge(path, event, bounds)
        files.append((path, head, end))
    judge.end()
    for path, head, end in files:
        if going := judge.ranges.of(path):
            yield Parting(path, head, end, going)


class _EventJudge:
    """Says of each event whether it goes; one with another axis than the global step does as its neighbour does.

    Args:
        step: The first global step that goes.
        axes: The axis of each name that has another one.
    """

    def __init__(self, step: int, axes: Mapping[str, str]) -> None:
        self.ranges = RangesThatGo()
        self._step = step
        self._axes = axes
        self._last_goes: bool | None = None

    def judge(self, path: Path, event: Event, bounds: Range) -> None:
        """Judge the next event of a folder.

        Args:
            path: The event file.
            event: The event.
            bounds: Where it lies.
        """
        goes = event.step >= self._step
        # Where all have the global step, the tags need not be read. Hyper-parameters have the step 0 wherever they
        # stand, and say nothing about their neighbours.
        values = event.summary.value if self._axes else ()
        tags = [value.tag for value in values if not value.tag.startswith(_OF_HYPERPARAMETERS)]
        if not tags:
            if goes:
                self.ranges.take(path, bounds)
            return
        axes = {self._axes.get(tag) for tag in tags}
        if None in axes:
            self._last_goes = goes
            self.ranges.judge(path, bounds, goes=goes)
        elif BATCH in axes or self._last_goes is None:
            self.ranges.wait(path, bounds)
        elif self._last_goes:
            self.ranges.take(path, bounds)

    def end(self) -> None:
        """Let all go that waits; where no event has told how far the run had come, all stays."""
        if self._last_goes is not None:
            self.ranges.end()
