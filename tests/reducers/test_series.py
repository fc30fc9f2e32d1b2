"""Reducers that go by steps, against pandas, whatever the steps are and however the stream is cut."""

from __future__ import annotations

import copy
import functools
import itertools
import math
import pickle
import re
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_trackplus.reducers.ema import EMA, EWMStd
from lightning_trackplus.reducers.function import Function
from lightning_trackplus.reducers.mean import Mean
from lightning_trackplus.reducers.running import Running, SinceLogged
from lightning_trackplus.reducers.stream import Stream
from lightning_trackplus.reducers.sum import Count, NanCount, Sum
from lightning_trackplus.reducers.types import Samples

numbers = st.floats(-1e6, 1e6)
# pandas subtracts two nearly equal numbers where the step before the last counts for next to nothing.
alphas = st.floats(0.001, 0.7)
some_examples = settings(max_examples=40)
step_values = st.lists(st.tuples(numbers, st.integers(1, 4).map(float)), min_size=1, max_size=4)


@st.composite
def streams(draw, max_gap=3):
    """Return values, weights and steps, several values a step, with steps in which there is none."""
    drawn = draw(st.lists(st.tuples(st.integers(1, max_gap), step_values), min_size=1, max_size=12))
    steps = np.cumsum([gap for gap, _ in drawn])
    rows = [(value, weight, step) for step, (_, several) in zip(steps, drawn, strict=True) for value, weight in several]
    values, weights, each_step = (np.array(column) for column in zip(*rows, strict=True))
    return Samples(values, weights, each_step.astype(np.int64))


def cut(samples, borders):
    """Return the samples as parts, empty ones among them."""
    edges = [0, *sorted(border % (len(samples.values) + 1) for border in borders), len(samples.values)]
    return [Samples(*(column[start:end] for column in samples[:3])) for start, end in itertools.pairwise(edges)]


def merged_result(reducer, parts):
    """Return the result of parts, merged from the left and from the right, which must be equal to 1e-10."""
    states = pickle.loads(pickle.dumps([reducer.summarize(part) for part in parts]))
    from_left = functools.reduce(reducer.merge, states)
    from_right = functools.reduce(lambda later, earlier: reducer.merge(earlier, later), reversed(states))
    scale = max(np.abs(part.values[np.isfinite(part.values)]).max(initial=1.0) for part in parts)
    assert_near(reducer.result(from_right), reducer.result(from_left), scale)
    return reducer.result(from_left)


def by_step(samples):
    """Return the weighted mean of each step, in a series with NaN for each step without values."""
    weighted = pd.Series(samples.values * samples.weights).groupby(samples.steps).sum()
    means = weighted / pd.Series(samples.weights).groupby(samples.steps).sum()
    return means.reindex(range(samples.steps[0], samples.steps[-1] + 1))


def assert_near(found, expected, scale):
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10 * scale)


def weighted_by_age(observations, alpha):
    """Return mean and deviation, without bias, of observations, pairs of step and value, by their definition."""
    last = max(step for step, _ in observations)
    weights = [(1 - Fraction(alpha)) ** int(last - step) for step, _ in observations]
    values = [Fraction(value) for _, value in observations]
    total = sum(weights)
    mean = sum(w * x for w, x in zip(weights, values, strict=True)) / total
    squares = sum(w * (x - mean) ** 2 for w, x in zip(weights, values, strict=True))
    pairs = total**2 - sum(w**2 for w in weights)
    return float(mean), math.sqrt(total * squares / pairs) if pairs else math.nan


def samples_of(observations):
    steps, values = (np.array(column) for column in zip(*observations, strict=True))
    return Samples(values.astype(np.float64), np.ones(len(values)), steps.astype(np.int64))


@some_examples
@given(samples=streams(), alpha=alphas, borders=st.lists(st.integers(0, 100), max_size=5))
def test_the_exponentially_weighted_mean_is_that_of_pandas(samples, alpha, borders):
    """With gaps between steps, several values in one, and parts cut anywhere, also inside a step."""
    expected = by_step(samples).ewm(alpha=alpha, adjust=True, ignore_na=False).mean().iloc[-1]

    assert_near(merged_result(EMA(alpha), cut(samples, borders)), expected, np.abs(samples.values).max())


@some_examples
@given(samples=streams(), alpha=alphas, borders=st.lists(st.integers(0, 100), max_size=5))
def test_the_exponentially_weighted_deviation_is_that_of_pandas(samples, alpha, borders):
    """With gaps between steps, several values in one, and parts cut anywhere, also inside a step."""
    expected = by_step(samples).ewm(alpha=alpha, adjust=True, ignore_na=False).std(bias=False).iloc[-1]

    assert_near(merged_result(EWMStd(alpha), cut(samples, borders)), expected, np.abs(samples.values).max())


@some_examples
@given(
    samples=streams(max_gap=15),
    alpha=st.sampled_from([1e-6, 0.1, 0.5, 0.99, 1 - 1e-9, 1 - 2**-53]),
    borders=st.lists(st.integers(0, 100), max_size=5),
)
def test_any_alpha_and_any_gap_keep_their_digits(samples, alpha, borders):
    """Against the definition in fractions, also where the steps before the last count for next to nothing."""
    observations = list(by_step(samples).dropna().items())
    mean, std = weighted_by_age(observations, alpha)
    parts, scale = cut(samples, borders), np.abs(samples.values).max()

    assert_near(merged_result(EMA(alpha), parts), mean, scale)
    assert_near(merged_result(EWMStd(alpha), parts), std, scale)


def test_alpha_1_is_the_latest_step_alone():
    """Nothing but the latest step counts, so that there is a mean and no deviation."""
    samples = samples_of([(0, 4.0), (1, 5.0), (3, 7.0)])

    assert merged_result(EMA(1), [samples]) == 7.0
    assert math.isnan(merged_result(EWMStd(1), [samples]))


def test_a_deviation_far_from_zero_keeps_its_digits():
    """A spread of 1e-2 about 1e4 over many parts has the deviation that it has about 0."""
    noise = np.round(np.random.default_rng(0).standard_normal(3000), 2) / 64
    parts = [samples_of([(step, value)]) for step, value in enumerate(noise + 1e4)]

    reducer = EWMStd(0.01)
    found = reducer.result(functools.reduce(reducer.merge, [reducer.summarize(part) for part in parts]))

    exact = pd.Series((noise + 1e4) - 1e4).ewm(alpha=0.01).std().iloc[-1]
    assert found == pytest.approx(exact, rel=1e-10)


@some_examples
@given(
    ranks=st.lists(st.lists(numbers, min_size=2, max_size=8), min_size=2, max_size=4).filter(
        lambda ranks: len({len(rank) for rank in ranks}) == 1
    ),
    alpha=alphas,
)
def test_processes_that_log_together_give_the_mean_over_the_processes(ranks, alpha):
    """Where all processes log at the same steps, the mean is that of the steps' means over the processes."""
    parts = [samples_of(enumerate(rank)) for rank in ranks]
    expected = pd.Series(np.mean(ranks, axis=0)).ewm(alpha=alpha).mean().iloc[-1]

    assert_near(merged_result(EMA(alpha), parts), expected, np.abs(ranks).max())


@some_examples
@given(
    ranks=st.lists(
        st.tuples(st.integers(0, 3), st.lists(numbers, min_size=5, max_size=9)),
        min_size=2,
        max_size=4,
    ),
    alpha=alphas,
)
def test_each_step_of_each_process_is_an_observation(ranks, alpha):
    """Processes that begin and end at other steps count with the steps they have, each as old as it is."""
    observations = [list(enumerate(values, start=start)) for start, values in ranks]
    parts = [samples_of(one) for one in observations]
    mean, std = weighted_by_age(list(itertools.chain(*observations)), alpha)
    scale = max(abs(value) for _, values in ranks for value in values)

    assert_near(merged_result(EMA(alpha), parts), mean, scale)
    assert_near(merged_result(EWMStd(alpha), parts), std, scale)


def test_what_was_merged_over_processes_goes_on():
    """A run that goes on after its processes were merged adds its steps to theirs, also to the last of them."""
    ranks = [[(0, 1.0), (1, 2.0), (2, 3.0)], [(0, 5.0), (1, 7.0), (2, 11.0)]]
    later = [(2, 13.0), (4, 17.0)]
    mean, std = weighted_by_age([*ranks[0], *ranks[1], *later], 0.25)

    for reducer, expected in ((EMA(0.25), mean), (EWMStd(0.25), std)):
        states = [reducer.summarize(samples_of(part)) for part in (*ranks, later)]
        assert reducer.result(functools.reduce(reducer.merge, states)) == pytest.approx(expected, rel=1e-12)


def test_one_step_in_all_processes_is_one_step():
    """Parts that have one step and the same one are that step cut in two: its mean counts their weights."""
    parts = [Samples(np.array([value]), np.array([w]), np.array([7])) for value, w in ((1.0, 3.0), (5.0, 1.0))]

    assert merged_result(EMA(), parts) == 2.0
    assert math.isnan(merged_result(EWMStd(), parts))


@pytest.mark.parametrize("reducer", [EMA(0.3), EWMStd(0.3)], ids=["ema", "ewm_std"])
def test_parts_in_time_are_put_in_order(reducer):
    """A part of later steps that stands on the left, as that of a lower rank, is the later one all the same."""
    earlier, later = samples_of([(0, 4.0), (1, 5.0)]), samples_of([(2, 6.0), (3, 1.0)])

    states = [reducer.summarize(part) for part in (earlier, later)]

    assert reducer.result(reducer.merge(*reversed(states))) == reducer.result(reducer.merge(*states))


@pytest.mark.parametrize(("values", "mean"), [([1, math.inf, 2], math.inf), ([-math.inf, 1], -math.inf)])
@pytest.mark.parametrize("borders", [[], [1], [1, 2]])
@pytest.mark.filterwarnings("error")
def test_an_infinite_value_makes_the_mean_infinite_and_the_deviation_nan(values, mean, borders):
    """Infinity stays, as it does in any mean; there is no distance to it."""
    parts = cut(samples_of(enumerate(values)), borders)

    assert EMA().result(functools.reduce(EMA().merge, map(EMA().summarize, parts))) == mean
    assert math.isnan(merged_result(EWMStd(), parts))


@pytest.mark.parametrize("borders", [[], [1], [2], [1, 2, 3]])
@pytest.mark.filterwarnings("error")
def test_an_infinite_value_is_forgotten_once_its_weight_is_nothing(borders):
    """What is so old that no float64 has its weight counts no more, wherever the stream is cut."""
    parts = cut(samples_of([(0, 8.0), (1, math.inf), (5000, 1.0), (5001, 4.0)]), borders)

    assert merged_result(EMA(0.5), parts) == 3
    assert merged_result(EWMStd(0.5), parts) == pytest.approx(math.sqrt(4.5), rel=1e-12)


@pytest.mark.filterwarnings("error")
def test_opposite_infinities_have_no_mean():
    """The mean of inf and -inf is NaN, whether they come in one step or in two."""
    for steps in ([0, 0], [0, 1], [0, 1, 2]):
        values = [math.inf, -math.inf, 0.0][: len(steps)]
        assert math.isnan(merged_result(EMA(), [samples_of(list(zip(steps, values, strict=True)))]))


@pytest.mark.parametrize("make", [EMA, EWMStd, lambda: Running(3), SinceLogged], ids=["ema", "ewm", "running", "log"])
def test_nothing_seen_is_nan(make):
    """No value, and NaN alone, have no result; a part without values changes nothing."""
    reducer = make()
    assert math.isnan(reducer.result(reducer.summarize(Samples(np.empty(0), np.empty(0), np.empty(0, dtype=np.int64)))))
    reducer.update(math.nan)
    assert math.isnan(reducer.compute())


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: EMA(0.5), lambda x: x.ewm(alpha=0.5).mean()),
        (lambda: EWMStd(0.5), lambda x: x.ewm(alpha=0.5).std()),
        (lambda: Running(3), lambda x: x.rolling(3, min_periods=1).mean()),
    ],
    ids=["ema", "ewm_std", "running3"],
)
def test_forward_returns_the_result_so_far(make, expected):
    """A reducer that counts over the run gives, after each step, what pandas gives for the series up to it."""
    values = [4.0, -1.0, 2.5, 8.0, 0.0, 3.0]
    reducer = make()

    found = [reducer(value).item() for value in values]

    np.testing.assert_allclose(found, expected(pd.Series(values)), rtol=1e-12)
    assert reducer.compute().item() == found[-1]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: EMA(0.01), lambda x: x.ewm(alpha=0.01).mean()),
        (lambda: EWMStd(0.01), lambda x: x.ewm(alpha=0.01).std()),
        (lambda: Running(1000), lambda x: x.rolling(1000).mean()),
    ],
    ids=["ema", "ewm_std", "running1000"],
)
def test_a_long_stream_is_folded_inside_of_steps(make, expected):
    """A stream of more calls than are summarized at a time, three of them a step, is as pandas has its steps."""
    values = np.random.default_rng(0).normal(size=(2500, 3))
    stream = Stream([make()])
    for step, value in zip(np.repeat(np.arange(2500), 3), values.reshape(-1), strict=True):
        stream.add(float(value), step=int(step))

    (found,) = stream.results(stream.summary())

    assert found == pytest.approx(expected(pd.Series(values.mean(axis=1))).iloc[-1], rel=1e-10)


@pytest.mark.parametrize(
    "make",
    [lambda: EMA(0.5), lambda: EWMStd(0.5), lambda: Running(2), lambda: Function(len), SinceLogged],
    ids=["ema", "ewm_std", "running2", "function", "since_logged"],
)
def test_a_reducer_goes_on_after_pickle_and_copy(make):
    """A copy made by pickle or deepcopy in between has seen the same."""
    reducer = make()
    for value in (4.0, 1.0, 7.0):
        reducer.update(value)
    pickled, copied = pickle.loads(pickle.dumps(reducer)), copy.deepcopy(reducer)
    for one in (reducer, pickled, copied):
        one.update(9.0)

    assert pickled.compute() == copied.compute() == reducer.compute()


@pytest.mark.parametrize("make", [EMA, EWMStd, lambda: Running(2), lambda: Function(len)])
def test_merge_and_result_change_no_state(make):
    """States can be used again after they were merged."""
    reducer = make()
    states = [reducer.summarize(samples_of([(0, 1.0), (1, 5.0)])), reducer.summarize(samples_of([(1, 3.0), (2, 4.0)]))]
    before = [state.copy() for state in states]

    reducer.result(reducer.merge(*states))
    reducer.result(states[0])

    for state, one in zip(states, before, strict=True):
        np.testing.assert_array_equal(state, one)


@pytest.mark.parametrize(
    ("reducer", "name"),
    [
        (EMA(), "ema"),
        (EWMStd(), "ewm_std"),
        (Running(10), "running10"),
        (Running(10, Mean()), "running10"),
        (Running(5, Count()), "running5_count"),
        (Running(5, Running(2)), "running5_running2"),
        (Running(10, "count"), "running10_count"),
        (SinceLogged("sum"), "since_logged_sum"),
        (SinceLogged(), "since_logged"),
        (SinceLogged(Mean()), "since_logged"),
        (SinceLogged(Sum()), "since_logged_sum"),
    ],
    ids=str,
)
def test_names(reducer, name):
    """A wrapped mean is not named, since it is what one gets without a name."""
    assert reducer.name == name


@pytest.mark.parametrize("alpha", [0, -0.1, 1.5, math.nan, math.inf])
@pytest.mark.parametrize("kind", [EMA, EWMStd])
def test_an_alpha_outside_of_its_range_is_refused(kind, alpha):
    """A weight that would not fall raises where the reducer is made."""
    message = f"{kind.__name__} got alpha={alpha!r}; expected a number above 0 and at most 1, for example 0.1."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        kind(alpha)


@pytest.mark.parametrize("window", [0, -3, 2.0, True, "5", None])
def test_a_window_that_is_no_number_of_steps_is_refused(window):
    """A window is a whole number, at least 1."""
    message = f"Running got window={window!r}; expected a number of steps, an integer of at least 1."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Running(window)


@pytest.mark.parametrize(("make", "title"), [(lambda one: Running(3, one), "Running"), (SinceLogged, "SinceLogged")])
@pytest.mark.parametrize("reducer", [torch.median, Count, 5])
def test_what_is_no_reducer_is_refused(make, title, reducer):
    """A function or a class inside of another reducer raises where it is given."""
    message = (
        f"{title} got the reducer {reducer!r}; expected a name or an object, for example 'max' or Max(), or None"
        " for the mean."
    )
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        make(reducer)


def test_a_window_cannot_count_nan():
    """NaN is counted for all steps together, which would be wrong for the last ones."""
    message = "Running got NanCount(), but its steps do not include NaN; expected SinceLogged(NanCount())."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Running(3, NanCount())


@some_examples
@given(
    values=st.lists(numbers, min_size=1, max_size=30),
    window=st.integers(1, 12),
    borders=st.lists(st.integers(0, 100), max_size=5),
)
def test_a_window_is_that_of_pandas(values, window, borders):
    """Of one value a step, mean, median and extremes are those of pandas, however the stream is cut."""
    steps = np.arange(len(values)) * 3
    parts = cut(samples_of(zip(steps, values, strict=True)), borders)
    rolling = pd.Series(values).rolling(window, min_periods=1)

    assert_near(merged_result(Running(window), parts), rolling.mean().iloc[-1], np.abs(values).max())
    assert merged_result(Running(window, Function(torch.max)), parts) == rolling.max().iloc[-1]
    quantile = functools.partial(torch.quantile, q=0.5)
    assert_near(merged_result(Running(window, Function(quantile)), parts), rolling.median().iloc[-1], 1e6)


@some_examples
@given(samples=streams(), window=st.integers(1, 8), borders=st.lists(st.integers(0, 100), max_size=5))
def test_a_window_counts_steps_and_not_values(samples, window, borders):
    """All values of the last steps count with their weights, and in their order, wherever the stream is cut."""
    kept = np.isin(samples.steps, np.unique(samples.steps)[-window:])
    values, weights = samples.values[kept], samples.weights[kept]
    parts = cut(samples, borders)

    assert merged_result(Running(window, Count()), parts) == weights.sum()
    assert_near(merged_result(Running(window), parts), np.average(values, weights=weights), np.abs(values).max())
    assert merged_result(Running(window, Function(lambda x: x[0])), parts) == values[0]
    assert merged_result(Running(window, Function(lambda x: x[-1])), parts) == values[-1]


@some_examples
@given(ranks=st.lists(streams(), min_size=2, max_size=4), window=st.integers(1, 8))
def test_a_window_over_processes_has_the_last_steps_of_all(ranks, window):
    """Steps of several processes are one step, and its values stand in the order of the ranks."""
    steps = np.concatenate([rank.steps for rank in ranks])
    order = steps.argsort(kind="stable")
    kept = np.isin(steps[order], np.unique(steps)[-window:])
    expected = np.concatenate([rank.values for rank in ranks])[order][kept]
    found = []

    reducer = Running(window, Function(lambda x: found.append(x.numpy()) or 0))
    reducer.result(functools.reduce(reducer.merge, map(reducer.summarize, ranks)))

    np.testing.assert_array_equal(found[0], expected)


@pytest.mark.parametrize("wrap", [lambda one: Running(3, one), SinceLogged], ids=["running", "since_logged"])
def test_a_batch_size_matters_where_it_matters_to_the_wrapped_reducer(wrap):
    """A scalar that stands for 5 samples counts 5 times in a count and in a mean, and once in a sum."""
    stream = Stream([wrap(Count()), wrap(Sum()), wrap(Mean())])
    stream.add(2.0, repeat=5)
    stream.add(8.0, repeat=1, step=1)

    assert stream.results(stream.summary()) == [6, 10, 3]


def test_what_counts_since_metrics_were_logged_is_forgotten_alone():
    """When metrics are logged, a window and a moving mean go on, and the values since then begin anew."""
    stream = Stream([SinceLogged(), SinceLogged(Count()), Running(2), EMA(0.5)])
    for step, value in enumerate([6.0, 3.0, 9.0]):
        stream.add(value, step=step)
    assert stream.results(stream.summary()) == [6, 3, 6, pytest.approx(12 / 1.75)]

    stream.reset("log")
    assert stream.results(stream.summary())[1:] == [0, 6, pytest.approx(12 / 1.75)]
    stream.add(1.0, step=3)

    assert stream.results(stream.summary())[:3] == [1, 1, 5]


@pytest.mark.parametrize("make", [EMA, lambda: Running(2), SinceLogged], ids=["ema", "running", "since_logged"])
def test_nan_is_left_out_makes_nan_or_raises(make):
    """The policy for NaN is that of the outer reducer."""
    found = {}
    for policy in ("omit", "propagate", "raise"):
        reducer = make()
        reducer.nan_policy = policy
        reducer.update(torch.tensor([3.0, math.nan]))
        if policy != "raise":
            found[policy] = reducer.compute().item()
        else:
            with pytest.raises(ValueError, match="got 1 values that are NaN"):
                reducer.compute()
    assert found["omit"] == 3
    assert math.isnan(found["propagate"])


@pytest.mark.parametrize(
    "make", [EMA, EWMStd, functools.partial(Running, 2), SinceLogged, functools.partial(Function, len)]
)
def test_the_policy_for_nan_reaches_the_base(make):
    """Each constructor takes it, and an unknown one raises."""
    assert make(nan_policy="raise").nan_policy == "raise"
    with pytest.raises(ValueError, match="got nan_policy='drop'"):
        make(nan_policy="drop")
