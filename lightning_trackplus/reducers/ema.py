"""Exponentially weighted mean and standard deviation, over steps."""

from __future__ import annotations

import math

import numpy as np
from typing_extensions import override

from lightning_trackplus.reducers.decayed_steps import DecayedSteps, Moments, decayed_steps, merged
from lightning_trackplus.reducers.reducer import Reducer
from lightning_trackplus.reducers.samples import NanPolicy, Samples, State

_ALPHA = 0.1


class EMA(Reducer):
    """The exponentially weighted mean over steps, ``Σw_t·x_t / Σw_t``, ``w_t = (1 - alpha)^(T-t)``, T the last step.

    Dividing by the weights takes away the bias of a short series; so does ``pandas.Series.ewm(alpha=…)``,
    of a series with a row for each step. A step in which nothing was logged makes what came before older.
    Several values of a step count as their weighted mean, and each step counts once.

    Of several processes, each step of each process counts: where all of them log at the same steps, the
    result is that of the mean over the processes' values of each step. Two parts of a stream are taken
    for parts of two processes if more than the step where one ends and the other begins is common to them;
    if not, that step was cut in two.

    Args:
        alpha: How much the latest step counts against all before it, in (0, 1]; 1 is the latest step alone.
        nan_policy: As for `Reducer`.

    Raises:
        ValueError: If alpha lies outside (0, 1].

    Examples:
        >>> ema = EMA(alpha=0.5)
        >>> for loss in (4.0, 1.0):
        ...     ema.update(loss)
        >>> ema.compute()
        tensor(2., dtype=torch.float64)
    """

    span = "run"
    full_state_update = True

    def __init__(self, alpha: float = _ALPHA, *, nan_policy: NanPolicy = "omit") -> None:
        super().__init__(nan_policy=nan_policy)
        if not 0 < alpha <= 1:
            raise ValueError(
                f"{type(self).__name__} got alpha={alpha!r}; give a number above 0 and at most 1, for example 0.1."
            )
        self.alpha = alpha

    @property
    @override
    def name(self) -> str:
        return self._named("ema")

    @property
    @override
    def state_key(self) -> tuple[str, float]:
        return "ewm", self.alpha

    @override
    def summarize(self, samples: Samples) -> State:
        return decayed_steps(samples, self._decay).state() if len(samples.values) else np.empty(0)

    @override
    def merge(self, left: State, right: State) -> State:
        if not len(left) or not len(right):
            return left if len(left) else right
        return merged(DecayedSteps.of(left), DecayedSteps.of(right), self._decay).state()

    @override
    def result(self, state: State) -> float:
        return self._result(DecayedSteps.of(state).whole(self._decay)) if len(state) else math.nan

    def _named(self, prefix: str) -> str:
        return prefix if self.alpha == _ALPHA else f"{prefix}{self.alpha:g}"

    @property
    def _decay(self) -> float:
        return 1.0 - self.alpha

    def _result(self, moments: Moments) -> float:
        return moments.mean


class EWMStd(EMA):
    """The exponentially weighted standard deviation over steps, without bias; NaN for fewer than two steps.

    With the weights and the mean of `EMA`, it is ``√(Σw_t · Σw_t·(x_t - mean)² / ((Σw_t)² - Σw_t²))``, as
    ``pandas.Series.ewm(alpha=…).std()``. Which values count, and how those of several processes do, is as
    for `EMA`.

    Args:
        alpha: How much the latest step counts against all before it, in (0, 1].
        nan_policy: As for `Reducer`.

    Raises:
        ValueError: If alpha lies outside (0, 1].

    Examples:
        >>> std = EWMStd(alpha=0.5)
        >>> for loss in (4.0, 1.0):
        ...     std.update(loss)
        >>> std.compute()
        tensor(2.1213, dtype=torch.float64)
    """

    @property
    @override
    def name(self) -> str:
        return self._named("ewm_std")

    @override
    def _result(self, moments: Moments) -> float:
        if not moments.pairs or not math.isfinite(moments.mean):
            return math.nan
        return math.sqrt(moments.squares / moments.pairs * moments.total)
