"""The X axis of selected names in TensorBoard, and ``x_axis.json``, which records it in the run directory.

The file is one JSON object, from the name to its axis: ``"epoch"`` or the name of a logged scalar. All other names have
the global step as X axis.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_trackplus.formats.atomic_files import replace_file
from lightning_trackplus.formats.last_points import last_points
from lightning_trackplus.formats.layout import AXES_FILE
from lightning_trackplus.formats.metrics_csv import EPOCH
from lightning_trackplus.record import Payload, Record
from lightning_trackplus.runtime.names import matches
from lightning_trackplus.runtime.warn import warn, warn_once

_LARGEST_STEP = 2**63


def check_x_axis(x_axis: Mapping[str, str]) -> None:
    """Raise `ValueError` unless ``x_axis`` maps text to text."""
    if not isinstance(x_axis, Mapping) or not all(isinstance(text, str) for pair in x_axis.items() for text in pair):
        raise ValueError(
            f'x_axis={x_axis!r}; expected "epoch" or the name of a logged scalar for each name, for example'
            ' {"val/*": "epoch"}.'
        )


def prefixed_axes(x_axis: Mapping[str, str], prefix: str) -> dict[str, str]:
    """Return the axes of names that get a prefix; ``epoch`` gets none."""
    return {prefix + name: axis if axis == EPOCH else prefix + axis for name, axis in x_axis.items()}


def read_axes(directory: Path) -> dict[str, str]:
    """Return the axis of each name that does not have the global step; a damaged file raises `ValueError`."""
    path = directory / AXES_FILE
    if not path.is_file():
        return {}
    try:
        axes = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read: {error}.") from error
    if not isinstance(axes, dict) or not all(isinstance(axis, str) for axis in axes.values()):
        raise ValueError(f"{path} is not a JSON object of names and their axes.")
    return axes


def write_axes(directory: Path, axes: Mapping[str, str]) -> None:
    """Replace ``x_axis.json``."""
    replace_file(directory / AXES_FILE, json.dumps(dict(axes), indent=2).encode())


def axes_to_continue(directory: Path) -> dict[str, str]:
    """Return the axes of a run that is continued; none, with a warning, if the file is damaged."""
    try:
        return read_axes(directory)
    except (OSError, ValueError) as error:
        if warn_once.is_first(message := f"{error} It is written again."):
            warn(message)
        return {}


class XAxes:
    """Gives selected names another X axis than the global step, and records it in ``x_axis.json``.

    ``x_axis`` maps names, with the wildcards ``*`` and ``?``, to axes; the first match counts. Names that the file has
    already keep their axes.
    """

    def __init__(self, directory: Path, x_axis: Mapping[str, str]) -> None:
        self._directory = directory
        self._x_axis = dict(x_axis)
        # What the file has; read with the first record.
        self._stored: dict[str, str] | None = None
        self._is_stored = True
        self._axis_of_name: dict[str, str | None] = {}
        self._used: set[str] | None = None
        self._latest: dict[str, float] | None = None

    def split(self, record: Record[Payload], numbers: Mapping[str, float]) -> list[tuple[int, Mapping[str, float]]]:
        """Return the numbers of a record by their step in TensorBoard, those over the global step first."""
        if not self._used_axes:
            return [(record.step, numbers)]
        if not numbers.keys() <= self._axis_of_name.keys():
            self._axis_of_name |= {name: self._select_axis(name) for name in numbers if name not in self._axis_of_name}
        over_steps: dict[str, float] = {}
        by_axis: dict[str | None, dict[str, float]] = {None: over_steps}
        for name, number in numbers.items():
            if (axis := self._axis_of_name[name]) is None:
                over_steps[name] = number
            else:
                by_axis.setdefault(axis, {})[name] = number
        if self._latest is None:
            # A continued run has values already.
            points = last_points(self._directory, self._used_axes - {EPOCH})
            self._latest = {name: point.value for name, point in points.items()}
        self._latest |= {axis: numbers[axis] for axis in self._used_axes if axis in numbers}
        return [(self._step_on(axis, record), part) for axis, part in by_axis.items() if part]

    def flush(self) -> None:
        """Write the file, if there is something new."""
        if not self._is_stored:
            self._directory.mkdir(parents=True, exist_ok=True)
            write_axes(self._directory, self._axes)
            self._is_stored = True

    @property
    def _axes(self) -> dict[str, str]:
        """The axis of each name that was logged and does not have the global step."""
        if self._stored is None:
            self._stored = axes_to_continue(self._directory)
        return self._stored

    @property
    def _used_axes(self) -> set[str]:
        """The axes that this session or an earlier one selected."""
        if self._used is None:
            self._used = {*self._x_axis.values(), *self._axes.values()}
        return self._used

    def _select_axis(self, name: str) -> str | None:
        """Return the axis of a name; None for the global step."""
        if name == EPOCH:
            return None  # Each record has it, so that at least one number has the global step.
        if (stored := self._axes.get(name)) is not None:
            return stored
        axis = next((axis for pattern, axis in self._x_axis.items() if matches(name, pattern)), None)
        if axis in (None, name):
            return None
        self._axes[name] = axis
        self._is_stored = False
        return axis

    def _step_on(self, axis: str | None, record: Record[Any]) -> int:
        value: float | None = None
        if axis == EPOCH:
            value = record.epoch
        elif axis is not None:
            value = (self._latest or {}).get(axis)
        if value is None or not math.isfinite(value) or abs(value) >= _LARGEST_STEP:
            return record.step
        return round(value)
