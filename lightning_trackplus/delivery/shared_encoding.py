"""A medium on its way to several writers that have threads of their own."""

from __future__ import annotations

import threading
from typing import cast

from typing_extensions import Self

from lightning_trackplus.record import Encodable, Payload


class SharedEncoding:
    """A medium that several deliveries share: the first that takes it copies it, the first that comes to it encodes it.

    Where that fails, it fails for all of them, with the same error. What was encoded is not held any longer.

    Examples:
        >>> from lightning_trackplus import Text
        >>> shared = SharedEncoding(Text("one"))
        >>> shared.encode("name") is shared.encode("name")
        True
    """

    def __init__(self, medium: Encodable) -> None:
        self._medium: Encodable | None = medium
        self._payload: Payload | None = None
        self._error: BaseException | None = None
        self._is_copy = False
        self._working = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Memory that the items hold, in bytes, encoded or not yet."""
        held = self._payload if self._medium is None else self._medium
        return 0 if held is None or isinstance(held, float | int) else held.nbytes

    def snapshot(self) -> Self:
        """Return this object; what it holds is a copy from now on."""
        with self._working:
            if self._medium is not None and not self._is_copy:
                self._medium, self._is_copy = self._medium.snapshot(), True
        return self

    def encode(self, name: str) -> Payload:
        """Return the payload; it may be called from several threads.

        Raises:
            BaseException: Whatever the medium has raised, for each that asks.
        """
        with self._working:
            if self._medium is not None:
                self._encode(self._medium, name)
                self._medium = None
        if self._error is not None:
            raise self._error
        return cast("Payload", self._payload)

    def _encode(self, medium: Encodable, name: str) -> None:
        try:
            self._payload = medium.encode(name)
        except BaseException as error:  # noqa: BLE001  it is raised again, to each that asks
            # The frames in the traceback would hold the medium.
            self._error = error.with_traceback(None)
