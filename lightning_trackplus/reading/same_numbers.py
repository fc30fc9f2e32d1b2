"""The numbers of the CSV and of the event files, side by side."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lightning_trackplus.formats.metrics_csv import EPOCH, StoredMetrics
from lightning_trackplus.formats.x_axis import EPOCH as OVER_EPOCHS
from lightning_trackplus.reading.difference import Difference
from lightning_trackplus.reading.number_chunks import RUN, Chunk, EventNumbers, csv_chunks

# Lightning's TensorBoardLogger writes it once, as a place for what may come.
_PLACEHOLDER, _PLACEHOLDER_VALUE = "hp_metric", -1.0
_POINT = np.dtype([("step", "<i8"), ("value", "<f4")])

_Series: TypeAlias = tuple[str, str]
"""A name, and which part of it."""


@dataclass(frozen=True, slots=True)
class SameNumbers:
    """What comparing the numbers of a run has shown.

    Attributes:
        count: How many stand in both.
        differences: What does not.
    """

    count: int
    differences: list[Difference]


def same_numbers(csv: StoredMetrics | None, events: EventNumbers, axes: Mapping[str, str]) -> SameNumbers:
    """Compare the numbers of a run: of each name, the sequence of steps and values is the same in both.

    Both are read once, of which nothing is kept but a checksum a name. Names that are not the same are read again.

    Args:
        csv: Its ``metrics.csv``; None if there is none.
        events: Its event files.
        axes: The axis of each name that does not stand over the global step.
    """
    in_events = _Checksums(events.chunks())
    in_csv = _Checksums(() if csv is None else csv_chunks(csv, axes, events.of_batches))
    # Of these, the CSV does not tell the steps to the bit.
    to_read = {name for name, axis in axes.items() if axis != OVER_EPOCHS}
    other = {
        series: None
        for series in {**in_csv.sums, **in_events.sums}
        if series[0] in to_read or in_csv.sums.get(series) != in_events.sums.get(series)
    }
    if (EPOCH, RUN) not in in_events.sums:
        # Every row has an epoch, also of what was logged without one.
        other.pop((EPOCH, RUN), None)
        in_csv.sums.pop((EPOCH, RUN), None)
    count = sum(in_csv.counts[series] for series in in_csv.sums.keys() - other.keys())
    if not other:
        return SameNumbers(count, [])
    csv_points = _Points(() if csv is None else csv_chunks(csv, axes, events.of_batches, warns=False), other)
    event_points = _Points(events.chunks(), other)
    found: list[Difference] = []
    for series in other:
        same, differences = _compared(series[0], csv_points.get(series), event_points.get(series))
        count += same
        found += differences
    return SameNumbers(count, found)


class _Checksums:
    """A checksum of each series, of its steps and of its values as float32."""

    def __init__(self, chunks: Iterable[Chunk]) -> None:
        hashes: dict[_Series, hashlib.blake2b] = {}
        self.counts: Counter[_Series] = Counter()
        last_epoch: tuple[int, float] | None = None
        for chunk in chunks:
            series = chunk.name, chunk.part
            if chunk.name == EPOCH:
                # A row has it once, and each of its events again.
                chunk = _once(chunk, last_epoch)  # noqa: PLW2901
                if not len(chunk.steps):
                    continue
                last_epoch = int(chunk.steps[-1]), float(chunk.values[-1])
            points = np.empty(len(chunk.steps), _POINT)
            points["step"], points["value"] = chunk.steps, _float32(chunk.values)
            if series not in hashes:
                hashes[series] = hashlib.blake2b(digest_size=16)
            hashes[series].update(points.tobytes())
            # What holds text is never the same.
            hashes[series].update(repr(chunk.texts).encode() if chunk.texts else b"")
            self.counts[series] += len(points) + len(chunk.texts)
        self.sums = {series: one.digest() for series, one in hashes.items()}


class _Points:
    """All numbers of some series."""

    def __init__(self, chunks: Iterable[Chunk], wanted: Collection[_Series]) -> None:
        self._chunks: dict[_Series, list[Chunk]] = defaultdict(list)
        for chunk in chunks:
            if (chunk.name, chunk.part) in wanted:
                self._chunks[chunk.name, chunk.part].append(chunk)

    def get(self, series: _Series) -> Chunk | None:
        """Return the numbers of a series as one; None if there are none."""
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


def _compared(name: str, csv: Chunk | None, events: Chunk | None) -> tuple[int, list[Difference]]:
    if csv is None:
        events = events if events is None else _without_placeholder(name, events)
        return 0, [] if events is None else [_alone(name, events, "TensorBoard")]
    if events is None:
        return 0, [_alone(name, csv, "the CSV")]
    if name == EPOCH:
        return _same_epochs(csv, events)
    return _same_points(name, csv, events)


def _same_epochs(csv: Chunk, events: Chunk) -> tuple[int, list[Difference]]:
    """Compare epochs; rows of what was logged without one have no event of it, and are left out."""
    csv, events = _each_once(csv), _each_once(events)
    has_event, has_row = _matched(csv, events)
    known = has_event | np.isin(csv.steps, events.steps[~has_row])
    csv = csv._replace(steps=csv.steps[known], other_steps=csv.other_steps[known], values=csv.values[known])
    # Once each, they need not come in the same order.
    order, other = (np.lexsort((one.values, one.steps)) for one in (csv, events))
    csv = csv._replace(steps=csv.steps[order], other_steps=csv.other_steps[order], values=csv.values[order])
    return _same_points(EPOCH, csv, events._replace(steps=events.steps[other], values=events.values[other]))


def _once(chunk: Chunk, before: tuple[int, float] | None = None) -> Chunk:
    """Return points without those that are like the one before."""
    values = _float32(chunk.values)
    new = np.ones(len(values), np.bool_)
    new[1:] = (np.diff(chunk.steps) != 0) | (values[1:] != values[:-1])
    if before is not None and len(new):
        new[0] = (int(chunk.steps[0]), float(chunk.values[0])) != before
    return chunk._replace(steps=chunk.steps[new], other_steps=chunk.other_steps[new], values=chunk.values[new])


def _each_once(chunk: Chunk) -> Chunk:
    """Return points without those that there are already."""
    points = np.rec.fromarrays([chunk.steps, _float32(chunk.values)])
    _, places = np.unique(points, return_index=True)
    places.sort()
    return chunk._replace(steps=chunk.steps[places], other_steps=chunk.other_steps[places], values=chunk.values[places])


def _same_points(name: str, csv: Chunk, events: Chunk) -> tuple[int, list[Difference]]:
    has_event, has_row = _matched(csv, events)
    csv_left = list(zip(csv.steps[~has_event].tolist(), csv.values[~has_event].tolist(), strict=True))
    values = _float32(events.values)
    events_left = list(zip(events.steps[~has_row].tolist(), map(str, values[~has_row]), strict=True))
    found = [Difference(name, step, f"{text!r} in the CSV, which is no number") for step, text in csv.texts]
    texts = {step for step, _ in csv.texts}
    found += _paired(name, csv_left, [one for one in events_left if one[0] not in texts])
    if not found and (step := _first_out_of_order(csv, events)) is not None:
        found = [Difference(name, step, "from here on, TensorBoard has the values in another order than the CSV")]
    return int(has_event.sum()), sorted(found, key=lambda one: one.step or 0)


def _paired(name: str, csv: list[tuple[int, float]], events: list[tuple[int, str]]) -> Iterator[Difference]:
    """Yield what is left on both sides, of the same step side by side."""
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
            yield Difference(name, step, f"{in_csv}, {in_events}" if both else f"{in_csv or in_events} alone")


def _matched(csv: Chunk, events: Chunk) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which rows have an event of their value at a step that they may have, and which events have such a row."""
    values = _float32(csv.values)
    low, high = np.minimum(csv.steps, csv.other_steps), np.maximum(csv.steps, csv.other_steps)
    order = np.argsort(_keys(events.steps, _float32(events.values)), kind="stable")
    keys = _keys(events.steps, _float32(events.values))[order]
    first = np.searchsorted(keys, _keys(low, values), "left")
    behind = np.searchsorted(keys, _keys(high, values), "right")
    has_event, taken = np.zeros(len(values), np.bool_), np.zeros(len(keys), np.bool_)
    # Each event is that of one row: rows take the first free one, those that have to be early first.
    next_free = np.arange(len(keys) + 1)
    for row in np.argsort(behind, kind="stable").tolist():
        place = _free(next_free, int(first[row]))
        if place < behind[row]:
            has_event[row] = taken[place] = True
            next_free[place] = place + 1
    has_row = np.empty(len(keys), np.bool_)
    has_row[order] = taken
    return has_event, has_row


def _free(next_free: NDArray[np.intp], place: int) -> int:
    """Return the first free place from one on, and shorten the way there for the next time."""
    end = place
    while next_free[end] != end:
        end = int(next_free[end])
    while next_free[place] != end and place != end:
        next_free[place], place = end, int(next_free[place])
    return end


def _first_out_of_order(csv: Chunk, events: Chunk) -> int | None:
    """Return the step from which the same points have another order; None if there is none, or steps are not exact."""
    if not np.array_equal(csv.steps, csv.other_steps):
        return None
    values = _float32(csv.values).view(np.int32) == _float32(events.values).view(np.int32)
    (places,) = np.nonzero((csv.steps != events.steps) | ~values)
    return int(csv.steps[places[0]]) if len(places) else None


def _without_placeholder(name: str, events: Chunk) -> Chunk | None:
    if name != _PLACEHOLDER:
        return events
    other = events.values != _PLACEHOLDER_VALUE
    return events._replace(steps=events.steps[other], values=events.values[other]) if other.any() else None


def _alone(name: str, chunk: Chunk, where: str) -> Difference:
    count = len(chunk.values) + len(chunk.texts)
    of_batches = "" if chunk.part == RUN else " of batches"
    return Difference(name, None, f"{count:,} {'value' if count == 1 else 'values'}{of_batches} in {where} alone")


def _float32(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return values as an event has them; all NaN have the same bits, and -0 those of 0."""
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32)
    return np.where(np.isnan(rounded), np.float32(np.nan), rounded + np.float32(0))


def _keys(steps: NDArray[np.int64], values: NDArray[np.float32]) -> NDArray[np.complex128]:
    """Return values with steps as one number each, which are in the order of the steps where values are the same."""
    return values.view(np.int32) + 1j * steps
