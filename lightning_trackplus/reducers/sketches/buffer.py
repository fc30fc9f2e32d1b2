"""All values with their weights.

A state is a head of two numbers, its form and the common weight of all values, and then the values. Values and weights
that are float32 numbers take half the memory.
"""

from __future__ import annotations

import numpy as np

from lightning_trackplus.reducers.sketches.points import are_equal, float32_if_lossless
from lightning_trackplus.reducers.types import Floats, State

_HEAD = 2
# A form is the sum of these; it is below `tdigest.FORM`.
_WEIGHTED = 1  # Each value is followed by its weight.
_WIDE = 2  # The numbers need float64.


def summarize(values: Floats, weights: Floats) -> State:
    """Return the state of some values."""
    weighted = not are_equal(weights)
    numbers = _interleave(values, weights) if weighted else values
    weight = float(weights[0]) if len(weights) and not weighted else 1.0
    form = _WEIGHTED * weighted + _WIDE * (float32_if_lossless(numbers) is None)
    return _state(form, weight, numbers)


def merge(left: State, right: State) -> State:
    """Return the state of two parts together."""
    if len(left) == _HEAD or len(right) == _HEAD:
        return right if len(left) == _HEAD else left
    form, weight = int(left[0]) | int(right[0]), float(left[1])
    if not form & _WEIGHTED and weight != right[1]:
        form += _WEIGHTED
    if form & _WEIGHTED:
        # The common weight of a part is now stored with each of its values.
        common = [part[1] for part in (left, right) if not int(part[0]) & _WEIGHTED]
        form |= _WIDE * (float32_if_lossless(np.array(common)) is None)
        weight = 1.0
    left, right = (_in_form(part, form, weight) for part in (left, right))
    return np.concatenate([left, right[_HEAD:]])


def contents(state: State) -> tuple[Floats, Floats]:
    """Return the values and their weights, in the order in which they were added."""
    form, weight = int(state[0]), state[1:2]
    body = state[_HEAD:] if form & _WIDE else state[_HEAD:].view(np.float32)
    # NaN is never a value: it pads an odd number of float32.
    numbers = body.astype(np.float64)[~np.isnan(body)]
    if form & _WEIGHTED:
        return numbers[0::2], numbers[1::2]
    return numbers, np.broadcast_to(weight, numbers.shape)


def count(state: State) -> int:
    """Return the number of values."""
    form = int(state[0])
    body = state[_HEAD:] if form & _WIDE else state[_HEAD:].view(np.float32)
    return (len(body) - int(np.count_nonzero(np.isnan(body)))) // (2 if form & _WEIGHTED else 1)


def _in_form(state: State, form: int, weight: float) -> State:
    """Return a state in a form that needs as much memory or more."""
    if int(state[0]) == form:
        return state
    values, weights = contents(state)
    return _state(form, weight, _interleave(values, weights) if form & _WEIGHTED else values)


def _interleave(values: Floats, weights: Floats) -> Floats:
    return np.stack([values, weights], axis=1).reshape(-1)


def _state(form: int, weight: float, numbers: Floats) -> State:
    if not form & _WIDE:
        padded = np.full(len(numbers) + len(numbers) % 2, np.nan, dtype=np.float32)
        padded[: len(numbers)] = numbers
        numbers = padded.view(np.float64)
    return np.concatenate([[float(form), weight], numbers])
