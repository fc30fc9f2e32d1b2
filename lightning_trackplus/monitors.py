"""What the callbacks of a Trainer hold for the best value of a name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_trackplus import seam
from lightning_trackplus.writers.directions import Mode

if TYPE_CHECKING:
    import lightning.pytorch as pl


def monitored(trainer: pl.Trainer, prefix: str) -> dict[str, Mode]:
    """Return whether the lowest or the highest value is the best one, for the names that callbacks monitor.

    Args:
        trainer: The Trainer, whose ``ModelCheckpoint`` and ``EarlyStopping`` have a ``monitor`` and a ``mode``.
        prefix: Put before each name, as the logger does.
    """
    modes: dict[str, Mode] = {}
    for callback in seam.callbacks_of(trainer):
        monitor, mode = getattr(callback, "monitor", None), getattr(callback, "mode", None)
        if isinstance(monitor, str) and mode in ("min", "max"):
            modes.setdefault(prefix + monitor, mode)
    return modes
