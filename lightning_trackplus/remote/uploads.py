"""One round of uploads from a spool to the remote run directory."""

from __future__ import annotations

import os
import struct
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import IO, ParamSpec

from lightning_trackplus.formats.layout import BACKUP_FOLDER, MEDIA_FOLDER, MEDIA_INDEX
from lightning_trackplus.remote.remote_folder import RemoteFolder
from lightning_trackplus.remote.spool import Spool, Stamp, top_folder
from lightning_trackplus.runtime.failures import FailureLog

P = ParamSpec("P")

_COPY = ".uploading"
_FAILURES_IN_A_ROW = 3
_FILES_REPORTED = 5
# A file may change again within one tick of the clock that stamps it.
_CLOCK_TICK_NS = 100_000_000


class Uploads:
    """Carries what changed from a spool to its remote run directory. It is used by one thread at a time."""

    def __init__(self, url: str, spool: Spool, remote: RemoteFolder) -> None:
        self._url = url
        self._spool = spool
        self._remote = remote
        self._failures = FailureLog()
        # How often each file has failed since it was uploaded last.
        self._failed_in_a_row: Counter[str] = Counter()
        self._copies = WholeCopies()

    def round(self, *, still: bool) -> tuple[int, list[str]]:
        """Upload what changed.

        Returns:
            How many files were uploaded, and those that could not be.
        """
        try:
            files = self._spool.files()
            blocked = self.follow_moves(files)
            count, left = self._upload(files, blocked, still=still)
            if not left:
                gone = self._spool.uploaded.keys() - files.keys()
                left = [relative for relative in gone if not self._attempt(relative, self.retire, relative)]
            self._spool.save()
        except Exception as error:  # noqa: BLE001  training has to go on
            self._failed(error)
            return 0, [str(self._spool.directory)]
        return count, left

    def report(self, left: list[str]) -> None:
        """Warn if anything has failed since the last report.

        Args:
            left: The files that are not uploaded.
        """
        if not left:
            self._failures.report("By now, all files are there.")
            return
        names = ", ".join(sorted(left)[:_FILES_REPORTED])
        rest = len(left) - _FILES_REPORTED
        others = f", and {rest} other file{'s' * (rest > 1)}" if rest > 0 else ""
        self._failures.report(
            f"These files are missing there, or old: {names}{others}. They are kept in {self._spool.directory}, and the"
            " next run that writes to this URL uploads them; or copy them by hand."
        )

    def _failed(self, error: Exception) -> None:
        advice = f"It is tried again; until then, the files are in {self._spool.directory}. "
        self._failures.failed(f"Uploading to {self._url}", error, advice=advice)

    def follow_moves(self, files: dict[str, Stamp]) -> set[str]:
        """Move remote media whose stubs were moved.

        Returns:
            Those that may not be uploaded, since the move that comes before has failed.
        """
        blocked: set[str] = set()
        for relative, stamp in files.items():
            if self._spool.is_uploaded(relative, stamp) or (origin := self._spool.origin(relative)) is None:
                continue
            if origin == relative or self._attempt(relative, self._remote.move, origin, relative):
                files[relative] = self._spool.make_stub(relative)
            else:
                blocked |= {origin, relative}
        return blocked

    def _upload(self, files: dict[str, Stamp], blocked: set[str], *, still: bool) -> tuple[int, list[str]]:
        waiting = [relative for relative, stamp in files.items() if not self._spool.is_uploaded(relative, stamp)]
        if not still:
            self._make_stubs(files)
        left, failures_in_a_row, now = [], 0, time.time_ns()
        for relative in sorted(waiting, key=self._rank):
            # In an outage each try can take long; the next round begins with what has failed least.
            if relative in blocked or failures_in_a_row == _FAILURES_IN_A_ROW:
                left.append(relative)
            elif self._attempt(relative, self._put, relative, files[relative], now, still):
                failures_in_a_row = 0
            else:
                failures_in_a_row += 1
                left.append(relative)
        return len(waiting) - len(left), left

    def _make_stubs(self, files: dict[str, Stamp]) -> None:
        """Free the room of media that are uploaded, and as they were a round ago: these are whole."""
        for relative in [one for one in self._spool.uploaded if top_folder(one) == MEDIA_FOLDER and one in files]:
            if self._spool.is_uploaded(relative, files[relative]):
                self._spool.make_stub(relative)

    def _rank(self, relative: str) -> tuple[int, bool, bool, str]:
        """Return what files are sorted by: numbers come before media, and media before the rows that name them."""
        return self._failed_in_a_row[relative], relative == MEDIA_INDEX, top_folder(relative) == MEDIA_FOLDER, relative

    def _put(self, relative: str, stamp: Stamp, now: int, still: bool) -> None:
        path = self._spool.directory / relative
        if still or top_folder(relative) == MEDIA_FOLDER:
            self._remote.put(path, relative)
            size = stamp.size
        else:
            size = self._copies.copy(path, copy := self._spool.directory / _COPY)
            self._remote.put(copy, relative)
            copy.unlink()
        if not still and stamp.mtime_ns > now - _CLOCK_TICK_NS:
            # It may have changed since without a trace, and so it is uploaded again in the next round.
            stamp = stamp._replace(mtime_ns=0)
        self._spool.note(relative, stamp, size)
        if top_folder(relative) != MEDIA_FOLDER:
            self._spool.save()

    def retire(self, relative: str) -> None:
        """Move a remote file to the backup there."""
        self._remote.move(relative, f"{BACKUP_FOLDER}/removed/{relative}")
        self._spool.uploaded.pop(relative, None)

    def _attempt(self, relative: str, work: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> bool:
        try:
            work(*args, **kwargs)
        except Exception as error:  # noqa: BLE001  a file system may raise anything, and training has to go on
            self._failed_in_a_row[relative] += 1
            self._failed(error)
            return False
        del self._failed_in_a_row[relative]
        return True


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
        """Copy a file, and return how many bytes it has."""
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
