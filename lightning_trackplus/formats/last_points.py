"""What a run has last of some names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lightning_trackplus.formats.csv_rows import OTHERS
from lightning_trackplus.formats.layout import EVALUATIONS, METRICS_FILE, batches_folder
from lightning_trackplus.formats.metrics_csv import EPOCH, STEP, StoredMetrics, number_in, read_stored, step_in
from lightning_trackplus.formats.other_names import filled_cells


class LastPoint(NamedTuple):
    """A value and its step."""

    step: int
    value: float


def last_points(directory: Path, names: set[str]) -> dict[str, LastPoint]:
    """Return the last point of each name that a run has."""
    if not names:
        return {}
    if (stored := _table(directory)) is None:
        return {name: point for name, point in _in_events(directory).items() if name in names}
    places = {name: place for place, name in enumerate(stored.columns) if name in {*names, OTHERS}}
    found: dict[str, LastPoint] = {}
    for step, row in _rows(stored):
        cells = [row[place] for place in places.values() if place < len(row)]
        for name, cell in filled_cells(places, cells).items():
            if name in names and not isinstance(value := number_in(cell), str):
                found[name] = LastPoint(step, value)
    return found


def last_step(directory: Path) -> int | None:
    """Return the step that was logged last in a run, other than by a batch of an evaluation; None if there is none."""
    if (stored := _table(directory)) is None:
        return max((point.step for point in _in_events(directory).values()), default=None)
    last: dict[bool, int] = {}
    for step, cells in _rows(stored):
        last[_has_epoch(stored, cells)] = step
    # Rows of batches have no epoch; in a run without a Trainer, no row has one.
    return last.get(True, last.get(False))


def last_batch_steps(directory: Path, *, before: int | None = None) -> dict[str, int]:
    """Return the last step of each name that a run has of the batches of evaluations."""
    if (stored := _table(directory)) is None:
        below = (directory / batches_folder(stage) for stage in EVALUATIONS)
        return {name: point.step for folder in below for name, point in _in_events(folder).items()}
    found: dict[str, int] = {}
    waiting: dict[str, int] = {}
    for step, cells in _rows(stored):
        if not _has_epoch(stored, cells):
            waiting.update(dict.fromkeys(stored.cells(cells), step))
        elif waiting and (before is None or step < before):
            found.update(waiting)
            waiting = {}
    found.update(waiting if before is None else {})
    found.pop(STEP, None)
    return found


def _table(directory: Path) -> StoredMetrics | None:
    """Return the table of a run; None if it has none."""
    path = directory / METRICS_FILE
    try:
        return read_stored(path, warns=False) if path.is_file() else None
    except ValueError:
        return None  # It is no table of numbers.


def _rows(stored: StoredMetrics) -> Iterator[tuple[int, list[str]]]:
    """Yield the steps and the cells of the rows; a step that is no number is passed over."""
    place = stored.columns.index(STEP)
    for cells in stored.rows(warns=False):
        try:
            step = step_in(cells[place])
        except ValueError:
            continue
        yield step, cells


def _has_epoch(stored: StoredMetrics, cells: list[str]) -> bool:
    place = stored.columns.index(EPOCH) if EPOCH in stored.columns else len(cells)
    return len(cells) > place and bool(cells[place])


def _in_events(directory: Path) -> dict[str, LastPoint]:
    if not any(directory.glob("*tfevents*")):
        return {}
    # Imported here, since it needs tensorboard.
    from lightning_trackplus.formats.event_files import event_files, read_events  # noqa: PLC0415

    found: dict[str, LastPoint] = {}
    for event in (event for path in event_files(directory) for event in read_events(path)):
        for value in event.summary.value:
            if value.HasField("simple_value"):
                found[value.tag] = LastPoint(event.step, value.simple_value)
    return found
