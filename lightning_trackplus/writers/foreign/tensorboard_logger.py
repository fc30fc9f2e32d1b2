"""Lightning's TensorBoardLogger: media in the event file that has its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tensorboard.compat.proto.summary_pb2 import Summary
from typing_extensions import assert_never

from lightning_trackplus.lightning_internals import lightning_loggers
from lightning_trackplus.record import Encoded, Payload, Record, TensorBoardEvent
from lightning_trackplus.writers.media_values import Fields, media_values

if TYPE_CHECKING:
    from lightning.pytorch.loggers import TensorBoardLogger


class TensorBoardLoggerWriter:
    """Hands media to the file writer of a SummaryWriter, which takes events from any thread.

    Args:
        logger: The logger. It opens its event file here, on the thread that logs the numbers: two threads that come
            first could open two files.
    """

    def __init__(self, logger: TensorBoardLogger) -> None:
        self._logger = logger
        self._is_flushed = True
        self._file_writer()

    def write(self, record: Record[Payload]) -> None:
        """Write the media of one record, as one event."""
        values: list[Fields] = []
        for name, value in record.values.items():
            match value:
                case Encoded():
                    values.extend(media_values(lightning_loggers.prefixed(self._logger, name), value))
                case float() | int() | TensorBoardEvent():
                    pass
                case _:
                    assert_never(value)
        if values:
            self._file_writer().add_summary(Summary(value=values), record.step, record.wall_time)
            self._is_flushed = False

    def flush(self) -> None:
        """Bring everything that was written into the file."""
        if not self._is_flushed:
            self._file_writer().flush()
            self._is_flushed = True

    def close(self) -> None:
        """Flush; the file is the logger's."""
        self.flush()

    def _file_writer(self) -> Any:
        # As Lightning does for hyper-parameters: after `close` there is none until it is asked for like this.
        return self._logger.experiment._get_file_writer()
