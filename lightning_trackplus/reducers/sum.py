"""Sums and counts."""

from __future__ import annotations

import numpy as np
from typing_extensions import override

from lightning_trackplus.reducers.base import Reducer
from lightning_trackplus.reducers.compensated_sum import added, compensated_sum
from lightning_trackplus.reducers.samples import NanPolicy, Samples, State


class Sum(Reducer):
    """The sum of the values, ``Σwx``; as in Lightning's own sum, a batch size plays no part.

    What rounding takes from the sum is kept beside it, so that values of both signs may cancel.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> import torch
        >>> total = Sum()
        >>> total.update(torch.tensor([1.0, 2.0]))
        >>> total.compute()
        tensor(3., dtype=torch.float64)
    """

    weighted = False

    @property
    @override
    def name(self) -> str:
        return "sum"

    @override
    def summarize(self, samples: Samples) -> State:
        with np.errstate(over="ignore"):
            return compensated_sum(samples.weights * samples.values)

    @override
    def merge(self, left: State, right: State) -> State:
        return added(left, right)

    @override
    def result(self, state: State) -> float:
        return float(state.sum())


class Count(Reducer):
    """The number of samples, ``Σw``: a scalar that is logged counts with its batch size.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> import torch
        >>> count = Count()
        >>> count.update(torch.tensor([1.0, 2.0]))
        >>> count.compute()
        tensor(2., dtype=torch.float64)
    """

    @property
    @override
    def name(self) -> str:
        return "count"

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
    """How many values are NaN, ``Σ[x is NaN]``; each counts once, whatever its weight above 0.

    Args:
        nan_policy: Plays no part, since NaN is what it counts.

    Examples:
        >>> import torch
        >>> count = NanCount()
        >>> count.update(torch.tensor([1.0, torch.nan]))
        >>> count.compute()
        tensor(1., dtype=torch.float64)
    """

    weighted = False
    counts_nan = True

    def __init__(self, *, nan_policy: NanPolicy = "omit") -> None:
        super().__init__(nan_policy=nan_policy)
        self.nan_policy = "omit"

    @property
    @override
    def name(self) -> str:
        return "nan_count"

    @override
    def summarize(self, samples: Samples) -> State:
        return np.array([float(samples.nan_count)])


class InfCount(Count):
    """How many values are infinite, ``Σ[|x| = ∞]``; each counts once, whatever its weight above 0.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> import torch
        >>> count = InfCount()
        >>> count.update(torch.tensor([1.0, -torch.inf]))
        >>> count.compute()
        tensor(1., dtype=torch.float64)
    """

    weighted = False

    @property
    @override
    def name(self) -> str:
        return "inf_count"

    @override
    def summarize(self, samples: Samples) -> State:
        return np.array([float(np.isinf(samples.values).sum())])
