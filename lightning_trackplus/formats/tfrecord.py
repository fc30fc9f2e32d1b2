"""A file of records as TensorFlow frames them, which is what an event file is.

Each is its length as uint64, the checksum of that as uint32, the data, and the checksum of the data, all little-endian.
The checksums are CRC-32C, masked as TensorFlow has it in ``tensorflow/core/lib/hash/crc32c.h``.
"""

from __future__ import annotations

import importlib.util
import io
import struct
from collections.abc import Callable
from pathlib import Path

from lightning_trackplus.formats.atomic_file import AtomicFile
from lightning_trackplus.runtime.warn import warn_once

_MASK = 0xA282EAD8
_MOST_WAITING = 256 * 2**10
_crc32c: Callable[[bytes], int] | None = None


class TFRecordFile:
    """A new file of records.

    Raises:
        FileExistsError: If it exists.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = AtomicFile(path, "x")
        # Records that wait to be written in one piece.
        self._waiting: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        """Take one record; it is written with the next ones, at `flush` or once they are 256 KiB.

        Raises:
            OSError: If those that waited could not be written; they are lost then.
        """
        length = struct.pack("<Q", len(data))
        self._waiting += (length, masked_checksum(length), data, masked_checksum(data))
        self._size += len(data)
        if self._size >= _MOST_WAITING:
            self.flush()

    def flush(self) -> None:
        """Write what waits, all of it or nothing.

        Raises:
            OSError: If it could not be written; it is lost then.
        """
        if self._waiting:
            data, self._waiting, self._size = b"".join(self._waiting), [], 0
            self._file.write(data)

    def still_linked(self) -> bool:
        """Return whether the file still lies where it was opened, and was not removed or replaced."""
        return self._file.still_linked()

    def go_on(self) -> None:
        """Open the file again after `close`, to write behind what it has.

        Raises:
            OSError: If it cannot be opened; `FileNotFoundError` if it was removed.
        """
        self._file = AtomicFile(self._path, "r+b")
        self._file.seek(0, io.SEEK_END)

    def close(self) -> None:
        """Close the file; `go_on` opens it again."""
        try:
            self.flush()
        finally:
            self._file.close()


def masked_checksum(data: bytes) -> bytes:
    """Return the checksum that stands behind data in such a file."""
    checksum = (_crc32c or crc32c())(data)
    return struct.pack("<I", ((checksum >> 15 | checksum << 17) + _MASK) & 0xFFFFFFFF)


def crc32c() -> Callable[[bytes], int]:
    """Return what computes CRC-32C: that of google-crc32c, in C, or TensorBoard's own, in Python, with a warning."""
    global _crc32c  # noqa: PLW0603  asked for each record, and faster than a cached function
    if _crc32c is None:
        _crc32c = _found()
    return _crc32c


def _found() -> Callable[[bytes], int]:
    if importlib.util.find_spec("google_crc32c") is not None:
        import google_crc32c  # noqa: PLC0415  it may be missing

        if google_crc32c.implementation == "c":
            return google_crc32c.value  # type: ignore[no-any-return]  # it ships no types
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import crc32c as slow  # noqa: PLC0415  seldom wanted

    warn_once(
        "google-crc32c is not installed: the checksums of TensorBoard events are computed in Python, which with large"
        " media keeps a thread busy. `pip install google-crc32c` makes it a thousand times faster.",
        on_each_rank=True,
    )
    return slow  # type: ignore[no-any-return]  # it ships no types
