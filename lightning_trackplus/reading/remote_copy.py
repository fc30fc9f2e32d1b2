"""A copy on this machine of a run that lies at a URL."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from lightning_trackplus.formats.layout import EVALUATIONS, MEDIA_FOLDER, METRICS_FILE, batches_folder
from lightning_trackplus.remote.remote_folder import RemoteFolder

# Removed when the process ends.
_copies: dict[str, tempfile.TemporaryDirectory[str]] = {}


def copy_of_run(url: str, files: Mapping[str, int], *, media: bool, events: bool) -> Path:
    """Bring what is read of a run, and return the folder, which lies there until the process ends.

    A further call brings what has changed. Media files do not change, and event files only grow.

    Args:
        url: The run directory.
        files: The sizes of the files in it, by their relative paths.
        media: Whether to bring media files.
        events: Whether to bring event files where there is a ``metrics.csv``.
    """
    url = url.rstrip("/")
    remote = RemoteFolder(url)
    if url not in _copies:
        _copies[url] = tempfile.TemporaryDirectory(prefix="trackplus-")
    folder = Path(_copies[url].name)
    wanted = [path for path in files if _is_read(path, media=media, events=events or METRICS_FILE not in files)]
    new = [path for path in wanted if _is_table(path) or _size(folder / path) != files[path]]
    remote.get_all(new, folder)
    for path in filter(Path.is_file, folder.iterdir()):
        if path.name not in files:
            path.unlink()
        elif path.name in new and (time := remote.modified(path.name)) is not None:
            os.utime(path, (time, time))
    return folder


def _is_table(path: str) -> bool:
    """Return whether a file may change and keep its size."""
    return "/" not in path and "tfevents" not in path


def _is_read(path: str, *, media: bool, events: bool) -> bool:
    folder, slash, _ = path.partition("/")
    if "tfevents" in path.rpartition("/")[2]:
        return events and (not slash or folder in map(batches_folder, EVALUATIONS))
    return not slash or (media and folder == MEDIA_FOLDER)


def _size(path: Path) -> int | None:
    with contextlib.suppress(OSError):
        return os.stat(path).st_size
    return None
