"""The items that all processes have kept, put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from lightning_utilities.core.rank_zero import rank_zero_warn

from lightning_trackplus.media.base import Media
from lightning_trackplus.media.selected_items import SelectedItems, SelectionKey, SortKey, shown
from lightning_trackplus.runtime import distributed


class _Header(NamedTuple):
    """What one process has kept together, but for the items.

    Attributes:
        selection: The selection, in words.
        media_type: The type of medium.
        n: How many items are wanted.
        by_score: Whether the items are shown in the order of their scores.
        places: Where its items stand.
    """

    selection: str
    media_type: str
    n: int
    by_score: bool
    places: list[SortKey]


Told: TypeAlias = dict[SelectionKey, _Header]
"""What one process has kept of an epoch."""


def local_state(kept: Mapping[SelectionKey, SelectedItems]) -> Told:
    """Return what this process has kept, for all others."""
    return {
        shelf: _Header(
            repr(one.selection),
            one.media_type,
            one.selection.n,
            one.selection.needs_scores,
            one.places(),
        )
        for shelf, one in kept.items()
        if one.media_type is not None
    }


def gather_selected(
    kept: Mapping[SelectionKey, SelectedItems], everyone: Sequence[Told]
) -> dict[SelectionKey, Media[Any]]:
    """Return the items that are wanted of all that the processes have kept, in the order in which they are shown.

    There is one more collective if another process than the first has one of them, and none if not; then the
    others return nothing.

    Args:
        kept: What this process has kept.
        everyone: What each process has told, in the order of their ranks. Where they have kept different kinds of
            media together, or by different selections, these are left out, with a warning.
    """
    shelves = dict.fromkeys(shelf for each in everyone for shelf in each)
    offers = {shelf: [each[shelf] for each in everyone if shelf in each] for shelf in shelves}
    chosen = {shelf: _chosen(of_shelf) for shelf, of_shelf in offers.items() if _agree(shelf, of_shelf)}
    mine = {
        shelf: kept[shelf].batch(own)
        for shelf, places in chosen.items()
        if (own := [place for place in places if place.rank == distributed.rank()])
    }
    # All processes know what all have told, so that they agree on whether something has to be sent.
    if any(place.rank != 0 for places in chosen.values() for place in places):
        batches = dict(enumerate(distributed.all_gather_object(mine)))
    elif distributed.rank() == 0:
        batches = {0: mine}
    else:
        return {}
    return {
        shelf: _in_order({rank: each[shelf] for rank, each in batches.items() if shelf in each}, places)
        for shelf, places in chosen.items()
    }


def _agree(shelf: SelectionKey, offers: Sequence[_Header]) -> bool:
    """Return whether what the processes have kept can be put together; all of them come to the same answer."""
    first, *others = offers
    for other in others:
        if (other.selection, other.media_type) != (first.selection, first.media_type):
            rank_zero_warn(
                f"self.log({shelf.name!r}, …) got {first.media_type} with {first.selection} in one process and"
                f" {other.media_type} with {other.selection} in another, and none of them is written; log them under"
                " two names."
            )
            return False
    return True


def _chosen(offers: Sequence[_Header]) -> list[SortKey]:
    """Return the places of the items that are wanted of all that the processes have kept."""
    first = offers[0]
    places = sorted(place for offer in offers for place in offer.places)
    return shown(places[: first.n], by_score=first.by_score)


def _in_order(batches: dict[int, Media[Any]], places: Sequence[SortKey]) -> Media[Any]:
    """Return the items of several processes in the order of all."""
    first, *others = (batches[rank] for rank in sorted(batches))
    come = sorted(range(len(places)), key=lambda index: (places[index].rank, index))
    return first.joined(others).take([come.index(index) for index in range(len(places))])
