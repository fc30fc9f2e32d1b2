"""A distribution as points: sorted values with weights."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_trackplus.reducers.types import Floats, unbroadcast

_HALF = 0.5
_FEW = 1024
_LARGE = 2.0**1023  # Half of what is infinite.


class WeightedPoints(NamedTuple):
    """A distribution, exact or estimated.

    Attributes:
        values: The values in increasing order; they may be infinite.
        weights: The number of values that each point stands for.
        exact: Whether these are the values themselves.
        ranks: The ranks of the finite values, between which others lie; None if there are no others.
    """

    values: Floats
    weights: Floats
    exact: bool = True
    ranks: Floats | None = None

    @property
    def total(self) -> float:
        """The number of values."""
        common = unbroadcast(self.weights)
        return float(common[0] * len(self.weights) if len(common) == 1 else self.weights.sum())

    def quantile(self, q: float) -> float:
        """Return a quantile by numpy's ``linear`` interpolation; NaN of no values."""
        # With each value repeated by its weight, the values are at 0 … total - 1.
        return self.value_at(max((self.total - 1) * q, 0.0)) if len(self.values) else math.nan

    def value_at(self, position: float) -> float:
        """Return the value at a position among the sorted values."""
        return self._between_values(position) if self.ranks is None else self._between_ranks(position, self.ranks)

    def trimmed(self, cut: float) -> WeightedPoints:
        """Return the points without ``cut`` values at each end."""
        ends = np.cumsum(self.weights)
        weights = np.diff(np.clip(ends, cut, ends[-1] - cut), prepend=cut)
        return self._replace(values=self.values[weights > 0], weights=weights[weights > 0], ranks=None)

    def mean(self) -> float:
        """Return the mean; NaN of infinities of both signs, and of no values."""
        if not len(self.values):
            return math.nan
        with np.errstate(invalid="ignore"):
            return float(np.sum(self.values * (self.weights / self.weights.sum())))

    def distances(self, centre: float) -> WeightedPoints:
        """Return the distribution of the distances from a value."""
        with np.errstate(over="ignore"):
            distances = np.abs(self.values - centre)
        order = np.argsort(distances)
        distances, weights = distances[order], self.weights[order]
        ranks = None if self.ranks is None else (np.cumsum(weights) - weights / 2)[: np.isfinite(distances).sum()]
        return self._replace(values=distances, weights=weights, ranks=ranks)

    def _between_values(self, position: float) -> float:
        whole = [math.floor(position), math.ceil(position)]
        common = unbroadcast(self.weights)
        if len(common) == 1:
            indices = [int(one // common[0]) for one in whole]
        else:
            indices = np.searchsorted(np.cumsum(self.weights), whole, side="right").tolist()
        below, above = (float(self.values[min(index, len(self.values) - 1)]) for index in indices)
        return _interpolated(below, above, position - whole[0])

    def _between_ranks(self, position: float, ranks: Floats) -> float:
        infinite = np.isinf(self.values)
        below = float(self.weights[infinite & (self.values < 0)].sum())
        above = self.total - float(self.weights[infinite & (self.values > 0)].sum())
        if infinite.all() or position < below or math.ceil(position) >= above:
            return self._between_values(position)
        # The value at position i covers i to i + 1, and its rank is in the middle.
        finite = self.values[~infinite]
        scale = scale_of(finite)
        return float(np.interp(position - below + 0.5, ranks, finite * scale) / scale)


def in_order(values: Floats, weights: Floats) -> tuple[NDArray[np.floating], Floats]:
    """Return sorted values with their weights, as float32 if that loses nothing."""
    if not are_equal(weights):
        order = np.argsort(values)
        return values[order], weights[order]
    # Many float32 numbers are sorted in half the time.
    narrow = float32_if_lossless(values) if len(values) > _FEW else None
    rising = values.copy() if narrow is None else narrow
    rising.sort()
    return rising, weights


def are_equal(weights: Floats) -> bool:
    """Return whether all weights are the same."""
    weights = unbroadcast(weights)
    return bool((weights == weights[:1]).all())


def float32_if_lossless(numbers: Floats) -> NDArray[np.float32] | None:
    """Return numbers as float32, or None if that loses anything."""
    with np.errstate(over="ignore", under="ignore"):
        narrow = numbers.astype(np.float32)
    return narrow if np.array_equal(narrow, numbers) else None


def scale_of(rising: Floats) -> float:
    """Return a factor for sorted numbers, with which no difference of two of them is infinite."""
    return 1.0 if max(-rising[0], rising[-1]) <= _LARGE else 0.5


def _interpolated(below: float, above: float, share: float) -> float:
    if below == above:
        return below
    if math.isinf(below) or math.isinf(above):
        # The difference would be infinite or NaN.
        return below + above
    # As numpy does, so that results are equal to the last bit.
    difference = above - below
    return below + difference * share if share < _HALF else above - difference * (1 - share)
