"""What every reducer keeps: its oracle, whatever the stream, however it is cut, and whoever asks.

The value at index i is logged at step i, unless a test says otherwise.
"""

from __future__ import annotations

import copy
import functools
import inspect
import pickle
import re
import warnings
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics import MetricCollection

from lightning_trackplus.reducers.samples import Counts
from lightning_trackplus.reducers.stream import Stream
from lightning_trackplus.reducers.sums import NanCount
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
    state_of,
    streams,
    weights_of,
)

CASES = [*basic.CASES, *distribution.CASES, *series.CASES]
COUNTS_NAN = [case for case in CASES if "nan_count" in str(case)]
TAKES_NAN = [case for case in CASES if case not in COUNTS_NAN]
VALUES = [2.0, 1.0, 4.0, 0.5]

for_each = pytest.mark.parametrize("case", CASES, ids=str)
for_each_that_takes_nan = pytest.mark.parametrize("case", TAKES_NAN, ids=str)
some_examples = settings(max_examples=20, deadline=None)


def tensor(values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype)


def with_policy(case, policy):
    reducer = case.make()
    reducer.nan_policy = policy
    return reducer


class TestTheOracle:
    """A result is what the oracle says."""

    @for_each
    @some_examples
    @given(data=st.data())
    def test_any_stream(self, case, data):
        """Values of any scale, with whole weights, give the oracle's result."""
        values = data.draw(streams(case))
        weights = data.draw(weights_of(case, values))
        assert_close(result_of(case.make(), [samples_of(values, weights)]), case.oracle(values, weights), case)

    @for_each
    @pytest.mark.parametrize("stream", FIXED)
    def test_a_fixed_stream(self, case, stream):
        """Values far from zero, and many values, give the oracle's result, whole and in parts."""
        values = FIXED[stream]
        samples = samples_of(values)
        expected = case.oracle(values, samples.weights)
        for cuts in [[], [3, 3, 70, 150, 151, 250, 330]]:
            assert_close(result_of(case.make(), parts_of(samples, cuts)), expected, case)

    @for_each
    def test_calls_that_are_summarized_many_at_a_time(self, case):
        """A stream of more calls than are summarized at once, and then a vector, is as any other."""
        values = FIXED["many"][:5000]
        stream = Stream([case.make()])
        for step, value in enumerate(values):
            stream.add_number(float(value), 1, step)
        assert_close(plain(stream.results(stream.summary())[0]), case.oracle(values, np.ones(5000)), case)

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
    @pytest.mark.parametrize(
        "values", [[np.inf], [-np.inf], [1, np.inf], [-np.inf, 2, np.inf], [np.inf, np.inf]], ids=str
    )
    def test_infinite_values(self, case, values):
        """Infinite values are no error and no reason for a warning, in one part or in several."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert plain(logged(case.make(), values).compute()) is not None
            for cuts in ([], [1]):
                assert result_of(case.make(), parts_of(samples_of(values), cuts)) is not None


class TestParts:
    """A stream may be cut anywhere."""

    @for_each
    @some_examples
    @given(data=st.data())
    def test_any_cut_over_time(self, case, data):
        """Parts, some of them empty, merged in their order, are as the whole."""
        values = data.draw(streams(case))
        samples = samples_of(values, data.draw(weights_of(case, values)))
        cuts = data.draw(st.lists(st.integers(0, len(values)), max_size=6) | st.just(range(len(values))))
        assert_close(
            result_of(case.make(), parts_of(samples, cuts)), case.oracle(samples.values, samples.weights), case
        )

    @pytest.mark.parametrize("case", [case for case in CASES if not case.ordered], ids=str)
    @some_examples
    @given(data=st.data())
    def test_any_order_of_the_parts(self, case, data):
        """Parts give the same in whatever order they come, where the order means nothing."""
        samples = samples_of(data.draw(streams(case, min_size=2)))
        parts = parts_of(samples, data.draw(st.lists(st.integers(0, len(samples.values)), max_size=5)))
        shuffled = data.draw(st.permutations(parts))
        assert_close(result_of(case.make(), shuffled), case.oracle(samples.values, samples.weights), case)

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
    def test_states_are_arrays_that_nothing_changes(self, case):
        """States are float64 arrays of one dimension; merging them and asking for a result leaves them alone."""
        reducer = case.make()
        states = [reducer.summarize(samples_of(values)) for values in ([], VALUES, VALUES[::-1])]
        before = copy.deepcopy(states)
        for left in states:
            assert left.dtype == np.float64
            assert left.ndim == 1
            reducer.result(left)
            for right in states:
                reducer.result(reducer.merge(left, right))
        for state, earlier in zip(states, before, strict=True):
            np.testing.assert_array_equal(state, earlier)

    @for_each
    def test_samples_are_left_alone(self, case):
        """To summarize samples does not change them."""
        samples = samples_of(VALUES)
        case.make().summarize(samples)
        for part, earlier in zip(samples, samples_of(VALUES), strict=True):
            np.testing.assert_array_equal(part, earlier)

    @for_each
    def test_states_survive_pickle(self, case):
        """Parts that went through pickle, as between processes, merge as those that did not."""
        reducer = case.make()
        parts = parts_of(samples_of(VALUES), [1, 3])
        states = [reducer.summarize(part) for part in parts]
        merged = functools.reduce(reducer.merge, pickle.loads(pickle.dumps(states)))
        assert_same(plain(reducer.result(merged)), plain(reducer.result(functools.reduce(reducer.merge, states))))

    def test_reducers_of_one_stream_give_what_each_gives_alone(self):
        """All reducers together, where some share a state, give what each gives with a stream of its own."""
        reducers = [case.make() for case in CASES]
        streams_alone = [Stream([case.make()]) for case in CASES]
        together = Stream(reducers)
        for stream in (together, *streams_alone):
            for step, (value, count) in enumerate(zip(VALUES, [3, 1, 2, 5], strict=True)):
                stream.add(value, copies=count, step=step)
        alone = [stream.results(stream.summary())[0] for stream in streams_alone]
        for result, expected in zip(together.results(together.summary()), alone, strict=True):
            assert_same(plain(result), plain(expected))

    @for_each
    def test_a_batch_size_counts_where_it_should(self, case):
        """A scalar counts as often as its batch has samples, or once, as the reducer is weighted or not."""
        stream = Stream([case.make()])
        counts = np.array([3.0, 1.0, 2.0, 5.0])
        for step, (value, count) in enumerate(zip(VALUES, counts, strict=True)):
            stream.add_number(value, int(count), step)
        weights = counts if case.make().weighted else np.ones(4)
        assert_close(plain(stream.results(stream.summary())[0]), case.oracle(np.array(VALUES), weights), case)


class TestNan:
    """NaN is left out, makes the result NaN, or raises."""

    NAN_AMONG = [tensor([np.nan, 2.0]), tensor([1.0, np.nan]), tensor([np.nan, 4.0, np.nan]), tensor([0.5])]

    @for_each_that_takes_nan
    def test_omit(self, case):
        """NaN among the values is as if it were not there."""
        reducer = logged(case.make(), self.NAN_AMONG)
        assert reducer.nan_policy == "omit"
        assert_close(computed(reducer), case.oracle(np.array(VALUES), np.ones(4)), case)

    @for_each_that_takes_nan
    def test_propagate(self, case):
        """One NaN makes the result NaN, or each number of the result; without it, the result is as ever."""
        reducer = logged(with_policy(case, "propagate"), VALUES)
        assert_close(computed(reducer), case.oracle(np.array(VALUES), np.ones(4)), case)
        result = logged(reducer, self.NAN_AMONG).compute()
        if isinstance(result, dict):
            result.pop("edges", None)  # The bins of a histogram are known all the same.
        for number in result.values() if isinstance(result, dict) else [result]:
            assert number.isnan().all()

    @for_each_that_takes_nan
    def test_raise(self, case):
        """One NaN raises when the result is asked for, and not before; without it, nothing does."""
        reducer = logged(with_policy(case, "raise"), VALUES)
        assert_close(computed(reducer), case.oracle(np.array(VALUES), np.ones(4)), case)
        logged(reducer, self.NAN_AMONG)
        message = (
            f"{reducer.name} was given 4 values that are NaN, and nan_policy='raise'."
            " Find where they come from, or leave them out with nan_policy='omit'."
        )
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            reducer.compute()

    @for_each_that_takes_nan
    def test_nothing_but_nan(self, case):
        """A stream of NaN alone is as one of nothing."""
        assert_same(computed(logged(case.make(), [np.nan, tensor([np.nan, np.nan])])), case.empty)

    @pytest.mark.parametrize("case", COUNTS_NAN, ids=str)
    def test_what_counts_nan(self, case):
        """NaN is counted, over all parts."""
        reducer = logged(case.make(), self.NAN_AMONG)
        assert computed(reducer) == 4
        parts = [samples_of([1.0], nan_count=2), samples_of([], nan_count=3)]
        assert result_of(case.make(), parts) == 5

    @for_each
    def test_the_policy_is_an_argument(self, case):
        """Each class takes the policy, and refuses another word; to those that count NaN it makes no difference."""
        made = case.make()
        kind, parameters = type(made), inspect.signature(type(made)).parameters
        needed = [name for name, one in parameters.items() if one.default is inspect.Parameter.empty]
        # Each is kept under its own name, but for a function.
        given = {name: getattr(made, name, len) for name in needed}
        expected = "omit" if kind is NanCount else "propagate"
        assert kind(**given, nan_policy="propagate").nan_policy == expected
        message = f"{kind.__name__} got nan_policy='ignore'; give 'omit', 'propagate' or 'raise'."
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            kind(**given, nan_policy="ignore")


class TestWeights:
    """A value of weight w counts as w equal values."""

    @for_each
    @pytest.mark.parametrize("kind", [float, int, tensor])
    def test_whole_weights_are_repetitions(self, case, kind):
        """Weights as numbers and as tensors are as many values; where they do not matter, they change nothing."""
        weights = np.array([3, 1, 2, 4])
        weighted = logged(case.make(), VALUES, [kind(weight) for weight in weights])
        used = weights.astype(float) if case.uses_weights else np.ones(4)
        assert_close(computed(weighted), case.oracle(np.array(VALUES), used), case)
        if case.uses_weights:
            repeated = logged(case.make(), [tensor(np.repeat(v, w)) for v, w in zip(VALUES, weights, strict=True)])
            assert_close(computed(weighted), computed(repeated), case)

    @for_each
    def test_a_weight_for_each_value(self, case):
        """A tensor of weights goes with a tensor of values, and is expanded to its shape."""
        values, weights = tensor([VALUES, VALUES[::-1]]), tensor([3.0, 1.0, 2.0, 4.0])
        expanded, flat = case.make(), case.make()
        expanded.update(values, weights)
        flat.update(values.flatten(), weights.repeat(2).to(torch.int32))
        assert_same(computed(expanded), computed(flat))
        steps = np.zeros(8)
        used = np.tile(weights.numpy(), 2) if case.uses_weights else None
        assert_same(computed(flat), result_of(case.make(), [samples_of(values.flatten().numpy(), used, steps)]))

    @for_each
    def test_a_weight_of_zero_leaves_out(self, case):
        """What has no weight, NaN too, is as if it were not there."""
        reducer, without = with_policy(case, "raise"), case.make()
        reducer.update(tensor([9.0, *VALUES, np.nan, -np.inf]), tensor([0.0, 1, 1, 1, 1, 0, 0]))
        reducer.update(7.0, 0)
        reducer.update(np.nan, tensor(0.0))
        without.update(tensor(VALUES))
        assert_same(computed(reducer), computed(without))

    @for_each
    @pytest.mark.parametrize("weight", [-1.0, -1, np.inf, np.nan, tensor(-1.0), tensor([[1.0, -0.5]])], ids=str)
    def test_a_weight_that_is_none(self, case, weight):
        """A weight below 0 or not finite is refused, and nothing of the call is kept."""
        reducer = logged(case.make(), VALUES)
        before = computed(reducer)
        message = f"A reducer got the weights {weight!r}; a weight is a finite number, at least 0."
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            reducer.update(tensor([[7.0, 8.0]]), weight)
        assert_same(computed(reducer), before)

    @for_each
    @pytest.mark.parametrize(
        ("value", "weight", "shapes"),
        [
            (tensor([1.0, 2.0]), tensor([1.0, 1.0, 1.0]), "(2,) and weights of shape (3,)"),
            (1.0, tensor([1.0, 1.0]), "() and weights of shape (2,)"),
            (tensor([1.0]), tensor([[1.0], [1.0]]), "(1,) and weights of shape (2, 1)"),
        ],
        ids=["vectors", "scalar", "dimensions"],
    )
    def test_weights_of_another_shape(self, case, value, weight, shapes):
        """Weights that do not fit the values are refused."""
        message = f"A reducer got values of shape {shapes}; give one weight for each value, or a single number."
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            case.make().update(value, weight)


class TestTensors:
    """What kind of tensor the values come in does not matter, nor what becomes of it."""

    @for_each
    @pytest.mark.parametrize(
        "dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool], ids=str
    )
    def test_dtypes(self, case, dtype):
        """Values of any dtype are summarized as float64."""
        values = tensor([True, True, case.positive, True]) if dtype is torch.bool else tensor([2.0, 1.0, 4.0, 3.0])
        reducer = logged(case.make(), values.to(dtype))
        assert_close(computed(reducer), case.oracle(values.numpy(), np.ones(4)), case)
        vector, expected = case.make(), case.make()
        vector.update(values.to(dtype))
        expected.update(values)
        assert_same(computed(vector), computed(expected))

    @for_each
    @pytest.mark.parametrize("numbers", [[2.0, 1.0, 4.0], [2, 1, 4], [True, True, True]], ids=str)
    def test_numbers(self, case, numbers):
        """Python's numbers are as good as tensors of no dimension."""
        reducer = logged(case.make(), numbers)
        assert all(isinstance(result, torch.Tensor) for result in results_in(reducer))
        assert_same(computed(reducer), computed(logged(case.make(), map(torch.tensor, numbers))))

    @for_each
    def test_shapes(self, case):
        """Values come in any shape, in the order of their indices, also where they do not lie so in memory."""
        matrix = tensor([[1.0, 9.0, 2.0, 9.0], [4.0, 9.0, 0.5, 9.0]])
        flat = logged(case.make(), [tensor([1.0, 2.0, 4.0, 0.5]), 3.0, 5.0])
        for every_other in (matrix[:, ::2], matrix[:, ::2].T.contiguous().T, matrix[:, ::2].reshape(1, 2, 2, 1)):
            reducer = logged(case.make(), [every_other, tensor([3.0]), tensor(5.0)])
            assert_same(computed(reducer), computed(flat))

    @for_each
    def test_no_graph_is_kept(self, case):
        """Values and weights with a gradient are taken, and what they were computed from is let go."""
        leaf = tensor(VALUES).requires_grad_()
        values, weights = leaf * 1, (leaf * 0) + 1
        reducer = case.make()
        reducer.update(values, weights)
        held = [weakref.ref(values), weakref.ref(weights)]
        del values, weights
        assert [ref() for ref in held] == [None, None]
        assert not any(result.requires_grad for result in results_in(reducer))
        assert_same(computed(reducer), result_of(case.make(), [samples_of(VALUES, steps=np.zeros(4))]))

    @for_each
    def test_inference_mode(self, case):
        """Values made in inference mode are as others, and so is a reducer that is updated in it."""
        with torch.inference_mode():
            values = tensor(VALUES)
            inside = logged(case.make(), [values])
        outside = logged(case.make(), [values])
        expected = result_of(case.make(), [samples_of(VALUES, steps=np.zeros(4))])
        assert_same(computed(inside), expected)
        assert_same(computed(outside), expected)

    @for_each
    def test_a_later_change_of_the_tensors_changes_nothing(self, case):
        """The caller may write into its tensors; so may it into a result."""
        values, weights = tensor(VALUES), torch.ones(4)
        scalar, weight = tensor(3.0), torch.ones(1)
        reducer = case.make()
        reducer.update(values, weights)
        reducer.update(scalar[None], weight)
        for one in (values, weights, scalar, weight):
            one.fill_(77)
        expected = result_of(case.make(), [samples_of([*VALUES, 3.0], steps=[0, 0, 0, 0, 1])])
        assert_same(computed(reducer), expected)
        for result in results_in(reducer):
            result.fill_(77)
        assert_same(computed(reducer), expected)


def results_in(reducer):
    """Return the tensors that a result has."""
    result = reducer.compute()
    return list(result.values()) if isinstance(result, dict) else [result]


class TestMetric:
    """A reducer is a Metric as torchmetrics and Lightning know it."""

    @for_each
    @pytest.mark.parametrize("cast", [lambda m: m.to(torch.bfloat16), lambda m: m.half(), lambda m: m.float()])
    def test_a_model_that_is_cast_leaves_the_sum_alone(self, case, cast):
        """A module in half precision, cast before, between and after, has a reducer in float64."""
        model = torch.nn.Module()
        model.reducer = case.make()
        cast(model)
        for _ in range(400):
            model.reducer.update(torch.ones((), dtype=torch.bfloat16))
        expected = case.oracle(np.ones(400), np.ones(400))
        assert_close(computed(model.reducer), expected, case)
        cast(model)
        assert_close(computed(model.reducer), expected, case)
        assert all(result.dtype == torch.float64 for result in results_in(model.reducer))

    @for_each
    @pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
    def test_a_copy_in_the_middle_of_a_stream(self, case, copied):
        """A copy goes on from where it was made, and neither knows of the other."""
        if copied is not copy.deepcopy and "lambda" in repr(vars(case.make())):
            pytest.skip("A lambda cannot be pickled.")
        reducer = logged(case.make(), VALUES[:2])
        other = copied(reducer)
        logged(reducer, VALUES[2:])
        logged(other, [3.0, 5.0, 6.0])
        ones = np.ones(5)
        assert_close(computed(reducer), case.oracle(np.array(VALUES), ones[:4]), case)
        assert_close(computed(other), case.oracle(np.array([2.0, 1.0, 3.0, 5.0, 6.0]), ones), case)

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

    @for_each
    def test_reset(self, case):
        """After a reset, a reducer is as new, its steps too."""
        reducer = logged(case.make(), [9.0, 8.0, np.nan])
        reducer.compute()
        reducer.reset()
        with pytest.warns(UserWarning, match="was called before"):
            assert_same(computed(reducer), case.empty)
        assert_close(computed(logged(reducer, VALUES)), case.oracle(np.array(VALUES), np.ones(4)), case)

    @for_each
    def test_a_result_may_be_asked_for_in_between(self, case):
        """To compute does not disturb the stream."""
        reducer = case.make()
        for count, value in enumerate(VALUES, start=1):
            reducer.update(value)
            for _ in range(2):
                assert_close(computed(reducer), case.oracle(np.array(VALUES[:count]), np.ones(count)), case)

    @for_each
    def test_merge_state(self, case):
        """What another reducer has seen counts as earlier, also where a result has been asked for before."""
        earlier, later = logged(case.make(), VALUES[:3]), logged(case.make(), [*VALUES[3:], np.nan, 3.0])
        earlier.compute()
        later.compute()
        later.merge_state(earlier)
        reducer = case.make()
        parts = [samples_of(VALUES[:3])], [samples_of([*VALUES[3:], 3.0], steps=[0, 2], nan_count=1)]
        merged = reducer.merge(*(state_of(reducer, part) for part in parts))
        assert_close(computed(later), plain(reducer.result(merged)), case)
        assert_close(computed(earlier), case.oracle(np.array(VALUES[:3]), np.ones(3)), case)

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
