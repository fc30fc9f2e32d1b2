"""The queue between training and the writers, and its one thread.

The thread contract:

- ``put`` may be called from any thread. It returns at once, unless the records that wait hold more
  than ``max_bytes``: then it waits until there is room. It raises nothing.
- A forked process has the object and not the thread; it opens a delivery of its own.
- Everything else that touches an encoder or a writer happens on the delivery thread alone, in the
  order of the ``put`` calls. A writer therefore needs no locks.
- What a writer or an encoder raises is counted, warned of once, and reported by ``close``. It never
  reaches the training, and never keeps the record from the other writers.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, ParamSpec, TypeVar

from lightning_trackplus.record import Encodable, Payload, Record
from lightning_trackplus.writers.writer import Writer

P = ParamSpec("P")
T = TypeVar("T")


@dataclass
class _Failures:
    """What went wrong at one place: how often, and the first time in words."""

    count: int = 0
    first: str = ""


class Delivery:
    """Carries records to the writers on a thread of its own.

    Args:
        writers: Where the records go; each gets every record.
        flush_secs: Seconds after which what was put is in the files at the latest.
        max_bytes: Memory that waiting records may hold before ``put`` waits.
    """

    def __init__(self, writers: Sequence[Writer], *, flush_secs: float = 1.0, max_bytes: int = 256 * 2**20) -> None:
        self._writers = tuple(writers)
        self._flush_secs = flush_secs
        self._max_bytes = max_bytes
        self._waiting: deque[tuple[Record[Payload | Encodable], int]] = deque()
        self._waiting_bytes = 0
        self._put_count = 0
        self._flushed_count = 0
        self._hurry = False
        self._closing = False
        self._changed = threading.Condition()
        self._failures: dict[str, _Failures] = {}
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._run, name="trackplus-delivery", daemon=True)
        self._thread.start()
        # A daemon thread is cut off when the interpreter ends; what it still holds is written before.
        atexit.register(self.close)

    def put(self, record: Record[Payload | Encodable]) -> None:
        """Hand over one record.

        Args:
            record: What was logged; media in it are encoded later, on the delivery thread.
        """
        size = self._attempt("Logging", lambda: record.nbytes)
        if size is None:
            return
        with self._changed:
            while self._may_wait() and self._waiting_bytes and self._waiting_bytes + size > self._max_bytes:
                self._wake()
                self._changed.wait(self._flush_secs)
            if self._closing:
                self._fail("Logging", RuntimeError("it was closed before"))
                return
            self._waiting.append((record, size))
            self._waiting_bytes += size
            self._put_count += 1
            if self._waiting_bytes > self._max_bytes // 2:
                self._wake()

    def flush(self) -> None:
        """Wait until everything that was put before is in the files."""
        if not self._may_wait():
            return
        with self._changed:
            wanted = self._put_count
            self._wake()
            self._changed.wait_for(lambda: self._flushed_count >= wanted or not self._may_wait())

    def close(self) -> None:
        """Write what waits, close the writers, and say what could not be written."""
        if not self.is_of_this_process():
            return
        with self._changed:
            self._closing = True
            self._wake()
        if threading.current_thread() is not self._thread:
            # An interrupt may end the wait; then the next `close`, or the one at the interpreter's end, waits again.
            self._thread.join()
        atexit.unregister(self.close)
        failures, self._failures = self._failures, {}
        for place, failure in failures.items():
            times = "once" if failure.count == 1 else f"{failure.count} times"
            _warn(
                f"{place} failed {times} in this run, and what it was given then is missing there."
                f" The first time: {failure.first}"
            )

    def is_of_this_process(self) -> bool:
        """Return whether the delivery was opened in this process, and not in one that was forked since."""
        return os.getpid() == self._process

    def _may_wait(self) -> bool:
        """Return whether the thread is there to end a wait: a writer that logs must not wait for itself."""
        return self._thread.is_alive() and not self._closing and threading.current_thread() is not self._thread

    def _wake(self) -> None:
        """Let the thread work now; otherwise it sleeps through the flush interval, to leave training alone."""
        self._hurry = True
        self._changed.notify_all()

    def _run(self) -> None:
        closing = False
        while not closing:
            with self._changed:
                self._changed.wait_for(lambda: self._hurry, timeout=self._flush_secs)
                self._hurry = False
                closing = self._closing
                count = len(self._waiting)
                goal = self._put_count
            self._deliver(count)
            self._each_writer("flush")
            with self._changed:
                self._flushed_count = goal
                self._changed.notify_all()
        self._each_writer("close")

    def _deliver(self, count: int) -> None:
        for _ in range(count):
            with self._changed:
                record, size = self._waiting.popleft()
            payloads = self._encoded(record)
            for writer in self._writers:
                self._attempt(_title(writer), writer.write, payloads)
            with self._changed:
                self._waiting_bytes -= size
                self._changed.notify_all()

    def _encoded(self, record: Record[Payload | Encodable]) -> Record[Payload]:
        values: dict[str, Payload] = {}
        for name, value in record.values.items():
            if isinstance(value, float | int) or not isinstance(value, Encodable):
                values[name] = value
            elif (payload := self._attempt(f"Encoding {name!r}", value.encode, name)) is not None:
                values[name] = payload
        return Record(record.step, record.epoch, record.wall_time, values)

    def _each_writer(self, method: Literal["flush", "close"]) -> None:
        for writer in self._writers:
            self._attempt(_title(writer), getattr(writer, method))

    def _attempt(self, place: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return work(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001  a writer may raise anything, and training has to go on
            self._fail(place, error)
            return None

    def _fail(self, place: str, error: BaseException) -> None:
        failures = self._failures.setdefault(place, _Failures())
        failures.count += 1
        if failures.count == 1:
            failures.first = _described(error)
            _warn(f"{place} failed, training goes on. {failures.first}")


def _warn(message: str) -> None:
    try:
        warnings.warn(message, stacklevel=4)
    except Warning:
        # Under `-W error` a warning is raised, which may end neither the training nor the thread.
        logging.getLogger(__name__).warning(message)


def _described(error: BaseException) -> str:
    with contextlib.suppress(Exception):
        return f"{type(error).__name__}: {error}"
    return type(error).__name__


def _title(writer: Writer) -> str:
    return type(writer).__name__
