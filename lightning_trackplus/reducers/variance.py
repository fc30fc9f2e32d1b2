"""Variance and standard deviation.

Parts are merged by the update of Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm
for computing sample variances" (1979), which stays exact where a sum of squares would cancel.
"""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from lightning_trackplus.reducers.reducer import Reducer, Samples, State


class Variance(Reducer):
    """The sample variance, ``Σw(x - mean)² / (Σw - 1)``; NaN for fewer than two values.

    A value of weight w counts as w equal values.
    """

    @property
    @override
    def name(self) -> str:
        return "var"

    @override
    def summarize(self, samples: Samples) -> State:
        total = samples.weights.sum()
        mean = _ratio(torch.sum(samples.weights * samples.values), total)
        return total, mean, torch.sum(samples.weights * (samples.values - mean) ** 2)

    @override
    def merge(self, left: State, right: State) -> State:
        (left_total, left_mean, left_squares), (right_total, right_mean, right_squares) = left, right
        total = left_total + right_total
        delta = right_mean - left_mean
        share = _ratio(right_total, total)
        return total, left_mean + delta * share, left_squares + right_squares + delta**2 * left_total * share

    @override
    def result(self, state: State) -> Tensor:
        total, _, squares = state
        return torch.where(total > 1, squares / (total - 1), torch.nan)


class Std(Variance):
    """The sample standard deviation: the square root of `Variance`."""

    @property
    @override
    def name(self) -> str:
        return "std"

    @override
    def result(self, state: State) -> Tensor:
        return super().result(state).sqrt()


def _ratio(part: Tensor, total: Tensor) -> Tensor:
    """Return ``part / total``, and 0 where nothing was seen."""
    return torch.where(total > 0, part / total, 0.0)
