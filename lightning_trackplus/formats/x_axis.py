"""Which names of a run stand over something else than the global step in TensorBoard: ``x_axis.json``.

It is one JSON object, from the name to its axis: ``"epoch"`` or the name of a logged scalar. A name that is not there
stands over the global step, and without the file all do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from lightning_trackplus.formats.atomic_file import replace_file
from lightning_trackplus.formats.layout import AXES_FILE
from lightning_trackplus.runtime.warn import warn, warn_once

EPOCH = "epoch"


def read_axes(directory: Path) -> dict[str, str]:
    """Return the axis of each name that does not stand over the global step.

    Raises:
        ValueError: If the file is there and holds something else.
    """
    path = directory / AXES_FILE
    if not path.is_file():
        return {}
    try:
        axes = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read: {error}.") from error
    if not isinstance(axes, dict) or not all(isinstance(axis, str) for axis in axes.values()):
        raise ValueError(f"{path} holds no JSON object of names and their axes.")
    return axes


def write_axes(directory: Path, axes: Mapping[str, str]) -> None:
    """Write the axes, beside the file and then in its place."""
    replace_file(directory / AXES_FILE, json.dumps(dict(axes), indent=2).encode())


def known_axes(directory: Path) -> dict[str, str]:
    """Return the axes for someone who goes on with the run; where the file cannot be read, which is said once, none."""
    try:
        return read_axes(directory)
    except (OSError, ValueError) as error:
        if warn_once.is_first(message := f"{error} It is written anew."):
            warn(message)
        return {}
