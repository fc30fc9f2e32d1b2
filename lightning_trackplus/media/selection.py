"""Which items of an epoch are kept."""

from __future__ import annotations

from typing import Any

from lightning_trackplus.media.media import Media

DEFAULT_COUNT = 8


class FirstItems:
    """Keeps the first items of an epoch; nothing that is not kept is copied.

    Args:
        count: How many items, at least 1.
    """

    def __init__(self, count: int = DEFAULT_COUNT) -> None:
        self._count = count
        self._kept: list[Media[Any]] = []

    def add(self, name: str, media: Media[Any]) -> None:
        """Look at one batch and keep what is wanted of it.

        Args:
            name: The name it is logged under, for messages.
            media: The batch.

        Raises:
            ValueError: If an earlier batch was of another kind.
        """
        if self._kept and type(media) is not type(self._kept[0]):
            raise ValueError(
                f"self.log({name!r}, …) got {media!r} after {self._kept[0]!r} in one epoch; log them under two names."
            )
        missing = self._count - sum(len(kept) for kept in self._kept)
        if missing > 0:
            self._kept.append(media.take(range(min(missing, len(media)))).snapshot())

    def result(self) -> Media[Any]:
        """Return what was kept, as one batch."""
        first, *others = self._kept
        return first.joined(others)
