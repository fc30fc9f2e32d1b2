"""Sum, count and mean."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from lightning_trackplus.reducers.reducer import Reducer, Samples, State


class Sum(Reducer):
    """The sum of the logged values, ``Σx``: as in Lightning's own sum, a batch size plays no part."""

    weighted = False

    @property
    @override
    def name(self) -> str:
        return "sum"

    @override
    def summarize(self, samples: Samples) -> State:
        return (torch.where(samples.weights > 0, samples.values, 0.0).sum(),)

    @override
    def merge(self, left: State, right: State) -> State:
        return (left[0] + right[0],)

    @override
    def result(self, state: State) -> Tensor:
        return state[0]


class Count(Sum):
    """The number of samples, ``Σw``: a scalar counts with its batch size."""

    weighted = True

    @property
    @override
    def name(self) -> str:
        return "count"

    @override
    def summarize(self, samples: Samples) -> State:
        return (samples.weights.sum(),)


class Mean(Reducer):
    """The weighted mean, ``Σwx / Σw``."""

    @property
    @override
    def name(self) -> str:
        return "mean"

    @override
    def summarize(self, samples: Samples) -> State:
        return samples.weights.sum(), torch.sum(samples.weights * samples.values)

    @override
    def merge(self, left: State, right: State) -> State:
        return left[0] + right[0], left[1] + right[1]

    @override
    def result(self, state: State) -> Tensor:
        total, weighted_sum = state
        return weighted_sum / total
