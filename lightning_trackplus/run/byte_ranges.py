"""Files that are parted into what stays and what goes, by ranges of their bytes, however large they are."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeAlias

Range: TypeAlias = tuple[int, int]
"""Where it starts and where it ends, in bytes; the end is not in it."""

_MOST_AT_ONCE = 2**20


class RangesThatGo:
    """Collects which ranges of files go; some wait for what is judged after them, and do the same.

    A long run of ranges that touch is kept as one.

    Examples:
        >>> ranges, path = RangesThatGo(), Path("metrics.csv")
        >>> ranges.judge(path, (10, 20), goes=False)
        >>> ranges.wait(path, (20, 25))
        >>> ranges.judge(path, (25, 40), goes=True)
        >>> ranges.of(path)
        [(20, 40)]
    """

    def __init__(self) -> None:
        self._going: dict[Path, list[Range]] = {}
        self._waiting: dict[Path, list[Range]] = {}

    def judge(self, path: Path, bounds: Range, *, goes: bool) -> None:
        """Say whether a range goes, and with it all that waits.

        Args:
            path: The file.
            bounds: The range; the ranges of a file come in their order.
            goes: Whether it goes.
        """
        if goes:
            self.end()
            self.take(path, bounds)
        self._waiting.clear()

    def take(self, path: Path, bounds: Range) -> None:
        """Let a range go, whatever becomes of those that wait.

        Args:
            path: The file.
            bounds: The range.
        """
        _append(self._going.setdefault(path, []), bounds)

    def wait(self, path: Path, bounds: Range) -> None:
        """Let a range wait for the next one that is judged, in this file or another.

        Args:
            path: The file.
            bounds: The range.
        """
        _append(self._waiting.setdefault(path, []), bounds)

    def end(self) -> None:
        """Let all go that waits."""
        for path, waiting in self._waiting.items():
            for bounds in waiting:
                self.take(path, bounds)
        self._waiting.clear()

    def of(self, path: Path) -> list[Range]:
        """Return the ranges of a file that go, in their order.

        Args:
            path: The file.
        """
        return sorted(self._going.get(path, ()))


def _append(ranges: list[Range], bounds: Range) -> None:
    start, end = bounds
    if ranges and ranges[-1][1] == start:
        start, _ = ranges.pop()
    ranges.append((start, end))


@dataclass(frozen=True, slots=True)
class Parting:
    """How one file is to be parted.

    Attributes:
        path: The file; parting leaves it as it is.
        head: The length of its head, in bytes, which stands in both parts.
        end: Where its last whole record ends, in bytes; what is behind was torn, and goes.
        going: What goes before that.
    """

    path: Path
    head: int
    end: int
    going: list[Range]

    def write(self, kept: Path, removed: Path) -> None:
        """Write what stays and what goes, and see both on the disk.

        Args:
            kept: The new file for what stays.
            removed: The new file for what goes.

        Raises:
            OSError: If they could not be written, or are there.
        """
        borders = [(0, self.head), *self.going, (self.end, self.end)]
        staying = [(end, start) for (_, end), (start, _) in itertools.pairwise(borders)]
        with self.path.open("rb") as source:
            _copy(source, [(0, self.head), *staying], kept)
            _copy(source, [(0, self.head), *self.going, (self.end, self.path.stat().st_size)], removed)


def _copy(source: IO[bytes], ranges: Iterable[Range], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        for start, end in ranges:
            source.seek(start)
            for position in range(start, end, _MOST_AT_ONCE):
                file.write(source.read(min(_MOST_AT_ONCE, end - position)))
        file.flush()
        os.fsync(file.fileno())
