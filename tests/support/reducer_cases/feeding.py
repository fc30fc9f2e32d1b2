"""How the harness gives values to a reducer and compares what comes out."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping

import numpy as np
import torch
from hypothesis import strategies as st

from lightning_trackplus.record import Counts
from lightning_trackplus.reducers.types import Samples

FIXED = {
    "far from zero": 1e6 + np.random.default_rng(0).uniform(-1, 1, 400),
    "two values": 1e6 + np.random.default_rng(1).choice([-1.0, 1.0], 400),
    "many": np.random.default_rng(2).lognormal(size=30_000),
}
"""Streams of fixed values, all of them above 0."""


def tensor(values, dtype=torch.float64):
    """Return a tensor of values, float64 unless told otherwise."""
    return torch.tensor(values, dtype=dtype)


def streams(case):
    """Return a strategy of values that a reducer is defined for: of both signs, near, far, and tied."""
    scales = [st.floats(999_999, 1_000_001)]
    if case.positive:
        scales += [st.floats(1e-3, 1e6), st.integers(1, 4).map(float)]
    else:
        # Smaller ones have squares that no float64 holds, of which most oracles know nothing.
        scales += [st.floats(-1e6, 1e6).map(no_dust), st.floats(-20, 20).map(no_dust), st.integers(-3, 3).map(float)]
    return st.one_of([st.lists(scale, min_size=1, max_size=25).map(np.array) for scale in scales])


def no_dust(value):
    return value if abs(value) > 1e-6 else 0.0


def weights_of(case, values):
    """Return a strategy of weights for values: whole numbers, or ones where they do not matter."""
    if not case.uses_weights:
        return st.just(np.ones(len(values)))
    return st.lists(st.integers(1, 4).map(float), min_size=len(values), max_size=len(values)).map(np.array)


def samples_of(values, weights=None, steps=None, nan_count=0):
    """Return samples, the value at index i logged at step i."""
    values = np.array(values, dtype=np.float64)
    weights = np.ones(len(values)) if weights is None else np.array(weights, dtype=np.float64)
    steps = np.arange(len(values)) if steps is None else np.asarray(steps, dtype=np.int64)
    return Samples(values, weights, steps, nan_count)


def parts_of(samples, cuts):
    """Return samples in parts that end where the cuts are; some may be empty."""
    ends = [0, *sorted(cuts), len(samples.values)]
    spans = [slice(start, end) for start, end in itertools.pairwise(ends)]
    return [Samples(samples.values[span], samples.weights[span], samples.steps[span]) for span in spans]


def state_of(reducer, parts):
    """Return what a process remembers of parts that came one after the other."""
    return functools.reduce(reducer.merge, map(reducer.summarize, parts), reducer.summarize(samples_of([])))


def result_of(reducer, parts):
    """Return the result of parts that came one after the other."""
    return plain(reducer.result(state_of(reducer, parts)))


def logged(reducer, values, weights=None):
    """Give values to a reducer, one in each call, and return it."""
    for index, value in enumerate(values):
        reducer.update(value, *(() if weights is None else (weights[index],)))
    return reducer


def computed(reducer):
    """Return the result of what a reducer has seen by itself."""
    return plain(reducer.compute())


def plain(result):
    """Return a result as arrays, by their names if there are several."""
    result = result._asdict() if isinstance(result, Counts) else result
    if isinstance(result, Mapping):
        return {name: plain(part) for name, part in result.items()}
    return result.numpy() if isinstance(result, torch.Tensor) else np.float64(result)


def assert_close(actual, expected, case):
    """Assert that results are equal within the tolerances of a case."""
    assert_near(actual, expected, case.rtol, case.atol)


def assert_same(actual, expected):
    """Assert that results are equal, NaN to NaN."""
    assert_near(actual, expected, 0, 0)


def assert_near(actual, expected, rtol, atol):
    if isinstance(expected, Mapping):
        assert actual.keys() == expected.keys()
        for name in expected:
            assert_near(actual[name], expected[name], rtol, atol)
    else:
        np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)
