"""TensorBoard event files."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import socket
import time
import warnings
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import cast

from tensorboard.compat.proto.event_pb2 import Event, SourceMetadata
from typing_extensions import assert_never

from lightning_trackplus.formats.event_files import next_moment
from lightning_trackplus.formats.layout import OUR_EVENTS
from lightning_trackplus.formats.scalar_events import ScalarEvents
from lightning_trackplus.formats.tfrecord import TFRecordFile
from lightning_trackplus.record import Encoded, Payload, Record, TensorBoardEvent
from lightning_trackplus.writers.listeners import Listeners, are_there
from lightning_trackplus.writers.media_values import Fields, media_values
from lightning_trackplus.writers.x_axis import XAxes

_MOST_FILES = 100
_file_numbers = itertools.count()


class EventFileWriter:
    """Writes every record as one event, and one with the numbers of each other axis.

    Where a step of a tag comes again that is lower than its last one, another file is begun: within a file, steps of
    a tag never go backwards.

    Args:
        directory: The run directory; it is made with the first record.
        axes: Which names stand over something else than the global step; by default none.
        listeners: Tools that listen to TensorBoard, if they are to hear of this.
    """

    def __init__(self, directory: Path, axes: XAxes | None = None, listeners: Listeners | None = None) -> None:
        self._directory = directory
        self._axes = axes
        self._listeners = listeners
        self._number_events = ScalarEvents()
        self._records: TFRecordFile | None = None
        self._suspended: TFRecordFile | None = None
        self._last_steps: dict[str, int] = {}
        self._highest_step = 0
        self._file_count = 0

    def write(self, record: Record[Payload]) -> None:
        """Write one record; captions go to the text tab, as ``<name>/captions``."""
        if record.only_numbers:
            self._write_values(record, cast("Mapping[str, float]", record.values), [])
            return
        numbers: dict[str, float] = {}
        media: list[Fields] = []
        for name, value in record.values.items():
            match value:
                case Encoded():
                    media += media_values(name, value)
                case float() | int():
                    numbers[name] = value
                case TensorBoardEvent():
                    # Listeners have heard of it where it was added.
                    event, tags = value.event, {one.tag for one in value.event.summary.value}
                    self._write_event(tags, event.step, event.SerializeToString(), is_heard=True)
                case _:
                    assert_never(value)
        self._write_values(record, numbers, media)

    def flush(self) -> None:
        """Bring everything that was written into the files.

        Raises:
            OSError: If it could not be written, and is lost; also if the file was removed meanwhile. Then another one
                is begun.
        """
        if self._records is None:
            return
        self._records.flush()
        if not self._records.still_linked():
            self.close()
            raise FileNotFoundError(
                f"The event file in {self._directory} was removed in mid-run, with what it held; another one is begun."
            )

    def suspend(self) -> None:
        """Flush and close the event file; a later ``write`` goes on in it, or begins another if it was removed."""
        try:
            self.flush()
        finally:
            self._suspended, self._records = self._records, None
            if self._suspended is not None:
                self._suspended.close()

    def close(self) -> None:
        """Flush and close the event file; a later ``write`` begins another one beside it."""
        records, self._records, self._suspended = self._records, None, None
        self._last_steps.clear()
        self._highest_step = 0
        if records is not None:
            records.close()

    def _write_values(self, record: Record[Payload], numbers: Mapping[str, float], media: list[Fields]) -> None:
        parts: Sequence[tuple[int, Mapping[str, float]]] = ()
        if numbers:
            parts = [(record.step, numbers)] if self._axes is None else self._axes.split(record, numbers)
        for step, part in parts:
            tags: AbstractSet[str] = part.keys()
            data = self._number_events.serialized(step, record.wall_time, part)
            if media and step == record.step:
                # Messages behind each other are one message.
                tags, data = tags | _tags(media), data + Event(summary={"value": media}).SerializeToString()
                media = []
            self._write_event(tags, step, data)
        if media:
            event = Event(wall_time=record.wall_time, step=record.step, summary={"value": media})
            self._write_event(_tags(media), record.step, event.SerializeToString())

    def _write_event(self, tags: AbstractSet[str], step: int, data: bytes, *, is_heard: bool = False) -> None:
        listeners = self._listeners if self._listeners is not None and are_there() else None
        if listeners is not None and listeners.are_new():
            self.close()
        self._file(tags, step).write(data)
        if listeners is not None and not is_heard:
            listeners.pass_on(data)

    def _file(self, tags: AbstractSet[str], step: int) -> TFRecordFile:
        """Return the file for an event with some tags."""
        if step < self._highest_step and any(self._last_steps.get(tag, step) > step for tag in tags):
            self._begin_another_file()
        self._highest_step = max(step, self._highest_step)
        self._last_steps.update(dict.fromkeys(tags, step))
        return self._records or self._reopened() or self._open()

    def _begin_another_file(self) -> None:
        self._file_count += 1
        if self._file_count < _MOST_FILES:
            self.close()
        elif self._file_count == _MOST_FILES:
            warnings.warn(
                f"Steps of one name went back {_MOST_FILES} times in {self._directory}, each time into another event"
                " file; from now on they stay in one. TensorBoard forgets what a name has at later steps whenever its"
                " step goes back.",
                stacklevel=2,
            )

    def _reopened(self) -> TFRecordFile | None:
        """Return the file that rests, if there is one and it can be opened."""
        resting, self._suspended = self._suspended, None
        if resting is not None:
            with contextlib.suppress(OSError):
                resting.go_on()
                self._records = resting
        return self._records

    def _open(self) -> TFRecordFile:
        self._directory.mkdir(parents=True, exist_ok=True)
        now, moment = time.time(), next_moment(self._directory)
        is_read = self._listeners is not None and self._listeners.tell()
        # W&B reads the files alone that have tensorboard's own names, in folders below as well.
        when = f"{math.ceil(moment):010d}" if is_read else f"{moment:020.9f}"
        name = f"events.out.tfevents.{when}.{socket.gethostname()}.{os.getpid()}.{next(_file_numbers)}"
        records = TFRecordFile(self._directory / name)
        source = SourceMetadata(writer=OUR_EVENTS.decode())
        records.write(Event(wall_time=now, file_version="brain.Event:2", source_metadata=source).SerializeToString())
        self._records = records
        return records


def _tags(values: Sequence[Fields]) -> set[str]:
    return {value["tag"] for value in values}
