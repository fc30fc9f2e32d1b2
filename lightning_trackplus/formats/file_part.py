"""A part of a file, as a file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any


class FilePart(io.RawIOBase):
    """The bytes of a file between two places, read when they are asked for.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "letters")
        >>> _ = path.write_bytes(b"abcdef")
        >>> FilePart(path, 1, 4).read()
        b'bcd'
    """

    def __init__(self, path: Path, start: int, end: int) -> None:
        self._file = path.open("rb", buffering=0)
        self._file.seek(start)
        self._end = end

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what comes next."""
        left = self._end - self._file.tell()
        return self._file.readinto(memoryview(buffer)[: max(left, 0)]) or 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()
