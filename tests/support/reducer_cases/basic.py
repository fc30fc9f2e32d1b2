"""Sums, means, norms, extremes, moments and order, by numpy, scipy and exact fractions."""

from __future__ import annotations

import math
import warnings
from fractions import Fraction

import numpy as np
import scipy.special
import scipy.stats

from lightning_trackplus.reducers.first_last import Delta, First, Last
from lightning_trackplus.reducers.log_sums import LogMeanExp, LogSumExp
from lightning_trackplus.reducers.mean import GeometricMean, HarmonicMean, Mean, Perplexity
from lightning_trackplus.reducers.min_max import ArgMax, ArgMin, Max, Min, Range
from lightning_trackplus.reducers.moments import CV, SEM, Kurtosis, Skew, Std, Variance
from lightning_trackplus.reducers.norms import L1, L2, RMS
from lightning_trackplus.reducers.sum import Count, InfCount, NanCount, Sum
from lightning_trackplus.reducers.top_k import BottomK, TopK
from tests.support.reducer_cases.case import Case


def mean(x, w):
    return math.fsum(w * x) / math.fsum(w)


def perplexity(x, w):
    with np.errstate(over="ignore", under="ignore"):
        return np.exp(mean(x, w))


def of_deviations(function):
    """Let a function see the deviations from the exact mean, which it would itself find with a rounding error."""

    def oracle(x, w):
        exact = [Fraction(value) for value in x]
        center = sum(int(count) * value for value, count in zip(exact, w, strict=True)) / int(w.sum())
        deviations = np.repeat([float(value - center) for value in exact], w.astype(int))
        with warnings.catch_warnings():
            # Of fewer than two values, or of equal ones.
            warnings.simplefilter("ignore")
            return float(function(deviations))

    return oracle


def variance(x):
    return np.var(x, ddof=1)


def coefficient_of_variation(x, w):
    return of_deviations(variance)(x, w) ** 0.5 / mean(x, w)


def ranked(end, k, *, largest, steps):
    """Return what TopK and BottomK give, by a sort of the values."""

    def oracle(x, _):
        order = sorted(range(len(x)), key=lambda index: (-x[index] if largest else x[index], index))[:k]
        expected = {f"{end}{place + 1}": x[index] for place, index in enumerate(order)}
        if steps:
            expected |= {f"{end}{place + 1}_step": index for place, index in enumerate(order)}
        return nothing(end, k, steps=steps) | expected

    return oracle


def nothing(end, k, *, steps):
    names = [f"{end}{place + 1}" for place in range(k)]
    return dict.fromkeys(names + [f"{name}_step" for name in names] * steps, math.nan)


def without_weights(make, oracle, **options):
    return Case(make, lambda x, _: oracle(x), uses_weights=False, **options)


CASES = [
    Case(Sum, lambda x, w: math.fsum(w * x), rtol=1e-14, empty=0.0),
    Case(Count, lambda _, w: math.fsum(w), rtol=1e-14, empty=0.0),
    without_weights(NanCount, lambda _: 0.0, empty=0.0),
    without_weights(InfCount, lambda x: np.isinf(x).sum(), empty=0.0),
    Case(Mean, mean, rtol=1e-14),
    Case(Perplexity, perplexity, rtol=1e-13),
    Case(GeometricMean, lambda x, w: scipy.stats.gmean(x, weights=w), rtol=1e-12, positive=True),
    Case(HarmonicMean, lambda x, w: scipy.stats.hmean(x, weights=w), rtol=1e-12, positive=True),
    Case(L1, lambda x, w: np.abs(w * x).sum(), rtol=1e-13, empty=0.0),
    Case(L2, lambda x, w: np.linalg.norm(np.sqrt(w) * x), rtol=1e-13, empty=0.0),
    Case(RMS, lambda x, w: np.sqrt(np.average(x**2, weights=w)), rtol=1e-13),
    Case(LogSumExp, lambda x, w: scipy.special.logsumexp(x, b=w), rtol=1e-14, atol=1e-14),
    Case(LogMeanExp, lambda x, w: scipy.special.logsumexp(x, b=w / w.sum()), rtol=1e-14, atol=1e-14),
    without_weights(Min, np.min),
    without_weights(Max, np.max),
    without_weights(Range, np.ptp),
    without_weights(ArgMin, np.argmin),
    without_weights(ArgMax, np.argmax),
    Case(Variance, of_deviations(variance), rtol=1e-12),
    Case(Std, of_deviations(lambda x: np.std(x, ddof=1)), rtol=1e-12),
    Case(SEM, of_deviations(scipy.stats.sem), rtol=1e-12),
    # Near a mean of zero, any error is large beside the mean.
    Case(CV, coefficient_of_variation, rtol=1e-12, positive=True),
    Case(Skew, of_deviations(scipy.stats.skew), atol=1e-9),
    Case(Kurtosis, of_deviations(scipy.stats.kurtosis), atol=1e-9),
    without_weights(First, lambda x: x[0]),
    without_weights(Last, lambda x: x[-1]),
    without_weights(Delta, lambda x: x[-1] - x[0]),
    Case(
        TopK,
        ranked("top", 5, largest=True, steps=False),
        empty=nothing("top", 5, steps=False),
        uses_weights=False,
    ),
    Case(
        lambda: TopK(2, steps=True),
        ranked("top", 2, largest=True, steps=True),
        empty=nothing("top", 2, steps=True),
        uses_weights=False,
    ),
    Case(
        lambda: BottomK(3, steps=True),
        ranked("bottom", 3, largest=False, steps=True),
        empty=nothing("bottom", 3, steps=True),
        uses_weights=False,
    ),
]
