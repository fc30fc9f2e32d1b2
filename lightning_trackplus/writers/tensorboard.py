"""TensorBoard event files of a run and of the runs below it.

Those below are of the batches of validations and tests, and what ``add_scalars`` and ``add_hparams`` make.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from lightning_trackplus.formats.layout import batches_folder
from lightning_trackplus.record import Payload, Record, TensorBoardEvent
from lightning_trackplus.writers.event_file import EventFileWriter
from lightning_trackplus.writers.listeners import Listeners
from lightning_trackplus.writers.x_axis import XAxes

_MOST_OPEN_FILES = 64
_MOST_SUSPENDED = 10_000


@dataclass(frozen=True, slots=True)
class SubRunEvent(TensorBoardEvent):
    """An event of a run below another, such as one curve of ``add_scalars``.

    Attributes:
        folder: Where that run lies, below the run directory.
    """

    folder: str


class TensorBoardWriter:
    """Writes each event into the event file of its run."""

    def __init__(self, directory: Path, x_axis: Mapping[str, str] | None = None) -> None:
        self._directory = directory
        self._axes = XAxes(directory, x_axis or {})
        self._run = EventFileWriter(directory, self._axes, Listeners(directory))
        # The one used last stands last. Those that rest have no open file, and know how theirs goes on.
        self._below: dict[str, EventFileWriter] = {}
        self._suspended: dict[str, EventFileWriter] = {}

    def write(self, record: Record[Payload]) -> None:
        """Write one record as one event."""
        # Most records are of numbers and of the run itself.
        folder = "" if record.only_numbers and record.batch is None else self._folder_of(record)
        if not folder:
            self._run.write(record)
            return
        try:
            self._writer_below(folder).write(record)
        finally:
            self._suspend_others()

    def flush(self) -> None:
        """Bring everything that was written into the files."""
        # What the events mean is there before they are.
        self._each(self._axes.flush, self._run.flush, *(writer.flush for writer in self._below.values()))

    def close(self) -> None:
        """Flush and close the files; a later ``write`` begins others beside them."""
        self._suspended.clear()
        self._each(self._axes.flush, self._run.close, *(writer.close for writer in self._below.values()))

    @staticmethod
    def _folder_of(record: Record[Payload]) -> str:
        if record.batch is not None:
            return batches_folder(record.batch.stage)
        value = next(iter(record.values.values()), None)
        # Such an event is always alone.
        return value.folder if isinstance(value, SubRunEvent) else ""

    @staticmethod
    def _each(*calls: Callable[[], None]) -> None:
        """Call all, though one fails."""
        with ExitStack() as stack:
            for call in reversed(calls):
                stack.callback(call)

    def _writer_below(self, folder: str) -> EventFileWriter:
        writer = self._below.pop(folder, None) or self._suspended.pop(folder, None)
        if writer is None:
            directory = self._directory / folder
            writer = EventFileWriter(directory, listeners=Listeners(directory, are_told=False))
        self._below[folder] = writer
        return writer

    def _suspend_others(self) -> None:
        """Close the file that was not used for longest, if there are many: a process may have some hundreds."""
        if len(self._below) > _MOST_OPEN_FILES:
            folder = next(iter(self._below))
            self._suspended[folder] = writer = self._below.pop(folder)
            if len(self._suspended) > _MOST_SUSPENDED:
                # A search over hyper-parameters makes a run for each trial, which does not come again.
                del self._suspended[next(iter(self._suspended))]
            writer.suspend()
