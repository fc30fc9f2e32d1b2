"""A run taken back to a step, from which it goes on; what lay beyond moves into ``backup/``.

All that is written is written beside what is there. Once it is complete, one renaming decides, and whatever ends the
process after that, the next call completes what is left to do::

    backup/1.new/         in preparation: the files are as they were, and the next call removes it
    backup/1/             decided: the removed rows, events and media, as the run directory has them, and the summary
    backup/1/kept/        what is still to be put in its place
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from lightning_trackplus.files.csv_rows import cells_of, read_row
from lightning_trackplus.run.beyond import partings
from lightning_trackplus.run_directory import BACKUP_FOLDER, MEDIA_INDEX, SUMMARY_FILE

_NEW = ".new"
_KEPT = "kept"


def rewind(directory: Path, step: int) -> Path | None:
    r"""Move everything of a run at or beyond a step into a folder below ``backup/``.

    That is rows of ``metrics.csv`` and ``media.csv``, media files, and events of the run and of the runs below it.
    A row without an epoch, of an evaluation's batch, goes with the row after it that has one. Event files lie in the
    backup under names that TensorBoard does not take for a run. ``summary.json`` goes as a whole, since it may tell of
    what went; who goes on with the run makes it anew. No writer may have the files open.

    Args:
        directory: The run directory; it need not exist.
        step: The first global step that goes, 0 or more: the first that is logged again.

    Returns:
        The folder that took it; None if there was nothing to take.

    Raises:
        OSError: If a file could not be read or written. The next call then begins anew, or completes this one.

    Examples:
        >>> import tempfile
        >>> run = Path(tempfile.mkdtemp())
        >>> _ = (run / "metrics.csv").write_text("step,epoch,loss\n0,0,0.5\n1,0,0.4\n2,1,0.3\n")
        >>> backup = rewind(run, 1)
        >>> (run / "metrics.csv").read_text()
        'step,epoch,loss\n0,0,0.5\n'
        >>> (backup / "metrics.csv").read_text()
        'step,epoch,loss\n1,0,0.4\n2,1,0.3\n'
    """
    completed = complete_rewind(directory)
    backup = _next_folder(directory / BACKUP_FOLDER)
    new = backup.with_name(backup.name + _NEW)
    try:
        for parting in partings(directory, step):
            name = _unseen(parting.path.relative_to(directory))
            parting.write(kept=new / _KEPT / name, removed=new / name)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    if not new.is_dir():
        return completed
    _see_on_disk(Path(path) for path, _, _ in os.walk(new))
    new.rename(backup)
    _see_on_disk([backup.parent])
    return complete_rewind(directory)


def complete_rewind(directory: Path) -> Path | None:
    """Complete what a process began that ended in `rewind`; to be called before the run is continued.

    Args:
        directory: The run directory; it need not exist.

    Returns:
        The folder that took what was removed; None if there was nothing to complete.

    Raises:
        OSError: If a file could not be moved; a further call goes on from there.
    """
    folder = directory / BACKUP_FOLDER
    for unfinished in folder.glob(f"*{_NEW}"):
        shutil.rmtree(unfinished)
    for kept in folder.glob(f"*/{_KEPT}"):
        _move_media(directory, kept.parent)
        if (directory / SUMMARY_FILE).is_file():
            (directory / SUMMARY_FILE).replace(kept.parent / SUMMARY_FILE)
        places = {path: directory / _seen(path.relative_to(kept)) for path in kept.rglob("*") if path.is_file()}
        for path, place in places.items():
            path.replace(place)
        _see_on_disk({place.parent for place in places.values()})
        shutil.rmtree(kept)
        return kept.parent  # There is never a second one.
    return None


def _next_folder(folder: Path) -> Path:
    numbers = [int(path.name) for path in folder.glob("*") if path.name.isdecimal()]
    return folder / str(max(numbers, default=0) + 1)


def _unseen(path: Path) -> Path:
    """Return a path that TensorBoard passes by: it takes any file with ``tfevents`` in its name, wherever it lies."""
    return path.with_name(path.name.replace("tfevents", "tf-events"))


def _seen(path: Path) -> Path:
    return path.with_name(path.name.replace("tf-events", "tfevents"))


def _move_media(directory: Path, backup: Path) -> None:
    """Move the files that the removed rows of ``media.csv`` name."""
    index = backup / MEDIA_INDEX
    if not index.is_file():
        return
    with index.open("rb") as rows:
        column = cells_of(read_row(rows)).index("file")
        while row := read_row(rows):
            # A row that was torn may name none, or half of one.
            name = "".join(cells_of(row)[column : column + 1])
            if (directory / name).is_file():
                (backup / name).parent.mkdir(parents=True, exist_ok=True)
                (directory / name).replace(backup / name)


def _see_on_disk(folders: Iterable[Path]) -> None:
    """See the names in folders on the disk, which the files' own `fsync` does not."""
    for folder in folders:
        # Where a folder cannot be opened, as on Windows, there is nothing to do.
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
