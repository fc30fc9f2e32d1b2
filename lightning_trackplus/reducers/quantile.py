"""Quantiles."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from lightning_trackplus.reducers.reducer import Reducer, Samples, State


class Quantile(Reducer):
    """A quantile, interpolated linearly between values as ``numpy.quantile`` does by default.

    A value of weight w counts as w equal values. All values of the epoch are kept.

    Args:
        q: Which quantile, in [0, 1].
        name: The suffix; ``p<100 q>`` if left out.

    Raises:
        ValueError: If q lies outside [0, 1].

    Examples:
        >>> Quantile(0.95).name
        'p95'
    """

    def __init__(self, q: float, name: str | None = None) -> None:
        if not 0 <= q <= 1:
            raise ValueError(f"Quantile got q={q!r}; give a number from 0 to 1, for example 0.95.")
        self.q = q
        self._name = name or f"p{100 * q:g}"

    @property
    @override
    def name(self) -> str:
        return self._name

    @override
    def summarize(self, samples: Samples) -> State:
        return samples.values, samples.weights

    @override
    def merge(self, left: State, right: State) -> State:
        return tuple(torch.cat(parts) for parts in zip(left, right, strict=True))

    @override
    def result(self, state: State) -> Tensor:
        # On the host, since `cumsum` of floats is not deterministic on CUDA.
        values, weights = (part.cpu() for part in state)
        values, order = values.sort()
        ends = weights[order].cumsum(0)
        total = ends[-1]
        # The values stand at 0 … total - 1 if each is repeated as often as its weight says.
        position = self.q * (total - 1)
        below, above = (_value_at(values, ends, index) for index in (position.floor(), position.ceil()))
        # An infinity has no difference to a value that could be interpolated: what lies between is infinite.
        infinite = torch.where(below == above, below, below + above)
        between = torch.lerp(below, above, position - position.floor())
        return torch.where(total > 0, torch.where(between.isnan(), infinite, between), torch.nan)


def _value_at(values: Tensor, ends: Tensor, index: Tensor) -> Tensor:
    return values[torch.searchsorted(ends, index, right=True).clamp(max=len(values) - 1)]
