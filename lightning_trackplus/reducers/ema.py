"""Exponentially weighted mean and standard deviation over steps."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from typing_extensions import override

from lightning_trackplus.reducers.base import Reducer
from lightning_trackplus.reducers.types import Floats, NanPolicy, Samples, State

_ALPHA = 0.1


class EMA(Reducer):
    """The exponentially weighted mean over steps, ``Σw_t·x_t / Σw_t``, ``w_t = (1 - alpha)^(T-t)``, T the last step.

    The division by the weights removes the bias of a short series, as in ``pandas.Series.ewm(alpha=…)`` with a row for
    each step. A step in which nothing was logged makes the earlier ones older. The values of a step count as their
    weighted mean, and each step counts once.

    With several processes, each step of each process counts: if all of them log at the same steps, the result is that
    of the mean over processes at each step. Two parts of a stream are taken for parts of two processes if they have
    more in common than the step where one ends and the other begins.

    Args:
        alpha: The weight of the latest step against all before it, in (0, 1]; 1 is the latest step alone.
        nan_policy: As for `Reducer`.

    Raises:
        ValueError: If alpha is outside (0, 1].

    Examples:
        >>> ema = EMA(alpha=0.5)
        >>> for loss in (4.0, 1.0):
        ...     ema.update(loss)
        >>> ema.compute()
        tensor(2., dtype=torch.float64)
    """

    name = "ema"
    span = "run"
    full_state_update = True

    def __init__(self, alpha: float = _ALPHA, *, nan_policy: NanPolicy = "omit") -> None:
        super().__init__(nan_policy=nan_policy)
        if not 0 < alpha <= 1:
            raise ValueError(
                f"{type(self).__name__} got alpha={alpha!r}; expected a number above 0 and at most 1, for example 0.1."
            )
        self.alpha = alpha
        if alpha != _ALPHA:
            self.name = f"{self.name}{alpha:g}"

    @property
    @override
    def state_key(self) -> tuple[str, float]:
        return "ewm", self.alpha

    @override
    def summarize(self, samples: Samples) -> State:
        return _summarized(samples, 1 - self.alpha).state() if len(samples.values) else np.empty(0)

    @override
    def merge(self, left: State, right: State) -> State:
        if not len(left) or not len(right):
            return left if len(left) else right
        return _Part.of(left).merged(_Part.of(right), 1 - self.alpha).state()

    @override
    def result(self, state: State) -> float:
        return self._of_moments(_Part.of(state).moments(1 - self.alpha)) if len(state) else math.nan

    def _of_moments(self, moments: _Moments) -> float:
        return moments.mean


class EWMStd(EMA):
    """The exponentially weighted standard deviation over steps, without bias; NaN for fewer than two steps.

    With the weights and the mean of `EMA`, it is ``√(Σw_t · Σw_t·(x_t - mean)² / ((Σw_t)² - Σw_t²))``, as
    ``pandas.Series.ewm(alpha=…).std()``. Steps and processes count as for `EMA`.

    Args:
        alpha: The weight of the latest step against all before it, in (0, 1].
        nan_policy: As for `Reducer`.

    Raises:
        ValueError: If alpha is outside (0, 1].

    Examples:
        >>> std = EWMStd(alpha=0.5)
        >>> for loss in (4.0, 1.0):
        ...     std.update(loss)
        >>> std.compute()
        tensor(2.1213, dtype=torch.float64)
    """

    name = "ewm_std"

    @override
    def _of_moments(self, moments: _Moments) -> float:
        if not moments.pairs or not math.isfinite(moments.mean):
            return math.nan
        return math.sqrt(moments.squares / moments.pairs * moments.total)


class _Moments(NamedTuple):
    """Moments of complete steps with weights w."""

    total: float  # Σw
    pairs: float  # Σw_i·w_j over all ordered pairs, which is (Σw)² - Σw² without its cancellation.
    mean: float  # Σwx / Σw
    squares: float  # Σw(x - mean)²

    def decayed(self, factor: float) -> _Moments:
        return _Moments(self.total * factor, self.pairs * factor * factor, self.mean, self.squares * factor)

    def added(self, other: _Moments) -> _Moments:
        if not self.total or not other.total:
            return self if self.total else other
        total, delta = self.total + other.total, other.mean - self.mean
        share = other.total / total
        # The first form has the smaller rounding error, but infinite means have no difference.
        mean = (
            self.mean + delta * share if math.isfinite(delta) else self.mean * (self.total / total) + other.mean * share
        )
        pairs = self.pairs + other.pairs + 2 * self.total * other.total
        return _Moments(total, pairs, mean, self.squares + other.squares + delta * delta * self.total * share)

    def with_steps(self, steps: tuple[_Step, ...], now: float, decay: float) -> _Moments:
        moments = self
        for one in steps:
            if one.weight:
                moments = moments.added(_Moments(1.0, 0.0, one.mean, 0.0).decayed(decay ** (now - one.step)))
        return moments


class _Step(NamedTuple):
    """A step that may get more values: their weighted mean, and their weight, 0 if it is counted elsewhere."""

    step: float
    mean: float
    weight: float

    def joined(self, other: _Step) -> _Step:
        if not self.weight or not other.weight:
            return self if self.weight else other
        weight = self.weight + other.weight
        return _Step(self.step, self.mean * (self.weight / weight) + other.mean * (other.weight / weight), weight)


class _Part(NamedTuple):
    """A part of a stream: its first and last step, which may be the same one, and the moments of those between.

    The moments are weighted by the age of steps at the last one.
    """

    first: _Step
    between: _Moments
    last: _Step

    @classmethod
    def of(cls, state: State) -> _Part:
        numbers = state.tolist()
        return cls(_Step(*numbers[:3]), _Moments(*numbers[3:7]), _Step(*numbers[7:]))

    def state(self) -> State:
        return np.array([*self.first, *self.between, *self.last])

    def is_one_step(self) -> bool:
        return self.first.step == self.last.step

    def moments(self, decay: float) -> _Moments:
        ends = (self.last,) if self.is_one_step() else (self.first, self.last)
        return self.between.with_steps(ends, self.last.step, decay)

    def merged(self, other: _Part, decay: float) -> _Part:
        if self.last.step <= other.first.step:
            return self._followed_by(other, decay)
        if other.last.step <= self.first.step:
            return other._followed_by(self, decay)
        # Of two processes.
        first, last = min(self.first.step, other.first.step), max(self.last.step, other.last.step)
        one, two = (part.moments(decay).decayed(decay ** (last - part.last.step)) for part in (self, other))
        return _Part(_Step(first, 0.0, 0.0), one.added(two), _Step(last, 0.0, 0.0))

    def _followed_by(self, later: _Part, decay: float) -> _Part:
        border: tuple[_Step, ...] = (self.last, later.first)
        if self.last.step == later.first.step:
            border = (self.last.joined(later.first),)
        first = border[0] if self.is_one_step() else self.first
        last = border[-1] if later.is_one_step() else later.last
        # Steps at the border that are neither the first nor the last one are now complete.
        complete = border[self.is_one_step() : len(border) - later.is_one_step()]
        before = self.between.decayed(decay ** (last.step - self.last.step))
        return _Part(first, before.with_steps(complete, last.step, decay).added(later.between), last)


def _summarized(samples: Samples, decay: float) -> _Part:
    starts = np.flatnonzero(np.diff(samples.steps, prepend=samples.steps[0] - 1))
    steps = samples.steps[starts].astype(np.float64)
    totals = np.add.reduceat(samples.weights, starts)
    with np.errstate(all="ignore"):
        shares = samples.weights / np.repeat(totals, np.diff(starts, append=len(samples.steps)))
        means = np.add.reduceat(shares * samples.values, starts)
        between = _moments(decay ** (steps[-1] - steps[1:-1]), means[1:-1])
    first, last = (_Step(float(steps[i]), float(means[i]), float(totals[i])) for i in (0, -1))
    return _Part(first, between, last)


def _moments(weights: Floats, values: Floats) -> _Moments:
    # A value too old to count may be infinite.
    values, weights = values[weights > 0], weights[weights > 0]
    if not len(values):
        return _Moments(0.0, 0.0, 0.0, 0.0)
    total = weights.sum()
    mean = (weights / total) @ values
    before = np.concatenate([[0.0], weights.cumsum()[:-1]])
    moments = (total, 2 * (weights @ before), mean, weights @ (values - mean) ** 2)
    return _Moments(*(float(moment) for moment in moments))
