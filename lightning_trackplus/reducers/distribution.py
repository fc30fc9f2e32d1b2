"""What is known of the distribution of all values, shared by the reducers that need it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Literal, TypeAlias, get_args

import numpy as np
from typing_extensions import override

from lightning_trackplus.reducers import bit_histogram, buffer, tdigest
from lightning_trackplus.reducers.points import Points, in_order
from lightning_trackplus.reducers.reducer import Reducer
from lightning_trackplus.reducers.samples import NanPolicy, Samples, State

Method: TypeAlias = Literal["auto", "exact", "sketch", "hist"]
"""How a distribution is kept; see `Distribution`."""

# Up to how many values all are kept.
_LIMITS = {"auto": 65_536, "exact": np.inf, "sketch": 1_020, "hist": 0}


class Distribution(Reducer):
    """Base of reducers that need the distribution of all values, which is kept once for all of a stream.

    Args:
        method: How it is kept.

            - ``"auto"``: all values up to 65,536, in at most 512 KiB (1 MiB if the weights differ; half
              of this if the values are float32 numbers), then as ``"sketch"``.
            - ``"exact"``: all values, in memory that grows with them.
            - ``"sketch"``: a t-digest of 16 KiB, with all values up to 1,020. Ranks are off by some
              1e-5 in ordinary data; between values far apart, it can return one that is none of them.
            - ``"hist"``: counts in bins by the bits of a number, in at most 128 KiB. Values are off by at
              most 0.4 % of themselves (0.8 % if they span more than 64 powers of two), and results are
              the same, bit by bit, however the stream was split.
        nan_policy: As for `Reducer`.

    Raises:
        ValueError: If ``method`` is none of these.

    Examples:
        >>> import torch
        >>> class Spread(Distribution):
        ...     @property
        ...     def name(self):
        ...         return "spread"
        ...
        ...     def result(self, state):
        ...         points = self.points(state)
        ...         return points.quantile(0.9) - points.quantile(0.1)
        >>> spread = Spread()
        >>> spread.update(torch.arange(11.0))
        >>> spread.compute()
        tensor(8., dtype=torch.float64)
    """

    def __init__(self, method: Method = "auto", *, nan_policy: NanPolicy = "omit") -> None:
        if method not in get_args(Method):
            raise ValueError(f"{type(self).__name__} got method={method!r}; give 'auto', 'exact', 'sketch' or 'hist'.")
        self.method = method
        super().__init__(nan_policy=nan_policy)

    @property
    @override
    def state_key(self) -> Hashable:
        return "distribution", self.method

    @override
    def summarize(self, samples: Samples) -> State:
        if self.method == "hist":
            return bit_histogram.counted(samples.values, samples.weights)
        if len(samples.values) > _LIMITS[self.method]:
            return tdigest.digested(samples.values, samples.weights)
        return buffer.buffered(samples.values, samples.weights)

    @override
    def merge(self, left: State, right: State) -> State:
        if self.method == "hist":
            return bit_histogram.merged(left, right)
        if left[0] < buffer.FORMS and right[0] < buffer.FORMS:
            return self._within_limit(buffer.joined(left, right))
        return tdigest.merged(_digest(left), _digest(right))

    def points(self, state: State) -> Points:
        """Return the distribution as points in rising order.

        Args:
            state: The state.
        """
        if self.method == "hist":
            return bit_histogram.points(state)
        if state[0] == tdigest.FORM:
            return tdigest.points(state)
        values, weights = in_order(*buffer.contents(state))
        # Sorted in the type that takes least time, and float64 from here on.
        return Points(values.astype(np.float64), weights)

    def _within_limit(self, state: State) -> State:
        if buffer.held(state) <= _LIMITS[self.method]:
            return state
        values, weights = buffer.contents(state)
        return tdigest.digested(values, weights) if len(values) > _LIMITS[self.method] else state


def _digest(state: State) -> State:
    return state if state[0] == tdigest.FORM else tdigest.digested(*buffer.contents(state))
