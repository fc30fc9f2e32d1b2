"""Reducers of the values logged over an epoch."""

from lightning_trackplus.record import Counts
from lightning_trackplus.reducers.base import Reducer
from lightning_trackplus.reducers.ema import EMA, EWMStd
from lightning_trackplus.reducers.first_last import Delta, First, Last
from lightning_trackplus.reducers.frequency import Mode, NUnique
from lightning_trackplus.reducers.function import Function
from lightning_trackplus.reducers.histogram import Histogram
from lightning_trackplus.reducers.log_sums import LogMeanExp, LogSumExp
from lightning_trackplus.reducers.mean import GeometricMean, HarmonicMean, Mean, Perplexity
from lightning_trackplus.reducers.min_max import ArgMax, ArgMin, Max, Min, Range
from lightning_trackplus.reducers.moments import CV, SEM, Kurtosis, Skew, Std, Variance
from lightning_trackplus.reducers.norms import L1, L2, RMS
from lightning_trackplus.reducers.quantile import IQR, Quantile
from lightning_trackplus.reducers.robust import MAD, TrimmedMean, WinsorizedMean
from lightning_trackplus.reducers.running import Running, SinceLogged
from lightning_trackplus.reducers.sum import Count, InfCount, NanCount, Sum
from lightning_trackplus.reducers.top_k import BottomK, TopK
from lightning_trackplus.reducers.types import Samples, State

__all__ = [
    "CV",
    "EMA",
    "IQR",
    "L1",
    "L2",
    "MAD",
    "RMS",
    "SEM",
    "ArgMax",
    "ArgMin",
    "BottomK",
    "Count",
    "Counts",
    "Delta",
    "EWMStd",
    "First",
    "Function",
    "GeometricMean",
    "HarmonicMean",
    "Histogram",
    "InfCount",
    "Kurtosis",
    "Last",
    "LogMeanExp",
    "LogSumExp",
    "Max",
    "Mean",
    "Min",
    "Mode",
    "NUnique",
    "NanCount",
    "Perplexity",
    "Quantile",
    "Range",
    "Reducer",
    "Running",
    "Samples",
    "SinceLogged",
    "Skew",
    "State",
    "Std",
    "Sum",
    "TopK",
    "TrimmedMean",
    "Variance",
    "WinsorizedMean",
]
