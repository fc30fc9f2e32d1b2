"""Steps that count the less the older they are: what is remembered of them, and how parts become a whole.

Moments of two parts are added as in Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm
for computing sample variances" (1979). The first and the last step of a part may go on in its neighbour,
so these two are kept apart until it is known that they are complete.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from lightning_trackplus.reducers.samples import Floats, Samples, State


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
        """Return the same steps with all weights multiplied.

        Args:
            factor: By how much.
        """
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
        """Return what `state` made an array of.

        Args:
            state: The array.
        """
        numbers = state.tolist()
        return cls(Step(*numbers[:3]), Moments(*numbers[3:7]), Step(*numbers[7:]))

    def state(self) -> State:
        """Return all numbers as one array."""
        return np.array([*self.first, *self.between, *self.last])

    def is_one_step(self) -> bool:
        """Return whether the first step is the last."""
        return self.first.step == self.last.step

    def whole(self, decay: float) -> Moments:
        """Return the moments of all steps, weighted by their age at the last.

        Args:
            decay: What the weight of a step is multiplied with in each step that follows.
        """
        ends = (self.last,) if self.is_one_step() else (self.first, self.last)
        return _with_steps(self.between, ends, self.last.step, decay)


def decayed_steps(samples: Samples, decay: float) -> DecayedSteps:
    """Return samples as a part.

    Args:
        samples: The samples, at least one.
        decay: What the weight of a step is multiplied with in each step that follows.
    """
    with np.errstate(all="ignore"):
        steps, means, weights = _by_step(samples)
        between = _moments(decay ** (steps[-1] - steps[1:-1]), means[1:-1])
    first, last = (Step(float(steps[i]), float(means[i]), float(weights[i])) for i in (0, -1))
    return DecayedSteps(first, between, last)


def merged(left: DecayedSteps, right: DecayedSteps, decay: float) -> DecayedSteps:
    """Return two parts as one.

    Parts that have no step in common, or only that where one ends and the other begins, follow each
    other, and that step was cut in two. Others are of two processes: each step of each counts.

    Args:
        left: The part that comes first, or of the lower rank.
        right: The other part.
        decay: What the weight of a step is multiplied with in each step that follows.
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
