"""Lightning's TensorBoardLogger: media in the event file that has its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tensorboard.compat.proto.summary_pb2 import Summary

from lightning_trackplus.record import MediaPayload, Payload, Record
from lightning_trackplus.writers.foreign.base import ForeignWriter
from lightning_trackplus.writers.tensorboard_media import media_values

if TYPE_CHECKING:
    from lightning.pytorch.loggers import TensorBoardLogger


class TensorBoardLoggerWriter(ForeignWriter):
    """Adds media to the file writer of a SummaryWriter, which takes events from any thread."""

    def __init__(self, logger: TensorBoardLogger) -> None:
        super().__init__(logger)
        self._is_flushed = True
        self._file_writer()

    def _write_media(self, name: str, media: MediaPayload, record: Record[Payload]) -> None:
        values = media_values(self._prefixed(name), media)
        self._file_writer().add_summary(Summary(value=values), record.step, record.wall_time)
        self._is_flushed = False

    def flush(self) -> None:
        """Bring everything that was written into the file."""
        if not self._is_flushed:
            self._file_writer().flush()
            self._is_flushed = True

    def _file_writer(self) -> Any:
        # As Lightning does for hyper-parameters: after `close` there is none until it is asked for like this.
        return self._logger.experiment._get_file_writer()
