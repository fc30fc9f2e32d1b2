"""A run directory as it can be worked on: its numbers as a frame, its media as records."""

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
_MOST_RUNS_NAMED = 5


@dataclass(frozen=True, slots=True)
class Run:
    """What a run logged.

    Attributes:
        path: The run directory, absolute.
        metrics: A frame with a row for each step and the columns step, int64, and epoch and one for each name,
            float64. Where nothing was logged, pandas has NaN and polars null.
        media: The media files, in the order in which they were logged.
    """

    path: Path
    metrics: Any
    media: tuple[MediaRecord, ...]


def read_run(path: str | os.PathLike[str], *, frames: Frames = "pandas") -> Run:
    r"""Return the numbers and media of a run, of TrackPlusLogger or of Lightning's CSVLogger or TensorBoardLogger.

    Numbers are those of ``metrics.csv``, and those of the event files where there is no such file. A last row that
    was cut short is left out, with a warning.

    Args:
        path: The run directory, such as ``logger.log_dir``.
        frames: What the metrics are a frame of, ``"pandas"`` or ``"polars"``.

    Returns:
        The run.

    Raises:
        ValueError: If the path is not a run directory, or ``frames`` is another word.
        ImportError: If pandas or polars is missing, or tensorboard where only event files have the numbers.

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
    """Return the run directory that a path leads to, absolute.

    Raises:
        ValueError: If it is a URL, or nothing of a run lies there.
    """
    text = os.fspath(path)
    if "://" in text:
        raise ValueError(f"{text} is a URL; copy the run to this machine and give its path there.")
    directory = Path(text).absolute()
    if _is_run(directory):
        check_format(directory)
        return directory
    if not directory.exists():
        raise ValueError(f"{text} does not exist; give the folder of a run, such as lightning_logs/version_0.")
    runs = sorted(below.name for below in directory.iterdir() if _is_run(below)) if directory.is_dir() else []
    shown = ", ".join(runs[:_MOST_RUNS_NAMED]) + (", …" if len(runs) > _MOST_RUNS_NAMED else "")
    hint = f" It holds runs, give one of them: {shown}." if runs else ""
    raise ValueError(f"{text} is not a run: no {METRICS_FILE}, {MEDIA_INDEX} or event file lies there.{hint}")


def has_events(directory: Path) -> bool:
    """Return whether event files lie in a folder itself."""
    return any(directory.glob(_EVENT_FILES))


def check_tensorboard(directory: Path) -> None:
    """Say what is missing where event files cannot be read.

    Raises:
        ImportError: If tensorboard is not installed.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise ImportError(
            f"The event files in {directory} need tensorboard, and it is not installed: `pip install tensorboard`.",
            name="tensorboard",
        )


def _is_run(directory: Path) -> bool:
    files = (METRICS_FILE, MEDIA_INDEX)
    return directory.is_dir() and (any((directory / file).is_file() for file in files) or has_events(directory))
