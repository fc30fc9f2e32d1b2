"""A run directory on a remote file system, kept equal to the spool, the local folder that the writers write to.

Files are uploaded whole. What is not uploaded yet stays in the spool, also after the end of the process. Nothing remote
is deleted: a file that was removed from the spool is moved to the remote ``backup/removed/``.
"""

from __future__ import annotations

import atexit
import threading
import time
from pathlib import Path

from lightning_trackplus.formats.layout import (
    AXES_FILE,
    BACKUP_FOLDER,
    HPARAMS_FILE,
    MEDIA_FOLDER,
    MEDIA_INDEX,
    METRICS_FILE,
    RUN_FILE,
    SUMMARY_FILE,
)
from lightning_trackplus.remote.remote_folder import RemoteFolder
from lightning_trackplus.remote.spool import Spool, top_folder
from lightning_trackplus.remote.uploads import Uploads
from lightning_trackplus.runtime import forks
from lightning_trackplus.runtime.warn import describe_error

_CONTINUED = {RUN_FILE, METRICS_FILE, MEDIA_INDEX, SUMMARY_FILE, AXES_FILE, HPARAMS_FILE}
_KEPT_AS_STUBS = {MEDIA_FOLDER, BACKUP_FOLDER}
_NOT_CONTINUED = {*_KEPT_AS_STUBS, "checkpoints"}
_PAUSE_FACTOR = 10
_RETRY_PAUSES = (0.5, 2.0)


class RemoteRun:
    """Uploads what changes in a spool, on a thread of its own."""

    def __init__(self, url: str, spool: Path, *, interval: float = 30.0) -> None:
        self._url = url.rstrip("/")
        self._remote = RemoteFolder(self._url)
        self._spool = Spool(self._url, spool)
        self._uploads = Uploads(self._url, self._spool, self._remote)
        self._interval = interval
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._is_closed = False
        self._fork = forks.count

    def fetch(self) -> None:
        """Download what continuing a run needs: tables, event files, runs below; no checkpoints and no media.

        A local file that was not uploaded yet stays; a different remote one is moved to the remote backup.
        """
        try:
            with self._lock:
                self._fetch()
        except Exception as error:
            raise OSError(
                f"The run directory {self._url} could not be read, so nothing can be written there. Check the URL and"
                f" your access to it. {describe_error(error)}"
            ) from error

    def start(self) -> None:
        """Start to upload in the background, and register `close` for the end of the process."""
        threading.Thread(target=self._run, name="trackplus-upload", daemon=True).start()
        atexit.register(self.close)

    def flush(self) -> None:
        """Upload what changed and wait for it; what fails stays in the spool, with a warning."""
        self._finish(still=False)

    def close(self) -> None:
        """Upload the rest and wait for it; then remove the spool, or warn of what could not be uploaded.

        The writers must be closed. Later files need a new `RemoteRun`.
        """
        self._closing.set()
        self._finish(still=True)

    def _finish(self, *, still: bool) -> None:
        # A forked process has no such thread, and its copy of the lock may never be released.
        if self._fork != forks.count:
            return
        with self._lock:
            if self._is_closed:
                return
            left = self._upload_all(still=still)
            self._is_closed = still
        self._uploads.report(left)
        if still:
            atexit.unregister(self.close)
            if not left:
                self._spool.remove()

    def _run(self) -> None:
        pause = self._interval
        while not self._closing.wait(pause):
            start = time.perf_counter()
            with self._lock:
                if not self._is_closed:
                    self._uploads.round(still=False)
            pause = max(self._interval, _PAUSE_FACTOR * (time.perf_counter() - start))

    def _fetch(self) -> None:
        files = self._spool.files()
        self._uploads.follow_moves(files)
        sizes = self._remote.sizes()
        for relative in self._spool.uploaded.keys() - sizes.keys():
            del self._spool.uploaded[relative]
        for relative, size in sizes.items():
            entry = self._spool.uploaded.get(relative)
            is_unchanged = entry is not None and entry.remote_size == size
            # An event file only grows; other files can change and keep their size.
            is_events = "tfevents" in relative
            if relative in files and not self._spool.is_uploaded(relative, files[relative]):
                if not is_unchanged and not is_events:
                    self._uploads.retire(relative)
            elif relative in files or entry is None:
                if _is_continued(relative) and not (is_unchanged and is_events):
                    self._download(relative)
                elif relative not in files and top_folder(relative) in _KEPT_AS_STUBS:
                    self._spool.make_stub(relative)

    def _download(self, relative: str) -> None:
        self._remote.get(relative, self._spool.directory / relative)
        self._spool.note_downloaded(relative)
        self._spool.save()

    def _upload_all(self, *, still: bool) -> list[str]:
        pauses = iter(_RETRY_PAUSES)
        while True:
            count, left = self._uploads.round(still=still)
            if not left:
                return left
            if not count:
                if (pause := next(pauses, None)) is None:
                    return left
                time.sleep(pause)


def _is_continued(relative: str) -> bool:
    """Return whether writers need a file to continue: a table, or an event file of the run or of one below."""
    return relative in _CONTINUED or (top_folder(relative) not in _NOT_CONTINUED and "tfevents" in relative)
