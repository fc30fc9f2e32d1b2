"""The parser of ``metrics.csv``, ours or that of Lightning's CSVLogger, without pandas and polars."""

from __future__ import annotations

import codecs
import io
import itertools
import math
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from lightning_trackplus.formats.csv_rows import (
    OTHERS,
    cells_in,
    cells_of,
    filled_cells,
    is_whole,
    last_row,
    read_row,
    read_rows,
    without_torn,
)
from lightning_trackplus.formats.layout import METRICS_FILE

STEP, EPOCH = "step", "epoch"
_LONGEST_CELL = 40
_BOOLEANS = {"True": 1.0, "False": 0.0}

Filled: TypeAlias = tuple[Sequence[int], Sequence[str]]
"""The positions of the rows that have a cell in a column, and these cells."""


@dataclass(frozen=True, slots=True)
class StoredMetrics:
    """The whole rows of a ``metrics.csv``, from the offset ``start`` to ``end``; they are read on demand.

    They are those of one moment: while a run is written, its last row grows, and another file with more columns may
    take the place of this one.
    """

    path: Path
    columns: tuple[str, ...]
    start: int
    end: int
    file: io.FileIO
    last: bytes
    """The last row, whole or torn."""

    def body(self, start: int | None = None) -> io.BufferedReader:
        """Return the rows as an open file, or what follows on an offset among them."""
        begin = self.start if start is None else start
        whole = self.last if self.last.endswith(b"\n") else b""
        return io.BufferedReader(_Rows(self.file, begin, self.end - len(whole), whole), 2**18)

    def torn_row(self) -> list[str]:
        """Return the cells of a last row that was cut short, without the cell that may be cut."""
        return without_torn(self.columns, cells_of(b"" if self.last.endswith(b"\n") else self.last))

    def rows(self, *, warns: bool = True) -> Iterator[list[str]]:
        """Yield the cells of each row; rows without a step are skipped, with a warning."""
        width, step = len(self.columns), self.columns.index(STEP)
        without_step = 0
        with io.TextIOWrapper(self.body(), "utf-8", "replace", newline="") as text:
            for cells in read_rows(text):
                if len(cells) > step and cells[step]:
                    yield cells if len(cells) <= width else cells[:width]
                elif cells:
                    without_step += 1
        if without_step and warns:
            warnings.warn(
                f"{without_step} {'row' if without_step == 1 else 'rows'} of {self.path} without a step"
                f" {'was' if without_step == 1 else 'were'} skipped.",
                stacklevel=2,
            )

    def cells(self, row: Sequence[str]) -> dict[str, str]:
        """Return the non-empty cells of a row, by column."""
        return filled_cells(self.columns, row)

    def series(self, rows: Sequence[Sequence[str]]) -> dict[str, Filled]:
        """Return the non-empty cells of some rows, by column; columns without any are left out."""
        series: dict[str, Filled] = {}
        for name, column in zip(self.columns, itertools.zip_longest(*rows, fillvalue=""), strict=False):
            if "" not in column:
                series[name] = range(len(column)), column
            elif any(column):
                positions = [position for position, cell in enumerate(column) if cell]
                series[name] = positions, [column[position] for position in positions]
        for name, others in others_series(*series.pop(OTHERS, ((), ()))).items():
            merged = sorted([*zip(*series.get(name, ((), ())), strict=True), *zip(*others, strict=True)])
            series[name] = [position for position, _ in merged], [cell for _, cell in merged]
        return series


class _OpenFile(io.FileIO):
    """A file that is closed when it is no longer used."""

    def __del__(self) -> None:
        self.close()


class _Rows(io.RawIOBase):
    """A part of an open file, which several readers may share, followed by some bytes."""

    def __init__(self, file: io.FileIO, start: int, end: int, last: bytes) -> None:
        self._file, self._at, self._end = file, start, end
        self._last = io.BytesIO(last)
        self._last.seek(max(start - end, 0))

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read the next bytes."""
        self._file.seek(self._at)
        count = self._file.readinto(memoryview(buffer)[: max(self._end - self._at, 0)]) or 0
        self._at += count
        return count or self._last.readinto(buffer)


def others_series(positions: Sequence[int], cells: Sequence[str]) -> dict[str, Filled]:
    """Return the cells in cells of the column for other names, by column."""
    series: dict[str, tuple[list[int], list[str]]] = {}
    for position, cell in zip(positions, cells, strict=True):
        for name, text in cells_in(cell).items():
            name_positions, texts = series.setdefault(name, ([], []))
            name_positions.append(position)
            texts.append(text)
    return {**series}


@dataclass(slots=True)
class StepRow:
    """What was logged at one global step, or in one batch of an evaluation; text where a cell is not a number."""

    step: int
    epoch: float | None
    values: Mapping[str, float | str]

    def takes(self, other: StepRow) -> bool:
        """Return whether another row can be merged into this one: no name twice, and not another epoch."""
        return other.epoch in {
            None,
            other.epoch if self.epoch is None else self.epoch,
        } and self.values.keys().isdisjoint(other.values)

    def with_more(self, other: StepRow) -> StepRow:
        """Return this row merged with another."""
        epoch = self.epoch if other.epoch is None else other.epoch
        return StepRow(self.step, epoch, {**self.values, **other.values})


def read_stored(path: Path, *, warns: bool = True) -> StoredMetrics:
    """Return the whole rows of a ``metrics.csv``; a torn last row is skipped, with a warning."""
    file = _OpenFile(path)
    size = os.fstat(file.fileno()).st_size
    header = read_row(io.BufferedReader(_Rows(file, 0, size, b"")))
    start = len(header)
    last = last_row(file, start, size)
    end = size if last.endswith(b"\n") else size - len(last)
    if not is_whole(header):
        if header and warns:
            warn_torn_row(path)
        return StoredMetrics(path, (STEP, EPOCH), start, start, file, b"")
    columns = tuple(cells_of(header.removeprefix(codecs.BOM_UTF8)))
    if STEP not in columns:
        raise ValueError(f"{path} has no column {STEP!r}; expected the metrics.csv of a run.")
    if warns and last and not last.endswith(b"\n"):
        warn_torn_row(path)
    return StoredMetrics(path, columns, start, end, file, last)


def number_in(cell: str) -> float | str:
    """Return the number in a cell, or the cell if it holds something else.

    Examples:
        >>> number_in("0.5"), number_in("True"), number_in("high")
        (0.5, 1.0, 'high')
    """
    try:
        return float(cell)
    except ValueError:
        return _BOOLEANS.get(cell, cell)


def step_in(cell: str) -> int:
    """Return the step in a cell, at most what 64 bits hold; anything else raises `ValueError`."""
    try:
        step = int(cell)
    except ValueError:
        number = number_in(cell)
        if isinstance(number, str) or not math.isfinite(number):
            shown = repr(cell[:_LONGEST_CELL])
            raise ValueError(f"The column {STEP!r} of {METRICS_FILE} has {shown}; expected a number.") from None
        step = int(number)
    return min(max(step, -(2**63)), 2**63 - 1)


def rows_with_steps(columns: Sequence[str], rows: Iterable[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """Yield the steps and the cells of rows; rows whose step is not a number are skipped."""
    position = columns.index(STEP)
    for cells in rows:
        try:
            step = step_in(cells[position])
        except (ValueError, IndexError):
            continue
        yield step, cells


def step_rows(stored: StoredMetrics) -> Iterator[StepRow]:
    """Yield the rows of a ``metrics.csv``."""
    for row in stored.rows():
        texts = stored.cells(row)
        step, epoch = step_in(texts.pop(STEP, "")), texts.pop(EPOCH, None)
        values = {name: number_in(cell) for name, cell in texts.items()}
        yield StepRow(step, None if epoch is None else float(epoch), values)


def one_row_a_step(rows: Iterable[StepRow]) -> list[StepRow]:
    """Merge the rows of a step until a name is repeated, as our ``metrics.csv`` has them.

    Lightning writes what training and what validation logs at one step as two rows. Between them are rows of the
    validation's batches, without an epoch; these are moved before the merged row.

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


def warn_torn_row(path: Path) -> None:
    """Warn that the last row of a file is skipped."""
    warnings.warn(
        f"The last row of {path} was incomplete, as after a process is killed while it writes; it is skipped.",
        stacklevel=3,
    )
