"""What connects a TrackPlusLogger to its Trainer: the current step and epoch, and the positions of checkpoints."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lightning_utilities.core.rank_zero import rank_zero_only, rank_zero_warn

from lightning_trackplus.formats.summary import Mode
from lightning_trackplus.lightning_internals import trainer_state
from lightning_trackplus.lightning_internals.running_trainers import current_run
from lightning_trackplus.record import EvaluationBatch
from lightning_trackplus.run.journal import Lineage
from lightning_trackplus.run.run_writer import RunWriter
from lightning_trackplus.writers.best_values import monitored_modes

if TYPE_CHECKING:
    import lightning.pytorch as pl


class StepTracker:
    """Provides the Trainer's step and epoch; without a Trainer, those of the last logged numbers.

    It does not keep a Trainer alive. A copy or a pickle of it has no Trainer.

    Examples:
        >>> steps = StepTracker()
        >>> steps.set(7, 2.0)
        >>> steps.now()
        (7, 2.0)
    """

    def __init__(self) -> None:
        self._followed: weakref.ref[pl.Trainer] | None = None
        self._running: list[weakref.ref[pl.Trainer]] = []
        self._thread = 0
        self._latest: tuple[int, float | None] | None = None

    def follow(self, trainer: pl.Trainer) -> None:
        """Use this Trainer's step and epoch from now on."""
        self._followed = weakref.ref(trainer)
        self._running.append(self._followed)
        self._thread = threading.get_ident()

    def leave(self, trainer: pl.Trainer) -> None:
        """Use the outer Trainer's step and epoch again, if this Trainer ran within another one."""
        if weakref.ref(trainer) in self._running:
            self._running.remove(weakref.ref(trainer))
        if self._running:
            self._followed = self._running[-1]

    def set(self, step: int, epoch: float | None) -> None:
        """Remember the step and epoch of logged numbers."""
        self._latest = (step, epoch)

    def now(self) -> tuple[int, float | None]:
        """Return the global step and, if known, the epoch."""
        if (trainer := self._trainer) is not None:
            return trainer_state.logged_step(trainer), trainer.current_epoch
        return self._latest or (0, None)

    def next_step(self, last_step: Callable[[], int | None]) -> int:
        """Return the step of numbers logged without one: the Trainer's step, or the last logged step plus one."""
        if (trainer := self._trainer) is not None:
            return trainer_state.logged_step(trainer)
        last = last_step() if self._latest is None else self._latest[0]
        return 0 if last is None else last + 1

    def epoch_or_batch(self) -> tuple[float | None, EvaluationBatch | None]:
        """Return the epoch of numbers logged without one, or the evaluation batch that they belong to."""
        if (trainer := self._trainer) is None:
            return None, None
        # Another thread, such as a monitor of the machine, may log at any moment: its numbers belong to no batch.
        if threading.get_ident() == self._thread and trainer_state.hands_over_a_batch(trainer):
            stage = "test" if trainer.testing else "validation"
            return None, EvaluationBatch(stage, trainer_state.logged_step(trainer))
        return trainer.current_epoch, None

    @property
    def _trainer(self) -> pl.Trainer | None:
        return None if self._followed is None else self._followed()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_followed": None, "_running": []}


class TrainerHooks:
    """The methods that a callback calls on a logger: `TrackPlus`, or the one that the package adds to the Trainer."""

    _run: RunWriter
    _steps: StepTracker
    _name_prefix: str
    _has_checked_callback = False
    adds_callback: bool
    """Whether a Trainer without a `TrackPlus` gets one."""

    def attach(self, trainer: pl.Trainer) -> None:
        """Connect the logger to a Trainer; called in all processes.

        Raises:
            RunInUseError: If another process is writing to the requested run.
        """
        self._steps.follow(trainer)
        self._run.attach(trainer, monitored_modes(trainer, self._name_prefix))

    def detach(self, trainer: pl.Trainer) -> None:
        """Return to the outer Trainer, if this Trainer ran within another one."""
        self._steps.leave(trainer)

    @rank_zero_only
    def add_metric_modes(self, modes: Mapping[str, Mode]) -> None:
        """Set which value of a metric is the best, by the metric's name without suffixes; for ``summary.json``."""
        self._run.add_metric_modes({self._name_prefix + name: mode for name, mode in modes.items()})

    @rank_zero_only
    def before_checkpoint(self) -> tuple[str, Lineage] | None:
        """Return the run's id and its position, which the checkpoint stores; None if nothing is written."""
        return self._run.save()

    @rank_zero_only
    def begin_batch(self) -> None:
        """End the part of the run that belongs to the checkpoints saved so far."""
        self._run.begin_batch()

    @rank_zero_only
    def end_resuming(self) -> None:
        """Stop skipping values that the resumed run already has."""
        self._run.end_resuming()

    @rank_zero_only
    def rewind(self, lineages: Mapping[str, Lineage]) -> bool | None:
        """Continue at a checkpoint: move everything logged after it into a backup in the run directory.

        Args:
            lineages: The positions in the checkpoint, by run id.

        Returns:
            Whether the checkpoint has this run's position; None in processes that write nothing.
        """
        return self._run.rewind(lineages)

    @rank_zero_only
    def rewind_to_step(self, step: int) -> None:
        """Continue at a global step, if the checkpoint has no position of this run."""
        self._run.rewind_to_step(step)

    def _check_callback(self) -> None:
        """Warn once if no callback of the running Trainer attaches this logger."""
        if self._has_checked_callback or (run := current_run()) is None:
            return
        self._has_checked_callback = True
        callbacks = trainer_state.callbacks_of(run.trainer)
        if self.adds_callback and not any(hasattr(callback, "attaches_loggers") for callback in callbacks):
            rank_zero_warn(
                "The Trainer has a TrackPlusLogger but no TrackPlus callback, which is needed for reducers, values for"
                " each sample and media. Write Trainer(callbacks=[TrackPlus()], logger=TrackPlusLogger()). The callback"
                " is added automatically only if the package is installed with its entry points and the logger is"
                " created before the Trainer."
            )
