"""What a run's numbers were before it goes on, from the files that lie there."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightning_trackplus.files.axes import known_axes
from lightning_trackplus.files.csv_rows import name_of
from lightning_trackplus.files.metrics_file import EPOCH, STEP, StoredMetrics, number_in, read_stored, step_in
from lightning_trackplus.record import Record
from lightning_trackplus.run_directory import METRICS_FILE, SUMMARY_FILE
from lightning_trackplus.writers.directions import Directions
from lightning_trackplus.writers.extremes import Extremes, Point, Series

_CELLS_AT_ONCE = 2**14
_FEWEST_ROWS = 64
_EVENTS_AT_ONCE = 256


def past_numbers(directory: Path, directions: Directions | None = None) -> Extremes:
    r"""Return the last, the lowest and the highest value of each number that a run has.

    They are read from ``metrics.csv``; where there is none, from ``summary.json``, which has no other extreme than the
    best where it knows what is good; and without that from the event files, which have float32, and what the user
    wrote there too.

    Args:
        directory: The run directory; it need not exist.
        directions: Which names are monitored, at whose best value all values are kept.

    Examples:
        >>> import tempfile
        >>> run = Path(tempfile.mkdtemp())
        >>> _ = (run / "metrics.csv").write_text("step,epoch,loss\n0,0,0.5\n1,0,0.25\n2,0,0.75\n")
        >>> past_numbers(run).series
        {'loss': Series(last=(0.75, 2), lowest=(0.25, 1), highest=(0.75, 2))}
    """
    extremes = Extremes(None if directions is None else directions.watched())
    if _take_table(directory / METRICS_FILE, extremes) or _take_summary(directory / SUMMARY_FILE, extremes):
        return extremes
    if any(directory.glob("*tfevents*")) and importlib.util.find_spec("tensorboard") is not None:
        _take_events(directory, extremes)
    return extremes


def _take_table(path: Path, extremes: Extremes) -> bool:
    """Take the numbers of a table; return whether there is one that has columns for any."""
    if not path.is_file():
        return False
    try:
        stored = read_stored(path, warns=False)
    except ValueError:
        return False  # It is no table of numbers.
    if not set(stored.columns) - {STEP, EPOCH}:
        return False
    # The cells of a row that was torn count, but for the last.
    rows = itertools.chain(stored.rows(warns=False), filter(None, [stored.torn_row()]))
    count = max(_FEWEST_ROWS, _CELLS_AT_ONCE // len(stored.columns))
    while some := list(itertools.islice(rows, count)):
        _take_rows(stored, some, extremes)
    return True


def _take_rows(stored: StoredMetrics, rows: Sequence[Sequence[str]], extremes: Extremes) -> None:
    at = stored.columns.index(STEP)
    rows = [row for row in rows if len(row) > at and _is_step(row[at])]
    steps = [step_in(row[at]) for row in rows]
    series = {name_of(column): found for column, found in stored.series(rows).items() if column != STEP}
    points = {
        name: _points(cells, [steps[place] for place in places])
        for name, (places, cells) in series.items()
        if name != EPOCH
    }
    if any(extremes.is_concerned(name, *points[name]) for name in extremes.watched.keys() & points):
        extremes.take_at_best(list(_records(series, steps)))
    for name, found in points.items():
        extremes.take_series(name, *found)


def _records(
    series: Mapping[str, tuple[Sequence[int], Sequence[str]]], steps: Sequence[int]
) -> Iterator[Record[float]]:
    """Yield a record of the numbers in each row."""
    numbers: list[dict[str, float]] = [{} for _ in steps]
    for name, (places, cells) in series.items():
        for place, cell in zip(places, cells, strict=True):
            if not isinstance(number := number_in(cell), str):
                numbers[place][name] = number
    for step, found in zip(steps, numbers, strict=True):
        yield Record(step, None, 0.0, found, only_numbers=True)


def _is_step(cell: str) -> bool:
    number = number_in(cell)
    return not isinstance(number, str) and math.isfinite(number)


def _points(cells: Sequence[str], steps: Sequence[int]) -> tuple[Sequence[float], Sequence[int]]:
    """Return the numbers in some cells, and their steps."""
    try:
        return [*map(float, cells)], steps
    except ValueError:  # Others' tables may hold text.
        found = [number_in(cell) for cell in cells]
        points = [(number, step) for number, step in zip(found, steps, strict=True) if not isinstance(number, str)]
        return [number for number, _ in points], [step for _, step in points]


def _take_summary(path: Path, extremes: Extremes) -> bool:
    """Take what a summary says; return whether there is one that can be read."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    extremes.series = {name: _series(entry) for name, entry in entries.items()}
    for name, mode in extremes.watched.items():
        if (entry := entries.get(name)) is not None and entry.get("mode") == mode and "at_best" in entry:
            extremes.at_best[name] = {other: float(value) for other, value in entry["at_best"].items()}
    return True


def _series(entry: Mapping[str, Any]) -> Series:
    """Return what a summary says of one name; where it has the best, the other extreme is not known."""
    low, high = {"min": ("best", None), "max": (None, "best"), None: ("min", "max")}[entry.get("mode")]
    return Series((float(entry["last"]), int(entry["last_step"])), _point(entry, low), _point(entry, high))


def _point(entry: Mapping[str, Any], name: str | None) -> Point | None:
    if name is None or entry[name] is None:
        return None
    return float(entry[name]), int(entry[f"{name}_step"])


def _take_events(directory: Path, extremes: Extremes) -> None:
    records = _records_of_events(directory)
    while some := list(itertools.islice(records, _EVENTS_AT_ONCE)):
        extremes.take(some)
    for series in extremes.series.values():
        points = series.lowest, series.highest
        series.last = _shortest(series.last)
        series.lowest, series.highest = (None if point is None else _shortest(point) for point in points)


def _records_of_events(directory: Path) -> Iterator[Record[float]]:
    from lightning_trackplus.stored.event_values import event_rows  # noqa: PLC0415  needs tensorboard

    for row in event_rows(directory, known_axes(directory)):
        numbers = {name: float(value) for name, value in row.values.items()}
        if numbers:
            yield Record(row.step, row.epoch, 0.0, numbers, only_numbers=True)


def _shortest(point: Point) -> Point:
    """Return the shortest decimal that is the same float32, which is mostly the number that was logged."""
    return float(str(np.float32(point[0]))), point[1]
