"""The run's row in TensorBoard's HParams tab: its hyper-parameters, and how it ended. Importing this needs tensorboard.

TensorBoard takes of the first event it reads what the hyper-parameters are, and in the same way the status. So that a
run that goes on can have others, each of the two stands alone in a small event file of its own, which is emptied then.

There is no ``Experiment`` among them. TensorBoard would take that of one run for all: the hyper-parameters that only
other runs have would be hidden. Without it, the tab has a column for each hyper-parameter of any run, and one for each
scalar that stands in the folder of a session or below it.
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

from lightning_trackplus.formats.event_files import next_moment, write_event_file
from lightning_trackplus.formats.hparams import HparamValue
from lightning_trackplus.record import Payload, Record
from lightning_trackplus.writers.listeners import Listeners

_STATUSES = {
    "success": api_pb2.STATUS_SUCCESS,
    "finished": api_pb2.STATUS_SUCCESS,
    "failed": api_pb2.STATUS_FAILURE,
    "interrupted": api_pb2.STATUS_FAILURE,
}


class HParamsWriter:
    """Writes the hyper-parameters with the first record, and the status when it is closed.

    A run that was killed has no status, which the tab shows as unknown. One that goes on has none until it ends again,
    and the hyper-parameters that it has now; if it has none, the earlier ones stay.

    Args:
        directory: The run directory, whose scalars stand beside the hyper-parameters.
        params: The hyper-parameters, as `flatten_hparams` returns them.

    Attributes:
        params: The hyper-parameters. Others may be set at any time and from any thread, as a new mapping.
        status: How the run ended, as Lightning's ``finalize`` says it; to be set before ``close``.

    Examples:
        >>> import tempfile
        >>> session = HParamsWriter(Path(tempfile.mkdtemp()), {"lr": 0.1})
        >>> session.write(Record(0, 0, 0.0, {"loss": 1.0}))
        >>> session.status = "success"
        >>> session.close()
    """

    def __init__(self, directory: Path, params: Mapping[str, HparamValue]) -> None:
        self.params = params
        self.status: str | None = None
        self._directory = directory
        self._listeners = Listeners(directory, are_told=False)
        self._has_begun = False
        # Whether the tab has them, of this writer or of an earlier one.
        self._is_shown = False
        self._written: Mapping[str, HparamValue] | None = None

    def write(self, _record: Record[Payload]) -> None:
        """Write the hyper-parameters, if they are not written yet."""
        if not self._has_begun:
            self._has_begun = True
            self._is_shown = any(self._directory.glob("*tfevents*.hparams"))
            self._replace("status", None)
        if self._written is not self.params:
            self._write_params()

    def flush(self) -> None:
        """Write the hyper-parameters, if there are others since they were written."""
        if self._has_begun and self._written is not self.params:
            self._write_params()

    def close(self) -> None:
        """Write the status, if the run has begun and its end is known."""
        self.flush()
        status = _STATUSES.get(self.status or "")
        if status is not None and self._is_shown:
            self._replace("status", _session_end(status))

    def _write_params(self) -> None:
        params = self.params
        if params:
            # With a name of its own, or the tab would merge runs with the same hyper-parameters into one row.
            self._replace("hparams", hparams_pb(dict(params), trial_id=""))
            self._is_shown = True
        self._written = params

    def _replace(self, kind: Literal["hparams", "status"], summary: Summary | None) -> None:
        """Write an event file, and leave nothing in the earlier ones of its kind.

        TensorBoard's loader in Python goes on to the next file by name and never back, and stands still where the file
        is removed that it has read last. So what stands before the numbers has a name before theirs, and how the run
        ended one behind; and earlier files stay, with nothing in them.
        """
        now = time.time()
        moment = 0.0 if kind == "hparams" else next_moment(self._directory)
        name = f"events.out.tfevents.{moment:020.9f}.{socket.gethostname()}.{os.getpid()}.{kind}"
        if summary is not None:
            self._directory.mkdir(parents=True, exist_ok=True)
            event = Event(wall_time=now, summary=summary)
            write_event_file(self._directory / name, event)
            self._listeners.pass_on(event.SerializeToString())
        for path in self._directory.glob(f"*tfevents*.{kind}"):
            if path.name != name or summary is None:
                write_event_file(path, None)


def _session_end(status: int) -> Summary:
    content = HParamsPluginData(session_end_info=SessionEndInfo(status=status, end_time_secs=time.time()))
    value = Summary.Value(
        tag=metadata.SESSION_END_INFO_TAG,
        metadata=metadata.create_summary_metadata(content),
        tensor=metadata.NULL_TENSOR,
    )
    return Summary(value=[value])
