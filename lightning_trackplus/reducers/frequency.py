"""The most frequent value, and the number of different values."""

from __future__ import annotations

import math

import numpy as np
from typing_extensions import override

from lightning_trackplus.reducers.quantile import Distribution
from lightning_trackplus.reducers.types import State


class Mode(Distribution):
    """The most frequent value, ``argmax over v of Σ w[x = v]``; of several, the smallest.

    NaN if not all values are stored: with ``method="auto"`` above 65,536 values.

    Args:
        method: How the distribution is stored; see `Distribution`.
        nan_policy: As for `Reducer`.

    Raises:
        ValueError: If ``method`` is unknown.

    Examples:
        >>> import torch
        >>> mode = Mode()
        >>> mode.update(torch.tensor([3.0, 1.0, 3.0, 2.0]))
        >>> mode.compute()
        tensor(3., dtype=torch.float64)
    """

    name = "mode"

    @override
    def result(self, state: State) -> float:
        points = self.points(state)
        if not points.exact or not len(points.values):
            return math.nan
        different, indices = np.unique(points.values, return_inverse=True)
        return float(different[np.argmax(np.bincount(indices, weights=points.weights))])


class NUnique(Distribution):
    """The number of different values, ``|{x}|``; weights are ignored. 0 of no values.

    NaN if not all values are stored: with ``method="auto"`` above 65,536 values.

    Args:
        method: How the distribution is stored; see `Distribution`.
        nan_policy: As for `Reducer`.

    Raises:
        ValueError: If ``method`` is unknown.

    Examples:
        >>> import torch
        >>> different = NUnique()
        >>> different.update(torch.tensor([3.0, 1.0, 3.0, 2.0]))
        >>> different.compute()
        tensor(3., dtype=torch.float64)
    """

    name = "n_unique"

    @override
    def result(self, state: State) -> float:
        points = self.points(state)
        return float(len(np.unique(points.values))) if points.exact else math.nan
