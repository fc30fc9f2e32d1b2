"""A run as a logger writes it: its directory, the files that are open, and where it goes on."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lightning_utilities.core.rank_zero import rank_zero_info, rank_zero_warn

from lightning_trackplus.delivery.fan_out import AnyDelivery
from lightning_trackplus.formats.hparams import HparamValue
from lightning_trackplus.formats.last_points import last_step
from lightning_trackplus.lightning_internals.running_trainers import current_run
from lightning_trackplus.record import OwnEvent, Record
from lightning_trackplus.run.allocation import RunAllocation
from lightning_trackplus.run.batch_steps import BatchSteps
from lightning_trackplus.run.journal import RunJournal, Way
from lightning_trackplus.run.lock import parents
from lightning_trackplus.run.resume_filter import ResumeFilter
from lightning_trackplus.run.rewind import complete_rewind, rewind, rewind_to_step
from lightning_trackplus.run.writer_set import OutputOptions, WriterSet
from lightning_trackplus.writers.directions import Directions, Mode
from lightning_trackplus.writers.run_summary import RunSummary

if TYPE_CHECKING:
    import lightning.pytorch as pl

NumberT = TypeVar("NumberT")

_opening = threading.Lock()


class RunWriter:
    """Opens the files of a run for its first record, and again after they were closed or the process has forked.

    Attributes:
        claim: Which run directory it is.
        options: How it is written.
    """

    def __init__(self, claim: RunAllocation, options: OutputOptions) -> None:
        self.allocation = claim
        self.options = options
        self._directions = Directions(monitored=options.hparam_metrics)
        self._hparams: Mapping[str, HparamValue] = {}
        self._batch_steps = BatchSteps()
        self._journal: RunJournal | None = None
        # The number of the last checkpoint, until training goes on behind it.
        self._saved: int | None = None
        # Whether a checkpoint has said where the run goes on.
        self._is_placed = False
        # Until the first batch of a training that was resumed.
        self._resumed: ResumeFilter | None = None
        self._output: WriterSet | None = None
        # It goes on where it was when the files are opened again.
        self._summary: RunSummary | None = None
        # The process that writes; those that it forks or spawns do not, unless a Trainer runs there.
        self._owner: int | None = None
        self._flushes_next = False
        self._end_with_self: weakref.finalize[Any, Any] | None = None

    def attach(self, trainer: pl.Trainer, modes: Mapping[str, Mode]) -> None:
        """Let the run be that of a Trainer.

        Raises:
            RunInUseError: If a living process writes to the run that was asked for.
        """
        self.allocation.share(trainer)
        self._owner = os.getpid()
        self._set_directions(self._directions._replace(monitored={**modes, **self.options.hparam_metrics}))

    def add_metric_modes(self, modes: Mapping[str, Mode]) -> None:
        """Say which values are the best ones in ``summary.json``, where nobody else says so."""
        self._set_directions(self._directions._replace(metrics={**self._directions.metrics, **modes}))

    def _set_directions(self, directions: Directions) -> None:
        self._directions = directions
        if self._output is not None:
            self._output.set_directions(directions)

    def add_hparams(self, params: Mapping[str, HparamValue]) -> None:
        """Add hyper-parameters to those of the HParams tab."""
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
        """Hand over a record of numbers."""
        deliveries = self.deliveries()
        deliveries.put(record)
        if self._flushes_next:
            self._flushes_next = False
            deliveries.flush_soon()

    def put_medium(self, name: str, medium: Any, step: int, epoch: float | None) -> None:
        """Hand over a copy of one medium, unless the run has it from before it was resumed."""
        deliveries = self.deliveries()
        if self._resumed is None or not self._resumed.has_medium(name, step):
            deliveries.put_medium(name, medium, step, epoch, time.time())

    def put_event(self, event: OwnEvent) -> None:
        """Hand over an event of TensorBoard's own, unless the run has it from before it was resumed."""
        deliveries = self.deliveries()
        if self._resumed is not None and self._resumed.has_event(event.folder, event.name, event.step):
            return
        if event.is_media:
            deliveries.put_medium(event.name, event.value, event.step, None, event.wall_time)
        else:
            deliveries.put(Record(event.step, None, event.wall_time, {event.name: event.value}))

    def save(self) -> tuple[str, Way] | None:
        """Note that a checkpoint is saved, and return what it has to carry; None where there is no run yet.

        Lightning hands over the numbers of its step after the checkpoint: these are brought into the files at once.
        """
        if self._owner in parents():
            return None
        if self._journal is None and current_run() is not None:
            self.deliveries()  # What is logged from now on is behind the checkpoint.
        journal, output = self._journal, self._output
        if journal is None:
            return None
        number, way = journal.save()
        self._saved = number
        if output is None:
            # A run that has ended is not opened again for that. Its directory may be gone, which is no error here.
            with contextlib.suppress(OSError):
                journal.write_saved_at_end(number)
        else:
            self._flushes_next = True
            output.note_extent(functools.partial(journal.write_saved, number), seals=False)
        return journal.run, way

    def begin_batch(self) -> None:
        """Note that a batch or an epoch of training begins: what comes now belongs to no checkpoint that was saved."""
        number, self._saved = self._saved, None
        if number is None:
            return
        self.deliveries()  # The run may have ended since.
        journal, output = self._journal, self._output
        if journal is not None and output is not None:
            output.note_extent(functools.partial(journal.write_cut, number), seals=True)

    def end_resuming(self) -> None:
        """Take all that comes: the first batch of training begins."""
        self._resumed = None

    def flush(self) -> None:
        """Wait until all that was handed over is in the files."""
        if self._output is not None:
            self._output.deliveries.flush()

    def has_files(self) -> bool:
        """Return whether there may be anything in the run directory."""
        return self._output is None or self._output.deliveries.has_flushed()

    def without_batches_that_were_logged(self, numbers: dict[str, NumberT]) -> dict[str, NumberT]:
        """Return the numbers of a batch of an evaluation that a resumed run does not have yet."""
        return numbers if self._resumed is None else self._resumed.new_batches(numbers)

    def batch_step(self, names: Iterable[str], step: int) -> int:
        """Return the step of what a batch of an evaluation logs, in a count that goes on over all evaluations."""
        self.deliveries()  # A run that goes on has counted before.
        return self._batch_steps.next(names, step)

    def last_step(self) -> int | None:
        """Return the last step that the run has; None if it has none."""
        self.deliveries()
        return last_step(self.allocation.directory)

    def without_what_was_logged(self, step: int, numbers: dict[str, NumberT]) -> dict[str, NumberT]:
        """Return the numbers that a resumed run does not have yet."""
        return numbers if self._resumed is None else self._resumed.new_numbers(step, numbers)

    def rewind(self, ways: Mapping[str, Way]) -> bool:
        """Go on from a checkpoint: move what the run has beyond it into a backup in its directory.

        Returns:
            Whether it says where this run was.
        """
        directory = self.allocation.open_directory()
        self.close(None)
        with contextlib.suppress(OSError):
            complete_rewind(directory)  # It brings the journal of what the last process had decided.
        journal = RunJournal(directory)
        position = journal.position(ways[journal.run]) if journal.run in ways else None
        self._is_placed = position is not None
        if position is None:
            return False
        with contextlib.suppress(OSError):
            journal.add_missing(ways[journal.run])
        extent, saved = position.extent, position.saved
        backup = self._moved(lambda: None if extent is None else rewind(directory, extent))
        if saved is not None:
            with contextlib.suppress(OSError, ValueError):
                self._resumed = ResumeFilter(directory, saved)
        if not position.is_exact:
            where = "" if backup is None else f" What came behind is in {backup}."
            rank_zero_warn(
                f"The checkpoint is of another branch of the run {directory}, which an earlier resume moved to its"
                f" backup. The run goes on where the two branches part.{where}"
            )
        return True

    def rewind_to_step(self, step: int) -> None:
        """Move what the run has from a step on into a backup, if the checkpoint did not say where the run was."""
        is_placed, self._is_placed = self._is_placed, False
        if is_placed:
            return
        directory = self.allocation.open_directory()
        backup = self._moved(lambda: rewind_to_step(directory, step))
        if backup is not None:
            rank_zero_warn(
                f"The checkpoint does not say what of {directory} belongs to it, as one does that was saved while"
                f" TrackPlusLogger wrote the run. What has the step {step} or a later one was moved to {backup}."
            )

    def _moved(self, move: Callable[[], Path | None]) -> Path | None:
        """Move what lies beyond a checkpoint; return where it is, if there was any."""
        directory = self.allocation.directory
        self.close(None)
        self._summary, self._batch_steps, self._journal, self._saved = None, BatchSteps(), None, None
        try:
            backup = complete_rewind(directory)
            backup = move() or backup
        except Exception as error:  # noqa: BLE001  whatever it is, the training goes on
            rank_zero_warn(f"What {directory} has beyond the checkpoint could not be moved to a backup: {error}")
            return None
        if backup is not None:
            rank_zero_info(
                f"What {directory} had beyond the checkpoint is in {backup} now: the run goes on from there."
            )
        return backup

    def close(self, status: str | None) -> None:
        """Write what waits and close the files.

        Args:
            status: How the run ended, as Lightning says it; None where that is not known.
        """
        output, self._output, self._resumed = self._output, None, None
        if self._end_with_self is not None:
            self._end_with_self.detach()
            self._end_with_self = None
        if output is not None:
            output.close(status)
            if self._journal is not None and status is not None:
                with contextlib.suppress(OSError):
                    self._journal.write_end(status)

    def release(self) -> None:
        """Let others write to the run directory, if this process has."""
        if self._owner not in parents():
            self.allocation.release()

    def _opened(self) -> WriterSet:
        if self._owner in parents():
            rank_zero_warn(
                "Something was logged in a process that the one which writes the run has begun, such as a worker of a"
                " DataLoader. It is not written: log in the process that trains."
            )
            directory = self.allocation.directory
            return WriterSet(RunSummary(directory), directory, self.options._replace(writers=()))
        directory = self.allocation.open_directory()
        self._owner = os.getpid()
        complete_rewind(directory)
        self._batch_steps.go_on(directory)
        self._summary = self._summary or RunSummary(directory)
        output = WriterSet(self._summary, directory, self.options)
        if self._journal is None or self._journal.process != os.getpid():
            self._journal = RunJournal(directory)
            output.note_extent(functools.partial(self._journal.begin, self.allocation.token), seals=True)
        elif self._journal.status is not None:
            with contextlib.suppress(OSError):
                self._journal.write_end(None)
        output.set_hparams(self._hparams)
        output.set_directions(self._directions)
        # A run that nobody closes is written out when its logger goes.
        self._end_with_self = weakref.finalize(self, _end, output, self.allocation)
        return output

    def __getstate__(self) -> dict[str, Any]:
        # A process that gets a copy may write the run while this one waits, as with `ddp_spawn`.
        self.close(None)
        return {**self.__dict__, **dict.fromkeys(("_output", "_summary", "_journal", "_end_with_self"))}


def _end(output: WriterSet, claim: RunAllocation) -> None:
    # A process that was forked from the one that writes ends as well, and leaves to that what is its.
    if not output.deliveries.is_of_this_process():
        return
    if output.deliveries.is_current_thread():
        # The garbage collector runs on any thread, and one of these cannot wait for its own end.
        threading.Thread(target=_end, args=(output, claim)).start()
        return
    output.close()
    claim.release()
