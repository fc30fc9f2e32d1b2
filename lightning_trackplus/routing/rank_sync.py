"""What the processes of a distributed run exchange at the end of an epoch: states of streams, and selected media.

Each name is merged in one process, in pairs of neighbouring ranks, and shared with all. So what a process receives and
keeps hardly grows with their number, and a state that no longer stays exact travels as a sketch.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

from lightning_trackplus.lightning_internals.shared_bases import MisconfigurationException
from lightning_trackplus.media.base import Media
from lightning_trackplus.media.selected_items import SelectedItems, SelectionKey, SortKey, in_shown_order
from lightning_trackplus.reducers.stream import Summary
from lightning_trackplus.reducers.types import MAX_KEPT
from lightning_trackplus.routing.logged_stream import LoggedStream, StreamKey
from lightning_trackplus.runtime import distributed
from lightning_trackplus.runtime.reduce_states import Compaction, all_reduce_states
from lightning_trackplus.runtime.warn import describe_error, warn

T = TypeVar("T")

_SharedKey: TypeAlias = tuple[StreamKey, Sequence[int]]
"""A stream and the ranks whose values count together."""


Merged: TypeAlias = "list[tuple[LoggedStream, dict[str, Any]]]"
"""Streams with the results of all processes together, by their names."""


def sync_epoch(
    streams: Sequence[LoggedStream], kept: Mapping[SelectionKey, SelectedItems]
) -> tuple[Merged, dict[SelectionKey, Media[Any]]]:
    """Merge what all processes have logged in an epoch; all of them have to call it together.

    Args:
        streams: The streams of this process.
        kept: The media that this process has kept.

    Returns:
        The streams, with those that only other processes have logged, and on rank zero the selected media.

    Raises:
        MisconfigurationException: If processes have different reducers for one name.
    """
    sync = StreamSync(streams)
    states = sync.exchange(None, lambda: {**sync.local_state(), **kept_items(kept)})
    # Other processes wait for the media: nothing that may raise in one of them alone comes before.
    places = {key: one for key, one in states.items() if isinstance(key, SelectionKey) and isinstance(one, _KeptItems)}
    media = gather_media(kept, places)
    return sync.merged(states, shows_all=True), media


def sync_streams(streams: Sequence[LoggedStream]) -> Merged:
    """Merge streams that all processes have logged; all processes have to call it together if the streams are synced.

    Raises:
        MisconfigurationException: If processes have different reducers for one name.
    """
    by_group: dict[tuple[tuple[int, ...], str], list[LoggedStream]] = {}
    for one in streams:
        name = distributed.group_name(one.group) if one.members else ""
        by_group.setdefault((tuple(one.members), name), []).append(one)
    merged: Merged = []
    # All processes take the groups in one order.
    for (members, _), of_group in sorted(by_group.items(), key=lambda item: item[0]):
        group, begin = of_group[0].group, 0
        while begin < len(of_group):
            # A process that is asked for results earlier than others, as by its progress bar, has logged less by then.
            end = begin + distributed.least(len(of_group) - begin, group) if members else len(of_group)
            sync, begin = StreamSync(of_group[begin:end]), end
            states = sync.exchange(group, sync.local_state) if members else sync.local_state()
            merged += sync.merged(states, shows_all=False)
    return merged


class _StreamState(NamedTuple):
    """What some processes have of a stream, and what another needs to make the same stream.

    Attributes:
        rank: The first of the processes.
        reducers: The names of its reducers.
        state_keys: What their states have to have in common to be merged.
        request: The call that made it, pickled; None if it cannot be.
        parts: The summaries, in the order of the ranks: one list, or more where a process could not merge them.
        conflict: A process with other reducers, and their names.
        results: The results by their names, in the place of the parts; None as long as nobody has computed them.
    """

    rank: int
    reducers: tuple[str, ...]
    state_keys: tuple[str, ...]
    request: bytes | None
    parts: tuple[Sequence[Summary], ...]
    conflict: tuple[int, tuple[str, ...]] | None = None
    results: dict[str, Any] | None = None


class StreamSync:
    """Merges the states of the streams that processes log with ``sync_dist=True``."""

    def __init__(self, streams: Sequence[LoggedStream]) -> None:
        self._streams = streams
        self._own = {(one.key, one.members): one for one in streams if one.members}
        # Those that only other processes have, without values.
        self._others: dict[_SharedKey, LoggedStream | None] = {}
        self._unsynced: Merged = []

    def local_state(self) -> _States:
        """Return what this process has of the streams that several share; keep the results of all others."""
        self._unsynced = [(one, one.results(one.stream.summary())) for one in self._streams if not one.members]
        return {
            shared: _StreamState(
                distributed.rank(),
                tuple(reducer.name for reducer in logged.stream.reducers),
                tuple(str(reducer.state_key) for reducer in logged.stream.reducers),
                logged.request,
                (logged.stream.summary(),),
            )
            for shared, logged in self._own.items()
        }

    @property
    def compaction(self) -> Compaction[_Key, _State]:
        """How states become smaller that the processes send."""
        return Compaction(MAX_KEPT, self._count_kept, self._compact)

    def exchange(self, group: distributed.Group, make: Callable[[], _States]) -> _States:
        """Return what the processes of a group have together, with the results of all streams."""
        states: _States = all_reduce_states(make, self.merge, group, self.finish, self.compaction)
        # Not every process has the function that a stream is for; one that has it may be the first to see it raise.
        left = {
            cast("_SharedKey", key): one
            for key, one in states.items()
            if isinstance(one, _StreamState) and one.results is None and one.conflict is None
        }
        if left:
            results: dict[_SharedKey, dict[str, Any]] = all_reduce_states(
                lambda: {key: _computed(self._own[key], one) for key, one in left.items() if key in self._own},
                lambda _, first, __: first,
                group,
            )
            states.update({key: one._replace(results=results[key]) for key, one in left.items()})
        return states

    def merge(self, key: _Key, left: _State, right: _State) -> _State:
        """Return what the processes of lower ranks and those of higher ranks have of a key together."""
        if isinstance(left, _KeptItems):
            return left.merged(cast("_KeptItems", right))
        return self._merged_streams(cast("_SharedKey", key), left, cast("_StreamState", right))

    def finish(self, key: _Key, state: _State) -> _State:
        """Return what all processes get of a key: of a stream, its results."""
        if isinstance(state, _KeptItems) or state.conflict is not None:
            return state
        logged = self._stream_of(cast("_SharedKey", key), state.request)
        return state if logged is None else state._replace(parts=(), results=_computed(logged, state))

    def merged(self, states: _States, *, shows_all: bool) -> Merged:
        """Return each stream of this process with its results; with ``shows_all``, also those of others.

        Raises:
            MisconfigurationException: If processes have different reducers for one name.
        """
        found = list(self._unsynced)
        for shared, state in states.items():
            if isinstance(shared, SelectionKey) or isinstance(state, _KeptItems):
                continue
            key, members = shared
            if state.conflict is not None:
                rank, reducers = state.conflict
                other = "" if reducers != state.reducers else " with other parameters"
                raise MisconfigurationException(
                    f"self.log({key.name!r}, …, sync_dist=True) was called with {', '.join(state.reducers)} in process"
                    f" {state.rank} and with {', '.join(reducers)}{other} in process {rank}; ask for the same in all,"
                    " or log under two names."
                )
            if shared not in self._own and not (shows_all and distributed.rank() in members):
                continue
            if (logged := self._stream_of(shared, state.request)) is None:
                _warn_of_no_request(key)
            else:
                found.append((logged, state.results or {}))
        return found

    def _merged_streams(self, shared: _SharedKey, left: _StreamState, right: _StreamState) -> _StreamState:
        conflict = left.conflict or right.conflict
        if (left.reducers, left.state_keys) != (right.reducers, right.state_keys):
            conflict = conflict or (right.rank, right.reducers)
        if conflict is not None:
            return left._replace(conflict=conflict, parts=())
        left = left._replace(request=left.request or right.request)
        parts = (*left.parts, *right.parts)
        logged = self._stream_of(shared, left.request)
        return left._replace(parts=parts if logged is None else (logged.stream.merged(parts),))

    def _count_kept(self, key: _Key, state: _State) -> int:
        if isinstance(state, _KeptItems):
            return 0
        return sum(map(self._own[cast("_SharedKey", key)].stream.count_kept, state.parts))

    def _compact(self, key: _Key, state: _State) -> _State:
        if isinstance(state, _KeptItems):
            return state
        logged = self._stream_of(cast("_SharedKey", key), state.request)
        return state if logged is None else state._replace(parts=tuple(map(logged.stream.compact, state.parts)))

    def _stream_of(self, shared: _SharedKey, request: bytes | None) -> LoggedStream | None:
        if shared in self._own:
            return self._own[shared]
        if self._others.get(shared) is None and request is not None:
            try:
                self._others[shared] = LoggedStream.requested(shared[0], request)
            except Exception:  # noqa: BLE001  its module may be missing here, and its own code may raise
                self._others[shared] = None
        return self._others.get(shared)


def _computed(logged: LoggedStream, state: _StreamState) -> dict[str, Any]:
    return logged.results(logged.stream.merged(state.parts))


def _warn_of_no_request(key: StreamKey) -> None:
    warnings.warn(
        f"self.log({key.name!r}, …) was called in other processes and not in this one, with a reduce_fx that cannot be"
        " sent to it, as a lambda cannot; so this process has no result. Give a function that stands in a module.",
        stacklevel=2,
    )


class _KeptItems(NamedTuple):
    """What processes have kept under a key, without the items.

    Attributes:
        selection: The selection, in words.
        media_type: The type of medium.
        n: How many items are wanted.
        by_score: Whether the items are shown in the order of their scores.
        places: Where the best n items stand, in order.
        conflict: The selection and the type of a process that has others.
    """

    selection: str
    media_type: str
    n: int
    by_score: bool
    places: Sequence[SortKey]
    conflict: tuple[str, str] | None = None

    def merged(self, other: _KeptItems) -> _KeptItems:
        """Return which items are kept of these and of those of another group of processes."""
        conflict = self.conflict or other.conflict
        if (self.selection, self.media_type) != (other.selection, other.media_type):
            conflict = conflict or (other.selection, other.media_type)
        return self._replace(places=sorted([*self.places, *other.places])[: self.n], conflict=conflict)


_Key: TypeAlias = _SharedKey | SelectionKey
_State: TypeAlias = _StreamState | _KeptItems
_States: TypeAlias = dict[_Key, _State]


def kept_items(kept: Mapping[SelectionKey, SelectedItems]) -> _States:
    """Return what this process has kept of an epoch."""
    return {
        key: _KeptItems(repr(one.selection), one.media_type, one.selection.n, one.selection.needs_scores, one.places())
        for key, one in kept.items()
        if one.media_type is not None
    }


def gather_media(
    kept: Mapping[SelectionKey, SelectedItems], states: Mapping[SelectionKey, _KeptItems]
) -> dict[SelectionKey, Media[Any]]:
    """Return on rank zero the selected items, in the order in which they are shown; nothing on all others.

    Processes that have selected items send them to rank zero. Where processes have kept different kinds of media under
    a key, or by different selections, none is returned, with a warning.

    Args:
        kept: What this process has kept.
        states: What all processes have kept.
    """
    chosen = {
        key: in_shown_order(list(state.places), by_score=state.by_score)
        for key, state in states.items()
        if _agree(key, state)
    }
    own = {key: [place for place in places if place.rank == distributed.rank()] for key, places in chosen.items()}
    mine = {key: _attempt(key, kept[key].batch, places) for key, places in own.items() if places}
    senders = sorted({place.rank for places in chosen.values() for place in places})
    batches = {0: mine}
    if any(senders):
        sent = {}
        if distributed.rank() != 0:
            sent = {key: _attempt(key, distributed.pickled, one) for key, one in mine.items() if one is not None}
        for rank, each in distributed.gather_objects(sent, senders).items():
            if rank != 0:
                batches[rank] = {
                    key: _attempt(key, pickle.loads, data) for key, data in each.items() if data is not None
                }
    if distributed.rank() != 0:
        return {}
    found = {}
    for key, places in chosen.items():
        parts = {rank: one for rank, each in batches.items() if (one := each.get(key)) is not None}
        if parts:
            found[key] = _attempt(key, _in_order, parts, [place for place in places if place.rank in parts])
    return {key: one for key, one in found.items() if one is not None}


def _attempt(key: SelectionKey, make: Callable[..., T], *arguments: Any) -> T | None:
    """Return what a function makes of media; None, with a warning, if it raises, since other processes wait."""
    try:
        return make(*arguments)
    except Exception as error:  # noqa: BLE001  media are the user's own classes, and may be missing in this process
        warn(f"Media of {key.name!r} cannot be sent to process 0 and are left out. {describe_error(error)}")
        return None


def _agree(key: SelectionKey, state: _KeptItems) -> bool:
    """Return whether the items of the processes can be put together; all of them come to the same answer."""
    if state.conflict is not None and distributed.rank() == 0:
        selection, media_type = state.conflict
        warn(
            f"self.log({key.name!r}, …) got {state.media_type} with {state.selection} in one process and {media_type}"
            f" with {selection} in another, and none of them is written; log them under two names."
        )
    return state.conflict is None


def _in_order(batches: Mapping[int, Media[Any]], places: Sequence[SortKey]) -> Media[Any]:
    """Return the items of several processes in the order of all."""
    first, *others = (batches[rank] for rank in sorted(batches))
    come = sorted(range(len(places)), key=lambda index: (places[index].rank, index))
    return first.joined(others).take([come.index(index) for index in range(len(places))])
