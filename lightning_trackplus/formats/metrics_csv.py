"""``metrics.csv`` as it lies there, ours or that of Lightning's CSVLogger, read without pandas or polars."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from lightning_trackplus.formats.csv_rows import OTHERS, cells_of, is_whole, last_row, read_row
from lightning_trackplus.formats.file_part import FilePart
from lightning_trackplus.formats.layout import METRICS_FILE
from lightning_trackplus.formats.other_names import cells_in, filled_cells, without_torn

STEP, EPOCH = "step", "epoch"
_BOOLEANS = {"True": 1.0, "False": 0.0}

Filled: TypeAlias = tuple[Sequence[int], Sequence[str]]
"""The places of the rows that have something in a column, and what they have."""


@dataclass(frozen=True, slots=True)
class StoredMetrics:
    """The whole rows of a ``metrics.csv``; they are read when they are asked for.

    Attributes:
        path: The file.
        columns: The names of the columns.
        start: Where the first row begins, in bytes.
        end: Where the last whole row ends.
    """

    path: Path
    columns: tuple[str, ...]
    start: int
    end: int

    def body(self) -> io.BufferedReader:
        """Return the rows as a file, open for reading."""
        return io.BufferedReader(FilePart(self.path, self.start, self.end), 2**18)

    def torn_row(self) -> list[str]:
        """Return the cells of a last row that was cut short, without what may be cut as well."""
        with self.path.open("rb") as file:
            file.seek(self.end)
            return without_torn(self.columns, cells_of(file.read()))

    def rows(self, *, warns: bool = True) -> Iterator[list[str]]:
        """Yield the cells of each row up to its last one; one without a step is left out."""
        width, step = len(self.columns), self.columns.index(STEP)
        without_step = 0
        with io.TextIOWrapper(self.body(), "utf-8", "replace", newline="") as text:
            for cells in csv.reader(text):
                if len(cells) > step and cells[step]:
                    yield cells if len(cells) <= width else cells[:width]
                elif cells:
                    without_step += 1
        if without_step and warns:
            warnings.warn(
                f"{without_step} {'row' if without_step == 1 else 'rows'} of {self.path} without a step"
                f" {'was' if without_step == 1 else 'were'} left out.",
                stacklevel=2,
            )

    def cells(self, row: Sequence[str]) -> dict[str, str]:
        """Return what a row has, by column."""
        return filled_cells(self.columns, row)

    def series(self, rows: Sequence[Sequence[str]]) -> dict[str, Filled]:
        """Return what some rows have, by column; columns that are empty there are left out."""
        found: dict[str, Filled] = {}
        for name, column in zip(self.columns, itertools.zip_longest(*rows, fillvalue=""), strict=False):
            if "" not in column:
                found[name] = range(len(column)), column
            elif any(column):
                places = [place for place, cell in enumerate(column) if cell]
                found[name] = places, [column[place] for place in places]
        for name, others in others_series(*found.pop(OTHERS, ((), ()))).items():
            merged = sorted([*zip(*found.get(name, ((), ())), strict=True), *zip(*others, strict=True)])
            found[name] = [place for place, _ in merged], [cell for _, cell in merged]
        return found


def others_series(places: Sequence[int], cells: Sequence[str]) -> dict[str, Filled]:
    """Return what stands in the column for other names, by column."""
    found: dict[str, tuple[list[int], list[str]]] = {}
    for place, cell in zip(places, cells, strict=True):
        for name, text in cells_in(cell).items():
            at, texts = found.setdefault(name, ([], []))
            at.append(place)
            texts.append(text)
    return {**found}


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

    def takes(self, other: StepRow) -> bool:
        """Return whether a row has nothing that this one has, and no other epoch."""
        return other.epoch in {
            None,
            other.epoch if self.epoch is None else self.epoch,
        } and self.values.keys().isdisjoint(other.values)

    def with_more(self, other: StepRow) -> StepRow:
        """Return this row with what another has."""
        epoch = self.epoch if other.epoch is None else other.epoch
        return StepRow(self.step, epoch, {**self.values, **other.values})


def read_stored(path: Path, *, warns: bool = True) -> StoredMetrics:
    """Return the whole rows of a ``metrics.csv``; a last one that was cut short is left out, with a warning.

    Raises:
        ValueError: If it has no column for the step.
    """
    with path.open("rb") as file:
        header = read_row(file)
        start = file.tell()
        last = last_row(file, start)
        size = file.seek(0, io.SEEK_END)
        end = size if last.endswith(b"\n") else size - len(last)
    if not is_whole(header):
        if header and warns:
            warn_of_torn(path)
        return StoredMetrics(path, (STEP, EPOCH), start, start)
    columns = tuple(cells_of(header.removeprefix(codecs.BOM_UTF8)))
    if STEP not in columns:
        raise ValueError(f"{path} has no column {STEP!r}; give the metrics.csv of a run.")
    if end < size and warns:
        warn_of_torn(path)
    return StoredMetrics(path, columns, start, end)


def number_in(cell: str) -> float | str:
    """Return the number that stands in a cell, or the cell where it holds something else.

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
    """Yield the rows with their numbers."""
    for row in stored.rows():
        texts = stored.cells(row)
        step, epoch = step_in(texts.pop(STEP, "")), texts.pop(EPOCH, None)
        values = {name: number_in(cell) for name, cell in texts.items()}
        yield StepRow(step, None if epoch is None else float(epoch), values)


def one_row_a_step(rows: Iterable[StepRow]) -> list[StepRow]:
    """Return rows of which those of one step are one as long as no name comes again, as in our ``metrics.csv``.

    Lightning writes what training and what validation logs at one step as two rows, between which the batches of the
    validation have rows of their own, without an epoch. These come to stand before.

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
        fits = current is not None and current.step == row.step and current.values.keys().isdisjoint(row.values)
        if current is not None and fits and not (is_of_batch and of_batches):
            merged[-1:] = [*of_batches, current.with_more(row)]
            of_batches = []
        elif is_of_batch:
            of_batches.append(row)
        else:
            merged += [*of_batches, row]
            of_batches = []
    return merged + of_batches


def warn_of_torn(path: Path) -> None:
    """Warn that the last row of a file is left out."""
    warnings.warn(
        f"The last row of {path} was cut short, as when a process is killed while it writes; it is left out.",
        stacklevel=3,
    )
