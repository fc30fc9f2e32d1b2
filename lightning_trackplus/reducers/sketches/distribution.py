"""What is known of the distribution of all values, shared by the reducers that need it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from lightning_trackplus.reducers.base import Reducer
from lightning_trackplus.reducers.samples import Floats, NanPolicy, Samples, State
from lightning_trackplus.reducers.sketches import buffer, tdigest
from lightning_trackplus.reducers.sketches.points import WeightedPoints, in_order

Method: TypeAlias = Literal["auto", "exact", "sketch", "hist"]
"""How a distribution is kept; see `Distribution`."""

# Up to how many values all are kept.
_LIMITS = {"auto": 65_536, "exact": np.inf, "sketch": 1_020, "hist": 0}


class Distribution(Reducer):
    """Base of reducers that need the distribution of all values, which is kept once for all of a stream.

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
            return counted(samples.values, samples.weights)
        if len(samples.values) > _LIMITS[self.method]:
            return tdigest.digested(samples.values, samples.weights)
        return buffer.buffered(samples.values, samples.weights)

    @override
    def merge(self, left: State, right: State) -> State:
        if self.method == "hist":
            return merged(left, right)
        if left[0] < buffer.FORMS and right[0] < buffer.FORMS:
            return self._within_limit(buffer.concatenated(left, right))
        return tdigest.merged(_digest(left), _digest(right))

    def points(self, state: State) -> WeightedPoints:
        """Return the distribution as points in rising order."""
        if self.method == "hist":
            return points(state)
        if state[0] == tdigest.FORM:
            return tdigest.points(state)
        values, weights = in_order(*buffer.contents(state))
        # Sorted in the type that takes least time, and float64 from here on.
        return WeightedPoints(values.astype(np.float64), weights)

    def _within_limit(self, state: State) -> State:
        if buffer.count(state) <= _LIMITS[self.method]:
            return state
        values, weights = buffer.contents(state)
        return tdigest.digested(values, weights) if len(values) > _LIMITS[self.method] else state


def _digest(state: State) -> State:
    return state if state[0] == tdigest.FORM else tdigest.digested(*buffer.contents(state))


FORM = 9
BINS = 8192
_HEAD = 4
_BITS = 7
_FRACTION = 52  # Bits of the fraction of float64.
_EXPONENT_OF_INFINITY = 0x7FF


def counted(values: Floats, weights: Floats) -> State:
    """Return the state of some values."""
    rising, weights = in_order(values, weights)
    smallest, largest = (rising[0], rising[-1]) if len(rising) else (np.inf, -np.inf)
    return _state(_BITS, smallest, largest, *_added(_keys(rising), weights))


def merged(left: State, right: State) -> State:
    """Return the state of two parts together."""
    bits = int(min(left[1], right[1]))
    (left_keys, left_counts), (right_keys, right_counts) = (_bins(part, bits) for part in (left, right))
    keys, counts = np.append(left_keys, right_keys), np.append(left_counts, right_counts)
    order = np.argsort(keys, kind="stable")
    keys, counts = _added(keys[order], counts[order])
    return _state(bits, min(left[2], right[2]), max(left[3], right[3]), keys, counts)


def points(state: State) -> WeightedPoints:
    """Return the distribution, each bin as its middle."""
    bits = int(state[1])
    keys, counts = _bins(state, bits)
    return WeightedPoints(np.clip(_middles(keys, bits), state[2], state[3]), counts, exact=False)


def _keys(values: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the keys of the narrowest bins, which rise with the values: 0, 1, 2 … from 0 on, -1, -2 … below."""
    bits = np.add(values, 0.0, dtype=np.float64).view(np.int64)  # -0.0 becomes 0.0.
    keys: NDArray[np.int64] = (bits ^ ((bits >> 63) & np.iinfo(np.int64).max)) >> (_FRACTION - _BITS)
    return keys


def _middles(keys: NDArray[np.int64], bits: int) -> Floats:
    shift = _FRACTION - bits
    sizes = np.where(keys < 0, ~keys, keys)
    middles = ((sizes << shift) + (1 << (shift - 1))).view(np.float64)
    middles[sizes == 0] = 0.0
    middles[sizes == _EXPONENT_OF_INFINITY << bits] = np.inf
    return np.where(keys < 0, -middles, middles)


def _added(keys: NDArray[np.int64], counts: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Return each of some keys in rising order once, with the sum of its counts."""
    if not len(keys):
        return keys, counts
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    return keys[starts], np.add.reduceat(counts, starts)


def _bins(state: State, bits: int) -> tuple[NDArray[np.int64], Floats]:
    """Return keys and counts for bins of so many bits of the fraction, or fewer than the state has."""
    keys, counts = np.split(state[_HEAD:], 2)
    return keys.astype(np.int64) >> (int(state[1]) - bits), counts


def _state(bits: int, smallest: float, largest: float, keys: NDArray[np.int64], counts: Floats) -> State:
    while len(keys) > BINS:
        bits -= 1
        keys, counts = _added(keys >> 1, counts)
    return np.concatenate([[FORM, bits, smallest, largest], keys.astype(np.float64), counts])
