"""Counting numbers into the bins of a histogram, on the host or on the device where they are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_trackplus.record import Counts

_LARGEST = torch.finfo(torch.float64).max
# Wide enough for 128 bins around any float64.
_NARROWEST = 2.0**-45
_LARGEST_WHOLE = 2**24  # float32 has all whole numbers up to here.
_BLOCK = 65536  # Numbers that stay in the processor's cache from one operation to the next.
# The most numbers that are sorted at once: each takes about 40 bytes.
_CHUNK = 2**22
_HEAD = 4


def checked_edges(edges: Sequence[float] | NDArray[Any], *, owner: str) -> NDArray[np.float64]:
    """Return a read-only copy of edges; raise a ValueError unless there are two or more, finite and rising."""
    checked = np.array(edges, dtype=np.float64)
    is_row = checked.ndim == 1 and len(checked) > 1
    if not is_row or not np.isfinite(checked).all() or not (checked[:-1] < checked[1:]).all():
        raise ValueError(
            f"{owner} got the edges {edges!r}; expected at least two finite numbers, each above the one before, for"
            " example [0, 0.5, 1]."
        )
    checked.setflags(write=False)
    return checked


def even_edges(low: Tensor, high: Tensor, bins: int) -> Tensor:
    """Return edges of bins of equal width, float64, as `numpy.histogram` has them, without waiting for a device.

    ``low`` and ``high`` are the smallest and the largest value, with ``low > high`` if there are none. Where float64
    has fewer numbers between the two than there are bins, for which numpy raises, some edges are equal.
    """
    low, high = low.double(), high.double()
    is_empty = low > high
    low, high = torch.where(is_empty, 0.0, low), torch.where(is_empty, 1.0, high)
    margin = torch.where(low == high, (low.abs() * _NARROWEST).clamp(min=0.5), 0.0)
    low, high = (low - margin).clamp(min=-_LARGEST), (high + margin).clamp(max=_LARGEST)
    numbers = torch.arange(bins, dtype=torch.float64, device=low.device)
    edges = numbers * ((high - low) / bins) + low
    # The difference of two finite numbers can overflow.
    far = low * (1 - numbers / bins) + high * (numbers / bins)
    return torch.cat([torch.where((high - low).isfinite(), edges, far), high.unsqueeze(0)])


def count_on_host(values: NDArray[Any], bins: int | NDArray[np.float64]) -> Counts:
    """Return the counts that `numpy.histogram` has for the finite values in float64; bins are a number or edges."""
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
        counts = _count_evenly(finite, edges)
    else:
        edges = bins
        counts = _count_between(finite, edges)
        below, above = int((finite < edges[0]).sum()), int((finite > edges[-1]).sum())
    return Counts(edges, counts.astype(np.float64), below + negative, above + positive, negative + positive, nan)


def _floats(values: NDArray[Any]) -> NDArray[np.floating]:
    """Return numbers in the shortest float that represents them; float64 represents most of int64."""
    is_short = np.can_cast(values.dtype, np.float32)
    if values.dtype.kind in "iu" and not is_short:
        is_short = values.min() >= -_LARGEST_WHOLE and values.max() <= _LARGEST_WHOLE
    return values.astype(np.float32 if is_short else np.float64, copy=False)


def _count_evenly(values: NDArray[np.floating], edges: NDArray[np.float64]) -> NDArray[np.intp]:
    """Count over bins of equal width by the position of each value between the first and the last edge.

    Positions are rounded, so that a value close to an edge is looked up among the edges.
    """
    bins, kind = len(edges) - 1, values.dtype.type
    low, high = float(edges[0]), float(edges[-1])
    precision, scale = np.finfo(kind), bins / (high - low)
    # Difference, scale and product are each off by half a step at most, and the edges by some steps of float64.
    tolerance = 2 * bins * float(precision.eps) + 4 * scale * math.ulp(max(-low, high))
    is_in_range = float(precision.tiny) < scale < float(precision.max) and bins / scale < float(precision.max)
    if not is_in_range or float(kind(low)) != low or tolerance > 0.25:
        return _count_between(values, edges)
    counts = np.zeros(bins, dtype=np.intp)
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK]
        places = (block - kind(low)) * kind(scale)
        bin_numbers = places.astype(np.intp)
        places -= np.trunc(places)
        near = np.flatnonzero(np.abs(places - kind(0.5)) > kind(0.5 - tolerance))
        if len(near) > len(block) // 16:
            # Values that are on edges so often are mostly equal, and quickly sorted.
            return counts + _count_between(values[start:], edges)
        bin_numbers[near] = np.searchsorted(edges[1:-1], block[near], side="right")
        counts += np.bincount(bin_numbers, minlength=bins)
    return counts


def _count_between(values: NDArray[np.floating], edges: NDArray[np.float64]) -> NDArray[np.intp]:
    """Count over bins of any width, by sorting the values."""
    counts: NDArray[np.intp] = np.histogram(values, edges)[0]
    return counts


def count_on_device(values: Tensor, bins: int | NDArray[np.float64]) -> Tensor:
    """Return the counts of `count_on_host` packed in one tensor for `unpack`, without waiting for the device.

    It holds the numbers of values that are NaN, infinite, below and above the edges, and in each bin, then the edges:
    float64, shape ``(4 + N + N + 1,)``. The values are sorted and the edges looked up among them: this is
    deterministic, and as fast if all values are in one bin.
    """
    flat = values.reshape(-1)
    if isinstance(bins, int):
        edges = even_edges(*_extremes(flat), bins)
    else:
        # A copy from memory that is not page-locked is staged at once, without waiting.
        edges = torch.tensor(bins).to(flat.device, non_blocking=True)
    counts = torch.stack([_count_sorted(chunk, edges) for chunk in _chunks(flat)]).sum(dim=0)
    return torch.cat([counts.double(), edges])


def unpack(packed: Tensor) -> Counts:
    """Return the counts of `count_on_device` on the host, after waiting for them."""
    numbers = packed.cpu().numpy()
    nan, infinite, below, above = numbers[:_HEAD].tolist()
    counts, edges = np.split(numbers[_HEAD:], [(len(numbers) - _HEAD) // 2])
    return Counts(edges, counts, below, above, int(infinite), int(nan))


def _chunks(values: Tensor) -> Iterator[Tensor]:
    """Yield parts of the numbers in the shortest float that represents them; float64 represents most of int64."""
    is_short = values.dtype.itemsize <= 2 or values.dtype == torch.float32
    for chunk in torch.split(values, _CHUNK):
        yield chunk.to(torch.float32 if is_short else torch.float64)


def _extremes(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the smallest and the largest finite value, or inf and -inf if there is none."""
    low = [torch.where(chunk.isfinite(), chunk, math.inf).amin() for chunk in _chunks(values)]
    high = [torch.where(chunk.isfinite(), chunk, -math.inf).amax() for chunk in _chunks(values)]
    return torch.stack(low).amin(), torch.stack(high).amax()


def _count_sorted(values: Tensor, edges: Tensor) -> Tensor:
    """Return how many values are NaN, infinite, below and above the edges, and in each bin, int64."""
    is_finite = values.isfinite()
    # Values that are not finite are sorted to the end.
    rising = torch.where(is_finite, values, math.inf).sort().values.double()
    first, last = torch.split(edges, [len(edges) - 1, 1])
    # The last bin has its upper edge.
    under = torch.cat([torch.searchsorted(rising, first), torch.searchsorted(rising, last, right=True)])
    below = under.select(0, 0) + values.isneginf().sum()
    above = is_finite.sum() - under.select(0, -1) + values.isposinf().sum()
    return torch.cat([torch.stack([values.isnan().sum(), values.isinf().sum(), below, above]), under.diff()])
