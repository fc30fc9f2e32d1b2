"""Which run directory is a logger's, from the first time someone asks until the run has ended."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_trackplus.lightning_internals.running_trainers import current_run
from lightning_trackplus.remote.remote_folder import RemoteFolder
from lightning_trackplus.remote.remote_run import RemoteRun
from lightning_trackplus.remote.spool import spool_of
from lightning_trackplus.run.journal import RunFormatError, check_format, was_written_by_child
from lightning_trackplus.run.lock import RunInUseError, RunLock
from lightning_trackplus.run.saved_config import save_beside
from lightning_trackplus.run.version import auto_version, is_url, next_version, reserve_version

if TYPE_CHECKING:
    import lightning.pytorch as pl

AUTO = "auto"
_MOST_RUNS_AT_ONCE = 10


class RunAllocation:
    """Finds the run directory of a logger, makes it for a new run, and keeps other writers out of it.

    Until it is settled, the directory is what it would be now. It is settled when a Trainer's run first asks for it,
    else with the first record; from then on it stays.

    Args:
        save_dir: Where the runs lie; None for the Trainer's ``default_root_dir``, or the working directory.
        name: The folder of this experiment below it.
        version: A number or a folder of a run, which may exist; ``"auto"``; or None for the next number.
        sub_dir: The folder below the run's own that the logger writes to.
    """

    def __init__(self, save_dir: str | None, name: str, version: int | str | None, sub_dir: str | None) -> None:
        self._given_save_dir = save_dir
        self._save_dir = save_dir
        self._name = name
        self._given_version = version
        self._version: int | str | None = None if version == AUTO else version
        self._sub_dir = sub_dir
        self._working_directory = ""
        self._is_settled = False
        self._lock: RunLock | None = None
        self._remote: RemoteRun | None = None
        # Copies of the logger in other processes have it too.
        self.token = secrets.token_hex(8)
        # A process of `ddp_fork` has the logger that its parent made, and with it the runs of its siblings.
        self._made_in = os.getpid()

    @property
    def save_dir(self) -> str:
        """Where the runs lie."""
        return self._save_dir or os.getcwd()

    @property
    def directory(self) -> Path:
        """The local folder that is written to: the run directory, or the spool of one at a URL."""
        folder = self._folders()[-1]
        return spool_of(folder) if is_url(folder) else Path(self._working_directory, folder)

    @property
    def version(self) -> int | str:
        """The run's number, or the name of its folder."""
        if not self._is_settled and (run := current_run()) is not None and run.trainer.is_global_zero:
            # Who asks now, such as LightningCLI, makes the folder, which another run must not have.
            self._settle(run.trainer, run.checkpoint)
        if self._version is None:
            version = auto_version(self._root, None) if self._given_version == AUTO else None
            version = self._begun_by_child() if version is None else version
            self._version = next_version(self._root) if version is None else version
        return self._version

    def share(self, trainer: pl.Trainer) -> None:
        """Settle on one run directory in all processes of a Trainer's run; all have to call it.

        Raises:
            RunInUseError: If a living process writes to the run that was asked for.
            OSError: If a URL cannot be read.
        """
        refusal: Exception | None = None
        if trainer.is_global_zero:
            run = current_run()
            try:
                self._settle(trainer, None if run is None else run.checkpoint)
                self._open()
            except Exception as error:  # noqa: BLE001  whatever it is, none of the others may wait for this one
                refusal = error if isinstance(error, RunInUseError | RunFormatError) else OSError(str(error))
        self._save_dir, self._version, refusal = trainer.strategy.broadcast((self._save_dir, self._version, refusal))
        if refusal is not None:
            raise refusal
        self._is_settled = True

    def open_directory(self) -> Path:
        """Settle on the run directory without a Trainer, if it is not settled, and return it, locked.

        Raises:
            RunInUseError: If a living process writes to it.
            OSError: If a URL cannot be read.
        """
        self._settle(None, None)
        self._open()
        return self.directory

    def release(self) -> None:
        """Let others write to the run directory; a new run's that is still empty is removed."""
        remote, self._remote = self._remote, None
        lock, self._lock = self._lock, None
        try:
            # The next one to lock it may find nothing of the spool in the hands of this one.
            if remote is not None:
                remote.close()
        finally:
            if lock is not None:
                lock.release()
        if self._is_settled and self._given_version in (None, AUTO) and not is_url(self._root):
            with contextlib.suppress(OSError):
                for folder in reversed(self._folders()):
                    os.rmdir(os.path.join(self._working_directory, folder))
                self._is_settled = False

    def _settle(self, trainer: pl.Trainer | None, checkpoint: str | os.PathLike[str] | None) -> None:
        if not self._is_settled:
            if (
                self._given_save_dir is None
                and trainer is not None
                and self._save_dir != local_or_url(trainer.default_root_dir)
            ):
                self._save_dir = local_or_url(trainer.default_root_dir)
                self._version = None if self._given_version in (None, AUTO) else self._version
            self._save_dir = self.save_dir
            self._choose_version(checkpoint)
            # A program may change its working directory.
            self._working_directory = os.getcwd()
            self._is_settled = True
        if trainer is not None:
            save_beside(trainer, self._folders()[-1])

    def _open(self) -> None:
        """Keep others out, and bring what lies at a URL."""
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
        version = auto_version(self._root, checkpoint) if self._given_version == AUTO else None
        version = self._begun_by_child() if version is None else version
        if version is None:
            wanted = self._version if isinstance(self._version, int) else None
            version = reserve_version(self._root, wanted)
        self._version = version

    def _begun_by_child(self) -> int | None:
        """Return the run that this logger has in processes as of ``ddp_spawn``, of this fit or an earlier one."""
        if is_url(self._root):
            return None
        newest = next_version(self._root) - 1
        for number in range(newest, max(newest - _MOST_RUNS_AT_ONCE, -1), -1):
            folder = os.path.join(self._root, f"version_{number}", self._sub_dir or "")
            if was_written_by_child(Path(self._working_directory, folder), self.token, self._made_in):
                return number
        return None

    @property
    def _root(self) -> str:
        return os.path.join(self.save_dir, self._name)

    def _folders(self) -> list[str]:
        """Return the run directory, and below it the one that is written to, if that is another."""
        folder = os.path.join(self._root, self.version if isinstance(self.version, str) else f"version_{self.version}")
        return [folder, os.path.join(folder, self._sub_dir)] if self._sub_dir else [folder]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_remote": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _made_in=os.getpid())


def local_or_url(path: str | os.PathLike[str]) -> str:
    """Return where runs are to lie, as a path or as a URL without a slash at its end.

    Raises:
        ImportError: If the package for the URL's protocol is not installed.
        ValueError: If no package knows the protocol.
    """
    text = os.fspath(path).removeprefix("file://")
    if not is_url(text):
        return os.path.expandvars(os.path.expanduser(text))
    RemoteFolder(text)
    return text.rstrip("/")
