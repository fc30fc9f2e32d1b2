"""Reducers of all values, and of those since metrics were last logged, by numpy and by hand."""

from __future__ import annotations

import math

import numpy as np

from lightning_trackplus.reducers.function import Function
from lightning_trackplus.reducers.running import SinceLogged
from lightning_trackplus.reducers.sum import Count
from tests.support.reducer_cases.case import Case


def spread(x):
    return x.max() - x.min()


def largest_jump(x):
    return x.diff().abs().max().item() if len(x) > 1 else 0


CASES = [
    Case(lambda: Function(spread), lambda x, _: np.ptp(x), uses_weights=False),
    Case(lambda: Function(len), lambda x, _: len(x), uses_weights=False),
    Case(
        lambda: Function(largest_jump),
        lambda x, _: np.abs(np.diff(x)).max(initial=0.0),
        ordered=True,
        uses_weights=False,
    ),
    Case(SinceLogged, lambda x, w: math.fsum(w * x) / math.fsum(w), rtol=1e-14, atol=1e-9),
    Case(lambda: SinceLogged(Count()), lambda _, w: math.fsum(w), rtol=1e-14, empty=0.0),
    Case(lambda: SinceLogged(Function(spread)), lambda x, _: np.ptp(x), uses_weights=False),
]
