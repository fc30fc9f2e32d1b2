"""Copies of files that are being written, without the record or row that is torn at their end."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import IO

_BLOCK = 2**20
# A record has its length as uint64, a checksum of that, the data, and a checksum of the data.
_LENGTH, _FRAME = 8, 16


class WholeCopies:
    """Copies files up to the last record or row that was whole when the copy began.

    Of event files it remembers how far it has read, so that each record is looked at once.
    """

    def __init__(self) -> None:
        self._ends: dict[Path, tuple[int, int]] = {}

    def copy(self, path: Path, copy: Path) -> int:
        """Copy a file, and return how many bytes it has.

        Args:
            path: The file. An event file ends behind a record, a CSV file behind a line; others are copied as they are.
            copy: Where the copy is written.
        """
        with path.open("rb") as file, copy.open("w+b") as target:
            size = os.fstat(file.fileno()).st_size
            if "tfevents" in path.name:
                size = self._end_of_records(path, file, size)
            _copy_bytes(file, target, size)
            if path.suffix == ".csv":
                target.truncate(_end_of_lines(target))
            return target.seek(0, os.SEEK_END)

    def _end_of_records(self, path: Path, file: IO[bytes], size: int) -> int:
        number = os.fstat(file.fileno()).st_ino
        known, end = self._ends.get(path, (number, 0))
        if known != number or end > size:
            end = 0
        while end + _FRAME <= size:
            file.seek(end)
            following = end + _FRAME + struct.unpack("<Q", file.read(_LENGTH))[0]
            if following > size:
                break
            end = following
        self._ends[path] = number, end
        return end


def _copy_bytes(file: IO[bytes], target: IO[bytes], count: int) -> None:
    file.seek(0)
    while count > 0 and (block := file.read(min(count, _BLOCK))):
        target.write(block)
        count -= len(block)


def _end_of_lines(file: IO[bytes]) -> int:
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(end - _BLOCK, 0)
        file.seek(start)
        if (last := file.read(end - start).rfind(b"\n")) >= 0:
            return start + last + 1
        end = start
    return 0
