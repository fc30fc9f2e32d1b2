"""Reads a run directory: its numbers as a frame, its media as records."""

from __future__ import annotations

import os

from lightning_trackplus.formats.layout import METRICS_FILE
from lightning_trackplus.formats.media_csv import read_media
from lightning_trackplus.reading.frames import Frames, check_frames, empty_frame, frame_of_csv, frame_of_events
from lightning_trackplus.reading.run import Run
from lightning_trackplus.reading.run_files import check_tensorboard, has_events, run_directory
from lightning_trackplus.run.lock import is_locked


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
        >>> from pathlib import Path
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
