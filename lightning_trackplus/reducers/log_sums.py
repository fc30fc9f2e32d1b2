"""Logarithms of sums and means of exponentials."""

from __future__ import annotations

import numpy as np
from typing_extensions import override

from lightning_trackplus.reducers.base import Reducer
from lightning_trackplus.reducers.types import Samples, State


class LogSumExp(Reducer):
    """The logarithm of the sum of exponentials, ``log Σw exp x``; the batch size is ignored.

    The largest value is factored out of the sum, so that no exponential overflows: P. Blanchard, D. J. Higham,
    N. J. Higham, "Accurately computing the log-sum-exp and softmax functions", IMA Journal of Numerical
    Analysis 41 (4), 2021.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> import torch
        >>> total = LogSumExp()
        >>> total.update(torch.tensor([1000.0, 1000.0]))
        >>> round(total.compute().item(), 4)
        1000.6931
    """

    name = "logsumexp"
    weighted = False

    @override
    def summarize(self, samples: Samples) -> State:
        """Return the largest value, its weight, and the sum of the other exponentials divided by its own."""
        values, weights, *_ = samples
        largest = values.max(initial=-np.inf)
        below = values < largest
        with np.errstate(under="ignore"):
            rest = weights[below] @ np.exp(values[below] - largest)
        return np.array([largest, weights[~below].sum(), rest])

    @override
    def merge(self, left: State, right: State) -> State:
        if left[0] == right[0]:
            return np.array([left[0], left[1] + right[1], left[2] + right[2]])
        low, high = (left, right) if left[0] < right[0] else (right, left)
        with np.errstate(under="ignore"):
            return np.array([high[0], high[1], high[2] + (low[1] + low[2]) * np.exp(low[0] - high[0])])

    @override
    def result(self, state: State) -> float:
        return _log_sum(state, 1.0)


class LogMeanExp(LogSumExp):
    """The logarithm of the mean of exponentials, ``log(Σw exp x / Σw)``.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> import torch
        >>> mean = LogMeanExp()
        >>> mean.update(torch.tensor([1000.0, 1000.0]))
        >>> mean.compute()
        tensor(1000., dtype=torch.float64)
    """

    name = "logmeanexp"
    weighted = True

    @override
    def summarize(self, samples: Samples) -> State:
        return np.append(super().summarize(samples), samples.weights.sum())

    @override
    def merge(self, left: State, right: State) -> State:
        return np.append(super().merge(left, right), left[3] + right[3])

    @override
    def result(self, state: State) -> float:
        return _log_sum(state, state[3])


def _log_sum(state: State, divisor: float) -> float:
    largest, weight, rest = state[:3]
    if not weight:
        return np.nan
    return float(largest + (np.log(weight / divisor) + np.log1p(rest / weight)))
