"""Quantiles, and the base class of all reducers of the distribution."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Literal, TypeAlias, get_args

import numpy as np
from typing_extensions import override

from lightning_trackplus.reducers.base import Reducer
from lightning_trackplus.reducers.sketches import buffer, float_bins, tdigest
from lightning_trackplus.reducers.sketches.points import WeightedPoints, in_order
from lightning_trackplus.reducers.types import MAX_KEPT, NanPolicy, Samples, State

Method: TypeAlias = Literal["auto", "exact", "sketch", "hist"]
"""How a distribution is stored; see `Distribution`."""

# The number of values up to which all are stored.
_LIMITS = {"auto": MAX_KEPT, "exact": np.inf, "sketch": 1_020, "hist": 0}
_DIGEST_BYTES = 152 * 2**10  # What a fine digest takes, roughly.


class Distribution(Reducer):
    """Base class of reducers of the distribution of all values; those of one name with the same method share a state.

    Args:
        method: How the distribution is stored.

            - ``"auto"``: all values up to 65,536, in at most 512 KiB (1 MiB if the weights differ; half
              of this if the values are float32 numbers), then a t-digest of about 150 KiB, or a few times
              this if thousands of values are repeated often. Its error in the rank is below 1e-4 in most measurements.
            - ``"exact"``: all values, in memory that grows with them.
            - ``"sketch"``: all values up to 1,020, then a t-digest of 16 KiB. Its error in the rank is about
              2e-4 for 300,000 values of ordinary data, more for fewer; between values far apart, it can return a
              number that is not a value.
            - ``"hist"``: counts in bins of the same relative width, in at most 128 KiB. Its error in the value is
              at most 0.4 % (0.8 % if the values span more than 64 powers of two), and results are the same to the
              bit however the stream is cut.
        nan_policy: As for `Reducer`.

    Raises:
        ValueError: If ``method`` is not one of these.

    Examples:
        >>> import torch
        >>> class Spread(Distribution):
        ...     name = "spread"
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
            raise ValueError(
                f"{type(self).__name__} got method={method!r}; expected 'auto', 'exact', 'sketch' or 'hist'."
            )
        self.method = method
        super().__init__(nan_policy=nan_policy)

    @property
    @override
    def state_key(self) -> Hashable:
        return "distribution", self.method

    @override
    def summarize(self, samples: Samples) -> State:
        if self.method == "hist":
            return float_bins.summarize(samples.values, samples.weights)
        if len(samples.values) > _LIMITS[self.method]:
            return tdigest.summarize(samples.values, samples.weights, fine=self._is_fine)
        return buffer.summarize(samples.values, samples.weights)

    @override
    def merge(self, left: State, right: State) -> State:
        if self.method == "hist":
            return float_bins.merge(left, right)
        if tdigest.FORM in (left[0], right[0]):
            return tdigest.merge(self._digest(left), self._digest(right), fine=self._is_fine)
        state = buffer.merge(left, right)
        return self._digest(state) if buffer.count(state) > _LIMITS[self.method] else state

    @override
    def count_kept(self, state: State) -> int:
        return buffer.count(state) if self._is_fine and state[0] != tdigest.FORM else 0

    @override
    def compact(self, state: State) -> State:
        if not self.count_kept(state) or state.nbytes <= _DIGEST_BYTES:
            return state
        return min(state, self._digest(state), key=lambda one: one.nbytes)

    @property
    def _is_fine(self) -> bool:
        return self.method == "auto"

    def _digest(self, state: State) -> State:
        is_digest = state[0] == tdigest.FORM
        return state if is_digest else tdigest.summarize(*buffer.contents(state), fine=self._is_fine)

    def points(self, state: State) -> WeightedPoints:
        """Return the distribution as points in increasing order."""
        if self.method == "hist":
            return float_bins.points(state)
        if state[0] == tdigest.FORM:
            return tdigest.points(state)
        values, weights = in_order(*buffer.contents(state))
        # Sorted in the faster type, and float64 from here on.
        return WeightedPoints(values.astype(np.float64), weights)


class Quantile(Distribution):
    """The quantile q: the value at ``q(n - 1)`` of the n sorted values, counted from 0, interpolated linearly.

    This is ``numpy.quantile``, and equal to it while all values are stored and finite. A value of weight w counts as w
    equal values, so the sum of the weights is n.

    Args:
        q: The quantile, from 0 to 1.
        method: How the distribution is stored; see `Distribution`.
        name: The suffix; None for ``p<100 q>``.
        nan_policy: As for `Reducer`.

    Raises:
        ValueError: If ``q`` is outside [0, 1], or ``method`` is unknown.

    Examples:
        >>> import torch
        >>> p95 = Quantile(0.95)
        >>> p95.update(torch.arange(101.0))
        >>> p95.name, p95.compute()
        ('p95', tensor(95., dtype=torch.float64))
    """

    name = "quantile"

    def __init__(
        self, q: float, method: Method = "auto", name: str | None = None, *, nan_policy: NanPolicy = "omit"
    ) -> None:
        if not 0 <= q <= 1:
            raise ValueError(f"{type(self).__name__} got q={q!r}; expected a number from 0 to 1, for example 0.95.")
        super().__init__(method, nan_policy=nan_policy)
        self.q = q
        self.name = name or f"p{100 * q:.12g}"

    @override
    def result(self, state: State) -> float:
        return self.points(state).quantile(self.q)


class IQR(Distribution):
    """The interquartile range, ``p75 - p25``, with both quartiles.

    Args:
        method: How the distribution is stored; see `Distribution`.
        nan_policy: As for `Reducer`.

    Raises:
        ValueError: If ``method`` is unknown.

    Examples:
        >>> import torch
        >>> iqr = IQR()
        >>> iqr.update(torch.arange(101.0))
        >>> {name: float(number) for name, number in iqr.compute().items()}
        {'iqr': 50.0, 'p25': 25.0, 'p75': 75.0}
    """

    name = "iqr"

    @override
    def result(self, state: State) -> dict[str, float]:
        points = self.points(state)
        lower, upper = points.quantile(0.25), points.quantile(0.75)
        return {"iqr": upper - lower, "p25": lower, "p75": upper}
