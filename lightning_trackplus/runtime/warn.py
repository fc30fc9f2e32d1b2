"""Warnings: shown once in a process or for an object, and those of other threads, which never raise."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Hashable

from lightning_utilities.core.rank_zero import rank_zero_warn


class WarnOnce:
    """Shows each warning once. An object has one of its own where it warns; `warn_once` is that of the process.

    Examples:
        >>> once = WarnOnce()
        >>> once.is_first("nan"), once.is_first("nan")
        (True, False)
    """

    def __init__(self) -> None:
        self._shown: set[Hashable] = set()

    def is_first(self, key: Hashable) -> bool:
        """Return whether this is asked for the first time with this key."""
        is_first = key not in self._shown
        self._shown.add(key)
        return is_first

    def __call__(self, message: str, key: Hashable = None, *, on_each_rank: bool = False, stacklevel: int = 2) -> None:
        """Warn, unless this was called before with the same key, which by default is the message.

        Args:
            message: The warning.
            key: What stands for warnings of which only the first is shown.
            on_each_rank: Whether every process warns, and not the one of rank zero alone.
            stacklevel: As that of `warnings.warn`.
        """
        if not self.is_first(message if key is None else key):
            return
        if on_each_rank:
            warnings.warn(message, stacklevel=stacklevel + 1)
        else:
            rank_zero_warn(message, stacklevel=stacklevel + 4)


warn_once = WarnOnce()


def warn(message: str) -> None:
    """Warn from any thread without raising: where a warning is an error, it is logged instead."""
    try:
        warnings.warn(message, stacklevel=4)
    except Exception:  # noqa: BLE001  whoever shows warnings may raise anything
        # Under `-W error` a warning is raised, which may end neither the training nor the thread.
        with contextlib.suppress(Exception):
            logging.getLogger(__name__).warning(message)


def describe_error(error: BaseException) -> str:
    """Return an error in words, also one that cannot be printed."""
    with contextlib.suppress(BaseException):
        return f"{type(error).__name__}: {error}"
    return type(error).__name__
