"""A function as a reducer: what it is given, what it may return, and how much is kept for it."""

from __future__ import annotations

import functools
import math
import re
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_trackplus.reducers.function import Function
from lightning_trackplus.reducers.types import Samples


def samples_of(steps, values):
    return Samples(np.array(values, dtype=np.float64), np.ones(len(values)), np.array(steps, dtype=np.int64))


def give(reducer, parts):
    """Ask a reducer for its result of parts that came one after the other."""
    reducer.result(functools.reduce(reducer.merge, map(reducer.summarize, parts)))


class Seen:
    """Keeps what it is called with."""

    def __init__(self):
        self.calls = []

    def __call__(self, values):
        self.calls.append(values)
        return 0


def test_it_is_given_a_float64_tensor_of_the_cpu():
    """Whatever was logged, a function is called once, with all values in one dimension."""
    seen = Seen()
    reducer = Function(seen)
    for value in (1, 2.5, torch.tensor([[3, 4]], dtype=torch.int32), torch.tensor([], dtype=torch.float16)):
        reducer.update(value)

    reducer.compute()

    (values,) = seen.calls
    assert (values.dtype, values.device.type, values.tolist()) == (torch.float64, "cpu", [1, 2.5, 3, 4])


def test_it_is_not_called_for_nothing():
    """Where no value was seen, or NaN alone, the result is NaN without a call."""
    seen = Seen()
    reducer = Function(seen)
    reducer.update(torch.tensor([math.nan, math.nan]))

    assert math.isnan(reducer.compute())
    assert not seen.calls


@settings(max_examples=40)
@given(
    ranks=st.lists(
        st.lists(st.tuples(st.integers(0, 5), st.floats(-10, 10)), max_size=10).map(
            lambda rank: sorted(rank, key=lambda pair: pair[0])
        ),
        min_size=1,
        max_size=4,
    )
)
def test_values_stand_in_the_order_of_steps_and_in_a_step_of_ranks(ranks):
    """The values of several processes are sorted by step, and otherwise as they came."""
    seen = Seen()
    parts = [samples_of([step for step, _ in rank], [value for _, value in rank]) for rank in ranks]

    give(Function(seen), parts)

    expected = [value for step in range(6) for rank in ranks for at, value in rank if at == step]
    assert [call.tolist() for call in seen.calls] == ([expected] if expected else [])


def test_a_function_cannot_change_what_is_kept():
    """A function that works in place, such as a sort, leaves the values as they were."""
    seen = Seen()
    reducer = Function(lambda x: seen(x.clone()) + x.mul_(0).sum())
    state = reducer.summarize(samples_of([0, 1], [3.0, 1.0]))

    for _ in range(2):
        reducer.result(state)

    assert [call.tolist() for call in seen.calls] == [[3, 1], [3, 1]]


@pytest.mark.parametrize(
    "returned",
    [
        3,
        3.0,
        True,
        np.float32(3),
        np.array([3.0]),
        torch.tensor(3),
        torch.tensor([[3.0]]),
        torch.ones(1).requires_grad_(),
    ],
    ids=repr,
)
def test_any_one_number_is_a_result(returned):
    """A number, an array or a tensor of one element is a float."""
    reducer = Function(lambda _: returned)

    result = reducer.result(reducer.summarize(samples_of([0], [1.0])))

    assert type(result) is float
    assert result == np.asarray(torch.as_tensor(returned).detach()).item()


@pytest.mark.parametrize(
    "returned",
    [None, "three", torch.tensor([1.0, 2.0]), torch.tensor([]), [1, 2], {"a": 1}],
    ids=repr,
)
def test_what_is_no_number_is_refused(returned):
    """The message says what the function was given and what it returned."""

    def odd(values):
        return returned

    message = f"reduce_fx=odd returned {returned!r} for 2 values; expected one number or a tensor of one element."
    reducer = Function(odd)
    reducer.update(torch.tensor([1.0, 2.0]))
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        reducer.compute()


class Spread:
    def __call__(self, values):
        return values.max() - values.min()


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda x: x, "lambda"),
        (functools.partial(functools.partial(torch.quantile, q=0.5)), "quantile"),
        (Spread(), "Spread"),
        (torch.median, "median"),
        (torch.nn.Identity(), "Identity"),
    ],
    ids=["lambda", "partial", "object", "torch", "module"],
)
def test_a_function_gives_its_name(function, name):
    """The name of a reducer is that of the function, of what a partial calls, or of the type of an object."""
    assert Function(function).name == name


@pytest.mark.parametrize("sizes", [[12], [5, 7], [2] * 6, [1] * 12], ids=str)
def test_no_more_than_so_many_values_are_kept(sizes):
    """Of more values than fit, the first are kept, and one warning says so, however they come."""
    seen = Seen()
    reducer = Function(seen, max_values=4)
    message = (
        "reduce_fx=Seen uses the first 4 values only, which take 6.4e-05 MB. Use a reducer that does not store all"
        " values, such as 'p95' or a Reducer of your own, or raise the limit with Function(…, max_values=…)."
    )
    values, steps = np.arange(12.0), np.arange(12)
    ends = np.cumsum(sizes)[:-1]
    parts = [samples_of(*both) for both in zip(np.split(steps, ends), np.split(values, ends), strict=True)]

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        give(reducer, parts)

    assert [str(one.message) for one in caught] == [message]
    assert [one.category for one in caught] == [UserWarning]
    assert [call.tolist() for call in seen.calls] == [[0, 1, 2, 3]]


def test_of_several_processes_the_first_steps_are_kept():
    """A process with a low rank does not take the room of the others."""
    seen = Seen()
    parts = [samples_of(range(3), [rank * 10, rank * 10 + 1, rank * 10 + 2]) for rank in range(3)]

    with pytest.warns(UserWarning, match="the first 4 values only"):
        give(Function(seen, max_values=4), parts)

    assert [call.tolist() for call in seen.calls] == [[0, 10, 20, 1]]


@pytest.mark.filterwarnings("error")
def test_as_many_values_as_fit_are_no_reason_for_a_warning():
    """The cap itself is not beyond the cap."""
    seen = Seen()
    give(Function(seen, max_values=4), [samples_of([0, 1], [1, 2]), samples_of([2, 3], [3, 4])])

    assert [call.tolist() for call in seen.calls] == [[1, 2, 3, 4]]


@pytest.mark.parametrize("max_values", [0, -1, 1e6, True, "many"])
def test_a_cap_that_is_no_number_of_values_is_refused(max_values):
    """A cap is a whole number, at least 1."""
    message = f"Function got max_values={max_values!r}; expected an integer of at least 1."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Function(len, max_values)
