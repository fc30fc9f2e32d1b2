"""TensorBoard event files of a run directory, read as they lie there. Importing this needs tensorboard."""

from __future__ import annotations

import os
import re
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # it ships no types
from tensorboard.compat.proto.event_pb2 import Event

from lightning_trackplus.formats.tfrecord import TFRecordFile, masked_checksum
from lightning_trackplus.runtime.failures import warn

CAPTIONS_SUFFIX = "/captions"
"""Behind the tag of media, the tag of the text that holds their captions."""

_HEADER, _FOOTER = 12, 4
_A_MOMENT = 1e-6  # Of seconds since 1970, a float64 does not tell less from each other.
_MOMENT = re.compile(r"events\.out\.tfevents\.(\d+)(\.\d{1,9}(?=\.))?")


def event_files(directory: Path) -> list[Path]:
    """Return the event files that lie in a folder itself, in the order in which TensorBoard reads them."""
    return sorted(directory.glob("*tfevents*"), key=lambda path: path.name) if directory.is_dir() else []


def next_moment(directory: Path) -> float:
    """Return the moment after which the next event file of a folder is to be named, in seconds since 1970.

    TensorBoard reads the files in the order of their names: that is now, or behind those that are there, whatever
    became of the clock.
    """
    found = [match for path in event_files(directory) if (match := _MOMENT.match(path.name))]
    # A name without parts of a second stands behind all of that second.
    after = [float(match[1] + match[2]) + _A_MOMENT if match[2] else int(match[1]) + 1 for match in found]
    return max([time.time(), *after])


def write_event_file(path: Path, event: Event | None) -> None:
    """Put an event file with one event, or none, in its place, whole."""
    beside = path.with_name("session.new")
    beside.unlink(missing_ok=True)
    file = TFRecordFile(beside)
    file.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
    if event is not None:
        file.write(event.SerializeToString())
    file.close()
    beside.replace(path)


def read_records(path: Path) -> Iterator[bytes]:
    """Yield the records of an event file as they stand there, up to the first that is torn or damaged, with a warning.

    Examples:
        >>> from lightning_trackplus.formats.tfrecord import TFRecordFile
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "events")
        >>> file = TFRecordFile(path)
        >>> file.write(b"one")
        >>> file.close()
        >>> list(read_records(path))
        [b'one']
    """
    with path.open("rb", 2**18) as file:
        left = os.fstat(file.fileno()).st_size
        sound, size = b"", 0
        while left > 0:
            header = file.read(_HEADER)
            # Records of one size have one header.
            if header != sound:
                length = header[:8]
                # What a damaged header claims may be more than any memory has.
                size = struct.unpack("<Q", length)[0] if len(header) == _HEADER else left
                sound = header if masked_checksum(length) == header[8:] else b""
            is_whole = header == sound and _HEADER + size + _FOOTER <= left
            data = file.read(size) if is_whole else b""
            if not is_whole or masked_checksum(data) != file.read(_FOOTER):
                warn(f"{path} is damaged: its last {left:,} bytes cannot be read, and are left out.")
                return
            left -= _HEADER + size + _FOOTER
            yield data


def read_events(path: Path) -> Iterator[Event]:
    """Yield the events of an event file, up to the first that is torn or damaged."""
    return (event for event, _ in placed_events(path))


def placed_events(path: Path) -> Iterator[tuple[Event, int]]:
    """Yield the events of an event file, each with where it ends, up to the first that is torn or damaged."""
    end = 0
    for record in read_records(path):
        end += _HEADER + len(record) + _FOOTER
        try:
            event = Event.FromString(record)
        except DecodeError:
            return
        yield event, end
