"""Lightning's CSVLogger: media as files beside its metrics.csv."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import Self, assert_never

from lightning_trackplus.lightning_internals import lightning_loggers
from lightning_trackplus.record import Encoded, Payload, Record, TensorBoardEvent
from lightning_trackplus.writers.csv import MediaFiles

if TYPE_CHECKING:
    from lightning.pytorch.loggers import CSVLogger


class MediaFilesWriter:
    """Writes media to files with an index ``media.csv``, and no numbers."""

    def __init__(self, directory: Path, prefix: str = "") -> None:
        self.directory = directory
        self._prefix = prefix
        self._media = MediaFiles(directory)

    @classmethod
    def of(cls, logger: CSVLogger) -> Self:
        """Return the writer for the directory of a CSVLogger.

        Args:
            logger: The logger. It makes its directory here, as it would at its first number: it looks on what lies
                there before as remains of an earlier run.

        Raises:
            ValueError: If the directory is not on this machine.
        """
        if "://" in logger.log_dir:
            raise ValueError(f"{logger.log_dir} is no local directory")
        _ = logger.experiment
        return cls(Path(logger.log_dir).resolve(), lightning_loggers.prefixed(logger, ""))

    def write(self, record: Record[Payload]) -> None:
        """Write the media of one record."""
        for name, value in record.values.items():
            match value:
                case Encoded():
                    self._media.write(record.step, record.epoch, record.wall_time, self._prefix + name, value)
                case float() | int() | TensorBoardEvent():
                    pass
                case _:
                    assert_never(value)

    def flush(self) -> None:
        """Bring everything that was written into the files."""
        self._media.flush()

    def close(self) -> None:
        """Flush and close the files."""
        self._media.close()
