"""The numbers of a ``metrics.csv``, each with the step that it has in TensorBoard."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lightning_trackplus.files.axes import BATCH
from lightning_trackplus.files.axes import EPOCH as OVER_EPOCHS
from lightning_trackplus.files.csv_rows import LOGGED_STEP
from lightning_trackplus.files.metrics_file import EPOCH, STEP, StoredMetrics, number_in, read_stored, step_in

_ROWS_AT_ONCE = 4096
_LARGEST_STEP = 2.0**63
_NAMES = {LOGGED_STEP: "step"}


@dataclass(frozen=True, slots=True)
class Points:
    """The numbers of one name, in the order of the rows.

    Attributes:
        steps: The step of each in TensorBoard, int64.
        other_steps: Another one, int64; each may have any from the one to the other. Where the axis is a scalar, it is
            the value before the row: a row does not tell which of its numbers were logged first, nor which values the
            axis had before the one that stands there.
        values: The numbers, float64.
        texts: Cells that hold no number, by their step.
    """

    steps: NDArray[np.int64]
    other_steps: NDArray[np.int64]
    values: NDArray[np.float64]
    texts: Mapping[int, str]


@dataclass(slots=True)
class _Column:
    """The cells of a column that are not empty: the numbers of their rows, and what they hold."""

    rows: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    texts: dict[int, str] = field(default_factory=dict)

    def add(self, first_row: int, cells: Sequence[str]) -> None:
        """Add the cells of some rows behind each other.

        Args:
            first_row: The number of the first one.
            cells: The cells.
        """
        rows = [row for row, cell in enumerate(cells, start=first_row) if cell]
        filled = list(filter(None, cells))
        try:
            self.values += map(float, filled)
            self.rows += rows
        except ValueError:
            # Those before the one that is no number were added.
            del self.values[len(self.rows) :]
            for row, cell in zip(rows, map(number_in, filled), strict=True):
                self._add_one(row, cell)

    def _add_one(self, row: int, cell: float | str) -> None:
        if isinstance(cell, str):
            self.texts[row] = cell
        else:
            self.rows.append(row)
            self.values.append(cell)


def csv_points(path: Path, axes: Mapping[str, str]) -> dict[str, Points]:
    """Return the numbers of each name.

    Args:
        path: The ``metrics.csv``.
        axes: Over what names stand in TensorBoard that do not stand over the global step, as in ``x_axis.json``.

    Raises:
        ValueError: If it has no column for the step, or something else stands there.
    """
    steps, columns = _read(read_stored(path))
    points = {}
    for name, column in columns.items():
        tag = _NAMES.get(name, name)
        rows = np.array(column.rows, np.int64)
        at = before = steps[rows]
        match axes.get(tag, BATCH):
            case axis if axis == BATCH:
                pass
            case axis if axis == OVER_EPOCHS:
                at = before = _on_epochs(rows, at, columns.get(EPOCH))
            case axis:
                at, before = (_on_scalar(rows, at, columns.get(axis), side) for side in ("right", "left"))
        texts = {int(steps[row]): text for row, text in column.texts.items()}
        points[tag] = Points(at, before, np.array(column.values, np.float64), texts)
    return points


def _read(stored: StoredMetrics) -> tuple[NDArray[np.int64], dict[str, _Column]]:
    """Return the steps of the rows, and the columns in which something stands."""
    steps: list[int] = []
    columns = {name: _Column() for name in stored.columns if name != STEP}
    rows = stored.rows()
    while chunk := list(itertools.islice(rows, _ROWS_AT_ONCE)):
        first_row = len(steps)
        for name, cells in zip(stored.columns, zip(*chunk, strict=True), strict=True):
            if name == STEP:
                steps += map(step_in, cells)
            elif any(cells):
                columns[name].add(first_row, cells)
    return np.array(steps, np.int64), {name: one for name, one in columns.items() if one.rows or one.texts}


def _on_epochs(rows: NDArray[np.int64], steps: NDArray[np.int64], epochs: _Column | None) -> NDArray[np.int64]:
    """Return the epochs of rows; where a row has none, its step."""
    if epochs is None:
        return steps
    by_row = dict(zip(epochs.rows, epochs.values, strict=True))
    return _whole(np.array([by_row.get(row, np.nan) for row in rows.tolist()], np.float64), steps)


def _on_scalar(
    rows: NDArray[np.int64], steps: NDArray[np.int64], axis: _Column | None, side: Literal["left", "right"]
) -> NDArray[np.int64]:
    """Return the latest value of a scalar before each row, or with ``"right"`` in it too; without one, its step."""
    if axis is None or not axis.rows:
        return steps
    found = np.searchsorted(np.array(axis.rows), rows, side) - 1
    values = np.array(axis.values)[found.clip(0)]
    return _whole(np.where(found < 0, np.nan, values), steps)


def _whole(values: NDArray[np.float64], steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return numbers as steps; where one cannot be, the step that stands there instead."""
    fits = np.isfinite(values) & (np.abs(values) < _LARGEST_STEP)
    return np.where(fits, np.rint(np.where(fits, values, 0.0)).astype(np.int64), steps)
