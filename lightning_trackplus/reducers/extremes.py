"""The smallest and the largest value."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
from typing_extensions import override

from lightning_trackplus.reducers.reducer import Reducer
from lightning_trackplus.reducers.samples import Samples, State


class Range(Reducer):
    """The largest value less the smallest, ``max x - min x``; a weight plays no part.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> import torch
        >>> spread = Range()
        >>> spread.update(torch.tensor([1.0, 9.0, 4.0]))
        >>> spread.compute()
        tensor(8., dtype=torch.float64)
    """

    weighted = False

    @property
    @override
    def name(self) -> str:
        return "range"

    @property
    @override
    def state_key(self) -> Hashable:
        return "extremes"

    @override
    def summarize(self, samples: Samples) -> State:
        """Return the smallest and the largest value; NaN, which `merge` passes over, if there is none."""
        values = samples.values
        return np.array([values.min(), values.max()]) if len(values) else np.array([np.nan, np.nan])

    @override
    def merge(self, left: State, right: State) -> State:
        return np.array([np.fmin(left[0], right[0]), np.fmax(left[1], right[1])])

    @override
    def result(self, state: State) -> float:
        # Both may be the same infinity.
        with np.errstate(over="ignore", invalid="ignore"):
            return float(state[1] - state[0])


class Min(Range):
    """The smallest value, ``min x``; a weight plays no part.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> import torch
        >>> smallest = Min()
        >>> smallest.update(torch.tensor([4.0, 1.0, 9.0]))
        >>> smallest.compute()
        tensor(1., dtype=torch.float64)
    """

    @property
    @override
    def name(self) -> str:
        return "min"

    @override
    def result(self, state: State) -> float:
        return float(state[0])


class Max(Range):
    """The largest value, ``max x``; a weight plays no part.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> import torch
        >>> largest = Max()
        >>> largest.update(torch.tensor([4.0, 1.0, 9.0]))
        >>> largest.compute()
        tensor(9., dtype=torch.float64)
    """

    @property
    @override
    def name(self) -> str:
        return "max"

    @override
    def result(self, state: State) -> float:
        return float(state[1])
