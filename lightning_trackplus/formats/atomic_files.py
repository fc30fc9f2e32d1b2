"""Files whose writes are all or nothing, and parts of files."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any


class AtomicFile(io.FileIO):
    """An unbuffered file, each of whose writes is complete or leaves nothing behind.

    The operating system has the data when a write returns, so a killed process loses nothing. A full disk leaves no
    partial record that could corrupt what is written next.
    """

    def still_linked(self) -> bool:
        """Return whether the open file is still at its path: not removed, not replaced."""
        try:
            return os.path.samestat(os.fstat(self.fileno()), os.stat(self.name))
        except FileNotFoundError:
            return False

    def write(self, data: Any) -> int:
        """Write at the current position, or truncate the file there and raise `OSError`."""
        unwritten = memoryview(data)
        try:
            # A full disk takes what fits, and reports the error with the next write.
            while unwritten:
                unwritten = unwritten[super().write(unwritten) :]
        except OSError:
            start = self.tell() - (len(data) - len(unwritten))
            self.truncate(start)
            self.seek(start)
            raise
        return len(data)


class FilePart(io.RawIOBase):
    """The bytes of a file between two offsets, as a file."""

    def __init__(self, path: Path, start: int, end: int) -> None:
        self._file = path.open("rb", buffering=0)
        self._file.seek(start)
        self._end = end

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read the next bytes."""
        left = self._end - self._file.tell()
        return self._file.readinto(memoryview(buffer)[: max(left, 0)]) or 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


def replace_file(path: Path, data: bytes) -> None:
    """Write a file next to its path and rename it, so that the old or the new file is there at any moment."""
    new = path.with_name(path.name + ".new")
    try:
        new.write_bytes(data)
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise
