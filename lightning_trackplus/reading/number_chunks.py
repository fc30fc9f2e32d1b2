"""The numbers of a run, name by name, from the CSV and from the event files, some thousand rows at a time."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_trackplus.formats.csv_rows import name_of
from lightning_trackplus.formats.layout import EVALUATIONS, batches_folder
from lightning_trackplus.formats.metrics_csv import EPOCH, STEP, Filled, StoredMetrics, number_in, step_in
from lightning_trackplus.formats.x_axis import EPOCH as OVER_EPOCHS

RUN, BATCHES = "", "batches"
"""The parts of a series: what stands over the global step, and what is of the batches of evaluations."""

_ROWS_AT_ONCE = 2048
_LARGEST_STEP = 2.0**63
_MOST_STEP = 2**63 - 1


class Chunk(NamedTuple):
    """Numbers of one name that follow each other.

    Attributes:
        name: The name.
        part: `RUN` or `BATCHES`.
        steps: The step of each in TensorBoard, int64.
        other_steps: Another one, int64; each may have any from the one to the other. Where the axis is a scalar, it is
            the value before the row: a row does not tell which of its numbers were logged first, nor which values the
            axis had before the one that stands there.
        values: The numbers, float64.
        texts: Cells that hold no number, with their steps.
    """

    name: str
    part: str
    steps: NDArray[np.int64]
    other_steps: NDArray[np.int64]
    values: NDArray[np.float64]
    texts: tuple[tuple[int, str], ...] = ()


def csv_chunks(
    stored: StoredMetrics, axes: Mapping[str, str], of_batches: Collection[str], *, warns: bool = True
) -> Iterator[Chunk]:
    """Yield the numbers of a ``metrics.csv``.

    Raises:
        ValueError: If something else than a number stands in the column of the step.
    """
    others = set(axes.values()) - {OVER_EPOCHS}
    latest: dict[str, float] = {}
    rows = stored.rows(warns=warns)
    while some := list(itertools.islice(rows, _ROWS_AT_ONCE)):
        series = stored.series(some)
        _, cells_of_steps = series.pop(STEP)
        steps = np.array([min(max(step_in(cell), -_MOST_STEP - 1), _MOST_STEP) for cell in cells_of_steps], np.int64)
        epochs = _each(series.get(EPOCH), len(some))
        scalars = {axis: _Axis(_each(series.get(axis), len(some)), latest.get(axis, np.nan)) for axis in others}
        for column, (places, cells) in series.items():
            name = name_of(column)
            filled = np.arange(len(some)) if len(places) == len(some) else np.array(places, np.intp)
            values, texts = _numbers(cells)
            at = before = steps
            match axes.get(name):
                case None:
                    pass
                case axis if axis == OVER_EPOCHS:
                    at = before = _whole(_floats(epochs), steps)
                case axis:
                    known = scalars[axis].values
                    at, before = _whole(known[1:], steps), _whole(known[:-1], steps)
            is_batch = np.zeros(len(filled), np.bool_)
            if name in of_batches:
                is_batch[:] = [not epochs[index] for index in filled]
            for part, chosen in ((RUN, ~is_batch), (BATCHES, is_batch)):
                at_text = [index for index in texts if chosen[index]]
                chosen[at_text] = False
                if chosen.any() or at_text:
                    yield Chunk(
                        name,
                        part,
                        at[filled[chosen]],
                        before[filled[chosen]],
                        values[chosen],
                        tuple((int(steps[filled[index]]), texts[index]) for index in at_text),
                    )
        latest = {axis: float(scalar.values[-1]) for axis, scalar in scalars.items()}


class EventNumbers:
    """The numbers in the event files of a run, and what else stands there. Reading them needs tensorboard.

    Attributes:
        of_batches: The names of the batches of evaluations, once `chunks` was read to its end.
        media: How many items each tag of media has at each of its steps, likewise.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.of_batches: set[str] = set()
        self.media: dict[str, Counter[int]] = {}

    def chunks(self) -> Iterator[Chunk]:
        """Yield the numbers, those of the batches of evaluations last; of the media, take account."""
        self.media = {}
        yield from self._chunks_of(self._directory, RUN)
        for stage in EVALUATIONS:
            for chunk in self._chunks_of(self._directory / batches_folder(stage), BATCHES):
                self.of_batches.add(chunk.name)
                yield chunk

    def _chunks_of(self, folder: Path, part: str) -> Iterator[Chunk]:
        from lightning_trackplus.reading.event_values import event_numbers  # noqa: PLC0415  needs tensorboard

        # The rows of events of the same names; a name may stand in several of these, and keeps its order.
        waiting: dict[tuple[str, ...], tuple[list[int], list[Sequence[float]]]] = {}
        last_of: dict[str, tuple[str, ...]] = {}
        latest: tuple[str, ...] = ()
        media = self.media if part == RUN else {}
        for step, names, numbers in event_numbers(folder, media):
            rows = waiting.get(names)
            # An event with the names of the one before it changes nothing of where they wait.
            if rows is None or (names is not latest and any(last_of[name] is not names for name in names)):
                for other in {last_of[name] for name in names if name in last_of} - {names}:
                    yield from _chunks(waiting.pop(other, ([], [])), other, part)
                last_of.update(dict.fromkeys(names, names))
                rows = waiting.setdefault(names, ([], []))
            latest = names
            rows[0].append(step)
            rows[1].append(numbers)
            if len(rows[0]) >= _ROWS_AT_ONCE:
                yield from _chunks(waiting.pop(names), names, part)
        for names, rows in waiting.items():
            yield from _chunks(rows, names, part)


def _chunks(rows: tuple[list[int], list[Sequence[float]]], names: tuple[str, ...], part: str) -> Iterator[Chunk]:
    steps = np.array(rows[0], np.int64)
    table = np.array(rows[1], np.float64)
    if not len(steps):
        return
    repeated = defaultdict(list)
    for column, name in enumerate(names):
        repeated[name].append(column)
    for name, columns in repeated.items():
        # A name may stand twice in an event.
        at = np.repeat(steps, len(columns))
        yield Chunk(name, part, at, at, table[:, columns].reshape(-1))


def _each(filled: Filled | None, count: int) -> Sequence[str]:
    """Return the cell of each row in a column, empty where it has nothing."""
    places, cells = filled or ((), ())
    if len(places) == count:
        return cells
    found = [""] * count
    for place, cell in zip(places, cells, strict=True):
        found[place] = cell
    return found


def _numbers(cells: Sequence[str]) -> tuple[NDArray[np.float64], dict[int, str]]:
    """Return the numbers of cells, and by their places those that hold none."""
    try:
        return np.fromiter(map(float, cells), np.float64, len(cells)), {}
    except ValueError:
        found = [number_in(cell) for cell in cells]
        texts = {place: cell for place, cell in enumerate(found) if isinstance(cell, str)}
        return np.array([np.nan if isinstance(one, str) else one for one in found], np.float64), texts


def _floats(cells: Sequence[str]) -> NDArray[np.float64]:
    """Return the numbers of cells; NaN where there is none."""
    numbers = [number_in(cell) if cell else np.nan for cell in cells]
    return np.array([np.nan if isinstance(number, str) else number for number in numbers], np.float64)


class _Axis:
    """A scalar over which names stand.

    Args:
        cells: Its cells in some rows.
        before: Its value before these rows; NaN if there is none.

    Attributes:
        values: Its latest value before each row, and behind the last.
    """

    def __init__(self, cells: Sequence[str], before: float) -> None:
        values = np.concatenate([[before], _floats(cells)])
        places = np.array([0, *(index if cell else 0 for index, cell in enumerate(cells, start=1))])
        self.values = values[np.maximum.accumulate(places)]


def _whole(values: NDArray[np.float64], steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return numbers as steps; where one cannot be, the step that stands there instead."""
    fits = np.isfinite(values) & (np.abs(values) < _LARGEST_STEP)
    return np.where(fits, np.rint(np.where(fits, values, 0.0)).astype(np.int64), steps)
