"""A writer that writes on a thread of its own.

The thread contract:

- ``write`` may be called from any thread. It copies media and returns at once, unless the records that wait hold
  more than ``max_bytes``: then it waits until there is room. It raises nothing, and drops no numbers.
- With ``overflow="drop"``, media do not wait: ``write`` looks whether there is room before it copies a record of
  media, and counts the record as dropped where there is none. Numbers then wait for numbers alone, with a bound of
  their own. Threads that are admitted at the same moment may exceed the bound by one medium each.
- A medium larger than the bound is taken where no other one waits: what waits holds at most ``max_bytes``,
  or one medium.
- A forked process has the object and not the thread; it opens a writer of its own.
- Encoding and everything that the inner writer does happens on the delivery thread alone, in the order of the
  ``write`` calls. A writer therefore needs no locks.
- What a writer or an encoder raises is counted, warned of once, and reported by ``close``. It never reaches the
  training, and keeps no record from other writers.
"""

from __future__ import annotations

import atexit
import multiprocessing.util
import threading
from collections import deque
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, Literal, ParamSpec, TypeAlias, TypeVar, cast, get_args

from lightning_trackplus.delivery.fan_out import PAYLOADS, FanOut
from lightning_trackplus.record import Encodable, Payload, Record
from lightning_trackplus.runtime import forks
from lightning_trackplus.runtime.device_transfer import PendingScalars
from lightning_trackplus.writers.protocol import Writer

P = ParamSpec("P")
T = TypeVar("T")

Overflow: TypeAlias = Literal["block", "drop"]

DEFAULT_MAX_BYTES = 256 * 2**20
# To make room for each record of numbers by itself would cost more than to write it.
_ROOM_AT_ONCE = 64 * 2**10
_LOOKS_AGAIN_SECS = 1.0


class AsyncWriter:
    """A `Writer` around another one, which gets the records on a thread of its own and with its media encoded.

    Beside the methods of a writer it has `call` and `flush_soon`, and says in `has_flushed` and `is_current_thread`
    how far it is and who asks. One `AsyncWriter` around a `FanOut` writes to several writers on one thread, a `FanOut`
    of several `AsyncWriter` on a thread for each.

    Args:
        writer: Where the records go.
        flush_secs: Seconds after which a record is in the files at the latest.
        max_bytes: Memory that waiting records may hold.
        overflow: What happens to media beyond that: ``"block"`` lets ``write`` wait, ``"drop"`` drops them.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from lightning_trackplus.writers.csv import CSVWriter
        >>> folder = Path(tempfile.mkdtemp())
        >>> writer = AsyncWriter(CSVWriter(folder))
        >>> writer.write(Record(0, None, 1e9, {"loss": 0.5}))
        >>> writer.flush()
        >>> print((folder / "metrics.csv").read_text().strip())
        step,epoch,loss
        0,,0.5
        >>> writer.close()
    """

    def __init__(
        self,
        writer: Writer,
        *,
        flush_secs: float = 1.0,
        max_bytes: int = DEFAULT_MAX_BYTES,
        overflow: Overflow = "block",
    ) -> None:
        # It keeps what a writer raises from the thread.
        self._writer = writer if isinstance(writer, FanOut) else FanOut([writer])
        self._failures = self._writer.failures
        self._flush_secs = flush_secs
        self._waiting: deque[tuple[Record[Payload | Encodable] | Callable[[], None], int]] = deque()
        self._room = _ByteBudget(max_bytes, overflow)
        self._put_count = 0
        self._flushed_count = 0
        self._waits_for_room = 0
        self._hurry = False
        self._closing = False
        # `write` takes the lock itself, which is faster than the condition around it.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._fork = forks.count
        self._thread = threading.Thread(target=self._run, name="trackplus-delivery", daemon=True)
        self._thread.start()
        # A daemon thread is cut off when the interpreter ends; what it still holds is written before.
        atexit.register(self.close)
        # Processes of multiprocessing, such as those of `ddp_fork`, end without `atexit`, also after an exception.
        self._at_exit = multiprocessing.util.Finalize(None, self.close, exitpriority=0)

    def write(self, record: Record[Payload | Encodable]) -> None:
        """Put one record into the queue, with copies of its media."""
        is_media = record.is_media
        if not record.only_numbers:
            if is_media and self._room.drops_media and not self._admits(record):
                return
            record = self._with_media(record, "Copying")
            if not record.values:
                return
        if (size := self._size_of(record)) is None:
            return
        with self._lock:
            if not self._room.fits(size, is_media=is_media):
                self._wait_for_room(size, is_media=is_media)
            if self._closing:
                self._failures.failed("Logging", RuntimeError("it was closed before"))
                return
            self._waiting.append((record, size))
            self._room.take(size, is_media=is_media)
            self._put_count += 1
            if self._room.is_half_full():
                self._wake()

    def call(self, work: Callable[[], None]) -> None:
        """Call a function on the delivery thread once all records before it are in the files, and before the next."""
        with self._lock:
            if not self._closing:
                self._waiting.append((work, 0))
                self._put_count += 1

    def flush(self) -> None:
        """Wait until all records are in the files."""
        if not self._may_wait():
            return
        with self._changed:
            wanted = self._put_count
            self._wake()
            while self._flushed_count < wanted and self._may_wait():
                self._changed.wait(_LOOKS_AGAIN_SECS)  # A thread that dies does not notify.

    def flush_soon(self) -> None:
        """Start to bring all records into the files, before the interval is over; does not wait."""
        with self._changed:
            self._wake()

    def close(self) -> None:
        """Write what waits, close the inner writer, and warn of what could not be written."""
        if self._fork != forks.count:
            return
        with self._changed:
            self._closing = True
            self._wake()
        if not self.is_current_thread():
            # An interrupt may end the wait; then the next `close`, or the one at the interpreter's end, waits again.
            self._thread.join()
        atexit.unregister(self.close)
        self._at_exit.cancel()
        self._count_what_is_left()
        self._failures.report()

    def has_flushed(self) -> bool:
        """Return whether any record is in the files."""
        return self._flushed_count > 0

    def is_current_thread(self) -> bool:
        """Return whether the caller runs on the delivery thread, which cannot wait for itself."""
        return threading.current_thread() is self._thread

    def _admits(self, record: Record[Payload | Encodable]) -> bool:
        """Return whether there is room for media that may be dropped, before they are copied."""
        if (size := self._size_of(record)) is None:
            return False
        with self._lock:
            if self._closing or self._room.fits(size, is_media=True):
                return True
            for name in record.values:
                self._failures.dropped(name, self._room.max_bytes)
            self._wake()
            return False

    def _size_of(self, record: Record[Payload | Encodable]) -> int | None:
        try:
            return record.nbytes
        except Exception as error:  # noqa: BLE001  a medium may raise anything, and training has to go on
            self._failures.failed("Logging", error)
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
        return self._thread.is_alive() and not self._closing and not self.is_current_thread()

    def _wake(self) -> None:
        """Let the thread work now; otherwise it sleeps through the flush interval, to leave training alone."""
        self._hurry = True
        self._changed.notify_all()

    def _count_what_is_left(self) -> None:
        """Count records that wait although the thread has ended, which it does not before `close`."""
        with self._lock:
            left = sum(isinstance(one, Record) for one, _ in self._waiting)
            self._waiting.clear()
        if left and not self._thread.is_alive():
            self._failures.failed(
                "Writing", RuntimeError(f"the thread that writes ended early, with {left} records left")
            )

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001  whatever it is, somebody has to hear of it
            self._failures.failed("The thread that writes the run", error)

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
            self._writer.flush()
            with self._changed:
                self._flushed_count = goal
                self._changed.notify_all()
        self._writer.close()

    def _deliver(self, count: int) -> None:
        done = dict.fromkeys((False, True), 0)
        for _ in range(count):
            record, size = self._waiting.popleft()
            if not isinstance(record, Record):
                self._writer.flush()
                self._attempt("Noting what belongs to a checkpoint", record)
                continue
            self._writer.write(self._encoded(record))
            is_media = record.is_media
            done[is_media] += size
            if done[is_media] >= _ROOM_AT_ONCE:
                self._make_room(done[is_media], is_media=is_media)
                done[is_media] = 0
        for is_media, size in done.items():
            self._make_room(size, is_media=is_media)

    def _make_room(self, size: int, *, is_media: bool) -> None:
        with self._lock:
            self._room.take(-size, is_media=is_media)
            if self._waits_for_room:
                self._changed.notify_all()

    def _encoded(self, record: Record[Payload | Encodable]) -> Record[Payload | Encodable]:
        if not record.only_numbers:
            return self._with_media(record, "Encoding")
        if isinstance(record.values, PendingScalars):
            # A device that has failed gives none.
            record.values = self._attempt("Reading numbers from a device", record.values.numbers) or {}
        return record

    def _with_media(self, record: Record[Any], what: Literal["Copying", "Encoding"]) -> Record[Any]:
        """Return a record whose media are copied or encoded; those that raise are left out."""
        values: dict[str, Payload | Encodable] = {}
        for name, value in record.values.items():
            if isinstance(value, PAYLOADS):
                values[name] = cast("Payload", value)
                continue
            try:
                made = value.snapshot() if what == "Copying" else value.encode(name)
            except BaseException as error:  # noqa: BLE001  a medium may raise anything, and training has to go on
                self._failures.failed(f"{what} {name!r}", error)
                continue
            if made is not None:
                values[name] = made
        # `dataclasses.replace` takes several times as long, and this runs on the training thread.
        return Record(record.step, record.epoch, record.wall_time, values, batch=record.batch, is_media=record.is_media)

    def _attempt(self, what: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return work(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001  a medium may raise anything, and training has to go on
            self._failures.failed(what, error)
            return None


class _ByteBudget:
    """Counts the memory of waiting records; it has no lock of its own.

    With ``"block"``, numbers and media share one bound. With ``"drop"``, each has a bound of its own, of the same
    size: numbers, which are never dropped, would otherwise wait behind media. What is larger than the bound fits where
    nothing else waits.
    """

    def __init__(self, max_bytes: int, overflow: Overflow) -> None:
        self.max_bytes = max_bytes
        self.drops_media = overflow == "drop"
        self._half = max_bytes // 2
        self._numbers = 0
        self._media = 0

    def fits(self, size: int, *, is_media: bool) -> bool:
        """Return whether there is room for a record of a size in bytes."""
        held = self._media if is_media and self.drops_media else self._numbers
        return not held or held + size <= self.max_bytes

    def take(self, size: int, *, is_media: bool) -> None:
        """Count a record that begins to wait, or with a negative size one that no longer does."""
        if is_media and self.drops_media:
            self._media += size
        else:
            self._numbers += size

    def is_half_full(self) -> bool:
        """Return whether it is time to make room."""
        return self._numbers > self._half or self._media > self._half


def check_queue(flush_secs: float, media_overflow: str, max_queue_bytes: int) -> None:
    """Raise ValueError for an option of a logger's queue that has no meaning."""
    if not isinstance(flush_secs, Real) or not 0 < flush_secs <= threading.TIMEOUT_MAX:
        raise ValueError(f"flush_secs={flush_secs!r}; expected a number of seconds above 0, for example 1.0.")
    if media_overflow not in get_args(Overflow):
        raise ValueError(
            f'media_overflow={media_overflow!r}; expected "block", so that training waits for media, or "drop", so that'
            " media are dropped for which there is no room."
        )
    if not isinstance(max_queue_bytes, Integral) or isinstance(max_queue_bytes, bool) or max_queue_bytes < 1:
        raise ValueError(f"max_queue_bytes={max_queue_bytes!r}; expected a number of bytes above 0, for example 2**28.")
