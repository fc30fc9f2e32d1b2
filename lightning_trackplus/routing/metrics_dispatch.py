"""Gives a step's metrics to the loggers of a Trainer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lightning_trackplus.lightning_internals import trainer_state
from lightning_trackplus.logger.track_plus_logger import TrackPlusLogger

if TYPE_CHECKING:
    import lightning.pytorch as pl
    from lightning.pytorch.loggers import Logger


class MetricsDispatch:
    """Gives metrics to the loggers, to a `TrackPlusLogger` without waiting for the device on which they lie."""

    def __init__(self, trainer: pl.Trainer) -> None:
        self._trainer = trainer

    def __call__(self, metrics: Mapping[str, Any], step: int | None) -> bool:
        """Give metrics to all loggers; return False where Lightning is to do it, which says what is wrong.

        Args:
            metrics: Tensors and numbers by name.
            step: Their step; None for the one of training, to which the epoch is added.
        """
        loggers = self._trainer.loggers
        tensors = [value for value in metrics.values() if isinstance(value, Tensor)]
        if any(value.ndim for value in tensors) or not any(isinstance(one, TrackPlusLogger) for one in loggers):
            return False
        # What lies on the host is a number at once.
        late = {
            name: value.item() if isinstance(value, Tensor) and value.is_cpu else value
            for name, value in metrics.items()
        }
        if step is None:
            late.setdefault("epoch", self._trainer.current_epoch)
            step = trainer_state.training_step(self._trainer)
        numbers: dict[str, Any] | None = None
        for logger in loggers:
            if numbers is None and not _takes_tensors(logger):
                numbers = {name: value.item() if isinstance(value, Tensor) else value for name, value in late.items()}
            logger.log_metrics(metrics=late if numbers is None else numbers, step=step)
            logger.save()
        return True


def _takes_tensors(logger: Logger) -> bool:
    """Return whether a logger is ours, also where it takes its numbers in."""
    return type(logger).log_metrics is TrackPlusLogger.log_metrics and "log_metrics" not in vars(logger)
