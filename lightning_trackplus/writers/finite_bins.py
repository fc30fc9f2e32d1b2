"""Histograms for those who draw bins of a width alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def finite_bins(bins: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return where bins begin, where they end, and the counts; one without an end is as wide as its neighbour.

    Examples:
        >>> low, high, counts = finite_bins(np.array([[-np.inf, 0, 3], [0, 1, 2]]))
        >>> low, high
        (array([-1.,  0.]), array([0., 1.]))
    """
    low, high, counts = bins.T.copy()
    if low[0] == -np.inf:
        low[0] = high[0] - (high[1] - low[1])
    if high[-1] == np.inf:
        high[-1] = low[-1] + (high[-2] - low[-2])
    return low, high, counts
