"""Reads a run directory: its numbers as a frame, its media as records."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_trackplus.formats.layout import MEDIA_INDEX, METRICS_FILE, RUN_FILE, is_url
from lightning_trackplus.formats.media_csv import MediaRecord, read_media
from lightning_trackplus.reading.frames import Frames, check_frames, empty_frame, frame_of_csv, frame_of_events
from lightning_trackplus.run.journal import check_format
from lightning_trackplus.run.lock import is_locked

_EVENT_FILES = "*tfevents*"
_MAX_RUNS_NAMED = 5


@dataclass(frozen=True, slots=True, repr=False)
class Run:
    """The contents of a run; a notebook shows its metrics with small curves, and its newest media.

    Attributes:
        path: The run directory, absolute; for a run at a URL, the copy on this machine.
        metrics: A frame with a row for each step. Its columns are ``step``, int64, and ``epoch`` and one for each name,
            float64; cells without a value are NaN in pandas and null in polars.
        media: The media files, in the order in which they were logged.
    """

    path: Path
    metrics: Any
    media: tuple[MediaRecord, ...]

    def __repr__(self) -> str:
        names = len(self.metrics.columns) - 2  # Without step and epoch.
        return f"<Run {self.path}: {len(self.metrics)} rows of {names} metrics, {len(self.media)} media files>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        from lightning_trackplus.reports.notebook import run_html  # noqa: PLC0415  only a notebook needs it

        return run_html(self)


def read_run(path: str | os.PathLike[str], *, frames: Frames = "pandas") -> Run:
    r"""Read the numbers and media of a run by TrackPlusLogger, or by Lightning's CSVLogger or TensorBoardLogger.

    Numbers are read from ``metrics.csv``, or from the event files if there is no such file. An incomplete last row is
    skipped, with a warning. A run can be read while it is written: it has what is in its files at that moment.

    A run at a URL is copied to this machine, without checkpoints. The copy is removed when the process ends; a further
    call copies what has changed.

    Args:
        path: The run directory, such as ``logger.log_dir``, or its URL, such as ``"s3://bucket/logs/version_0"``.
        frames: The library of the frame, ``"pandas"`` or ``"polars"``.

    Returns:
        The run.

    Raises:
        ValueError: If the path is not a run directory, or ``frames`` has another value.
        ImportError: If pandas or polars is not installed, or tensorboard, if only event files have the numbers, or the
            package for the URL's protocol.
        OSError: If the files at the URL cannot be read.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "metrics.csv").write_text("step,epoch,loss\n0,0,0.5\n1,0,0.25\n")
        >>> read_run(folder).metrics["loss"].tolist()
        [0.5, 0.25]
    """
    check_frames(frames)
    directory = run_directory(path, events=False)
    metrics_file = directory / METRICS_FILE
    # While a run is written, the end of a file is incomplete now and then.
    warns = not is_locked(directory)
    if metrics_file.is_file():
        metrics = frame_of_csv(metrics_file, frames, warns=warns)
    elif has_events(directory):
        check_tensorboard(directory)
        metrics = frame_of_events(directory, frames, warns=warns)
    else:
        metrics = empty_frame(frames)
    return Run(directory, metrics, read_media(directory, warns=warns))


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
    raise ValueError(f"{text} is not a run: it has no {METRICS_FILE}, {MEDIA_INDEX} or event file.{hint}")


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
    return any(
        name in {METRICS_FILE, MEDIA_INDEX, RUN_FILE} or ("tfevents" in name and "/" not in name) for name in files
    )


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
