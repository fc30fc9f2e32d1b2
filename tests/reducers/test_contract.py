"""What every reducer keeps: its oracle, whatever the stream, however it is cut, and whoever asks.

The value at index i is logged at step i, unless a test says otherwise. What is the same for all reducers, since their
stream or their base class does it, is in ``test_stream.py``.
"""

from __future__ import annotations

import copy
import inspect
import pickle
import re
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics import MetricCollection

from lightning_trackplus.record import Counts
from lightning_trackplus.reducers.stream import Stream
from lightning_trackplus.reducers.sum import NanCount
from tests.support.reducer_cases import basic, distribution, series
from tests.support.reducer_cases.feeding import (
    FIXED,
    assert_close,
    assert_same,
    computed,
    logged,
    parts_of,
    plain,
    result_of,
    samples_of,
    streams,
    tensor,
    weights_of,
)

CASES = [*basic.CASES, *distribution.CASES, *series.CASES]
COUNTS_NAN = [case for case in CASES if "nan_count" in str(case)]
TAKES_NAN = [case for case in CASES if case not in COUNTS_NAN]
VALUES = [2.0, 1.0, 4.0, 0.5]

for_each = pytest.mark.parametrize("case", CASES, ids=str)
some_examples = settings(max_examples=20)


class TestTheOracle:
    """A result is what the oracle says."""

    @for_each
    @some_examples
    @given(data=st.data())
    def test_any_stream_cut_anywhere(self, case, data):
        """The whole, and parts, some of them empty, give the oracle's result, in any order where that means nothing."""
        values = data.draw(streams(case))
        samples = samples_of(values, data.draw(weights_of(case, values)))
        expected = case.oracle(samples.values, samples.weights)
        assert_close(result_of(case.make(), [samples]), expected, case)
        cuts = data.draw(st.lists(st.integers(0, len(values)), max_size=6) | st.just(range(len(values))))
        parts = parts_of(samples, cuts)
        assert_close(result_of(case.make(), parts), expected, case)
        if not case.ordered:
            assert_close(result_of(case.make(), data.draw(st.permutations(parts))), expected, case)

    @for_each
    def test_fixed_streams(self, case):
        """Values far from zero, and many values, give the oracle's result, whole and in parts."""
        for values in FIXED.values():
            samples = samples_of(values)
            expected = case.oracle(values, samples.weights)
            for cuts in [[], [3, 3, 70, 150, 151, 250, 330]]:
                assert_close(result_of(case.make(), parts_of(samples, cuts)), expected, case)

    @for_each
    def test_one_value(self, case):
        """A stream of one value has a result as well."""
        assert_close(computed(logged(case.make(), [2.5])), case.oracle(np.array([2.5]), np.ones(1)), case)

    @for_each
    def test_nothing(self, case):
        """Of nothing the result is that of the case, and torchmetrics warns as of any metric."""
        reducer = case.make()
        with pytest.warns(UserWarning, match="was called before the ``update`` method"):
            assert_same(computed(reducer), case.empty)
        reducer.update(torch.tensor([]))
        assert_same(computed(reducer), case.empty)

    @for_each
    def test_results_are_floats(self, case):
        """A result is a float, several by name, or counts; of values and of nothing."""
        reducer = case.make()
        for values in ([], VALUES):
            result = reducer.result(reducer.summarize(samples_of(values)))
            numbers = list(result.values()) if isinstance(result, dict) else [result]
            assert isinstance(result, Counts) or all(isinstance(number, float) for number in numbers)

    @for_each
    def test_infinite_values(self, case):
        """Infinite values are no error and no reason for a warning, in one part or in several."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for values in ([np.inf], [-np.inf], [1, np.inf], [-np.inf, 2, np.inf], [np.inf, np.inf]):
                assert plain(logged(case.make(), values).compute()) is not None
                for cuts in ([], [1]):
                    assert result_of(case.make(), parts_of(samples_of(values), cuts)) is not None

    @for_each
    def test_weights_of_values(self, case):
        """A value of weight w counts as w equal values; where weights do not matter, they change nothing."""
        weights = np.array([3.0, 1.0, 2.0, 4.0])
        used = weights if case.uses_weights else np.ones(4)
        weighted = logged(case.make(), VALUES, weights.tolist())
        assert_close(computed(weighted), case.oracle(np.array(VALUES), used), case)

    @for_each
    def test_a_batch_size_counts_where_it_should(self, case):
        """A scalar counts as often as its batch has samples, or once, as the reducer is weighted or not."""
        stream = Stream([case.make()])
        counts = np.array([3.0, 1.0, 2.0, 5.0])
        for step, (value, count) in enumerate(zip(VALUES, counts, strict=True)):
            stream.add_snapshot(value, int(count), step)
        weights = counts if case.make().weighted else np.ones(4)
        assert_close(plain(stream.results(stream.summary())[0]), case.oracle(np.array(VALUES), weights), case)


class TestStates:
    """What a reducer remembers of a part of a stream."""

    @for_each
    def test_an_empty_part_changes_nothing(self, case):
        """What nothing is remembered as can be merged from either side."""
        reducer = case.make()
        state, empty = reducer.summarize(samples_of(VALUES)), reducer.summarize(samples_of([]))
        expected = plain(reducer.result(state))
        for left, right in ((state, empty), (empty, state)):
            assert_same(plain(reducer.result(reducer.merge(left, right))), expected)
        assert_same(plain(reducer.result(reducer.merge(empty, empty))), case.empty)

    @for_each
    def test_nothing_changes_samples_and_states(self, case):
        """States are float64 arrays of one dimension; making and merging them, and results, change nothing given."""
        reducer = case.make()
        given_samples = [samples_of(values) for values in ([], VALUES, VALUES[::-1])]
        states = [reducer.summarize(samples) for samples in given_samples]
        before = copy.deepcopy(states)
        for left in states:
            assert left.dtype == np.float64
            assert left.ndim == 1
            reducer.result(left)
            for right in states:
                reducer.result(reducer.merge(left, right))
        for state, earlier in zip(states, before, strict=True):
            np.testing.assert_array_equal(state, earlier)
        for samples, values in zip(given_samples, ([], VALUES, VALUES[::-1]), strict=True):
            for part, earlier in zip(samples, samples_of(values), strict=True):
                np.testing.assert_array_equal(part, earlier)

    def test_reducers_of_one_stream_give_what_each_gives_alone(self):
        """All reducers together, where some share a state, give what each gives with a stream of its own."""
        reducers = [case.make() for case in CASES]
        streams_alone = [Stream([case.make()]) for case in CASES]
        together = Stream(reducers)
        for stream in (together, *streams_alone):
            for step, (value, count) in enumerate(zip(VALUES, [3, 1, 2, 5], strict=True)):
                stream.add(value, repeat=count, step=step)
        alone = [stream.results(stream.summary())[0] for stream in streams_alone]
        for result, expected in zip(together.results(together.summary()), alone, strict=True):
            assert_same(plain(result), plain(expected))


class TestNan:
    """NaN is left out, makes the result NaN, or raises."""

    NAN_AMONG = [tensor([np.nan, 2.0]), tensor([1.0, np.nan]), tensor([np.nan, 4.0, np.nan]), tensor([0.5])]

    @pytest.mark.parametrize("case", TAKES_NAN, ids=str)
    def test_each_policy(self, case):
        """By default NaN is as if it were not there; else each number of the result is NaN, or asking for it raises."""
        expected = case.oracle(np.array(VALUES), np.ones(4))
        assert case.make().nan_policy == "omit"
        assert_close(computed(logged(case.make(), self.NAN_AMONG)), expected, case)
        assert_same(computed(logged(case.make(), [np.nan, tensor([np.nan, np.nan])])), case.empty)

        propagating, raising = case.make(), case.make()
        propagating.nan_policy, raising.nan_policy = "propagate", "raise"
        for reducer in (propagating, raising):
            assert_close(computed(logged(reducer, VALUES)), expected, case)
            logged(reducer, self.NAN_AMONG)
        result = propagating.compute()
        if isinstance(result, dict):
            result.pop("edges", None)  # The bins of a histogram are known all the same.
        for number in result.values() if isinstance(result, dict) else [result]:
            assert number.isnan().all()
        message = (
            f"{raising.name} got 4 values that are NaN, and nan_policy='raise'."
            " Find where they come from, or leave them out with nan_policy='omit'."
        )
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            raising.compute()

    @pytest.mark.parametrize("case", COUNTS_NAN, ids=str)
    def test_what_counts_nan(self, case):
        """NaN is counted, over all parts."""
        reducer = logged(case.make(), self.NAN_AMONG)
        assert computed(reducer) == 4
        parts = [samples_of([1.0], nan_count=2), samples_of([], nan_count=3)]
        assert result_of(case.make(), parts) == 5

    @pytest.mark.parametrize(
        "made", {type(made): made for made in [case.make() for case in CASES]}.values(), ids=lambda one: one.name
    )
    def test_the_policy_is_an_argument(self, made):
        """Each class takes the policy, and refuses another word; to those that count NaN it makes no difference."""
        kind, parameters = type(made), inspect.signature(type(made)).parameters
        needed = [name for name, one in parameters.items() if one.default is inspect.Parameter.empty]
        # Each is kept under its own name, but for a function.
        given = {name: getattr(made, name, len) for name in needed}
        expected = "omit" if kind is NanCount else "propagate"
        assert kind(**given, nan_policy="propagate").nan_policy == expected
        message = f"{kind.__name__} got nan_policy='ignore'; expected 'omit', 'propagate' or 'raise'."
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            kind(**given, nan_policy="ignore")


class TestMetric:
    """A reducer is a Metric as torchmetrics and Lightning know it."""

    @for_each
    def test_copies_in_the_middle_of_a_stream(self, case):
        """A copy and a pickle go on from where they were made, and none knows of the others."""
        reducer = logged(case.make(), VALUES[:2])
        can_be_pickled = "lambda" not in repr(vars(case.make()))
        others = [copy.deepcopy(reducer), *([pickle.loads(pickle.dumps(reducer))] if can_be_pickled else [])]
        logged(reducer, VALUES[2:])
        ones = np.ones(5)
        for other in others:
            logged(other, [3.0, 5.0, 6.0])
            assert_close(computed(other), case.oracle(np.array([2.0, 1.0, 3.0, 5.0, 6.0]), ones), case)
        assert_close(computed(reducer), case.oracle(np.array(VALUES), ones[:4]), case)

    @for_each
    def test_forward(self, case):
        """A call returns the result of its values alone, or of all if these count together, and keeps them."""
        reducer, seen = case.make(), []
        for step, batch in enumerate([VALUES[:2], VALUES[2:3], VALUES[3:]]):
            part = samples_of(batch, steps=np.full(len(batch), step))
            seen.append(part)
            expected = result_of(case.make(), [part] if reducer.span == "epoch" else seen)
            assert_close(plain(reducer(tensor(batch))), expected, case)
        assert_close(computed(reducer), result_of(case.make(), seen), case)

    @pytest.mark.parametrize("first", [VALUES[:1], VALUES[:2]], ids=["one value", "two values"])
    def test_a_collection_of_all(self, first):
        """In a MetricCollection, no reducer takes the state of another that looks like its own."""
        names = [f"reducer{index}" for index in range(len(CASES))]
        collection = MetricCollection({name: case.make() for name, case in zip(names, CASES, strict=True)})
        for _ in range(2):
            for batch in (first, VALUES, [3.0]):
                collection.update(tensor(batch))
            assert collection.compute()
            for name, case in zip(names, CASES, strict=True):
                alone = logged(case.make(), map(tensor, (first, VALUES, [3.0])))
                assert_same(computed(collection[name]), computed(alone))
            collection.reset()
