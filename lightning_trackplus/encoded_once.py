"""A medium on its way to several writers that have threads of their own."""

from __future__ import annotations

import threading

from typing_extensions import Self

from lightning_trackplus.record import Encodable, Payload


class EncodedOnce:
    """A medium that several deliveries share: the first that takes it copies it, the first that comes to it encodes it.

    Args:
        medium: The medium.

    Examples:
        >>> from lightning_trackplus import Text
        >>> shared = EncodedOnce(Text("one"))
        >>> shared.encode("name") is shared.encode("name")
        True
    """

    def __init__(self, medium: Encodable) -> None:
        self._medium: Encodable = medium
        self._payload: Payload | None = None
        self._is_copy = False
        self._working = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Memory that the items hold before they are encoded, in bytes."""
        return self._medium.nbytes

    def snapshot(self) -> Self:
        """Return this object; what it holds is a copy from now on."""
        with self._working:
            if not self._is_copy:
                self._medium, self._is_copy = self._medium.snapshot(), True
        return self

    def encode(self, name: str) -> Payload:
        """Return the payload; it may be called from several threads.

        Args:
            name: The name the medium was logged under, for warnings.
        """
        with self._working:
            if self._payload is None:
                self._payload = self._medium.encode(name)
            return self._payload
