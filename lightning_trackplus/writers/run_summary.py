"""``summary.json``: the last value of each of a run's numbers, and its best value or its extremes."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from lightning_trackplus.formats.atomic_files import replace_file
from lightning_trackplus.formats.csv_rows import name_of
from lightning_trackplus.formats.layout import METRICS_FILE, SUMMARY_FILE, escaped
from lightning_trackplus.formats.metrics_csv import (
    EPOCH,
    STEP,
    Filled,
    StoredMetrics,
    number_in,
    read_stored,
    rows_with_steps,
)
from lightning_trackplus.formats.summary import Mode, Point, entry_of, json_number, read_summary
from lightning_trackplus.formats.x_axis import axes_to_continue
from lightning_trackplus.record import NUMBERS, Payload, Record
from lightning_trackplus.writers.best_values import MetricModes, RunningExtremes, Series

_SECONDS_BETWEEN_FILES = 10.0
_MAX_WAITING = 8192
_CELLS_AT_ONCE = 2**14
_FEWEST_ROWS = 64
_EVENTS_AT_ONCE = 256


class RunSummary:
    """Writes ``summary.json``, one JSON object with an entry for each name.

    An entry is ``{"last": 0.1, "last_step": 9, "min": 0.1, "min_step": 5, "max": 0.3, "max_step": 0}``. If the name's
    mode is known, ``best``, ``best_step`` and ``mode`` replace the extremes; if a callback monitors it, ``at_best`` has
    all numbers as they were then. NaN and infinity are ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``. NaN is never the
    best; if all values are NaN, the best is null.

    After `close`, a further `write` continues the file, and reads nothing if the files are unchanged. ``is_open`` is
    True from the first number on until `close`.
    """

    def __init__(self, directory: Path, modes: MetricModes | None = None) -> None:
        self._directory = directory
        self._modes = modes or MetricModes()
        self._extremes = RunningExtremes()
        # Records are taken many at once, which takes a fifth of the time.
        self._waiting: list[Record[float]] = []
        self._waiting_numbers = 0
        self.is_open = False
        # The files as `close` left them.
        self._closed_stamps: tuple[tuple[int, ...], int] | None = None
        self._is_written = True
        self._written_at = -math.inf
        self._written_stamp: tuple[int, ...] | None = None

    def set_modes(self, modes: MetricModes) -> None:
        """Replace the modes, also for earlier records; ``at_best`` follows with later ones."""
        self._modes = modes
        self._is_written = not self.is_open

    def write(self, record: Record[Payload]) -> None:
        """Add the numbers of one record."""
        if not record.only_numbers:
            numbers = {name: value for name, value in record.values.items() if isinstance(value, NUMBERS)}
            if not numbers:
                return
            record = Record(record.step, record.epoch, record.wall_time, numbers)
        if self._waiting_numbers >= _MAX_WAITING:
            self._take_waiting()
        if not self.is_open:
            self._open()
        self._waiting.append(cast("Record[float]", record))
        self._waiting_numbers += len(record.values)
        self._is_written = False

    def best_before(self, modes: Mapping[str, Mode]) -> dict[str, Point]:
        """Return the best values that the run had before its first record, during the `write` of that one."""
        series = {name: self._extremes.series[name] for name in modes if name in self._extremes.series}
        best = {name: one.lowest if modes[name] == "min" else one.highest for name, one in series.items()}
        return {name: point for name, point in best.items() if point is not None}

    def flush(self) -> None:
        """Write the file, if something is new and ten seconds have passed since it was last written."""
        if time.monotonic() >= self._written_at + _SECONDS_BETWEEN_FILES:
            self._store()

    def close(self) -> None:
        """Write the file, if something is new."""
        self._store()
        if self.is_open:
            self._closed_stamps, self.is_open = self._stamps(), False

    def _open(self) -> None:
        """Read the history of the run; if it has the first record already, adding it again changes nothing."""
        self.is_open = True
        if self._closed_stamps is not None:
            (summary, table_size), now = self._closed_stamps, self._stamps()
            # The table is closed after this file, and may have grown then.
            if now[0] == summary and now[1] >= table_size:
                return
        self._extremes = RunningExtremes()  # Free the old ones before the new ones are read.
        self._extremes = read_history(self._directory, self._modes)

    def _stamps(self) -> tuple[tuple[int, ...], int]:
        table = self._directory / METRICS_FILE
        return _stamp(self._directory / SUMMARY_FILE), table.stat().st_size if table.is_file() else 0

    def _store(self) -> None:
        if self._is_written:
            return
        self._written_at = time.monotonic()
        if self._written_stamp is not None and self._written_stamp != _stamp(self._directory / SUMMARY_FILE):
            # Another process has continued the run, such as one of `ddp_spawn`, or the file was removed.
            self._extremes = read_history(self._directory, self._modes)
        self._take_waiting()
        self._directory.mkdir(parents=True, exist_ok=True)
        entries = {escaped(name): self._entry(name, series) for name, series in self._extremes.series.items()}
        entries.pop("epoch", None)
        data = json.dumps(entries, indent=2, ensure_ascii=False, allow_nan=False)
        replace_file(self._directory / SUMMARY_FILE, data.encode() + b"\n")
        self._written_stamp = _stamp(self._directory / SUMMARY_FILE)
        self._is_written = True

    def _entry(self, name: str, series: Series) -> dict[str, Any]:
        entry = entry_of(series.last, series.lowest, series.highest, self._modes.mode(name))
        if "mode" not in entry:
            return entry
        if (at_best := self._extremes.at_best.get(name)) is not None and name in self._extremes.watched:
            entry["at_best"] = {escaped(other): json_number(value) for other, value in at_best.items()}
        return entry

    def _take_waiting(self) -> None:
        waiting, self._waiting, self._waiting_numbers = self._waiting, [], 0
        self._extremes.watched = self._modes.watched()
        self._extremes.take(waiting)


def _stamp(path: Path) -> tuple[int, ...]:
    """Return what changes whenever a file is written."""
    if not path.is_file():
        return ()
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def read_history(directory: Path, modes: MetricModes | None = None) -> RunningExtremes:
    """Return the last value and the extremes of each of a run's numbers.

    They are read from ``metrics.csv``. Without it, from ``summary.json``, which for a known mode has only one extreme;
    without both, from the event files, which have float32, and also what users wrote there.
    """
    extremes = RunningExtremes(None if modes is None else modes.watched())
    if _take_table(directory / METRICS_FILE, extremes) or _take_summary(directory, extremes):
        return extremes
    if any(directory.glob("*tfevents*")) and importlib.util.find_spec("tensorboard") is not None:
        _take_events(directory, extremes)
    return extremes


def _take_table(path: Path, extremes: RunningExtremes) -> bool:
    """Add the numbers of a table; return whether there is one that has columns for any."""
    if not path.is_file():
        return False
    try:
        stored = read_stored(path, warns=False)
    except ValueError:
        return False  # It is not a table of metrics.
    if not set(stored.columns) - {STEP, EPOCH}:
        return False
    # The cells of a torn row count, except the last.
    cells = itertools.chain(stored.rows(warns=False), [stored.torn_row()])
    rows = rows_with_steps(stored.columns, cells)
    count = max(_FEWEST_ROWS, _CELLS_AT_ONCE // len(stored.columns))
    while block := list(itertools.islice(rows, count)):
        _take_rows(stored, [step for step, _ in block], [row for _, row in block], extremes)
    return True


def _take_rows(
    stored: StoredMetrics, steps: Sequence[int], rows: Sequence[Sequence[str]], extremes: RunningExtremes
) -> None:
    series = {name_of(column): filled for column, filled in stored.series(rows).items() if column != STEP}
    points = {
        name: _points(cells, [steps[position] for position in positions])
        for name, (positions, cells) in series.items()
        if name != EPOCH
    }
    if any(extremes.changes_at_best(name, *points[name]) for name in extremes.watched.keys() & points):
        extremes.take_at_best(list(_records(series, steps)))
    for name, (values, value_steps) in points.items():
        extremes.take_series(name, values, value_steps)


def _records(series: Mapping[str, Filled], steps: Sequence[int]) -> Iterator[Record[float]]:
    """Yield a record of the numbers in each row."""
    numbers: list[dict[str, float]] = [{} for _ in steps]
    for name, (positions, cells) in series.items():
        for position, cell in zip(positions, cells, strict=True):
            if not isinstance(number := number_in(cell), str):
                numbers[position][name] = number
    for step, of_row in zip(steps, numbers, strict=True):
        yield Record(step, None, 0.0, of_row, only_numbers=True)


def _points(cells: Sequence[str], steps: Sequence[int]) -> tuple[Sequence[float], Sequence[int]]:
    """Return the numbers in cells, and their steps."""
    try:
        return [*map(float, cells)], steps
    except ValueError:  # Tables that others wrote can have text.
        values = map(number_in, cells)
        points = [(value, step) for value, step in zip(values, steps, strict=True) if not isinstance(value, str)]
        return [number for number, _ in points], [step for _, step in points]


def _take_summary(directory: Path, extremes: RunningExtremes) -> bool:
    """Add the entries of a summary; return whether it can be read."""
    if (entries := read_summary(directory)) is None:
        return False
    extremes.series = {name: _series(entry) for name, entry in entries.items()}
    for name, mode in extremes.watched.items():
        if (entry := entries.get(name)) is not None and entry.get("mode") == mode and "at_best" in entry:
            extremes.at_best[name] = {other: float(value) for other, value in entry["at_best"].items()}
    return True


def _series(entry: Mapping[str, Any]) -> Series:
    """Return the series of an entry; one with a best value lacks the other extreme."""
    low, high = {"min": ("best", None), "max": (None, "best"), None: ("min", "max")}[entry.get("mode")]
    return Series((float(entry["last"]), int(entry["last_step"])), _point_in(entry, low), _point_in(entry, high))


def _point_in(entry: Mapping[str, Any], name: str | None) -> Point | None:
    if name is None or entry[name] is None:
        return None
    return float(entry[name]), int(entry[f"{name}_step"])


def _take_events(directory: Path, extremes: RunningExtremes) -> None:
    records = _records_of_events(directory)
    while block := list(itertools.islice(records, _EVENTS_AT_ONCE)):
        extremes.take(block)
    for series in extremes.series.values():
        points = series.lowest, series.highest
        series.last = _shortest(series.last)
        series.lowest, series.highest = (None if point is None else _shortest(point) for point in points)


def _records_of_events(directory: Path) -> Iterator[Record[float]]:
    from lightning_trackplus.formats.scalar_events import event_rows  # noqa: PLC0415  needs tensorboard

    for row in event_rows(directory, axes_to_continue(directory)):
        numbers = {name: float(value) for name, value in row.values.items()}
        if numbers:
            yield Record(row.step, row.epoch, 0.0, numbers, only_numbers=True)


def _shortest(point: Point) -> Point:
    """Return a float32 as its shortest decimal, which is mostly the number that was logged."""
    return float(str(np.float32(point[0]))), point[1]
