"""Files of a run that are split into what stays and what goes, read once from their beginning to their end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, TypeAlias

from lightning_trackplus.formats.csv_rows import cells_of, is_whole, read_row
from lightning_trackplus.formats.file_part import FilePart
from lightning_trackplus.formats.last_points import last_batch_steps
from lightning_trackplus.formats.layout import (
    BACKUP_FOLDER,
    EVALUATIONS,
    MEDIA_FOLDER,
    MEDIA_INDEX,
    METRICS_FILE,
    OUR_EVENTS,
    RUN_FILE,
    batches_folder,
)
from lightning_trackplus.formats.x_axis import known_axes
from lightning_trackplus.run.journal import Extent

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event

_AT_ONCE = 2**20
_HEAD = 256
_WITHOUT_EVENTS = {BACKUP_FOLDER, MEDIA_FOLDER, "checkpoints"}
_OF_HYPERPARAMETERS = "_hparams_/"

Split: TypeAlias = Callable[[Path, Path], bool]
"""Writes what stays of a file and what goes to two new files, and returns whether anything goes."""


class FileSplit(NamedTuple):
    """How a file is split.

    Attributes:
        path: The file, which stays as it is.
        write: Writes the two new files.
    """

    path: Path
    write: Split


def splits_at(directory: Path, extent: Extent) -> Iterator[FileSplit]:
    """Yield how each file of a run is split that has more than at some moment."""
    if (table := directory / METRICS_FILE).is_file():
        yield FileSplit(table, partial(_split_rows, table, _first_rows(extent.rows)))
    for path in [directory / MEDIA_INDEX, directory / RUN_FILE, *filter(_is_ours, event_files_of(directory))]:
        size = extent.bytes.get(path.relative_to(directory).as_posix(), 0)
        if path.is_file() and path.stat().st_size > size:
            yield FileSplit(path, partial(_split_bytes, path, size))


def splits_by_step(directory: Path, step: int) -> Iterator[FileSplit]:
    """Yield how each file of a run is split at a step, for a checkpoint that does not say what belongs to it.

    A row without an epoch, of an evaluation's batch, goes with the row after it that has one.
    """
    for name in (METRICS_FILE, MEDIA_INDEX):
        if (path := directory / name).is_file():
            choose = _RowsByStep(step, waits=name == METRICS_FILE and _has_epochs(path))
            yield FileSplit(path, partial(_split_rows, path, choose))
    batches = _BatchesOfTable(directory, step)
    own = _EventsByStep(step, known_axes(directory))
    choices: dict[Path, Callable[[Event], bool]] = {directory / batches_folder(one): batches for one in EVALUATIONS}
    choices[directory] = own
    # What a run below has, such as the curves of `add_scalars`, was given its step by the user.
    below = _EventsByStep(step, {})
    for path in event_files_of(directory):
        stays = choices.get(path.parent, below)
        yield FileSplit(path, partial(_split_events, path, stays))


def event_files_of(directory: Path) -> Iterator[Path]:
    """Yield the event files of a run, and those that this package wrote of runs below it, except those of no step.

    A folder with a table or a journal of its own is another run.
    """
    for folder, folders, files in os.walk(directory):
        if Path(folder) == directory:
            folders[:] = [one for one in folders if one not in _WITHOUT_EVENTS]
        elif METRICS_FILE in files or RUN_FILE in files:
            folders.clear()
            continue
        folders.sort()
        for path in (Path(folder, file) for file in sorted(files) if "tfevents" in file):
            is_of_no_step = path.name.endswith((".hparams", ".status", ".charts"))
            if not is_of_no_step and (path.parent == directory or _is_ours(path)):
                yield path


def _is_ours(path: Path) -> bool:
    """Return whether this package wrote an event file; others lie there that belong to a person."""
    with path.open("rb") as file:
        return OUR_EVENTS in file.read(_HEAD)


def _split_rows(path: Path, stays: Callable[[bytes], bool | None] | _RowsByStep, kept: Path, removed: Path) -> bool:
    """Split a table by its rows; one of which None is said waits for the next of which more is said, and goes with it.

    What stands behind the last whole row was torn, and goes.
    """
    waiting: list[bytes] = []
    goes = False
    with path.open("rb", 2**18) as source, _new(kept) as keep, _new(removed) as remove:
        header = read_row(source)
        if not is_whole(header):
            return False
        keep.write(header)
        remove.write(header)
        choose = stays.of(cells_of(header)) if isinstance(stays, _RowsByStep) else stays
        while row := read_row(source):
            chosen = choose(row) if is_whole(row) else False
            if chosen is None:
                waiting.append(row)
                continue
            target = keep if chosen else remove
            # What was torn says nothing about the rows before it.
            (target if is_whole(row) else keep).writelines(waiting)
            waiting.clear()
            target.write(row)
            goes |= not chosen
        # The results that they wait for never came.
        remove.writelines(waiting)
    return goes or bool(waiting)


def _first_rows(count: int) -> Callable[[bytes], bool]:
    left = count

    def stays(_: bytes) -> bool:
        nonlocal left
        left -= 1
        return left >= 0

    return stays


class _RowsByStep:
    """Says of each row whether it is before a step; None where it has no epoch, and other rows have one."""

    def __init__(self, step: int, *, waits: bool) -> None:
        self._step = step
        self._waits = waits

    def of(self, columns: list[str]) -> Callable[[bytes], bool | None]:
        """Return what says so of the rows of a table."""
        if "step" not in columns:
            return lambda _: True
        step = columns.index("step")
        epoch = columns.index("epoch") if self._waits else step

        def stays(row: bytes) -> bool | None:
            # Most rows have no quotes, and in tables with many columns only the first cells are of interest.
            cells = cells_of(row) if b'"' in row else row.decode("utf-8", "replace").split(",", max(step, epoch) + 1)
            try:
                float(cells[epoch])
                return float(cells[step]) < self._step
            except (ValueError, IndexError):
                return None

        return stays


def _has_epochs(path: Path) -> bool:
    """Return whether rows of a table have an epoch, so that those without one can wait for them."""
    with path.open("rb") as file:
        columns = cells_of(read_row(file))
        if "epoch" not in columns:
            return False
        epoch = columns.index("epoch")
        return any(cells[epoch] for cells in map(cells_of, iter(lambda: read_row(file), b"")) if len(cells) > epoch)


def _split_bytes(path: Path, size: int, kept: Path, removed: Path) -> bool:
    with path.open("rb") as file:
        # A table has its header in both parts, an event file the event that says that it is one.
        head = read_row(file) if path.suffix == ".csv" else _first_record(path) if "tfevents" in path.name else b""
    _copy(path, 0, size, kept)
    with _new(removed) as target:
        target.write(head if size else b"")
    _copy(path, size, path.stat().st_size, removed)
    return True


def _split_events(path: Path, stays: Callable[[Event], bool], kept: Path, removed: Path) -> bool:
    # Imported here, since it needs tensorboard.
    from lightning_trackplus.formats.event_files import placed_events  # noqa: PLC0415

    goes, end, head = False, 0, True
    with path.open("rb") as source, _new(kept) as keep, _new(removed) as remove:
        for event, event_end in placed_events(path):
            record, end = source.read(event_end - end), event_end
            if head and event.file_version:
                keep.write(record)
                remove.write(record)
            elif stays(event):
                keep.write(record)
            else:
                remove.write(record)
                goes = True
            head = False
        if goes:  # Behind the last whole record, something was torn.
            shutil.copyfileobj(source, remove, _AT_ONCE)
        else:
            shutil.copyfileobj(source, keep, _AT_ONCE)
    return goes


class _EventsByStep:
    """Says of the events of a folder whether they are before a step; one over another axis does as that before it."""

    def __init__(self, step: int, axes: dict[str, str]) -> None:
        self._step = step
        self._axes = axes
        self._last_stays = True

    def __call__(self, event: Event) -> bool:
        stays = bool(event.step < self._step)
        # Where all have the global step, the tags need not be read. Hyper-parameters have the step 0 wherever they
        # stand, and say nothing about their neighbours.
        values = event.summary.value if self._axes else ()
        tags = [value.tag for value in values if not value.tag.startswith(_OF_HYPERPARAMETERS)]
        if not tags:
            return stays
        if any(tag not in self._axes for tag in tags):
            self._last_stays = stays
        return self._last_stays


class _BatchesOfTable:
    """Says of each event of an evaluation's batch whether the table still has its row.

    Args:
        directory: The run directory.
        step: The first global step that goes; it decides where there is no table.
    """

    def __init__(self, directory: Path, step: int) -> None:
        path = directory / METRICS_FILE
        self._last = last_batch_steps(directory, before=step) if path.is_file() else None

    def __call__(self, event: Event) -> bool:
        last = self._last
        return last is None or all(event.step <= last.get(value.tag, -1) for value in event.summary.value)


def _first_record(path: Path) -> bytes:
    # Imported here, since it needs tensorboard.
    from lightning_trackplus.formats.event_files import placed_events  # noqa: PLC0415

    end = next((end for _, end in placed_events(path)), 0)
    return FilePart(path, 0, end).read() or b""


def _copy(path: Path, start: int, end: int, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with FilePart(path, start, end) as source, target.open("ab") as file:
        shutil.copyfileobj(source, file, _AT_ONCE)


def _new(path: Path) -> IO[bytes]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("xb", 2**18)
