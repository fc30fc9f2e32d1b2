"""Which values of a long curve are drawn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BUCKETS = 1000
"""Into how many parts a long curve is cut; of each, the lowest and the highest value are drawn."""


def thinned(values: NDArray[np.float64], buckets: int = BUCKETS) -> NDArray[np.intp]:
    """Return the places of the values to draw: all of a short curve, or the lowest and highest of each bucket.

    The first and the last value are always drawn.

    Examples:
        >>> thinned(np.array([0.0, 5.0, 1.0, 2.0, -7.0, 3.0, 4.0]), buckets=2).tolist()
        [0, 1, 4, 6]
    """
    count = len(values)
    if count <= 2 * buckets:
        return np.arange(count)
    size = -(-count // buckets)
    # The last bucket is filled up with its last value.
    table = np.concatenate([values, np.full(-count % size, values[-1])]).reshape(-1, size)
    starts = np.arange(len(table)) * size
    places = np.concatenate([[0, count - 1], starts + table.argmin(1), starts + table.argmax(1)])
    return np.unique(np.minimum(places, count - 1))
