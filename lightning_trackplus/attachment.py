"""How a logger and its Trainer come together."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from typing_extensions import override

from lightning_trackplus import seam
from lightning_trackplus.logger import TrackPlusLogger


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


def rewind_loggers(trainer: pl.Trainer) -> None:
    """Where a training is resumed from a checkpoint, move what its runs have beyond that into a backup.

    Args:
        trainer: The Trainer, in ``on_train_start``.
    """
    run = seam.current_run()
    if run is not None and run.checkpoint is not None:
        for logger in trackplus_loggers(trainer):
            logger.rewind(seam.first_step(trainer))


def flush_loggers(trainer: pl.Trainer) -> None:
    """Let loggers bring what is logged up to a checkpoint into their files at once.

    Args:
        trainer: The Trainer, in ``on_save_checkpoint``.
    """
    for logger in trackplus_loggers(trainer):
        logger.before_checkpoint()


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

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Attach the loggers."""
        if any(callback is self for callback in trainer.callbacks):  # type: ignore[attr-defined]
            put_first(self, trainer)
            attach_loggers(trainer)

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let the loggers go on where the checkpoint was."""
        rewind_loggers(trainer)

    @override
    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Let the loggers write at once what is logged up to the checkpoint."""
        flush_loggers(trainer)
