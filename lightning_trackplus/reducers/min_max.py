"""The smallest and the largest value, and their steps."""

from __future__ import annotations

import numpy as np
from typing_extensions import override

from lightning_trackplus.reducers.base import Reducer
from lightning_trackplus.reducers.types import Samples, State


class Range(Reducer):
    """The range, ``max x - min x``; weights are ignored.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> import torch
        >>> spread = Range()
        >>> spread.update(torch.tensor([1.0, 9.0, 4.0]))
        >>> spread.compute()
        tensor(8., dtype=torch.float64)
    """

    name = "range"
    state_key = "extremes"
    weighted = False

    @override
    def summarize(self, samples: Samples) -> State:
        """Return the smallest and the largest value; NaN, which `merge` ignores, without values."""
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
    """The smallest value, ``min x``; weights are ignored.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> import torch
        >>> smallest = Min()
        >>> smallest.update(torch.tensor([4.0, 1.0, 9.0]))
        >>> smallest.compute()
        tensor(1., dtype=torch.float64)
    """

    name = "min"

    @override
    def result(self, state: State) -> float:
        return float(state[0])


class Max(Range):
    """The largest value, ``max x``; weights are ignored.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> import torch
        >>> largest = Max()
        >>> largest.update(torch.tensor([4.0, 1.0, 9.0]))
        >>> largest.compute()
        tensor(9., dtype=torch.float64)
    """

    name = "max"

    @override
    def result(self, state: State) -> float:
        return float(state[1])


class ArgMax(Reducer):
    """The step of the largest value, ``argmax x``: of several steps, the first; weights are ignored.

    Used as a torchmetrics Metric, a step is one call of ``update``, from 0.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> when = ArgMax()
        >>> for accuracy in (0.5, 0.9, 0.7, 0.9):
        ...     when.update(accuracy)
        >>> when.compute()
        tensor(1., dtype=torch.float64)
    """

    name = "argmax"
    state_key = "arg_extremes"
    weighted = False
    full_state_update = True

    @override
    def summarize(self, samples: Samples) -> State:
        """Return the largest value and its step, then the largest of the negated values and its step."""
        return np.concatenate([_first_largest(samples, samples.values), _first_largest(samples, -samples.values)])

    @override
    def merge(self, left: State, right: State) -> State:
        return np.concatenate([_larger(left[:2], right[:2]), _larger(left[2:], right[2:])])

    @override
    def result(self, state: State) -> float:
        return _step(state[:2])


class ArgMin(ArgMax):
    """The step of the smallest value, ``argmin x``: of several steps, the first; weights are ignored.

    Used as a torchmetrics Metric, a step is one call of ``update``, from 0.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> when = ArgMin()
        >>> for loss in (0.5, 0.2, 0.7, 0.2):
        ...     when.update(loss)
        >>> when.compute()
        tensor(1., dtype=torch.float64)
    """

    name = "argmin"

    @override
    def result(self, state: State) -> float:
        return _step(state[2:])


def _first_largest(samples: Samples, values: State) -> State:
    if not len(values):
        # Any value is larger, or, if it is -inf, has a lower step.
        return np.array([-np.inf, np.inf])
    index = values.argmax()
    return np.array([values[index], samples.steps[index]])


def _larger(left: State, right: State) -> State:
    return min(left, right, key=lambda part: (-part[0], part[1]))


def _step(part: State) -> float:
    return float(part[1]) if part[1] < np.inf else np.nan
