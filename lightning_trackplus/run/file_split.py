"""Splits each file of a run into what is kept and what is removed, reading it once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, TypeAlias

from lightning_trackplus.formats.atomic_files import FilePart
from lightning_trackplus.formats.csv_rows import cells_of, is_whole, read_row
from lightning_trackplus.formats.event_files import HPARAMS_TAG, events_with_ends
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
from lightning_trackplus.formats.x_axis import axes_to_continue
from lightning_trackplus.run.journal import Extent

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event

_BLOCK = 2**20
_FIRST_BYTES = 256
_WITHOUT_EVENTS = {BACKUP_FOLDER, MEDIA_FOLDER, "checkpoints"}

Split: TypeAlias = Callable[[Path, Path], bool]
"""Writes the kept and the removed part of a file to two new files; returns whether anything is removed."""


class FileSplit(NamedTuple):
    """A file, and the function that writes its two parts; the file itself stays unchanged."""

    path: Path
    write: Split


def splits_at(directory: Path, extent: Extent) -> Iterator[FileSplit]:
    """Yield the splits of a run's files at an extent."""
    if (table := directory / METRICS_FILE).is_file():
        yield FileSplit(table, partial(_split_rows, table, _first_rows(extent.rows)))
    for path in [directory / MEDIA_INDEX, directory / RUN_FILE, *filter(_is_ours, event_files_of(directory))]:
        size = extent.bytes.get(path.relative_to(directory).as_posix(), 0)
        if path.is_file() and path.stat().st_size > size:
            yield FileSplit(path, partial(_split_bytes, path, size))


def splits_by_step(directory: Path, step: int) -> Iterator[FileSplit]:
    """Yield the splits of a run's files at a step, for a checkpoint that does not say what belongs to it.

    A row without an epoch, of an evaluation batch, is kept or removed with the next row that has one.
    """
    for name in (METRICS_FILE, MEDIA_INDEX):
        if (path := directory / name).is_file():
            has_batches = name == METRICS_FILE and _has_epochs(path)
            yield FileSplit(path, partial(_split_rows, path, _RowsByStep(path, step, has_batches=has_batches)))
    batches = _BatchesOfTable(directory, step)
    is_kept: dict[Path, Callable[[Event], bool]] = {directory / batches_folder(stage): batches for stage in EVALUATIONS}
    is_kept[directory] = _EventsByStep(step, axes_to_continue(directory))
    # In sub-runs, such as the curves of `add_scalars`, the user gave the steps.
    in_sub_run = _EventsByStep(step, {})
    for path in event_files_of(directory):
        yield FileSplit(path, partial(_split_events, path, is_kept.get(path.parent, in_sub_run)))


def event_files_of(directory: Path) -> Iterator[Path]:
    """Yield the event files of a run, and our event files of runs below it, but not those that belong to no step.

    A folder with its own ``metrics.csv`` or ``run.jsonl`` is another run.
    """
    for folder, folders, files in os.walk(directory):
        if Path(folder) == directory:
            folders[:] = [name for name in folders if name not in _WITHOUT_EVENTS]
        elif METRICS_FILE in files or RUN_FILE in files:
            folders.clear()
            continue
        folders.sort()
        for path in (Path(folder, file) for file in sorted(files) if "tfevents" in file):
            has_no_steps = path.name.endswith((".hparams", ".status", ".charts"))
            if not has_no_steps and (path.parent == directory or _is_ours(path)):
                yield path


def _is_ours(path: Path) -> bool:
    """Return whether this package wrote an event file, and not the user."""
    with path.open("rb") as file:
        return OUR_EVENTS in file.read(_FIRST_BYTES)


def _split_rows(path: Path, is_kept: Callable[[bytes], bool | None], kept: Path, removed: Path) -> bool:
    """Split a table by its rows; one for which ``is_kept`` is None follows the next row. A torn last row is removed."""
    waiting: list[bytes] = []
    is_split = False
    with path.open("rb", 2**18) as source, _new(kept) as keep, _new(removed) as remove:
        header = read_row(source)
        if not is_whole(header):
            return False
        keep.write(header)
        remove.write(header)
        while row := read_row(source):
            decision = is_kept(row) if is_whole(row) else False
            if decision is None:
                waiting.append(row)
                continue
            target = keep if decision else remove
            # A torn row does not decide about those before it.
            (target if is_whole(row) else keep).writelines(waiting)
            waiting.clear()
            target.write(row)
            is_split |= not decision
        # Their validation was not completed.
        remove.writelines(waiting)
    return is_split or bool(waiting)


def _first_rows(count: int) -> Callable[[bytes], bool]:
    left = count

    def is_kept(_: bytes) -> bool:
        nonlocal left
        left -= 1
        return left >= 0

    return is_kept


class _RowsByStep:
    """Tells whether a row is before a step; None for a row without an epoch, if others have one."""

    def __init__(self, path: Path, step: int, *, has_batches: bool) -> None:
        self._step = step
        with path.open("rb") as file:
            columns = cells_of(read_row(file))
        self._step_column = columns.index("step") if "step" in columns else None
        self._epoch_column = columns.index("epoch") if has_batches else self._step_column

    def __call__(self, row: bytes) -> bool | None:
        step, epoch = self._step_column, self._epoch_column
        if step is None or epoch is None:
            return True
        # Most rows have no quotes, and only the first cells are needed.
        cells = cells_of(row) if b'"' in row else row.decode("utf-8", "replace").split(",", max(step, epoch) + 1)
        try:
            float(cells[epoch])
            return float(cells[step]) < self._step
        except (ValueError, IndexError):
            return None


def _has_epochs(path: Path) -> bool:
    """Return whether any row of a table has an epoch."""
    with path.open("rb") as file:
        columns = cells_of(read_row(file))
        if "epoch" not in columns:
            return False
        epoch = columns.index("epoch")
        return any(cells[epoch] for cells in map(cells_of, iter(lambda: read_row(file), b"")) if len(cells) > epoch)


def _split_bytes(path: Path, size: int, kept: Path, removed: Path) -> bool:
    with path.open("rb") as file:
        # Both parts of a table get its header, both parts of an event file its first event, which marks the format.
        head = read_row(file) if path.suffix == ".csv" else _first_record(path) if "tfevents" in path.name else b""
    _copy(path, 0, size, kept)
    with _new(removed) as target:
        target.write(head if size else b"")
    _copy(path, size, path.stat().st_size, removed)
    return True


def _split_events(path: Path, is_kept: Callable[[Event], bool], kept: Path, removed: Path) -> bool:
    is_split, end, is_first = False, 0, True
    with path.open("rb") as source, _new(kept) as keep, _new(removed) as remove:
        for event, event_end in events_with_ends(path):
            record, end = source.read(event_end - end), event_end
            if is_first and event.file_version:
                keep.write(record)
                remove.write(record)
            elif is_kept(event):
                keep.write(record)
            else:
                remove.write(record)
                is_split = True
            is_first = False
        # After the last whole record comes a torn one, if any.
        shutil.copyfileobj(source, remove if is_split else keep, _BLOCK)
    return is_split


class _EventsByStep:
    """Tells whether an event of a folder is before a step; one over another axis follows the event before it."""

    def __init__(self, step: int, axes: dict[str, str]) -> None:
        self._step = step
        self._axes = axes
        self._last_is_kept = True

    def __call__(self, event: Event) -> bool:
        is_before = bool(event.step < self._step)
        # If all have the global step, the tags need not be read. Hyper-parameters always have the step 0, and do not
        # decide about the events after them.
        values = event.summary.value if self._axes else ()
        tags = [value.tag for value in values if not value.tag.startswith(HPARAMS_TAG)]
        if not tags:
            return is_before
        if any(tag not in self._axes for tag in tags):
            self._last_is_kept = is_before
        return self._last_is_kept


class _BatchesOfTable:
    """Tells whether ``metrics.csv`` keeps the row of an evaluation batch's event; without a table, all are kept."""

    def __init__(self, directory: Path, step: int) -> None:
        path = directory / METRICS_FILE
        self._last = last_batch_steps(directory, before=step) if path.is_file() else None

    def __call__(self, event: Event) -> bool:
        last = self._last
        return last is None or all(event.step <= last.get(value.tag, -1) for value in event.summary.value)


def _first_record(path: Path) -> bytes:
    end = next((end for _, end in events_with_ends(path)), 0)
    return FilePart(path, 0, end).read() or b""


def _copy(path: Path, start: int, end: int, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with FilePart(path, start, end) as source, target.open("ab") as file:
        shutil.copyfileobj(source, file, _BLOCK)


def _new(path: Path) -> IO[bytes]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("xb", 2**18)
