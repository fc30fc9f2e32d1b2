"""The best and the extreme values of a run's numbers."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_trackplus.formats.summary import Mode, Point
from lightning_trackplus.lightning_internals import trainer_state
from lightning_trackplus.record import Record

if TYPE_CHECKING:
    import lightning.pytorch as pl

_SUFFIXED_NAME = re.compile(r"(.*?)(_step|_epoch)?(/dataloader_idx_\d+)?", re.DOTALL)


class MetricModes(NamedTuple):
    """The modes of a run's names, as their metrics and the callbacks that monitor them define them.

    Examples:
        >>> modes = MetricModes(metrics={"val/acc": "max"}, monitored={"val/loss": "min"})
        >>> modes.mode("val/acc_epoch"), modes.mode("lr")
        ('max', None)
        >>> modes.watched()
        {'val/loss': 'min', 'val/loss_epoch': 'min'}
    """

    metrics: Mapping[str, Mode] = {}
    monitored: Mapping[str, Mode] = {}

    def mode(self, name: str) -> Mode | None:
        """Return the mode of a name, which may have Lightning's suffix ``_step`` or ``_epoch``."""
        if not (self.metrics or self.monitored):
            return None
        stem, _, dataloader = _split_name(name)
        monitored = self.monitored.get(name) or self.monitored.get(stem + dataloader)
        return monitored or self.metrics.get(name) or self.metrics.get(stem)

    def watched(self) -> dict[str, Mode]:
        """Return the monitored names, also with Lightning's suffix for names that are logged on steps as well."""
        watched = dict(self.monitored)
        for name, mode in self.monitored.items():
            stem, suffix, dataloader = _split_name(name)
            if not suffix:
                watched.setdefault(f"{stem}_epoch{dataloader}", mode)
        return watched


def _split_name(name: str) -> tuple[str, str, str]:
    stem, suffix, dataloader = _SUFFIXED_NAME.fullmatch(name).groups("")  # type: ignore[union-attr]  # it matches all
    return stem, suffix, dataloader


def monitored_modes(trainer: pl.Trainer, prefix: str) -> dict[str, Mode]:
    """Return the modes of the names that callbacks monitor, with a prefix."""
    modes: dict[str, Mode] = {}
    for callback in trainer_state.callbacks_of(trainer):
        monitor, mode = getattr(callback, "monitor", None), getattr(callback, "mode", None)
        if isinstance(monitor, str) and mode in ("min", "max"):
            modes.setdefault(prefix + monitor, mode)
    return modes


def is_better(point: Point, best: Point | None, mode: Mode) -> bool:
    """Return whether a point is better than the best so far, or as good at a lower step; NaN never is."""
    if point[0] != point[0]:  # NaN; `math.isnan` raises for an integer that float cannot hold.
        return False
    if best is None:
        return True
    return point < best if mode == "min" else (point[0], -point[1]) > (best[0], -best[1])


@dataclass(slots=True)
class Series:
    """The last value of a name and its extremes, each where it first occurred; None if all values were NaN."""

    last: Point
    lowest: Point | None = None
    highest: Point | None = None


class RunningExtremes:
    """Keeps the extremes of all names; it takes many records at once, which costs 4 µs for one of 100 numbers.

    ``at_best`` has, for each watched name, all numbers as they were when its best value was logged, and those that were
    logged after it at the same step.
    """

    def __init__(self, watched: Mapping[str, Mode] | None = None) -> None:
        self.series: dict[str, Series] = {}
        self.at_best: dict[str, dict[str, float]] = {}
        self._watched = watched or {}
        # Names whose best value is at the step of the last record, so that further records of it belong to `at_best`.
        self._same_step: dict[str, int] = {}

    def take(self, records: Sequence[Record[float]]) -> None:
        """Add records in the order in which they were logged."""
        self.take_at_best(records)
        tables: dict[tuple[str, ...], list[int]] = {}
        for position, record in enumerate(records):
            tables.setdefault(tuple(record.values), []).append(position)
        # A name can be in several tables; the one that ends last has its last value.
        for names, positions in sorted(tables.items(), key=lambda table: table[1][-1]):
            self._take_table(names, [records[position] for position in positions])

    @property
    def watched(self) -> Mapping[str, Mode]:
        """The names for which `at_best` is kept; others may be set, for later records."""
        return self._watched

    @watched.setter
    def watched(self, watched: Mapping[str, Mode]) -> None:
        self.at_best = {name: at for name, at in self.at_best.items() if watched.get(name) == self._watched[name]}
        self._watched = watched

    def changes_at_best(self, name: str, values: Sequence[float], steps: Sequence[int]) -> bool:
        """Return whether `take_at_best` needs the records that have these values of a watched name."""
        points = zip(values, steps, strict=True)
        return name in self._same_step or self._last_improvement(name, self._watched[name], points) is not None

    def take_at_best(self, records: Sequence[Record[float]]) -> None:
        """Update `at_best` where a watched name improves."""
        for name, mode in self._watched.items():
            begin, step = 0, self._same_step.pop(name, None)
            points = ((record.values.get(name, math.nan), record.step) for record in records)
            if (position := self._last_improvement(name, mode, points)) is not None:
                begin, step = position, records[position].step
                self.at_best[name] = {other: series.last[0] for other, series in self.series.items()}
                self._update_at_best(name, records[:position])
            if step is None:
                continue
            end = next((at for at in range(begin, len(records)) if records[at].step != step), len(records))
            self._update_at_best(name, records[begin:end])
            if end == len(records):
                self._same_step[name] = step

    def take_series(self, name: str, values: Sequence[float], steps: Sequence[int]) -> None:
        """Add values of one name in the order in which they were logged."""
        if values:
            table = np.array([values], np.float64)
            (low,), (high,) = (_first_positions(table, ufunc.reduce(table, axis=1)) for ufunc in (np.fmin, np.fmax))
            self._extend(name, (values[-1], steps[-1]), (values[low], steps[low]), (values[high], steps[high]))

    def _update_at_best(self, name: str, records: Sequence[Record[float]]) -> None:
        for record in records:
            self.at_best[name].update(record.values)
            if record.epoch is not None:
                self.at_best[name]["epoch"] = record.epoch

    def _last_improvement(self, name: str, mode: Mode, points: Iterable[Point]) -> int | None:
        """Return the position of the last point of a name that is better than all before it."""
        series = self.series.get(name)
        best = None if series is None else series.lowest if mode == "min" else series.highest
        last = None
        for position, point in enumerate(points):
            if is_better(point, best, mode):
                best, last = point, position
        return last

    def _take_table(self, names: tuple[str, ...], records: list[Record[float]]) -> None:
        table = _columns(records, len(names))
        lowest = _first_positions(table, np.fmin.reduce(table, axis=1))
        highest = _first_positions(table, np.fmax.reduce(table, axis=1))
        final = records[-1]
        for name, low, high in zip(names, lowest, highest, strict=True):
            low_point = records[low].values[name], records[low].step
            high_point = records[high].values[name], records[high].step
            self._extend(name, (final.values[name], final.step), low_point, high_point)

    def _extend(self, name: str, last: Point, low: Point, high: Point) -> None:
        series = self.series.get(name)
        if series is None:
            series = self.series[name] = Series(last)
        series.last = last
        if is_better(low, series.lowest, "min"):
            series.lowest = low
        if is_better(high, series.highest, "max"):
            series.highest = high


def _columns(records: list[Record[float]], width: int) -> NDArray[np.float64]:
    """Return the numbers of records with the same names, float64, shape ``(names, records)``."""
    values = (record.values.values() for record in records)
    try:
        rows = np.fromiter(itertools.chain.from_iterable(values), np.float64, width * len(records))
    except OverflowError:  # Integers are unbounded.
        rows = np.array([_clip(number) for record in records for number in record.values.values()])
    return np.ascontiguousarray(rows.reshape(len(records), width).T)


def _clip(number: float) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _first_positions(table: NDArray[np.float64], extremes: NDArray[np.float64]) -> list[int]:
    """Return where each row first has its extreme; 0 for one that is NaN."""
    positions: list[int] = (table == extremes[:, np.newaxis]).argmax(axis=1).tolist()
    return positions
