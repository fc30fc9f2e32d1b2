"""Compares the numbers of a run's ``metrics.csv`` and of its event files."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lightning_trackplus.formats.metrics_csv import EPOCH, StoredMetrics
from lightning_trackplus.reading.number_chunks import RUN, Chunk, EventNumbers, csv_chunks

# Lightning's TensorBoardLogger writes it once, before any metric.
_PLACEHOLDER, _PLACEHOLDER_VALUE = "hp_metric", -1.0
_POINT = np.dtype([("step", "<i8"), ("value", "<f4")])

_Series: TypeAlias = tuple[str, str]
"""A name and its part, `RUN` or `BATCHES`."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference between the CSV files and the event files of a run.

    Attributes:
        name: The name under which the value was logged.
        step: Its step in TensorBoard, mostly the global step; None for a difference of the whole name.
        what: What is different.

    Examples:
        >>> print(Difference("val/loss", 3, "0.5 in the CSV, 0.25 in TensorBoard"))
        val/loss at 3: 0.5 in the CSV, 0.25 in TensorBoard
    """

    name: str
    step: int | None
    what: str

    def __str__(self) -> str:
        """Return it as one line."""
        name = self.name if self.name.isprintable() and self.name else repr(self.name)
        return f"{name}: {self.what}" if self.step is None else f"{name} at {self.step}: {self.what}"


def compare_numbers(
    csv: StoredMetrics | None, events: EventNumbers, axes: Mapping[str, str]
) -> tuple[int, list[Difference]]:
    """Return how many numbers ``metrics.csv`` and the event files have in common, and the differences.

    Both are read once to compute a checksum of each name. Names whose checksums differ are read again.
    """
    in_events = _Checksums(events.chunks())
    in_csv = _Checksums(() if csv is None else csv_chunks(csv, axes, events.batch_names))
    # Over a scalar, the CSV does not determine the steps exactly.
    inexact = {name for name, axis in axes.items() if axis != EPOCH}
    unequal = {
        series: None
        for series in {**in_csv.sums, **in_events.sums}
        if series[0] in inexact or in_csv.sums.get(series) != in_events.sums.get(series)
    }
    if (EPOCH, RUN) not in in_events.sums:
        # Every row has an epoch, also of numbers that were logged without one.
        unequal.pop((EPOCH, RUN), None)
        in_csv.sums.pop((EPOCH, RUN), None)
    count = sum(in_csv.counts[series] for series in in_csv.sums.keys() - unequal.keys())
    if not unequal:
        return count, []
    csv_points = _Points(() if csv is None else csv_chunks(csv, axes, events.batch_names, warns=False), unequal)
    event_points = _Points(events.chunks(), unequal)
    differences: list[Difference] = []
    for series in unequal:
        same, of_series = _compare(series[0], csv_points.get(series), event_points.get(series))
        count += same
        differences += of_series
    return count, differences


class _Checksums:
    """A checksum of the steps and float32 values of each series."""

    def __init__(self, chunks: Iterable[Chunk]) -> None:
        hashes: dict[_Series, hashlib.blake2b] = {}
        self.counts: Counter[_Series] = Counter()
        last_epoch: tuple[int, float] | None = None
        for chunk in chunks:
            series = chunk.name, chunk.part
            if chunk.name == EPOCH:
                # A row has it once, each of its events again.
                chunk = _without_repeats(chunk, last_epoch)  # noqa: PLW2901
                if not len(chunk.steps):
                    continue
                last_epoch = int(chunk.steps[-1]), float(chunk.values[-1])
            points = np.empty(len(chunk.steps), _POINT)
            points["step"], points["value"] = chunk.steps, _float32(chunk.values)
            if series not in hashes:
                hashes[series] = hashlib.blake2b(digest_size=16)
            hashes[series].update(points.tobytes())
            # Text never equals a number.
            hashes[series].update(repr(chunk.texts).encode() if chunk.texts else b"")
            self.counts[series] += len(points) + len(chunk.texts)
        self.sums = {series: series_hash.digest() for series, series_hash in hashes.items()}


class _Points:
    """All numbers of some series."""

    def __init__(self, chunks: Iterable[Chunk], wanted: Collection[_Series]) -> None:
        self._chunks: dict[_Series, list[Chunk]] = defaultdict(list)
        for chunk in chunks:
            if (chunk.name, chunk.part) in wanted:
                self._chunks[chunk.name, chunk.part].append(chunk)

    def get(self, series: _Series) -> Chunk | None:
        """Return all numbers of a series; None if there are none."""
        chunks = self._chunks.get(series)
        if not chunks:
            return None
        return Chunk(
            *series,
            np.concatenate([chunk.steps for chunk in chunks]),
            np.concatenate([chunk.other_steps for chunk in chunks]),
            np.concatenate([chunk.values for chunk in chunks]),
            tuple(text for chunk in chunks for text in chunk.texts),
        )


def _compare(name: str, csv: Chunk | None, events: Chunk | None) -> tuple[int, list[Difference]]:
    if csv is None:
        events = events if events is None else _without_placeholder(name, events)
        return 0, [] if events is None else [_in_one_only(name, events, "TensorBoard")]
    if events is None:
        return 0, [_in_one_only(name, csv, "the CSV")]
    if name == EPOCH:
        return _compare_epochs(csv, events)
    return _compare_points(name, csv, events)


def _compare_epochs(csv: Chunk, events: Chunk) -> tuple[int, list[Difference]]:
    """Compare epochs, without rows that have no event of it: their numbers were logged without an epoch."""
    csv, events = _unique(csv), _unique(events)
    has_event, has_row = _match(csv, events)
    known = has_event | np.isin(csv.steps, events.steps[~has_row])
    csv = csv.at(known)
    # Without repeats, the order does not matter.
    csv_order, event_order = (np.lexsort((chunk.values, chunk.steps)) for chunk in (csv, events))
    return _compare_points(EPOCH, csv.at(csv_order), events.at(event_order))


def _without_repeats(chunk: Chunk, before: tuple[int, float] | None = None) -> Chunk:
    """Return points without those that equal the one before."""
    values = _float32(chunk.values)
    new = np.ones(len(values), np.bool_)
    new[1:] = (np.diff(chunk.steps) != 0) | (values[1:] != values[:-1])
    if before is not None and len(new):
        new[0] = (int(chunk.steps[0]), float(chunk.values[0])) != before
    return chunk.at(new)


def _unique(chunk: Chunk) -> Chunk:
    """Return the first of equal points."""
    points = np.rec.fromarrays([chunk.steps, _float32(chunk.values)])
    _, positions = np.unique(points, return_index=True)
    return chunk.at(np.sort(positions))


def _compare_points(name: str, csv: Chunk, events: Chunk) -> tuple[int, list[Difference]]:
    has_event, has_row = _match(csv, events)
    csv_left = list(zip(csv.steps[~has_event].tolist(), csv.values[~has_event].tolist(), strict=True))
    values = _float32(events.values)
    events_left = list(zip(events.steps[~has_row].tolist(), map(str, values[~has_row]), strict=True))
    differences = [Difference(name, step, f"{text!r} in the CSV, which is not a number") for step, text in csv.texts]
    text_steps = {step for step, _ in csv.texts}
    differences += _pair(name, csv_left, [(step, text) for step, text in events_left if step not in text_steps])
    if not differences and (step := _first_out_of_order(csv, events)) is not None:
        differences = [Difference(name, step, "from here on, TensorBoard has the values in another order than the CSV")]
    return int(has_event.sum()), sorted(differences, key=lambda difference: difference.step or 0)


def _pair(name: str, csv: list[tuple[int, float]], events: list[tuple[int, str]]) -> Iterator[Difference]:
    """Yield what has no match on either side, values of the same step together."""
    by_step: dict[int, tuple[list[float], list[str]]] = defaultdict(lambda: ([], []))
    for step, value in csv:
        by_step[step][0].append(value)
    for step, text in events:
        by_step[step][1].append(text)
    for step, (values, texts) in by_step.items():
        for index in range(max(len(values), len(texts))):
            in_csv = f"{values[index]!r} in the CSV" if index < len(values) else ""
            in_events = f"{texts[index]} in TensorBoard" if index < len(texts) else ""
            both = in_csv and in_events
            yield Difference(name, step, f"{in_csv}, {in_events}" if both else f"{in_csv or in_events} only")


def _match(csv: Chunk, events: Chunk) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which rows have an event with their value at a possible step, and which events have such a row."""
    values = _float32(csv.values)
    low, high = np.minimum(csv.steps, csv.other_steps), np.maximum(csv.steps, csv.other_steps)
    order = np.argsort(_keys(events.steps, _float32(events.values)), kind="stable")
    keys = _keys(events.steps, _float32(events.values))[order]
    first = np.searchsorted(keys, _keys(low, values), "left")
    end = np.searchsorted(keys, _keys(high, values), "right")
    has_event, is_matched = np.zeros(len(values), np.bool_), np.zeros(len(keys), np.bool_)
    # Each event matches one row: rows get the first free event, those with the earliest last step first.
    next_free = np.arange(len(keys) + 1)
    for row in np.argsort(end, kind="stable").tolist():
        position = _first_free(next_free, int(first[row]))
        if position < end[row]:
            has_event[row] = is_matched[position] = True
            next_free[position] = position + 1
    has_row = np.empty(len(keys), np.bool_)
    has_row[order] = is_matched
    return has_event, has_row


def _first_free(next_free: NDArray[np.intp], position: int) -> int:
    """Return the first free position from one on; compress the path to it, as in a union-find."""
    free = position
    while next_free[free] != free:
        free = int(next_free[free])
    while next_free[position] != free and position != free:
        next_free[position], position = free, int(next_free[position])
    return free


def _first_out_of_order(csv: Chunk, events: Chunk) -> int | None:
    """Return the step from which equal points are in another order; None if they are not, or steps are not exact."""
    if not np.array_equal(csv.steps, csv.other_steps):
        return None
    values = _float32(csv.values).view(np.int32) == _float32(events.values).view(np.int32)
    (positions,) = np.nonzero((csv.steps != events.steps) | ~values)
    return int(csv.steps[positions[0]]) if len(positions) else None


def _without_placeholder(name: str, events: Chunk) -> Chunk | None:
    if name != _PLACEHOLDER:
        return events
    is_logged = events.values != _PLACEHOLDER_VALUE
    return events.at(is_logged) if is_logged.any() else None


def _in_one_only(name: str, chunk: Chunk, where: str) -> Difference:
    count = len(chunk.values) + len(chunk.texts)
    of_batches = "" if chunk.part == RUN else " of batches"
    return Difference(name, None, f"{count:,} {'value' if count == 1 else 'values'}{of_batches} in {where} only")


def _float32(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return values as event files store them; all NaN have the same bits, and -0 is 0."""
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32)
    return np.where(np.isnan(rounded), np.float32(np.nan), rounded + np.float32(0))


def _keys(steps: NDArray[np.int64], values: NDArray[np.float32]) -> NDArray[np.complex128]:
    """Return values with steps as one sortable number each, by value and then by step."""
    return values.view(np.int32) + 1j * steps
