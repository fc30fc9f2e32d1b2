"""Which values are frequent, and how many there are."""

from __future__ import annotations

import math

import numpy as np
from typing_extensions import override

from lightning_trackplus.reducers.samples import State
from lightning_trackplus.reducers.sketches.distribution import Distribution


class Mode(Distribution):
    """The most frequent value, ``argmax over v of Σ w[x = v]``; of several, the smallest.

    NaN where not all values were kept: with ``method="auto"`` above 65,536 values.

    Args:
        method: How the distribution is kept; see `Distribution`.
        nan_policy: As for `Reducer`.

    Raises:
        ValueError: If ``method`` is not known.

    Examples:
        >>> import torch
        >>> mode = Mode()
        >>> mode.update(torch.tensor([3.0, 1.0, 3.0, 2.0]))
        >>> mode.compute()
        tensor(3., dtype=torch.float64)
    """

    @property
    @override
    def name(self) -> str:
        return "mode"

    @override
    def result(self, state: State) -> float:
        points = self.points(state)
        if not points.exact or not len(points.values):
            return math.nan
        different, places = np.unique(points.values, return_inverse=True)
        return float(different[np.argmax(np.bincount(places, weights=points.weights))])


class NUnique(Distribution):
    """The number of different values, ``|{x}|``; a weight plays no part. 0 of no values.

    NaN where not all values were kept: with ``method="auto"`` above 65,536 values.

    Args:
        method: How the distribution is kept; see `Distribution`.
        nan_policy: As for `Reducer`.

    Raises:
        ValueError: If ``method`` is not known.

    Examples:
        >>> import torch
        >>> different = NUnique()
        >>> different.update(torch.tensor([3.0, 1.0, 3.0, 2.0]))
        >>> different.compute()
        tensor(3., dtype=torch.float64)
    """

    @property
    @override
    def name(self) -> str:
        return "n_unique"

    @override
    def result(self, state: State) -> float:
        points = self.points(state)
        return float(len(np.unique(points.values))) if points.exact else math.nan
