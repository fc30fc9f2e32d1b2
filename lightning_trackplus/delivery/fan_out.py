"""A writer that gives each record to several writers."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, cast

from typing_extensions import Self

from lightning_trackplus.record import Encodable, Encoded, Payload, Record, TensorBoardEvent
from lightning_trackplus.runtime.failures import FailureLog
from lightning_trackplus.writers.protocol import Writer

PAYLOADS = (float, int, Encoded, TensorBoardEvent)
"""What needs no encoding; to ask whether a value has the methods of `Encodable` takes twenty times as long."""


class FanOut:
    """A `Writer` for several writers, each of which gets every record.

    What one of them raises does not reach the others, nor the caller: it is counted, warned of once, and reported by
    `close`. Media that are not encoded yet are copied once and encoded once for all `AsyncWriter` among them.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from lightning_trackplus.writers.csv import CSVWriter
        >>> folder = Path(tempfile.mkdtemp())
        >>> writer = FanOut([CSVWriter(folder / "one"), CSVWriter(folder / "two")])
        >>> writer.write(Record(0, None, 1e9, {"loss": 0.5}))
        >>> writer.close()
        >>> print((folder / "two" / "metrics.csv").read_text().strip())
        step,epoch,loss
        0,,0.5
    """

    def __init__(self, writers: Sequence[Writer]) -> None:
        # A record with media goes to those that encode, `AsyncWriter` and `FanOut`, and to no others.
        self._writers: tuple[Any, ...] = tuple(writers)
        self.failures = FailureLog()
        # The first and the last step since the last flush.
        self._first_step: int | None = None
        self._last_step = 0
        self._has_flushed = True

    def write(self, record: Record[Payload | Encodable]) -> None:
        """Give one record to all writers."""
        step = record.step
        if self._has_flushed:
            self._first_step, self._has_flushed = step, False
        self._last_step = step
        if not record.only_numbers and len(self._writers) > 1:
            record = _with_shared_encodings(record)
        for writer in self._writers:
            try:
                writer.write(record)
            except BaseException as error:  # noqa: BLE001, PERF203  a writer may raise anything
                self.failures.failed(type(writer).__name__, error, (step, step))

    def flush(self) -> None:
        """Flush all writers."""
        self._has_flushed = True
        for writer in self._writers:
            self._call(writer, "flush")

    def close(self) -> None:
        """Close all writers, and warn of what could not be written."""
        # After an interrupt the others are closed as well.
        with ExitStack() as stack:
            stack.callback(self.failures.report)
            for writer in reversed(self._writers):
                stack.callback(self._call, writer, "close")

    def _call(self, writer: Writer, method: str) -> None:
        try:
            getattr(writer, method)()
        except BaseException as error:  # noqa: BLE001  a writer may raise anything
            steps = None if self._first_step is None else (self._first_step, self._last_step)
            self.failures.failed(type(writer).__name__, error, steps)


class SharedEncoding:
    """A medium for several threads: the first that asks copies or encodes it, the others get the same.

    An encoding that fails does so for all, with the same error. The medium is released once it is encoded.

    Examples:
        >>> from lightning_trackplus import Text
        >>> shared = SharedEncoding(Text("one"))
        >>> shared.encode("name") is shared.encode("name")
        True
    """

    def __init__(self, medium: Encodable) -> None:
        self._medium: Encodable | None = medium
        self._payload: Payload | None = None
        self._error: BaseException | None = None
        self._is_copy = False
        self._working = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Memory that the medium holds, in bytes, encoded or not."""
        held = self._payload if self._medium is None else self._medium
        return 0 if held is None or isinstance(held, float | int) else held.nbytes

    def snapshot(self) -> Self:
        """Return this object; what it holds is a copy from now on."""
        with self._working:
            if self._medium is not None and not self._is_copy:
                self._medium, self._is_copy = self._medium.snapshot(), True
        return self

    def encode(self, name: str) -> Payload:
        """Return the payload.

        Raises:
            BaseException: Whatever the medium has raised, for each that asks.
        """
        with self._working:
            if self._medium is not None:
                self._encode(self._medium, name)
                self._medium = None
        if self._error is not None:
            raise self._error
        return cast("Payload", self._payload)

    def _encode(self, medium: Encodable, name: str) -> None:
        try:
            self._payload = medium.encode(name)
        except BaseException as error:  # noqa: BLE001  it is raised again, to each that asks
            # The frames in the traceback would hold the medium.
            self._error = error.with_traceback(None)


_SHARED = (*PAYLOADS, SharedEncoding)


def _with_shared_encodings(record: Record[Any]) -> Record[Any]:
    """Return a record whose media several threads can encode."""
    for value in record.values.values():
        if not isinstance(value, _SHARED):
            break
    else:
        return record
    values = {
        name: value if isinstance(value, _SHARED) else SharedEncoding(value) for name, value in record.values.items()
    }
    return dataclasses.replace(record, values=values)
