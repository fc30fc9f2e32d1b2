"""Uploads of changed files from a spool to the remote run directory."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

from lightning_trackplus.formats.atomic_files import FilePart
from lightning_trackplus.formats.csv_rows import last_row
from lightning_trackplus.formats.event_files import end_of_records
from lightning_trackplus.formats.layout import BACKUP_FOLDER, MEDIA_FOLDER, MEDIA_INDEX
from lightning_trackplus.remote.remote_folder import RemoteFolder
from lightning_trackplus.remote.spool import Spool, Stamp, top_folder
from lightning_trackplus.runtime.failures import FailureLog

P = ParamSpec("P")

_COPY = ".uploading"
_BLOCK = 2**20
_MAX_FAILURES_IN_A_ROW = 3
_FILES_REPORTED = 5
# A file can change again within one tick of the clock of its modification time.
_CLOCK_TICK_NS = 100_000_000


class Uploads:
    """Uploads what changed in a spool; used by one thread at a time."""

    def __init__(self, url: str, spool: Spool, remote: RemoteFolder) -> None:
        self._url = url
        self._spool = spool
        self._remote = remote
        self._failures = FailureLog()
        # How often each file has failed since it was uploaded last.
        self._failed_in_a_row: Counter[str] = Counter()
        self._copies = WholeCopies()

    def round(self, *, still: bool) -> tuple[int, list[str]]:
        """Upload what changed; return how many files were uploaded, and those that could not be."""
        try:
            files = self._spool.files()
            blocked = self.follow_moves(files)
            count, left = self._upload(files, blocked, still=still)
            if not left:
                removed = self._spool.uploaded.keys() - files.keys()
                left = [relative for relative in removed if not self._attempt(relative, self.retire, relative)]
            self._spool.save()
        except Exception as error:  # noqa: BLE001  training has to continue
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
        """Move remote media whose stubs were moved; return files that must not be uploaded, since a move failed."""
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
            # In an outage each attempt can take long; the next round begins with the files that failed least.
            if relative in blocked or failures_in_a_row == _MAX_FAILURES_IN_A_ROW:
                left.append(relative)
            elif self._attempt(relative, self._put, relative, files[relative], now, still):
                failures_in_a_row = 0
            else:
                failures_in_a_row += 1
                left.append(relative)
        return len(waiting) - len(left), left

    def _make_stubs(self, files: dict[str, Stamp]) -> None:
        """Replace media by stubs that were uploaded in an earlier round and are unchanged."""
        for relative in [path for path in self._spool.uploaded if top_folder(path) == MEDIA_FOLDER and path in files]:
            if self._spool.is_uploaded(relative, files[relative]):
                self._spool.make_stub(relative)

    def _rank(self, relative: str) -> tuple[int, bool, bool, str]:
        """Return the sort key of a file: numbers come before media, and media before the rows that name them."""
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
            # It may have changed since with the same time, so it is uploaded again in the next round.
            stamp = stamp._replace(mtime_ns=0)
        self._spool.note(relative, stamp, size)
        if top_folder(relative) != MEDIA_FOLDER:
            self._spool.save()

    def retire(self, relative: str) -> None:
        """Move a remote file to the remote backup."""
        self._remote.move(relative, f"{BACKUP_FOLDER}/removed/{relative}")
        self._spool.uploaded.pop(relative, None)

    def _attempt(self, relative: str, work: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> bool:
        try:
            work(*args, **kwargs)
        except Exception as error:  # noqa: BLE001  a file system may raise anything, and training has to continue
            self._failed_in_a_row[relative] += 1
            self._failed(error)
            return False
        del self._failed_in_a_row[relative]
        return True


class WholeCopies:
    """Copies files up to the last complete record or row; it remembers the ends of event files' records."""

    def __init__(self) -> None:
        self._ends: dict[Path, tuple[int, int]] = {}

    def copy(self, path: Path, copy: Path) -> int:
        """Copy a file, and return the size of the copy."""
        size = self._end_of_records(path) if "tfevents" in path.name else path.stat().st_size
        with FilePart(path, 0, size) as source, copy.open("w+b") as target:
            shutil.copyfileobj(source, target, _BLOCK)
            if path.suffix == ".csv" and not (last := last_row(target, 0)).endswith(b"\n"):
                target.truncate(target.seek(0, os.SEEK_END) - len(last))
            return target.seek(0, os.SEEK_END)

    def _end_of_records(self, path: Path) -> int:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            inode, start = self._ends.get(path, (status.st_ino, 0))
            is_continued = inode == status.st_ino and start <= status.st_size
            end = end_of_records(file, start if is_continued else 0, status.st_size)
        self._ends[path] = status.st_ino, end
        return end
