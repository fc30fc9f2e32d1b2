"""The number of values in each bin."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from lightning_trackplus.media.histogram_counts import checked_edges
from lightning_trackplus.record import Counts
from lightning_trackplus.reducers.base import Reducer
from lightning_trackplus.reducers.types import Floats, NanPolicy, Samples, State

_SMALLEST_EDGE, _LARGEST_EDGE, _GROWTH = 1e-12, 1e20, 1.1


class Histogram(Reducer):
    """The number of values in each bin, ``c_i = Σw·[e_i ≤ x < e_{i+1}]``; the last bin includes its upper edge.

    These are the bins of ``numpy.histogram``. Values outside of all bins are counted separately, and a logged scalar
    counts once for each sample of its batch.

    It is not `lightning_trackplus.Histogram`, which is a medium and counts the numbers of one call.

    Args:
        bins: The edges of the bins, finite and increasing; or the number of bins of equal width between ``low``
            and ``high``; or None for the bins of TensorBoard's own writers, ``±1e-12 · 1.1^k`` up to 1e20.
        low: The lower edge of the first bin, if ``bins`` is a number.
        high: The upper edge of the last bin, if ``bins`` is a number.
        nan_policy: As for `Reducer`; with ``"propagate"``, NaN makes each count NaN.

    Raises:
        ValueError: If ``bins`` is not one of these, or ``low`` and ``high`` are given without a number of bins.

    Examples:
        >>> import torch
        >>> histogram = Histogram(bins=2, low=0.0, high=1.0)
        >>> histogram.update(torch.tensor([0.0, 0.5, 1.0, 7.0]))
        >>> result = histogram.compute()
        >>> result["edges"], result["counts"]
        (tensor([0.0000, 0.5000, 1.0000], dtype=torch.float64), tensor([1., 2.], dtype=torch.float64))
        >>> result["above"]
        tensor(1., dtype=torch.float64)
    """

    name = "histogram"

    def __init__(
        self,
        bins: int | Sequence[float] | NDArray[Any] | None = None,
        low: float | None = None,
        high: float | None = None,
        *,
        nan_policy: NanPolicy = "omit",
    ) -> None:
        super().__init__(nan_policy=nan_policy)
        self.bins, self.low, self.high = bins, low, high
        self.edges = _edges(bins, low, high)

    @property
    @override
    def state_key(self) -> Hashable:
        return "histogram", self.edges.tobytes()

    @override
    def summarize(self, samples: Samples) -> State:
        # Index 0 is below all bins, and the last one above all bins.
        index = np.searchsorted(self.edges, samples.values, side="right")
        index[samples.values == self.edges[-1]] -= 1
        return np.bincount(index, samples.weights, minlength=len(self.edges) + 1).astype(np.float64)

    @override
    def merge(self, left: State, right: State) -> State:
        return left + right

    @override
    def result(self, state: State) -> Counts:
        return Counts(self.edges, state[1:-1].copy(), float(state[0]), float(state[-1]))


def _edges(bins: int | Sequence[float] | NDArray[Any] | None, low: float | None, high: float | None) -> Floats:
    if isinstance(bins, int):
        return _even_edges(bins, low, high)
    if low is not None or high is not None:
        raise ValueError(
            f"Histogram got bins={bins!r}, low={low!r} and high={high!r}; expected low and high only with a number"
            " of bins, for example Histogram(20, 0.0, 1.0)."
        )
    return checked_edges(_tensorboard_edges() if bins is None else bins, owner="Histogram")


def _even_edges(bins: int, low: float | None, high: float | None) -> Floats:
    first, last = (math.nan if end is None else end for end in (low, high))
    if isinstance(bins, bool) or bins < 1 or not -math.inf < first < last < math.inf:
        raise ValueError(
            f"Histogram got bins={bins!r}, low={low!r} and high={high!r}; expected at least 1 bin and two finite"
            " numbers, low below high, for example Histogram(20, 0.0, 1.0)."
        )
    return checked_edges(np.linspace(first, last, bins + 1), owner="Histogram")


def _tensorboard_edges() -> list[float]:
    # Repeated products, as in TensorBoard's writers: powers would be rounded differently.
    growing = itertools.accumulate(
        itertools.repeat(_GROWTH), lambda edge, growth: edge * growth, initial=_SMALLEST_EDGE
    )
    edges = list(itertools.takewhile(lambda edge: edge < _LARGEST_EDGE, growing))
    return [*(-edge for edge in reversed(edges)), 0.0, *edges]
