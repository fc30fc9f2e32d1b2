"""The items that a selection keeps."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_trackplus.media.base import Media
from lightning_trackplus.media.selection import Selection
from lightning_trackplus.runtime.device_transfer import HostCopy

# The most batches that wait for their scores: while the oldest is waited for, the device has the others to do.
_LAG = 4


class SelectionKey(NamedTuple):
    """The key under which items are kept until they are delivered.

    Attributes:
        span: ``"train"`` or ``"evaluation"`` for an epoch; ``"step"`` for the time between two logged steps;
            ``"now"`` in a hook that ends an epoch.
        name: The full name.
    """

    span: str
    name: str


class SortKey(NamedTuple):
    """The rank of an item among all that were logged; the lowest are kept.

    Attributes:
        key: The selection's key.
        position: The number of the item among those of its process.
        rank: The process.
    """

    key: float
    position: int
    rank: int


class _Item(NamedTuple):
    place: SortKey
    media: Media[Any]


class SelectedItems:
    """Keeps the items that a selection chooses from each batch; only these are copied.

    Scores on a device are copied to the host without waiting. Until they arrive, the whole batch is kept, for at most a
    few batches.
    """

    def __init__(self, selection: Selection, rank: int = 0) -> None:
        self.selection = selection
        self._rank = rank
        self._keys = selection.keys(rank)
        self._seen = 0
        self._items: list[_Item] = []
        self._waiting: deque[tuple[Media[Any], HostCopy]] = deque()

    def add(self, media: Media[Any]) -> None:
        """Keep the chosen items of one batch."""
        scores = media.scores if self.selection.needs_scores else None
        if scores is None:
            self._consider(media, None)
        elif scores.device.type == "cpu" and not self._waiting:
            self._consider(media, scores.numpy())
        else:
            self._waiting.append((media.snapshot(), HostCopy(scores)))
            while self._waiting and (len(self._waiting) > _LAG or self._waiting[0][1].has_arrived()):
                self._consider_oldest()

    def places(self) -> list[SortKey]:
        """Return the sort keys of the kept items in order, after waiting for scores that are being copied."""
        while self._waiting:
            self._consider_oldest()
        return [item.place for item in self._items]

    def batch(self, places: Sequence[SortKey]) -> Media[Any]:
        """Return the kept items with these keys as one batch."""
        media = {item.place: item.media for item in self._items}
        first, *others = [media[place] for place in places]
        return first.joined(others)

    @property
    def media_type(self) -> str | None:
        """The type of the kept media; None as long as there are none."""
        media = self._waiting[0][0] if self._waiting else self._items[0].media if self._items else None
        return None if media is None else media.media_type

    def _consider_oldest(self) -> None:
        media, scores = self._waiting.popleft()
        self._consider(media, scores.wait().numpy())

    def _consider(self, media: Media[Any], scores: NDArray[np.float64] | None) -> None:
        keys = self._keys(len(media), scores)
        start, self._seen = self._seen, self._seen + len(media)
        if len(self._items) == self.selection.n:
            # Of two equal keys the earlier item stays.
            candidates = np.flatnonzero(keys < self._items[-1].place.key)
        else:
            candidates = np.arange(len(keys))
        if not len(candidates):
            return
        best = candidates[np.argsort(keys[candidates], kind="stable")[: self.selection.n]]
        new = [(SortKey(float(keys[index]), start + int(index), self._rank), int(index)) for index in best]
        wanted = set(sorted([item.place for item in self._items] + [place for place, _ in new])[: self.selection.n])
        old = [item for item in self._items if item.place in wanted]
        taken = [_Item(place, media.take([index]).snapshot()) for place, index in new if place in wanted]
        self._items = sorted([*old, *taken], key=lambda item: item.place)


def in_shown_order(places: list[SortKey], *, by_score: bool) -> list[SortKey]:
    """Return sort keys in the order in which their items are shown: by score, or as they came."""
    return places if by_score else sorted(places, key=lambda place: (place.position, place.rank))
