"""Exponentially weighted mean and standard deviation, over steps."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from typing_extensions import override

from lightning_trackplus.reducers.base import Reducer
from lightning_trackplus.reducers.samples import Floats, NanPolicy, Samples, State

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


class Moments(NamedTuple):
    """Complete steps, each with a weight.

    Attributes:
        total: ``Σw``.
        pairs: ``Σw_i·w_j`` over all ordered pairs, which is ``(Σw)² - Σw²`` without its cancellation.
        mean: ``Σwx / Σw``.
        squares: ``Σw(x - mean)²``.
    """

    total: float
    pairs: float
    mean: float
    squares: float

    def aged(self, factor: float) -> Moments:
        """Return the same steps with all weights multiplied."""
        return Moments(self.total * factor, self.pairs * factor * factor, self.mean, self.squares * factor)


class Step(NamedTuple):
    """One step.

    Attributes:
        step: Which.
        mean: The weighted mean of its values so far.
        weight: Their weight; 0 if the step is counted elsewhere.
    """

    step: float
    mean: float
    weight: float


class DecayedSteps(NamedTuple):
    """A part of a stream.

    Attributes:
        first: The first step.
        between: The steps between, weighted by their age at the last step.
        last: The last step; the same as the first if there is only one.
    """

    first: Step
    between: Moments
    last: Step

    @classmethod
    def of(cls, state: State) -> DecayedSteps:
        """Return what `state` made an array of."""
        numbers = state.tolist()
        return cls(Step(*numbers[:3]), Moments(*numbers[3:7]), Step(*numbers[7:]))

    def state(self) -> State:
        """Return all numbers as one array."""
        return np.array([*self.first, *self.between, *self.last])

    def is_one_step(self) -> bool:
        """Return whether the first step is the last."""
        return self.first.step == self.last.step

    def whole(self, decay: float) -> Moments:
        """Return the moments of all steps, weighted by their age at the last."""
        ends = (self.last,) if self.is_one_step() else (self.first, self.last)
        return _with_steps(self.between, ends, self.last.step, decay)


def decayed_steps(samples: Samples, decay: float) -> DecayedSteps:
    """Return samples as a part."""
    with np.errstate(all="ignore"):
        steps, means, weights = _by_step(samples)
        between = _moments(decay ** (steps[-1] - steps[1:-1]), means[1:-1])
    first, last = (Step(float(steps[i]), float(means[i]), float(weights[i])) for i in (0, -1))
    return DecayedSteps(first, between, last)


def merged(left: DecayedSteps, right: DecayedSteps, decay: float) -> DecayedSteps:
    """Return two parts as one.

    Parts that have no step in common, or only that where one ends and the other begins, follow each
    other, and that step was cut in two. Others are of two processes: each step of each counts.
    """
    if left.last.step <= right.first.step:
        return _in_time(left, right, decay)
    if right.last.step <= left.first.step:
        return _in_time(right, left, decay)
    return _together(left, right, decay)


def _in_time(earlier: DecayedSteps, later: DecayedSteps, decay: float) -> DecayedSteps:
    border: tuple[Step, ...] = (earlier.last, later.first)
    if earlier.last.step == later.first.step:
        border = (_joined(*border),)
    first = border[0] if earlier.is_one_step() else earlier.first
    last = border[-1] if later.is_one_step() else later.last
    # What is neither the first nor the last step now is complete.
    complete = border[earlier.is_one_step() : len(border) - later.is_one_step()]
    before = earlier.between.aged(decay ** (last.step - earlier.last.step))
    return DecayedSteps(first, _added(_with_steps(before, complete, last.step, decay), later.between), last)


def _together(left: DecayedSteps, right: DecayedSteps, decay: float) -> DecayedSteps:
    first, last = min(left.first.step, right.first.step), max(left.last.step, right.last.step)
    parts = [part.whole(decay).aged(decay ** (last - part.last.step)) for part in (left, right)]
    return DecayedSteps(Step(first, 0.0, 0.0), _added(*parts), Step(last, 0.0, 0.0))


def _joined(left: Step, right: Step) -> Step:
    if not left.weight or not right.weight:
        return left if left.weight else right
    weight = left.weight + right.weight
    return Step(left.step, left.mean * (left.weight / weight) + right.mean * (right.weight / weight), weight)


def _with_steps(moments: Moments, steps: tuple[Step, ...], now: float, decay: float) -> Moments:
    for one in steps:
        if one.weight:
            moments = _added(moments, Moments(1.0, 0.0, one.mean, 0.0).aged(decay ** (now - one.step)))
    return moments


def _added(left: Moments, right: Moments) -> Moments:
    if not left.total or not right.total:
        return left if left.total else right
    total, delta = left.total + right.total, right.mean - left.mean
    share = right.total / total
    return Moments(
        total,
        left.pairs + right.pairs + 2 * left.total * right.total,
        # Of what is infinite there is no difference; elsewhere this form is rounded less.
        left.mean + delta * share if math.isfinite(delta) else left.mean * (left.total / total) + right.mean * share,
        left.squares + right.squares + delta * delta * left.total * share,
    )


def _by_step(samples: Samples) -> tuple[Floats, Floats, Floats]:
    """Return the steps, and the weighted mean and the total weight of each."""
    starts = np.flatnonzero(np.diff(samples.steps, prepend=samples.steps[0] - 1))
    totals = np.add.reduceat(samples.weights, starts)
    shares = samples.weights / np.repeat(totals, np.diff(starts, append=len(samples.steps)))
    return samples.steps[starts].astype(np.float64), np.add.reduceat(shares * samples.values, starts), totals


def _moments(weights: Floats, values: Floats) -> Moments:
    # What is too old to count at all may be infinite.
    values, weights = values[weights > 0], weights[weights > 0]
    if not len(values):
        return Moments(0.0, 0.0, 0.0, 0.0)
    total = weights.sum()
    mean = (weights / total) @ values
    before = np.concatenate([[0.0], weights.cumsum()[:-1]])
    moments = (total, 2 * (weights @ before), mean, weights @ (values - mean) ** 2)
    return Moments(*(float(moment) for moment in moments))
