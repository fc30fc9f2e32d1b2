"""The values logged under one name, and what its reducers make of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from lightning_trackplus.record import Counts
from lightning_trackplus.reducers.pending_calls import Batch, Call, Given, call_of, size_of
from lightning_trackplus.reducers.samples import NanPolicy, Samples, Span, State

_CALLS_PER_FOLD = 2048
_VALUES_PER_FOLD = 65_536


class Reduces(Protocol):
    """What a stream asks of a reducer."""

    @property
    def name(self) -> str:
        """As in `Reducer`."""

    @property
    def state_key(self) -> Hashable:
        """As in `Reducer`."""

    @property
    def nan_policy(self) -> NanPolicy:
        """As in `Reducer`."""

    @property
    def weighted(self) -> bool:
        """As in `Reducer`."""

    @property
    def span(self) -> Span:
        """As in `Reducer`."""

    @property
    def counts_nan(self) -> bool:
        """As in `Reducer`."""

    def summarize(self, samples: Samples) -> State:
        """As in `Reducer`."""

    def merge(self, left: State, right: State) -> State:
        """As in `Reducer`."""

    def result(self, state: State) -> Any:
        """As in `Reducer`."""


class Summary(NamedTuple):
    """What is remembered of one stream for one reducer, or several that need the same.

    Attributes:
        nan_count: How many values were NaN.
        state: The reducer's state.
    """

    nan_count: int
    state: State


class Stream:
    """One stream, shared by all reducers that were asked of it.

    A call only leaves its values; they are summarized many calls at a time, on the host. Values on a
    device are sent there in one piece, and nothing waits for them before a result is asked for.
    """

    def __init__(self, reducers: Sequence[Reduces]) -> None:
        self.reducers = tuple(reducers)
        # Of reducers that need the same, the first keeps it for all.
        self._keepers: dict[Hashable, Reduces] = {}
        for one in self.reducers:
            self._keepers.setdefault(one.state_key, one)
        self._calls: list[Call] = []
        self._size = 0
        # Numbers that came after these calls. Lists of numbers cost less than as many calls.
        self._numbers: tuple[list[float], list[int], list[int]] = ([], [], [])
        self._on_their_way: deque[Batch] = deque()
        self._latest: Call | None = None
        self._empty = self._summarized(Batch([]))
        self._summaries = self._empty

    def add(self, value: Given, weight: Given = 1.0, *, repeat: int = 1, step: int = 0, keep: bool = True) -> None:
        """Take the values of one call.

        Args:
            value: A number, a tensor or an array of any shape, or a list of numbers.
            weight: What each value counts, at least 0: a number, or a tensor that can be expanded to the
                shape of the value.
            repeat: For how many samples a value stands, with reducers that are ``weighted``.
            step: When it was; not below that of the last call.
            keep: Whether the values count for more than `latest`.

        Raises:
            ValueError: If a weight is below 0 or not finite, or the shapes do not fit.
        """
        self._latest = call = call_of(value, weight, repeat, step)
        if keep and isinstance(call.value, float) and call.weight == 1.0:
            self.add_number(call.value, repeat, step)
        elif keep:
            self._add(call)

    def add_number(self, value: float, repeat: int, step: int) -> None:
        """Take one number, as `add` does, with nothing to check; `latest` does not know of it."""
        values, copied, steps = self._numbers
        values.append(value)
        copied.append(repeat)
        steps.append(step)
        if len(values) >= _CALLS_PER_FOLD:
            self._send()
            self._take_in(wait=False)

    def latest(self) -> list[Summary]:
        """Return what is remembered of the last call alone, or of a reducer's span if that is longer."""
        alone = self._summarized(Batch([] if self._latest is None else [self._latest]))
        if any(one.span != "epoch" for one in self.reducers):
            whole = self.summary()
            alone = [
                one if keeper.span == "epoch" else longer
                for keeper, one, longer in zip(self._keepers.values(), alone, whole, strict=True)
            ]
        return alone

    def summary(self) -> list[Summary]:
        """Return what is remembered of all calls; waits for those on their way from a device."""
        self._send()
        self._take_in(wait=True)
        return self._summaries

    def glance(self) -> list[Summary]:
        """Return what `summary` does, and leave the stream uncut: later results are the same to the last bit."""
        self._gather_numbers()
        self._take_in(wait=True)
        return self.merged([self._summaries, self._summarized(Batch(self._calls))])

    def merged(self, parts: Sequence[Sequence[Summary]]) -> list[Summary]:
        """Return what is remembered of several parts of the stream together."""
        merged, *others = [list(part) for part in parts]
        for other in others:
            merged = [
                Summary(left.nan_count + right.nan_count, keeper.merge(left.state, right.state))
                for keeper, left, right in zip(self._keepers.values(), merged, other, strict=True)
            ]
        return merged

    def results(self, summaries: Sequence[Summary]) -> list[Any]:
        """Return what each reducer makes of the stream.

        Raises:
            ValueError: If there was NaN and a reducer's policy is to raise.
        """
        by_key = dict(zip(self._keepers, summaries, strict=True))
        return [_result(one, by_key[one.state_key]) for one in self.reducers]

    def restore(self, summaries: list[Summary]) -> None:
        """Remember something else instead."""
        self._calls, self._size, self._numbers = [], 0, ([], [], [])
        self._on_their_way.clear()
        self._summaries = summaries

    def reset(self, *spans: Span) -> None:
        """Forget what counts for some spans."""
        if all(one.span in spans for one in self.reducers):
            self.restore(self._empty)  # What is on its way from a device need not be waited for.
            return
        kept = zip(self._keepers.values(), self.summary(), self._empty, strict=True)
        self._summaries = [new if keeper.span in spans else old for keeper, old, new in kept]

    def _add(self, call: Call) -> None:
        self._gather_numbers()
        self._calls.append(call)
        self._size += size_of(call)
        if len(self._calls) >= _CALLS_PER_FOLD or self._size >= _VALUES_PER_FOLD:
            self._send()
            self._take_in(wait=False)

    def _gather_numbers(self) -> None:
        values, repeat, steps = self._numbers
        if values:
            self._calls.append(Call(np.array(values, np.float64), 1.0, np.array(repeat), np.array(steps)))
            self._numbers = ([], [], [])

    def _send(self) -> None:
        self._gather_numbers()
        if self._calls:
            self._on_their_way.append(Batch(self._calls))
            self._calls, self._size = [], 0

    def _take_in(self, *, wait: bool) -> None:
        while self._on_their_way and (wait or self._on_their_way[0].has_arrived()):
            arrived = self._summarized(self._on_their_way.popleft())
            self._summaries = self.merged([self._summaries, arrived])

    def _summarized(self, batch: Batch) -> list[Summary]:
        once, counted = batch.samples()
        return [
            Summary(once.nan_count, keeper.summarize(counted if keeper.weighted else once))
            for keeper in self._keepers.values()
        ]

    def __getstate__(self) -> dict[str, Any]:
        """Wait for what is on its way, which no copy could be told of."""
        self.summary()
        return self.__dict__


def _result(reducer: Reduces, summary: Summary) -> Any:
    """Return a result as the reducer's policy for NaN wants it."""
    if summary.nan_count and reducer.nan_policy == "raise":
        raise ValueError(
            f"{reducer.name} was given {summary.nan_count} values that are NaN, and nan_policy='raise'."
            " Find where they come from, or leave them out with nan_policy='omit'."
        )
    result = reducer.result(summary.state)
    if not summary.nan_count or reducer.nan_policy != "propagate":
        return result
    if isinstance(result, Counts):
        return result.as_nan()
    return dict.fromkeys(result, np.nan) if isinstance(result, Mapping) else np.nan
