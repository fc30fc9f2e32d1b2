"""The step and the epoch of what is logged without one."""

from __future__ import annotations

import weakref
from typing import Any

import lightning.pytorch as pl

from lightning_trackplus import seam


class TrainerClock:
    """Reads the Trainer's step and epoch; where there is no Trainer, those of the numbers logged last.

    It keeps no Trainer alive. A copy or a pickle of it has none.

    Examples:
        >>> clock = TrainerClock()
        >>> clock.set(7, 2.0)
        >>> clock.now()
        (7, 2.0)
    """

    def __init__(self) -> None:
        self._trainer: weakref.ref[pl.Trainer] | None = None
        self._latest: tuple[int, float | None] = (0, None)

    def follow(self, trainer: pl.Trainer) -> None:
        """Read this Trainer's step and epoch from now on.

        Args:
            trainer: The Trainer.
        """
        self._trainer = weakref.ref(trainer)

    def set(self, step: int, epoch: float | None) -> None:
        """Note what numbers were logged with.

        Args:
            step: The global step.
            epoch: The epoch, where it is known.
        """
        self._latest = (step, epoch)

    def now(self) -> tuple[int, float | None]:
        """Return the global step and, where it is known, the epoch."""
        trainer = None if self._trainer is None else self._trainer()
        return self._latest if trainer is None else (seam.logged_step(trainer), trainer.current_epoch)

    def of_numbers(self) -> tuple[float | None, int | None]:
        """Return the epoch of numbers that come without one, and the step that waits for an evaluation's results.

        What Lightning hands over of a batch of an evaluation has a count of batches for a step; else no step waits.
        """
        trainer = None if self._trainer is None else self._trainer()
        if trainer is None:
            return None, None
        if trainer.evaluating and seam.hands_over_a_batch():
            return None, seam.logged_step(trainer)
        return trainer.current_epoch, None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_trainer": None}
