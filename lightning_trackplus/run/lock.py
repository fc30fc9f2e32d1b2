"""The lock on a run directory, so that one process at a time writes it.

It is ``flock`` on the directory itself, which leaves no file behind and which the system releases however the process
ends. Where a platform or a file system has no such lock, such as Windows and NFS, nothing is locked.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import socket
import time
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows has none.
    fcntl = None  # type: ignore[assignment]

_EVENT_FILE = re.compile(r"events\.out\.tfevents\.(?P<time>\d+)\.(?P<host>.+)\.(?P<pid>\d{1,9})\.(?P<number>\d+).*")

_PATIENCE, _PAUSE = 1.0, 0.001  # Seconds.

_open_locks: set[RunLock] = set()


class RunInUseError(RuntimeError):
    """The run directory is being written by a running process, or by another logger of this one.

    Examples:
        >>> import tempfile
        >>> directory = Path(tempfile.mkdtemp())
        >>> first, second = RunLock(directory), RunLock(directory)
        >>> first.acquire()
        >>> try:
        ...     second.acquire()
        ... except RunInUseError as error:
        ...     print(str(error).partition(" the run directory")[0])
        Another logger of this process is still writing to
        >>> first.release()
    """


class RunLock:
    """Keeps other processes, and other loggers of this process, out of a run directory.

    Processes that the owner forked or spawned do not hold the lock but may write, as long as the owner runs: those of
    ``ddp_fork`` and ``ddp_spawn``, for which it waits.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._descriptor: int | None = None
        # The processes that own it: this one, or its parent.
        self._owners: set[int] = set()

    def acquire(self) -> None:
        """Lock the directory until `release` or the end of the process, or raise `RunInUseError`."""
        if self._descriptor is not None or fcntl is None:
            return
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self._directory, os.O_RDONLY)
        except OSError:
            return  # The writers report what keeps it from being opened.
        # Before locking, so that a process that is forked in between does not keep the lock.
        _open_locks.add(self)
        is_of_parent = not self._owners.isdisjoint(parents())
        try:
            _flock(self._descriptor, patience=0.0 if is_of_parent or self._others_here() else _PATIENCE)
        except BlockingIOError:
            self._close()
            if not is_of_parent:
                raise RunInUseError(self._error_message()) from None
        except OSError:
            self._close()  # The file system has no locks.
        self._owners.add(os.getpid())

    def release(self) -> None:
        """Unlock the directory, if it is locked."""
        self._owners.discard(os.getpid())
        if self._descriptor is not None:
            self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        _open_locks.discard(self)
        if descriptor is not None:
            os.close(descriptor)

    def _others_here(self) -> bool:
        """Return whether another lock of this process has the directory."""
        return any(lock is not self and _is_same(lock._directory, self._directory) for lock in tuple(_open_locks))

    def _error_message(self) -> str:
        if self._others_here():
            return (
                f"Another logger of this process is still writing to the run directory {self._directory}. Call its"
                ' finalize("success") first, or leave out version= to start a new run.'
            )
        return (
            f"The run directory {self._directory} is still being written by a running process"
            f"{_writer(self._directory)}. Wait for it or end it, or leave out version= to start a new run."
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_descriptor": None, "_owners": set(self._owners)}


def is_locked(directory: Path) -> bool:
    """Return whether a process on this machine writes to a run directory; False if the system has no locks."""
    if fcntl is None:
        return False
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError:
        return False
    try:
        # A shared lock: it is granted unless a writer has the directory.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass  # The file system has no locks.
    finally:
        os.close(descriptor)
    return False


def _flock(descriptor: int, patience: float) -> None:
    """Lock a directory; `is_locked` may hold it for a moment, which is longer on a busy machine."""
    end = time.monotonic() + patience
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise
        time.sleep(_PAUSE)


def parents() -> set[int]:
    """Return the parent processes of this one: its parent, and with a fork server the process that asked for it."""
    parent = multiprocessing.parent_process()
    return {os.getppid()} if parent is None or parent.pid is None else {os.getppid(), parent.pid}


def _is_same(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except OSError:
        return False


def _writer(directory: Path) -> str:
    """Return which process writes to a run, as far as the name of its newest event file tells."""
    matches = [match for file in directory.glob("*tfevents*") if (match := _EVENT_FILE.fullmatch(file.name))]
    newest = max(matches, key=lambda match: (int(match["time"]), int(match["number"])), default=None)
    if newest is None or (newest["host"] == socket.gethostname() and not _is_running(int(newest["pid"]))):
        return ""
    return f", pid {newest['pid']} on {newest['host']} according to its newest event file"


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # It belongs to another user.
    return True


def _close_inherited_locks() -> None:
    """In a forked process, close what would keep the locks of its parent after the parent's end."""
    for lock in tuple(_open_locks):
        lock._close()


# Without this function, there are no forks.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited_locks)
