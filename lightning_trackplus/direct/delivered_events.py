"""TensorBoard's own events on their way into delivery. Importing this needs tensorboard."""

from __future__ import annotations

from collections.abc import Callable

from tensorboard.compat.proto.event_pb2 import Event
from torch.utils.tensorboard.writer import FileWriter

from lightning_trackplus.record import OwnEvent, TensorBoardEvent
from lightning_trackplus.writers.tensorboard_runs import EventBelow

# The plugins of TensorBoard whose tensors are numbers, or say how numbers are shown.
_PLUGINS_OF_NUMBERS = {"scalars", "custom_scalars", "hparams"}


class DeliveredFileWriter(FileWriter):
    """torch's FileWriter without the event file that its constructor opens, and without the thread.

    Args:
        log_dir: Returns the run directory.
        put: Hands an event over.
        flush: Waits until everything put before is in the files.
        folder: The run below this one that the events belong to; ``""`` for this one.
    """

    def __init__(
        self, log_dir: Callable[[], str], put: Callable[[OwnEvent], None], flush: Callable[[], None], folder: str
    ) -> None:
        self.event_writer = _EventSink(log_dir, put, flush, folder)


class _EventSink:
    """What a FileWriter asks of the EventFileWriter below it."""

    def __init__(
        self, log_dir: Callable[[], str], put: Callable[[OwnEvent], None], flush: Callable[[], None], folder: str
    ) -> None:
        self.get_logdir = log_dir
        self.flush = flush
        self._put = put
        self._folder = folder

    def add_event(self, event: Event) -> None:
        size = event.ByteSize()
        value = EventBelow(event, size, self._folder) if self._folder else TensorBoardEvent(event, size)
        tags = [one.tag for one in event.summary.value]
        name = tags[0] if tags else event.WhichOneof("what")
        self._put(OwnEvent(name, value, event.step, event.wall_time, self._folder, _is_media(event)))

    def close(self) -> None:
        self.flush()

    def reopen(self) -> None:
        """Do nothing: delivery reopens what it needs."""


def _is_media(event: Event) -> bool:
    """Return whether an event may be dropped: it holds values that are no numbers."""
    return any(
        value.WhichOneof("value") not in {None, "simple_value"}
        and value.metadata.plugin_data.plugin_name not in _PLUGINS_OF_NUMBERS
        for value in event.summary.value
    )
