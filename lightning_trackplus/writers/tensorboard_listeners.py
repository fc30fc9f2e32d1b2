"""Tools that listen to TensorBoard by replacing parts of its writers: W&B's ``sync_tensorboard``, and ClearML.

Importing this needs tensorboard.
"""

from __future__ import annotations

import sys
import weakref
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer import event_file_writer

from lightning_trackplus.runtime.warn import WarnOnce, describe_error, warn

_TORCH = "torch.utils.tensorboard.writer"
_TENSORBOARD = event_file_writer.__name__

_announced: weakref.WeakKeyDictionary[Any, set[str]] = weakref.WeakKeyDictionary()
"""The folders that were announced to each reader."""


def are_listening() -> bool:
    """Return whether a tool has replaced a part of the writers; this is called for each event, and is fast."""
    kind = event_file_writer.EventFileWriter
    torchs: Any = sys.modules.get(_TORCH)
    # Another thread may be loading it.
    file_writer = getattr(torchs, "FileWriter", None)
    return kind.__module__ != _TENSORBOARD or (
        file_writer is not None and (torchs.EventFileWriter is not kind or file_writer.add_event.__module__ != _TORCH)
    )


class Listeners:
    """Gives such tools what torch's SummaryWriter would give them for one folder.

    Without ``announces``, they do not learn of the folder: W&B reads sub-folders of a run anyway, and would take a file
    there for the run's next one.
    """

    def __init__(self, directory: Path, *, announces: bool = True) -> None:
        self._directory = str(directory)
        self._announces = announces
        self._file_writer: Any = None
        self._warn_once = WarnOnce()

    def has_new(self) -> bool:
        """Return whether the folder has to be announced to a reader, which reads the files from then on."""
        reader, _ = self._reader()
        return reader is not None and self._directory not in _announced.get(reader, ())

    def announce(self) -> bool:
        """Announce the folder to a new reader; return whether there is a reader."""
        reader, kind = self._reader()
        if reader is None:
            return False
        folders = _announced.setdefault(reader, set())
        if self._directory not in folders:
            folders.add(self._directory)
            self._try(lambda: _without_file(kind)(self._directory))
        return True

    def pass_on(self, data: bytes) -> None:
        """Pass on an event that was written: ClearML takes it from ``FileWriter.add_event``."""
        kind = getattr(sys.modules.get(_TORCH), "FileWriter", None)
        if kind is not None and kind.add_event.__module__ != _TORCH:
            self._try(lambda: self._add_event(kind, Event.FromString(data)))

    def _reader(self) -> tuple[Any, Any]:
        """Return the reader of event files, and its replacement of EventFileWriter."""
        for name in (_TORCH, _TENSORBOARD) if self._announces else ():
            kind = getattr(sys.modules.get(name), "EventFileWriter", None)
            if kind is not None and kind.__module__ != _TENSORBOARD:
                # W&B's class passes the folder to the current run, which is None until `wandb.init` is done.
                return (sys.modules["wandb"].run if kind.__module__.startswith("wandb.") else kind), kind
        return None, None

    def _add_event(self, kind: Any, event: Event) -> None:
        if self._file_writer is None:
            self._file_writer = object.__new__(kind)
            self._file_writer.event_writer = _NoEventFile(self._directory)
        self._file_writer.add_event(event, event.step, event.wall_time)

    def _try(self, call: Any) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001  errors of other tools must not stop the files from being written
            if self._warn_once.is_first("failed"):
                warn(f"A tool that listens to TensorBoard failed in {self._directory}: {describe_error(error)}")


class _NoEventFile:
    """Takes the place of an EventFileWriter."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def get_logdir(self) -> str:
        return self._directory

    def add_event(self, event: Event) -> None:
        pass


def _without_file(kind: Any) -> Any:
    """Return a replacement of EventFileWriter, as a class that opens no file."""
    original = next((parent for parent in kind.__mro__ if parent.__module__ == _TENSORBOARD), None)
    if original is None:
        return kind
    # Between the two in the MRO, so that the replacement calls its constructor.
    fileless = type("Fileless", (original,), {"__init__": _open_nothing})
    return type(kind.__name__, (kind, fileless), {})


def _open_nothing(*_args: Any, **_options: Any) -> None:
    """Replace the constructor of EventFileWriter."""
