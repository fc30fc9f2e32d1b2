"""Reads a run directory: its numbers as a frame, its media as records."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_trackplus.formats.layout import MEDIA_INDEX, METRICS_FILE
from lightning_trackplus.formats.media_csv import MediaRecord, read_media
from lightning_trackplus.reading.frames import Frames, check_frames, empty_frame, frame_of_csv, frame_of_events
from lightning_trackplus.run.journal import check_format

_EVENT_FILES = "*tfevents*"
_MAX_RUNS_NAMED = 5


@dataclass(frozen=True, slots=True)
class Run:
    """The contents of a run.

    Attributes:
        path: The run directory, absolute.
        metrics: A frame with a row for each step. Its columns are ``step``, int64, and ``epoch`` and one for each name,
            float64; cells without a value are NaN in pandas and null in polars.
        media: The media files, in the order in which they were logged.
    """

    path: Path
    metrics: Any
    media: tuple[MediaRecord, ...]


def read_run(path: str | os.PathLike[str], *, frames: Frames = "pandas") -> Run:
    r"""Read the numbers and media of a run by TrackPlusLogger, or by Lightning's CSVLogger or TensorBoardLogger.

    Numbers are read from ``metrics.csv``, or from the event files if there is no such file. An incomplete last row is
    skipped, with a warning.

    Args:
        path: The run directory, such as ``logger.log_dir``.
        frames: The library of the frame, ``"pandas"`` or ``"polars"``.

    Returns:
        The run.

    Raises:
        ValueError: If the path is not a run directory, or ``frames`` has another value.
        ImportError: If pandas or polars is not installed, or tensorboard, if only event files have the numbers.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "metrics.csv").write_text("step,epoch,loss\n0,0,0.5\n1,0,0.25\n")
        >>> read_run(folder).metrics["loss"].tolist()
        [0.5, 0.25]
    """
    check_frames(frames)
    directory = run_directory(path)
    metrics_file = directory / METRICS_FILE
    if metrics_file.is_file():
        metrics = frame_of_csv(metrics_file, frames)
    elif has_events(directory):
        check_tensorboard(directory)
        metrics = frame_of_events(directory, frames)
    else:
        metrics = empty_frame(frames)
    return Run(directory, metrics, read_media(directory))


def run_directory(path: str | os.PathLike[str]) -> Path:
    """Return a path as an absolute one; raise `ValueError` if it is not a run directory."""
    text = os.fspath(path)
    if "://" in text:
        raise ValueError(f"{text} is a URL; expected a path. Copy the run to this machine first.")
    directory = Path(text).absolute()
    if _is_run(directory):
        check_format(directory)
        return directory
    if not directory.exists():
        raise ValueError(f"{text} does not exist; expected the folder of a run, such as lightning_logs/version_0.")
    runs = sorted(below.name for below in directory.iterdir() if _is_run(below)) if directory.is_dir() else []
    shown = ", ".join(runs[:_MAX_RUNS_NAMED]) + (", …" if len(runs) > _MAX_RUNS_NAMED else "")
    hint = f" It contains runs; expected one of them: {shown}." if runs else ""
    raise ValueError(f"{text} is not a run: it has no {METRICS_FILE}, {MEDIA_INDEX} or event file.{hint}")


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


def _is_run(directory: Path) -> bool:
    files = (METRICS_FILE, MEDIA_INDEX)
    return directory.is_dir() and (any((directory / file).is_file() for file in files) or has_events(directory))
