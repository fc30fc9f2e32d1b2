"""Numbers as events, against those that tensorboard's own classes make."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.compat.proto.event_pb2 import Event

from lightning_trackplus.formats.scalar_events import ScalarEvents

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
NUMBERS = (
    st.floats() | st.integers(-(2**70), 2**70) | st.sampled_from([10**400, -(10**400), 3.4028235677973366e38, -0.0])
)
STEPS = st.integers(-(2**63), 2**63 - 1)


def float32(number):
    """Return a number as numpy makes it a float32, and infinity where there is no float64 of it."""
    with np.errstate(over="ignore"):
        try:
            return float(np.float32(float(number)))
        except OverflowError:
            return math.copysign(math.inf, 1 if number > 0 else -1)


@settings(max_examples=50)
@given(st.lists(st.tuples(STEPS, st.floats(0, 4e9), st.dictionaries(NAMES, NUMBERS, min_size=1, max_size=5))))
def test_an_event_is_what_tensorboards_classes_make(records):
    """Any numbers under any names are the event that protobuf would serialize, byte by byte."""
    events = ScalarEvents()
    for step, wall_time, numbers in [*records, *records]:
        values = [
            {"tag": name.replace("\0", "\\x00"), "simple_value": float32(number)} for name, number in numbers.items()
        ]
        wanted = Event(wall_time=wall_time, step=step, summary={"value": values})
        assert events.serialized(step, wall_time, numbers) == wanted.SerializeToString()


def test_thousands_of_names_are_events():
    """Each of many sets of names is an event, however often one comes again."""
    events = ScalarEvents()
    for number in [*range(2500), *range(2500)]:
        event = Event.FromString(events.serialized(number, 1.0, {f"name_{number}": 0.5}))
        assert [value.tag for value in event.summary.value] == [f"name_{number}"]


def test_a_name_without_utf8_has_a_tag():
    """A lone surrogate stands in the tag as its escape; so does NUL."""
    event = Event.FromString(ScalarEvents().serialized(0, 1.0, {"a\ud800\0": 1.0}))
    assert [value.tag for value in event.summary.value] == ["a\\ud800\\x00"]
