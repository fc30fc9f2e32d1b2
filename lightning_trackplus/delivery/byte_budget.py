"""How much memory the records may hold that wait for the delivery thread."""

from __future__ import annotations

import threading
from numbers import Integral
from typing import Literal, TypeAlias, get_args

Overflow: TypeAlias = Literal["block", "drop"]


class ByteBudget:
    """Keeps account of the memory of what waits; it has no lock of its own.

    With ``"block"``, numbers and media share one bound. With ``"drop"``, each have a bound of their own, of the same
    size: numbers, which are never dropped, would else wait behind media. What is larger than the bound fits where
    nothing else waits.

    Args:
        max_bytes: The bound.
        overflow: What happens to a medium that does not fit: the caller waits, or the medium is dropped.
    """

    def __init__(self, max_bytes: int, overflow: Overflow) -> None:
        self.max_bytes = max_bytes
        self.drops_media = overflow == "drop"
        self._half = max_bytes // 2
        self._numbers = 0
        self._media = 0

    def fits(self, size: int, *, is_media: bool) -> bool:
        """Return whether there is room for a record.

        Args:
            size: Its memory in bytes.
            is_media: Whether it holds media.
        """
        held = self._media if is_media and self.drops_media else self._numbers
        return not held or held + size <= self.max_bytes

    def take(self, size: int, *, is_media: bool) -> None:
        """Count a record that begins to wait, or with a negative size one that no longer does.

        Args:
            size: Its memory in bytes.
            is_media: Whether it holds media.
        """
        if is_media and self.drops_media:
            self._media += size
        else:
            self._numbers += size

    def is_half_full(self) -> bool:
        """Return whether it is time to make room."""
        return self._numbers > self._half or self._media > self._half


def check_queue(flush_secs: float, media_overflow: str, max_queue_bytes: int) -> None:
    """Check a logger's options for its queue.

    Args:
        flush_secs: Seconds after which what was logged is in the files at the latest.
        media_overflow: What happens to media for which there is no room.
        max_queue_bytes: How much memory what waits may hold, in bytes.

    Raises:
        ValueError: If one has no meaning.
    """
    if not 0 < flush_secs <= threading.TIMEOUT_MAX:
        raise ValueError(f"flush_secs={flush_secs!r}; give a number of seconds above 0, for example 1.0.")
    if media_overflow not in get_args(Overflow):
        raise ValueError(
            f'media_overflow={media_overflow!r}; give "block", so that training waits for media, or "drop", so that'
            " media are dropped for which there is no room."
        )
    if not isinstance(max_queue_bytes, Integral) or isinstance(max_queue_bytes, bool) or max_queue_bytes < 1:
        raise ValueError(f"max_queue_bytes={max_queue_bytes!r}; give a number of bytes above 0, for example 2**28.")
