"""The entry points ``….callbacks_factory``, which every new Trainer calls."""

from __future__ import annotations

import sys
from typing import Any


def of_lightning() -> list[Any]:
    """Return the callbacks that a new Trainer of ``lightning`` gets of this package by itself."""
    return _callbacks("lightning.pytorch")


def of_pytorch_lightning() -> list[Any]:
    """Return the callbacks that a new Trainer of ``pytorch_lightning`` gets of this package by itself."""
    return _callbacks("pytorch_lightning")


def _callbacks(flavour: str) -> list[Any]:
    """Return an empty list unless there is a TrackPlusLogger in this process.

    Where its module was never loaded, nothing is loaded to find that out.
    """
    if (flavours := sys.modules.get("lightning_trackplus.lightning_internals.flavours")) is not None:
        flavours.give_messages_to(flavour)
    logger = sys.modules.get("lightning_trackplus.logger.track_plus_logger")
    if logger is None or not logger.loggers_exist():
        return []
    from lightning_trackplus.callbacks.track_plus import AddTrackPlus  # noqa: PLC0415  for the reason above

    return [AddTrackPlus()]
