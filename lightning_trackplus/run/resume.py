"""Resuming a run from a checkpoint: later data is moved to ``backup/``, and what is logged again is filtered.

New files are written next to the old ones. When all are complete, one rename decides; if the process ends after it, the
next call completes the rest::

    backup/1.new/         in preparation: the run is unchanged, and the next call removes this folder
    backup/1/             decided: the removed rows, events and media, with the run's folders, and the summary
    backup/1/kept/        files that still have to replace the run's; an empty <name>.gone removes <name>
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import TypeVar

from lightning_trackplus.formats.csv_rows import column_of
from lightning_trackplus.formats.event_files import events_with_ends
from lightning_trackplus.formats.layout import BACKUP_FOLDER, MEDIA_FOLDER, MEDIA_INDEX, METRICS_FILE, SUMMARY_FILE
from lightning_trackplus.formats.media_csv import media_rows
from lightning_trackplus.formats.metrics_csv import EPOCH, STEP, read_stored, step_in
from lightning_trackplus.run.file_split import FileSplit, event_files_of, splits_at, splits_by_step
from lightning_trackplus.run.journal import Extent

NumberT = TypeVar("NumberT")
_KeyT = TypeVar("_KeyT")

_NEW = ".new"
_KEPT = "kept"
_GONE = ".gone"


def rewind(directory: Path, extent: Extent) -> Path | None:
    """Move everything that a run has beyond an extent to a new folder in ``backup/``; return it, None if not needed.

    That is rows of ``metrics.csv`` and ``media.csv``, media files, and events of the run and of the runs below it. In
    the backup, event files have names that TensorBoard ignores. ``summary.json`` is moved as a whole and written again
    when the run continues. No writer may have the files open. After an `OSError`, the next call starts again, or
    completes this one.
    """
    return _split(directory, splits_at(directory, extent))


def rewind_to_step(directory: Path, step: int) -> Path | None:
    """Move everything of a run from a step on to a new folder in ``backup/``, as `rewind` does."""
    return _split(directory, splits_by_step(directory, step))


def _split(directory: Path, splits: Iterator[FileSplit]) -> Path | None:
    completed = complete_rewind(directory)
    backup = _next_folder(directory / BACKUP_FOLDER)
    new = backup.with_name(backup.name + _NEW)
    try:
        is_needed = False
        for split in splits:
            name = _hidden(split.path.relative_to(directory))
            kept, removed = new / _KEPT / name, new / name
            if split.write(kept, removed):
                is_needed = True
                if not kept.stat().st_size:
                    kept.rename(kept.with_name(kept.name + _GONE))
            else:
                kept.unlink(missing_ok=True)
                removed.unlink(missing_ok=True)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    if not is_needed:
        if new.is_dir():
            shutil.rmtree(new)
            with contextlib.suppress(OSError):
                backup.parent.rmdir()
        return completed
    _remove_empty(new)
    _sync(path for path in new.rglob("*") if path.is_file())
    _sync(Path(path) for path, _, _ in os.walk(new))
    new.rename(backup)
    _sync([backup.parent])
    return complete_rewind(directory)


def complete_rewind(directory: Path) -> Path | None:
    """Complete a rewind during which the process ended; return its folder in ``backup/``, None if there is none."""
    folder = directory / BACKUP_FOLDER
    # Everything else in there is the user's.
    ours = [path for path in folder.glob("*") if re.fullmatch(rf"\d+({re.escape(_NEW)})?", path.name) and path.is_dir()]
    for unfinished in (path for path in ours if path.name.endswith(_NEW)):
        shutil.rmtree(unfinished)
    for kept in (path / _KEPT for path in ours if (path / _KEPT).is_dir()):
        targets = {path: directory / _unhidden(path.relative_to(kept)) for path in kept.rglob("*") if path.is_file()}
        for path, target in targets.items():
            if path.name.endswith(_GONE):
                target.with_name(target.name.removesuffix(_GONE)).unlink(missing_ok=True)
                path.unlink()
            else:
                path.replace(target)
        # Only now, so that no row names a missing file.
        _move_media(directory, kept.parent)
        if (directory / SUMMARY_FILE).is_file():
            (directory / SUMMARY_FILE).replace(kept.parent / SUMMARY_FILE)
        _sync({target.parent for target in targets.values()})
        shutil.rmtree(kept)
        return kept.parent  # There is at most one.
    return None


def _next_folder(folder: Path) -> Path:
    numbers = [int(path.name) for path in folder.glob("*") if path.name.isdecimal()]
    return folder / str(max(numbers, default=0) + 1)


def _hidden(path: Path) -> Path:
    """Return a path that TensorBoard ignores: it reads any file with ``tfevents`` in its name, in any folder."""
    return path.with_name(re.sub("tf(-*)events", r"tf-\1events", path.name))


def _unhidden(path: Path) -> Path:
    return path.with_name(re.sub("tf-(-*)events", r"tf\1events", path.name))


def _move_media(directory: Path, backup: Path) -> None:
    """Move the files that the removed rows of ``media.csv`` name."""
    for row, _ in media_rows(backup / MEDIA_INDEX):
        # A torn row may name no file, or half of one; a row that a user wrote, files that are not the run's.
        name = row.get("file", "")
        if _is_media_file(name) and (directory / name).is_file():
            (backup / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).replace(backup / name)


def _is_media_file(name: str) -> bool:
    """Return whether a path is that of a file in ``media/``."""
    parts = PurePosixPath(name).parts
    return len(parts) > 1 and parts[0] == MEDIA_FOLDER and ".." not in parts and "\\" not in name and "\0" not in name


def _remove_empty(folder: Path) -> None:
    for path, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(path)


def _sync(paths: Iterable[Path]) -> None:
    """Flush files, and the names in folders, to the disk."""
    for path in paths:
        # Where a folder cannot be opened, as on Windows, nothing needs to be done.
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


class ResumeFilter:
    """Drops numbers, media and events that a resumed run logs again before its first batch.

    From a checkpoint that was saved at the end of an epoch, Lightning logs that end again, with incomplete values; from
    one that was saved before a validation, it validates again. Everything that the run has from between the save and
    the next batch stays, and is dropped as often as it is there.
    """

    def __init__(self, directory: Path, saved: Extent) -> None:
        self._events = Counter(_events(directory, saved))
        table = directory / METRICS_FILE
        in_run = ((tag, step) for folder, tag, step in self._events.elements() if not folder)
        self._numbers = Counter(_cells(table, saved.rows) if table.is_file() else in_run)
        self._media = Counter(_media(directory / MEDIA_INDEX, saved.bytes.get(MEDIA_INDEX, 0)))

    def new_numbers(self, step: int | None, numbers: dict[str, NumberT]) -> dict[str, NumberT]:
        """Return the numbers that the run does not have; the step is None for those of an evaluation batch."""
        return {
            name: number for name, number in numbers.items() if not _take_one(self._numbers, (column_of(name), step))
        }

    def has_medium(self, name: str, step: int) -> bool:
        """Return whether the run has a medium."""
        return _take_one(self._media, (name, step))

    def has_event(self, folder: str, tag: str, step: int) -> bool:
        """Return whether the run has an event of a tag."""
        return _take_one(self._events, (folder, tag, step))


def _take_one(counts: Counter[_KeyT], key: _KeyT) -> bool:
    """Decrement a count; return whether it was positive."""
    counts[key] -= 1
    return counts[key] >= 0


def _cells(path: Path, first_row: int) -> Iterator[tuple[str, int | None]]:
    """Yield the column and step of each cell from a row on; the step is None for evaluation batches."""
    stored = read_stored(path, warns=False)
    # The row that was the last one at the save may have more cells since.
    for number, row in enumerate(stored.rows(warns=False), start=1):
        if number >= first_row:
            cells = stored.cells(row)
            step, is_batch = step_in(cells.pop(STEP)), EPOCH not in cells
            if not (number == first_row and is_batch):
                yield from ((name, None if is_batch else step) for name in cells)


def _media(path: Path, start: int) -> Iterator[tuple[str, int]]:
    """Yield the name and step of each call that logged media."""
    calls = Counter[tuple[str, int, str]]()
    for row, _ in media_rows(path, start):
        if row.get("step", "").lstrip("-").isdigit():
            # What was logged in one call has one time.
            calls[row.get("name", ""), int(row["step"]), row.get("wall_time", "")] += 1
    yield from ((name, step) for name, step, _ in calls)


def _events(directory: Path, saved: Extent) -> Iterator[tuple[str, str, int]]:
    """Yield the folder, tag and step of each value in the events of the run and of the runs below it."""
    if importlib.util.find_spec("tensorboard") is None:
        return
    for path in event_files_of(directory):
        relative = path.relative_to(directory)
        start = saved.bytes.get(relative.as_posix(), 0)
        if path.stat().st_size <= start:
            continue
        folder = "" if path.parent == directory else relative.parent.as_posix()
        for event, end in events_with_ends(path):
            if end > start:
                yield from ((folder, value.tag, event.step) for value in event.summary.value)
