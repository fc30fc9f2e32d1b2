"""The queue between training and the writers, and its one thread.

The thread contract:

- ``put`` may be called from any thread. It returns at once, unless the records that wait hold more
  than ``max_bytes``: then it waits until there is room. It raises nothing, and drops nothing.
- With ``overflow="drop"``, media do not wait: ``put_medium`` looks before it copies whether there is
  room, and counts the medium as dropped where there is none. Numbers then wait for numbers alone, with
  a bound of their own. Threads that are admitted at the same moment may exceed the bound by one medium each.
- A medium larger than the bound is taken where no other one waits: what waits holds at most ``max_bytes``,
  or one medium.
- A forked process has the object and not the thread; it opens a delivery of its own.
- Everything else that touches an encoder or a writer happens on the delivery thread alone, in the
  order of the ``put`` calls. A writer therefore needs no locks.
- What a writer or an encoder raises is counted, warned of once, and reported by ``close``. It never
  reaches the training, and never keeps the record from the other writers.
"""

from __future__ import annotations

import atexit
import multiprocessing.util
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal, ParamSpec, TypeVar, cast

from lightning_trackplus.delivery.byte_budget import ByteBudget, Overflow
from lightning_trackplus.record import Encodable, Encoded, Payload, Record, TensorBoardEvent
from lightning_trackplus.runtime import forks
from lightning_trackplus.runtime.device_transfer import PendingScalars
from lightning_trackplus.runtime.failures import FailureLog
from lightning_trackplus.writers.protocol import Writer

P = ParamSpec("P")
T = TypeVar("T")

# To ask whether a value has the methods of `Encodable` takes twenty times as long.
_PAYLOADS = (float, int, Encoded, TensorBoardEvent)

DEFAULT_MAX_BYTES = 256 * 2**20
# To make room for each record of numbers by itself would cost more than to write it.
_ROOM_AT_ONCE = 64 * 2**10
_LOOKS_AGAIN_SECS = 1.0


class AsyncWriter:
    """Carries records to the writers on a thread of its own.

    Args:
        writers: Where the records go; each gets every record.
        flush_secs: Seconds after which what was put is in the files at the latest.
        max_bytes: Memory that waiting records may hold.
        overflow: What happens to media beyond that: ``"block"`` lets ``put`` wait, ``"drop"`` drops them.
    """

    def __init__(
        self,
        writers: Sequence[Writer],
        *,
        flush_secs: float = 1.0,
        max_bytes: int = DEFAULT_MAX_BYTES,
        overflow: Overflow = "block",
    ) -> None:
        self._writers = tuple(writers)
        self._flush_secs = flush_secs
        self._waiting: deque[tuple[Record[Payload | Encodable] | Callable[[], None], int, bool]] = deque()
        self._room = ByteBudget(max_bytes, overflow)
        self._losses = FailureLog()
        # The first and the last step of what the writers got since their last flush.
        self._steps: tuple[int, int] | None = None
        self._put_count = 0
        self._flushed_count = 0
        self._waits_for_room = 0
        self._hurry = False
        self._closing = False
        # `put` takes the lock itself, which is faster than the condition around it.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._fork = forks.count
        self._thread = threading.Thread(target=self._run, name="trackplus-delivery", daemon=True)
        self._thread.start()
        # A daemon thread is cut off when the interpreter ends; what it still holds is written before.
        atexit.register(self.close)
        # Processes of multiprocessing, such as those of `ddp_fork`, end without `atexit`, also after an exception.
        self._at_exit = multiprocessing.util.Finalize(None, self.close, exitpriority=0)

    def put_medium(
        self, name: str, medium: Encodable | TensorBoardEvent, step: int, epoch: float | None, wall_time: float
    ) -> bool:
        """Hand over a copy of one medium; with ``overflow="drop"``, one for which there is no room is dropped.

        Returns:
            Whether it was taken, and not dropped.
        """
        if self._room.drops_media and not self._admits(name, medium):
            return False
        try:
            copy = medium.snapshot()
        except Exception as error:  # noqa: BLE001  a medium may raise anything, and training has to go on
            self._losses.failed(f"Copying {name!r}", error)
            return False
        self.put(Record(step, epoch, wall_time, {name: copy}), is_media=True)
        return True

    def _admits(self, name: str, medium: Encodable | TensorBoardEvent) -> bool:
        """Return whether a medium that may be dropped may be put, before it is copied."""
        size = self._size_of(medium)
        with self._lock:
            if size is None or self._closing or self._room.fits(size, is_media=True):
                return size is not None
            self._losses.dropped(name, self._room.max_bytes)
            self._wake()
            return False

    def put(self, record: Record[Payload | Encodable], *, is_media: bool = False) -> None:
        """Hand over one record."""
        size = self._size_of(record)
        if size is None:
            return
        with self._lock:
            if not self._room.fits(size, is_media=is_media):
                self._wait_for_room(size, is_media=is_media)
            if self._closing:
                self._losses.failed("Logging", RuntimeError("it was closed before"))
                return
            self._waiting.append((record, size, is_media))
            self._room.take(size, is_media=is_media)
            self._put_count += 1
            if self._room.is_half_full():
                self._wake()

    def call(self, work: Callable[[], None]) -> None:
        """Do something on the delivery thread, as soon as everything that was put before is in the files."""
        with self._lock:
            if not self._closing:
                self._waiting.append((work, 0, False))
                self._put_count += 1

    def flush(self) -> None:
        """Wait until everything that was put before is in the files."""
        if not self._may_wait():
            return
        with self._changed:
            wanted = self._put_count
            self._wake()
            while self._flushed_count < wanted and self._may_wait():
                self._changed.wait(_LOOKS_AGAIN_SECS)  # A thread that dies tells nobody.

    def flush_soon(self) -> None:
        """Bring what was put before into the files without waiting for the interval, nor for that to be done."""
        with self._changed:
            self._wake()

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
        self._at_exit.cancel()
        self._say_what_was_left()
        self._losses.report()

    def _say_what_was_left(self) -> None:
        """Count what nobody took, where the thread has ended before its time."""
        with self._lock:
            left = sum(isinstance(one, Record) for one, _, _ in self._waiting)
            self._waiting.clear()
        if left and not self._thread.is_alive():
            self._losses.failed(
                "Writing", RuntimeError(f"the thread that writes ended early, with {left} records left")
            )

    def has_flushed(self) -> bool:
        """Return whether anything that was put is in the files."""
        return self._flushed_count > 0

    def is_current_thread(self) -> bool:
        """Return whether the delivery's own thread asks."""
        return threading.current_thread() is self._thread

    def is_of_this_process(self) -> bool:
        """Return whether the delivery was opened in this process, and not in one that was forked since."""
        return self._fork == forks.count

    def _size_of(self, logged: Record[Payload | Encodable] | Encodable | TensorBoardEvent) -> int | None:
        try:
            return logged.nbytes
        except Exception as error:  # noqa: BLE001  a medium may raise anything, and training has to go on
            self._losses.failed("Logging", error)
            return None

    def _wait_for_room(self, size: int, *, is_media: bool) -> None:
        if is_media and self._room.drops_media:
            return  # It was admitted before it was copied.
        while self._may_wait() and not self._room.fits(size, is_media=is_media):
            self._wake()
            self._waits_for_room += 1
            self._changed.wait(self._flush_secs)
            self._waits_for_room -= 1

    def _may_wait(self) -> bool:
        """Return whether the thread is there to end a wait: a writer that logs must not wait for itself."""
        return self._thread.is_alive() and not self._closing and threading.current_thread() is not self._thread

    def _wake(self) -> None:
        """Let the thread work now; otherwise it sleeps through the flush interval, to leave training alone."""
        self._hurry = True
        self._changed.notify_all()

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001  whatever it is, somebody has to hear of it
            self._losses.failed("The thread that writes the run", error)

    def _work(self) -> None:
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
        done = dict.fromkeys((False, True), 0)
        # Under failures this says what is missing; to look at each record would cost more than it says.
        self._steps = self._steps_between(0, count - 1)
        for _ in range(count):
            record, size, is_media = self._waiting.popleft()
            if not isinstance(record, Record):
                self._each_writer("flush")
                self._attempt("Noting what belongs to a checkpoint", record)
                continue
            payloads = self._encoded(record)
            for writer in self._writers:
                # `_attempt` would take as long as a record.
                try:
                    writer.write(payloads)
                except BaseException as error:  # noqa: BLE001, PERF203  a writer may raise anything
                    self._losses.failed(_title(writer), error, (record.step, record.step))
            done[is_media] += size
            if done[is_media] >= _ROOM_AT_ONCE:
                self._make_room(done[is_media], is_media=is_media)
                done[is_media] = 0
        for is_media, size in done.items():
            self._make_room(size, is_media=is_media)

    def _steps_between(self, first: int, last: int) -> tuple[int, int] | None:
        """Return the steps of the first and the last record among some that wait."""
        while first <= last and not isinstance(self._waiting[first][0], Record):
            first += 1
        while first <= last and not isinstance(self._waiting[last][0], Record):
            last -= 1
        if first > last:
            return None
        ends = (self._waiting[place][0] for place in (first, last))
        begin, end = (cast("Record[Payload]", record).step for record in ends)
        return begin, end

    def _make_room(self, size: int, *, is_media: bool) -> None:
        with self._lock:
            self._room.take(-size, is_media=is_media)
            if self._waits_for_room:
                self._changed.notify_all()

    def _encoded(self, record: Record[Payload | Encodable]) -> Record[Payload]:
        if record.only_numbers:
            if isinstance(record.values, PendingScalars):
                # A device that has failed gives none.
                record.values = self._attempt("Reading numbers from a device", record.values.numbers) or {}
            return cast("Record[Payload]", record)
        values: dict[str, Payload] = {}
        for name, value in record.values.items():
            if isinstance(value, _PAYLOADS):
                values[name] = value
            elif (payload := self._attempt(f"Encoding {name!r}", value.encode, name)) is not None:
                values[name] = payload
        return Record(record.step, record.epoch, record.wall_time, values)

    def _each_writer(self, method: Literal["flush", "close"]) -> None:
        for writer in self._writers:
            try:
                getattr(writer, method)()
            except BaseException as error:  # noqa: BLE001, PERF203  a writer may raise anything
                self._losses.failed(_title(writer), error, self._steps)

    def _attempt(self, place: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return work(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001  a writer may raise anything, and training has to go on
            self._losses.failed(place, error)
            return None


def _title(writer: Writer) -> str:
    return type(writer).__name__
