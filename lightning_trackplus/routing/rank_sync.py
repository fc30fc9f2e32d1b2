"""Merges the states that the processes have of each stream."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple, TypeAlias

import numpy as np

from lightning_trackplus.lightning_internals.classes import MisconfigurationException
from lightning_trackplus.reducers.samples import Floats
from lightning_trackplus.reducers.stream import Summary
from lightning_trackplus.routing.logged_stream import LoggedStream, StreamKey
from lightning_trackplus.runtime import distributed

_Common: TypeAlias = tuple[StreamKey, tuple[int, ...]]
"""What processes have in common: a stream, and the ranks that count together."""


class _Header(NamedTuple):
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


RankState: TypeAlias = tuple[dict[_Common, _Header], Floats]
"""What one process has of its streams, with the states of all in one array."""


def local_state(streams: Sequence[LoggedStream]) -> RankState:
    """Return what this process has of the streams that are synced, for all others."""
    return _packed(_synced(streams))


def merged(
    streams: Sequence[LoggedStream], everyone: Sequence[RankState], *, all_show: bool
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


def _packed(streams: dict[_Common, LoggedStream]) -> RankState:
    """Return what this process offers, with all states in one array, which is sent much faster than many."""
    summaries = {common: one.stream.summary() for common, one in streams.items()}
    offers = {
        common: _Header(
            distributed.rank(),
            [reducer.name for reducer in streams[common].stream.reducers],
            streams[common].request,
            [one.nan_count for one in several],
            [len(one.state) for one in several],
        )
        for common, several in summaries.items()
    }
    return offers, np.concatenate([np.empty(0), *(one.state for several in summaries.values() for one in several)])


def _unpacked(offers: dict[_Common, _Header], states: Floats) -> dict[_Common, tuple[_Header, list[Summary]]]:
    ends = list(accumulate((size for offer in offers.values() for size in offer.sizes), initial=0))
    parts = (states[start:end] for start, end in pairwise(ends))
    return {
        common: (offer, [Summary(count, next(parts)) for count in offer.nan_counts]) for common, offer in offers.items()
    }


def _check(key: StreamKey, offers: Sequence[_Header]) -> None:
    for offer in offers:
        if offer.reducers != offers[0].reducers:
            raise MisconfigurationException(
                f"self.log({key.name!r}, …, sync_dist=True) was called with {', '.join(offers[0].reducers)} in process"
                f" {offers[0].rank} and with {', '.join(offer.reducers)} in process {offer.rank}; ask for the same in"
                " all, or log under two names."
            )


def _requested(key: StreamKey, offers: Sequence[_Header]) -> LoggedStream | None:
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
