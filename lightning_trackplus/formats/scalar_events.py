"""Numbers as TensorBoard events, at a fraction of what it costs to make each event of its parts.

One call after the other logs the same names. What an event of these names looks like is made once, by tensorboard's
own classes, and each further event puts other numbers into it. In the same way events are read: one whose bytes are
those of an earlier event but for the numbers is not taken apart by protobuf.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tensorboard.compat.proto.event_pb2 import Event, SourceMetadata
from tensorboard.compat.proto.summary_pb2 import Summary

from lightning_trackplus.formats.layout import OUR_EVENTS

_MOST_LAYOUTS = 1000
_FLOAT_BYTES, _WALL_TIME = 4, 9
_MORE_FOLLOWS = 0x80
_INFINITE_FROM = 3.4028235677973366e38  # As float32 rounds.

OF_BEST = Event(source_metadata=SourceMetadata(writer=f"{OUR_EVENTS.decode()} best")).SerializeToString()
"""How an event of best values ends, which repeats what was logged."""


class ScalarEvents:
    """Makes serialized events of numbers.

    Examples:
        >>> events = ScalarEvents()
        >>> event = Event.FromString(events.serialized(3, 1e9, {"loss": 0.5}))
        >>> event.step, event.summary.value[0].tag, event.summary.value[0].simple_value
        (3, 'loss', 0.5)
    """

    def __init__(self) -> None:
        self._layouts: dict[tuple[str, ...], _Layout] = {}

    def serialized(self, step: int, wall_time: float, numbers: Mapping[str, float]) -> bytes:
        """Return an event."""
        names = tuple(numbers)
        layout = self._layouts.get(names)
        if layout is None:
            if len(self._layouts) >= _MOST_LAYOUTS:
                self._layouts.clear()
            layout = self._layouts[names] = _Layout(names)
        # Messages behind each other are one message.
        head: bytes = Event(wall_time=wall_time, step=step).SerializeToString()
        return head + layout.summary(numbers.values())


class ScalarEvent(NamedTuple):
    """An event of numbers as it was read.

    Attributes:
        step: Its step.
        names: The tags of its values; the same object for events of the same tags.
        numbers: The numbers.
    """

    step: int
    names: tuple[str, ...]
    numbers: Sequence[float]


class ScalarEventReader:
    """Reads serialized events of numbers.

    Examples:
        >>> reader = ScalarEventReader()
        >>> reader.read(ScalarEvents().serialized(3, 1e9, {"loss": 0.5}))
        ScalarEvent(step=3, names=('loss',), numbers=(0.5,))
    """

    def __init__(self) -> None:
        self._layouts: dict[int, list[_Layout]] = {}

    def read(self, data: bytes) -> ScalarEvent | None:
        """Return an event; None if it holds something else than numbers."""
        start, step = _head(data)
        for layout in self._layouts.get(len(data) - start, ()):
            if (numbers := layout.numbers(data, start)) is not None:
                return ScalarEvent(step, layout.names, numbers)
        return self._parsed(data, start)

    def _parsed(self, data: bytes, start: int) -> ScalarEvent | None:
        event = Event.FromString(data)
        values = event.summary.value
        if not values or any(value.WhichOneof("value") != "simple_value" for value in values):
            return None
        names = tuple(value.tag for value in values)
        layout = _Layout(names)
        if start and layout.numbers(data, start) is not None:
            if sum(map(len, self._layouts.values())) >= _MOST_LAYOUTS:
                self._layouts.clear()
            self._layouts.setdefault(len(data) - start, []).append(layout)
        return ScalarEvent(event.step, names, tuple(value.simple_value for value in values))


def _head(data: bytes) -> tuple[int, int]:
    """Return where an event's summary begins and its step, if its head is as ours; else 0 and whatever."""
    # A wall time is a tag and eight bytes; a step is a tag and a number in groups of seven bits, the lowest first.
    if data[:1] != b"\x09":
        return 0, 0
    if data[_WALL_TIME : _WALL_TIME + 1] != b"\x10":
        return _WALL_TIME, 0
    step, shift, position = 0, 0, _WALL_TIME + 1
    while position < len(data):
        byte = data[position]
        step |= (byte & (_MORE_FOLLOWS - 1)) << shift
        shift, position = shift + 7, position + 1
        if byte < _MORE_FOLLOWS:
            break
    return position, step - 2**64 if step >= 2**63 else step


class _Layout:
    """What an event looks like that has a summary of some names: bytes, between which the numbers stand."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        entries = [Summary(value=[{"tag": tag_of(name), "simple_value": 0.0}]).SerializeToString() for name in names]
        whole = Event(summary={"value": [{"tag": tag_of(name), "simple_value": 0.0} for name in names]})
        head = whole.SerializeToString().removesuffix(b"".join(entries))
        # The number is the last thing in each.
        parts = [entry[:-_FLOAT_BYTES] for entry in entries]
        parts[0] = head + parts[0]
        self._fields: list[Any] = list(itertools.chain.from_iterable((part, 0.0) for part in parts))
        self._parts = tuple(parts)
        self._struct = struct.Struct("<" + "".join(f"{len(part)}sf" for part in parts))

    def summary(self, numbers: Iterable[float]) -> bytes:
        """Return the part of an event that holds the numbers."""
        fields = self._fields
        fields[1::2] = numbers
        try:
            return self._struct.pack(*fields)
        except (OverflowError, struct.error):
            fields[1::2] = map(_float32, fields[1::2])
            return self._struct.pack(*fields)

    def numbers(self, data: bytes, start: int) -> tuple[float, ...] | None:
        """Return the numbers of an event; None if it is not one of these names."""
        if len(data) - start != self._struct.size:
            return None
        fields = self._struct.unpack_from(data, start)
        return fields[1::2] if fields[::2] == self._parts else None


def tag_of(name: str) -> str:
    """Return the tag for a name; what has no UTF-8 stands there as its escape."""
    return name.encode("utf-8", "backslashreplace").decode()


def _float32(number: float) -> float:
    """Return a number that fits into float32, or is infinite."""
    if number >= _INFINITE_FROM:
        return math.inf
    return -math.inf if number <= -_INFINITE_FROM else number
