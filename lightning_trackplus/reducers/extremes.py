"""Minimum and maximum."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from lightning_trackplus.reducers.reducer import Reducer, Samples, State


class Max(Reducer):
    """The largest value."""

    weighted = False

    @property
    @override
    def name(self) -> str:
        return "max"

    @override
    def summarize(self, samples: Samples) -> State:
        present = samples.weights > 0
        return torch.where(present, samples.values, -torch.inf).amax(), present.any()

    @override
    def merge(self, left: State, right: State) -> State:
        return torch.maximum(left[0], right[0]), left[1] | right[1]

    @override
    def result(self, state: State) -> Tensor:
        largest, any_present = state
        return torch.where(any_present, largest, torch.nan)


class Min(Max):
    """The smallest value: the largest of the negated ones, negated."""

    @property
    @override
    def name(self) -> str:
        return "min"

    @override
    def summarize(self, samples: Samples) -> State:
        return super().summarize(samples._replace(values=-samples.values))

    @override
    def result(self, state: State) -> Tensor:
        return -super().result(state)
