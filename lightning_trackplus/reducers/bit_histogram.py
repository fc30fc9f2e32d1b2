"""A histogram over the bits of float64: bins by sign, exponent and the first bits of the fraction.

The bins are the same for all streams, so parts merge by adding counts, and a result does not depend on
how the stream was cut (with weights whose sums are exact, such as whole numbers). A bin is at most
1/128 of its value wide, 1/64 if data need more than 8192 bins, and so on, so a value is known to 0.4 %
(0.8 %). As wide bins are unions of narrow ones, that does not depend on cuts either; the like is in
Masson, Rim and Lee, "DDSketch" (2019), https://arxiv.org/abs/1908.10693.

A state is a head of four numbers (its form, how many bits of the fraction, the smallest and the largest
value), the keys of the bins that have any, in rising order, and their counts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightning_trackplus.reducers.points import Points, in_order
from lightning_trackplus.reducers.samples import Floats, State

FORM = 9
BINS = 8192
_HEAD = 4
_BITS = 7
_FRACTION = 52  # Bits of the fraction of float64.
_EXPONENT_OF_INFINITY = 0x7FF


def counted(values: Floats, weights: Floats) -> State:
    """Return the state of some values.

    Args:
        values: The values, in any order.
        weights: Their weights.
    """
    rising, weights = in_order(values, weights)
    smallest, largest = (rising[0], rising[-1]) if len(rising) else (np.inf, -np.inf)
    return _state(_BITS, smallest, largest, *_added(_keys(rising), weights))


def merged(left: State, right: State) -> State:
    """Return the state of two parts together.

    Args:
        left: The state of one part.
        right: The state of the other.
    """
    bits = int(min(left[1], right[1]))
    (left_keys, left_counts), (right_keys, right_counts) = (_bins(part, bits) for part in (left, right))
    keys, counts = np.append(left_keys, right_keys), np.append(left_counts, right_counts)
    order = np.argsort(keys, kind="stable")
    keys, counts = _added(keys[order], counts[order])
    return _state(bits, min(left[2], right[2]), max(left[3], right[3]), keys, counts)


def points(state: State) -> Points:
    """Return the distribution, each bin as its middle.

    Args:
        state: The state.
    """
    bits = int(state[1])
    keys, counts = _bins(state, bits)
    return Points(np.clip(_middles(keys, bits), state[2], state[3]), counts, exact=False)


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
