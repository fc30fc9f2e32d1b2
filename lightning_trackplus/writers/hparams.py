"""The run's row in TensorBoard's HParams tab: its hyper-parameters, how it ended, and its best metrics.

TensorBoard takes the hyper-parameters from the first event that has some, and the status likewise. A continued run can
change them, so each of the two has a small event file of its own, which is emptied then.

No ``Experiment`` is written: TensorBoard would use that of one run for all, and hide the hyper-parameters that only
other runs have. Without it, the tab has a column for each hyper-parameter of any run, and for each scalar in the folder
of a session or below it.

Importing this needs tensorboard.
"""

from __future__ import annotations

import itertools
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

from lightning_trackplus.formats.event_files import RecordWriter, event_files, next_file_time, read_events
from lightning_trackplus.formats.hparams import HparamValue
from lightning_trackplus.formats.layout import BEST_FOLDER
from lightning_trackplus.record import NUMBERS, Payload, Record
from lightning_trackplus.writers.best_values import Mode, is_better
from lightning_trackplus.writers.listeners import Listeners
from lightning_trackplus.writers.tensorboard import EventFileWriter

_STATUSES = {
    "success": api_pb2.STATUS_SUCCESS,
    "finished": api_pb2.STATUS_SUCCESS,
    "failed": api_pb2.STATUS_FAILURE,
    "interrupted": api_pb2.STATUS_FAILURE,
}


class HParamsWriter:
    """Writes the hyper-parameters with the first record, and the status when it is closed.

    The directory decides which scalars the tab shows with them: ``best/``, the best values of selected names; the run
    directory, the last values of all. ``params`` can be replaced at any time from any thread; ``status`` is set before
    `close`. The tab shows a run without a status, such as a killed one, as unknown.
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
            self._write(name, event)
            self._listeners.pass_on(event.SerializeToString())
        for path in self._directory.glob(f"*tfevents*.{kind}"):
            if path.name != name or summary is None:
                self._write(path.name, None)

    def _write(self, name: str, event: Event | None) -> None:
        """Replace an event file."""
        new = self._directory / "session.new"
        new.unlink(missing_ok=True)
        file = RecordWriter(new)
        file.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
        if event is not None:
            file.write(event.SerializeToString())
        file.close()
        new.replace(self._directory / name)


class BestMetrics:
    """Writes each new best value of selected names into ``best/``, so that the last one there is the best."""

    def __init__(self, directory: Path, modes: Mapping[str, Mode]) -> None:
        self._directory = directory / BEST_FOLDER
        self._modes = dict(modes)
        self._events = EventFileWriter(self._directory)
        self._best: dict[str, float] | None = None

    def write(self, record: Record[Payload]) -> None:
        """Write those numbers of one record that are the best so far, as one event."""
        best = self._best if self._best is not None else self._read_best()
        better: dict[str, Payload] = {}
        for name, mode in self._modes.items():
            value = record.values.get(name)
            if isinstance(value, NUMBERS) and _is_improvement(value, best.get(name), mode):
                better[name] = best[name] = value
        if better:
            self._events.write(Record(record.step, record.epoch, record.wall_time, better, only_numbers=True))

    def flush(self) -> None:
        """Write everything into the file."""
        self._events.flush()

    def close(self) -> None:
        """Flush and close the file."""
        self._events.close()

    def _read_best(self) -> dict[str, float]:
        best: dict[str, float] = {}
        self._best = best
        events = itertools.chain.from_iterable(map(read_events, event_files(self._directory)))
        for value in itertools.chain.from_iterable(event.summary.value for event in events):
            mode = self._modes.get(value.tag)
            if not mode or not value.HasField("simple_value"):
                continue
            if _is_improvement(value.simple_value, best.get(value.tag), mode):
                best[value.tag] = value.simple_value
        return best


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
