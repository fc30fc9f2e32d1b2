"""The edges of a histogram's bins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def checked_edges(edges: Sequence[float] | NDArray[Any], *, owner: str) -> NDArray[np.float64]:
    """Return a copy of edges, as an array that cannot be written to.

    Args:
        edges: The edges.
        owner: Who got them, for the message.

    Raises:
        ValueError: If there are fewer than two, they do not rise, or one is not finite.
    """
    checked = np.array(edges, dtype=np.float64)
    is_row = checked.ndim == 1 and len(checked) > 1
    if not is_row or not np.isfinite(checked).all() or not (checked[:-1] < checked[1:]).all():
        raise ValueError(
            f"{owner} got the edges {edges!r}; give at least two finite numbers, each above the one before, for"
            " example [0, 0.5, 1]."
        )
    checked.setflags(write=False)
    return checked
