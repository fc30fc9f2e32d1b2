"""A medium on its way to several loggers."""

from __future__ import annotations

import threading
from typing import Any

from typing_extensions import Self

from lightning_trackplus.media.media import Media
from lightning_trackplus.record import MediaPayload


class EncodedOnce:
    """A copy of a medium that several deliveries share: the first that comes to it encodes it for all.

    Args:
        media: The medium; it is copied here.

    Examples:
        >>> from lightning_trackplus import Text
        >>> shared = EncodedOnce(Text("one"))
        >>> shared.encode("name") is shared.encode("name")
        True
    """

    def __init__(self, media: Media[Any]) -> None:
        copied = media.snapshot()
        self._nbytes = copied.nbytes
        self._state: Media[Any] | MediaPayload = copied
        self._encoding = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Memory that the items held before they were encoded, in bytes."""
        return self._nbytes

    def snapshot(self) -> Self:
        """Return this object, which is a copy already."""
        return self

    def encode(self, name: str) -> MediaPayload:
        """Return the payload; it may be called from several threads.

        Args:
            name: The name the medium was logged under, for warnings.
        """
        with self._encoding:
            if isinstance(self._state, Media):
                self._state = self._state.encode(name)
            return self._state
