"""The numbers of a run as a frame of pandas or polars, which are imported here when they are asked for."""

from __future__ import annotations

import importlib
import importlib.util
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from lightning_trackplus.files.axes import read_axes
from lightning_trackplus.files.csv_rows import LOGGED_STEP
from lightning_trackplus.files.metrics_file import (
    EPOCH,
    STEP,
    StepRow,
    StoredMetrics,
    number_in,
    one_row_a_step,
    read_stored,
    step_rows,
)

Frames: TypeAlias = Literal["pandas", "polars"]
_PANDAS_WITH_EXACT_FLOATS = 3


def frame_of_csv(path: Path, frames: Frames) -> Any:
    """Return ``metrics.csv`` as a frame.

    Args:
        path: The file.
        frames: The package that the frame is of.
    """
    stored = read_stored(path)
    parse, make = _FRAMES[frames]
    columns = parse(_imported(frames), stored) if stored.body else {}
    if columns and _has_rows_of_one_step(_array(columns[STEP]), _array(columns.get(EPOCH))):
        rows = one_row_a_step(step_rows(stored))
        if len(rows) < len(_array(columns[STEP])):
            columns = _columns_of(rows, stored.columns)
    return make(_imported(frames), _in_order(columns, stored.columns))


def frame_of_events(directory: Path, frames: Frames) -> Any:
    """Return the numbers in the event files of a run as a frame.

    Args:
        directory: The run directory.
        frames: The package that the frame is of.
    """
    from lightning_trackplus.stored.event_values import event_rows  # noqa: PLC0415  needs tensorboard

    found = event_rows(directory, read_axes(directory))
    rows = one_row_a_step(StepRow(row.step, row.epoch, _as_columns(row.values)) for row in found)
    names = tuple(dict.fromkeys(name for row in rows for name in row.values))
    return _FRAMES[frames][1](_imported(frames), _in_order(_columns_of(rows, names), names))


def empty_frame(frames: Frames) -> Any:
    """Return the frame of a run without numbers.

    Args:
        frames: The package that the frame is of.
    """
    return _FRAMES[frames][1](_imported(frames), _in_order({}, ()))


def check_frames(frames: str) -> None:
    """Refuse what is neither pandas nor polars, and what is not installed.

    Args:
        frames: What was asked for.

    Raises:
        ValueError: If it is neither.
        ImportError: If it is not installed.
    """
    if frames not in get_args(Frames):
        raise ValueError(f'read_run got frames={frames!r}; write "pandas" or "polars".')
    if importlib.util.find_spec(frames) is None:
        (other,) = set(get_args(Frames)) - {frames}
        raise ImportError(
            f"read_run needs {frames} for its metrics, and it is not installed: `pip install {frames}`,"
            f" or write frames={other!r}.",
            name=frames,
        )


def _imported(frames: Frames) -> ModuleType:
    return importlib.import_module(frames)


def _as_columns(values: Mapping[str, float | str]) -> dict[str, float | str]:
    return {LOGGED_STEP if name == STEP else name: value for name, value in values.items()}


def _has_rows_of_one_step(steps: NDArray[Any], epochs: NDArray[Any]) -> bool:
    """Return whether rows may have to become one; those without an epoch can stand between them."""
    with_epoch = steps[~np.isnan(epochs)] if len(epochs) else steps
    return bool(np.any(np.diff(steps) == 0) or np.any(np.diff(with_epoch) == 0))


def _array(column: Any) -> NDArray[Any]:
    return np.empty(0) if column is None else np.asarray(column.to_numpy(), np.float64)


def _columns_of(rows: Sequence[StepRow], names: Sequence[str]) -> dict[str, Any]:
    columns: dict[str, Any] = {STEP: [row.step for row in rows], EPOCH: [row.epoch for row in rows]}
    return columns | {name: [row.values.get(name) for row in rows] for name in names if name not in columns}


def _in_order(columns: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the columns with step and epoch first, and these always there."""
    height = len(next(iter(columns.values()), ()))
    return {name: columns.get(name, [None] * height) for name in dict.fromkeys((STEP, EPOCH, *names))}


def _parsed_by_pandas(pandas: Any, stored: StoredMetrics) -> dict[str, Any]:
    # Before, the default was fast and one unit in the last place off.
    is_exact = int(pandas.__version__.split(".")[0]) >= _PANDAS_WITH_EXACT_FLOATS
    options = {} if is_exact else {"float_precision": "round_trip"}
    numbered = range(len(stored.columns))
    frame = pandas.read_csv(
        io.BytesIO(stored.body), header=None, names=numbered, index_col=False, low_memory=False, **options
    )
    return {name: frame[number] for name, number in zip(stored.columns, numbered, strict=True)}


def _made_by_pandas(pandas: Any, columns: Mapping[str, Any]) -> Any:
    def numbers(name: str, column: Any) -> Any:
        try:
            return np.asarray(column, np.int64 if name == STEP else np.float64)
        except ValueError:
            # An integer beyond 64 bits makes text of all cells, also of those that are empty.
            cells = [(number_in(cell) if cell else np.nan) if isinstance(cell, str) else cell for cell in column]
        # What was logged as text stays text.
        return column if any(isinstance(cell, str) for cell in cells) else np.array(cells, np.float64)

    return pandas.DataFrame({name: numbers(name, column) for name, column in columns.items()})


def _parsed_by_polars(polars: Any, stored: StoredMetrics) -> dict[str, Any]:
    def parsed(**schema: Any) -> Any:
        return polars.read_csv(stored.body, has_header=False, truncate_ragged_lines=True, **schema)

    types = {name: polars.Int64 if name == STEP else polars.Float64 for name in stored.columns}
    try:
        frame = parsed(schema=types)
    except polars.exceptions.ComputeError:
        # A cell is no number to polars, for which it has to look at all.
        frame = parsed(new_columns=list(stored.columns), infer_schema_length=None)
    return {name: frame[name] for name in stored.columns}


def _made_by_polars(polars: Any, columns: Mapping[str, Any]) -> Any:
    def numbers(name: str, column: Any) -> Any:
        if isinstance(column, list) and any(isinstance(cell, str) for cell in column):
            column = [None if cell is None else str(cell) for cell in column]
        series = polars.Series(name, column)
        cast = series.cast(polars.Int64 if name == STEP else polars.Float64, strict=False)
        # What was logged as text stays text.
        return cast if cast.null_count() == series.null_count() else series

    return polars.DataFrame([numbers(name, column) for name, column in columns.items()])


_FRAMES: dict[
    Frames, tuple[Callable[[Any, StoredMetrics], dict[str, Any]], Callable[[Any, Mapping[str, Any]], Any]]
] = {
    "pandas": (_parsed_by_pandas, _made_by_pandas),
    "polars": (_parsed_by_polars, _made_by_polars),
}
