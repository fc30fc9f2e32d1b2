"""Reducers: how the values logged over an epoch become one number."""

from lightning_trackplus.reducers.extremes import Max, Min
from lightning_trackplus.reducers.function import Function
from lightning_trackplus.reducers.order import First, Last
from lightning_trackplus.reducers.quantile import Quantile
from lightning_trackplus.reducers.reducer import Reducer, Samples, State
from lightning_trackplus.reducers.sums import Count, Mean, Sum
from lightning_trackplus.reducers.variance import Std, Variance

__all__ = [
    "Count",
    "First",
    "Function",
    "Last",
    "Max",
    "Mean",
    "Min",
    "Quantile",
    "Reducer",
    "Samples",
    "State",
    "Std",
    "Sum",
    "Variance",
]
