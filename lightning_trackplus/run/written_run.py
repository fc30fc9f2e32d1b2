"""A run as a logger writes it: its directory, the files that are open, and where it goes on."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import lightning.pytorch as pl
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn

from lightning_trackplus.delivery.deliveries import AnyDelivery
from lightning_trackplus.hparams import Shown
from lightning_trackplus.record import Record
from lightning_trackplus.run.batch_steps import BatchSteps
from lightning_trackplus.run.claim import RunClaim
from lightning_trackplus.run.lock import parents
from lightning_trackplus.run.output import OutputOptions, RunOutput
from lightning_trackplus.run.resumed import Resumed
from lightning_trackplus.run.rewinding import complete_rewind, rewind
from lightning_trackplus.writers.run_summary import Mode, RunSummary

NumberT = TypeVar("NumberT")

_opening = threading.Lock()


class WrittenRun:
    """Opens the files of a run for its first record, and again after they were closed or the process has forked.

    Args:
        claim: Which run directory it is.
        options: How it is written.

    Attributes:
        claim: Which run directory it is.
        options: How it is written.
    """

    def __init__(self, claim: RunClaim, options: OutputOptions) -> None:
        self.claim = claim
        self.options = options
        self._modes: Mapping[str, Mode] = options.hparam_metrics
        self._hparams: Mapping[str, Shown] = {}
        self._batch_steps = BatchSteps()
        self._resumed: Resumed | None = None
        self._output: RunOutput | None = None
        # It goes on where it was when the files are opened again.
        self._summary: RunSummary | None = None
        # The process that writes; those that it forks or spawns do not, unless a Trainer runs there.
        self._owner: int | None = None
        self._flushes_next = False
        self._end_with_self: weakref.finalize[Any, Any] | None = None

    def attach(self, trainer: pl.Trainer, modes: Mapping[str, Mode]) -> None:
        """Let the run be that of a Trainer.

        Args:
            trainer: The Trainer; all its processes have to call this.
            modes: Which values are the best ones in ``summary.json``, beside those of the HParams tab.

        Raises:
            RunInUseError: If a living process writes to the run that was asked for.
        """
        self.claim.share(trainer)
        self._owner = os.getpid()
        self._modes = {**modes, **self.options.hparam_metrics}
        if self._output is not None:
            self._output.set_modes(self._modes)

    def add_hparams(self, params: Mapping[str, Shown]) -> None:
        """Add hyper-parameters to those of the HParams tab.

        Args:
            params: The hyper-parameters, as `flat_hparams` returns them.
        """
        self._hparams = {**self._hparams, **params}
        if self._output is not None:
            self._output.set_hparams(self._hparams)

    def deliveries(self) -> AnyDelivery:
        """Return what takes the records.

        Raises:
            RunInUseError: If a living process writes to the run.
        """
        output = self._output
        # A forked process has inherited the deliveries, but not their threads.
        if output is not None and output.deliveries.is_of_this_process():
            return output.deliveries
        with _opening:
            if self._output is None or not self._output.deliveries.is_of_this_process():
                self._output = self._opened()
            return self._output.deliveries

    def put_numbers(self, record: Record[Any]) -> None:
        """Hand over a record of numbers.

        Args:
            record: What was logged.
        """
        deliveries = self.deliveries()
        deliveries.put(record)
        if self._flushes_next:
            self._flushes_next = False
            deliveries.flush_soon()

    def flush_next(self) -> None:
        """Bring the next numbers into the files at once, with all before them."""
        self._flushes_next = self._output is not None

    def flush(self) -> None:
        """Wait until all that was handed over is in the files."""
        if self._output is not None:
            self._output.deliveries.flush()

    def has_files(self) -> bool:
        """Return whether there may be anything in the run directory."""
        return self._output is None or self._output.deliveries.has_flushed()

    def batch_step(self, names: Iterable[str], step: int) -> int:
        """Return the step of what a batch of an evaluation logs, in a count that goes on over all evaluations.

        Args:
            names: The names that are logged together.
            step: The step that Lightning gives.
        """
        self.deliveries()  # A run that goes on has counted before.
        return self._batch_steps.next(names, step)

    def without_what_was_logged(self, step: int, numbers: dict[str, NumberT]) -> dict[str, NumberT]:
        """Return the numbers that a resumed run does not have yet.

        Args:
            step: Their step.
            numbers: What Lightning logs now.
        """
        return numbers if self._resumed is None else self._resumed.without_what_was_logged(step, numbers)

    def rewind(self, step: int) -> None:
        """Move what the run has from a step on into a backup in its directory: it is logged anew.

        Args:
            step: The first global step that is logged from now on.
        """
        directory = self.claim.take()
        self.close(None)
        self._summary, self._batch_steps = None, BatchSteps()
        try:
            backup = rewind(directory, step)
        except OSError as error:
            rank_zero_warn(f"What {directory} has from step {step} on could not be moved to a backup: {error}")
            return
        self._resumed = Resumed(directory, step)
        if backup is not None:
            rank_zero_info(f"What {directory} had from step {step} on is in {backup} now: the run goes on from there.")

    def close(self, status: str | None) -> None:
        """Write what waits and close the files.

        Args:
            status: How the run ended, as Lightning says it; None where that is not known.
        """
        output, self._output = self._output, None
        if self._end_with_self is not None:
            self._end_with_self.detach()
            self._end_with_self = None
        if output is not None:
            output.close(status)

    def release(self) -> None:
        """Let others write to the run directory, if this process has."""
        if self._owner not in parents():
            self.claim.release()

    def _opened(self) -> RunOutput:
        if self._owner in parents():
            rank_zero_warn(
                "Something was logged in a process that the one which writes the run has begun, such as a worker of a"
                " DataLoader. It is not written: log in the process that trains."
            )
            directory = self.claim.directory
            return RunOutput(RunSummary(directory), directory, self.options._replace(writers=()))
        directory = self.claim.take()
        self._owner = os.getpid()
        complete_rewind(directory)
        self._batch_steps.go_on(directory)
        self._summary = self._summary or RunSummary(directory)
        output = RunOutput(self._summary, directory, self.options)
        output.set_hparams(self._hparams)
        output.set_modes(self._modes)
        # A run that nobody closes is written out when its logger goes.
        self._end_with_self = weakref.finalize(self, _end, output, self.claim)
        return output

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, **dict.fromkeys(("_output", "_summary", "_end_with_self"))}


def _end(output: RunOutput, claim: RunClaim) -> None:
    # A process that was forked from the one that writes ends as well, and leaves to that what is its.
    if not output.deliveries.is_of_this_process():
        return
    if output.deliveries.is_current_thread():
        # The garbage collector runs on any thread, and one of these cannot wait for its own end.
        threading.Thread(target=_end, args=(output, claim)).start()
        return
    output.close()
    claim.release()
