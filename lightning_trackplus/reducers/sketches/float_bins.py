"""Counts of values in bins of the same relative width.

A bin holds the float64 numbers with the same sign, exponent and leading bits of the fraction: 7 of them, or fewer once
there are more than 8,192 bins. A state is a head of four numbers (its form, these bits, the smallest and the largest
value), the keys of the bins in increasing order, and their counts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightning_trackplus.reducers.sketches.points import WeightedPoints, in_order
from lightning_trackplus.reducers.types import Floats, State

FORM = 9
_MAX_BINS = 8192
_HEAD = 4
_MAX_BITS = 7
_FRACTION_BITS = 52
_EXPONENT_OF_INFINITY = 0x7FF


def summarize(values: Floats, weights: Floats) -> State:
    """Return the state of some values."""
    rising, weights = in_order(values, weights)
    smallest, largest = (rising[0], rising[-1]) if len(rising) else (np.inf, -np.inf)
    return _state(_MAX_BITS, smallest, largest, *_unique(_keys(rising), weights))


def merge(left: State, right: State) -> State:
    """Return the state of two parts together."""
    bits = int(min(left[1], right[1]))
    (left_keys, left_counts), (right_keys, right_counts) = (_bins(part, bits) for part in (left, right))
    keys, counts = np.append(left_keys, right_keys), np.append(left_counts, right_counts)
    order = np.argsort(keys, kind="stable")
    keys, counts = _unique(keys[order], counts[order])
    return _state(bits, min(left[2], right[2]), max(left[3], right[3]), keys, counts)


def points(state: State) -> WeightedPoints:
    """Return the distribution, with the middle of each bin as its value."""
    bits = int(state[1])
    keys, counts = _bins(state, bits)
    return WeightedPoints(np.clip(_middles(keys, bits), state[2], state[3]), counts, exact=False)


def _keys(values: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the keys of the narrowest bins, which increase with the values: 0, 1, 2 … from 0 up, -1, -2 … below."""
    bits = np.add(values, 0.0, dtype=np.float64).view(np.int64)  # -0.0 becomes 0.0.
    keys: NDArray[np.int64] = (bits ^ ((bits >> 63) & np.iinfo(np.int64).max)) >> (_FRACTION_BITS - _MAX_BITS)
    return keys


def _middles(keys: NDArray[np.int64], bits: int) -> Floats:
    shift = _FRACTION_BITS - bits
    sizes = np.where(keys < 0, ~keys, keys)
    middles = ((sizes << shift) + (1 << (shift - 1))).view(np.float64)
    middles[sizes == 0] = 0.0
    middles[sizes == _EXPONENT_OF_INFINITY << bits] = np.inf
    return np.where(keys < 0, -middles, middles)


def _unique(keys: NDArray[np.int64], counts: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Return sorted keys once each, with the sum of their counts."""
    if not len(keys):
        return keys, counts
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    return keys[starts], np.add.reduceat(counts, starts)


def _bins(state: State, bits: int) -> tuple[NDArray[np.int64], Floats]:
    """Return the keys and counts of a state, with keys of ``bits`` bits of the fraction."""
    keys, counts = np.split(state[_HEAD:], 2)
    return keys.astype(np.int64) >> (int(state[1]) - bits), counts


def _state(bits: int, smallest: float, largest: float, keys: NDArray[np.int64], counts: Floats) -> State:
    while len(keys) > _MAX_BINS:
        bits -= 1
        keys, counts = _unique(keys >> 1, counts)
    return np.concatenate([[FORM, bits, smallest, largest], keys.astype(np.float64), counts])
