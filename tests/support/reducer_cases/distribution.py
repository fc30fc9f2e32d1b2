"""Reducers of the distribution of all values."""

from __future__ import annotations

import numpy as np
from scipy import stats

from lightning_trackplus.reducers.frequency import Mode, NUnique
from lightning_trackplus.reducers.quantile import IQR, Quantile
from lightning_trackplus.reducers.robust import MAD, TrimmedMean, WinsorizedMean
from tests.support.reducer_cases.case import Case


def _repeated(values, weights):
    """Return each value as often as its weight says, a whole number."""
    return np.repeat(values, weights.astype(np.int64))


def _quantile(q):
    return lambda values, weights: float(np.quantile(_repeated(values, weights), q))


def _quartiles(values, weights):
    lower, upper = np.quantile(_repeated(values, weights), [0.25, 0.75])
    return {"iqr": float(upper - lower), "p25": float(lower), "p75": float(upper)}


def _mad(values, weights):
    return float(stats.median_abs_deviation(_repeated(values, weights)))


def _trimmed(proportion):
    return lambda values, weights: float(stats.trim_mean(_repeated(values, weights), proportion))


def _winsorized(proportion):
    def oracle(values, weights):
        limits = (proportion, proportion)
        return float(np.mean(stats.mstats.winsorize(_repeated(values, weights), limits=limits)))

    return oracle


def _mode(values, weights):
    return float(stats.mode(_repeated(values, weights)).mode)


def _different(values, _weights):
    return float(len(np.unique(values)))


# Values go up to 1e6, and those of either sign can cancel.
_ROUNDING = {"rtol": 1e-12, "atol": 1e-9}

CASES = [
    *(Case(lambda q=q: Quantile(q), _quantile(q)) for q in (0.0, 0.05, 0.5, 0.95, 1.0)),
    Case(lambda: Quantile(0.9, method="exact"), _quantile(0.9)),
    # Values are known to 0.4 %, but what lies between two of either sign is not: these lie between none.
    Case(lambda: Quantile(0.0, method="hist"), _quantile(0.0), rtol=0.004),
    Case(lambda: Quantile(1.0, method="hist"), _quantile(1.0), rtol=0.004),
    Case(IQR, _quartiles, empty={"iqr": np.nan, "p25": np.nan, "p75": np.nan}),
    Case(MAD, _mad, **_ROUNDING),
    Case(lambda: MAD(method="exact"), _mad, **_ROUNDING),
    Case(TrimmedMean, _trimmed(0.1), **_ROUNDING),
    Case(lambda: TrimmedMean(0.25, method="exact"), _trimmed(0.25), **_ROUNDING),
    Case(WinsorizedMean, _winsorized(0.1), **_ROUNDING),
    Case(lambda: WinsorizedMean(0.3, method="exact"), _winsorized(0.3), **_ROUNDING),
    Case(Mode, _mode),
    Case(lambda: NUnique(method="exact"), _different, empty=0.0, uses_weights=False),
    Case(NUnique, _different, empty=0.0, uses_weights=False),
]
