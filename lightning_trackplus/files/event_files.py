"""TensorBoard event files of a run directory, read as they lie there. Importing this needs tensorboard."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # it ships no types
from tensorboard.compat.proto.event_pb2 import Event

from lightning_trackplus.files.record_file import masked_checksum

CAPTIONS_SUFFIX = "/captions"
"""Behind the tag of media, the tag of the text that holds their captions."""

_HEADER, _FOOTER = 12, 4


def event_files(directory: Path) -> list[Path]:
    """Return the event files that lie in a folder itself, in the order in which TensorBoard reads them.

    Args:
        directory: The folder; it need not exist.
    """
    return sorted(directory.glob("*tfevents*"), key=lambda path: path.name) if directory.is_dir() else []


def read_records(path: Path) -> Iterator[bytes]:
    """Yield the records of an event file as they stand there, up to the first that is torn or damaged.

    Args:
        path: The file.

    Examples:
        >>> from lightning_trackplus.files.record_file import RecordFile
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "events")
        >>> file = RecordFile(path)
        >>> file.write(b"one")
        >>> file.close()
        >>> list(read_records(path))
        [b'one']
    """
    with path.open("rb") as file:
        while len(header := file.read(_HEADER)) == _HEADER:
            length = header[:8]
            data = file.read(struct.unpack("<Q", length)[0]) if masked_checksum(length) == header[8:] else b""
            footer = file.read(_FOOTER)
            if masked_checksum(data) != footer or masked_checksum(length) != header[8:]:
                return
            yield data


def read_events(path: Path) -> Iterator[Event]:
    """Yield the events of an event file, up to the first that is torn or damaged.

    Args:
        path: The file.
    """
    return (event for event, _ in placed_events(path))


def placed_events(path: Path) -> Iterator[tuple[Event, int]]:
    """Yield the events of an event file, each with where it ends, up to the first that is torn or damaged.

    Args:
        path: The file.
    """
    end = 0
    for record in read_records(path):
        end += _HEADER + len(record) + _FOOTER
        try:
            event = Event.FromString(record)
        except DecodeError:
            return
        yield event, end
