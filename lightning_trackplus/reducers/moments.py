"""Variance, standard deviation, skewness, kurtosis, and what follows from them."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import NamedTuple

import numpy as np
from typing_extensions import override

from lightning_trackplus.reducers.base import Reducer
from lightning_trackplus.reducers.sum import add_compensated, two_sum
from lightning_trackplus.reducers.types import Samples, State


class CentralMoments(NamedTuple):
    """The central moments of at least one value.

    Attributes:
        n: ``Σw``.
        mean: ``Σwx / Σw``.
        m2: ``Σw(x - mean)²``.
        m3: ``Σw(x - mean)³``.
        m4: ``Σw(x - mean)⁴``.
    """

    n: np.float64
    mean: np.float64
    m2: np.float64
    m3: np.float64
    m4: np.float64


class Moments(Reducer):
    """Base class of reducers that need the mean and ``Σw(x - mean)ᵖ`` for p = 2, 3, 4; all of them share one state.

    Parts are merged by the formulas of T. F. Chan, G. H. Golub and R. J. LeVeque, "Updating formulae and a
    pairwise algorithm for computing sample variances" (1979), and for p above 2 of P. Pébay, "Formulas for
    robust, one-pass parallel computation of covariances and arbitrary-order statistical moments" (2008), in which
    no sum of squares cancels. The rounding error of the mean is kept beside it: far from zero, it would dominate
    the difference of two means.

    Examples:
        >>> import numpy as np
        >>> import torch
        >>> class IndexOfDispersion(Moments):
        ...     name = "dispersion"
        ...
        ...     def of_moments(self, moments):
        ...         return moments.m2 / moments.n / moments.mean
        >>> dispersion = IndexOfDispersion()
        >>> dispersion.update(torch.tensor([1.0, 3.0]))
        >>> dispersion.compute()
        tensor(0.5000, dtype=torch.float64)
    """

    state_key = "moments"

    @abstractmethod
    def of_moments(self, moments: CentralMoments) -> float:
        """Return the result; numpy shows no warning here, whatever is divided by zero."""

    @override
    def summarize(self, samples: Samples) -> State:
        values, weights, *_ = samples
        n = weights.sum()
        if not n:
            return np.zeros(6)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            # Deviations from a value near the mean, not from the mean: those of equal values are exactly zero.
            center = values[np.abs(values - (weights * values).sum() / n).argmin()]
            deviations = values - center
            offset = (weights * deviations).sum() / n
            deviations -= offset
            # Products, since numpy's powers above 2 are twenty times as slow.
            squares = deviations * deviations
            weighted = weights * squares
            sums = weighted.sum(), (weighted * deviations).sum(), (weighted * squares).sum()
            return np.array([n, *two_sum(center, offset), *sums])

    @override
    def merge(self, left: State, right: State) -> State:
        # For a few numbers, Python's own arithmetic is much faster than numpy.
        a, *_, left2, left3, left4 = left.tolist()
        b, *_, right2, right3, right4 = right.tolist()
        if not a or not b:
            return left if a else right
        n = a + b
        delta = math.fsum(add_compensated(right[1:3], -left[1:3]).tolist())
        mean = add_compensated(left[1:3], np.array([delta * b / n, 0.0])).tolist()
        # Products, since Python's powers raise on overflow.
        delta2 = delta * delta
        m2 = left2 + right2 + delta2 * a * b / n
        m3 = left3 + right3 + delta * delta2 * a * b * (a - b) / (n * n) + 3 * delta * (a * right2 - b * left2) / n
        m4 = left4 + right4 + delta2 * delta2 * a * b * (a * a - a * b + b * b) / (n * n * n)
        m4 += 6 * delta2 * (a * a * right2 + b * b * left2) / (n * n) + 4 * delta * (a * right3 - b * left3) / n
        return np.array([n, *mean, m2, m3, m4])

    @override
    def result(self, state: State) -> float:
        n, mean, error, *sums = state
        if not n:
            return np.nan
        with np.errstate(all="ignore"):
            return float(self.of_moments(CentralMoments(n, mean + error, *sums)))


class Variance(Moments):
    """The sample variance, ``s² = Σw(x - mean)² / (Σw - 1)``; NaN for fewer than two values.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> import torch
        >>> variance = Variance()
        >>> variance.update(torch.tensor([1.0, 3.0, 5.0]))
        >>> variance.compute()
        tensor(4., dtype=torch.float64)
    """

    name = "var"

    @override
    def of_moments(self, moments: CentralMoments) -> float:
        return moments.m2 / (moments.n - 1) if moments.n > 1 else np.nan


class Std(Variance):
    """The sample standard deviation, ``s = √(Σw(x - mean)² / (Σw - 1))``; NaN for fewer than two values.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> import torch
        >>> std = Std()
        >>> std.update(torch.tensor([1.0, 3.0, 5.0]))
        >>> std.compute()
        tensor(2., dtype=torch.float64)
    """

    name = "std"

    @override
    def of_moments(self, moments: CentralMoments) -> float:
        return float(np.sqrt(super().of_moments(moments)))


class SEM(Std):
    """The standard error of the mean, ``s / √Σw``, with s as for `Std`; NaN for fewer than two values.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> import torch
        >>> error = SEM()
        >>> error.update(torch.tensor([1.0, 1.0, 5.0, 5.0]))
        >>> round(error.compute().item(), 4)
        1.1547
    """

    name = "sem"

    @override
    def of_moments(self, moments: CentralMoments) -> float:
        return float(super().of_moments(moments) / np.sqrt(moments.n))


class CV(Std):
    """The coefficient of variation, ``s / mean``, with s as for `Std`; NaN for fewer than two values.

    It is meant for values above 0; with a mean below 0 it is negative.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> import torch
        >>> variation = CV()
        >>> variation.update(torch.tensor([2.0, 4.0, 6.0]))
        >>> variation.compute()
        tensor(0.5000, dtype=torch.float64)
    """

    name = "cv"

    @override
    def of_moments(self, moments: CentralMoments) -> float:
        return super().of_moments(moments) / moments.mean


class Skew(Moments):
    """The skewness of the population, ``m₃ / m₂^1.5`` with ``mₚ = Σw(x - mean)ᵖ / Σw``; NaN if all values are equal.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> import torch
        >>> skew = Skew()
        >>> skew.update(torch.tensor([1.0, 1.0, 4.0]))
        >>> round(skew.compute().item(), 4)
        0.7071
    """

    name = "skew"

    @override
    def of_moments(self, moments: CentralMoments) -> float:
        n, _, m2, m3, _ = moments
        return m3 / n / (m2 / n) ** 1.5


class Kurtosis(Moments):
    """The excess kurtosis of the population, ``m₄ / m₂² - 3`` with ``mₚ = Σw(x - mean)ᵖ / Σw``; NaN if all are equal.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> import torch
        >>> kurtosis = Kurtosis()
        >>> kurtosis.update(torch.tensor([1.0, 1.0, 4.0]))
        >>> round(kurtosis.compute().item(), 4)
        -1.5
    """

    name = "kurtosis"

    @override
    def of_moments(self, moments: CentralMoments) -> float:
        n, _, m2, _, m4 = moments
        return m4 / n / (m2 / n) ** 2 - 3
