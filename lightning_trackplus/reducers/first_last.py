"""The first and the last value.

States of equal steps can come together in two ways, which `merge` has to tell apart: what one process logged
in one step can have been summarized in two parts, of which one comes first; and several processes can have
logged in the same step, of which none does. A stream merges each part, as `summarize` made it, into what it
has. So a state says whether it is as it was made: if the right one is not, it is what another process has.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
from typing_extensions import override

from lightning_trackplus.reducers.base import Reducer
from lightning_trackplus.reducers.samples import Floats, Samples, State

_FIRST, _LAST, _AS_MADE = slice(3), slice(3, 6), 6


class Delta(Reducer):
    """The last value less the first, ``x[-1] - x[0]``; a weight plays no part.

    Over several processes, the first value is the mean of the first of each that began in the earliest step,
    and likewise the last; and so it is with two reducers and ``merge_state``.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> import torch
        >>> delta = Delta()
        >>> delta.update(torch.tensor([5.0, 9.0, 2.0]))
        >>> delta.compute()
        tensor(-3., dtype=torch.float64)
    """

    weighted = False
    full_state_update = True

    @property
    @override
    def name(self) -> str:
        return "delta"

    @property
    @override
    def state_key(self) -> Hashable:
        return "ends"

    @override
    def summarize(self, samples: Samples) -> State:
        """Return both ends, each by its step, of the last negated, a sum and a count; and 1: as it was made."""
        values, _, steps, *_ = samples
        if not len(values):
            return np.array([np.inf, 0, 0, np.inf, 0, 0, 1])
        return np.array([steps[0], values[0], 1, -steps[-1], values[-1], 1, 1])

    @override
    def merge(self, left: State, right: State) -> State:
        of_one_process = bool(right[_AS_MADE])
        first = _outer(left[_FIRST], right[_FIRST], of_one_process=of_one_process)
        last = _outer(right[_LAST], left[_LAST], of_one_process=of_one_process)
        return np.array([*first, *last, 0])

    @override
    def result(self, state: State) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            return float(_mean(state[_LAST]) - _mean(state[_FIRST]))


class First(Delta):
    """The first value, ``x[0]``; a weight plays no part.

    Over several processes, it is the mean of the first of each that began in the earliest step; and so it is
    with two reducers and ``merge_state``.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> import torch
        >>> first = First()
        >>> first.update(torch.tensor([5.0, 9.0, 2.0]))
        >>> first.compute()
        tensor(5., dtype=torch.float64)
    """

    @property
    @override
    def name(self) -> str:
        return "first"

    @override
    def result(self, state: State) -> float:
        return float(_mean(state[_FIRST]))


class Last(Delta):
    """The last value, ``x[-1]``; a weight plays no part.

    Over several processes, it is the mean of the last of each that ended in the latest step; and so it is
    with two reducers and ``merge_state``.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> import torch
        >>> last = Last()
        >>> last.update(torch.tensor([5.0, 9.0, 2.0]))
        >>> last.compute()
        tensor(2., dtype=torch.float64)
    """

    @property
    @override
    def name(self) -> str:
        return "last"

    @override
    def result(self, state: State) -> float:
        return float(_mean(state[_LAST]))


def _outer(preferred: Floats, other: Floats, *, of_one_process: bool) -> Floats:
    """Return the end that lies farther out; of two in one step, the preferred, or both if nothing orders them."""
    if preferred[0] != other[0]:
        return preferred if preferred[0] < other[0] else other
    if of_one_process:
        return preferred
    with np.errstate(over="ignore", invalid="ignore"):
        return np.array([preferred[0], *(preferred[1:] + other[1:])])


def _mean(end: Floats) -> np.float64:
    _, total, count = end
    return np.float64(total / count if count else np.nan)
