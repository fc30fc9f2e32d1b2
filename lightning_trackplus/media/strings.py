"""What media whose items are strings have in common."""

from __future__ import annotations

from typing_extensions import Self, override

from lightning_trackplus.media.base import Media


class StringMedia(Media[str]):
    """A medium whose items are strings, which nobody can change."""

    @property
    @override
    def nbytes(self) -> int:
        """Memory that the strings hold, in bytes, roughly."""
        return sum(map(len, self._items))

    @override
    def snapshot(self) -> Self:
        """Return the medium itself."""
        return self

    @override
    def _snapshot_of(self, item: str) -> str:
        return item
