"""Sums and counts."""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
from typing_extensions import override

from lightning_trackplus.reducers.base import Reducer
from lightning_trackplus.reducers.types import Floats, NanPolicy, Samples, State


class Sum(Reducer):
    """The sum of the values, ``Σwx``. As in Lightning's own sum, the batch size is ignored.

    The rounding error of the sum is kept beside it, so that values of both signs may cancel: T. Ogita, S. M. Rump,
    S. Oishi, "Accurate sum and dot product", SIAM Journal on Scientific Computing 26 (6), 2005.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> import torch
        >>> total = Sum()
        >>> total.update(torch.tensor([1.0, 2.0]))
        >>> total.compute()
        tensor(3., dtype=torch.float64)
    """

    name = "sum"
    weighted = False

    @override
    def summarize(self, samples: Samples) -> State:
        with np.errstate(over="ignore"):
            return compensated_sum(samples.weights * samples.values)

    @override
    def merge(self, left: State, right: State) -> State:
        return add_compensated(left, right)

    @override
    def result(self, state: State) -> float:
        return float(state.sum())


class Count(Reducer):
    """The number of samples, ``Σw``; a logged scalar counts once for each sample of its batch.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> import torch
        >>> count = Count()
        >>> count.update(torch.tensor([1.0, 2.0]))
        >>> count.compute()
        tensor(2., dtype=torch.float64)
    """

    name = "count"

    @override
    def summarize(self, samples: Samples) -> State:
        return np.array([samples.weights.sum()])

    @override
    def merge(self, left: State, right: State) -> State:
        return left + right

    @override
    def result(self, state: State) -> float:
        return float(state[0])


class NanCount(Count):
    """The number of values that are NaN, ``Σ[x is NaN]``; each counts once, whatever its weight above 0.

    Args:
        nan_policy: Ignored, since NaN is counted.

    Examples:
        >>> import torch
        >>> count = NanCount()
        >>> count.update(torch.tensor([1.0, torch.nan]))
        >>> count.compute()
        tensor(1., dtype=torch.float64)
    """

    name = "nan_count"
    weighted = False
    counts_nan = True

    def __init__(self, *, nan_policy: NanPolicy = "omit") -> None:
        super().__init__(nan_policy=nan_policy)
        self.nan_policy = "omit"

    @override
    def summarize(self, samples: Samples) -> State:
        return np.array([float(samples.nan_count)])


class InfCount(Count):
    """The number of infinite values, ``Σ[|x| = ∞]``; each counts once, whatever its weight above 0.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> import torch
        >>> count = InfCount()
        >>> count.update(torch.tensor([1.0, -torch.inf]))
        >>> count.compute()
        tensor(1., dtype=torch.float64)
    """

    name = "inf_count"
    weighted = False

    @override
    def summarize(self, samples: Samples) -> State:
        return np.array([float(np.isinf(samples.values).sum())])


_Number = TypeVar("_Number", float, Floats)
_FEW = 512  # Up to this many values, Python's exact sum is faster than numpy.


def compensated_sum(values: Floats) -> Floats:
    """Return the sum of values and its rounding error, together as exact as a sum in twice the precision."""
    if len(values) <= _FEW and np.isfinite(values).all():
        return _exact_sum(values.tolist())
    error = np.float64(0)
    # The two halves are added, not neighbours, so each round is a few operations on whole arrays.
    with np.errstate(over="ignore", invalid="ignore"):
        while len(values) > 1:
            half = len(values) // 2
            sums, errors = two_sum(values[:half], values[half : 2 * half])
            error += errors.sum()
            values = np.append(sums, values[2 * half :])
        return _normalized(float(values[0]) if len(values) else 0.0, float(error))


def add_compensated(left: Floats, right: Floats) -> Floats:
    """Return the sum of two results of `compensated_sum`."""
    # For two numbers, Python's own arithmetic is much faster than numpy.
    (left_total, left_error), (right_total, right_error) = left.tolist(), right.tolist()
    total, error = two_sum(left_total, right_total)
    return _normalized(total, error + left_error + right_error)


def two_sum(left: _Number, right: _Number) -> tuple[_Number, _Number]:
    """Return a sum and its rounding error, which together are exact."""
    total = left + right
    of_right = total - left
    return total, (left - (total - of_right)) + (right - of_right)


def _exact_sum(values: list[float]) -> Floats:
    try:
        total = math.fsum(values)
        return np.array([total, math.fsum([*values, -total])])
    except OverflowError:
        return np.array([math.copysign(math.inf, sum(value / len(values) for value in values)), 0.0])


def _normalized(total: float, error: float) -> Floats:
    # An infinite sum has no rounding error.
    return np.array(two_sum(total, error) if math.isfinite(total) else (total, 0.0))
