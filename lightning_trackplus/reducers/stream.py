"""The values logged under one name over an epoch, and what its reducers make of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, distributed

from lightning_trackplus.reducers.reducer import Reducer, Samples, State

Group: TypeAlias = Any
"""A `torch.distributed.ProcessGroup`; torch builds without distributed have no such name."""

_CALLS_PER_FOLD = 512


class _Call(NamedTuple):
    values: Tensor
    weight: float
    number: int


class Stream:
    """One stream, shared by all reducers that were asked of it.

    A call only leaves its values; they are summarized many calls at a time. Nothing is read back
    from the values' device before a result is asked for.

    Args:
        reducers: The reducers.
    """

    def __init__(self, reducers: Sequence[Reducer]) -> None:
        self.reducers = tuple(reducers)
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._calls: list[_Call] = []
        self._count = 0
        self._states: list[State] | None = None
        self._nan_count: Tensor | int = 0
        self._finished: list[Tensor] | None = None

    def add(self, values: Tensor, weight: float) -> None:
        """Take the values of one call.

        Args:
            values: Shape ``(N,)``, N may be 0; the stream keeps the tensor.
            weight: What each of them counts.
        """
        if len(values):
            self._calls.append(_Call(values, weight, self._count))
        self._count += 1
        self._finished = None
        if len(self._calls) >= _CALLS_PER_FOLD:
            self._fold()

    def results_of(self, values: Tensor, weight: float, *, group: Group = None) -> list[Tensor]:
        """Return what the reducers make of one call alone, without adding it.

        Args:
            values: Shape ``(N,)``.
            weight: What each of them counts.
            group: The processes whose values count together, each of which has to call this; None for
                this one alone.
        """
        states = None
        if len(values):
            samples, _ = _samples([_Call(values, weight, 0)])
            states = [reducer.summarize(samples) for reducer in self.reducers]
        return self._finish(states, group)

    def results(self, *, group: Group = None) -> list[Tensor]:
        """Return what the reducers make of all calls since the last reset, float64, one each.

        Args:
            group: The processes whose values count together, each of which has to call this; None for
                this one alone.
        """
        if self._finished is None:
            self._fold()
            self._finished = self._finish(self._states, group)
        return self._finished

    def nan_count(self) -> int:
        """Return how many values were NaN and left out, in this process; waits for their device."""
        return int(self._nan_count)

    def _fold(self) -> None:
        if not self._calls:
            return
        samples, nan_count = _samples(self._calls)
        self._calls = []
        self._nan_count = self._nan_count + nan_count
        states = [reducer.summarize(samples) for reducer in self.reducers]
        if self._states is not None:
            states = _merged(self.reducers, self._states, states)
        self._states = states

    def _finish(self, states: list[State] | None, group: Group) -> list[Tensor]:
        if group is not None:
            states = _merged_over_processes(self.reducers, states, group)
        if states is None:
            return [torch.tensor(torch.nan, dtype=torch.float64) for _ in self.reducers]
        return [reducer.result(state) for reducer, state in zip(self.reducers, states, strict=True)]


def _samples(calls: Sequence[_Call]) -> tuple[Samples, Tensor]:
    """Return calls as one part of the stream, and how many of their values were NaN."""
    values = torch.cat([call.values for call in calls])
    sizes = torch.tensor([len(call.values) for call in calls])
    # Built on the host and sent: that needs no answer from the device.
    weights = torch.tensor([call.weight for call in calls], dtype=values.dtype).repeat_interleave(sizes)
    steps = torch.tensor([call.number for call in calls]).repeat_interleave(sizes)
    weights = weights.to(values.device, non_blocking=True)
    is_nan = values.isnan()
    weights = weights.masked_fill(is_nan, 0)
    values = values.masked_fill(weights == 0, 0)
    return Samples(values, weights, steps.to(values.device, non_blocking=True)), is_nan.sum()


def _merged(reducers: Sequence[Reducer], left: Sequence[State], right: Sequence[State]) -> list[State]:
    return [reducer.merge(a, b) for reducer, a, b in zip(reducers, left, right, strict=True)]


def _merged_over_processes(reducers: Sequence[Reducer], states: list[State] | None, group: Group) -> list[State] | None:
    """Merge the states of all processes, in the order of their ranks."""
    mine = None if states is None else [tuple(part.cpu() for part in state) for state in states]
    everyone: list[list[State] | None] = [None] * distributed.get_world_size(group)
    distributed.all_gather_object(everyone, mine, group=group)
    merged: list[State] | None = None
    for theirs in everyone:
        if merged is None:
            merged = theirs
        elif theirs is not None:
            merged = _merged(reducers, merged, theirs)
    return merged
