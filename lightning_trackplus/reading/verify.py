"""Whether the CSV and the event files of a run hold the same values: ``trackplus verify``.

Of each name, the sequence of steps and numbers has to be the same in both. Numbers are compared as float32, which is
what an event holds: a number of the CSV is rounded to it, and infinite where it is beyond.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from lightning_trackplus.formats.layout import MEDIA_INDEX, METRICS_FILE
from lightning_trackplus.formats.media_csv import read_media
from lightning_trackplus.formats.metrics_csv import read_stored
from lightning_trackplus.formats.x_axis import read_axes
from lightning_trackplus.reading.difference import Difference
from lightning_trackplus.reading.number_chunks import EventNumbers
from lightning_trackplus.reading.read_run import check_tensorboard, has_events, run_directory
from lightning_trackplus.reading.same_numbers import same_numbers

__all__ = ["Comparison", "Difference", "compare", "differences"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What comparing CSV and event files has shown.

    Attributes:
        values: How many numbers stand in both.
        differences: What does not stand in both, or not alike.
    """

    values: int
    differences: tuple[Difference, ...]


def differences(
    directory: str | os.PathLike[str], csv_directory: str | os.PathLike[str] | None = None
) -> list[Difference]:
    """Return what does not stand alike in the CSV and the event files of a run.

    Args:
        directory: The run directory. Runs below it are left alone.
        csv_directory: Where ``metrics.csv`` lies, if Lightning's pair of loggers wrote it to another directory.

    Raises:
        ValueError: If one of these is no run directory, or has nothing to compare.
        ImportError: If tensorboard is missing.

    Examples:
        >>> import tempfile
        >>> from lightning_trackplus import TrackPlusLogger
        >>> logger = TrackPlusLogger(tempfile.mkdtemp())
        >>> logger.log_metrics({"loss": 0.5}, step=0)
        >>> logger.finalize("success")
        >>> differences(logger.log_dir)
        []
        >>> metrics = Path(logger.log_dir, "metrics.csv")
        >>> _ = metrics.write_text(metrics.read_text().replace("0.5", "0.25"))
        >>> print(*differences(logger.log_dir))
        loss at 0: 0.25 in the CSV, 0.5 in TensorBoard
    """
    return list(compare(directory, csv_directory).differences)


def compare(directory: str | os.PathLike[str], csv_directory: str | os.PathLike[str] | None = None) -> Comparison:
    """Return how many numbers stand in both CSV and event files, and the differences.

    Raises:
        ValueError: As for `differences`.
        ImportError: As for `differences`.
    """
    events_in = run_directory(directory)
    csv_in = events_in if csv_directory is None else run_directory(csv_directory)
    _check(events_in, csv_in)
    from lightning_trackplus.reading.same_media import media_differences  # noqa: PLC0415  needs tensorboard

    events, metrics = EventNumbers(events_in), csv_in / METRICS_FILE
    numbers = same_numbers(read_stored(metrics) if metrics.is_file() else None, events, read_axes(events_in))
    media = media_differences(read_media(csv_in), events.media, csv_in) if (csv_in / MEDIA_INDEX).is_file() else []
    return Comparison(numbers.count, (*numbers.differences, *media))


def _check(events_in: Path, csv_in: Path) -> None:
    if not has_events(events_in):
        raise ValueError(
            f"{events_in} has no event files to compare. If they lie in another directory than {METRICS_FILE}, give"
            " theirs first and that one behind it."
        )
    if not (csv_in / METRICS_FILE).is_file() and not (csv_in / MEDIA_INDEX).is_file():
        raise ValueError(
            f"{csv_in} has no {METRICS_FILE} to compare. If it lies in another directory than the event files, give"
            " that one behind theirs."
        )
    check_tensorboard(events_in)
