"""Lightning's CometLogger: media as Comet shows them."""

from __future__ import annotations

import copy
import tempfile
from typing import TYPE_CHECKING

from lightning_trackplus.record import (
    AudioPayload,
    FilesPayload,
    ImagePayload,
    MediaPayload,
    Payload,
    Record,
    TextPayload,
    VideoPayload,
)
from lightning_trackplus.writers.foreign.base import ForeignWriter, about, item_files, playable

if TYPE_CHECKING:
    from lightning.pytorch.loggers import CometLogger


_VIDEO_FILES = (".gif", ".mp4")
"""Comet refuses WebM and Ogg."""


class CometWriter(ForeignWriter):
    """Logs images, sounds, videos and texts as Comet's own kinds, and other files as assets.

    The caption and the score of an item are in its metadata, and so is the name of a text.
    """

    def __init__(self, logger: CometLogger) -> None:
        super().__init__(logger)
        _ = logger.experiment

    def _write_media(self, name: str, media: MediaPayload, record: Record[Payload]) -> None:
        # An experiment has one current step for all threads. A shallow copy has its own and sends to the same place, so
        # numbers that the training thread logs meanwhile keep their step.
        experiment = copy.copy(self._logger.experiment)
        experiment.curr_step, experiment.curr_epoch = record.step, record.epoch
        name = self._prefixed(name)
        # Comet copies each file before it returns.
        with tempfile.TemporaryDirectory() as folder:
            for item, path in zip(media.items, item_files(media.items, folder), strict=True):
                match media:
                    case ImagePayload():
                        experiment.log_image(path, name, metadata=about(item))
                    case AudioPayload():
                        experiment.log_audio(path, file_name=name + item.suffix, metadata=about(item))
                    case VideoPayload():
                        experiment.log_video(playable(path), name, metadata=about(item))
                    case FilesPayload() if item.suffix in _VIDEO_FILES:
                        experiment.log_video(path, name, metadata=about(item))
                    case TextPayload():
                        experiment.log_text(item.data.decode(), metadata={"name": name, **about(item)})
                    case _:
                        experiment.log_asset(path, name + item.suffix, metadata=about(item))
