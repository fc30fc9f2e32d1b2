"""Numbers as TensorBoard events, at a fraction of what it costs to make each event of its parts.

One call after the other logs the same names. What an event of these names looks like is made once, by tensorboard's
own classes, and each further event puts other numbers into it.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Iterable, Mapping
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary

_MOST_LAYOUTS = 1000
_FLOAT_BYTES = 4
_INFINITE_FROM = 3.4028235677973366e38  # As float32 rounds.


class NumberEvents:
    """Makes serialized events of numbers.

    Examples:
        >>> events = NumberEvents()
        >>> event = Event.FromString(events.serialized(3, 1e9, {"loss": 0.5}))
        >>> event.step, event.summary.value[0].tag, event.summary.value[0].simple_value
        (3, 'loss', 0.5)
    """

    def __init__(self) -> None:
        self._layouts: dict[tuple[str, ...], _Layout] = {}

    def serialized(self, step: int, wall_time: float, numbers: Mapping[str, float]) -> bytes:
        """Return an event.

        Args:
            step: Its step.
            wall_time: Seconds since 1970-01-01 UTC.
            numbers: Its values by name; as float32, those beyond are infinite.
        """
        names = tuple(numbers)
        layout = self._layouts.get(names)
        if layout is None:
            if len(self._layouts) >= _MOST_LAYOUTS:
                self._layouts.clear()
            layout = self._layouts[names] = _Layout(names)
        # Messages behind each other are one message.
        head: bytes = Event(wall_time=wall_time, step=step).SerializeToString()
        return head + layout.summary(numbers.values())


class _Layout:
    """What an event looks like that has a summary of some names: bytes, between which the numbers stand.

    Args:
        names: The names.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        entries = [Summary(value=[{"tag": tag_of(name), "simple_value": 0.0}]).SerializeToString() for name in names]
        whole = Event(summary={"value": [{"tag": tag_of(name), "simple_value": 0.0} for name in names]})
        head = whole.SerializeToString().removesuffix(b"".join(entries))
        # The number is the last thing in each.
        parts = [entry[:-_FLOAT_BYTES] for entry in entries]
        parts[0] = head + parts[0]
        self._fields: list[Any] = list(itertools.chain.from_iterable((part, 0.0) for part in parts))
        self._struct = struct.Struct("<" + "".join(f"{len(part)}sf" for part in parts))

    def summary(self, numbers: Iterable[float]) -> bytes:
        """Return the part of an event that holds the numbers.

        Args:
            numbers: The numbers, in the order of the names.
        """
        fields = self._fields
        fields[1::2] = numbers
        try:
            return self._struct.pack(*fields)
        except (OverflowError, struct.error):
            fields[1::2] = map(_float32, fields[1::2])
            return self._struct.pack(*fields)


def tag_of(name: str) -> str:
    """Return the tag for a name; what has no UTF-8 stands there as its escape.

    Args:
        name: The name.
    """
    return name.encode("utf-8", "backslashreplace").decode()


def _float32(number: float) -> float:
    """Return a number that fits into float32, or is infinite."""
    if number >= _INFINITE_FROM:
        return math.inf
    return -math.inf if number <= -_INFINITE_FROM else number
