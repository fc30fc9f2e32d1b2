"""The numbers of a run by name, from the CSV and from the event files, some thousand rows at a time."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_trackplus.formats.csv_rows import name_of
from lightning_trackplus.formats.layout import EVALUATIONS, batches_folder
from lightning_trackplus.formats.metrics_csv import EPOCH, STEP, Filled, StoredMetrics, number_in, step_in

RUN, BATCHES = "", "batches"
"""The parts of a name: numbers at global steps, and numbers of evaluation batches."""

_ROWS_AT_ONCE = 2048
_LARGEST_STEP = 2.0**63


class Chunk(NamedTuple):
    """Consecutive numbers of one name, and the cells that are not numbers, with their steps.

    A number's step in TensorBoard is between ``steps`` and ``other_steps``. They differ where the X axis is a scalar:
    a row does not tell which of its numbers were logged first, so the step may be the axis' value before the row.
    """

    name: str
    part: str
    steps: NDArray[np.int64]
    other_steps: NDArray[np.int64]
    values: NDArray[np.float64]
    texts: tuple[tuple[int, str], ...] = ()

    def at(self, selection: NDArray[Any]) -> Chunk:
        """Return the numbers that an index or a mask of numpy selects."""
        return self._replace(
            steps=self.steps[selection], other_steps=self.other_steps[selection], values=self.values[selection]
        )


def csv_chunks(
    stored: StoredMetrics, axes: Mapping[str, str], batch_names: Collection[str], *, warns: bool = True
) -> Iterator[Chunk]:
    """Yield the numbers of a ``metrics.csv``."""
    scalar_axes = set(axes.values()) - {EPOCH}
    latest: dict[str, float] = {}
    rows = stored.rows(warns=warns)
    while block := list(itertools.islice(rows, _ROWS_AT_ONCE)):
        series = stored.series(block)
        _, step_cells = series.pop(STEP)
        steps = np.array([step_in(cell) for cell in step_cells], np.int64)
        epochs = _each(series.get(EPOCH), len(block))
        scalars = {axis: _Axis(_each(series.get(axis), len(block)), latest.get(axis, np.nan)) for axis in scalar_axes}
        for column, (positions, cells) in series.items():
            name = name_of(column)
            filled = np.arange(len(block)) if len(positions) == len(block) else np.array(positions, np.intp)
            values, texts = _numbers(cells)
            at = before = steps
            match axes.get(name):
                case None:
                    pass
                case axis if axis == EPOCH:
                    at = before = _whole(_floats(epochs), steps)
                case axis:
                    known = scalars[axis].values
                    at, before = _whole(known[1:], steps), _whole(known[:-1], steps)
            is_batch = np.zeros(len(filled), np.bool_)
            if name in batch_names:
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
    """The numbers in the event files of a run, which need tensorboard.

    After `chunks` was read to its end, ``batch_names`` has the names of evaluation batches, and ``media`` the number of
    items by tag and step.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.batch_names: set[str] = set()
        self.media: dict[str, Counter[int]] = {}

    def chunks(self) -> Iterator[Chunk]:
        """Yield the numbers, those of evaluation batches last, and count the media."""
        self.media = {}
        yield from self._chunks_of(self._directory, RUN)
        for stage in EVALUATIONS:
            for chunk in self._chunks_of(self._directory / batches_folder(stage), BATCHES):
                self.batch_names.add(chunk.name)
                yield chunk

    def _chunks_of(self, folder: Path, part: str) -> Iterator[Chunk]:
        from lightning_trackplus.formats.scalar_events import event_numbers  # noqa: PLC0415  needs tensorboard

        # Rows of events with the same names. A name can be in several of these, and must keep its order.
        waiting: dict[tuple[str, ...], tuple[list[int], list[Sequence[float]]]] = {}
        last_of: dict[str, tuple[str, ...]] = {}
        latest: tuple[str, ...] = ()
        media = self.media if part == RUN else {}
        for step, names, numbers in event_numbers(folder, media):
            rows = waiting.get(names)
            # An event with the names of the one before needs no look at where these wait.
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
        # A name can occur twice in an event.
        at = np.repeat(steps, len(columns))
        yield Chunk(name, part, at, at, table[:, columns].reshape(-1))


def _each(filled: Filled | None, count: int) -> Sequence[str]:
    """Return the cells of a column with the empty ones."""
    positions, cells = filled or ((), ())
    if len(positions) == count:
        return cells
    column = [""] * count
    for position, cell in zip(positions, cells, strict=True):
        column[position] = cell
    return column


def _numbers(cells: Sequence[str]) -> tuple[NDArray[np.float64], dict[int, str]]:
    """Return the numbers in cells, and by position the cells that are not numbers."""
    try:
        return np.fromiter(map(float, cells), np.float64, len(cells)), {}
    except ValueError:
        values = [number_in(cell) for cell in cells]
        texts = {position: value for position, value in enumerate(values) if isinstance(value, str)}
        return np.array([np.nan if isinstance(value, str) else value for value in values], np.float64), texts


def _floats(cells: Sequence[str]) -> NDArray[np.float64]:
    """Return the numbers in cells, NaN for all others."""
    numbers = [number_in(cell) if cell else np.nan for cell in cells]
    return np.array([np.nan if isinstance(number, str) else number for number in numbers], np.float64)


class _Axis:
    """A scalar that is an X axis; ``values`` are its latest ones before each row, and after the last row."""

    def __init__(self, cells: Sequence[str], before: float) -> None:
        values = np.concatenate([[before], _floats(cells)])
        positions = np.array([0, *(index if cell else 0 for index, cell in enumerate(cells, start=1))])
        self.values = values[np.maximum.accumulate(positions)]


def _whole(values: NDArray[np.float64], steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return rounded values; the global step where a value cannot be a step."""
    fits = np.isfinite(values) & (np.abs(values) < _LARGEST_STEP)
    return np.where(fits, np.rint(np.where(fits, values, 0.0)).astype(np.int64), steps)
