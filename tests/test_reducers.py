"""Every reducer against numpy, whatever the stream and however it is cut."""

from __future__ import annotations

import functools
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_trackplus.reducers import Function, Quantile, Samples
from lightning_trackplus.reducers.names import REDUCERS, reducers_of
from lightning_trackplus.reducers.stream import Stream


def quantile(q):
    return lambda x: np.quantile(x, q)


ORACLES = {
    "mean": np.mean,
    "avg": np.mean,
    "sum": math.fsum,
    "min": np.min,
    "max": np.max,
    "median": np.median,
    "std": functools.partial(np.std, ddof=1),
    "var": functools.partial(np.var, ddof=1),
    "first": lambda x: x[0],
    "last": lambda x: x[-1],
    "count": len,
    "p0": np.min,
    "p5": quantile(0.05),
    "p50": quantile(0.5),
    "p95": quantile(0.95),
    "p99.9": quantile(0.999),
    "p100": np.max,
}
EXACT = {"min", "max", "first", "last", "count", "p0", "p100"}

numbers = st.floats(-1e6, 1e6)
weighted = st.lists(st.tuples(numbers, st.integers(1, 5)), min_size=1, max_size=40)


def test_every_name_has_an_oracle():
    """A reducer that is added is tested."""
    assert set(REDUCERS) <= set(ORACLES)


def folded(name, calls):
    """Return what a stream makes of calls, each a list of values and a weight."""
    stream = Stream(reducers_of(name))
    for values, weight in calls:
        stream.add(torch.tensor(values, dtype=torch.float64), weight)
    (result,) = stream.results()
    assert result.shape == ()
    assert result.dtype == torch.float64
    return result.item()


def assert_equal(name, result, expected, scale):
    if name in EXACT:
        assert result == expected
    else:
        assert result == pytest.approx(expected, rel=1e-12, abs=1e-12 * max(scale, 1) ** (2 if name == "var" else 1))


@pytest.mark.parametrize("name", ORACLES)
@given(values=st.lists(numbers, min_size=2, max_size=60), cuts=st.lists(st.integers(1, 9), min_size=1))
def test_the_result_does_not_depend_on_how_the_stream_is_cut(name, values, cuts):
    """Values logged one by one, in vectors or at once give what numpy gives."""
    expected = ORACLES[name](np.array(values))
    calls, rest = [], list(values)
    while rest:
        size = cuts[len(calls) % len(cuts)]
        calls.append((rest[:size], 1))
        rest = rest[size:]
    assert_equal(name, folded(name, calls), expected, max(map(abs, values)))


@pytest.mark.parametrize("name", [name for name in ORACLES if name != "sum"])
@given(stream=weighted)
def test_a_weight_counts_as_so_many_equal_values(name, stream):
    """A value of weight w gives what w equal values give; a sum alone knows no weights."""
    repeated = np.repeat([value for value, _ in stream], [weight for _, weight in stream])
    if name in ("std", "var") and len(repeated) == 1:
        return
    result = folded(name, [([value], weight) for value, weight in stream])
    assert_equal(name, result, ORACLES[name](repeated), np.abs(repeated).max())


@pytest.mark.parametrize("name", ORACLES)
@given(parts=st.lists(st.lists(numbers, min_size=1, max_size=20), min_size=1, max_size=4))
def test_merged_parts_are_as_the_whole(name, parts):
    """States of parts, merged in order, give the result of the whole stream."""
    (reducer,) = reducers_of(name)
    whole = np.concatenate(parts)
    if name in ("std", "var") and len(whole) == 1:
        return
    states, step = [], 0
    for part in parts:
        values = torch.tensor(part, dtype=torch.float64)
        states.append(reducer.summarize(Samples(values, torch.ones_like(values), torch.arange(step, step + len(part)))))
        step += len(part)
    state = functools.reduce(reducer.merge, pickle.loads(pickle.dumps(states)))
    assert_equal(name, reducer.result(state).item(), ORACLES[name](whole), np.abs(whole).max())


@pytest.mark.parametrize("name", ORACLES)
def test_folding_of_many_calls_changes_nothing(name):
    """A stream longer than what is summarized at a time has the result of the whole."""
    values = np.random.default_rng(0).lognormal(size=2000)
    assert_equal(name, folded(name, [([value], 1) for value in values]), ORACLES[name](values), values.max())


@pytest.mark.parametrize("name", ORACLES)
def test_an_empty_stream_is_nan(name):
    """A stream without values, and one that has only empty calls, is NaN."""
    assert math.isnan(folded(name, []))
    assert math.isnan(folded(name, [([], 1)]))


@pytest.mark.parametrize("name", ORACLES)
def test_a_stream_of_nan_alone_is_nan_and_counts_nothing(name):
    """NaN is left out; a sum and a count of nothing are 0."""
    result = folded(name, [([math.nan, math.nan], 1), ([math.nan], 3)])
    assert result == 0 if name in ("sum", "count") else math.isnan(result)


@pytest.mark.parametrize("name", ORACLES)
def test_one_value_is_itself(name):
    """One value has itself for a result; it has no deviation."""
    result = folded(name, [([2.5], 1)])
    if name in ("std", "var"):
        assert math.isnan(result)
    else:
        assert result == (1 if name == "count" else 2.5)


def test_variance_stays_exact_far_from_zero():
    """A spread of 1e-2 about 1e6, over many folds, has its variance to ten digits."""
    values = 1e6 + 1e-2 * np.random.default_rng(0).standard_normal(5000)
    exact = np.var(values.astype(np.longdouble), ddof=1)
    assert folded("var", [([value], 1) for value in values]) == pytest.approx(float(exact), rel=1e-10)


@pytest.mark.parametrize(("q", "values"), [(0.5, [1.0, np.inf]), (0.5, [-np.inf, 0.0]), (0.9, [np.inf, np.inf])])
def test_quantiles_of_infinite_values_are_not_nan(q, values):
    """Between equal infinities there is nothing to interpolate."""
    assert folded(Quantile(q), [(values, 1)]) == (values[0] if q == 0.5 and values[1] == 0 else np.inf)


@given(values=st.lists(st.floats(allow_nan=False, width=64), min_size=1, max_size=30), q=st.floats(0, 1))
def test_any_quantile_is_numpys(values, q):
    """For any q and finite values, the result is that of ``numpy.quantile``, to the last digits."""
    finite = [value for value in values if abs(value) < 1e300]
    if not finite:
        return
    expected = np.quantile(finite, q)
    assert folded(Quantile(q), [(finite, 1)]) == pytest.approx(expected, rel=1e-12, abs=1e-14 * np.abs(finite).max())


@pytest.mark.parametrize("q", [-0.1, 1.1, float("nan")])
def test_a_quantile_lies_between_0_and_1(q):
    """Other numbers are refused."""
    with pytest.raises(ValueError, match=r"give a number from 0 to 1, for example 0\.95"):
        Quantile(q)


def test_names_of_functions_are_those_they_were_written_with():
    """Lambdas, partials, methods and callable objects have a name that can stand in a metric's name."""

    class Spread:
        def __call__(self, values):
            return values.max() - values.min()

    assert Function(lambda x: x).name == "lambda"
    assert Function(functools.partial(functools.partial(torch.quantile, q=0.5))).name == "quantile"
    assert Function(Spread()).name == "Spread"
    assert Function(torch.median).name == "median"


def test_results_of_a_stream_can_be_asked_in_between():
    """A result may be asked for, and values added afterwards."""
    stream = Stream(reducers_of(["mean", "p50"]))
    for count in range(1, 5):
        stream.add(torch.tensor([float(count)], dtype=torch.float64), 1)
        assert [result.item() for result in stream.results()] == [(count + 1) / 2] * 2
    stream.reset()
    assert all(math.isnan(result) for result in stream.results())
