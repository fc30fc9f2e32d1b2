"""What the stream of any reducer and the base class of all do, shown with reducers of several kinds.

The value at index i is logged at step i, unless a test says otherwise.
"""

from __future__ import annotations

import itertools
import re
import tracemalloc
import warnings
import weakref

import numpy as np
import pytest
import torch

from lightning_trackplus.reducers.base import Reducer
from lightning_trackplus.reducers.function import Function
from lightning_trackplus.reducers.mean import Mean
from lightning_trackplus.reducers.running import SinceLogged
from lightning_trackplus.reducers.stream import Stream
from lightning_trackplus.reducers.sum import Sum
from lightning_trackplus.reducers.top_k import TopK
from tests.support.reducer_cases.feeding import (
    FIXED,
    assert_near,
    assert_same,
    computed,
    logged,
    plain,
    result_of,
    samples_of,
    state_of,
    tensor,
)
from tests.support.reducer_cases.series import largest_jump

VALUES = [2.0, 1.0, 4.0, 0.5]


REDUCERS = {
    "weighted": Mean,
    "of all values in their order": lambda: Function(largest_jump),
    "several numbers with their steps": lambda: TopK(3, steps=True),
    "of another span": lambda: SinceLogged(Sum()),
}

for_several = pytest.mark.parametrize("make", REDUCERS.values(), ids=REDUCERS)


def results_in(reducer):
    """Return the tensors that a result has."""
    result = reducer.compute()
    return list(result.values()) if isinstance(result, dict) else [result]


class TestWeights:
    """A value of weight w counts as w equal values."""

    @pytest.mark.parametrize("kind", [float, int, tensor])
    def test_kinds_of_weights(self, kind):
        """Weights are numbers or tensors."""
        weights = np.array([3, 1, 2, 4])
        weighted = logged(Mean(), VALUES, [kind(weight) for weight in weights])
        repeated = logged(Mean(), [tensor(np.repeat(v, w)) for v, w in zip(VALUES, weights, strict=True)])
        assert computed(weighted) == computed(repeated) == np.average(VALUES, weights=weights)

    @for_several
    def test_a_weight_for_each_value(self, make):
        """A tensor of weights goes with a tensor of values, and is expanded to its shape."""
        values, weights = tensor([VALUES, VALUES[::-1]]), tensor([3.0, 1.0, 2.0, 4.0])
        expanded, flat = make(), make()
        expanded.update(values, weights)
        flat.update(values.flatten(), weights.repeat(2).to(torch.int32))
        assert_same(computed(expanded), computed(flat))
        samples = samples_of(values.flatten().numpy(), np.tile(weights.numpy(), 2), np.zeros(8))
        assert_same(computed(flat), result_of(make(), [samples]))

    @for_several
    def test_a_weight_of_zero_leaves_out(self, make):
        """What has no weight, NaN too, is as if it were not there."""
        reducer, without = make(), make()
        reducer.nan_policy = "raise"
        reducer.update(tensor([9.0, *VALUES, np.nan, -np.inf]), tensor([0.0, 1, 1, 1, 1, 0, 0]))
        reducer.update(7.0, 0)
        reducer.update(np.nan, tensor(0.0))
        without.update(tensor(VALUES))
        assert_same(computed(reducer), computed(without))

    @pytest.mark.parametrize("weight", [-1.0, -1, np.inf, np.nan, tensor(-1.0), tensor([[1.0, -0.5]])], ids=str)
    def test_a_weight_that_is_none(self, weight):
        """A weight below 0 or not finite is refused, and nothing of the call is kept."""
        reducer = logged(Mean(), VALUES)
        before = computed(reducer)
        message = f"A reducer got the weights {weight!r}; expected finite numbers of at least 0."
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            reducer.update(tensor([[7.0, 8.0]]), weight)
        assert_same(computed(reducer), before)

    @pytest.mark.parametrize(
        ("value", "weight", "shapes"),
        [
            (tensor([1.0, 2.0]), tensor([1.0, 1.0, 1.0]), "(2,) and weights of shape (3,)"),
            (1.0, tensor([1.0, 1.0]), "() and weights of shape (2,)"),
            (tensor([1.0]), tensor([[1.0], [1.0]]), "(1,) and weights of shape (2, 1)"),
        ],
        ids=["vectors", "scalar", "dimensions"],
    )
    def test_weights_of_another_shape(self, value, weight, shapes):
        """Weights that do not fit the values are refused."""
        message = f"A reducer got values of shape {shapes}; expected one weight for each value, or a single number."
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            Mean().update(value, weight)


class TestTensors:
    """What kind of tensor the values come in does not matter, nor what becomes of it."""

    @for_several
    def test_dtypes(self, make):
        """Values of any dtype are summarized as float64, from scalars and from vectors."""
        dtypes = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool)
        for dtype in dtypes:
            values = tensor([2.0, 1.0, 4.0, 0.0] if dtype is not torch.bool else [1.0, 1.0, 0.0, 1.0])
            for given, expected in ((list(values.to(dtype)), list(values)), ([values.to(dtype)], [values])):
                reducer = logged(make(), given)
                assert_same(computed(reducer), computed(logged(make(), expected)))
                assert {result.dtype for result in results_in(reducer)} == {torch.float64}

    @for_several
    def test_numbers(self, make):
        """Python's numbers are as good as tensors of no dimension, and of one value."""
        for numbers in ([2.0, 1.0, 4.0], [2, 1, 4], [True, True, False]):
            reducer = logged(make(), numbers)
            assert all(isinstance(result, torch.Tensor) for result in results_in(reducer))
            assert_same(computed(reducer), computed(logged(make(), map(torch.tensor, numbers))))
            assert_same(computed(reducer), computed(logged(make(), [torch.tensor([[number]]) for number in numbers])))

    @for_several
    def test_shapes(self, make):
        """Values come in any shape, in the order of their indices, also where they do not lie so in memory."""
        matrix = tensor([[1.0, 9.0, 2.0, 9.0], [4.0, 9.0, 0.5, 9.0]])
        flat = logged(make(), [tensor([1.0, 2.0, 4.0, 0.5]), 3.0, 5.0])
        for every_other in (matrix[:, ::2], matrix[:, ::2].T.contiguous().T, matrix[:, ::2].reshape(1, 2, 2, 1)):
            reducer = logged(make(), [every_other, tensor([3.0]), tensor(5.0)])
            assert_same(computed(reducer), computed(flat))

    @for_several
    def test_a_sign_that_torch_puts_off(self, make):
        """The imaginary parts of conjugates, whose sign torch turns when it reads them."""
        values = tensor([2.0, -1.0, 4.0, 0.5])
        lazy = torch.complex(values, -values).conj().imag
        assert lazy.is_neg()
        assert_same(computed(logged(make(), [lazy, lazy[:1]])), computed(logged(make(), [values, values[:1]])))

    def test_weights_with_a_sign_that_torch_puts_off(self):
        """They are weights like others."""
        values, weights = tensor([2.0, 1.0]), tensor([1.0, 3.0])
        reducer = Mean()
        reducer.update(values, torch.complex(weights, -weights).conj().imag)
        assert reducer.compute() == 1.25

    @for_several
    def test_no_graph_is_kept(self, make):
        """Values and weights with a gradient are taken, and what they were computed from is let go."""
        leaf = tensor(VALUES).requires_grad_()
        values, weights = leaf * 1, (leaf * 0) + 1
        reducer = make()
        reducer.update(values, weights)
        held = [weakref.ref(values), weakref.ref(weights)]
        del values, weights
        assert [ref() for ref in held] == [None, None]
        assert not any(result.requires_grad for result in results_in(reducer))
        assert_same(computed(reducer), result_of(make(), [samples_of(VALUES, steps=np.zeros(4))]))

    @for_several
    def test_infer_media_mode(self, make):
        """Values made in inference mode are as others, and so is a reducer that is updated in it."""
        with torch.inference_mode():
            values = tensor(VALUES)
            inside = logged(make(), [values])
        outside = logged(make(), [values])
        expected = result_of(make(), [samples_of(VALUES, steps=np.zeros(4))])
        assert_same(computed(inside), expected)
        assert_same(computed(outside), expected)

    @for_several
    def test_a_later_change_of_the_tensors_changes_nothing(self, make):
        """The caller may write into its tensors; so may it into a result."""
        values, weights = tensor(VALUES), tensor([1.0] * 4)
        scalar, weight = tensor(3.0), tensor([1.0])
        reducer = make()
        reducer.update(values, weights)
        reducer.update(scalar[None], weight)
        for one in (values, weights, scalar, weight):
            one.fill_(77)
        expected = result_of(make(), [samples_of([*VALUES, 3.0], steps=[0, 0, 0, 0, 1])])
        assert_same(computed(reducer), expected)
        for result in results_in(reducer):
            result.fill_(77)
        assert_same(computed(reducer), expected)


class TestMetric:
    """A reducer is a Metric as torchmetrics and Lightning know it."""

    @for_several
    @pytest.mark.parametrize(
        "cast", [lambda m: m.to(torch.bfloat16), lambda m: m.half(), lambda m: m.float()], ids=["to", "half", "float"]
    )
    def test_a_model_that_is_cast_leaves_the_sum_alone(self, make, cast):
        """A module in half precision, cast before, between and after, has a reducer in float64."""
        model = torch.nn.Module()
        model.reducer = make()
        cast(model)
        values = torch.arange(400, dtype=torch.bfloat16) / 7
        for value in values:
            model.reducer.update(value)
        expected = computed(logged(make(), values.tolist()))
        assert_same(computed(model.reducer), expected)
        cast(model)
        assert_same(computed(model.reducer), expected)
        assert all(result.dtype == torch.float64 for result in results_in(model.reducer))

    @for_several
    def test_reset(self, make):
        """After a reset, a reducer is as new, its steps too."""
        reducer = logged(make(), [9.0, 8.0, np.nan])
        reducer.compute()
        reducer.reset()
        with pytest.warns(UserWarning, match="was called before"):
            reset = computed(reducer)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert_same(reset, computed(make()))
        assert_same(computed(logged(reducer, VALUES)), computed(logged(make(), VALUES)))

    @for_several
    def test_a_result_may_be_asked_for_in_between(self, make):
        """To compute does not disturb the stream."""
        reducer = make()
        for count, value in enumerate(VALUES, start=1):
            reducer.update(value)
            for _ in range(2):
                assert_same(computed(reducer), result_of(make(), [samples_of(VALUES[:count])]))

    @for_several
    def test_merge_state(self, make):
        """What another reducer has seen counts as earlier, also where a result has been asked for before."""
        earlier, later = logged(make(), VALUES[:3]), logged(make(), [*VALUES[3:], np.nan, 3.0])
        earlier.compute()
        later.compute()
        later.merge_state(earlier)
        reducer = make()
        parts = [samples_of(VALUES[:3])], [samples_of([*VALUES[3:], 3.0], steps=[0, 2], nan_count=1)]
        merged = reducer.merge(*(state_of(reducer, part) for part in parts))
        assert_same(computed(later), plain(reducer.result(merged)))
        assert_same(computed(earlier), computed(logged(make(), VALUES[:3])))
        # The next value comes after all of both.
        merged = reducer.merge(merged, reducer.summarize(samples_of([9.0], steps=[6])))
        assert_same(computed(logged(later, [9.0])), plain(reducer.result(merged)))


class TestManyCalls:
    """Calls are summarized many at a time."""

    @for_several
    def test_more_calls_than_are_summarized_at_once(self, make):
        """Numbers, vectors among them, and vectors alone are as one array of all."""
        values = FIXED["many"][:5000]
        alone, mixed, vectors = (Stream([make()]) for _ in range(3))
        for step, value in enumerate(values):
            alone.add_snapshot(float(value), 1, step)
            mixed.add(float(value) if step % 3 else tensor([value]), step=step)
            vectors.add(tensor([value, value]), step=step)
        once, twice = samples_of(values), samples_of(np.repeat(values, 2), steps=np.repeat(np.arange(5000), 2))
        for stream, samples in ((alone, once), (mixed, once), (vectors, twice)):
            assert_near(plain(stream.results(stream.summary())[0]), result_of(make(), [samples]), 1e-13, 0)

    @pytest.mark.parametrize(
        ("size", "calls"), [(0, 2048), (1, 2048), (3, 2048), (2000, 64)], ids=["numbers", "ones", "vectors", "long"]
    )
    def test_memory_stays_flat(self, size, calls):
        """However much is logged, a stream holds no more than it summarizes at once."""
        stream, steps = Stream([Mean()]), itertools.count()

        def peak_of(count):
            tracemalloc.reset_peak()
            for step in itertools.islice(steps, count):
                if size:
                    stream.add(torch.full((size,), 0.5), 2.0, step=step)
                else:
                    stream.add_snapshot(step / 7, 3, step)
            return tracemalloc.get_traced_memory()[1]

        tracemalloc.start()
        try:
            at_first, later = peak_of(2 * calls), peak_of(8 * calls)
        finally:
            tracemalloc.stop()
        assert later < 1.5 * at_first
        assert at_first < 5e6

    @pytest.mark.parametrize("as_value", [float, lambda value: tensor([value, value])], ids=["numbers", "vectors"])
    def test_a_look_at_the_state_changes_nothing(self, as_value):
        """A stream whose state is saved all the time is summarized in the same parts as another one."""

        def parts(is_saved):
            parts = Parts()
            for step in range(5000):
                parts.update(as_value(step))
                if is_saved and step % 50 == 0:
                    assert parts.metric_state["parts"]
            return parts.compute()

        assert parts(is_saved=True) == parts(is_saved=False) == 3


class Parts(Reducer):
    """The number of parts in which a stream was summarized."""

    name = "parts"

    def summarize(self, samples):
        return np.array([float(len(samples.values) > 0)])

    def merge(self, left, right):
        return left + right

    def result(self, state):
        return state[0]
