"""The t-digest: a distribution in some thousand of its values and their ranks, most accurate at its ends.

Sorted values are cut into clusters; those near an end have less weight. The widths are those of Dunning and Ertl,
"Computing extremely accurate quantiles using t-digests" (2019), https://arxiv.org/abs/1902.04023, at ranks that depend
on nothing but the number of values: a cut is then a search in a table, without a loop over values.

A cluster is stored as the values at its ends, not as its mean as in the paper: the rank of an end stays right when
more values come, wherever these lie. Between the ends of a cluster of m of n values, the error of a rank is about
sqrt(m) / 2n. A fine digest has more clusters than the scale where this would be too much, clusters of their own for
values that are repeated often, and none across the widest gaps, so that its ranks are right to about 1e-4. Where little
is added to a digest, its ends stay as they are.

A state is a head of six numbers (its form, the weight of the finite values, of -∞, of +∞, the number of finite values,
the rank of the last end), the ends of the clusters, and the differences of their ranks as shares of the weight of the
finite values, in float32. The rank of a value is the weight of those before it and half of its own.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from lightning_trackplus.reducers.sketches.points import WeightedPoints, are_equal, in_order, scale_of
from lightning_trackplus.reducers.types import Floats, State

FORM = 8
CLUSTERS = 1340
_HEAD = 6
_REACH = 12.0  # The outermost boundaries are e^-12 from the ends.
_WIDTH = 0.8e-4  # The largest width of a cluster of a fine digest, as a share of all values.
_OFTEN = 0.35e-4  # The share of values from which equal ones have a cluster of their own.
_NEAR = 0.3  # How far from its boundary an end may be, in widths of a cluster.
_WIDER = 2.0  # A cluster may grow to this multiple of its width,
_FEW = 5  # and by so many values
_SLACK = 8e-6  # and this share of all values, before all are cut anew;
_BESIDE = 1e-5  # next to a value that is repeated often, to this share only.
_ONE = 1 + 1e-3  # Ranks are rounded to float32.
_GAPS = 64  # The number of gaps on whose sides a cluster ends.
_MORE = 12  # The number of clusters that may be added at the ends before.


def summarize(values: Floats, weights: Floats, *, fine: bool = False) -> State:
    """Return the state of some values."""
    rising, weights = in_order(values, weights)
    # An infinity of the same dtype, or numpy converts all values.
    infinity = rising.dtype.type(np.inf)
    first, end = np.searchsorted(rising, -infinity, side="right"), np.searchsorted(rising, infinity)
    below, above = weights[:first].sum(), weights[end:].sum()
    rising, weights = rising[first:end], weights[first:end]
    if not len(rising):
        return np.array([FORM, 0.0, below, above, 0.0, 0.0])
    equal = are_equal(weights)
    total = float(weights[0] * len(weights) if equal else weights.sum())
    count = len(weights)
    if equal and not (fine and _are_repeated(rising)):
        chosen = _equal_cuts(len(rising), fine=fine)
        if fine and len(chosen) < len(rising):
            chosen = np.union1d(chosen, _beside_gaps(rising))
        return _state([total, below, above, count], rising[chosen].astype(np.float64), (chosen + 0.5) * weights[0])
    first = _first_of_each(rising)
    before = first * weights[0] if equal else (np.cumsum(weights) - weights)[first]
    ends = _cut(rising[first].astype(np.float64), before, np.append(before[1:], total), total, fine=fine)
    return _state([total, below, above, count], *ends)


def merge(left: State, right: State, *, fine: bool = False) -> State:
    """Return the state of two parts together."""
    total, below, above, count = left[1:5] + right[1:5]
    if not left[1] or not right[1]:
        some = left if left[1] else right
        return np.concatenate([[FORM, total, below, above], some[4:]])
    heavy, light = (left, right) if left[1] >= right[1] else (right, left)
    (values, ranks), (others, other_ranks) = _ends(heavy), _ends(light)
    own = ranks + _ranks_in(light, values)
    head = [total, below, above, count]
    lowest, highest = others[:1] < values[0], others[-1:] > values[-1]
    kept = np.concatenate([others[:1][lowest], values, others[-1:][highest]])
    kept_ranks = np.concatenate([other_ranks[:1][lowest], own, (heavy[1] + other_ranks[-1:])[highest]])
    if _are_narrow(kept, kept_ranks, total, count, fine=fine) and not (
        fine and _has_new_repeated(values, others, other_ranks, total)
    ):
        return _state(head, kept, kept_ranks)
    theirs = other_ranks + _ranks_in(heavy, others)
    # Ranks rise with values, so that each may be sorted alone.
    values = np.sort(np.concatenate([values, others]), kind="stable")
    ranks = np.sort(np.concatenate([own, theirs]), kind="stable")
    first = _first_of_each(values)
    last = np.append(first[1:], len(values)) - 1
    return _state(head, *_cut(values[first], ranks[first], ranks[last], total, fine=fine, best=own))


def points(state: State) -> WeightedPoints:
    """Return the distribution, whose smallest and largest values are exact."""
    values, ranks = _ends(state)
    total, below, above = state[1:4]
    # Half of the weight between two ends belongs to each.
    between = np.concatenate([[0.0], (ranks[1:] + ranks[:-1]) / 2, [total]])
    weights = np.concatenate([[below], np.diff(between)[: len(values)], [above]])
    values = np.concatenate([[-np.inf], values, [np.inf]])
    some = np.isfinite(values) | (weights > 0)
    return WeightedPoints(values[some], weights[some], exact=False, ranks=ranks)


def _are_narrow(values: Floats, ranks: Floats, total: float, count: float, *, fine: bool) -> bool:
    """Return whether clusters have about the width that they would be cut to, and are not too many."""
    equal = values[1:] == values[:-1]
    if len(values) > len(_boundaries(fine)) + _MORE + (2 * (np.count_nonzero(equal) + _GAPS) if fine else 0):
        return False
    shares = ranks / total
    middle = (shares[1:] + shares[:-1]) / 2
    allowed = 2 * _REACH / CLUSTERS * middle * (1 - middle)
    if fine:
        allowed = np.minimum(allowed, _WIDTH)
    allowed = allowed * _WIDER + _FEW / count + _SLACK
    # Next to a value that is repeated often, others may lie anywhere between it and the next end.
    often = equal & (np.diff(shares) >= _OFTEN)
    beside = np.append(often[1:], False) | np.append(False, often[:-1])
    allowed[beside] = np.minimum(allowed[beside], _BESIDE)
    return bool((equal | (np.diff(shares) <= allowed)).all())


def _has_new_repeated(values: Floats, others: Floats, other_ranks: Floats, total: float) -> bool:
    """Return whether a value is repeated often in a part, that has no cluster of its own in the other one."""
    often = others[1:][(others[1:] == others[:-1]) & (np.diff(other_ranks) >= _OFTEN * total)]
    if not len(often):
        return False
    found = np.searchsorted(values, often, side="right") - np.searchsorted(values, often)
    return bool((found <= 1).any())


@functools.cache
def _boundaries(fine: bool) -> Floats:
    """Return the ranks, from 0 to 1, at which a cluster ends and the next begins.

    This is Dunning and Ertl's scale k₂, in which the width of a cluster is proportional to q(1 - q). Of a fine digest
    no cluster has more values than the error allows.
    """
    scale = 1 / (1 + np.exp(-_REACH * (2 * np.arange(1, CLUSTERS) / CLUSTERS - 1)))
    if not fine:
        return scale
    narrow = scale[:-1][(np.diff(scale) <= _WIDTH) & (np.arange(2, CLUSTERS) < CLUSTERS / 2)]
    middle = np.linspace(narrow[-1], 1 - narrow[-1], int(np.ceil((1 - 2 * narrow[-1]) / _WIDTH)) + 1)
    return np.concatenate([narrow[:-1], middle, 1 - narrow[-2::-1]])


def _state(head: list[float], values: Floats, ranks: Floats) -> State:
    shares = np.zeros(len(values) + len(values) % 2, dtype=np.float32)
    shares[: len(values)] = np.ldexp(np.diff(ranks, prepend=0.0), -_exponent(head[0]))
    return np.concatenate([[FORM, *head, ranks[-1]], values, shares.view(np.float64)])


def _ends(state: State) -> tuple[Floats, Floats]:
    """Return the ends of the clusters and their ranks."""
    count = 2 * (len(state) - _HEAD) // 3
    values, packed = np.split(state[_HEAD:], [count])
    shares = packed.view(np.float32)[:count].astype(np.float64)
    ranks = np.minimum(np.ldexp(np.cumsum(shares), _exponent(state[1])), state[5])
    ranks[-1:] = state[5]
    return values, ranks


def _exponent(total: float) -> int:
    """Return the power of two that divides the weights: whole weights stay exact, and none is too large."""
    return int(np.frexp(total)[1])


def _ranks_in(digest: State, values: Floats) -> Floats:
    """Return the ranks that sorted values have in a digest."""
    ends, ranks = _ends(digest)
    total, count = digest[1], digest[4]
    place, after = np.searchsorted(ends, values), np.searchsorted(ends, values, side="right")
    found = _interpolated(values, after, ends, ranks, total)
    is_end = place < after
    if (ends[1:] == ends[:-1]).any():
        before = np.where(is_end, np.append(ranks, total)[place], found)
        # Of equal values, the first are before those of the digest, and the last after them.
        equal = values[1:] == values[:-1]
        is_first, is_last = np.append(equal, False), np.append(False, equal)
        found = np.where(is_first == is_last, (before + found) / 2, np.where(is_first, before, found))
    # Between two ends of which each is one value, the rank does not rise gradually. What is logged seldom, or lies
    # beside a gap, would get a wrong rank otherwise, in the same direction with each merge.
    steps = np.diff(ranks) <= total / count * _ONE
    is_between = np.concatenate([[False], steps, [False]])[place] & ~is_end
    middles = np.concatenate([[0.0], (ranks[1:] + ranks[:-1]) / 2, [total]])
    return np.where(is_between, middles[place], found)


def _interpolated(values: Floats, after: NDArray[np.intp], ends: Floats, ranks: Floats, total: float) -> Floats:
    """Return the ranks of values, each of which is before the end with the index ``after``, and before no earlier one.

    This is ``numpy.interp`` without its slopes, which would be infinite between the smallest numbers.
    """
    scale = scale_of(ends)
    values, ends = values * scale, ends * scale
    low, high = np.maximum(after - 1, 0), np.minimum(after, len(ends) - 1)
    width = ends[high] - ends[low]
    share = np.divide(values - ends[low], width, out=np.zeros_like(values), where=width > 0)
    found = ranks[low] + share * (ranks[high] - ranks[low])
    return np.where(after == 0, 0.0, np.where(values > ends[-1], total, found))


@functools.lru_cache(maxsize=8)
def _equal_cuts(count: int, *, fine: bool) -> NDArray[np.intp]:
    """Return which of ``count`` sorted and different values of one weight are ends of clusters."""
    return np.unique(_nearest(np.arange(count, dtype=np.float64) + 0.5, count, fine=fine))


def _cut(
    values: Floats, before: Floats, after: Floats, total: float, *, fine: bool, best: Floats | None = None
) -> tuple[Floats, Floats]:
    """Return the ends of clusters and their ranks.

    Args:
        values: Different values, sorted.
        before: The rank at which each begins.
        after: The rank at which each ends.
        total: The weight of all.
        fine: As for `summarize`.
        best: Ranks that are taken where they are near enough.
    """
    middle = (before + after) / 2
    chosen = np.bincount(_nearest(middle, total, fine=fine, best=best), minlength=len(values))
    is_end, often = chosen > 0, chosen > 1
    if fine:
        often |= after - before >= _OFTEN * total
        # The values next to it too, or others would be interpolated up to it.
        often = often | np.append(often[1:], False) | np.append(False, often[:-1])
        is_end[_beside_gaps(values)] = True
    is_pair = often & (before < after)
    is_end |= often
    values, before, middle, after = (of[is_end] for of in (values, before, middle, after))
    is_pair = is_pair[is_end]
    times = 1 + is_pair
    last = np.cumsum(times) - 1
    ranks = np.repeat(np.where(is_pair, before, middle), times)
    ranks[last[is_pair]] = after[is_pair]
    return np.repeat(values, times), ranks


def _nearest(ranks: Floats, total: float, *, fine: bool, best: Floats | None = None) -> NDArray[np.intp]:
    """Return the index of the rank next to each boundary, of the first and of the last."""
    targets = _boundaries(fine) * total
    nearest = _next_to(ranks, targets)
    if best is not None:
        instead = best[_next_to(best, targets)]
        is_near = np.abs(instead - targets) <= _NEAR * np.diff(targets, prepend=0.0)
        nearest = np.where(is_near, _next_to(ranks, instead), nearest)
    return np.concatenate([nearest, [0, len(ranks) - 1]])


def _next_to(ranks: Floats, targets: Floats) -> NDArray[np.intp]:
    """Return the index of the rank that is next to each target."""
    middles = (ranks[1:] + ranks[:-1]) / 2
    return np.searchsorted(middles, targets)


def _are_repeated(values: NDArray[np.floating]) -> bool:
    """Return whether a value may be repeated often, of sorted values of the same weight."""
    times = max(int(np.ceil(_OFTEN * len(values))), 2)
    return bool((values[times - 1 :] == values[: 1 - times]).any())


def _beside_gaps(rising: NDArray[np.floating]) -> NDArray[np.intp]:
    """Return the indices of the values at both sides of the widest gaps."""
    gaps = rising[1:] / 2 - rising[:-1] / 2
    widest = np.argpartition(gaps, -_GAPS)[-_GAPS:] if len(gaps) > _GAPS else np.arange(len(gaps))
    return np.concatenate([widest, widest + 1])


def _first_of_each(values: NDArray[np.floating]) -> NDArray[np.intp]:
    """Return the index of the first of each different value."""
    return np.concatenate([[0], np.flatnonzero(values[1:] != values[:-1]) + 1])
