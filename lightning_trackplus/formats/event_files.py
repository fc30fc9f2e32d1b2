"""TensorBoard event files: their names, their records, their events.

A record is framed as TensorFlow does it: its length as uint64, the checksum of the length as uint32, the data, the
checksum of the data, all little-endian. The checksums are CRC-32C, masked as in ``tensorflow/core/lib/hash/crc32c.h``.
"""

from __future__ import annotations

import functools
import importlib.util
import io
import os
import re
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from lightning_trackplus.formats.atomic_files import AtomicFile
from lightning_trackplus.runtime.warn import warn, warn_once

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event

HPARAMS_TAG = "_hparams_/"
"""How the tags of the HParams tab begin."""

CAPTIONS_SUFFIX = "/captions"
"""What the tag of media's captions adds to the tag of the media."""

_MASK = 0xA282EAD8
_MAX_BUFFERED = 256 * 2**10
_LENGTH, _HEADER, _FOOTER = 8, 12, 4
_CLOCK_RESOLUTION = 1e-6  # Of seconds since 1970 in a float64.
_TIME_IN_NAME = re.compile(r"events\.out\.tfevents\.(\d+)(\.\d{1,9}(?=\.))?")


def event_files(directory: Path) -> list[Path]:
    """Return the event files directly in a folder, in the order in which TensorBoard reads them."""
    return sorted(directory.glob("*tfevents*"), key=lambda path: path.name) if directory.is_dir() else []


def next_file_time(directory: Path) -> float:
    """Return the time for the name of a folder's next event file, in seconds since 1970.

    TensorBoard reads files in the order of their names. So it is later than all that are there, even if the clock was
    set back.
    """
    matches = [match for path in event_files(directory) if (match := _TIME_IN_NAME.match(path.name))]
    # A name without fractions of a second sorts after all names of that second that have some.
    after = [float(match[1] + match[2]) + _CLOCK_RESOLUTION if match[2] else int(match[1]) + 1 for match in matches]
    return max([time.time(), *after])


class EventFile:
    """Writes a new event file, record by record."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = AtomicFile(path, "x")
        self._buffered: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        """Add a record; it is written by `flush`, or once 256 KiB are buffered."""
        self._buffered += (_header(len(data)), data, masked_checksum(data))
        self._size += len(data)
        if self._size >= _MAX_BUFFERED:
            self.flush()

    def flush(self) -> None:
        """Write the buffered records, all or none; if that raises `OSError`, they are lost."""
        if self._buffered:
            data, self._buffered, self._size = b"".join(self._buffered), [], 0
            self._file.write(data)

    def still_linked(self) -> bool:
        """Return whether the open file is still at its path."""
        return self._file.still_linked()

    def reopen(self) -> None:
        """Open the file again after `close`, to append to it."""
        self._file = AtomicFile(self._path, "r+b")
        self._file.seek(0, io.SEEK_END)

    def close(self) -> None:
        """Flush and close the file."""
        try:
            self.flush()
        finally:
            self._file.close()


def write_event_file(path: Path, event: Event | None) -> None:
    """Write a whole event file with one event or none, or replace it; this needs tensorboard."""
    # Imported here, since it needs tensorboard.
    from tensorboard.compat.proto.event_pb2 import Event  # noqa: PLC0415

    new = path.with_name("session.new")
    new.unlink(missing_ok=True)
    file = EventFile(new)
    file.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
    if event is not None:
        file.write(event.SerializeToString())
    file.close()
    new.replace(path)


def read_records(path: Path, *, warns: bool = True) -> Iterator[bytes]:
    """Yield the records of an event file; at the first torn or damaged one, warn and stop."""
    with path.open("rb", 2**18) as file:
        left = os.fstat(file.fileno()).st_size
        checked, size = b"", 0
        while left > 0:
            header = file.read(_HEADER)
            # Records of one size have the same header.
            if header != checked:
                # The size in a damaged header may be more than any memory has.
                size = struct.unpack("<Q", header[:_LENGTH])[0] if len(header) == _HEADER else left
                checked = _header(size)
            is_whole = header == checked and _HEADER + size + _FOOTER <= left
            data = file.read(size) if is_whole else b""
            if not is_whole or masked_checksum(data) != file.read(_FOOTER):
                if warns:
                    warn(f"{path} is damaged: its last {left:,} bytes cannot be read and are skipped.")
                return
            left -= _HEADER + size + _FOOTER
            yield data


def end_of_records(file: IO[bytes], start: int, size: int) -> int:
    """Return where the last whole record ends in the first bytes of an event file, from a record's start on."""
    end = start
    while end + _HEADER + _FOOTER <= size:
        file.seek(end)
        following = end + _HEADER + struct.unpack("<Q", file.read(_LENGTH))[0] + _FOOTER
        if following > size:
            break
        end = following
    return end


def read_events(path: Path) -> Iterator[Event]:
    """Yield the events of an event file, up to the first that is torn or damaged; this needs tensorboard."""
    return (event for event, _ in events_with_ends(path))


def events_with_ends(path: Path) -> Iterator[tuple[Event, int]]:
    """Yield the events of an event file as `read_events` does, each with the offset at which it ends."""
    # Imported here, since it needs tensorboard.
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # noqa: PLC0415  it ships no types
    from tensorboard.compat.proto.event_pb2 import Event  # noqa: PLC0415

    end = 0
    for record in read_records(path):
        end += _HEADER + len(record) + _FOOTER
        try:
            event = Event.FromString(record)
        except DecodeError:
            return
        yield event, end


@functools.lru_cache(1024)
def _header(size: int) -> bytes:
    """Return the header of a record of some bytes."""
    length = struct.pack("<Q", size)
    return length + masked_checksum(length)


def masked_checksum(data: bytes) -> bytes:
    """Return the checksum of data, as event files store it."""
    checksum = _crc32c()(data)
    return struct.pack("<I", ((checksum >> 15 | checksum << 17) + _MASK) & 0xFFFFFFFF)


@functools.cache
def _crc32c() -> Callable[[bytes], int]:
    """Return CRC-32C of google-crc32c, in C, or TensorBoard's own, in Python, with a warning."""
    if importlib.util.find_spec("google_crc32c") is not None:
        import google_crc32c  # noqa: PLC0415  it may be missing

        if google_crc32c.implementation == "c":
            return google_crc32c.value  # type: ignore[no-any-return]  # it ships no types
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import crc32c as slow  # noqa: PLC0415  seldom wanted

    warn_once(
        "google-crc32c is not installed. The checksums of TensorBoard events are computed in Python, which keeps a"
        " thread busy where media are large. `pip install google-crc32c` makes them a thousand times faster.",
        on_each_rank=True,
    )
    return slow  # type: ignore[no-any-return]  # it ships no types
