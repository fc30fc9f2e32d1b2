"""The entries of ``summary.json``, which `RunSummary` writes and describes, and their reader."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any, Literal, TypeAlias

from lightning_trackplus.formats.layout import SUMMARY_FILE

Mode: TypeAlias = Literal["min", "max"]
"""Whether the lowest or the highest value of a name is its best."""

Point: TypeAlias = tuple[float, int]
"""A value and its step."""

_NOT_FINITE = ("NaN", "Infinity", "-Infinity")
_POINTS = ("last", "best", "min", "max")


def entry_of(last: Point, lowest: Point | None, highest: Point | None, mode: Mode | None) -> dict[str, Any]:
    """Return the entry of a name; its extremes are None if all values are NaN.

    Examples:
        >>> entry_of((0.5, 9), (0.25, 4), (1.0, 0), "min")
        {'last': 0.5, 'last_step': 9, 'best': 0.25, 'best_step': 4, 'mode': 'min'}
    """
    entry: dict[str, Any] = _fields("last", last)
    if mode is None:
        return entry | _fields("min", lowest) | _fields("max", highest)
    return entry | _fields("best", lowest if mode == "min" else highest) | {"mode": mode}


def read_summary(directory: Path) -> dict[str, dict[str, Any]] | None:
    """Return the entries of ``summary.json`` by name; None if there is no such file, or it is damaged."""
    try:
        entries = json.loads((directory / SUMMARY_FILE).read_text(encoding="utf-8"), parse_constant=_refuse)
    except (OSError, ValueError, RecursionError):
        return None
    return entries if isinstance(entries, dict) and all(map(_is_entry, entries.values())) else None


def modes_of(directory: Path) -> dict[str, str]:
    """Return ``"min"`` or ``"max"`` by name, whichever is best, where ``summary.json`` has it."""
    return {name: entry["mode"] for name, entry in (read_summary(directory) or {}).items() if "mode" in entry}


def json_number(number: float) -> float | str:
    """Return a number as the file has it: text if JSON has no such number."""
    if isinstance(number, int) or math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _fields(name: str, point: Point | None) -> dict[str, float | str | None]:
    value, step = (None, None) if point is None else (json_number(point[0]), point[1])
    return {name: value, f"{name}_step": step}


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _is_entry(entry: Any) -> bool:
    """Return whether this is an entry with the last value, and the best value and its mode or the extremes."""
    if not isinstance(entry, dict) or not isinstance(at_best := entry.get("at_best", {}), dict):
        return False
    mode, points = entry.get("mode"), [name for name in _POINTS if name in entry]
    expected = ["last", "min", "max"] if mode is None else ["last", "best"]
    is_complete = mode in (None, "min", "max") and points == expected
    return is_complete and all(_is_point(entry, name) for name in points) and all(map(_is_number, at_best.values()))


def _is_point(entry: dict[str, Any], name: str) -> bool:
    value, step = entry[name], entry.get(f"{name}_step")
    if value is None:
        return name != "last" and step is None
    return _is_number(value) and isinstance(step, int)


def _is_number(value: Any) -> bool:
    is_finite = isinstance(value, int | float) and abs(value) <= sys.float_info.max
    return is_finite or value in _NOT_FINITE
