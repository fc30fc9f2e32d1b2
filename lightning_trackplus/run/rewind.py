"""A run taken back to a checkpoint, from which it goes on; what lay beyond moves into ``backup/``.

All that is written is written beside what is there. Once it is complete, one renaming decides, and whatever ends the
process after that, the next call completes what is left to do::

    backup/1.new/         in preparation: the files are as they were, and the next call removes it
    backup/1/             decided: the removed rows, events and media, as the run directory has them, and the summary
    backup/1/kept/        what is still to be put in its place; for a file that goes as a whole, <its name>.gone
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from lightning_trackplus.formats.csv_rows import cells_of, read_row
from lightning_trackplus.formats.layout import BACKUP_FOLDER, MEDIA_FOLDER, MEDIA_INDEX, SUMMARY_FILE
from lightning_trackplus.run.file_split import FileSplit, splits_at, splits_by_step
from lightning_trackplus.run.journal import Extent

_NEW = ".new"
_KEPT = "kept"
_GONE = ".gone"


def rewind(directory: Path, extent: Extent) -> Path | None:
    r"""Move everything that a run has beyond an extent into a folder below ``backup/``.

    That is rows of ``metrics.csv`` and ``media.csv``, media files, and events of the run and of the runs below it.
    Event files lie in the backup under names that TensorBoard does not take for a run. ``summary.json`` goes as a
    whole, since it may tell of what went; it is made again when the run goes on. No writer may have the files open.

    Returns:
        The folder that took the rest; None if there was nothing to take.

    Raises:
        OSError: If a file could not be read or written. The next call then begins anew, or completes this one.

    Examples:
        >>> import tempfile
        >>> run = Path(tempfile.mkdtemp())
        >>> _ = (run / "metrics.csv").write_text("step,epoch,loss\n0,0,0.5\n1,0,0.4\n2,1,0.3\n")
        >>> backup = rewind(run, Extent(rows=1, bytes={}))
        >>> (run / "metrics.csv").read_text()
        'step,epoch,loss\n0,0,0.5\n'
        >>> (backup / "metrics.csv").read_text()
        'step,epoch,loss\n1,0,0.4\n2,1,0.3\n'
    """
    return _split(directory, splits_at(directory, extent))


def rewind_to_step(directory: Path, step: int) -> Path | None:
    """Move everything of a run at or beyond a step into a folder below ``backup/``, as `rewind` does.

    A row without an epoch, of an evaluation's batch, goes with the row after it that has one.

    Returns:
        The folder that took it; None if there was nothing to take.

    Raises:
        OSError: As for `rewind`.
    """
    return _split(directory, splits_by_step(directory, step))


def _split(directory: Path, splits: Iterator[FileSplit]) -> Path | None:
    completed = complete_rewind(directory)
    backup = _next_folder(directory / BACKUP_FOLDER)
    new = backup.with_name(backup.name + _NEW)
    try:
        goes = False
        for split in splits:
            name = _unseen(split.path.relative_to(directory))
            kept, removed = new / _KEPT / name, new / name
            if split.write(kept, removed):
                goes = True
                if not kept.stat().st_size:
                    kept.rename(kept.with_name(kept.name + _GONE))
            else:
                kept.unlink(missing_ok=True)
                removed.unlink(missing_ok=True)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    if not goes:
        if new.is_dir():
            shutil.rmtree(new)
            with contextlib.suppress(OSError):
                backup.parent.rmdir()
        return completed
    _remove_empty(new)
    _see_on_disk(path for path in new.rglob("*") if path.is_file())
    _see_on_disk(Path(path) for path, _, _ in os.walk(new))
    new.rename(backup)
    _see_on_disk([backup.parent])
    return complete_rewind(directory)


def complete_rewind(directory: Path) -> Path | None:
    """Complete what a process began that ended in `rewind`; to be called before the run is continued.

    Returns:
        The folder that took what was removed; None if there was nothing to complete.

    Raises:
        OSError: If a file could not be moved; a further call goes on from there.
    """
    folder = directory / BACKUP_FOLDER
    # What else lies there is a person's.
    ours = [path for path in folder.glob("*") if re.fullmatch(rf"\d+({re.escape(_NEW)})?", path.name) and path.is_dir()]
    for unfinished in (path for path in ours if path.name.endswith(_NEW)):
        shutil.rmtree(unfinished)
    for kept in (path / _KEPT for path in ours if (path / _KEPT).is_dir()):
        places = {path: directory / _seen(path.relative_to(kept)) for path in kept.rglob("*") if path.is_file()}
        for path, place in places.items():
            if path.name.endswith(_GONE):
                place.with_name(place.name.removesuffix(_GONE)).unlink(missing_ok=True)
                path.unlink()
            else:
                path.replace(place)
        # Only now, so that no row names a file that is not there.
        _move_media(directory, kept.parent)
        if (directory / SUMMARY_FILE).is_file():
            (directory / SUMMARY_FILE).replace(kept.parent / SUMMARY_FILE)
        _see_on_disk({place.parent for place in places.values()})
        shutil.rmtree(kept)
        return kept.parent  # There is never a second one.
    return None


def _next_folder(folder: Path) -> Path:
    numbers = [int(path.name) for path in folder.glob("*") if path.name.isdecimal()]
    return folder / str(max(numbers, default=0) + 1)


def _unseen(path: Path) -> Path:
    """Return a path that TensorBoard passes by: it takes any file with ``tfevents`` in its name, wherever it lies."""
    return path.with_name(re.sub("tf(-*)events", r"tf-\1events", path.name))


def _seen(path: Path) -> Path:
    return path.with_name(re.sub("tf-(-*)events", r"tf\1events", path.name))


def _move_media(directory: Path, backup: Path) -> None:
    """Move the files that the removed rows of ``media.csv`` name."""
    index = backup / MEDIA_INDEX
    if not index.is_file():
        return
    with index.open("rb") as rows:
        columns = cells_of(read_row(rows))
        column = columns.index("file") if "file" in columns else len(columns)
        while row := read_row(rows):
            # A row that was torn may name none, or half of one; one that a person wrote, what is none of the run's.
            name = "".join(cells_of(row)[column : column + 1])
            if _is_medium(name) and (directory / name).is_file():
                (backup / name).parent.mkdir(parents=True, exist_ok=True)
                (directory / name).replace(backup / name)


def _is_medium(name: str) -> bool:
    """Return whether a path leads to a file below ``media/``."""
    parts = PurePosixPath(name).parts
    return len(parts) > 1 and parts[0] == MEDIA_FOLDER and ".." not in parts and "\\" not in name and "\0" not in name


def _remove_empty(folder: Path) -> None:
    for path, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(path)


def _see_on_disk(paths: Iterable[Path]) -> None:
    """See files on the disk, and the names in folders."""
    for path in paths:
        # Where a folder cannot be opened, as on Windows, there is nothing to do.
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
