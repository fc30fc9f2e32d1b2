"""The numbers of a run as curves."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_NUMBERS = "fiub"  # The kinds of numpy.


class Curve(NamedTuple):
    """The values of one name.

    Attributes:
        steps: The step of each value, float64, shape ``(N,)``.
        values: The values, float64, shape ``(N,)``.
        of_batches: Whether the steps count the batches of an evaluation, and are not those of training.
    """

    steps: NDArray[np.float64]
    values: NDArray[np.float64]
    of_batches: bool = False


def curves_of(metrics: Any) -> dict[str, Curve]:
    """Return the curve of each name of a run's frame that has numbers."""
    steps, epochs = column_of(metrics, "step"), column_of(metrics, "epoch")
    has_epoch, found = ~np.isnan(epochs), {}
    for name in metrics.columns:
        column = metrics[name].to_numpy()
        if name in {"step", "epoch"} or column.dtype.kind not in _NUMBERS:
            continue
        values = column.astype(np.float64)
        kept = ~np.isnan(values)
        if kept.any():
            # Rows of batches are those without an epoch, in a run that has epochs.
            found[str(name)] = Curve(steps[kept], values[kept], bool(has_epoch.any() and not has_epoch[kept].any()))
    return found


def column_of(metrics: Any, name: str) -> NDArray[np.float64]:
    """Return a column of a frame of pandas or polars, with NaN where there is no value, or where it is text."""
    column = metrics[name].to_numpy()
    return column.astype(np.float64) if column.dtype.kind in _NUMBERS else np.full(len(column), np.nan)
