"""The step and the epoch of what is logged without one."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lightning_trackplus.lightning_internals import trainer_state
from lightning_trackplus.record import EvaluationBatch

if TYPE_CHECKING:
    import lightning.pytorch as pl


class StepTracker:
    """Reads the Trainer's step and epoch; where there is no Trainer, those of the numbers logged last.

    It keeps no Trainer alive. A copy or a pickle of it has none.

    Examples:
        >>> clock = StepTracker()
        >>> clock.set(7, 2.0)
        >>> clock.now()
        (7, 2.0)
    """

    def __init__(self) -> None:
        self._trainer: weakref.ref[pl.Trainer] | None = None
        self._running: list[weakref.ref[pl.Trainer]] = []
        self._thread = 0
        self._latest: tuple[int, float | None] | None = None

    def follow(self, trainer: pl.Trainer) -> None:
        """Read this Trainer's step and epoch from now on."""
        self._trainer = weakref.ref(trainer)
        self._running.append(self._trainer)
        self._thread = threading.get_ident()

    def leave(self, trainer: pl.Trainer) -> None:
        """Where this Trainer ran within another, read the other's step and epoch again."""
        if weakref.ref(trainer) in self._running:
            self._running.remove(weakref.ref(trainer))
        if self._running:
            self._trainer = self._running[-1]

    def set(self, step: int, epoch: float | None) -> None:
        """Note what numbers were logged with."""
        self._latest = (step, epoch)

    def now(self) -> tuple[int, float | None]:
        """Return the global step and, where it is known, the epoch."""
        trainer = None if self._trainer is None else self._trainer()
        return (
            (self._latest or (0, None))
            if trainer is None
            else (trainer_state.logged_step(trainer), trainer.current_epoch)
        )

    def next_step(self, last_step: Callable[[], int | None]) -> int:
        """Return the step of numbers without one: the Trainer's, or one more than that of the last numbers."""
        trainer = None if self._trainer is None else self._trainer()
        if trainer is not None:
            return trainer_state.logged_step(trainer)
        last = last_step() if self._latest is None else self._latest[0]
        return 0 if last is None else last + 1

    def of_numbers(self) -> tuple[float | None, EvaluationBatch | None]:
        """Return the epoch of numbers that come without one, and the batch of an evaluation that they are of.

        What Lightning hands over of such a batch has a count of batches for a step.
        """
        trainer = None if self._trainer is None else self._trainer()
        if trainer is None:
            return None, None
        # Another thread, such as one that watches the machine, logs at any moment.
        if threading.get_ident() == self._thread and trainer_state.hands_over_a_batch(trainer):
            return None, EvaluationBatch(
                "test" if trainer.testing else "validation", trainer_state.logged_step(trainer)
            )
        return trainer.current_epoch, None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_trainer": None, "_running": []}
