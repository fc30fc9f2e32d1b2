"""Log any value, any reduction and any medium with Lightning's ``self.log``, to one run directory.

The names below are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_trackplus.callback import TrackPlus
    from lightning_trackplus.logger import TrackPlusLogger
    from lightning_trackplus.media.audio import Audio
    from lightning_trackplus.media.image import Image
    from lightning_trackplus.media.text import Text
    from lightning_trackplus.reducers.reducer import Reducer

__version__ = "0.1.0"

_HOMES = {
    "Audio": "media.audio",
    "Image": "media.image",
    "Reducer": "reducers.reducer",
    "Text": "media.text",
    "TrackPlus": "callback",
    "TrackPlusLogger": "logger",
}

__all__ = ["Audio", "Image", "Reducer", "Text", "TrackPlus", "TrackPlusLogger"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
