"""What a run's numbers were before it goes on, from the files that lie there."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lightning_trackplus.formats.csv_rows import name_of
from lightning_trackplus.formats.layout import METRICS_FILE, SUMMARY_FILE
from lightning_trackplus.formats.metrics_csv import EPOCH, STEP, StoredMetrics, number_in, read_stored, step_in
from lightning_trackplus.formats.x_axis import known_axes
from lightning_trackplus.record import Record
from lightning_trackplus.writers.directions import Directions, Mode

_CELLS_AT_ONCE = 2**14
_FEWEST_ROWS = 64
_EVENTS_AT_ONCE = 256


def read_history(directory: Path, directions: Directions | None = None) -> RunningExtremes:
    r"""Return the last, the lowest and the highest value of each number that a run has.

    They are read from ``metrics.csv``; where there is none, from ``summary.json``, which has no other extreme than the
    best where it knows what is good; and without that from the event files, which have float32, and what the user
    wrote there too.

    Examples:
        >>> import tempfile
        >>> run = Path(tempfile.mkdtemp())
        >>> _ = (run / "metrics.csv").write_text("step,epoch,loss\n0,0,0.5\n1,0,0.25\n2,0,0.75\n")
        >>> read_history(run).series
        {'loss': Series(last=(0.75, 2), lowest=(0.25, 1), highest=(0.75, 2))}
    """
    extremes = RunningExtremes(None if directions is None else directions.watched())
    if _take_table(directory / METRICS_FILE, extremes) or _take_summary(directory / SUMMARY_FILE, extremes):
        return extremes
    if any(directory.glob("*tfevents*")) and importlib.util.find_spec("tensorboard") is not None:
        _take_events(directory, extremes)
    return extremes


def _take_table(path: Path, extremes: RunningExtremes) -> bool:
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


def _take_rows(stored: StoredMetrics, rows: Sequence[Sequence[str]], extremes: RunningExtremes) -> None:
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


def _take_summary(path: Path, extremes: RunningExtremes) -> bool:
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


def _take_events(directory: Path, extremes: RunningExtremes) -> None:
    records = _records_of_events(directory)
    while some := list(itertools.islice(records, _EVENTS_AT_ONCE)):
        extremes.take(some)
    for series in extremes.series.values():
        points = series.lowest, series.highest
        series.last = _shortest(series.last)
        series.lowest, series.highest = (None if point is None else _shortest(point) for point in points)


def _records_of_events(directory: Path) -> Iterator[Record[float]]:
    from lightning_trackplus.reading.event_values import event_rows  # noqa: PLC0415  needs tensorboard

    for row in event_rows(directory, known_axes(directory)):
        numbers = {name: float(value) for name, value in row.values.items()}
        if numbers:
            yield Record(row.step, row.epoch, 0.0, numbers, only_numbers=True)


def _shortest(point: Point) -> Point:
    """Return the shortest decimal that is the same float32, which is mostly the number that was logged."""
    return float(str(np.float32(point[0]))), point[1]


Point: TypeAlias = tuple[float, int]
"""A value and its step."""


@dataclass(slots=True)
class Series:
    """What is known of one series.

    Attributes:
        last: Its last value.
        lowest: Its lowest value, where it first stood; None where all were NaN.
        highest: Its highest value in the same way.
    """

    last: Point
    lowest: Point | None = None
    highest: Point | None = None


class RunningExtremes:
    """Takes records of numbers, many at a time, which takes 4 µs for one of 100 numbers.

    Attributes:
        series: What is known of each name, in the order of their first appearance.
        at_best: By the names of ``watched``, all numbers as they stood when its best value was logged, and those that
            were logged after it at the same step.

    Examples:
        >>> extremes = RunningExtremes()
        >>> extremes.take([Record(step, 0, 0.0, {"loss": loss}) for step, loss in enumerate([0.9, 0.2, 0.4])])
        >>> extremes.series
        {'loss': Series(last=(0.4, 2), lowest=(0.2, 1), highest=(0.9, 0))}
    """

    def __init__(self, watched: Mapping[str, Mode] | None = None) -> None:
        self.series: dict[str, Series] = {}
        self.at_best: dict[str, dict[str, float]] = {}
        self._watched = watched or {}
        # The step at which the last record had the best value of a name, whose further records belong to it.
        self._same_step: dict[str, int] = {}

    def take(self, records: Sequence[Record[float]]) -> None:
        """Take records in the order in which they were logged."""
        self.take_at_best(records)
        tables: dict[tuple[str, ...], list[int]] = {}
        for position, record in enumerate(records):
            tables.setdefault(tuple(record.values), []).append(position)
        # A name may stand in several tables; the one that ends last has its last value.
        for names, positions in sorted(tables.items(), key=lambda table: table[1][-1]):
            self._take_table(names, [records[position] for position in positions])

    @property
    def watched(self) -> Mapping[str, Mode]:
        """The names at whose best value all values are kept; others may be set, and hold for what comes then."""
        return self._watched

    @watched.setter
    def watched(self, watched: Mapping[str, Mode]) -> None:
        self.at_best = {name: at for name, at in self.at_best.items() if watched.get(name) == self._watched[name]}
        self._watched = watched

    def is_concerned(self, name: str, values: Sequence[float], steps: Sequence[int]) -> bool:
        """Return whether `take_at_best` has to see records that hold these values of a watched name."""
        points = zip(values, steps, strict=True)
        return name in self._same_step or self._last_better(name, self._watched[name], points) is not None

    def take_at_best(self, records: Sequence[Record[float]]) -> None:
        """Keep all values where one of the watched names is better than before."""
        for name, mode in self._watched.items():
            begin, step = 0, self._same_step.pop(name, None)
            points = ((record.values.get(name, math.nan), record.step) for record in records)
            if (position := self._last_better(name, mode, points)) is not None:
                begin, step = position, records[position].step
                values = {other: series.last[0] for other, series in self.series.items()}
                self.at_best[name] = values
                self._bring_up(name, records[:position])
            if step is None:
                continue
            end = next((at for at in range(begin, len(records)) if records[at].step != step), len(records))
            self._bring_up(name, records[begin:end])
            if end == len(records):
                self._same_step[name] = step

    def take_series(self, name: str, values: Sequence[float], steps: Sequence[int]) -> None:
        """Take values of one name in the order in which they were logged."""
        if values:
            table = np.array([values], np.float64)
            (low,), (high,) = (_first_positions(table, ufunc.reduce(table, axis=1)) for ufunc in (np.fmin, np.fmax))
            series = self.series.setdefault(name, Series((math.nan, 0)))
            series.last = (values[-1], steps[-1])
            _extend(series, (values[low], steps[low]), (values[high], steps[high]))

    def _bring_up(self, name: str, records: Sequence[Record[float]]) -> None:
        for record in records:
            self.at_best[name].update(record.values)
            if record.epoch is not None:
                self.at_best[name]["epoch"] = record.epoch

    def _last_better(self, name: str, mode: Mode, points: Iterable[Point]) -> int | None:
        """Return the position of the last point of a name that is better than all before."""
        series = self.series.get(name)
        best = None if series is None else series.lowest if mode == "min" else series.highest
        found = None
        for position, point in enumerate(points):
            if is_better(point, best, mode):
                best, found = point, position
        return found

    def _take_table(self, names: tuple[str, ...], records: list[Record[float]]) -> None:
        table = _columns(records, len(names))
        lowest = _first_positions(table, np.fmin.reduce(table, axis=1))
        highest = _first_positions(table, np.fmax.reduce(table, axis=1))
        final = records[-1]
        for name, low, high in zip(names, lowest, highest, strict=True):
            series = self.series.get(name) or self.series.setdefault(name, Series((math.nan, 0)))
            series.last = (final.values[name], final.step)
            _extend(
                series, (records[low].values[name], records[low].step), (records[high].values[name], records[high].step)
            )


def _extend(series: Series, low: Point, high: Point) -> None:
    if is_better(low, series.lowest, "min"):
        series.lowest = low
    if is_better(high, series.highest, "max"):
        series.highest = high


def is_better(point: Point, best: Point | None, mode: Mode) -> bool:
    """Return whether a point is better than the best so far, or as good at a lower step; NaN never is."""
    if best is None:
        # NaN differs from itself; `math.isnan` takes no integer beyond all floats.
        return point[0] == point[0]
    # NaN compares as False, but not in a tuple.
    if point[0] == best[0]:
        return point[1] < best[1]
    return point[0] < best[0] if mode == "min" else point[0] > best[0]


def _columns(records: list[Record[float]], width: int) -> NDArray[np.float64]:
    """Return the numbers of records that have the same names, float64, shape ``(names, records)``."""
    values = (record.values.values() for record in records)
    try:
        rows = np.fromiter(itertools.chain.from_iterable(values), np.float64, width * len(records))
    except OverflowError:  # Integers have no end.
        rows = np.array([_clipped(number) for record in records for number in record.values.values()])
    return np.ascontiguousarray(rows.reshape(len(records), width).T)


def _clipped(number: float) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _first_positions(table: NDArray[np.float64], extremes: NDArray[np.float64]) -> list[int]:
    """Return where in its row each extreme first stands; 0 for one that is NaN."""
    positions: list[int] = (table == extremes[:, np.newaxis]).argmax(axis=1).tolist()
    return positions
