"""Data frames, of packages that are not imported unless they have been."""

from __future__ import annotations

import sys
from typing import Any

_PACKAGES = ("pandas", "polars")


def is_data_frame(value: object) -> bool:
    """Return whether a value is a data frame of pandas or polars.

    Args:
        value: Anything.
    """
    # What has not been imported, nobody can have given.
    return any(isinstance(value, getattr(sys.modules.get(package), "DataFrame", ())) for package in _PACKAGES)


def columns_of_data_frame(frame: Any) -> list[tuple[str, list[Any]]]:
    """Return the names of the columns of a data frame, and their values.

    Args:
        frame: A data frame of pandas or polars.
    """
    if hasattr(frame, "get_columns"):
        return [(column.name, column.to_list()) for column in frame.get_columns()]
    return [(str(name), _values(frame.iloc[:, number])) for number, name in enumerate(frame.columns)]


def _values(series: Any) -> list[Any]:
    """Return the values of a series of pandas; NaN is a value among floats, and elsewhere says that there is none."""
    if series.dtype.kind == "f":
        return list(series.tolist())
    return [None if missing else value for value, missing in zip(series.tolist(), series.isna(), strict=True)]
