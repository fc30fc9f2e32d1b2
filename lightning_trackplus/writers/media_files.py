"""Media as files, and their index ``media.csv``."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TextIO

from lightning_trackplus.record import MediaPayload
from lightning_trackplus.run_directory import MEDIA_INDEX, media_file

COLUMNS = ("step", "epoch", "name", "kind", "file", "caption", "score", "wall_time")


class MediaFiles:
    """Writes each item to a file of its own, and a row about it to ``media.csv``.

    Args:
        directory: The run directory.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._index: TextIO | None = None

    def write(self, step: int, epoch: float | None, wall_time: float, name: str, media: MediaPayload) -> None:
        """Write the items of one payload.

        Args:
            step: The global step.
            epoch: The epoch, where it is known.
            wall_time: Seconds since 1970-01-01 UTC.
            name: The name the media were logged under.
            media: The encoded items.
        """
        index = self._index or self._open_index()
        rows = csv.writer(index, lineterminator="\n")
        for item in media.items:
            file = media_file(self._directory, name, step, item.suffix)
            path = self._directory / file
            path.parent.mkdir(parents=True, exist_ok=True)
            # The file comes before its row: a row never names a file that is not there.
            path.write_bytes(item.data)
            score = "" if item.score is None else repr(item.score)
            rows.writerow([step, epoch, name, media.kind, file, item.caption, score, repr(wall_time)])

    def flush(self) -> None:
        """Bring the rows into the file."""
        if self._index is not None:
            self._index.flush()

    def close(self) -> None:
        """Close ``media.csv``."""
        if self._index is not None:
            self._index.close()
            self._index = None

    def _open_index(self) -> TextIO:
        self._directory.mkdir(parents=True, exist_ok=True)
        index = (self._directory / MEDIA_INDEX).open("a", newline="", encoding="utf-8", errors="backslashreplace")
        if index.tell() == 0:
            csv.writer(index, lineterminator="\n").writerow(COLUMNS)
        self._index = index
        return index
