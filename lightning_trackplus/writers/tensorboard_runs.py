"""TensorBoard event files of a run and of the runs below it, which ``add_scalars`` and ``add_hparams`` make."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lightning_trackplus.record import Payload, Record, TensorBoardEvent
from lightning_trackplus.writers.tensorboard import TensorBoardWriter

_MOST_OPEN_FILES = 64


@dataclass(frozen=True, slots=True)
class EventBelow(TensorBoardEvent):
    """An event of a run below another, such as one curve of ``add_scalars``.

    Attributes:
        folder: Where that run lies, below the run directory.
    """

    folder: str


class TensorBoardRuns:
    """Writes each event into the event file of its run.

    Args:
        directory: The run directory; it is made with the first record.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._run = TensorBoardWriter(directory)
        self._below: dict[str, TensorBoardWriter] = {}

    def write(self, record: Record[Payload]) -> None:
        """Write one record as one event.

        Args:
            record: What was logged in one call.
        """
        match tuple(record.values.values()):
            case (EventBelow(folder=folder),):
                self._writer_below(folder).write(record)
            case _:
                self._run.write(record)

    def flush(self) -> None:
        """Bring everything that was written into the files."""
        for writer in (self._run, *self._below.values()):
            writer.flush()

    def close(self) -> None:
        """Flush and close the files; a later ``write`` begins others beside them."""
        for writer in (self._run, *self._below.values()):
            writer.close()

    def _writer_below(self, folder: str) -> TensorBoardWriter:
        writer = self._below.pop(folder, None) or TensorBoardWriter(self._directory / folder)
        if len(self._below) >= _MOST_OPEN_FILES:
            # A search over hyper-parameters makes a run for each trial, more than a process may have files.
            self._below.pop(next(iter(self._below))).close()
        # The one used last stands last.
        self._below[folder] = writer
        return writer
