"""How a logger and its Trainer come together."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from typing_extensions import override

from lightning_trackplus import seam
from lightning_trackplus.logger import TrackPlusLogger
from lightning_trackplus.run_directory import FORMAT

CHECKPOINT_KEY = "lightning_trackplus"
"""Under what a checkpoint carries where the runs were."""


def attach_loggers(trainer: pl.Trainer) -> None:
    """Attach all TrackPlusLoggers that a Trainer has.

    Args:
        trainer: The Trainer.
    """
    for logger in trackplus_loggers(trainer):
        logger.attach(trainer)


def trackplus_loggers(trainer: pl.Trainer) -> list[TrackPlusLogger]:
    """Return the TrackPlusLoggers that a Trainer has.

    Args:
        trainer: The Trainer.
    """
    return [logger for logger in trainer.loggers if isinstance(logger, TrackPlusLogger)]


class RunPositions:
    """Lets the runs of a Trainer's loggers go on where a checkpoint was.

    A callback passes its hooks on to it. What belongs to a checkpoint is all that a run logs until the next batch or
    epoch of training begins.
    """

    def __init__(self) -> None:
        self._has_saved = False
        self._is_resuming = False

    def save(self, trainer: pl.Trainer, checkpoint: dict[str, Any]) -> None:
        """Put into a checkpoint where the runs are.

        Args:
            trainer: The Trainer, in ``on_save_checkpoint``.
            checkpoint: The checkpoint.
        """
        runs = dict(filter(None, [logger.before_checkpoint() for logger in trackplus_loggers(trainer)]))
        if runs:
            checkpoint[CHECKPOINT_KEY] = {"format": FORMAT, "runs": runs}
            self._has_saved = True

    def load(self, trainer: pl.Trainer, checkpoint: dict[str, Any]) -> None:
        """Where a training is resumed, move what its runs have beyond the checkpoint into a backup.

        That is done before anything is logged. Where the checkpoint does not say what belongs to it, it waits until the
        Trainer knows its step.

        Args:
            trainer: The Trainer, in ``on_load_checkpoint``.
            checkpoint: The checkpoint.

        Raises:
            ValueError: If it was saved by a later version, in a format that this one does not know.
        """
        found = checkpoint.get(CHECKPOINT_KEY, {"format": FORMAT, "runs": {}})
        if found["format"] != FORMAT:
            raise ValueError(
                "The checkpoint was saved by a later version of lightning-trackplus, in the format"
                f" {found['format']!r}; this version knows the format {FORMAT}. Update lightning-trackplus."
            )
        if trainer.state.fn == "fit":
            for logger in trackplus_loggers(trainer):
                self._is_resuming |= bool(logger.rewind(found["runs"]))

    def begin_training(self, trainer: pl.Trainer) -> None:
        """Where a training is resumed from a checkpoint that does not say what belongs to it, go back to its step.

        Args:
            trainer: The Trainer, in ``on_train_start``.
        """
        self._has_saved = True  # A checkpoint may have been saved in an earlier run, with other callbacks.
        if trainer.ckpt_path is not None:
            for logger in trackplus_loggers(trainer):
                logger.rewind_to_step(seam.first_step(trainer))

    def begin_epoch(self, trainer: pl.Trainer) -> None:
        """Let what comes now belong to no checkpoint that was saved.

        Args:
            trainer: The Trainer, in ``on_train_epoch_start``.
        """
        if self._has_saved:
            self._has_saved = False
            for logger in trackplus_loggers(trainer):
                logger.begin_batch()

    def begin_batch(self, trainer: pl.Trainer) -> None:
        """Let what comes now belong to no checkpoint that was saved, and be new after a resume.

        Args:
            trainer: The Trainer, in ``on_train_batch_start``.
        """
        if self._has_saved:
            self.begin_epoch(trainer)
        if self._is_resuming:
            self._is_resuming = False
            for logger in trackplus_loggers(trainer):
                logger.end_resuming()


def put_first(callback: Callback, trainer: pl.Trainer) -> None:
    """Put a callback before all others of a Trainer, in the place of those that only attach loggers.

    Args:
        callback: The callback; it attaches the loggers.
        trainer: The Trainer.
    """
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]  # Lightning sets it elsewhere
    others = [one for one in callbacks if one is not callback and not isinstance(one, AttachLoggers)]
    trainer.callbacks = [callback, *others]  # type: ignore[attr-defined]


class AttachLoggers(Callback):
    """Tells a TrackPlusLogger which Trainer it serves where there is no `TrackPlus` to do it."""

    def __init__(self) -> None:
        self._positions = RunPositions()

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Attach the loggers."""
        if any(callback is self for callback in trainer.callbacks):  # type: ignore[attr-defined]
            put_first(self, trainer)
            attach_loggers(trainer)

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let the loggers go on at the Trainer's step, where the checkpoint does not say more."""
        self._positions.begin_training(trainer)

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let what comes belong to no checkpoint that was saved."""
        self._positions.begin_epoch(trainer)

    @override
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Let what comes belong to no checkpoint that was saved."""
        self._positions.begin_batch(trainer)

    @override
    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Put into the checkpoint where the runs are."""
        self._positions.save(trainer, checkpoint)

    @override
    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Let the loggers go on where the checkpoint was."""
        self._positions.load(trainer, checkpoint)
