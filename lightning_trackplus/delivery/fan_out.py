"""Several deliveries of the same records, so that a writer that is slow or stuck holds up no other."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TypeAlias

from lightning_trackplus.delivery.async_writer import AsyncWriter
from lightning_trackplus.delivery.shared_encoding import SharedEncoding
from lightning_trackplus.record import Encodable, Payload, Record, TensorBoardEvent


class FanOut:
    """Is to its callers what one `AsyncWriter` is."""

    def __init__(self, deliveries: Sequence[AsyncWriter]) -> None:
        self._deliveries = tuple(deliveries)

    def put(self, record: Record[Payload | Encodable], *, is_media: bool = False) -> None:
        """Hand over one record."""
        for delivery in self._deliveries:
            delivery.put(record, is_media=is_media)

    def put_medium(
        self, name: str, medium: Encodable | TensorBoardEvent, step: int, epoch: float | None, wall_time: float
    ) -> bool:
        """Hand over a copy of one medium, which is made once and encoded once; return whether any took it."""
        shared = medium if isinstance(medium, TensorBoardEvent | SharedEncoding) else SharedEncoding(medium)
        taken = [delivery.put_medium(name, shared, step, epoch, wall_time) for delivery in self._deliveries]
        return any(taken)

    def flush(self) -> None:
        """Wait until everything that was put before is in the files."""
        for delivery in self._deliveries:
            delivery.flush()

    def flush_soon(self) -> None:
        """Bring what was put before into the files without waiting for the interval, nor for that to be done."""
        for delivery in self._deliveries:
            delivery.flush_soon()

    def close(self) -> None:
        """Write what waits, close the writers, and say what could not be written."""
        with ExitStack() as stack:
            for delivery in reversed(self._deliveries):
                stack.callback(delivery.close)

    def has_flushed(self) -> bool:
        """Return whether anything that was put is in the files of one."""
        return any(delivery.has_flushed() for delivery in self._deliveries)

    def is_current_thread(self) -> bool:
        """Return whether one of the delivery threads asks."""
        return any(delivery.is_current_thread() for delivery in self._deliveries)

    def is_of_this_process(self) -> bool:
        """Return whether the deliveries were opened in this process, and not in one that was forked since."""
        return all(delivery.is_of_this_process() for delivery in self._deliveries)


AnyDelivery: TypeAlias = "AsyncWriter | FanOut"


def joined(deliveries: Sequence[AsyncWriter]) -> AnyDelivery:
    """Return what hands records to all of some deliveries; the one itself, where there is no other."""
    return deliveries[0] if len(deliveries) == 1 else FanOut(deliveries)
