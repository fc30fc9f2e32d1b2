"""Processes that begin at once: they have all that was imported, and no thread, lock or environment of a test.

They are forked from a process that is itself forked before the first test, when `begin` is called.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection, wait
from typing import Any, NoReturn

GUARD = 240
"""Seconds after which a process hangs."""

_control: socket.socket | None = None


class Forked:
    """A process that does some work; it is killed where nobody holds this object any more.

    Args:
        work: A function of a module; it is called with a function by which it says something, and the arguments.
        arguments: What it is called with.
        environment: What its environment has besides.
    """

    def __init__(
        self, work: Callable[..., None], *arguments: Any, environment: Mapping[str, str] | None = None
    ) -> None:
        begin()
        ends = [socket.socketpair() for _ in range(2)]
        self._output = tempfile.TemporaryFile()  # noqa: SIM115
        socket.send_fds(_control, [b"."], [*(theirs.fileno() for _, theirs in ends), self._output.fileno()])
        self._status, self._hearing = (Connection(ours.detach()) for ours, _ in ends)
        for _, theirs in ends:
            theirs.close()
        self._status.send((work, arguments, dict(environment or {}), os.getcwd()))
        self.pid = self._answer()
        self._code: int | None = None

    def hear(self) -> Any:
        """Wait for what it says next; it is an EOFError if it has ended."""
        assert self._hearing.poll(GUARD)
        return self._hearing.recv()

    def rest(self) -> Iterator[Any]:
        """Yield all that it still says, until it ends."""
        with contextlib.suppress(EOFError, ConnectionResetError):
            while True:
                yield self.hear()

    def kill(self) -> None:
        """Kill it."""
        os.kill(self.pid, signal.SIGKILL)

    def join(self) -> int:
        """Wait for its end and return its exit code; what it has printed is printed."""
        if self._code is None:
            self._code = self._answer()
            self._output.seek(0)
            sys.stderr.write(self._output.read().decode(errors="replace"))
            self._output.close()
        return self._code

    def _answer(self) -> int:
        assert self._status.poll(GUARD)
        return self._status.recv()


def two_ranks(work: Callable[..., None], *arguments: Any) -> list[Forked]:
    """Begin two processes that are the ranks of one training, as `ranks` does."""
    return ranks(2, work, *arguments)


def ranks(count: int, work: Callable[..., None], *arguments: Any) -> list[Forked]:
    """Begin processes that are the ranks of one training, as a launcher would start them.

    Args:
        count: How many.
        work: As for `Forked`.
        arguments: As for `Forked`.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count), "NODE_RANK": "0"}
    return [Forked(work, *arguments, environment={**environment, "LOCAL_RANK": str(rank)}) for rank in range(count)]


def begin() -> None:
    """Fork the process from which the others are forked, once."""
    global _control
    if _control is None:
        _control, theirs = socket.socketpair()
        if os.fork() == 0:
            _control.close()
            _to_its_end(_serve, theirs)
        theirs.close()


def _to_its_end(work: Callable[..., None], *arguments: Any) -> NoReturn:
    """Do what a forked process is for, and end it, whatever happens: nothing of the tests may run in it."""
    try:
        work(*arguments)
        os._exit(0)
    except BaseException:  # noqa: BLE001  it is seen in what the process prints
        traceback.print_exc(file=sys.__stderr__)
    finally:
        os._exit(1)


def _serve(control: socket.socket) -> None:
    """Fork what watches over a process, for each that is asked for, until the tests' process ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # Nobody waits for those that watch.
    gc.freeze()  # What is imported is not looked through again in each process.
    while True:
        asked, descriptors, _, _ = socket.recv_fds(control, 1, 3)
        if not asked:
            return
        if os.fork() == 0:
            control.close()
            _to_its_end(_watch, *map(Connection, descriptors[:2]), descriptors[2])
        for descriptor in descriptors:
            os.close(descriptor)


def _watch(status: Connection, said: Connection, output: int) -> None:
    """Fork a process that works, and tell its number and its exit code."""
    for stream in (1, 2):
        os.dup2(output, stream)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    process = multiprocessing.get_context("fork").Process(target=_work, args=(said, *status.recv()))
    process.start()
    said.close()
    status.send(process.pid)
    if process.sentinel not in wait([status, process.sentinel]):
        process.kill()
    process.join()
    # The test may be over.
    with contextlib.suppress(OSError):
        status.send(process.exitcode)


def _work(
    said: Connection, work: Callable[..., None], arguments: tuple[Any, ...], environment: dict[str, str], folder: str
) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__  # Instead of those that pytest captures.
    os.chdir(folder)
    os.environ.update(environment)
    work(said.send, *arguments)
