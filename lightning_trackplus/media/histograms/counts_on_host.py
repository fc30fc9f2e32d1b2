"""Counting numbers on the host."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_trackplus.media.histograms.bin_edges import even_edges
from lightning_trackplus.media.histograms.binned import BinnedCounts

_LARGEST_WHOLE = 2**24  # float32 has all whole numbers up to here.
_BLOCK = 65536  # Numbers that stay in the processor's cache from one operation to the next.


def counted_on_host(values: NDArray[Any], bins: int | NDArray[np.float64]) -> BinnedCounts:
    """Return the counts that `numpy.histogram` has for the finite values in float64.

    Args:
        values: Real numbers of any shape, at least one.
        bins: How many bins of one width, from the smallest to the largest finite value; or their edges.
    """
    numbers = _floats(values.ravel("K"))
    finite, nan, negative, positive = numbers, 0, 0, 0
    with np.errstate(invalid="ignore"):
        low, high = numbers.min(), numbers.max()
    if not np.isfinite(low) or not np.isfinite(high):
        finite = numbers[np.isfinite(numbers)]
        low, high = finite.min(initial=np.inf), finite.max(initial=-np.inf)
        nan, negative, positive = (int(kind(numbers).sum()) for kind in (np.isnan, np.isneginf, np.isposinf))
    below = above = 0
    if isinstance(bins, int):
        ends = [torch.tensor(end, dtype=torch.float64) for end in (low, high)]
        edges = even_edges(ends[0], ends[1], bins).numpy()
        counts = _counted_evenly(finite, edges)
    else:
        edges = bins
        counts = _counted_between(finite, edges)
        below, above = int((finite < edges[0]).sum()), int((finite > edges[-1]).sum())
    return BinnedCounts(edges, counts.astype(np.float64), below + negative, above + positive, negative + positive, nan)


def _floats(values: NDArray[Any]) -> NDArray[np.floating]:
    """Return numbers in the shortest float that has every one of them; float64 has most of int64's."""
    is_short = np.can_cast(values.dtype, np.float32)
    if values.dtype.kind in "iu" and not is_short:
        is_short = values.min() >= -_LARGEST_WHOLE and values.max() <= _LARGEST_WHOLE
    return values.astype(np.float32 if is_short else np.float64, copy=False)


def _counted_evenly(values: NDArray[np.floating], edges: NDArray[np.float64]) -> NDArray[np.intp]:
    """Count over bins of one width by the place of each value between the first and the last edge.

    Places are rounded. So a value whose place is near to that of an edge is looked up among the edges.
    """
    bins, kind = len(edges) - 1, values.dtype.type
    low, high = float(edges[0]), float(edges[-1])
    precision, scale = np.finfo(kind), bins / (high - low)
    # Difference, scale and product are each off by half a step at most, and the edges by some steps of float64.
    tolerance = 2 * bins * float(precision.eps) + 4 * scale * math.ulp(max(-low, high))
    is_in_range = float(precision.tiny) < scale < float(precision.max) and bins / scale < float(precision.max)
    if not is_in_range or float(kind(low)) != low or tolerance > 0.25:
        return _counted_between(values, edges)
    counts = np.zeros(bins, dtype=np.intp)
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK]
        places = (block - kind(low)) * kind(scale)
        bin_numbers = places.astype(np.intp)
        places -= np.trunc(places)
        near = np.flatnonzero(np.abs(places - kind(0.5)) > kind(0.5 - tolerance))
        if len(near) > len(block) // 16:
            # Values that lie on edges so often are often the same, and sorted in no time.
            return counts + _counted_between(values[start:], edges)
        bin_numbers[near] = np.searchsorted(edges[1:-1], block[near], side="right")
        counts += np.bincount(bin_numbers, minlength=bins)
    return counts


def _counted_between(values: NDArray[np.floating], edges: NDArray[np.float64]) -> NDArray[np.intp]:
    """Count over bins of any width, by sorting the values."""
    counts: NDArray[np.intp] = np.histogram(values, edges)[0]
    return counts
