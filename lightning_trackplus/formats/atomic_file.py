"""A file that holds no half records."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any


class AtomicFile(io.FileIO):
    """A file without a buffer, each of whose writes is done whole or not at all.

    What is written is with the operating system at once, so that a killed process loses none of it;
    and where a disk is full, nothing is left behind that could corrupt what comes after.
    """

    def still_linked(self) -> bool:
        """Return whether the file that is open still lies where it was opened, and was not removed or replaced."""
        try:
            return os.path.samestat(os.fstat(self.fileno()), os.stat(self.name))
        except FileNotFoundError:
            return False

    def write(self, data: Any) -> int:
        """Write at the current position.

        Raises:
            OSError: If not all of it could be written; then the file ends where the write began.
        """
        rest = memoryview(data)
        try:
            # A full disk takes what fits, and says so with the next write.
            while rest:
                rest = rest[super().write(rest) :]
        except OSError:
            start = self.tell() - (len(data) - len(rest))
            self.truncate(start)
            self.seek(start)
            raise
        return len(data)


def replace_file(path: Path, data: bytes) -> None:
    """Write a whole file beside its place and then put it there: at any moment, there is the old one or the new one.

    Raises:
        OSError: If it could not be written; then the old one stays.
    """
    beside = path.with_name(path.name + ".new")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
