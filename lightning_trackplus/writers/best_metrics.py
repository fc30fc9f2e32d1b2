"""The best value so far of chosen names, as a run below: what the HParams tab of TensorBoard shows.

Importing this needs tensorboard.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

from lightning_trackplus.formats.event_files import event_files, read_events
from lightning_trackplus.formats.layout import BEST_FOLDER
from lightning_trackplus.record import NUMBERS, Payload, Record
from lightning_trackplus.writers.directions import Mode
from lightning_trackplus.writers.event_file import EventFileWriter
from lightning_trackplus.writers.history import Point, is_better


class BestMetrics:
    """Writes a chosen number each time that it is better than all before it, into the event files of ``best/``.

    So the last value there is the best one, also after a crash. NaN is never better.

    Examples:
        >>> import tempfile
        >>> directory = Path(tempfile.mkdtemp())
        >>> best = BestMetrics(directory, {"val/acc": "max"})
        >>> for step, acc in enumerate([0.5, 0.75, 0.25]):
        ...     best.write(Record(step, 0, 0.0, {"val/acc": acc}))
        >>> best.close()
        >>> events = list(read_events(*event_files(directory / "best")))
        >>> [(event.step, value.simple_value) for event in events for value in event.summary.value]
        [(0, 0.5), (1, 0.75)]
    """

    def __init__(self, directory: Path, modes: Mapping[str, Mode]) -> None:
        self._directory = directory / BEST_FOLDER
        self._modes = dict(modes)
        self._events = EventFileWriter(self._directory)
        self._best: dict[str, Point] | None = None

    def write(self, record: Record[Payload]) -> None:
        """Write those numbers of one record that are the best so far, as one event."""
        best = self._best if self._best is not None else self._begin()
        better: dict[str, Payload] = {}
        for name, mode in self._modes.items():
            value = record.values.get(name)
            if isinstance(value, NUMBERS) and is_better(point := (value, record.step), best.get(name), mode):
                better[name], best[name] = value, point
        if better:
            self._events.write(Record(record.step, record.epoch, record.wall_time, better, only_numbers=True))

    def flush(self) -> None:
        """Bring everything that was written into the file."""
        self._events.flush()

    def close(self) -> None:
        """Flush and close the file."""
        self._events.close()

    def _begin(self) -> dict[str, Point]:
        best: dict[str, Point] = {}
        self._best = best
        for event in itertools.chain.from_iterable(map(read_events, event_files(self._directory))):
            for value in event.summary.value:
                mode, point = self._modes.get(value.tag), (value.simple_value, event.step)
                if mode and value.HasField("simple_value") and is_better(point, best.get(value.tag), mode):
                    best[value.tag] = point
        return best
