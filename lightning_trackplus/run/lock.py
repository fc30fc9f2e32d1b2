"""The lock on a run directory: one process writes it at a time.

It is ``flock`` on the directory itself, which leaves no file behind, and which the system takes back however the
process ends. Where a platform or a file system has no such lock, such as Windows and NFS, nothing is locked.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import socket
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows has none.
    fcntl = None  # type: ignore[assignment]

_EVENT_FILE = re.compile(r"events\.out\.tfevents\.(?P<time>\d+)\.(?P<host>.+)\.(?P<pid>\d{1,9})\.(?P<number>\d+).*")

_open_locks: set[RunLock] = set()


class RunInUseError(RuntimeError):
    """A run directory is still being written by a living process.

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
    """Keeps other processes, and other loggers of this one, out of a run directory.

    A process that was forked or spawned from the one that has the lock does not hold it, and may write under it as
    long as that one lives: such are the processes of ``ddp_fork`` and ``ddp_spawn``, for which their parent waits.

    Examples:
        >>> import tempfile
        >>> lock = RunLock(Path(tempfile.mkdtemp()))
        >>> lock.acquire()
        >>> lock.release()
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._descriptor: int | None = None
        # The processes that write under it, of which this one or its parent may be one.
        self._users: set[int] = set()

    def acquire(self) -> None:
        """Lock the directory, until `release` or the end of the process; nothing is done where it is locked already.

        Raises:
            RunInUseError: If another process, or another logger of this one, has locked it.
        """
        if self._descriptor is not None or fcntl is None:
            return
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self._directory, os.O_RDONLY)
        except OSError:
            return  # What keeps it from being opened is reported by who writes there.
        # Before it is locked, so that a process that is forked in between does not keep it locked.
        _open_locks.add(self)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._close()
            if self._users.isdisjoint(parents()):
                raise RunInUseError(self._refusal()) from None
        except OSError:
            self._close()  # The file system has no locks.
        self._users.add(os.getpid())

    def release(self) -> None:
        """Let others write to the directory; nothing is done where it is not locked."""
        self._users.discard(os.getpid())
        if self._descriptor is not None:
            self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        _open_locks.discard(self)
        if descriptor is not None:
            os.close(descriptor)

    def _refusal(self) -> str:
        if any(_is_same(lock._directory, self._directory) for lock in tuple(_open_locks)):
            return (
                f"Another logger of this process is still writing to the run directory {self._directory}. Call its"
                ' finalize("success") first, or leave out version= to begin a new run.'
            )
        return (
            f"The run directory {self._directory} is still being written by a living process"
            f"{_writer(self._directory)}. Wait for it or end it, or leave out version= to begin a new run."
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_descriptor": None, "_users": set(self._users)}


def is_locked(directory: Path) -> bool:
    """Return whether a living process on this machine writes to a run directory, as far as the system tells."""
    if fcntl is None:
        return False
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError:
        return False
    try:
        # Several can have this lock, and none while a writer has its own.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass  # The file system has no locks.
    finally:
        os.close(descriptor)
    return False


def parents() -> set[int]:
    """Return the processes that have begun this one; a fork server stands between the two."""
    parent = multiprocessing.parent_process()
    return {os.getppid()} if parent is None or parent.pid is None else {os.getppid(), parent.pid}


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _writer(directory: Path) -> str:
    """Return who writes to a run, as far as the name of its newest event file tells."""
    found = [match for file in directory.glob("*tfevents*") if (match := _EVENT_FILE.fullmatch(file.name))]
    newest = max(found, key=lambda match: (int(match["time"]), int(match["number"])), default=None)
    if newest is None or (newest["host"] == socket.gethostname() and not _lives(int(newest["pid"]))):
        return ""
    return f", number {newest['pid']} on {newest['host']} by its newest event file"


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # It belongs to someone else.
    return True


def _let_go() -> None:
    """In a forked process, close what would keep its parent's locks after the parent's end."""
    for lock in tuple(_open_locks):
        lock._close()


# Where there is no such function, there are no forks.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
