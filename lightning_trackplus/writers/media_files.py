"""Media as files, and their index ``media.csv``."""

from __future__ import annotations

import os
from pathlib import Path

from lightning_trackplus.formats.atomic_file import AtomicFile, replace_file
from lightning_trackplus.formats.csv_rows import header_of, is_whole, read_row, row_bytes
from lightning_trackplus.formats.layout import MEDIA_INDEX, media_file
from lightning_trackplus.record import Encoded

COLUMNS = ("step", "epoch", "name", "kind", "file", "caption", "score", "wall_time")


class MediaFiles:
    """Writes each item to a file of its own, and a row about it to ``media.csv``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._index: AtomicFile | None = None
        # Of each name the last step, and how many files it has there at least.
        self._counts: dict[str, tuple[int, int]] = {}

    def write(self, step: int, epoch: float | None, wall_time: float, name: str, media: Encoded) -> None:
        """Write the items of one payload."""
        index = self._index or self._open_index()
        last_step, count = self._counts.get(name, (step, 0))
        before = count if last_step == step else 0
        self._counts[name] = step, before + len(media.items)
        for number, item in enumerate(media.items, start=before):
            file = media_file(self._directory, name, step, item.suffix, number)
            path = self._directory / file
            path.parent.mkdir(parents=True, exist_ok=True)
            # The file comes before its row: a row never names a file that is not there.
            replace_file(path, item.data)
            index.seek(0, os.SEEK_END)  # Another process may have written, such as one of `ddp_fork`.
            index.write(row_bytes([step, epoch, name, media.kind, file, item.caption, item.score, wall_time]))

    def flush(self) -> None:
        """See that ``media.csv`` is there; each row is with the operating system as soon as it is written.

        Raises:
            FileNotFoundError: If it was removed meanwhile; then another one is begun.
        """
        if self._index is not None and not self._index.still_linked():
            self.close()
            raise FileNotFoundError(
                f"{self._directory / MEDIA_INDEX} was removed in mid-run, with what it held; another one is begun."
            )

    def close(self) -> None:
        """Close ``media.csv``."""
        if self._index is not None:
            self._index.close()
            self._index = None

    def _open_index(self) -> AtomicFile:
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._directory / MEDIA_INDEX
        end = len(header_of(path, COLUMNS))
        with path.open("rb") as rows:
            rows.seek(end)
            while is_whole(row := read_row(rows)):
                end += len(row)
        index = AtomicFile(path, "r+b")
        # What lies behind is a row that was cut short when the process was killed; its file stays.
        index.seek(end)
        index.truncate()
        self._index = index
        return index
