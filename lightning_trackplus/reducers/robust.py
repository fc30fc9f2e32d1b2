"""Robust statistics: mean and spread that a few outliers do not change."""

from __future__ import annotations

import math

from typing_extensions import override

from lightning_trackplus.reducers.quantile import Distribution, Method
from lightning_trackplus.reducers.sketches.points import WeightedPoints
from lightning_trackplus.reducers.types import NanPolicy, State


class MAD(Distribution):
    """The median absolute deviation, ``median(|x - median(x)|)``; not scaled to a standard deviation.

    NaN if the median is infinite. A value of weight w counts as w equal values.

    Args:
        method: How the distribution is stored; see `Distribution`.
        nan_policy: As for `Reducer`.

    Raises:
        ValueError: If ``method`` is unknown.

    Examples:
        >>> import torch
        >>> mad = MAD()
        >>> mad.update(torch.tensor([1.0, 2.0, 3.0, 4.0, 100.0]))
        >>> mad.compute()
        tensor(1., dtype=torch.float64)
    """

    name = "mad"

    @override
    def result(self, state: State) -> float:
        points = self.points(state)
        median = points.quantile(0.5)
        return points.distances(median).quantile(0.5) if math.isfinite(median) else math.nan


class TrimmedMean(Distribution):
    """The mean without the ``⌊pn⌋`` smallest and the ``⌊pn⌋`` largest of n values.

    A value of weight w counts as w equal values.

    Args:
        proportion: p, from 0 to below 0.5.
        method: How the distribution is stored; see `Distribution`.
        nan_policy: As for `Reducer`.

    Raises:
        ValueError: If ``proportion`` is outside [0, 0.5), or ``method`` is unknown.

    Examples:
        >>> import torch
        >>> mean = TrimmedMean(0.2)
        >>> mean.update(torch.tensor([1.0, 2.0, 3.0, 4.0, 100.0]))
        >>> mean.compute()
        tensor(3., dtype=torch.float64)
    """

    name = "trimmed_mean"

    def __init__(self, proportion: float = 0.1, method: Method = "auto", *, nan_policy: NanPolicy = "omit") -> None:
        if not 0 <= proportion < 0.5:  # noqa: PLR2004  (half from each end is everything)
            raise ValueError(
                f"{type(self).__name__} got proportion={proportion!r}; expected a number from 0 to below 0.5,"
                " for example 0.1."
            )
        self.proportion = proportion
        super().__init__(method, nan_policy=nan_policy)

    @override
    def result(self, state: State) -> float:
        points = self.points(state)
        return self._mean(points, math.floor(self.proportion * points.total)) if len(points.values) else math.nan

    def _mean(self, points: WeightedPoints, cut: int) -> float:
        return points.trimmed(cut).mean()


class WinsorizedMean(TrimmedMean):
    """The mean where the ``⌊pn⌋`` smallest of n values are replaced by the next larger one, the largest likewise.

    A value of weight w counts as w equal values.

    Args:
        proportion: p, from 0 to below 0.5.
        method: How the distribution is stored; see `Distribution`.
        nan_policy: As for `Reducer`.

    Raises:
        ValueError: If ``proportion`` is outside [0, 0.5), or ``method`` is unknown.

    Examples:
        >>> import torch
        >>> mean = WinsorizedMean(0.2)
        >>> mean.update(torch.tensor([1.0, 2.0, 3.0, 4.0, 100.0]))
        >>> mean.compute()
        tensor(3., dtype=torch.float64)
    """

    name = "winsorized_mean"

    @override
    def _mean(self, points: WeightedPoints, cut: int) -> float:
        total = points.total
        smallest, largest = points.value_at(cut), points.value_at(max(total - cut - 1, 0.0))
        trimmed, replaced = points.trimmed(cut).mean(), cut / total
        return trimmed * (1 - 2 * replaced) + (smallest * replaced + largest * replaced if cut else 0.0)
