"""A local copy of a run at a URL."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from lightning_trackplus.formats.layout import EVALUATIONS, MEDIA_FOLDER, METRICS_FILE, batches_folder
from lightning_trackplus.remote.remote_folder import RemoteFolder
from lightning_trackplus.runtime.warn import describe_error

# They are removed when the process ends.
_copies: dict[str, tempfile.TemporaryDirectory[str]] = {}


def remote_files(url: str) -> dict[str, int]:
    """Return the sizes of the files at a URL and below it, by relative path.

    Raises:
        OSError: If they cannot be listed.
    """
    remote = RemoteFolder(url)
    with _reading(url):
        return remote.sizes()


def copy_of_run(url: str, files: Mapping[str, int], *, media: bool, events: bool) -> Path:
    """Download the files of a run that are read, and return their folder, which is removed when the process ends.

    A further call downloads what has changed. Media files do not change, and event files only grow.

    Args:
        url: The run directory.
        files: The sizes of its files, by relative path.
        media: Whether to download media files.
        events: Whether to download event files if there is a ``metrics.csv``.

    Raises:
        OSError: If they cannot be read.
    """
    url = url.rstrip("/")
    remote = RemoteFolder(url)
    if url not in _copies:
        _copies[url] = tempfile.TemporaryDirectory(prefix="trackplus-")
    # A run is shown by the end of its path. The host may have a password in front of it.
    _, *parts = url.partition("://")[2].split("/")
    folder = Path(_copies[url].name, *(part for part in parts[-2:] if part != ".."))
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [path for path in files if _is_read(path, media=media, events=events or METRICS_FILE not in files)]
    new = [path for path in wanted if _is_table(path) or _size(folder / path) != files[path]]
    with _reading(url):
        remote.get_all(new, folder)
        for path in filter(Path.is_file, folder.iterdir()):
            if path.name not in files:
                path.unlink()
            elif path.name in new and (time := remote.modified(path.name)) is not None:
                os.utime(path, (time, time))
    return folder


@contextlib.contextmanager
def _reading(url: str) -> Iterator[None]:
    """Raise `OSError` for any error, since each file system has errors of its own."""
    try:
        yield
    except Exception as error:
        raise OSError(
            f"{url} could not be read. Check the URL and your access to it. {describe_error(error)}"
        ) from error


def _is_table(path: str) -> bool:
    """Return whether a file can change without changing its size."""
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
