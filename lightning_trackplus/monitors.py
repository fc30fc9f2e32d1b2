"""What the callbacks of a Trainer hold for the best value of a name."""

from __future__ import annotations

import lightning.pytorch as pl

from lightning_trackplus.writers.directions import Mode


def monitored(trainer: pl.Trainer, prefix: str) -> dict[str, Mode]:
    """Return whether the lowest or the highest value is the best one, for the names that callbacks monitor.

    Args:
        trainer: The Trainer, whose ``ModelCheckpoint`` and ``EarlyStopping`` have a ``monitor`` and a ``mode``.
        prefix: Put before each name, as the logger does.
    """
    modes: dict[str, Mode] = {}
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # Lightning sets it elsewhere
        monitor, mode = getattr(callback, "monitor", None), getattr(callback, "mode", None)
        if isinstance(monitor, str) and mode in ("min", "max"):
            modes.setdefault(prefix + monitor, mode)
    return modes
