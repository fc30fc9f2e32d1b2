"""What every new Trainer asks this package, through the entry point ``lightning.pytorch.callbacks_factory``."""

from __future__ import annotations

import sys
from typing import Any


def callbacks_factory() -> list[Any]:
    """Return the callbacks that a new Trainer gets of this package by itself.

    None, unless there is a TrackPlusLogger in this process; where its module was never loaded, nothing is
    loaded to find that out.
    """
    module = sys.modules.get("lightning_trackplus.logger")
    if module is None or not module.loggers_exist():
        return []
    from lightning_trackplus.attachment import AttachLoggers  # noqa: PLC0415  for the reason above

    return [AttachLoggers()]
