"""Numbers counted over bins."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class BinnedCounts(NamedTuple):
    """How many of some numbers lie in each bin, and outside of all.

    Attributes:
        edges: Where the bins begin and the last one ends, finite, none below the one before, shape ``(N + 1,)``.
        counts: How many numbers lie in each bin, shape ``(N,)``; the last bin has its upper edge.
        below: How many lie below the first edge, -inf among them.
        above: How many lie above the last edge, inf among them.
        infinite: How many are infinite.
        nan: How many are NaN, and in none of the counts.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.float64]
    below: float
    above: float
    infinite: int = 0
    nan: int = 0

    @property
    def nbytes(self) -> int:
        """Memory that edges and counts hold, in bytes."""
        return self.edges.nbytes + self.counts.nbytes

    def table(self) -> NDArray[np.float64]:
        """Return rows of low, high and count, shape ``(rows, 3)``; what lies outside has a row where there is any.

        A bin without width has no row: where it is the last, what it has is in the one before.
        """
        wide = np.flatnonzero(np.diff(self.edges))
        edges = np.append(self.edges[wide], self.edges[-1])
        inside = np.stack([edges[:-1], edges[1:], np.add.reduceat(self.counts, wide)], axis=1)
        rows = [inside]
        if self.below:
            rows.insert(0, np.array([[-np.inf, edges[0], self.below]]))
        if self.above:
            rows.append(np.array([[edges[-1], np.inf, self.above]]))
        return np.concatenate(rows)
