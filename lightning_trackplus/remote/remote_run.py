"""A run directory on a remote file system, kept equal to the local folder that the writers write to.

Files are carried whole, never appended to. What was not uploaded yet stays in the spool until it is, over the end of
the process too. Nothing remote is deleted: a file that was removed from the spool moves to ``backup/removed/`` there.
"""

from __future__ import annotations

import atexit
import threading
import time
from pathlib import Path

from lightning_trackplus.formats.layout import (
    AXES_FILE,
    BACKUP_FOLDER,
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

_CONTINUED = {RUN_FILE, METRICS_FILE, MEDIA_INDEX, SUMMARY_FILE, AXES_FILE, "hparams.yaml"}
_NAMES_TAKEN = {MEDIA_FOLDER, BACKUP_FOLDER}
_NOT_CONTINUED = {*_NAMES_TAKEN, "checkpoints"}
_REST = 10
_PAUSES = (0.5, 2.0)


class RemoteRun:
    r"""Uploads what changes in a spool, on a thread of its own.

    Raises:
        ImportError: If the package for the URL's protocol is not installed.
        ValueError: If fsspec does not know the protocol.

    Examples:
        >>> import fsspec, tempfile
        >>> from pathlib import Path
        >>> spool = Path(tempfile.mkdtemp())
        >>> run = RemoteRun("memory://bucket/version_0", spool)
        >>> run.fetch()
        >>> run.start()
        >>> _ = (spool / "metrics.csv").write_text("step,epoch,loss\n0,0,0.5\n")
        >>> run.close()
        >>> fsspec.filesystem("memory").cat("/bucket/version_0/metrics.csv")
        b'step,epoch,loss\n0,0,0.5\n'
    """

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
        """Bring what a run needs to be continued: tables, event files, runs below; no checkpoints and no media.

        A local file that was not uploaded yet stays; the remote one, if it is of another run, moves to its backup.

        Raises:
            OSError: If the remote files could not be read.
        """
        try:
            with self._lock:
                self._fetch()
        except Exception as error:
            raise OSError(
                f"The run directory {self._url} could not be read, so that nothing can be written there. Check the URL"
                f" and your access to it. {describe_error(error)}"
            ) from error

    def start(self) -> None:
        """Begin to upload in the background; at the end of the process the rest is uploaded."""
        threading.Thread(target=self._run, name="trackplus-upload", daemon=True).start()
        atexit.register(self.close)

    def flush(self) -> None:
        """Upload what changed, and wait for it; what fails is warned of and stays in the spool."""
        self._finish(still=False)

    def close(self) -> None:
        """Upload all that is left and wait for it; then the spool is removed, or what is missing remotely is said.

        The writers are closed before. What is written to the spool later needs a new `RemoteRun`.
        """
        self._closing.set()
        self._finish(still=True)

    def _finish(self, *, still: bool) -> None:
        # A forked process has neither the thread nor a lock that it could wait for.
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
            pause = max(self._interval, _REST * (time.perf_counter() - start))

    def _fetch(self) -> None:
        files = self._spool.files()
        self._uploads.follow_moves(files)
        sizes = self._remote.sizes()
        for relative in self._spool.uploaded.keys() - sizes.keys():
            del self._spool.uploaded[relative]
        for relative, size in sizes.items():
            entry = self._spool.uploaded.get(relative)
            known_there = entry is not None and entry.size_there == size
            # An event file is written by one process, and only grows; another may change and keep its size.
            is_events = "tfevents" in relative
            if relative in files and not self._spool.is_uploaded(relative, files[relative]):
                if not known_there and not is_events:
                    self._uploads.retire(relative)
            elif relative in files or entry is None:
                if _is_continued(relative) and not (known_there and is_events):
                    self._bring(relative)
                elif relative not in files and top_folder(relative) in _NAMES_TAKEN:
                    self._spool.make_stub(relative)

    def _bring(self, relative: str) -> None:
        self._remote.get(relative, self._spool.directory / relative)
        self._spool.note_brought(relative)
        self._spool.save()

    def _upload_all(self, *, still: bool) -> list[str]:
        pauses = iter(_PAUSES)
        while True:
            count, left = self._uploads.round(still=still)
            if not left:
                return left
            if not count:
                if (pause := next(pauses, None)) is None:
                    return left
                time.sleep(pause)


def _is_continued(relative: str) -> bool:
    """Return whether writers need a file to go on: a table, or an event file of the run or of one below."""
    return relative in _CONTINUED or (top_folder(relative) not in _NOT_CONTINUED and "tfevents" in relative)
