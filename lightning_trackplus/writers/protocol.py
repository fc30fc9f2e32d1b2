"""The interface of writers."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from lightning_trackplus.record import Payload, Record


@runtime_checkable
class Writer(Protocol):
    """Stores records in a format of its own; any object with these three methods is one.

    The delivery thread calls a writer in the order of the records, so it needs no locks. Errors that it raises are
    counted and shown as warnings, and the next record is written as usual. A writer should open its files at the first
    `write`, also at the first one after `close`.

    Examples:
        >>> from lightning_trackplus import TrackPlusLogger, Writer
        >>> class Printer:
        ...     def write(self, record):
        ...         print(record.step, dict(record.values))
        ...
        ...     def flush(self): ...
        ...
        ...     def close(self): ...
        >>> isinstance(Printer(), Writer)
        True
        >>> logger = TrackPlusLogger(writers=[Printer(), "csv"])
    """

    def write(self, record: Record[Payload]) -> None:
        """Write one record, without values of kinds that the format cannot store.

        Args:
            record: What was logged in one call.
        """

    def flush(self) -> None:
        """Bring everything that was written into the files; called once a second by default."""

    def close(self) -> None:
        """Flush and close the files."""
