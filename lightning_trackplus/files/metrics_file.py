"""``metrics.csv`` as it lies there, ours or that of Lightning's CSVLogger, read without pandas or polars."""

from __future__ import annotations

import csv
import io
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lightning_trackplus.files.csv_rows import cells_of, is_whole, read_row
from lightning_trackplus.run_directory import METRICS_FILE

STEP, EPOCH = "step", "epoch"
_BOOLEANS = {"True": 1.0, "False": 0.0}


@dataclass(frozen=True, slots=True)
class StoredMetrics:
    """The whole rows of a ``metrics.csv``.

    Attributes:
        columns: The names of the columns.
        body: The rows, as bytes.
    """

    columns: tuple[str, ...]
    body: bytes

    def rows(self) -> Iterator[list[str]]:
        """Yield the cells of each row, as many as there are columns."""
        width = len(self.columns)
        for cells in csv.reader(io.TextIOWrapper(io.BytesIO(self.body), "utf-8", "replace", newline="")):
            if len(cells) == width:
                yield cells
            elif cells:
                yield [*cells, *[""] * width][:width]


@dataclass(slots=True)
class StepRow:
    """What was logged at one step.

    Attributes:
        step: The global step, or the number of a batch of an evaluation.
        epoch: The epoch, where it is known.
        values: The values by name; text where a cell is no number.
    """

    step: int
    epoch: float | None
    values: Mapping[str, float | str]


def read_stored(path: Path) -> StoredMetrics:
    """Return the whole rows of a ``metrics.csv``; a last one that was cut short is left out, with a warning.

    Args:
        path: The file.

    Raises:
        ValueError: If it has no column for the step.
    """
    with path.open("rb") as file:
        header, body = read_row(file), file.read()
    if not is_whole(header):
        if header:
            warn_of_torn(path)
        return StoredMetrics((STEP, EPOCH), b"")
    columns = tuple(cells_of(header))
    if STEP not in columns:
        raise ValueError(f"{path} has no column {STEP!r}; give the metrics.csv of a run.")
    end = body.rfind(b"\n") + 1
    last = body.rfind(b"\n", 0, max(end - 1, 0)) + 1
    # A row that is completed in place can leave the end of what stood there before, as a row of its own.
    whole = end if len(cells_of(body[last:end])) >= len(columns) else last
    if whole < len(body):
        warn_of_torn(path)
    return StoredMetrics(columns, body[:whole])


def number_in(cell: str) -> float | str:
    """Return the number that stands in a cell, or the cell where it holds something else.

    Args:
        cell: The text of the cell.

    Examples:
        >>> number_in("0.5"), number_in("True"), number_in("high")
        (0.5, 1.0, 'high')
    """
    try:
        return float(cell)
    except ValueError:
        return _BOOLEANS.get(cell, cell)


def step_in(cell: str) -> int:
    """Return the step that stands in a cell.

    Args:
        cell: The text of the cell.

    Raises:
        ValueError: If it is no number.
    """
    try:
        return int(cell)
    except ValueError:
        number = number_in(cell)
    if isinstance(number, str) or not math.isfinite(number):
        raise ValueError(f"{cell!r} stands in the column {STEP!r} of {METRICS_FILE}, where a number must.")
    return int(number)


def step_rows(stored: StoredMetrics) -> Iterator[StepRow]:
    """Yield the rows with their numbers.

    Args:
        stored: The rows.
    """
    for cells in stored.rows():
        texts = {name: cell for name, cell in zip(stored.columns, cells, strict=True) if cell}
        step, epoch = step_in(texts.pop(STEP, "")), texts.pop(EPOCH, None)
        values = {name: number_in(cell) for name, cell in texts.items()}
        yield StepRow(step, None if epoch is None else float(epoch), values)


def one_row_a_step(rows: Iterable[StepRow]) -> list[StepRow]:
    """Return rows of which those of one step are one, as they stand in our ``metrics.csv``.

    Lightning writes what training and what validation logs at one step as two rows, between which the batches of the
    validation have rows of their own, without an epoch. These come to stand before.

    Args:
        rows: The rows in the order in which they were logged.

    Examples:
        >>> rows = [StepRow(4, 0, {"a": 1.0}), StepRow(0, None, {"b_step": 2.0}), StepRow(4, 0, {"b": 3.0})]
        >>> [(row.step, row.values) for row in one_row_a_step(rows)]
        [(0, {'b_step': 2.0}), (4, {'a': 1.0, 'b': 3.0})]
    """
    merged: list[StepRow] = []
    of_batches: list[StepRow] = []
    for row in rows:
        current = merged[-1] if merged else None
        is_of_batch = current is not None and row.epoch is None and current.epoch is not None
        if current is not None and current.step == row.step and not (is_of_batch and of_batches):
            epoch = current.epoch if row.epoch is None else row.epoch
            merged[-1:] = [*of_batches, StepRow(row.step, epoch, {**current.values, **row.values})]
            of_batches = []
        elif is_of_batch:
            of_batches.append(row)
        else:
            merged += [*of_batches, row]
            of_batches = []
    return merged + of_batches


def warn_of_torn(path: Path) -> None:
    """Warn that the last row of a file is left out.

    Args:
        path: The file.
    """
    warnings.warn(
        f"The last row of {path} was cut short, as when a process is killed while it writes; it is left out.",
        stacklevel=3,
    )
