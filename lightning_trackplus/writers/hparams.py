"""The run's row in TensorBoard's HParams tab: its hyper-parameters, how it ended, and its best metrics.

TensorBoard takes the hyper-parameters from the first event that has some, and the status likewise. A continued run can
change them, so each of the two has a small event file of its own, which is emptied then.

No ``Experiment`` is written: TensorBoard would use that of one run for all, and hide the hyper-parameters that only
other runs have. Without it, the tab has a column for each hyper-parameter of any run, and for each scalar in the folder
of a session or below it.

Importing this needs tensorboard.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from tensorboard.plugins.hparams.summary_v2 import hparams_pb

from lightning_trackplus.formats.event_files import next_file_time, write_event_file
from lightning_trackplus.formats.flat_hparams import HparamValue
from lightning_trackplus.formats.scalar_events import OF_BEST, ScalarEvents
from lightning_trackplus.formats.summary import Mode
from lightning_trackplus.record import NUMBERS, Payload, Record, TensorBoardEvent
from lightning_trackplus.writers.best_values import is_better
from lightning_trackplus.writers.protocol import Writer
from lightning_trackplus.writers.run_summary import RunSummary
from lightning_trackplus.writers.tensorboard_listeners import Listeners

BEST_PREFIX = "best/"
"""What the tag of a metric's best values begins with."""

_STATUSES = {
    "success": api_pb2.STATUS_SUCCESS,
    "finished": api_pb2.STATUS_SUCCESS,
    "failed": api_pb2.STATUS_FAILURE,
    "interrupted": api_pb2.STATUS_FAILURE,
}


class HParamsWriter:
    """Writes the hyper-parameters with the first record, and the status when it is closed.

    TensorBoard shows them with the run's own scalars. ``params`` can be replaced at any time from any thread;
    ``status`` is set before `close`. The tab shows a run without a status, such as a killed one, as unknown.
    """

    def __init__(self, directory: Path, params: Mapping[str, HparamValue]) -> None:
        self.params = params
        self.status: str | None = None
        self._directory = directory
        self._listeners = Listeners(directory, announces=False)
        self._has_begun = False
        # Whether the tab shows hyper-parameters, of this writer or of an earlier one.
        self._is_shown = False
        self._written: Mapping[str, HparamValue] | None = None

    def write(self, _record: Record[Payload]) -> None:
        """Write the hyper-parameters, if they are new."""
        if not self._has_begun:
            self._has_begun = True
            self._is_shown = any(self._directory.glob("*tfevents*.hparams"))
            self._replace("status", None)
        if self._written is not self.params:
            self._write_params()

    def flush(self) -> None:
        """Write the hyper-parameters, if they were replaced."""
        if self._has_begun and self._written is not self.params:
            self._write_params()

    def close(self) -> None:
        """Write the status, if the run has begun and its status is known."""
        self.flush()
        status = _STATUSES.get(self.status or "")
        if status is not None and self._is_shown:
            self._replace("status", _session_end(status))

    def _write_params(self) -> None:
        params = self.params
        if params:
            # With an empty name; otherwise the tab merges runs with the same hyper-parameters.
            self._replace("hparams", hparams_pb(dict(params), trial_id=""))
            self._is_shown = True
        self._written = params

    def _replace(self, kind: Literal["hparams", "status"], summary: Summary | None) -> None:
        """Write an event file, and empty the earlier ones of its kind.

        TensorBoard's loader in Python reads files in the order of their names, and stops if the file that it read last
        is removed. So the hyper-parameters' file sorts before the numbers, the status' file after them, and earlier
        files are emptied but not removed.
        """
        now = time.time()
        file_time = 0.0 if kind == "hparams" else next_file_time(self._directory)
        name = f"events.out.tfevents.{file_time:020.9f}.{socket.gethostname()}.{os.getpid()}.{kind}"
        if summary is not None:
            self._directory.mkdir(parents=True, exist_ok=True)
            event = Event(wall_time=now, summary=summary)
            write_event_file(self._directory / name, event)
            self._listeners.pass_on(event.SerializeToString())
        for path in self._directory.glob(f"*tfevents*.{kind}"):
            if path.name != name or summary is None:
                write_event_file(path, None)


class BestMetrics:
    """Writes each new best value of selected names as ``best/<name>``, so that the last one there is the best.

    They are in TensorBoard only. ``summary`` is the run's, and gets each record first; ``events`` writes the run's
    events. A continued run writes its best value so far once more.
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
            for name, (best, step) in self._summary.best_before(self._modes).items():
                self._write(record, step, {name: best})
        better: dict[str, float] = {}
        for name, mode in self._modes.items():
            value = record.values.get(name)
            if isinstance(value, NUMBERS) and _is_improvement(value, (self._best or {}).get(name), mode):
                better[name] = value
        if better:
            self._write(record, record.step, better)

    def flush(self) -> None:
        """Do nothing: the run's own writer flushes the events."""

    def close(self) -> None:
        """Do nothing."""

    def _write(self, record: Record[Payload], step: int, values: Mapping[str, float]) -> None:
        self._best = {**(self._best or {}), **values}
        tags = {BEST_PREFIX + name: value for name, value in values.items()}
        event = Event.FromString(self._scalars.serialized(step, record.wall_time, tags) + OF_BEST)
        payload = TensorBoardEvent(event, event.ByteSize())
        self._events.write(Record(step, record.epoch, record.wall_time, {BEST_PREFIX: payload}))


def _is_improvement(value: float, best: float | None, mode: Mode) -> bool:
    """Return whether a value is better than the best, at whatever step."""
    return is_better((value, 0), None if best is None else (best, 0), mode)


def _session_end(status: int) -> Summary:
    content = HParamsPluginData(session_end_info=SessionEndInfo(status=status, end_time_secs=time.time()))
    value = Summary.Value(
        tag=metadata.SESSION_END_INFO_TAG,
        metadata=metadata.create_summary_metadata(content),
        tensor=metadata.NULL_TENSOR,
    )
    return Summary(value=[value])
