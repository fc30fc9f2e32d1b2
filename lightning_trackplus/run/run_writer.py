"""Writes the run of a logger: its directory, its open files, and where it continues."""

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

from lightning_trackplus.formats.flat_hparams import HparamValue
from lightning_trackplus.formats.last_points import BatchSteps, last_step
from lightning_trackplus.formats.summary import Mode
from lightning_trackplus.lightning_internals.running_trainers import current_run
from lightning_trackplus.record import OwnEvent, Record
from lightning_trackplus.run.allocation import RunAllocation
from lightning_trackplus.run.journal import Lineage, RunJournal
from lightning_trackplus.run.lock import parents
from lightning_trackplus.run.resume import ResumeFilter, complete_rewind, rewind, rewind_to_step
from lightning_trackplus.run.writer_set import OutputOptions, WriterSet
from lightning_trackplus.writers.best_values import MetricModes
from lightning_trackplus.writers.run_summary import RunSummary

if TYPE_CHECKING:
    import lightning.pytorch as pl

NumberT = TypeVar("NumberT")

_opening = threading.Lock()


class RunWriter:
    """Opens the files of a run for its first record, and again after they were closed or the process has forked."""

    def __init__(self, allocation: RunAllocation, options: OutputOptions) -> None:
        self.allocation = allocation
        self.options = options
        self._modes = MetricModes(monitored=options.hparam_metrics)
        self._hparams: Mapping[str, HparamValue] = {}
        self._batch_steps = BatchSteps()
        self._journal: RunJournal | None = None
        # The number of the last checkpoint, until training continues after it.
        self._saved: int | None = None
        # Whether a checkpoint determined where the run continues.
        self._is_rewound = False
        # Until the first batch of a resumed training.
        self._resume_filter: ResumeFilter | None = None
        self._output: WriterSet | None = None
        # It is kept when the files are closed, and continues when they are opened again.
        self._summary: RunSummary | None = None
        # The process that writes the run; its child processes do not, unless a Trainer runs there.
        self._owner: int | None = None
        self._flushes_next = False
        self._end_with_self: weakref.finalize[Any, Any] | None = None

    def attach(self, trainer: pl.Trainer, modes: Mapping[str, Mode]) -> None:
        """Resolve the run directory for a Trainer, in all of its processes."""
        self.allocation.resolve(trainer)
        self._owner = os.getpid()
        self._set_modes(self._modes._replace(monitored={**modes, **self.options.hparam_metrics}))

    def add_metric_modes(self, modes: Mapping[str, Mode]) -> None:
        """Add the modes of metrics for ``summary.json``; those that callbacks monitor come first."""
        self._set_modes(self._modes._replace(metrics={**self._modes.metrics, **modes}))

    def _set_modes(self, modes: MetricModes) -> None:
        self._modes = modes
        if self._output is not None:
            self._output.set_modes(modes)

    def add_hparams(self, params: Mapping[str, HparamValue]) -> None:
        """Add hyper-parameters to those of the HParams tab."""
        self._hparams = {**self._hparams, **params}
        if self._output is not None:
            self._output.set_hparams(self._hparams)

    def _writers(self) -> WriterSet:
        """Return the writers of the run; opens them if they are not open."""
        output = self._output
        # A forked process inherits the writers, but not their threads.
        if output is not None and output.is_of_this_process():
            return output
        with _opening:
            if self._output is None or not self._output.is_of_this_process():
                self._output = self._opened()
            return self._output

    def put_numbers(self, record: Record[Any]) -> None:
        """Write a record of numbers."""
        writers = self._writers()
        writers.writer.write(record)
        if self._flushes_next:
            self._flushes_next = False
            writers.flush_soon()

    def put_medium(self, name: str, medium: Any, step: int, epoch: float | None) -> None:
        """Write a copy of one medium, unless the run has it from before it was resumed."""
        writers = self._writers()
        if self._resume_filter is None or not self._resume_filter.has_medium(name, step):
            writers.writer.write(Record(step, epoch, time.time(), {name: medium}, is_media=True))

    def put_event(self, event: OwnEvent) -> None:
        """Write one of TensorBoard's own events, unless the run has it from before it was resumed."""
        writers = self._writers()
        if self._resume_filter is None or not self._resume_filter.has_event(event.folder, event.name, event.step):
            values = {event.name: event.value}
            writers.writer.write(Record(event.step, None, event.wall_time, values, is_media=event.is_media))

    def save(self) -> tuple[str, Lineage] | None:
        """Note that a checkpoint is saved, and return what it has to store; None if there is no run yet.

        Lightning logs the numbers of this step after the checkpoint; they are flushed at once.
        """
        if self._owner in parents():
            return None
        if self._journal is None and current_run() is not None:
            self._writers()  # Everything logged from now on comes after the checkpoint.
        journal, output = self._journal, self._output
        if journal is None:
            return None
        number, lineage = journal.save()
        self._saved = number
        if output is None:
            # A run that has ended is not opened again for this. Its directory may be gone, which is not an error.
            with contextlib.suppress(OSError):
                journal.write_saved_at_end(number)
        else:
            self._flushes_next = True
            output.note_extent(functools.partial(journal.write_saved, number), seals=False)
        return journal.run, lineage

    def begin_batch(self) -> None:
        """Note that a batch or epoch of training begins: what is logged now belongs to no checkpoint so far."""
        number, self._saved = self._saved, None
        if number is None:
            return
        self._writers()  # Opens the run again, if it has ended since.
        journal, output = self._journal, self._output
        if journal is not None and output is not None:
            output.note_extent(functools.partial(journal.write_cut, number), seals=True)

    def end_resuming(self) -> None:
        """Stop filtering, since the first batch of training begins."""
        self._resume_filter = None

    def flush(self) -> None:
        """Wait until all records are in the files."""
        if self._output is not None:
            self._output.writer.flush()

    def has_files(self) -> bool:
        """Return whether the run directory may have files."""
        return self._output is None or self._output.has_flushed()

    def batch_step(self, names: Iterable[str], step: int) -> int:
        """Return the step of an evaluation batch, counted over all evaluations of the run."""
        self._writers()  # It reads the count of a continued run.
        return self._batch_steps.next(names, step)

    def last_step(self) -> int | None:
        """Return the last step of the run; None if it has none."""
        self._writers()
        return last_step(self.allocation.directory)

    def new_numbers(self, step: int | None, numbers: dict[str, NumberT]) -> dict[str, NumberT]:
        """Return the numbers that a resumed run does not have yet; the step is None for an evaluation batch."""
        return numbers if self._resume_filter is None else self._resume_filter.new_numbers(step, numbers)

    def rewind(self, lineages: Mapping[str, Lineage]) -> bool:
        """Move everything after a checkpoint to a backup; return whether the checkpoint is of this run."""
        directory = self.allocation.open_directory()
        self.close(None)
        with contextlib.suppress(OSError):
            complete_rewind(directory)  # It may replace the journal.
        journal = RunJournal(directory)
        position = journal.position(lineages[journal.run]) if journal.run in lineages else None
        self._is_rewound = position is not None
        if position is None:
            return False
        with contextlib.suppress(OSError):
            journal.add_missing(lineages[journal.run])
        extent, saved = position.extent, position.saved
        backup = self._moved(lambda: None if extent is None else rewind(directory, extent))
        if saved is not None:
            with contextlib.suppress(OSError, ValueError):
                self._resume_filter = ResumeFilter(directory, saved)
        if not position.is_exact:
            where = "" if backup is None else f" Later data was moved to {backup}."
            rank_zero_warn(
                f"The checkpoint is from another branch of the run {directory}, which an earlier resume moved to its"
                f" backup. The run continues from where the branches split.{where}"
            )
        return True

    def rewind_to_step(self, step: int) -> None:
        """Move everything from a step on to a backup, unless `rewind` knew the checkpoint."""
        is_rewound, self._is_rewound = self._is_rewound, False
        if is_rewound:
            return
        directory = self.allocation.open_directory()
        backup = self._moved(lambda: rewind_to_step(directory, step))
        if backup is not None:
            rank_zero_warn(
                f"The checkpoint does not say what of {directory} belongs to it, since TrackPlusLogger did not write"
                f" the run when it was saved. Everything from step {step} on was moved to {backup}."
            )

    def _moved(self, move: Callable[[], Path | None]) -> Path | None:
        """Move everything after a checkpoint; return its new folder, None if there was nothing."""
        directory = self.allocation.directory
        self.close(None)
        self._summary, self._batch_steps, self._journal, self._saved = None, BatchSteps(), None, None
        try:
            backup = complete_rewind(directory)
            backup = move() or backup
        except Exception as error:  # noqa: BLE001  whatever it is, training continues
            rank_zero_warn(f"Data of {directory} after the checkpoint could not be moved to a backup: {error}")
            return None
        if backup is not None:
            rank_zero_info(f"The run {directory} continues from the checkpoint. Later data was moved to {backup}.")
        return backup

    def close(self, status: str | None) -> None:
        """Write everything and close the files; ``status`` is Lightning's, None if it is not known."""
        output, self._output, self._resume_filter = self._output, None, None
        if self._end_with_self is not None:
            self._end_with_self.detach()
            self._end_with_self = None
        if output is not None:
            output.close(status)
            if self._journal is not None and status is not None:
                with contextlib.suppress(OSError):
                    self._journal.write_end(status)

    def release(self) -> None:
        """Unlock the run directory, if this process wrote it."""
        if self._owner not in parents():
            self.allocation.release()

    def _opened(self) -> WriterSet:
        if self._owner in parents():
            rank_zero_warn(
                "Ignored a log call from a child process (for example a DataLoader worker);"
                " log in the training process."
            )
            directory = self.allocation.directory
            return WriterSet(RunSummary(directory), directory, self.options._replace(writers=()))
        directory = self.allocation.open_directory()
        self._owner = os.getpid()
        complete_rewind(directory)
        self._batch_steps.resume(directory)
        self._summary = self._summary or RunSummary(directory)
        output = WriterSet(self._summary, directory, self.options)
        if self._journal is None or self._journal.process != os.getpid():
            self._journal = RunJournal(directory)
            output.note_extent(functools.partial(self._journal.begin, self.allocation.token), seals=True)
        elif self._journal.status is not None:
            with contextlib.suppress(OSError):
                self._journal.write_end(None)
        output.set_hparams(self._hparams)
        output.set_modes(self._modes)
        # A run that is not closed is written when its logger is garbage-collected.
        self._end_with_self = weakref.finalize(self, _end, output, self.allocation)
        return output

    def __getstate__(self) -> dict[str, Any]:
        # The process that gets the copy may write the run while this one waits, as with `ddp_spawn`.
        self.close(None)
        return {**self.__dict__, **dict.fromkeys(("_output", "_summary", "_journal", "_end_with_self"))}


def _end(output: WriterSet, allocation: RunAllocation) -> None:
    # A forked process ends as well, and leaves the run to its parent.
    if not output.is_of_this_process():
        return
    if output.is_current_thread():
        # The garbage collector runs on any thread, and a thread cannot wait for its own end.
        threading.Thread(target=_end, args=(output, allocation)).start()
        return
    output.close()
    allocation.release()
