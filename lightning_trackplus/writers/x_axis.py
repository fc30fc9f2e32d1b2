"""Over what the curve of each name stands in TensorBoard."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_trackplus.formats.last_points import last_points
from lightning_trackplus.formats.x_axis import EPOCH, known_axes, write_axes
from lightning_trackplus.record import Payload, Record
from lightning_trackplus.runtime.names import matches

_MOST_LAYOUTS = 1000
_LARGEST_STEP = 2**63


def check_x_axis(x_axis: Mapping[str, str]) -> None:
    """Check what a logger was given as ``x_axis``.

    Raises:
        ValueError: If it is no mapping of text to text.
    """
    if not isinstance(x_axis, Mapping) or not all(isinstance(text, str) for pair in x_axis.items() for text in pair):
        raise ValueError(
            f'x_axis={x_axis!r}; give "epoch" or the name of a logged scalar for each name, for example'
            ' {"val/*": "epoch"}.'
        )


def prefixed_axes(x_axis: Mapping[str, str], prefix: str) -> dict[str, str]:
    """Return the axes of names that stand behind a prefix; the epoch has none.

    Examples:
        >>> prefixed_axes({"val/*": "samples", "test/*": "epoch"}, "mine-")
        {'mine-val/*': 'mine-samples', 'mine-test/*': 'epoch'}
    """
    return {prefix + name: axis if axis == EPOCH else prefix + axis for name, axis in x_axis.items()}


class XAxes:
    """Puts chosen names over epochs or over a logged scalar, and keeps account of it in ``x_axis.json``.

    Args:
        directory: The run directory. What its file says already goes on to hold.
        x_axis: The axis by name, ``"epoch"`` or the name of a logged scalar. In the name, ``*`` and ``?`` stand for
            any characters and for any one; the first that fits holds.
    """

    def __init__(self, directory: Path, x_axis: Mapping[str, str]) -> None:
        self._directory = directory
        self._x_axis = dict(x_axis)
        self._known: dict[str, str] | None = None
        self._chosen_axes: set[str] | None = None
        self._is_stored = True
        self._layouts: dict[tuple[str, ...], dict[str | None, list[str]]] = {}
        self._latest: dict[str, float] | None = None

    def split(self, record: Record[Payload], numbers: Mapping[str, float]) -> list[tuple[int, Mapping[str, float]]]:
        """Return the numbers of a record by their step in TensorBoard; those over the global step come first."""
        if not self._chosen:
            return [(record.step, numbers)]
        by_axis = self._layout(tuple(numbers))
        if self._latest is None:
            # They go on where the run was.
            points = last_points(self._directory, self._chosen - {EPOCH})
            self._latest = {name: point.value for name, point in points.items()}
        self._latest |= {axis: numbers[axis] for axis in self._chosen if axis in numbers}
        return [
            (self._step_on(axis, record), {name: numbers[name] for name in names}) for axis, names in by_axis.items()
        ]

    def flush(self) -> None:
        """Bring what was learnt into the file."""
        if not self._is_stored:
            self._directory.mkdir(parents=True, exist_ok=True)
            write_axes(self._directory, self._axes)
            self._is_stored = True

    @property
    def _axes(self) -> dict[str, str]:
        """The axis of each name that was met and does not stand over the global step."""
        if self._known is None:
            self._known = known_axes(self._directory)
        return self._known

    @property
    def _chosen(self) -> set[str]:
        """The axes that were chosen, in this session or in one that it continues."""
        if self._chosen_axes is None:
            self._chosen_axes = {*self._x_axis.values(), *self._axes.values()}
        return self._chosen_axes

    def _layout(self, names: tuple[str, ...]) -> dict[str | None, list[str]]:
        """Return which of some names stand over which axis; None is the global step."""
        layout = self._layouts.get(names)
        if layout is None:
            if len(self._layouts) >= _MOST_LAYOUTS:
                self._layouts.clear()
            layout = {None: []}
            for name in names:
                layout.setdefault(self._axis_of(name), []).append(name)
            layout = self._layouts[names] = {axis: some for axis, some in layout.items() if some}
        return layout

    def _axis_of(self, name: str) -> str | None:
        if name == EPOCH:
            return None  # Some number has to stand over the global step, and each record has this one.
        if (known := self._axes.get(name)) is not None:
            return known
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
