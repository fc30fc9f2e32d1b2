"""First and last value."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from lightning_trackplus.reducers.reducer import Reducer, Samples, State


class First(Reducer):
    """The first value of the epoch; over several processes, the mean of those that came first together."""

    weighted = False

    @property
    @override
    def name(self) -> str:
        return "first"

    @override
    def summarize(self, samples: Samples) -> State:
        present = samples.weights > 0
        # `argmax` of booleans is the index of the first that is true.
        index = present.int().argmax()
        count = present.any().to(samples.values.dtype)
        return self._order_key(samples.steps[index]), samples.values[index] * count, count

    @override
    def merge(self, left: State, right: State) -> State:
        """Keep the state that comes earlier; add up sum and count of two that came together."""
        together = left[0] == right[0]
        left_wins = (right[2] == 0) | ((left[2] > 0) & (left[0] < right[0]))
        right_wins = (left[2] == 0) | (right[0] < left[0])
        chosen = [
            torch.where(left_wins, a, torch.where(right_wins, b, a + b)) for a, b in zip(left, right, strict=True)
        ]
        chosen[0] = torch.where(together, left[0], chosen[0])
        return tuple(chosen)

    @override
    def result(self, state: State) -> Tensor:
        _, total, count = state
        return torch.where(count > 0, total / count, torch.nan)

    def _order_key(self, step: Tensor) -> Tensor:
        return step


class Last(First):
    """The last value of the epoch; over several processes, the mean of those that came last together."""

    @property
    @override
    def name(self) -> str:
        return "last"

    @override
    def summarize(self, samples: Samples) -> State:
        return super().summarize(Samples(*(part.flip(0) for part in samples)))

    @override
    def _order_key(self, step: Tensor) -> Tensor:
        return -step
