"""How far the values spread, and how their distribution is shaped, by their moments."""

from __future__ import annotations

import numpy as np
from typing_extensions import override

from lightning_trackplus.reducers.central_moments import Central, Moments


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

    @property
    @override
    def name(self) -> str:
        return "var"

    @override
    def of_moments(self, moments: Central) -> float:
        return moments.m2 / (moments.n - 1) if moments.n > 1 else np.nan


class Std(Variance):
    """The sample standard deviation, ``s = √(Σw(x - mean)² / (Σw - 1))``; NaN for fewer than two values.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> import torch
        >>> deviation = Std()
        >>> deviation.update(torch.tensor([1.0, 3.0, 5.0]))
        >>> deviation.compute()
        tensor(2., dtype=torch.float64)
    """

    @property
    @override
    def name(self) -> str:
        return "std"

    @override
    def of_moments(self, moments: Central) -> float:
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

    @property
    @override
    def name(self) -> str:
        return "sem"

    @override
    def of_moments(self, moments: Central) -> float:
        return float(super().of_moments(moments) / np.sqrt(moments.n))


class CV(Std):
    """The coefficient of variation, ``s / mean``, with s as for `Std`; NaN for fewer than two values.

    It has a meaning for values above 0; that of a mean below 0 is negative.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> import torch
        >>> variation = CV()
        >>> variation.update(torch.tensor([2.0, 4.0, 6.0]))
        >>> variation.compute()
        tensor(0.5000, dtype=torch.float64)
    """

    @property
    @override
    def name(self) -> str:
        return "cv"

    @override
    def of_moments(self, moments: Central) -> float:
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

    @property
    @override
    def name(self) -> str:
        return "skew"

    @override
    def of_moments(self, moments: Central) -> float:
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

    @property
    @override
    def name(self) -> str:
        return "kurtosis"

    @override
    def of_moments(self, moments: Central) -> float:
        n, _, m2, _, m4 = moments
        return m4 / n / (m2 / n) ** 2 - 3
