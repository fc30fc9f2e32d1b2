"""The last steps and values of names in a run, which a resumed run continues from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from lightning_trackplus.formats.csv_rows import OTHERS, filled_cells
from lightning_trackplus.formats.event_files import event_files, read_events
from lightning_trackplus.formats.layout import EVALUATIONS, METRICS_FILE, batches_folder
from lightning_trackplus.formats.metrics_csv import EPOCH, STEP, StoredMetrics, number_in, read_stored, rows_with_steps


class LastPoint(NamedTuple):
    """A value and its step."""

    step: int
    value: float


def last_points(directory: Path, names: set[str]) -> dict[str, LastPoint]:
    """Return the last point of each of some names."""
    if not names:
        return {}
    if (stored := _table(directory)) is None:
        return {name: point for name, point in _points_in_events(directory).items() if name in names}
    positions = {name: position for position, name in enumerate(stored.columns) if name in {*names, OTHERS}}
    points: dict[str, LastPoint] = {}
    for step, row in _rows(stored):
        cells = [row[position] for position in positions.values() if position < len(row)]
        for name, cell in filled_cells(positions, cells).items():
            if name in names and not isinstance(value := number_in(cell), str):
                points[name] = LastPoint(step, value)
    return points


def last_step(directory: Path) -> int | None:
    """Return the last step of a run, without batches of evaluations; None if there is none."""
    if (stored := _table(directory)) is None:
        return max((point.step for point in _points_in_events(directory).values()), default=None)
    last: dict[bool, int] = {}
    for step, cells in _rows(stored):
        last[_has_epoch(stored, cells)] = step
    # Rows of batches have no epoch; in a run without a Trainer, no row has one.
    return last.get(True, last.get(False))


def last_batch_steps(directory: Path, *, before: int | None = None) -> dict[str, int]:
    """Return the last step of each name in the batches of evaluations, optionally of those before a global step."""
    if (stored := _table(directory)) is None:
        folders = (directory / batches_folder(stage) for stage in EVALUATIONS)
        return {name: point.step for folder in folders for name, point in _points_in_events(folder).items()}
    steps: dict[str, int] = {}
    waiting: dict[str, int] = {}
    for step, cells in _rows(stored):
        if not _has_epoch(stored, cells):
            waiting.update(dict.fromkeys(stored.cells(cells), step))
        elif waiting and (before is None or step < before):
            steps.update(waiting)
            waiting = {}
    steps.update(waiting if before is None else {})
    steps.pop(STEP, None)
    return steps


class BatchSteps:
    """Counts the batches of evaluations on, where Lightning restarts at 0: in another loop, or after a resume.

    Examples:
        >>> steps = BatchSteps()
        >>> [steps.next(["val_step"], step) for step in (0, 1, 0, 1)]
        [0, 1, 2, 3]
    """

    def __init__(self) -> None:
        self._last: dict[str, int] = {}
        self._offsets: dict[str, int] = {}
        self._directory: Path | None = None

    def next(self, names: Iterable[str], step: int) -> int:
        """Return the step of names that are logged together."""
        names = tuple(names)
        offset = max((self._offsets.get(name, 0) for name in names), default=0)
        last = max((self._last.get(name, -1) for name in names), default=-1)
        if step + offset <= last:
            offset = last + 1 - step
            self._offsets.update(dict.fromkeys(names, offset))
        self._last.update(dict.fromkeys(names, step + offset))
        return step + offset

    def resume(self, directory: Path) -> None:
        """Continue after the steps that a run has; only the first call for a run reads them."""
        if directory != self._directory:
            self._directory = directory
            self._last.update(last_batch_steps(directory))


def _table(directory: Path) -> StoredMetrics | None:
    """Return the ``metrics.csv`` of a run; None if there is none."""
    path = directory / METRICS_FILE
    try:
        return read_stored(path, warns=False) if path.is_file() else None
    except ValueError:
        return None  # It is not a table of metrics.


def _rows(stored: StoredMetrics) -> Iterator[tuple[int, list[str]]]:
    return rows_with_steps(stored.columns, stored.rows(warns=False))


def _has_epoch(stored: StoredMetrics, cells: list[str]) -> bool:
    position = stored.columns.index(EPOCH) if EPOCH in stored.columns else len(cells)
    return len(cells) > position and bool(cells[position])


def _points_in_events(directory: Path) -> dict[str, LastPoint]:
    points: dict[str, LastPoint] = {}
    for event in (event for path in event_files(directory) for event in read_events(path)):
        for value in event.summary.value:
            if value.HasField("simple_value"):
                points[value.tag] = LastPoint(event.step, value.simple_value)
    return points
