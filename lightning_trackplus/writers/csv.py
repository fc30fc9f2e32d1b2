"""CSV: ``metrics.csv`` for numbers; ``media.csv`` and files for media."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from typing_extensions import assert_never

from lightning_trackplus.formats.atomic_files import AtomicFile, replace_file
from lightning_trackplus.formats.csv_rows import header_of, is_whole, read_row, row_bytes
from lightning_trackplus.formats.layout import MEDIA_INDEX, METRICS_FILE, media_file
from lightning_trackplus.formats.media_csv import COLUMNS
from lightning_trackplus.record import Encoded, Payload, Record, TensorBoardEvent
from lightning_trackplus.writers.metrics_table import MetricsTable


class CSVWriter:
    """Writes numbers to ``metrics.csv``, and media to files with the index ``media.csv``."""

    def __init__(self, directory: Path) -> None:
        self._metrics = MetricsTable(directory / METRICS_FILE)
        self._media = MediaFiles(directory)

    def write(self, record: Record[Payload]) -> None:
        """Write one record; TensorBoard's own events have no place in a CSV."""
        if record.only_numbers:
            all_numbers = cast("Mapping[str, float]", record.values)
            self._metrics.write(record.step, record.epoch, all_numbers, record.batch)
            return
        numbers: dict[str, float] = {}
        for name, value in record.values.items():
            match value:
                case float() | int():
                    numbers[name] = value
                case Encoded():
                    self._media.write(record.step, record.epoch, record.wall_time, name, value)
                case TensorBoardEvent():
                    pass
                case _:
                    assert_never(value)
        if numbers:
            self._metrics.write(record.step, record.epoch, numbers, record.batch)

    def seal(self) -> None:
        """Add nothing more to the existing rows of ``metrics.csv``."""
        self._metrics.seal()

    def row_count(self) -> int:
        """Return the number of rows of ``metrics.csv``, after a flush."""
        return self._metrics.row_count()

    def flush(self) -> None:
        """Write everything into the files."""
        try:
            self._metrics.flush()
        finally:
            self._media.flush()

    def close(self) -> None:
        """Flush and close the files."""
        try:
            self._metrics.close()
        finally:
            self._media.close()


class MediaFiles:
    """Writes each item of media to a file, and a row about it to ``media.csv``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._index: AtomicFile | None = None
        # By name: the last step, and at least how many files it has at this step.
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
            # The file is written before its row, so that a row never names a missing file.
            replace_file(path, item.data)
            index.seek(0, os.SEEK_END)  # Another process may have written, such as one of `ddp_fork`.
            index.write(row_bytes([step, epoch, name, media.kind, file, item.caption, item.score, wall_time]))

    def flush(self) -> None:
        """Raise `FileNotFoundError` if ``media.csv`` was removed, and begin another; rows are not buffered."""
        if self._index is not None and not self._index.still_linked():
            self.close()
            raise FileNotFoundError(
                f"{self._directory / MEDIA_INDEX} was removed during the run; its rows are lost. A new one is started."
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
        # After a kill, the last row may be incomplete; its file stays.
        index.seek(end)
        index.truncate()
        self._index = index
        return index
