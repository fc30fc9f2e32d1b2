"""Norms of the vector of all values."""

from __future__ import annotations

import numpy as np
from typing_extensions import override

from lightning_trackplus.reducers.base import Reducer
from lightning_trackplus.reducers.types import Samples, State

_LOWEST = -1074
"""The exponent of the smallest float64 above 0, for a vector of zeros, so that any other vector has a larger one."""


class L1(Reducer):
    """The sum of the absolute values, ``Σw|x|``; the batch size is ignored. 0 of no values.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> import torch
        >>> norm = L1()
        >>> norm.update(torch.tensor([3.0, -4.0]))
        >>> norm.compute()
        tensor(7., dtype=torch.float64)
    """

    name = "l1"
    weighted = False

    @override
    def summarize(self, samples: Samples) -> State:
        with np.errstate(over="ignore"):
            return np.array([(samples.weights * np.abs(samples.values)).sum()])

    @override
    def merge(self, left: State, right: State) -> State:
        with np.errstate(over="ignore"):
            return left + right

    @override
    def result(self, state: State) -> float:
        return float(state[0])


class L2(Reducer):
    """The Euclidean norm, ``√Σwx²``; the batch size is ignored. 0 of no values.

    As in LAPACK's ``dlassq``, values are divided by a power of two near the largest before they are squared: values
    above 1e154, whose squares overflow, have a norm as well, and the division does not round.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> import torch
        >>> norm = L2()
        >>> norm.update(torch.tensor([3.0, -4.0]))
        >>> norm.compute()
        tensor(5., dtype=torch.float64)
    """

    name = "l2"
    weighted = False

    @override
    def summarize(self, samples: Samples) -> State:
        sizes = np.abs(samples.values)
        largest = sizes.max(initial=0)
        exponent = np.frexp(largest)[1] if 0 < largest < np.inf else _LOWEST
        with np.errstate(over="ignore", under="ignore"):
            squares = np.ldexp(sizes, -exponent) ** 2
            return np.array([samples.weights.sum(), exponent, (samples.weights * squares).sum()])

    @override
    def merge(self, left: State, right: State) -> State:
        exponent = max(left[1], right[1])
        squares = (_scaled(part[2], 2 * (part[1] - exponent)) for part in (left, right))
        return np.array([left[0] + right[0], exponent, sum(squares)])

    @override
    def result(self, state: State) -> float:
        return _scaled(np.sqrt(state[2]), state[1])


class RMS(L2):
    """The root mean square, ``√(Σwx² / Σw)``.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> import torch
        >>> rms = RMS()
        >>> rms.update(torch.tensor([1.0, -7.0]))
        >>> rms.compute()
        tensor(5., dtype=torch.float64)
    """

    name = "rms"
    weighted = True

    @override
    def result(self, state: State) -> float:
        total, exponent, squares = state
        return _scaled(np.sqrt(squares / total), exponent) if total else np.nan


def _scaled(number: np.float64, exponent: np.float64) -> float:
    """Return ``number · 2 ** exponent``."""
    with np.errstate(over="ignore", under="ignore"):
        return float(np.ldexp(number, int(exponent)))
