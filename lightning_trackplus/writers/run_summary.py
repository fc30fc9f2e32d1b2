"""The summary of a run, ``summary.json``: the last value of each number, and the best or the extremes."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from lightning_trackplus.formats.atomic_file import replace_file
from lightning_trackplus.formats.layout import METRICS_FILE, SUMMARY_FILE
from lightning_trackplus.record import NUMBERS, Payload, Record
from lightning_trackplus.writers.directions import Directions, Mode
from lightning_trackplus.writers.history import Point, RunningExtremes, Series, read_history

_SECONDS_BETWEEN_FILES = 10.0
_MOST_WAITING = 8192


class RunSummary:
    """Writes, for each number that was logged, its last value, and its best one where it is known what is good.

    The file is one JSON object, with an entry for each name: ``{"lr": {"last": 0.1, "last_step": 9, "min": 0.1,
    "min_step": 5, "max": 0.3, "max_step": 0}}``. Where a mode is known, ``best``, ``best_step`` and ``mode`` stand in
    place of the extremes; where a callback monitors the name, also ``at_best``, all numbers as they were then. What
    JSON has no number for stands there as ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``. NaN is never the best; where
    nothing else was logged, the best is null. ``epoch`` has no entry of its own. Series of evaluation batches count as
    all others do; their steps are those of ``metrics.csv``.

    After `close`, it can be written to again. What it knows goes on to hold, and nothing is read, as long as the files
    are those that it left.

    Attributes:
        is_open: Whether it has got a number since it was made or closed.

    Examples:
        >>> import tempfile
        >>> directory = Path(tempfile.mkdtemp())
        >>> summary = RunSummary(directory, Directions(metrics={"acc": "max"}))
        >>> for step, acc in enumerate([0.5, 0.9, 0.7]):
        ...     summary.write(Record(step, 0, 0.0, {"acc": acc}, only_numbers=True))
        >>> summary.close()
        >>> json.loads((directory / "summary.json").read_text())
        {'acc': {'last': 0.7, 'last_step': 2, 'best': 0.9, 'best_step': 1, 'mode': 'max'}}
    """

    def __init__(self, directory: Path, directions: Directions | None = None) -> None:
        self._directory = directory
        self._directions = directions or Directions()
        self._extremes = RunningExtremes()
        # They are looked at many at once, which takes a fifth of the time.
        self._waiting: list[Record[float]] = []
        self._waiting_numbers = 0
        self.is_open = False
        self._left: tuple[tuple[int, ...], int] | None = None
        self._is_written = True
        self._written_at = -math.inf
        self._written_stamp: tuple[int, ...] | None = None

    def set_directions(self, directions: Directions) -> None:
        """Replace the directions, for what was written before as well; all values at a best, for what comes."""
        self._directions = directions
        self._is_written = not self.is_open

    def write(self, record: Record[Payload]) -> None:
        """Take the numbers of one record."""
        if not record.only_numbers:
            numbers = {name: value for name, value in record.values.items() if isinstance(value, NUMBERS)}
            if not numbers:
                return
            record = Record(record.step, record.epoch, record.wall_time, numbers)
        if self._waiting_numbers >= _MOST_WAITING:
            self._take_waiting()
        if not self.is_open:
            self._open()
        self._waiting.append(cast("Record[float]", record))
        self._waiting_numbers += len(record.values)
        self._is_written = False

    def best_before(self, modes: Mapping[str, Mode]) -> dict[str, Point]:
        """Return the best values that the run had when it was opened; to be asked at its first record.

        Args:
            modes: Of each name, whether the lowest or the highest value is the best.
        """
        series = {name: self._extremes.series[name] for name in modes if name in self._extremes.series}
        found = {name: one.lowest if modes[name] == "min" else one.highest for name, one in series.items()}
        return {name: point for name, point in found.items() if point is not None}

    def flush(self) -> None:
        """Write the file, if there is something new and ten seconds have passed since it was last written."""
        if time.monotonic() >= self._written_at + _SECONDS_BETWEEN_FILES:
            self._store()

    def close(self) -> None:
        """Write the file, if there is something new."""
        self._store()
        if self.is_open:
            self._left, self.is_open = self._stamps(), False

    def _open(self) -> None:
        """Take what is there already; it may hold the first record too, which changes nothing."""
        self.is_open = True
        if self._left is None or not self._is_as_left(*self._left):
            self._extremes = RunningExtremes()
            self._extremes = self._past()

    def _is_as_left(self, summary: tuple[int, ...], table_size: int) -> bool:
        # The table is closed later, with more in it.
        now = self._stamps()
        return now[0] == summary and now[1] >= table_size

    def _stamps(self) -> tuple[tuple[int, ...], int]:
        table = self._directory / METRICS_FILE
        return _stamp(self._directory / SUMMARY_FILE), table.stat().st_size if table.is_file() else 0

    def _store(self) -> None:
        if self._is_written:
            return
        self._written_at = time.monotonic()
        if self._written_stamp is not None and self._written_stamp != _stamp(self._directory / SUMMARY_FILE):
            # Another process has continued the run, such as one of `ddp_spawn`, or somebody removed the file.
            self._extremes = self._past()
        self._take_waiting()
        self._directory.mkdir(parents=True, exist_ok=True)
        entries = {_text(name): self._entry(name, series) for name, series in self._extremes.series.items()}
        entries.pop("epoch", None)
        data = json.dumps(entries, indent=2, ensure_ascii=False, allow_nan=False)
        replace_file(self._directory / SUMMARY_FILE, data.encode() + b"\n")
        self._written_stamp = _stamp(self._directory / SUMMARY_FILE)
        self._is_written = True

    def _past(self) -> RunningExtremes:
        return read_history(self._directory, self._directions)

    def _entry(self, name: str, series: Series) -> dict[str, Any]:
        entry: dict[str, Any] = _point("last", series.last)
        mode = self._directions.mode(name)
        if mode is None:
            return entry | _point("min", series.lowest) | _point("max", series.highest)
        entry |= _point("best", series.lowest if mode == "min" else series.highest) | {"mode": mode}
        if (at_best := self._extremes.at_best.get(name)) is not None and name in self._extremes.watched:
            entry["at_best"] = {_text(other): _json_number(value) for other, value in at_best.items()}
        return entry

    def _take_waiting(self) -> None:
        waiting, self._waiting, self._waiting_numbers = self._waiting, [], 0
        self._extremes.watched = self._directions.watched()
        self._extremes.take(waiting)


def _stamp(path: Path) -> tuple[int, ...]:
    """Return what tells one writing of a file from another."""
    if not path.is_file():
        return ()
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _text(name: str) -> str:
    """Return a name as ``metrics.csv`` has it: what has no UTF-8 stands there as its escape."""
    return name.encode("utf-8", "backslashreplace").decode()


def _point(name: str, point: Point | None) -> dict[str, float | str | None]:
    value, step = (None, None) if point is None else (_json_number(point[0]), point[1])
    return {name: value, f"{name}_step": step}


def _json_number(number: float) -> float | str:
    if isinstance(number, int) or math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
