"""Which writer gives media to which of Lightning's own loggers."""

from __future__ import annotations

from typing import Any

from lightning_trackplus.lightning_internals.flavours import installed_flavours
from lightning_trackplus.writers.foreign.csv_logger import MediaFilesWriter
from lightning_trackplus.writers.foreign.mlflow import MLFlowWriter
from lightning_trackplus.writers.foreign.wandb import WandbWriter
from lightning_trackplus.writers.protocol import Writer


def writer_for(logger: Any) -> Writer | None:
    """Return what writes media for one of Lightning's loggers or a subclass of it; None for any other.

    Comet is not among them: a Comet experiment has one current step for all threads, so that a medium written on
    the delivery thread would now and then move the numbers of the training to its own step.

    Raises:
        Exception: What the logger raises where it cannot be used.
    """
    if _is(logger, "TensorBoardLogger"):
        # Imported here, since it needs tensorboard; where only tensorboardX is installed, there is no such writer.
        from lightning_trackplus.writers.foreign.tensorboard_logger import TensorBoardLoggerWriter  # noqa: PLC0415

        return TensorBoardLoggerWriter(logger)
    if _is(logger, "CSVLogger"):
        return MediaFilesWriter.of(logger)
    if _is(logger, "WandbLogger"):
        return WandbWriter(logger)
    if _is(logger, "MLFlowLogger"):
        return MLFlowWriter(logger)
    return None


def _is(logger: object, name: str) -> bool:
    """Return whether a logger is one of Lightning's, of either package."""
    return any(isinstance(logger, getattr(one.pytorch("loggers"), name)) for one in installed_flavours())
