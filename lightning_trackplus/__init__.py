"""Log any value, any reduction and any medium with Lightning's ``self.log``, to one run directory.

The names below are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_trackplus.callbacks.gradient_norms import GradientNorms
    from lightning_trackplus.callbacks.track_plus import TrackPlus
    from lightning_trackplus.logger.track_plus_logger import TrackPlusLogger
    from lightning_trackplus.media.audio import Audio
    from lightning_trackplus.media.base import Media
    from lightning_trackplus.media.figure import Figure
    from lightning_trackplus.media.heat_map import HeatMap
    from lightning_trackplus.media.histogram import Histogram
    from lightning_trackplus.media.html import Html
    from lightning_trackplus.media.image import Image
    from lightning_trackplus.media.table import Table
    from lightning_trackplus.media.text import Text
    from lightning_trackplus.media.video import Video
    from lightning_trackplus.reading.read_run import read_run
    from lightning_trackplus.record import Record
    from lightning_trackplus.reducers.base import Reducer
    from lightning_trackplus.reports.page import report
    from lightning_trackplus.routing.typed_log import log
    from lightning_trackplus.run.lock import RunInUseError
    from lightning_trackplus.writers.foreign.registry import register_media_writer
    from lightning_trackplus.writers.protocol import Writer

__version__ = "0.2.0"

_HOMES = {
    "Audio": "media.audio",
    "Figure": "media.figure",
    "GradientNorms": "callbacks.gradient_norms",
    "HeatMap": "media.heat_map",
    "Histogram": "media.histogram",
    "Html": "media.html",
    "Image": "media.image",
    "Media": "media.base",
    "Record": "record",
    "Reducer": "reducers.base",
    "RunInUseError": "run.lock",
    "Table": "media.table",
    "Text": "media.text",
    "TrackPlus": "callbacks.track_plus",
    "TrackPlusLogger": "logger.track_plus_logger",
    "Video": "media.video",
    "Writer": "writers.protocol",
    "log": "routing.typed_log",
    "read_run": "reading.read_run",
    "register_media_writer": "writers.foreign.registry",
    "report": "reports.page",
}

__all__ = [
    "Audio",
    "Figure",
    "GradientNorms",
    "HeatMap",
    "Histogram",
    "Html",
    "Image",
    "Media",
    "Record",
    "Reducer",
    "RunInUseError",
    "Table",
    "Text",
    "TrackPlus",
    "TrackPlusLogger",
    "Video",
    "Writer",
    "log",
    "read_run",
    "register_media_writer",
    "report",
]


_MODULES = ("record", "testing")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES, *_MODULES]
