"""Sums that lose nothing to rounding, however they are cut.

A sum is kept as two numbers: itself, and what it lost to rounding. It is then about as exact as if it were
computed in twice the precision: T. Ogita, S. M. Rump, S. Oishi, "Accurate sum and dot product", SIAM Journal
on Scientific Computing 26 (6), 2005.
"""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np

from lightning_trackplus.reducers.samples import Floats

_Number = TypeVar("_Number", float, Floats)
_FEW = 512  # Of up to so many values, Python's own exact sum takes less time than numpy's rounds.


def two_sum(left: _Number, right: _Number) -> tuple[_Number, _Number]:
    """Return a sum and what it lost to rounding, which together are exact."""
    total = left + right
    of_right = total - left
    return total, (left - (total - of_right)) + (right - of_right)


def compensated_sum(values: Floats) -> Floats:
    """Return the sum of values, and what it lost to rounding.

    Args:
        values: The values, shape ``(N,)``.
    """
    if len(values) <= _FEW and np.isfinite(values).all():
        return _exact_sum(values.tolist())
    lost = np.float64(0)
    # Halves are added, not neighbours: so each round is a few operations on whole arrays.
    with np.errstate(over="ignore", invalid="ignore"):
        while len(values) > 1:
            half = len(values) // 2
            sums, errors = two_sum(values[:half], values[half : 2 * half])
            lost += errors.sum()
            values = np.append(sums, values[2 * half :])
        return _pair(float(values[0]) if len(values) else 0.0, float(lost))


def _exact_sum(values: list[float]) -> Floats:
    try:
        total = math.fsum(values)
        return np.array([total, math.fsum([*values, -total])])
    except OverflowError:
        return np.array([math.copysign(math.inf, sum(value / len(values) for value in values)), 0.0])


def added(left: Floats, right: Floats) -> Floats:
    """Return the sum of two such sums."""
    # Of two numbers, Python's own arithmetic takes a fraction of numpy's time.
    (left_total, left_lost), (right_total, right_lost) = left.tolist(), right.tolist()
    total, lost = two_sum(left_total, right_total)
    return _pair(total, lost + left_lost + right_lost)


def _pair(total: float, lost: float) -> Floats:
    # An infinite sum has lost nothing that could be told.
    return np.array(two_sum(total, lost) if math.isfinite(total) else (total, 0.0))
