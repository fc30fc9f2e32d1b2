"""Whether ``metrics.csv``, ``media.csv`` and the event files of a run hold the same values: ``trackplus verify``.

For each name, the sequence of steps and numbers has to be the same. Numbers are compared as float32, as event files
store them: a number of the CSV is rounded to float32, to infinity if it is too large.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_trackplus.formats.event_files import CAPTIONS_SUFFIX
from lightning_trackplus.formats.layout import MEDIA_INDEX, METRICS_FILE
from lightning_trackplus.formats.media_csv import MediaRecord, read_media
from lightning_trackplus.formats.metrics_csv import read_stored
from lightning_trackplus.formats.x_axis import read_axes
from lightning_trackplus.reading.compare_numbers import Difference, compare_numbers
from lightning_trackplus.reading.number_chunks import EventNumbers
from lightning_trackplus.reading.run_files import check_tensorboard, has_events, run_directory
from lightning_trackplus.record import HistogramPayload

__all__ = ["Comparison", "Difference", "compare", "differences"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of comparing CSV and event files.

    Attributes:
        values: How many numbers are the same in both.
        differences: What differs.
    """

    values: int
    differences: tuple[Difference, ...]


def differences(
    directory: str | os.PathLike[str], csv_directory: str | os.PathLike[str] | None = None
) -> list[Difference]:
    """Return the differences between the CSV files and the event files of a run.

    Args:
        directory: The run directory. Runs in folders below it are not compared.
        csv_directory: Where ``metrics.csv`` is, if Lightning's pair of loggers wrote it to another directory.

    Returns:
        The differences, none if both hold the same.

    Raises:
        ValueError: If one of these is not a run directory, or has nothing to compare.
        ImportError: If tensorboard is not installed.

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
    """Compare the CSV files and the event files of a run, as `differences` does."""
    events_in = run_directory(directory)
    csv_in = events_in if csv_directory is None else run_directory(csv_directory)
    _check(events_in, csv_in)
    events, metrics = EventNumbers(events_in), csv_in / METRICS_FILE
    stored = read_stored(metrics) if metrics.is_file() else None
    count, numbers = compare_numbers(stored, events, read_axes(events_in))
    media = [*_media_differences(csv_in, events.media)] if (csv_in / MEDIA_INDEX).is_file() else []
    return Comparison(count, (*numbers, *media))


def _check(events_in: Path, csv_in: Path) -> None:
    if not has_events(events_in):
        raise ValueError(
            f"{events_in} has no event files to compare. If they are in another directory than {METRICS_FILE}, name"
            " that directory first and this one second."
        )
    if not (csv_in / METRICS_FILE).is_file() and not (csv_in / MEDIA_INDEX).is_file():
        raise ValueError(
            f"{csv_in} has no {METRICS_FILE} to compare. If it is in another directory than the event files, name that"
            " directory second."
        )
    check_tensorboard(events_in)


def _media_differences(csv_in: Path, in_events: Mapping[str, Counter[int]]) -> Iterator[Difference]:
    """Yield names of media in one format only, steps with another number of items, and missing files."""
    media = read_media(csv_in)
    by_name: dict[str, list[MediaRecord]] = {}
    for record in media:
        by_name.setdefault(record.name, []).append(record)
    tags = {name: _tags_of(name, records) for name, records in by_name.items()}
    without_tag = [name for name in by_name if not in_events.keys() & (tags[name] - {name + CAPTIONS_SUFFIX})]
    yield from (Difference(name, None, f"media in {MEDIA_INDEX} only") for name in without_tag)
    for tag in sorted(in_events.keys() - set[str]().union(*tags.values())):
        yield Difference(tag, None, "media in TensorBoard only")
    for name in without_tag:
        del by_name[name]
    yield from _count_differences(by_name, in_events, tags)
    for record in media:
        if not record.path.is_file():
            yield Difference(record.name, record.step, f"{record.path.relative_to(csv_in).as_posix()} is missing")


def _count_differences(
    by_name: Mapping[str, Sequence[MediaRecord]], in_events: Mapping[str, Counter[int]], tags: Mapping[str, set[str]]
) -> Iterator[Difference]:
    """Yield the steps at which a name has another number of items."""
    uses = Counter(tag for name_tags in tags.values() for tag in name_tags)
    for name, records in by_name.items():
        if any(uses[tag] > 1 for tag in tags[name]):
            continue  # An event may be of this name or of another one.
        index_counts = Counter(record.step for record in records)
        own_tags = tags[name] - {name + CAPTIONS_SUFFIX}
        event_counts = sum((in_events.get(tag, Counter[int]()) for tag in own_tags), Counter[int]())
        for step in sorted(index_counts | event_counts):
            in_index, in_tensorboard = index_counts[step], event_counts[step]
            if in_index != in_tensorboard:
                yield Difference(name, step, _counts(in_index, in_tensorboard))


def _counts(in_index: int, in_tensorboard: int) -> str:
    if not in_tensorboard:
        return f"{_items(in_index)} in {MEDIA_INDEX} only"
    if not in_index:
        return f"{_items(in_tensorboard)} in TensorBoard only"
    return f"{_items(in_index)} in {MEDIA_INDEX}, {in_tensorboard} in TensorBoard"


def _items(count: int) -> str:
    return f"{count} {'item' if count == 1 else 'items'}"


def _tags_of(name: str, records: Sequence[MediaRecord]) -> set[str]:
    """Return the tags that a name can have; several histograms of a step have a tag each."""
    histograms = Counter(record.step for record in records if record.kind == HistogramPayload.kind)
    numbered = range(1, max(histograms.values(), default=0) + 1)
    return {name, name + CAPTIONS_SUFFIX, *(f"{name}/{number}" for number in numbered)}
