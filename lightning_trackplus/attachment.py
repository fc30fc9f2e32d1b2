"""How a logger and its Trainer come together."""

from __future__ import annotations

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from typing_extensions import override

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


class AttachLoggers(Callback):
    """Tells a TrackPlusLogger which Trainer it serves where there is no `TrackPlus` to do it."""

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Attach the loggers."""
        attach_loggers(trainer)
