"""A ``log`` call that Lightning has taken before, without what costs much there and changes nothing.

It mirrors ``logger_connector/result.py`` of Lightning 2.4 to 2.6, whose objects it reads and writes, so that every
reader in Lightning finds what it would have found.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any


class NativeSite(ABC):
    """A ``log`` call that Lightning has taken, which takes further values like the first.

    Mirrors ``LightningModule.log`` from where its arguments are known to be good, and ``_ResultCollection.log``,
    without the walk through the entry to move what is where it has to be.

    Args:
        results: The results of the active loop.
        connector: The Trainer's logger connector.
        hook: The hook that logs.
        key: The key of the entry that Lightning has made.
    """

    __slots__ = ("_connector", "_entry", "_hook", "_key", "_results", "_state")

    def __init__(self, results: Any, connector: Any, hook: str, key: str) -> None:
        self._results = results
        self._connector = connector
        self._hook = hook
        self._key = key
        self._entry = results[key]
        self._state: dict[str, Any] = self._entry.__dict__

    @abstractmethod
    def take(self, value: Any, batch_size: int | None) -> bool:
        """Take the value of one call; return False where only Lightning can.

        Args:
            value: The value, as it was given.
            batch_size: The batch size that was given.
        """

    def _is_open(self) -> bool:
        """Return whether the entry still stands, and is to be reset by nobody before it takes a value."""
        if self._results.get(self._key) is not self._entry:
            return False
        connector = self._connector
        # In a new epoch, Lightning resets what the hook has logged.
        return connector._current_fx == self._hook or connector._first_loop_iter not in (None, True)

    def _count(self) -> None:
        """Note that the entry has taken a value, as the wrapper of torchmetrics around ``update`` does."""
        state = self._state
        state["_computed"] = None
        state["_update_count"] += 1
        state["has_reset"] = False
        self._connector._current_fx = self._hook
