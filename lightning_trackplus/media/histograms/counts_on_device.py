"""Counting numbers on the device where they are, without waiting for it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import Self

from lightning_trackplus.media.histograms.bin_edges import even_edges
from lightning_trackplus.media.histograms.binned import BinnedCounts

# Numbers that are sorted at a time: it takes about 40 bytes for each.
_CHUNK = 2**22
_HEAD = 4


@dataclass(frozen=True)
class CountsOnDevice:
    """Counts that are still on a device, or in the making there.

    Attributes:
        packed: How many numbers are NaN, infinite, below and above the edges, and in each bin; then the
            edges. float64, shape ``(4 + N + N + 1,)``.
    """

    packed: Tensor

    @classmethod
    def of(cls, values: Tensor, bins: int | NDArray[np.float64]) -> Self:
        """Return what `counted_on_host` does; waits for no device.

        The values are sorted and the edges looked up among them, which is deterministic, and as fast for
        values that are all in one bin.

        Args:
            values: Real numbers of any shape, at least one, on a device that has float64.
            bins: How many bins of one width, from the smallest to the largest finite value; or their edges.
        """
        flat = values.reshape(-1)
        if isinstance(bins, int):
            edges = even_edges(*_extremes(flat), bins)
        else:
            # From memory that is not page-locked, this is staged at once, and waits for nothing.
            edges = torch.tensor(bins).to(flat.device, non_blocking=True)
        counts = torch.stack([_counted(chunk, edges) for chunk in _chunks(flat)]).sum(dim=0)
        return cls(torch.cat([counts.double(), edges]))

    @property
    def nbytes(self) -> int:
        """Memory that counts and edges hold, in bytes."""
        return self.packed.nbytes

    def binned(self) -> BinnedCounts:
        """Return the counts on the host, once they are complete."""
        numbers = self.packed.cpu().numpy()
        nan, infinite, below, above = numbers[:_HEAD].tolist()
        counts, edges = np.split(numbers[_HEAD:], [(len(numbers) - _HEAD) // 2])
        return BinnedCounts(edges, counts, below, above, int(infinite), int(nan))


def _chunks(values: Tensor) -> Iterator[Tensor]:
    """Yield parts of some numbers in the shortest float that has them all; float64 has most of int64's."""
    is_short = values.dtype.itemsize <= 2 or values.dtype == torch.float32
    for chunk in torch.split(values, _CHUNK):
        yield chunk.to(torch.float32 if is_short else torch.float64)


def _extremes(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the smallest and the largest finite value; where there is none, inf and -inf."""
    low = [torch.where(chunk.isfinite(), chunk, math.inf).amin() for chunk in _chunks(values)]
    high = [torch.where(chunk.isfinite(), chunk, -math.inf).amax() for chunk in _chunks(values)]
    return torch.stack(low).amin(), torch.stack(high).amax()


def _counted(values: Tensor, edges: Tensor) -> Tensor:
    """Return how many values are NaN, infinite, below and above the edges, and in each bin, int64."""
    is_finite = values.isfinite()
    # What is not finite is sorted behind everything else.
    rising = torch.where(is_finite, values, math.inf).sort().values.double()
    first, last = torch.split(edges, [len(edges) - 1, 1])
    # The last bin has its upper edge.
    under = torch.cat([torch.searchsorted(rising, first), torch.searchsorted(rising, last, right=True)])
    below = under.select(0, 0) + values.isneginf().sum()
    above = is_finite.sum() - under.select(0, -1) + values.isposinf().sum()
    return torch.cat([torch.stack([values.isnan().sum(), values.isinf().sum(), below, above]), under.diff()])
