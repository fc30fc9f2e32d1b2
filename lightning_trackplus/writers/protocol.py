"""What a writer is."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from lightning_trackplus.record import Payload, Record


@runtime_checkable
class Writer(Protocol):
    """Writes records somewhere.

    A writer is synchronous and knows no threads, no Lightning and no torch: delivery calls it from
    one thread, in the order of the records. It opens its files with the first record. What it raises
    is counted and reported by delivery, and the next record is tried again. After ``close`` a further
    ``write`` opens it anew.
    """

    def write(self, record: Record[Payload]) -> None:
        """Write one record; payloads of kinds that the format has no place for are left out.

        Args:
            record: What was logged in one call.
        """

    def flush(self) -> None:
        """Bring everything that was written into the files."""

    def close(self) -> None:
        """Flush and close the files."""
