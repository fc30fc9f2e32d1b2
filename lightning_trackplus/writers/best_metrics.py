"""The best value so far of chosen names, for the HParams tab of TensorBoard. Importing this needs tensorboard."""

from __future__ import annotations

from collections.abc import Mapping

from tensorboard.compat.proto.event_pb2 import Event

from lightning_trackplus.formats.scalar_events import OF_BEST, ScalarEvents
from lightning_trackplus.record import NUMBERS, Payload, Record, TensorBoardEvent
from lightning_trackplus.writers.directions import Mode
from lightning_trackplus.writers.protocol import Writer
from lightning_trackplus.writers.run_summary import RunSummary

PREFIX = "best/"
"""Before the name of a metric, in the tag of its best values."""


class BestMetrics:
    """Writes a chosen number each time that it is better than all before it, as ``best/<name>`` in TensorBoard alone.

    So the last value there is the best one, also after a crash. NaN is never better. A run that goes on has the best
    value that it had once more.

    Args:
        summary: The summary of the run, which gets each record first.
        modes: Of each name, whether the lowest or the highest value is the best.
        events: Writes the events of the run.
    """

    def __init__(self, summary: RunSummary, modes: Mapping[str, Mode], events: Writer) -> None:
        self._summary = summary
        self._modes = dict(modes)
        self._events = events
        self._scalars = ScalarEvents()
        self._best: dict[str, float] | None = None

    def write(self, record: Record[Payload]) -> None:
        """Write those numbers of one record that are the best so far, as one event."""
        if self._best is None and self._summary.is_open:
            self._best = {}
            for name, (past, step) in self._summary.best_before(self._modes).items():
                self._write(record, step, {name: past})
        better: dict[str, float] = {}
        for name, mode in self._modes.items():
            value = record.values.get(name)
            if isinstance(value, NUMBERS) and _is_better(value, (self._best or {}).get(name), mode):
                better[name] = value
        if better:
            self._write(record, record.step, better)

    def flush(self) -> None:
        """Do nothing: who writes the events brings them into the file."""

    def close(self) -> None:
        """Do nothing either."""

    def _write(self, record: Record[Payload], step: int, values: Mapping[str, float]) -> None:
        self._best = {**(self._best or {}), **values}
        tags = {PREFIX + name: value for name, value in values.items()}
        event = Event.FromString(self._scalars.serialized(step, record.wall_time, tags) + OF_BEST)
        self._events.write(
            Record(step, record.epoch, record.wall_time, {PREFIX: TensorBoardEvent(event, event.ByteSize())})
        )


def _is_better(value: float, best: float | None, mode: Mode) -> bool:
    """Return whether a value is better than the best; NaN never is."""
    if best is None:
        return value == value  # noqa: PLR0124  which is not true of NaN
    return value < best if mode == "min" else value > best
