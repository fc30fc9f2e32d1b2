"""What the processes of a distributed run exchange at the end of an epoch: states of streams, and selected media."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from lightning_utilities.core.rank_zero import rank_zero_warn

from lightning_trackplus.lightning_internals.classes import MisconfigurationException
from lightning_trackplus.media.base import Media
from lightning_trackplus.media.selected_items import SelectedItems, SelectionKey, SortKey, shown
from lightning_trackplus.reducers.samples import Floats
from lightning_trackplus.reducers.stream import Summary
from lightning_trackplus.routing.logged_stream import LoggedStream, StreamKey
from lightning_trackplus.runtime import distributed

_Common: TypeAlias = tuple[StreamKey, tuple[int, ...]]
"""What processes have in common: a stream, and the ranks that count together."""


class _StreamHeader(NamedTuple):
    """What one process has of a stream, and what another needs to make the same stream.

    Attributes:
        rank: Which process.
        reducers: The names of its reducers.
        request: The call that made it, pickled; None if it cannot be.
        nan_counts: How many values were NaN, of each summary.
        sizes: The sizes of the summaries' states.
    """

    rank: int
    reducers: list[str]
    request: bytes | None
    nan_counts: list[int]
    sizes: list[int]


StreamStates: TypeAlias = tuple[dict[_Common, _StreamHeader], Floats]
"""What one process has of its streams, with the states of all in one array."""


def stream_states(streams: Sequence[LoggedStream]) -> StreamStates:
    """Return what this process has of the streams that are synced, for all others."""
    return _packed(_synced(streams))


def merge_streams(
    streams: Sequence[LoggedStream], everyone: Sequence[StreamStates], *, all_show: bool
) -> list[tuple[LoggedStream, list[Summary]]]:
    """Return each stream with what all processes that it is synced with remember of it together.

    A stream that only some processes have is reduced over those.

    Raises:
        MisconfigurationException: If processes have different reducers for one name.
    """
    synced = _synced(streams)
    together = [(one, one.stream.summary()) for one in streams if not one.members]
    unpacked = [_unpacked(*packed) for packed in everyone]
    for common in dict.fromkeys(common for offered in unpacked for common in offered):
        offered = [each[common] for each in unpacked if common in each]
        _check(common[0], [offer for offer, _ in offered])
        logged = synced.get(common)
        if logged is None and all_show and distributed.rank() in common[1]:
            logged = _requested(common[0], [offer for offer, _ in offered])
        if logged is not None:
            together.append((logged, logged.stream.merged([summaries for _, summaries in offered])))
    return together


def _synced(streams: Sequence[LoggedStream]) -> dict[_Common, LoggedStream]:
    return {(one.key, one.members): one for one in streams if one.members}


def _packed(streams: dict[_Common, LoggedStream]) -> StreamStates:
    """Return what this process offers, with all states in one array, which is sent much faster than many."""
    summaries = {common: one.stream.summary() for common, one in streams.items()}
    offers = {
        common: _StreamHeader(
            distributed.rank(),
            [reducer.name for reducer in streams[common].stream.reducers],
            streams[common].request,
            [one.nan_count for one in several],
            [len(one.state) for one in several],
        )
        for common, several in summaries.items()
    }
    return offers, np.concatenate([np.empty(0), *(one.state for several in summaries.values() for one in several)])


def _unpacked(
    offers: dict[_Common, _StreamHeader], states: Floats
) -> dict[_Common, tuple[_StreamHeader, list[Summary]]]:
    ends = list(accumulate((size for offer in offers.values() for size in offer.sizes), initial=0))
    parts = (states[start:end] for start, end in pairwise(ends))
    return {
        common: (offer, [Summary(count, next(parts)) for count in offer.nan_counts]) for common, offer in offers.items()
    }


def _check(key: StreamKey, offers: Sequence[_StreamHeader]) -> None:
    for offer in offers:
        if offer.reducers != offers[0].reducers:
            raise MisconfigurationException(
                f"self.log({key.name!r}, …, sync_dist=True) was called with {', '.join(offers[0].reducers)} in process"
                f" {offers[0].rank} and with {', '.join(offer.reducers)} in process {offer.rank}; ask for the same in"
                " all, or log under two names."
            )


def _requested(key: StreamKey, offers: Sequence[_StreamHeader]) -> LoggedStream | None:
    """Return a stream that other processes have and this one has not, without its values."""
    for offer in offers:
        if offer.request is not None:
            return LoggedStream.requested(key, offer.request)
    warnings.warn(
        f"self.log({key.name!r}, …) was called in other processes and not in this one, with a reduce_fx that cannot be"
        " sent to it, as a lambda cannot; so this process has no result. Give a function that stands in a module.",
        stacklevel=2,
    )
    return None


class _MediaHeader(NamedTuple):
    """What one process has kept under a key, without the items.

    Attributes:
        selection: The selection, in words.
        kind: The kind of medium.
        n: How many items are wanted.
        by_score: Whether the items are shown in the order of their scores.
        places: Where its items stand.
    """

    selection: str
    kind: str
    n: int
    by_score: bool
    places: list[SortKey]


KeptMedia: TypeAlias = dict[SelectionKey, _MediaHeader]
"""What one process has kept of an epoch."""


def kept_media(kept: Mapping[SelectionKey, SelectedItems]) -> KeptMedia:
    """Return what this process has kept, for all others."""
    return {
        key: _MediaHeader(
            repr(one.selection),
            one.kind,
            one.selection.n,
            one.selection.needs_scores,
            one.places(),
        )
        for key, one in kept.items()
        if one.kind is not None
    }


def gather_media(
    kept: Mapping[SelectionKey, SelectedItems], everyone: Sequence[KeptMedia]
) -> dict[SelectionKey, Media[Any]]:
    """Return the items that are wanted of all that the processes have kept, in the order in which they are shown.

    There is one more collective if another process than the first has one of them, and none if not; then the
    others return nothing.

    Args:
        kept: What this process has kept.
        everyone: The state of each process, in the order of their ranks. Where processes have kept different kinds
            of media together, or by different selections, these are left out, with a warning.
    """
    keys = dict.fromkeys(key for each in everyone for key in each)
    offers = {key: [each[key] for each in everyone if key in each] for key in keys}
    chosen = {key: _chosen(offered) for key, offered in offers.items() if _agree(key, offered)}
    mine = {
        key: kept[key].batch(own)
        for key, places in chosen.items()
        if (own := [place for place in places if place.rank == distributed.rank()])
    }
    # All processes have the state of all, so that they agree on whether something has to be sent.
    if any(place.rank != 0 for places in chosen.values() for place in places):
        batches = dict(enumerate(distributed.all_gather_object(mine)))
    elif distributed.rank() == 0:
        batches = {0: mine}
    else:
        return {}
    return {
        key: _in_order({rank: each[key] for rank, each in batches.items() if key in each}, places)
        for key, places in chosen.items()
    }


def _agree(key: SelectionKey, offers: Sequence[_MediaHeader]) -> bool:
    """Return whether what the processes have kept can be put together; all of them come to the same answer."""
    first, *others = offers
    for other in others:
        if (other.selection, other.kind) != (first.selection, first.kind):
            rank_zero_warn(
                f"self.log({key.name!r}, …) got {first.kind} with {first.selection} in one process and {other.kind}"
                f" with {other.selection} in another, and none of them is written; log them under two names."
            )
            return False
    return True


def _chosen(offers: Sequence[_MediaHeader]) -> list[SortKey]:
    """Return the places of the items that are wanted of all that the processes have kept."""
    first = offers[0]
    places = sorted(place for offer in offers for place in offer.places)
    return shown(places[: first.n], by_score=first.by_score)


def _in_order(batches: dict[int, Media[Any]], places: Sequence[SortKey]) -> Media[Any]:
    """Return the items of several processes in the order of all."""
    first, *others = (batches[rank] for rank in sorted(batches))
    come = sorted(range(len(places)), key=lambda index: (places[index].rank, index))
    return first.joined(others).take([come.index(index) for index in range(len(places))])
