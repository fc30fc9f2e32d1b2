"""Where the files of a run are, on this machine or at a URL."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterable
from pathlib import Path

from lightning_trackplus.formats.layout import HPARAMS_FILE, MEDIA_INDEX, METRICS_FILE, RUN_FILE, is_url
from lightning_trackplus.run.journal import check_format
from lightning_trackplus.run.lock import is_locked

_EVENT_FILES = "*tfevents*"
_MAX_RUNS_NAMED = 5


def run_directory(path: str | os.PathLike[str], *, media: bool = True, events: bool = True) -> Path:
    """Return the run directory at a path, absolute; for a URL, a copy of it.

    Args:
        path: The path or the URL.
        media: Whether a copy includes the media files.
        events: Whether a copy includes the event files if there is a ``metrics.csv``.

    Raises:
        ValueError: If the path is not a run directory, or the URL's protocol is unknown.
        ImportError: If the package for the URL's protocol is not installed.
        OSError: If the files at the URL cannot be read.
    """
    text = os.fspath(path).removeprefix("file://")
    files = files_of(text)
    # A run that has just begun has no files yet.
    if is_run(files) or (not is_url(text) and is_locked(Path(text))):
        directory = Path(text).absolute()
        if is_url(text):
            from lightning_trackplus.reading.remote_copy import copy_of_run  # noqa: PLC0415  needs fsspec

            directory = copy_of_run(text, files, media=media, events=events)
        check_format(directory)
        return directory
    if not files and (is_url(text) or not Path(text).exists()):
        raise ValueError(f"{text} does not exist; expected the folder of a run, such as lightning_logs/version_0.")
    inner = {path.partition("/")[0] for path in files if path.count("/") == 1 and is_run([path.partition("/")[2]])}
    runs = sorted(inner)
    shown = ", ".join(runs[:_MAX_RUNS_NAMED]) + (", …" if len(runs) > _MAX_RUNS_NAMED else "")
    hint = f" It contains runs; expected one of them: {shown}." if runs else ""
    files_of_runs = f"{METRICS_FILE}, {MEDIA_INDEX}, {HPARAMS_FILE} or event file"
    raise ValueError(f"{text} is not a run: it has no {files_of_runs}.{hint}")


def files_of(path: str) -> dict[str, int]:
    """Return the sizes of the files in a folder and below it, by relative path; two levels deep for a local one."""
    if is_url(path):
        from lightning_trackplus.reading.remote_copy import remote_files  # noqa: PLC0415  needs fsspec

        return remote_files(path)
    found = {}
    for pattern in ("*", "*/*"):
        for file in Path(path).glob(pattern):
            with contextlib.suppress(OSError):  # Of a run that is written, a file may be gone by now.
                if file.is_file():
                    found[file.relative_to(path).as_posix()] = file.stat().st_size
    return found


def is_run(files: Iterable[str]) -> bool:
    """Return whether a folder with these files is a run directory."""
    # A run in which nothing was logged, such as one of no epochs, has its hyper-parameters alone.
    own = {METRICS_FILE, MEDIA_INDEX, RUN_FILE, HPARAMS_FILE}
    return any(name in own or ("tfevents" in name and "/" not in name) for name in files)


def has_events(directory: Path) -> bool:
    """Return whether event files are directly in a folder."""
    return any(directory.glob(_EVENT_FILES))


def check_tensorboard(directory: Path) -> None:
    """Raise `ImportError` unless tensorboard is installed, which reading event files needs."""
    if importlib.util.find_spec("tensorboard") is None:
        raise ImportError(
            f"The event files in {directory} need tensorboard, and it is not installed: `pip install tensorboard`.",
            name="tensorboard",
        )
