"""What ``logger.experiment`` is: a SummaryWriter whose events go through delivery.

Importing this needs tensorboard.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.utils.tensorboard.writer import FileWriter, SummaryWriter

from lightning_trackplus.record import TensorBoardEvent


class DeliveredSummaryWriter(SummaryWriter):
    """torch's SummaryWriter with every ``add_…`` it has; only the event file is not its own.

    Args:
        log_dir: Returns the run directory. It is asked late, since Lightning touches ``experiment``
            before the directory is known.
        put: Takes one event.
        flush: Waits until everything put before is in the files.
    """

    def __init__(
        self, log_dir: Callable[[], str], put: Callable[[TensorBoardEvent], None], flush: Callable[[], None]
    ) -> None:
        self._ask_log_dir = log_dir
        self._file_writer = _DeliveredFileWriter(_EventSink(log_dir, put, flush))
        super().__init__()

    @property
    def log_dir(self) -> str:
        """The run directory."""
        return self._ask_log_dir()

    @log_dir.setter
    def log_dir(self, _: str) -> None:
        """Ignore what torch's constructor assigns: the run directory is not its choice."""

    def _get_file_writer(self) -> FileWriter:
        if self.all_writers is None:
            # torch leaves these without a type, and mypy takes them for None.
            self.file_writer = self._file_writer  # type: ignore[assignment]
            self.all_writers = {"": self._file_writer}  # type: ignore[assignment]
        return self._file_writer


class _DeliveredFileWriter(FileWriter):
    """torch's FileWriter without the event file that its constructor opens."""

    def __init__(self, event_writer: _EventSink) -> None:
        self.event_writer = event_writer


class _EventSink:
    """What a FileWriter asks of the EventFileWriter below it."""

    def __init__(
        self, log_dir: Callable[[], str], put: Callable[[TensorBoardEvent], None], flush: Callable[[], None]
    ) -> None:
        self.get_logdir = log_dir
        self.flush = flush
        self._put = put

    def add_event(self, event: Any) -> None:
        self._put(TensorBoardEvent(event, event.ByteSize()))

    def close(self) -> None:
        self.flush()

    def reopen(self) -> None:
        """Do nothing: delivery reopens what it needs."""
