"""States are merged by key over any number of ranks, in the order of the ranks."""

from __future__ import annotations

import functools

import pytest
from torch import distributed

from lightning_trackplus.runtime.distributed import gather_objects
from lightning_trackplus.runtime.reduce_states import Compaction, all_reduce_states, rounds, share_of
from tests.support.thread_ranks import in_threads

COUNTS = [2, 3, 7, 33, 63, 64]


def joined(_, left, right):
    """Merge lists, whose order tells in which order they were merged."""
    return [*left, *right]


def given(rank):
    """Return what a rank gives: names that all have, that some have and that it has alone; every eighth is idle."""
    if rank % 8 == 1:
        return {}
    return {"all": [rank], ("odd", rank % 2): [rank], ("few", rank // 5, None): [rank], ("own", rank): [rank]}


def expected(ranks):
    """Return what the ranks have together."""
    merged = {}
    for rank in ranks:
        for key, one in given(rank).items():
            merged[key] = [*merged.get(key, []), *one]
    return merged


@pytest.mark.parametrize("count", COUNTS)
def test_each_rank_has_what_all_give(count):
    """In the order of the ranks, and the keys in the rank's own order first; of a group, what its ranks give."""
    members = list(range(0, count, 3))

    def work(rank):
        group = distributed.new_group(members)
        everything = all_reduce_states(lambda: given(rank), joined)
        of_group = all_reduce_states(lambda: given(rank), joined, group) if rank in members else None
        sums = all_reduce_states(lambda: given(rank), joined, None, lambda key, one: (key, sum(one)))
        assert sums == {key: (key, sum(one)) for key, one in everything.items()}
        return everything, of_group, all_reduce_states(dict, joined), gather_objects(-rank, [0, count - 1])

    for rank, (everything, of_group, nothing, gathered) in enumerate(in_threads(count, work)):
        assert everything == expected(range(count))
        assert list(everything)[: len(given(rank))] == list(given(rank))
        assert of_group == (expected(members) if rank in members else None)
        assert nothing == {}
        assert gathered == ({} if rank else {0: 0, count - 1: 1 - count})


class UnpicklableError(Exception):
    """An exception that no other process can unpickle."""

    def __init__(self, one, two):
        super().__init__(one)


@pytest.mark.parametrize("where", ["make", "count", "compact", "merge", "finish", "pickle", "unpickle"])
@pytest.mark.parametrize("failing", [0, 1, 3, 4])
def test_all_ranks_raise_what_one_raises(where, failing):
    """None waits for another, whatever raises and in whichever rank."""

    class Breaks:
        def __reduce__(self):
            raise UnpicklableError("in pickle", 2)

    def make(rank):
        if where == "make" and rank == failing:
            raise ZeroDivisionError("in make")
        if where == "pickle" and rank == failing:
            return {number: [Breaks()] for number in range(40)}
        if where == "unpickle" and rank == failing:
            return {number: [_Unloadable()] for number in range(40)}
        return {number: [rank] for number in range(40)}

    def merge(_, left, right):
        if where == "merge" and failing in (*left, *right):
            raise KeyError("in merge")
        return [*left, *right]

    def finish(rank, key, state):
        if where == "finish" and failing in (0, rank):
            raise ValueError(f"in finish of {len(state)}")
        return state

    def count(rank, _, state):
        if where == "count" and rank == failing:
            raise ArithmeticError("in count")
        return float(len(state))  # A user's own function need not return an integer.

    def compact(rank, _, state):
        if where == "compact" and rank == failing:
            raise LookupError("in compact")
        return state

    def work(rank):
        compaction = Compaction(4, functools.partial(count, rank), functools.partial(compact, rank))
        try:
            return all_reduce_states(lambda: make(rank), merge, None, functools.partial(finish, rank), compaction)
        except Exception as error:  # noqa: BLE001  it is compared
            return f"{type(error).__name__}: {error}"

    said = {
        "make": "ZeroDivisionError: in make",
        "count": "ArithmeticError: in count",
        "compact": "LookupError: in compact",
        "merge": "KeyError: 'in merge'",
        "finish": "ValueError: in finish of 5",
        "pickle": "RuntimeError: UnpicklableError: in pickle",
        "unpickle": "ZeroDivisionError: division by zero",
    }
    assert in_threads(5, work) == [said[where]] * 5


class _Unloadable:
    def __reduce__(self):
        return eval, ("1 / 0",)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 12, 64, 200, 256])
def test_a_rank_receives_twice_what_it_gives(count):
    """Whatever the number of ranks; three times where that is no power of two, if states keep their size."""
    has = [{f"name {number}" for number in range(1000)} for _ in range(count)]
    received, sent = [0] * count, {}
    plans = [[one for some in rounds(rank, count) for one in some] for rank in range(count)]
    while any(plans):
        for rank, plan in enumerate(plans):
            if plan and plan[0].sends:
                some = {name for name in has[rank] if plan[0].is_sent(name)}
                has[rank] -= set() if plan[0].keeps else some
                sent.setdefault((rank, plan[0].peer), []).append(some)
                plan[0] = plan[0]._replace(sends=False)
        for rank, plan in enumerate(plans):
            if plan and not (plan[0].receives and not sent.get((plan[0].peer, rank))):
                some = sent[plan[0].peer, rank].pop(0) if plan[0].receives else set()
                has[rank] |= some
                received[rank] += len(some)
                plan.pop(0)
    assert {len(one) for one in has} == {1000}
    is_power = count == 1 << (count.bit_length() - 1)
    assert max(received) <= (2200 if is_power else 3200)


def test_shares_do_not_depend_on_the_class_of_a_string():
    """Two processes may log one name as a string and as an enum."""

    class Name(str):
        __slots__ = ()

        def __repr__(self):
            return "another"

    assert share_of(("x", Name("loss"), None)) == share_of(("x", "loss", None))
