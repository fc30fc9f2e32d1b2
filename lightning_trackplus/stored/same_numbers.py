"""The numbers of one name in the CSV and in the event files, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lightning_trackplus.files.metrics_file import EPOCH
from lightning_trackplus.stored.csv_points import Points
from lightning_trackplus.stored.difference import Difference

# Lightning's TensorBoardLogger writes it once, as a place for what may come.
_PLACEHOLDER, _PLACEHOLDER_VALUE = "hp_metric", -1.0


Events: TypeAlias = tuple[Iterable[int], Iterable[float]]
"""The steps of the events of a name, and their numbers."""


@dataclass(frozen=True, slots=True)
class SameNumbers:
    """What comparing the numbers of a name has shown.

    Attributes:
        count: How many stand in both.
        differences: What does not.
    """

    count: int
    differences: tuple[Difference, ...]


def same_numbers(name: str, csv: Points | None, events: Events | None, *, over_another: bool) -> SameNumbers:
    """Compare the numbers of one name.

    Args:
        name: The name.
        csv: Its numbers in the CSV; None if there are none.
        events: Those in the event files; None if there are none.
        over_another: Whether the name stands over something else than the global step in TensorBoard. Many rows can
            have one step then, and each must have an event; of the events of a step, the last must have a row.
    """
    if csv is None:
        return SameNumbers(0, () if events is None else tuple(_events_alone(name, events)))
    if events is None:
        # Every row has an epoch, also of what was logged without one.
        count = len(csv.values) + len(csv.texts)
        return SameNumbers(0, () if name == EPOCH else (_alone(name, count, "the CSV"),))
    return _both(name, csv, np.array(events[0], np.int64), _float32(np.array(events[1])), over_another=over_another)


def _both(
    name: str, csv: Points, steps: NDArray[np.int64], values: NDArray[np.float32], *, over_another: bool
) -> SameNumbers:
    latest = _last_of_each(steps)
    rows = np.arange(len(csv.steps)) if over_another else _last_of_each(csv.steps)
    compared = np.arange(len(steps)) if over_another else latest
    has_event, has_row = _matched(csv, rows, _keys(steps[compared], values[compared]))
    no_event, no_row = rows[~has_event], np.intersect1d(latest, compared[~has_row])
    csv_left = dict(zip(csv.steps[no_event].tolist(), csv.values[no_event].tolist(), strict=True))
    events_left = dict(zip(steps[no_row].tolist(), map(str, values[no_row]), strict=True))
    if name == EPOCH:
        csv_left = {step: value for step, value in csv_left.items() if step in events_left}
    found = {step: _what(csv_left.get(step), events_left.get(step)) for step in csv_left | events_left}
    found |= {step: f"{text!r} in the CSV, which is no number" for step, text in csv.texts.items()}
    return SameNumbers(int(has_event.sum()), tuple(Difference(name, step, found[step]) for step in sorted(found)))


def _matched(
    csv: Points, rows: NDArray[np.intp], events: NDArray[np.complex128]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return for rows whether an event has their value, at a step that they may have, and the same for events."""
    values, ends = _float32(csv.values[rows]), (csv.steps[rows], csv.other_steps[rows])
    order = np.argsort(events)
    first = np.searchsorted(events[order], _keys(np.minimum(*ends), values), "left")
    behind = np.searchsorted(events[order], _keys(np.maximum(*ends), values), "right")
    # From the first event to behind the last one, a row counts for each.
    begun, ended = (np.bincount(one, minlength=len(events) + 1) for one in (first, behind))
    has_row = np.empty(len(events), np.bool_)
    has_row[order] = np.cumsum(begun - ended)[:-1] > 0
    return behind > first, has_row


def _events_alone(name: str, events: Events) -> Iterator[Difference]:
    if name != _PLACEHOLDER or set(events[1]) != {_PLACEHOLDER_VALUE}:
        yield _alone(name, len(set(events[0])), "TensorBoard")


def _alone(name: str, count: int, where: str) -> Difference:
    return Difference(name, None, f"{count:,} {'value' if count == 1 else 'values'} in {where} alone")


def _what(in_csv: float | None, in_events: str | None) -> str:
    if in_events is None:
        return f"{in_csv!r} in the CSV alone"
    if in_csv is None:
        return f"{in_events} in TensorBoard alone"
    return f"{in_csv!r} in the CSV, {in_events} in TensorBoard"


def _last_of_each(steps: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return where each step stands last."""
    _, from_the_end = np.unique(steps[::-1], return_index=True)
    return len(steps) - 1 - from_the_end


def _float32(values: NDArray[np.float64]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _keys(steps: NDArray[np.int64], values: NDArray[np.float32]) -> NDArray[np.complex128]:
    """Return values with steps as one number each, which are in the order of the steps where values are the same."""
    # Adding 0 makes -0 the same as 0; all NaN have the bits of one.
    bits = np.where(np.isnan(values), np.float32(np.nan), values + np.float32(0)).view(np.int32)
    return bits + 1j * steps
