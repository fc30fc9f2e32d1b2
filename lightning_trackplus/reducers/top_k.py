"""The largest and the smallest values."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np
from typing_extensions import override

from lightning_trackplus.reducers.base import Reducer
from lightning_trackplus.reducers.types import Floats, NanPolicy, Samples, State


class TopK(Reducer):
    """The k largest values, ``x₍₁₎ ≥ … ≥ x₍ₖ₎``, as ``top1`` … ``topk``; weights are ignored.

    If there are fewer than k values, the others are NaN. Of equal values, the earlier is first.

    Args:
        k: The number of values, at least 1.
        steps: Whether the result has the step of each value as well, as ``top1_step`` and so on.
        nan_policy: As for `Reducer`.

    Raises:
        ValueError: If k is not an integer of at least 1.

    Examples:
        >>> import torch
        >>> top = TopK(2)
        >>> top.update(torch.tensor([4.0, 1.0, 9.0]))
        >>> top.compute()
        {'top1': tensor(9., dtype=torch.float64), 'top2': tensor(4., dtype=torch.float64)}
    """

    name = "topk"
    weighted = False
    _end = "top"
    _sign = -1

    def __init__(self, k: int = 5, *, steps: bool = False, nan_policy: NanPolicy = "omit") -> None:
        super().__init__(nan_policy=nan_policy)
        if not isinstance(k, int) or isinstance(k, bool) or k < 1:
            raise ValueError(f"{type(self).__name__} got k={k!r}; expected an integer of at least 1, for example 5.")
        self.k = k
        self.steps = steps
        self.name = f"{self._end}{k}"

    @property
    @override
    def state_key(self) -> Hashable:
        return self._end, self.k

    @override
    def summarize(self, samples: Samples) -> State:
        values, _, steps, *_ = samples
        keys = self._sign * values
        if len(keys) > self.k:
            candidates = keys <= np.partition(keys, self.k - 1)[self.k - 1]
            values, steps = values[candidates], steps[candidates]
        return self._first_k(values, steps.astype(np.float64))

    @override
    def merge(self, left: State, right: State) -> State:
        values, steps = np.hstack([left.reshape(2, -1), right.reshape(2, -1)])
        return self._first_k(values, steps)

    @override
    def result(self, state: State) -> Mapping[str, float]:
        padded = np.full((2, self.k), np.nan)
        padded[:, : len(state) // 2] = state.reshape(2, -1)
        results: dict[str, float] = {}
        for number, (value, step) in enumerate(padded.T.tolist(), start=1):
            results[f"{self._end}{number}"] = value
            if self.steps:
                results[f"{self._end}{number}_step"] = step
        return results

    def _first_k(self, values: Floats, steps: Floats) -> State:
        """Return the first k values in order, then their steps."""
        order = np.lexsort((steps, self._sign * values))[: self.k]
        return np.concatenate([values[order], steps[order]])


class BottomK(TopK):
    """The k smallest values, ``x₍₁₎ ≤ … ≤ x₍ₖ₎``, as ``bottom1`` … ``bottomk``; weights are ignored.

    If there are fewer than k values, the others are NaN. Of equal values, the earlier is first.

    Args:
        k: The number of values, at least 1.
        steps: Whether the result has the step of each value as well, as ``bottom1_step`` and so on.
        nan_policy: As for `Reducer`.

    Raises:
        ValueError: If k is not an integer of at least 1.

    Examples:
        >>> import torch
        >>> bottom = BottomK(2)
        >>> bottom.update(torch.tensor([4.0, 1.0, 9.0]))
        >>> bottom.compute()
        {'bottom1': tensor(1., dtype=torch.float64), 'bottom2': tensor(4., dtype=torch.float64)}
    """

    name = "bottomk"
    _end = "bottom"
    _sign = 1
