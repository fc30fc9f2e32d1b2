"""What the writers for other loggers have in common."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import PIL.Image

from lightning_trackplus.lightning_internals import lightning_loggers
from lightning_trackplus.record import Encoded, Item, MediaPayload, Payload, Record

VIDEO_SUFFIXES = (".gif", ".mp4", ".webm", ".ogg")
"""Videos that other packages play."""


class ForeignWriter(ABC):
    """Writes media through another logger; numbers and TensorBoard's own events are left out.

    Args:
        logger: The logger. It is used from the delivery thread, so a subclass opens its run in the constructor, which
            runs on the thread that logs the numbers: otherwise each thread could open one.
    """

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def write(self, record: Record[Payload]) -> None:
        """Write the media of one record."""
        for name, value in record.values.items():
            if isinstance(value, Encoded):
                self._write_media(name, value, record)

    def flush(self) -> None:  # noqa: B027  most loggers need no more
        """Do nothing: the logger stores what it is given."""

    def close(self) -> None:
        """Flush; the run is the logger's."""
        self.flush()

    @abstractmethod
    def _write_media(self, name: str, media: MediaPayload, record: Record[Payload]) -> None:
        """Write the media of one name."""

    def _prefixed(self, name: str) -> str:
        return lightning_loggers.prefixed(self._logger, name)


def item_files(items: Sequence[Item], folder: str) -> Iterator[str]:
    """Yield for each item the path of a file that holds it."""
    for item in items:
        handle, path = tempfile.mkstemp(item.suffix, dir=folder)
        with open(handle, "wb") as file:
            file.write(item.data)
        yield path


def playable(path: str) -> str:
    """Return the path of a video, converted to GIF where it is an animated WebP, which other packages do not play."""
    if path.endswith(VIDEO_SUFFIXES):
        return path
    gif = Path(f"{path}.gif")
    with PIL.Image.open(path) as frames:
        frames.save(gif, save_all=True)
    return str(gif)


def about(item: Item) -> dict[str, str | float]:
    """Return the caption and the score of an item, as far as it has them."""
    found = {"caption": item.caption or None, "score": item.score}
    return {name: value for name, value in found.items() if value is not None}
