"""The run directory of a logger: chosen on first use, and locked until the run has ended."""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_trackplus.formats.layout import is_url
from lightning_trackplus.lightning_internals import trainer_state
from lightning_trackplus.lightning_internals.flavours import flavour_of
from lightning_trackplus.lightning_internals.running_trainers import current_run
from lightning_trackplus.remote.remote_folder import RemoteFolder
from lightning_trackplus.remote.remote_run import RemoteRun
from lightning_trackplus.remote.spool import spool_of
from lightning_trackplus.run.journal import RunFormatError, check_format, was_written_by_child
from lightning_trackplus.run.lock import RunInUseError, RunLock, parents
from lightning_trackplus.run.version import auto_version, next_version, reserve_version

if TYPE_CHECKING:
    import lightning.pytorch as pl

AUTO = "auto"
_MAX_CONCURRENT_RUNS = 10


class RunAllocation:
    """Chooses the run directory of a logger, makes it for a new run, and keeps other writers out of it.

    It is resolved when a Trainer's run first needs it, or with the first record, and does not change from then on.
    Before that, the properties return what it would be now. ``save_dir`` is None for the Trainer's
    ``default_root_dir`` or the working directory; ``version`` a number, a folder, ``"auto"``, or None for the next one.
    """

    def __init__(self, save_dir: str | None, name: str, version: int | str | None, sub_dir: str | None) -> None:
        self._given_save_dir = save_dir
        self._save_dir = save_dir
        self._name = name
        self._given_version = version
        self._version: int | str | None = None if version == AUTO else version
        self._sub_dir = sub_dir
        self._working_directory = ""
        self._is_resolved = False
        self._lock: RunLock | None = None
        self._remote: RemoteRun | None = None
        self._token = secrets.token_hex(8)
        # A process of `ddp_fork` has the logger that its parent made; its siblings write the same run.
        self._made_in = os.getpid()
        # The token and the process of the logger that this one is a copy of, if it came from another process.
        self._original: tuple[str, int] | None = None

    @property
    def token(self) -> str:
        """What the run notes of its logger, so that the logger of the parent process finds it."""
        return self._token if self._original is None or self._made_in != os.getpid() else self._original[0]

    @property
    def save_dir(self) -> str:
        """The folder of all runs."""
        return self._save_dir or os.getcwd()

    @property
    def directory(self) -> Path:
        """The local folder that is written to: the run directory, or the spool of one at a URL."""
        folder = self._folders()[-1]
        return spool_of(folder) if is_url(folder) else Path(self._working_directory, folder)

    @property
    def version(self) -> int | str:
        """The run's number, or the name of its folder."""
        if not self._is_resolved and (run := current_run()) is not None and run.trainer.is_global_zero:
            # The caller, such as LightningCLI, may make the folder, which no other run must get.
            self._resolve_directory(run.trainer, run.checkpoint)
        if self._version is None:
            existing = self._existing_version(None)
            self._version = next_version(self._root) if existing is None else existing
        return self._version

    def resolve(self, trainer: pl.Trainer) -> None:
        """Choose the same run directory in all processes of a Trainer's run; all have to call it."""
        error: Exception | None = None
        if trainer.is_global_zero:
            run = current_run()
            try:
                self._resolve_directory(trainer, None if run is None else run.checkpoint)
                self._open()
            except (RunInUseError, RunFormatError) as raised:
                error = raised
            except Exception as raised:  # noqa: BLE001  whatever it is, the other processes must not wait for this one
                error = OSError(str(raised))
        self._save_dir, self._version, error = trainer.strategy.broadcast((self._save_dir, self._version, error))
        if error is not None:
            raise error
        self._is_resolved = True

    def open_directory(self) -> Path:
        """Return the locked run directory, which is chosen without a Trainer if it is not resolved."""
        self._resolve_directory(None, None)
        self._open()
        return self.directory

    def release(self) -> None:
        """Unlock the run directory; that of a new run is removed if it is still empty."""
        remote, self._remote = self._remote, None
        lock, self._lock = self._lock, None
        try:
            # Before the lock is released: the next owner uses the same spool.
            if remote is not None:
                remote.close()
        finally:
            if lock is not None:
                lock.release()
        if self._is_resolved and self._given_version in (None, AUTO) and not is_url(self._root):
            with contextlib.suppress(OSError):
                for folder in reversed(self._folders()):
                    os.rmdir(os.path.join(self._working_directory, folder))
                self._is_resolved = False

    def _resolve_directory(self, trainer: pl.Trainer | None, checkpoint: str | os.PathLike[str] | None) -> None:
        if not self._is_resolved:
            if (
                self._given_save_dir is None
                and trainer is not None
                and self._save_dir != local_or_url(trainer.default_root_dir)
            ):
                self._save_dir = local_or_url(trainer.default_root_dir)
                self._version = None if self._given_version in (None, AUTO) else self._version
            self._save_dir = self.save_dir
            self._choose_version(checkpoint)
            # A program may change its working directory later.
            self._working_directory = os.getcwd()
            self._is_resolved = True
        if trainer is not None:
            _rename_cli_config(trainer, self._folders()[-1])

    def _open(self) -> None:
        """Lock the directory, and fetch the files of a remote run."""
        if self._lock is None:
            self._lock = RunLock(self.directory)
        self._lock.acquire()
        check_format(self.directory)
        if is_url(self._root) and self._remote is None:
            remote = RemoteRun(self._folders()[-1], self.directory)
            remote.fetch()
            remote.start()
            self._remote = remote

    def _choose_version(self, checkpoint: str | os.PathLike[str] | None) -> None:
        if self._given_version not in (None, AUTO):
            return
        existing = self._existing_version(checkpoint)
        wanted = self._version if isinstance(self._version, int) else None
        self._version = reserve_version(self._root, wanted) if existing is None else existing

    def _existing_version(self, checkpoint: str | os.PathLike[str] | None) -> int | str | None:
        version = auto_version(self._root, checkpoint, self._sub_dir) if self._given_version == AUTO else None
        return self._started_by_child() if version is None else version

    def _started_by_child(self) -> int | None:
        """Return the run that this logger started in other processes, such as those of an earlier ``ddp_spawn``."""
        if is_url(self._root):
            return None
        token, process = self._token, self._made_in
        if self._original is not None and self._is_launched(self._original[1]):
            token, process = self._original
        newest = next_version(self._root) - 1
        for number in range(newest, max(newest - _MAX_CONCURRENT_RUNS, -1), -1):
            folder = os.path.join(self._root, f"version_{number}", self._sub_dir or "")
            if was_written_by_child(Path(self._working_directory, folder), token, process):
                return number
        return None

    def _is_launched(self, parent: int) -> bool:
        """Return whether the Trainer that runs has started this process from ``parent``, with the logger."""
        run = current_run()
        is_child = self._made_in == os.getpid() and parent in parents()
        return is_child and run is not None and trainer_state.launches_processes(run.trainer)

    @property
    def _root(self) -> str:
        return os.path.join(self.save_dir, self._name)

    def _folders(self) -> list[str]:
        """Return the run directory, and with a ``sub_dir`` also that."""
        folder = os.path.join(self._root, self.version if isinstance(self.version, str) else f"version_{self.version}")
        return [folder, os.path.join(folder, self._sub_dir)] if self._sub_dir else [folder]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_original": (self._token, os.getpid()), "_remote": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _token=secrets.token_hex(8), _made_in=os.getpid())
        if self._original is not None and self._original[1] == os.getpid():
            self._original = None  # A copy in the same process has runs of its own.


def local_or_url(path: str | os.PathLike[str]) -> str:
    """Return ``save_dir`` as a path, or as a URL without a final slash, whose protocol fsspec must know."""
    text = os.fspath(path).removeprefix("file://")
    if not is_url(text):
        return os.path.expandvars(os.path.expanduser(text))
    RemoteFolder(text)
    return text.rstrip("/")


def _rename_cli_config(trainer: pl.Trainer, directory: str) -> None:
    """Let LightningCLI save its config as ``config_1.yaml``, instead of raising, if the run has one already."""
    get_filesystem = flavour_of(trainer).fabric("utilities.cloud_io").get_filesystem
    for callback in trainer_state.callbacks_of(trainer):
        # By name, so that LightningCLI is not imported where nobody uses it.
        is_cli = any(kind.__name__ == "SaveConfigCallback" for kind in type(callback).__mro__)
        if not is_cli or callback.already_saved or callback.overwrite:
            continue
        filesystem, (stem, suffix) = get_filesystem(directory), os.path.splitext(callback.config_filename)
        for number in itertools.count(1):
            if not filesystem.isfile(os.path.join(directory, callback.config_filename)):
                break
            callback.config_filename = f"{stem}_{number}{suffix}"
