"""The items that a selection has kept so far."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_trackplus.media.base import Media
from lightning_trackplus.media.selection import Selection
from lightning_trackplus.runtime.device_transfer import HostCopy

# So many batches may wait for their scores. Beyond, the device has these to do while the oldest is waited for.
_LAG = 4


class SelectionKey(NamedTuple):
    """What is kept together until it is delivered.

    Attributes:
        span: ``"train"`` or ``"evaluation"`` for an epoch; ``"step"`` for what is between two logged steps.
        name: The name in full.
    """

    span: str
    name: str


class SortKey(NamedTuple):
    """Where an item stands among all that were logged: lower ones are kept.

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
    """Keeps what a selection wants of batch after batch; nothing else is copied.

    Scores on a device are sent to the host, and nothing waits for them before the end: until they are
    there, the whole batch is kept, of at most a few batches.
    """

    def __init__(self, selection: Selection, rank: int = 0) -> None:
        self.selection = selection
        self._rank = rank
        self._keys = selection.keys(rank)
        self._seen = 0
        self._items: list[_Item] = []
        self._waiting: deque[tuple[Media[Any], HostCopy]] = deque()

    def add(self, media: Media[Any]) -> None:
        """Look at one batch, and keep what is wanted of it."""
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
        """Return where the kept items stand, in order; waits for scores that are on their way."""
        while self._waiting:
            self._consider_oldest()
        return [item.place for item in self._items]

    def batch(self, places: Sequence[SortKey]) -> Media[Any]:
        """Return kept items as one batch."""
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
            # Of equal keys the earlier item stays.
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


def shown(places: list[SortKey], *, by_score: bool) -> list[SortKey]:
    """Return places in the order in which their items are shown.

    Args:
        places: The places, in order.
        by_score: Whether that is the order of their scores; if not, it is that in which the items came.
    """
    return places if by_score else sorted(places, key=lambda place: (place.position, place.rank))
