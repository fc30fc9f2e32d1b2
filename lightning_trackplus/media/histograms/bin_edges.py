"""The edges of a histogram's bins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_LARGEST = torch.finfo(torch.float64).max
# As wide as it takes to find room for 128 bins around any float64.
_NARROWEST = 2.0**-45


def checked_edges(edges: Sequence[float] | NDArray[Any], *, owner: str) -> NDArray[np.float64]:
    """Return a copy of edges, as an array that cannot be written to.

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


def even_edges(low: Tensor, high: Tensor, bins: int) -> Tensor:
    """Return the edges of bins of one width, as `numpy.histogram` has them for float64; waits for no device.

    Where numpy raises, since float64 has fewer numbers between the two than there are bins, some edges
    are equal.

    Args:
        low: The smallest value, finite, shape ``()``; above ``high`` if there are no values.
        high: The largest value, finite, shape ``()``.
        bins: How many, at least 1.

    Returns:
        The edges, finite, none below the one before, float64, shape ``(bins + 1,)``, on the device of ``low``.
    """
    low, high = low.double(), high.double()
    is_empty = low > high
    low, high = torch.where(is_empty, 0.0, low), torch.where(is_empty, 1.0, high)
    margin = torch.where(low == high, (low.abs() * _NARROWEST).clamp(min=0.5), 0.0)
    low, high = (low - margin).clamp(min=-_LARGEST), (high + margin).clamp(max=_LARGEST)
    numbers = torch.arange(bins, dtype=torch.float64, device=low.device)
    edges = numbers * ((high - low) / bins) + low
    # The distance of two finite numbers can be infinite.
    far = low * (1 - numbers / bins) + high * (numbers / bins)
    return torch.cat([torch.where((high - low).isfinite(), edges, far), high.unsqueeze(0)])
