"""Arithmetic, geometric and harmonic mean, and perplexity."""

from __future__ import annotations

import numpy as np
from typing_extensions import override

from lightning_trackplus.reducers.base import Reducer
from lightning_trackplus.reducers.sum import add_compensated, compensated_sum
from lightning_trackplus.reducers.types import Floats, Samples, State


class Mean(Reducer):
    """The arithmetic mean, ``Σwx / Σw``.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> import torch
        >>> mean = Mean()
        >>> mean.update(torch.tensor([1.0, 2.0, 6.0]))
        >>> mean.compute()
        tensor(3., dtype=torch.float64)
    """

    name = "mean"

    @override
    def summarize(self, samples: Samples) -> State:
        return _sums(samples.weights, samples.values)

    @override
    def merge(self, left: State, right: State) -> State:
        return np.array([left[0] + right[0], *add_compensated(left[1:], right[1:])])

    @override
    def result(self, state: State) -> float:
        # Without values this is 0 / 0, which is NaN.
        with np.errstate(invalid="ignore"):
            return float(state[1:].sum() / state[0])


class Perplexity(Mean):
    """The exponential of the mean, ``exp(Σwx / Σw)``: the perplexity if the values are cross entropies in nats.

    Count each value once for each of its tokens, by a weight or by ``batch_size``.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> import torch
        >>> perplexity = Perplexity()
        >>> perplexity.update(torch.tensor([2.0, 4.0]).log(), weight=torch.tensor([3, 1]))
        >>> round(perplexity.compute().item(), 4)
        2.3784
    """

    name = "perplexity"
    state_key = "mean"

    @override
    def result(self, state: State) -> float:
        return _exp(super().result(state))


class GeometricMean(Mean):
    """The geometric mean, ``exp(Σw log x / Σw)``; NaN unless all values are above 0.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> import torch
        >>> gmean = GeometricMean()
        >>> gmean.update(torch.tensor([2.0, 8.0]))
        >>> round(gmean.compute().item(), 4)
        4.0
    """

    name = "gmean"

    @override
    def summarize(self, samples: Samples) -> State:
        return _sums(samples.weights, np.log(_positive(samples.values)))

    @override
    def result(self, state: State) -> float:
        return _exp(super().result(state))


class HarmonicMean(Mean):
    """The harmonic mean, ``Σw / Σ(w / x)``; NaN unless all values are above 0.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> import torch
        >>> hmean = HarmonicMean()
        >>> hmean.update(torch.tensor([30.0, 60.0]))
        >>> round(hmean.compute().item(), 4)
        40.0
    """

    name = "hmean"

    @override
    def summarize(self, samples: Samples) -> State:
        with np.errstate(over="ignore"):
            return _sums(samples.weights, 1 / _positive(samples.values))

    @override
    def result(self, state: State) -> float:
        with np.errstate(divide="ignore"):
            return float(1 / np.float64(super().result(state)))


def _sums(weights: Floats, values: Floats) -> State:
    with np.errstate(over="ignore"):
        return np.array([weights.sum(), *compensated_sum(weights * values)])


def _positive(values: Floats) -> Floats:
    return np.where(values > 0, values, np.nan)


def _exp(exponent: float) -> float:
    with np.errstate(over="ignore", under="ignore"):
        return float(np.exp(exponent))
