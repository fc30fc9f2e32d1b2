"""The stream of values under one name."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from lightning_trackplus.record import Counts
from lightning_trackplus.reducers.pending_calls import Call, Given, PendingCalls, Snapshot, call_of
from lightning_trackplus.reducers.types import NanPolicy, Samples, Span, State
from lightning_trackplus.runtime.names import a_type

_MAX_PENDING_CALLS = 2048
_MAX_PENDING_VALUES = 65_536


class StreamReducer(Protocol):
    """What a stream needs of a `Reducer`, which has a stream itself where it is used as a metric."""

    @property
    def name(self) -> str: ...  # noqa: D102  as in `Reducer`, like all that follow
    @property
    def state_key(self) -> Hashable: ...  # noqa: D102
    @property
    def nan_policy(self) -> NanPolicy: ...  # noqa: D102
    @property
    def weighted(self) -> bool: ...  # noqa: D102
    @property
    def span(self) -> Span: ...  # noqa: D102
    @property
    def counts_nan(self) -> bool: ...  # noqa: D102
    def summarize(self, samples: Samples) -> State: ...  # noqa: D102
    def merge(self, left: State, right: State) -> State: ...  # noqa: D102
    def result(self, state: State) -> Any: ...  # noqa: D102
    def count_kept(self, state: State) -> int: ...  # noqa: D102
    def compact(self, state: State) -> State: ...  # noqa: D102


class Summary(NamedTuple):
    """The number of NaN in a stream, and the state of a reducer, or of several with the same ``state_key``."""

    nan_count: int
    state: State


class Stream:
    """One stream, shared by all reducers of a name.

    A call only stores its values; many calls are summarized at once, on the host. Values on a device are copied in
    one piece, and nothing waits for them until a result is computed.

    Raises:
        TypeError: If a reducer's state is not a one-dimensional array of numbers.
    """

    def __init__(self, reducers: Sequence[StreamReducer]) -> None:
        self.reducers = tuple(reducers)
        # The first reducer with a state_key summarizes and merges for all others with that key.
        self._by_key: dict[Hashable, StreamReducer] = {}
        for one in self.reducers:
            self._by_key.setdefault(one.state_key, one)
        self._calls: list[Call] = []
        self._size = 0
        # The values, repeats and steps of numbers after these calls: lists are cheaper than a Call for each.
        self._numbers: tuple[list[float], list[int], list[int]] = ([], [], [])
        self._in_transfer: deque[PendingCalls] = deque()
        self._latest: Call | None = None
        self._empty = self._summarized(PendingCalls([]))
        for one, summary in self._with_reducers(self._empty):
            _check_state(one, summary.state)
        self._summaries = self._empty

    def add(self, value: Given, weight: Given = 1.0, *, repeat: int = 1, step: int = 0, keep: bool = True) -> None:
        """Add the values of one call.

        Args:
            value: A number, a tensor or an array of any shape, or a list of numbers.
            weight: The weight of each value, at least 0: a number, or a tensor that can be expanded to the
                shape of the value.
            repeat: The number of samples for which a value counts with reducers that are ``weighted``.
            step: The step; not below that of the last call.
            keep: Whether the values count for more than `latest`.

        Raises:
            ValueError: If a weight is below 0 or not finite, or the shapes do not fit.
        """
        self._latest = call = call_of(value, weight, repeat, step)
        if keep and isinstance(call.weight, float) and call.weight == 1.0:
            self.add_snapshot(call.value, repeat, step)
        elif keep:
            self._append(call)

    def add_snapshot(self, value: Snapshot, repeat: int, step: int) -> None:
        """Add values of weight 1 without checks or a copy; `latest` does not include them."""
        if not isinstance(value, float):
            self._append(Call(value, 1.0, repeat, step))
            return
        values, repeats, steps = self._numbers
        values.append(value)
        repeats.append(repeat)
        steps.append(step)
        if len(values) >= _MAX_PENDING_CALLS:
            self._summarize_pending(wait=False)

    def _append(self, call: Call) -> None:
        if self._numbers[0]:
            self._gather_numbers()
        self._calls.append(call)
        self._size += 1 if isinstance(call.value, float) else len(call.value)
        if len(self._calls) >= _MAX_PENDING_CALLS or self._size >= _MAX_PENDING_VALUES:
            self._summarize_pending(wait=False)

    def latest(self) -> list[Summary]:
        """Return the summaries of the last call alone, or of a reducer's span if that is longer."""
        alone = self._summarized(PendingCalls([] if self._latest is None else [self._latest]))
        if any(one.span != "epoch" for one in self.reducers):
            whole = zip(self._by_key.values(), alone, self.summary(), strict=True)
            alone = [last if reducer.span == "epoch" else longer for reducer, last, longer in whole]
        return alone

    def summary(self) -> list[Summary]:
        """Return the summaries of all calls; waits for values that are still being copied from a device."""
        self._summarize_pending(wait=True)
        return self._summaries

    def peek(self) -> list[Summary]:
        """Return what `summary` does without a cut in the stream: later results are the same to the last bit."""
        self._merge_arrived(wait=True)
        pending = PendingCalls([*self._calls, *self._gathered_numbers()])
        return self.merged([self._summaries, self._summarized(pending)])

    def merged(self, parts: Sequence[Sequence[Summary]]) -> list[Summary]:
        """Return the summaries of several parts of the stream as one."""
        merged, *others = [list(part) for part in parts]
        for other in others:
            merged = [
                Summary(left.nan_count + right.nan_count, reducer.merge(left.state, right.state))
                for reducer, left, right in zip(self._by_key.values(), merged, other, strict=True)
            ]
        return merged

    def count_kept(self, summaries: Sequence[Summary]) -> int:
        """Return how many values are kept that `compact` can leave out."""
        return max((one.count_kept(summary.state) for one, summary in self._with_reducers(summaries)), default=0)

    def compact(self, summaries: Sequence[Summary]) -> list[Summary]:
        """Return summaries as those of a stream of which the values are no longer kept."""
        return [summary._replace(state=one.compact(summary.state)) for one, summary in self._with_reducers(summaries)]

    def results(self, summaries: Sequence[Summary]) -> list[Any]:
        """Return the result of each reducer.

        Raises:
            ValueError: If there was NaN and a reducer's ``nan_policy`` is ``"raise"``.
        """
        by_key = dict(zip(self._by_key, summaries, strict=True))
        return [_result_with_nan_policy(one, by_key[one.state_key]) for one in self.reducers]

    def restore(self, summaries: list[Summary]) -> None:
        """Replace all values by summaries."""
        self._calls, self._size, self._numbers = [], 0, ([], [], [])
        self._in_transfer.clear()
        self._summaries = summaries

    def reset(self, *spans: Span) -> None:
        """Forget the values of reducers with these spans."""
        if all(one.span in spans for one in self.reducers):
            self.restore(self._empty)  # Need not wait for a copy from a device.
            return
        parts = zip(self._by_key.values(), self.summary(), self._empty, strict=True)
        self._summaries = [empty if reducer.span in spans else summary for reducer, summary, empty in parts]

    def _with_reducers(self, summaries: Sequence[Summary]) -> Iterator[tuple[StreamReducer, Summary]]:
        return zip(self._by_key.values(), summaries, strict=True)

    def _gathered_numbers(self) -> list[Call]:
        """Return the numbers as one call, if there are any."""
        values, repeats, steps = self._numbers
        return [Call(np.array(values, np.float64), 1.0, np.array(repeats), np.array(steps))] if values else []

    def _gather_numbers(self) -> None:
        self._calls += self._gathered_numbers()
        self._size += len(self._numbers[0])
        self._numbers = ([], [], [])

    def _summarize_pending(self, *, wait: bool) -> None:
        self._gather_numbers()
        if self._calls:
            self._in_transfer.append(PendingCalls(self._calls))
            self._calls, self._size = [], 0
        self._merge_arrived(wait=wait)

    def _merge_arrived(self, *, wait: bool) -> None:
        while self._in_transfer and (wait or self._in_transfer[0].has_arrived()):
            arrived = self._summarized(self._in_transfer.popleft())
            self._summaries = self.merged([self._summaries, arrived])

    def _summarized(self, calls: PendingCalls) -> list[Summary]:
        once, repeated = calls.samples()
        return [
            Summary(once.nan_count, reducer.summarize(repeated if reducer.weighted else once))
            for reducer in self._by_key.values()
        ]

    def __getstate__(self) -> dict[str, Any]:
        """Wait for copies from a device, which cannot be pickled."""
        self.summary()
        return self.__dict__


def _check_state(reducer: StreamReducer, state: Any) -> None:
    """Raise if a state could not be sent or saved as it is."""
    is_array = isinstance(state, np.ndarray)
    if not is_array or state.ndim != 1 or state.dtype.kind not in "biuf":
        given = f"an array of shape {state.shape} and {state.dtype}" if is_array else a_type(state)
        raise TypeError(
            f"{type(reducer).__name__}.summarize returned {given}; expected a state that is a one-dimensional numpy"
            " array of numbers, such as np.array([total, count])."
        )


def _result_with_nan_policy(reducer: StreamReducer, summary: Summary) -> Any:
    if summary.nan_count and reducer.nan_policy == "raise":
        raise ValueError(
            f"{reducer.name} got {summary.nan_count} values that are NaN, and nan_policy='raise'. Find where they come"
            " from, or leave them out with nan_policy='omit'."
        )
    result = reducer.result(summary.state)
    if not summary.nan_count or reducer.nan_policy != "propagate":
        return result
    if isinstance(result, Counts):
        return result.as_nan()
    return dict.fromkeys(result, np.nan) if isinstance(result, Mapping) else np.nan
