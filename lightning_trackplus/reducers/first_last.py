"""The first and the last value.

`merge` has to distinguish two states with the same step: either one process logged both in that step, and one part is
the earlier one; or two processes did, and neither is. A stream merges each new part, as `summarize` returned it, into
its own state. A state therefore says whether it is new: if the right one is not, it is the state of another process.
"""

from __future__ import annotations

import numpy as np
from typing_extensions import override

from lightning_trackplus.reducers.base import Reducer
from lightning_trackplus.reducers.types import Floats, Samples, State

_FIRST, _LAST, _IS_NEW = slice(3), slice(3, 6), 6


class Delta(Reducer):
    """The difference of the last and the first value, ``x[-1] - x[0]``; weights are ignored.

    With several processes, or ``merge_state``, the first value is the mean over those that began in the earliest
    step, and the last value the mean over those that ended in the latest step.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> import torch
        >>> delta = Delta()
        >>> delta.update(torch.tensor([5.0, 9.0, 2.0]))
        >>> delta.compute()
        tensor(-3., dtype=torch.float64)
    """

    name = "delta"
    state_key = "ends"
    weighted = False
    full_state_update = True

    @override
    def summarize(self, samples: Samples) -> State:
        """Return both ends, each as its step (negated for the last), a sum and a count; and 1, since it is new."""
        values, _, steps, *_ = samples
        if not len(values):
            return np.array([np.inf, 0, 0, np.inf, 0, 0, 1])
        return np.array([steps[0], values[0], 1, -steps[-1], values[-1], 1, 1])

    @override
    def merge(self, left: State, right: State) -> State:
        is_same_process = bool(right[_IS_NEW])
        first = _outer(left[_FIRST], right[_FIRST], is_same_process=is_same_process)
        last = _outer(right[_LAST], left[_LAST], is_same_process=is_same_process)
        return np.array([*first, *last, 0])

    @override
    def result(self, state: State) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            return float(_mean(state[_LAST]) - _mean(state[_FIRST]))


class First(Delta):
    """The first value, ``x[0]``; weights are ignored.

    With several processes, or ``merge_state``, it is the mean over those that began in the earliest step.

    It is not `lightning_trackplus.media.selection.First`, which selects the first media of an epoch.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> import torch
        >>> first = First()
        >>> first.update(torch.tensor([5.0, 9.0, 2.0]))
        >>> first.compute()
        tensor(5., dtype=torch.float64)
    """

    name = "first"

    @override
    def result(self, state: State) -> float:
        return float(_mean(state[_FIRST]))


class Last(Delta):
    """The last value, ``x[-1]``; weights are ignored.

    With several processes, or ``merge_state``, it is the mean over those that ended in the latest step.

    It is not `lightning_trackplus.media.selection.Last`, which selects the last media of an epoch.

    Args:
        nan_policy: As for `Reducer`.

    Examples:
        >>> import torch
        >>> last = Last()
        >>> last.update(torch.tensor([5.0, 9.0, 2.0]))
        >>> last.compute()
        tensor(2., dtype=torch.float64)
    """

    name = "last"

    @override
    def result(self, state: State) -> float:
        return float(_mean(state[_LAST]))


def _outer(preferred: Floats, other: Floats, *, is_same_process: bool) -> Floats:
    """Return the end that is farther out; of two in one step the preferred one, or the sum over both processes."""
    if preferred[0] != other[0]:
        return preferred if preferred[0] < other[0] else other
    if is_same_process:
        return preferred
    with np.errstate(over="ignore", invalid="ignore"):
        return np.array([preferred[0], *(preferred[1:] + other[1:])])


def _mean(end: Floats) -> np.float64:
    _, total, count = end
    return np.float64(total / count if count else np.nan)
