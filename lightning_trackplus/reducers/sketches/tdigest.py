"""The t-digest: a distribution in 16 KiB, most accurate at its ends.

Sorted values are cut into clusters, each stored as its mean and its weight; clusters near an end have less weight.
This is the merging digest of Dunning and Ertl, "Computing extremely accurate quantiles using t-digests" (2019),
https://arxiv.org/abs/1902.04023, with boundaries that are the same for all streams: a cut is then a search in a
table, without a loop over values.

A state is a head of four numbers (its form, the weight of the finite values, of -∞, of +∞), the means, and the
weights as shares of the weight of the finite values, in float32.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from lightning_trackplus.reducers.sketches.points import WeightedPoints, are_equal, in_order
from lightning_trackplus.reducers.types import Floats, State

FORM = 8
CLUSTERS = 1360
_HEAD = 4
_REACH = 12.0  # The outermost boundaries are e^-12 from the ends.
_TINY = float(np.finfo(np.float32).tiny)


def _boundaries() -> Floats:
    """Return the ranks, from 0 to 1, at which a cluster ends and the next begins.

    This is Dunning and Ertl's scale k₂, in which the width of a cluster is proportional to q(1 - q).
    """
    return np.asarray(1 / (1 + np.exp(-_REACH * (2 * np.arange(1, CLUSTERS) / CLUSTERS - 1))))


_BOUNDARIES = _boundaries()


def summarize(values: Floats, weights: Floats) -> State:
    """Return the state of some values."""
    rising, weights = in_order(values, weights)
    # An infinity of the same dtype, or numpy converts all values.
    infinity = rising.dtype.type(np.inf)
    first, end = np.searchsorted(rising, -infinity, side="right"), np.searchsorted(rising, infinity)
    below, above = weights[:first].sum(), weights[end:].sum()
    rising, weights = rising[first:end], weights[first:end]
    total = weights[0] * len(weights) if are_equal(weights) and len(weights) else weights.sum()
    return _state(total, below, above, *_clustered(rising, weights))


def merge(left: State, right: State) -> State:
    """Return the state of two parts together."""
    total, below, above = left[1:_HEAD] + right[1:_HEAD]
    means, weights = (np.concatenate(both) for both in zip(_clusters(left), _clusters(right), strict=True))
    order = np.argsort(means, kind="stable")
    return _state(total, below, above, *_cut(means[order], weights[order]))


def points(state: State) -> WeightedPoints:
    """Return the distribution, whose smallest and largest values are exact."""
    means, weights = _clusters(state)
    _, below, above = state[1:_HEAD]
    values = np.concatenate([[-np.inf], means, [np.inf]])
    weights = np.concatenate([[below], weights, [above]])
    return WeightedPoints(values[weights > 0], weights[weights > 0], exact=False, spread=True)


def _state(total: float, below: float, above: float, means: Floats, weights: Floats) -> State:
    shares = np.ones(len(means) + len(means) % 2, dtype=np.float32)
    # No share is rounded to 0, so that the smallest and the largest value are kept.
    shares[: len(means)] = np.maximum(np.ldexp(weights, -_exponent(total)), _TINY)
    return np.concatenate([[FORM, total, below, above], means, shares.view(np.float64)])


def _clusters(state: State) -> tuple[Floats, Floats]:
    count = 2 * (len(state) - _HEAD) // 3
    means, packed = np.split(state[_HEAD:], [count])
    return means, np.ldexp(packed.view(np.float32)[:count].astype(np.float64), _exponent(state[1]))


def _exponent(total: float) -> int:
    """Return the power of two that divides the weights: whole weights stay exact, and none is too large."""
    return int(np.frexp(total)[1])


def _clustered(values: NDArray[np.floating], weights: Floats) -> tuple[Floats, Floats]:
    """Return the means and weights of the clusters of sorted values."""
    if not len(values) or not are_equal(weights):
        return _cut(values.astype(np.float64), weights)
    starts, counts = _equal_cuts(len(values))
    # A sum of float32 always fits into float64; a sum of float64 may not.
    share = 1.0 if values.dtype == np.float32 else 1 / len(values)
    terms = values if values.dtype == np.float32 else values * share
    return _means(terms, counts * share, values, starts), counts * weights[0]


def _cut(values: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Return the means and weights of the clusters of sorted points."""
    # A single value beside clusters joins one of them: alone it would stand at their border, wherever it lies in them.
    if len(values) <= CLUSTERS and are_equal(weights):
        return values, weights
    total = weights.sum()
    shares = np.maximum(weights / total, _TINY)
    starts = _starts(np.cumsum(shares) - shares / 2)
    weights = np.add.reduceat(weights, starts)
    return _means(values * shares, np.maximum(weights / total, _TINY), values, starts), weights


@functools.lru_cache(maxsize=8)
def _equal_cuts(count: int) -> tuple[NDArray[np.intp], Floats]:
    """Return the start of each cluster of ``count`` values of one weight, and the number of its values."""
    starts = _starts((np.arange(count) + 0.5) / count) if count > CLUSTERS else np.arange(count)
    return starts, np.diff(starts, append=count).astype(np.float64)


def _starts(ranks: Floats) -> NDArray[np.intp]:
    """Return the start of each cluster; the first and the last point are clusters of their own."""
    starts = np.searchsorted(ranks, _BOUNDARIES)
    starts = starts[(starts > 1) & (starts < len(ranks) - 1)]
    different = np.concatenate([starts[:1], starts[1:][starts[1:] != starts[:-1]]])
    return np.concatenate([[0, 1], different, [len(ranks) - 1]])


def _means(
    terms: NDArray[np.floating], divisors: Floats, values: NDArray[np.floating], starts: NDArray[np.intp]
) -> Floats:
    """Return the means of clusters, clipped to their ends: of equal values it is that value, to the last bit."""
    means = np.add.reduceat(terms, starts, dtype=np.float64) / divisors
    last = np.append(starts[1:], len(values)) - 1
    clipped: Floats = np.minimum(np.maximum(means, values[starts]), values[last])
    return clipped
