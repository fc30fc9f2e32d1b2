"""The numbers of a run as a frame of pandas or polars, which are imported on demand."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from lightning_trackplus.formats.csv_rows import LOGGED_STEP, OTHERS
from lightning_trackplus.formats.layout import is_ours
from lightning_trackplus.formats.metrics_csv import (
    EPOCH,
    STEP,
    StepRow,
    StoredMetrics,
    number_in,
    one_row_a_step,
    others_series,
    read_stored,
    step_rows,
)
from lightning_trackplus.formats.x_axis import read_axes

Frames: TypeAlias = Literal["pandas", "polars"]
_PANDAS_WITH_EXACT_FLOATS = 3
_MANY_COLUMNS = 1000
_FEW_ROWS = 100  # Bytes a column.
_LARGEST_STEP = 2.0**63


def frame_of_csv(path: Path, frames: Frames, *, warns: bool = True) -> Any:
    """Return ``metrics.csv`` as a frame; several rows of a step by Lightning's CSVLogger become one row."""
    stored = read_stored(path, warns=warns)
    parse, make = _FRAMES[frames]
    columns: dict[str, Any] = {}
    if _has_few_rows_of_many_columns(stored):
        columns = _columns_of(list(step_rows(stored)))
    elif stored.end > stored.start:
        columns = parse(_imported(frames), stored)
    names = tuple(dict.fromkeys((*(name for name in stored.columns if name != OTHERS), *columns)))
    if columns and not np.all(np.abs(steps := _steps(columns[STEP])) < _LARGEST_STEP):
        # `step_rows` skips rows without a step, with a warning, and tells what else is no step.
        columns = _columns_of(list(step_rows(stored)))
    elif columns and not is_ours(path.parent) and _has_rows_of_one_step(steps, _array(columns.get(EPOCH))):
        columns = _columns_of(one_row_a_step(step_rows(stored)))
    return make(_imported(frames), _in_order(columns, names))


def frame_of_events(directory: Path, frames: Frames, *, warns: bool = True) -> Any:
    """Return the numbers in the event files of a run as a frame."""
    from lightning_trackplus.formats.scalar_events import event_rows  # noqa: PLC0415  needs tensorboard

    of_events = event_rows(directory, read_axes(directory), warns=warns)
    rows = one_row_a_step(StepRow(row.step, row.epoch, _as_columns(row.values)) for row in of_events)
    columns = _columns_of(rows)
    return _FRAMES[frames][1](_imported(frames), _in_order(columns, columns))


def empty_frame(frames: Frames) -> Any:
    """Return the frame of a run without numbers."""
    return _FRAMES[frames][1](_imported(frames), _in_order({}, ()))


def check_frames(frames: str) -> None:
    """Raise unless ``frames`` is pandas or polars, and installed."""
    if frames not in get_args(Frames):
        raise ValueError(f'read_run got frames={frames!r}; expected "pandas" or "polars".')
    if importlib.util.find_spec(frames) is None:
        (other,) = set(get_args(Frames)) - {frames}
        raise ImportError(
            f"read_run needs {frames} for its metrics, and it is not installed: `pip install {frames}`,"
            f" or write frames={other!r}.",
            name=frames,
        )


def _has_few_rows_of_many_columns(stored: StoredMetrics) -> bool:
    """Return whether Python reads a file faster than pandas and polars, which are slow for each column."""
    return len(stored.columns) > _MANY_COLUMNS and 0 < stored.end - stored.start < len(stored.columns) * _FEW_ROWS


def _imported(frames: Frames) -> ModuleType:
    return importlib.import_module(frames)


def _as_columns(values: Mapping[str, float | str]) -> dict[str, float | str]:
    return {LOGGED_STEP if name == STEP else name: value for name, value in values.items()}


def _has_rows_of_one_step(steps: NDArray[Any], epochs: NDArray[Any]) -> bool:
    """Return whether some rows may have to be merged; rows without an epoch can be between them."""
    with_epoch = steps[~np.isnan(epochs)] if len(epochs) else steps
    return bool(np.any(np.diff(steps) == 0) or np.any(np.diff(with_epoch) == 0))


def _steps(column: Any) -> NDArray[Any]:
    """Return the steps as float64; NaN if some are not numbers."""
    try:
        return _array(column)
    except Exception:  # noqa: BLE001  polars has errors of its own
        return np.array([np.nan])


def _array(column: Any) -> NDArray[Any]:
    if column is None:
        return np.empty(0)
    # Integers beyond 64 bits are of a type that polars 2.0, the last for Python 3.10, does not give to numpy.
    return np.asarray(column.cast(float) if hasattr(column, "cast") else column, np.float64)


def _columns_of(rows: Sequence[StepRow]) -> dict[str, Any]:
    columns: dict[str, Any] = {STEP: [row.step for row in rows], EPOCH: [row.epoch for row in rows]}
    names = dict.fromkeys(name for row in rows for name in row.values)
    return columns | {name: [row.values.get(name) for row in rows] for name in names if name not in columns}


def _in_order(columns: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return the columns with step and epoch first, which are always present."""
    height = len(next(iter(columns.values()), ()))
    return {name: columns.get(name, [None] * height) for name in dict.fromkeys((STEP, EPOCH, *names))}


def _parsed_by_pandas(pandas: Any, stored: StoredMetrics) -> dict[str, Any]:
    # Before pandas 3, the default was fast and one unit in the last place off.
    is_exact = int(pandas.__version__.split(".")[0]) >= _PANDAS_WITH_EXACT_FLOATS
    options: dict[str, Any] = {} if is_exact else {"float_precision": "round_trip"}
    # Logged text stays text, such as "None".
    options |= {"keep_default_na": False, "na_values": ["", "nan", "NaN", "-nan"]}
    options |= {"encoding_errors": "replace", "index_col": False, "low_memory": False}
    numbered = range(len(stored.columns))
    if OTHERS in stored.columns:
        options["dtype"] = {stored.columns.index(OTHERS): str}
    try:
        frame = pandas.read_csv(stored.body(), header=None, names=numbered, **options)
    except pandas.errors.ParserError:
        # A damaged row has more cells than the header.
        return _columns_of(list(step_rows(stored)))
    # Asking a frame for each of many columns takes longer than reading it.
    is_number = np.array([dtype.kind in "biuf" for dtype in frame.dtypes])
    table = frame.to_numpy(np.float64) if is_number.all() else frame.loc[:, is_number].to_numpy(np.float64)
    numbers = iter(table.T)
    columns = {
        name: next(numbers) if is_float else frame[number]
        for number, (name, is_float) in enumerate(zip(stored.columns, is_number.tolist(), strict=True))
    }
    # It stays an integer.
    columns[STEP] = frame[stored.columns.index(STEP)]
    return _with_others(columns, np.full(len(frame), np.nan))


def _with_others(columns: dict[str, Any], empty: Any) -> dict[str, Any]:
    """Return the columns with the numbers of the column for other names; new columns begin as ``empty``."""
    cells = [cell if isinstance(cell, str) else "" for cell in columns.pop(OTHERS, ())]
    filled = [position for position, cell in enumerate(cells) if cell]
    for name, (positions, texts) in others_series(filled, [cells[position] for position in filled]).items():
        numbers = [number_in(text) for text in texts]
        is_new = name not in columns and not any(isinstance(number, str) for number in numbers)
        column = empty.copy() if is_new else list(columns.get(name, empty))
        for position, number in zip(positions, numbers, strict=True):
            column[position] = number
        columns[name] = column
    return columns


def _made_by_pandas(pandas: Any, columns: Mapping[str, Any]) -> Any:
    texts: dict[str, Any] = {}

    def numbers(name: str, column: Any) -> NDArray[np.float64]:
        try:
            return np.asarray(column, np.float64)
        except ValueError:
            # An integer of more than 64 bits makes all cells text, empty ones too.
            cells = [(number_in(cell) if cell else np.nan) if isinstance(cell, str) else cell for cell in column]
        if any(isinstance(cell, str) for cell in cells):
            texts[name] = column  # Logged text stays text.
            return np.full(len(cells), np.nan)
        return np.array(cells, np.float64)

    table = np.column_stack([numbers(name, column) for name, column in columns.items()])
    frame = pandas.DataFrame(table, columns=list(columns))
    for name, column in {STEP: np.asarray(columns[STEP], np.int64), **texts}.items():
        frame[name] = column
    return frame


def _parsed_by_polars(polars: Any, stored: StoredMetrics) -> dict[str, Any]:
    # Rows end with their last value, and polars takes the number of columns from the first row.
    numbered = [str(number) for number in range(len(stored.columns))]
    table = ",".join(numbered).encode() + b"\n" + stored.body().read()
    own = {STEP: polars.Int64, OTHERS: polars.String}
    types = {number: own.get(name, polars.Float64) for number, name in zip(numbered, stored.columns, strict=True)}
    try:
        frame = polars.read_csv(table, truncate_ragged_lines=True, encoding="utf8-lossy", schema=types)
    except polars.exceptions.ComputeError:
        # Some cell is not a number for polars; it has to look at all cells to infer the types.
        frame = polars.read_csv(table, truncate_ragged_lines=True, encoding="utf8-lossy", infer_schema_length=None)
    columns = {name: frame[number] for name, number in zip(stored.columns, numbered, strict=True)}
    return _with_others(columns, [None] * len(frame))


def _made_by_polars(polars: Any, columns: Mapping[str, Any]) -> Any:
    def numbers(name: str, column: Any) -> Any:
        if isinstance(column, list) and any(isinstance(cell, str) for cell in column):
            column = [None if cell is None else str(cell) for cell in column]
        series = polars.Series(name, column)
        cells = series.replace({"True": "1", "False": "0"}) if series.dtype == polars.String else series
        cast = cells.cast(polars.Int64 if name == STEP else polars.Float64, strict=False)
        # Logged text stays text.
        return cast if cast.null_count() == series.null_count() else series

    # A list of series would give a column without a name another one.
    return polars.DataFrame({name: numbers(name, column) for name, column in columns.items()})


_FRAMES: dict[
    Frames, tuple[Callable[[Any, StoredMetrics], dict[str, Any]], Callable[[Any, Mapping[str, Any]], Any]]
] = {
    "pandas": (_parsed_by_pandas, _made_by_pandas),
    "polars": (_parsed_by_polars, _made_by_polars),
}
