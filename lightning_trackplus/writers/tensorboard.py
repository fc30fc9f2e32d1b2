"""TensorBoard event files: of a run, and of the runs in folders below it.

Those are the batches of validations and tests, and what ``add_scalars`` and ``add_hparams`` write.
Importing this needs tensorboard.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tensorboard.compat.proto.event_pb2 import Event, SourceMetadata
from typing_extensions import assert_never

from lightning_trackplus.formats.event_files import EventFile, next_file_time
from lightning_trackplus.formats.layout import OUR_EVENTS, batches_folder
from lightning_trackplus.formats.scalar_events import ScalarEvents
from lightning_trackplus.formats.x_axis import XAxes
from lightning_trackplus.record import Encoded, ImagePayload, Payload, Record, TensorBoardEvent
from lightning_trackplus.runtime.warn import WarnOnce, describe_error, warn
from lightning_trackplus.writers.tensorboard_listeners import Listeners, are_listening
from lightning_trackplus.writers.tensorboard_media import Fields, media_values

_MAX_FILES = 100
_MAX_OPEN_FILES = 64
_MAX_SUSPENDED = 10_000
_file_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class SubRunEvent(TensorBoardEvent):
    """An event of a run in a folder of the run directory, such as one curve of ``add_scalars``."""

    folder: str


class TensorBoardWriter:
    """Writes each event into the event file of its run."""

    def __init__(
        self, directory: Path, x_axis: Mapping[str, str] | None = None, *, draw_captions: bool = False
    ) -> None:
        self._directory = directory
        self._axes = XAxes(directory, x_axis or {})
        self._run = EventsWriter(directory, self._axes, Listeners(directory), draw_captions=draw_captions)
        # By folder, the most recently used one last. Suspended ones have no open file, but can continue theirs.
        self._sub_runs: dict[str, EventsWriter] = {}
        self._suspended: dict[str, EventsWriter] = {}

    def write(self, record: Record[Payload]) -> None:
        """Write one record as one event."""
        # Most records are numbers of the run itself.
        folder = "" if record.only_numbers and record.batch is None else self._folder_of(record)
        if not folder:
            self._run.write(record)
            return
        try:
            self._sub_run(folder).write(record)
        finally:
            self._suspend_others()

    def flush(self) -> None:
        """Write everything into the files."""
        # The axes are written before the events that use them.
        self._each(self._axes.flush, self._run.flush, *(writer.flush for writer in self._sub_runs.values()))

    def close(self) -> None:
        """Flush and close the files; a later ``write`` begins new ones."""
        self._suspended.clear()
        self._each(self._axes.flush, self._run.close, *(writer.close for writer in self._sub_runs.values()))

    @staticmethod
    def _folder_of(record: Record[Payload]) -> str:
        if record.batch is not None:
            return batches_folder(record.batch.stage)
        value = next(iter(record.values.values()), None)
        # Such an event is alone in its record.
        return value.folder if isinstance(value, SubRunEvent) else ""

    @staticmethod
    def _each(*calls: Callable[[], None]) -> None:
        """Call all, even if one fails."""
        with contextlib.ExitStack() as stack:
            for call in reversed(calls):
                stack.callback(call)

    def _sub_run(self, folder: str) -> EventsWriter:
        writer = self._sub_runs.pop(folder, None) or self._suspended.pop(folder, None)
        if writer is None:
            directory = self._directory / folder
            writer = EventsWriter(directory, listeners=Listeners(directory, announces=False))
        self._sub_runs[folder] = writer
        return writer

    def _suspend_others(self) -> None:
        """Close the least recently used file, if many are open: processes are limited to some hundreds."""
        if len(self._sub_runs) > _MAX_OPEN_FILES:
            folder = next(iter(self._sub_runs))
            self._suspended[folder] = writer = self._sub_runs.pop(folder)
            if len(self._suspended) > _MAX_SUSPENDED:
                # A hyper-parameter search makes a run for each trial, and never returns to it.
                del self._suspended[next(iter(self._suspended))]
            writer.suspend()


class EventsWriter:
    """Writes the event file of one folder: each record as one event, and one more for each other X axis.

    Where the steps of a tag go back, a new file is begun: within a file, TensorBoard expects them to increase.
    """

    def __init__(
        self,
        directory: Path,
        axes: XAxes | None = None,
        listeners: Listeners | None = None,
        *,
        draw_captions: bool = False,
    ) -> None:
        self._directory = directory
        self._axes = axes
        self._listeners = listeners
        self._draws_captions = draw_captions
        self._warn_once = WarnOnce()
        self._number_events = ScalarEvents()
        self._records: EventFile | None = None
        self._suspended: EventFile | None = None
        self._last_steps: dict[str, int] = {}
        self._highest_step = 0
        self._file_count = 0

    def write(self, record: Record[Payload]) -> None:
        """Write one record; captions that are not shown below their images go to the text tab."""
        if record.only_numbers:
            self._write_values(record, cast("Mapping[str, float]", record.values), [])
            return
        numbers: dict[str, float] = {}
        media: list[Fields] = []
        for name, value in record.values.items():
            match value:
                case ImagePayload() if self._draws_captions:
                    media += media_values(name, self._captioned(value))
                case Encoded():
                    media += media_values(name, value)
                case float() | int():
                    numbers[name] = value
                case TensorBoardEvent():
                    # Listeners got it when it was added.
                    event, tags = value.event, {entry.tag for entry in value.event.summary.value}
                    self._write_event(tags, event.step, event.SerializeToString(), is_passed_on=True)
                case _:
                    assert_never(value)
        self._write_values(record, numbers, media)

    def flush(self) -> None:
        """Write everything into the file; raise `OSError` if it is lost, also because the file was removed."""
        if self._records is None:
            return
        self._records.flush()
        if not self._records.still_linked():
            self.close()
            raise FileNotFoundError(
                f"The event file in {self._directory} was removed during the run; its events are lost. A new one is"
                " started."
            )

    def suspend(self) -> None:
        """Flush and close the event file; a later ``write`` continues it, or begins a new one if it was removed."""
        try:
            self.flush()
        finally:
            self._suspended, self._records = self._records, None
            if self._suspended is not None:
                self._suspended.close()

    def close(self) -> None:
        """Flush and close the event file; a later ``write`` begins a new one."""
        records, self._records, self._suspended = self._records, None, None
        self._last_steps.clear()
        self._highest_step = 0
        if records is not None:
            records.close()

    def _captioned(self, images: ImagePayload) -> ImagePayload:
        """Return images with their captions and scores below them; as they are if that fails."""
        try:
            return images if images.captioned is None else images.captioned.draw()
        except Exception as error:  # noqa: BLE001  without its captions, an image is still worth having
            if self._warn_once.is_first("captions"):
                warn(
                    "Captions could not be drawn below images, which TensorBoard shows without; captions are in its"
                    f" text tab. This warning is shown once. {describe_error(error)}"
                )
            return images

    def _write_values(self, record: Record[Payload], numbers: Mapping[str, float], media: list[Fields]) -> None:
        parts: Sequence[tuple[int, Mapping[str, float]]] = ()
        if numbers:
            parts = [(record.step, numbers)] if self._axes is None else self._axes.split(record, numbers)
        for step, part in parts:
            tags: AbstractSet[str] = part.keys()
            data = self._number_events.serialized(step, record.wall_time, part)
            if media and step == record.step:
                # Concatenated messages are one message.
                tags, data = tags | _tags(media), data + Event(summary={"value": media}).SerializeToString()
                media = []
            self._write_event(tags, step, data)
        if media:
            event = Event(wall_time=record.wall_time, step=record.step, summary={"value": media})
            self._write_event(_tags(media), record.step, event.SerializeToString())

    def _write_event(self, tags: AbstractSet[str], step: int, data: bytes, *, is_passed_on: bool = False) -> None:
        listeners = self._listeners if self._listeners is not None and are_listening() else None
        if listeners is not None and listeners.has_new():
            self.close()
        self._file(tags, step).write(data)
        if listeners is not None and not is_passed_on:
            listeners.pass_on(data)

    def _file(self, tags: AbstractSet[str], step: int) -> EventFile:
        """Return the file for an event with these tags."""
        if step < self._highest_step and any(self._last_steps.get(tag, step) > step for tag in tags):
            self._begin_new_file()
        self._highest_step = max(step, self._highest_step)
        self._last_steps.update(dict.fromkeys(tags, step))
        return self._records or self._reopened() or self._open()

    def _begin_new_file(self) -> None:
        self._file_count += 1
        if self._file_count < _MAX_FILES:
            self.close()
        elif self._file_count == _MAX_FILES:
            warn(
                f"Steps of one name went back {_MAX_FILES} times in {self._directory}, and each time a new event file"
                " was started; from now on all events are in one file. TensorBoard discards the later steps of a name"
                " whenever its steps go back."
            )

    def _reopened(self) -> EventFile | None:
        """Return the suspended file, if there is one and it can be opened."""
        suspended, self._suspended = self._suspended, None
        if suspended is not None:
            with contextlib.suppress(OSError):
                suspended.reopen()
                self._records = suspended
        return self._records

    def _open(self) -> EventFile:
        self._directory.mkdir(parents=True, exist_ok=True)
        now, file_time = time.time(), next_file_time(self._directory)
        is_read = self._listeners is not None and self._listeners.announce()
        # W&B only reads files with tensorboard's own names, in sub-folders as well.
        when = f"{math.ceil(file_time):010d}" if is_read else f"{file_time:020.9f}"
        name = f"events.out.tfevents.{when}.{socket.gethostname()}.{os.getpid()}.{next(_file_numbers)}"
        records = EventFile(self._directory / name)
        source = SourceMetadata(writer=OUR_EVENTS.decode())
        records.write(Event(wall_time=now, file_version="brain.Event:2", source_metadata=source).SerializeToString())
        self._records = records
        return records


def _tags(values: Sequence[Fields]) -> set[str]:
    return {value["tag"] for value in values}
