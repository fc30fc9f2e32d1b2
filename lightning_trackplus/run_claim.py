"""Which run directory is a logger's, from the first time someone asks until the run has ended."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import lightning.pytorch as pl

from lightning_trackplus import seam
from lightning_trackplus.run_lock import RunInUseError, RunLock
from lightning_trackplus.run_version import auto_version, next_version, reserve_version

AUTO = "auto"


class RunClaim:
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
        self._is_settled = False
        self._lock: RunLock | None = None

    @property
    def save_dir(self) -> str:
        """Where the runs lie."""
        return self._save_dir or os.getcwd()

    @property
    def version(self) -> int | str:
        """The run's number, or the name of its folder."""
        if not self._is_settled and (run := seam.current_run()) is not None and run.trainer.is_global_zero:
            # Who asks now, such as LightningCLI, makes the folder, which another run must not have.
            self._settle(run.trainer, run.checkpoint)
        if self._version is None:
            version = auto_version(self._root, None) if self._given_version == AUTO else None
            self._version = next_version(self._root) if version is None else version
        return self._version

    def share(self, trainer: pl.Trainer) -> None:
        """Settle on one run directory in all processes of a Trainer's run; all have to call it.

        Args:
            trainer: The Trainer.

        Raises:
            RunInUseError: If a living process writes to the run that was asked for.
        """
        refusal = None
        if trainer.is_global_zero:
            run = seam.current_run()
            try:
                self._settle(trainer, None if run is None else run.checkpoint)
                self._acquire()
            except RunInUseError as error:
                # None of the others may wait for this one.
                refusal = str(error)
        self._save_dir, self._version, refusal = trainer.strategy.broadcast((self._save_dir, self._version, refusal))
        if refusal is not None:
            raise RunInUseError(refusal)
        self._is_settled = True

    def take(self) -> Path:
        """Settle on the run directory without a Trainer, if it is not settled, and return it, locked.

        Raises:
            RunInUseError: If a living process writes to it.
        """
        self._settle(None, None)
        self._acquire()
        return self._directory

    def release(self) -> None:
        """Let others write to the run directory; a new run's that is still empty is removed."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        if self._is_settled and self._given_version in (None, AUTO):
            with contextlib.suppress(OSError):
                for folder in (self._directory, self._run_folder):
                    folder.rmdir()
                self._is_settled = False

    def _settle(self, trainer: pl.Trainer | None, checkpoint: str | os.PathLike[str] | None) -> None:
        if not self._is_settled:
            if self._given_save_dir is None and trainer is not None and self._save_dir != _root(trainer):
                self._save_dir = _root(trainer)
                self._version = None if self._given_version in (None, AUTO) else self._version
            self._save_dir = self.save_dir
            self._choose_version(checkpoint)
            self._is_settled = True

    def _acquire(self) -> None:
        if self._lock is None:
            self._lock = RunLock(self._directory)
        self._lock.acquire()

    def _choose_version(self, checkpoint: str | os.PathLike[str] | None) -> None:
        if self._given_version not in (None, AUTO):
            return
        version = auto_version(self._root, checkpoint) if self._given_version == AUTO else None
        if version is None:
            wanted = self._version if isinstance(self._version, int) else None
            version = reserve_version(self._root, wanted)
        self._version = version

    @property
    def _root(self) -> Path:
        return Path(self.save_dir, self._name)

    @property
    def _run_folder(self) -> Path:
        return self._root / (self._version if isinstance(self._version, str) else f"version_{self._version}")

    @property
    def _directory(self) -> Path:
        return self._run_folder / self._sub_dir if self._sub_dir else self._run_folder


def _root(trainer: pl.Trainer) -> str:
    return str(trainer.default_root_dir)
