"""Lightning's CSVLogger: media as files beside its metrics.csv."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import Self

from lightning_trackplus.formats.layout import is_url
from lightning_trackplus.record import MediaPayload, Payload, Record
from lightning_trackplus.writers.csv import MediaFiles
from lightning_trackplus.writers.foreign.base import ForeignWriter

if TYPE_CHECKING:
    from lightning.pytorch.loggers import CSVLogger


class MediaFilesWriter(ForeignWriter):
    """Writes media files and their index ``media.csv`` into a directory, with the name prefix of a logger if any."""

    def __init__(self, directory: Path, logger: CSVLogger | None = None) -> None:
        super().__init__(logger)
        self.directory = directory
        self._media = MediaFiles(directory)

    @classmethod
    def of(cls, logger: CSVLogger) -> Self:
        """Return the writer for the directory of a CSVLogger.

        Raises:
            ValueError: If the directory is not on this machine.
        """
        if is_url(logger.log_dir):
            raise ValueError(f"{logger.log_dir} is not a local directory")
        # Creates the directory, as the first number would: CSVLogger takes files that are there already for those of
        # an earlier run.
        _ = logger.experiment
        return cls(Path(logger.log_dir).resolve(), logger)

    def _write_media(self, name: str, media: MediaPayload, record: Record[Payload]) -> None:
        if self._logger is not None:
            name = self._prefixed(name)
        self._media.write(record.step, record.epoch, record.wall_time, name, media)

    def flush(self) -> None:
        """Bring everything that was written into the files."""
        self._media.flush()

    def close(self) -> None:
        """Flush and close the files."""
        self._media.close()
