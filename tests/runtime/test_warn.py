"""Warnings that are shown once: by whom, for what, and where they point."""

from __future__ import annotations

import copy
import pickle
import warnings

import pytest
from lightning_utilities.core.rank_zero import rank_zero_only

from lightning_trackplus.runtime.warn import WarnOnce


def shown(*calls):
    """Return the messages that calls show, and the files that these point to."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for call in calls:
            call()
    return [(str(one.message), one.filename) for one in caught]


@pytest.mark.parametrize("on_each_rank", [False, True])
def test_a_warning_is_shown_once_for_an_object_and_its_copies(on_each_rank):
    """A message, or the first of those with one key, comes once; it points to the line of the caller."""
    once = WarnOnce()

    def say(message, key=None, by=once):
        return lambda: by(message, key, on_each_rank=on_each_rank, stacklevel=1)

    found = shown(say("a"), say("a"), say("b"), say("c", "key"), say("d", "key"))
    assert found == [(message, __file__) for message in "abc"]
    copies = [copy.deepcopy(once), pickle.loads(pickle.dumps(once))]
    assert shown(*(say("a", by=one) for one in copies)) == []
    assert shown(*(say("e", by=one) for one in copies), say("a", by=WarnOnce())) == [
        (message, __file__) for message in "eea"
    ]


def test_other_ranks_say_what_each_has_to_say(monkeypatch):
    """Where this process is not the first, only warnings of each process are shown."""
    monkeypatch.setattr(rank_zero_only, "rank", 1, raising=False)
    once = WarnOnce()
    assert shown(lambda: once("a"), lambda: once("b", on_each_rank=True, stacklevel=1)) == [("b", __file__)]
