"""CSV: ``metrics.csv`` for numbers, ``media.csv`` and files for media."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from typing_extensions import assert_never

from lightning_trackplus.formats.layout import METRICS_FILE
from lightning_trackplus.record import Encoded, Payload, Record, TensorBoardEvent
from lightning_trackplus.writers.media_files import MediaFiles
from lightning_trackplus.writers.metrics_table import MetricsTable


class CSVWriter:
    """Writes numbers to ``metrics.csv`` and media to files with an index ``media.csv``."""

    def __init__(self, directory: Path) -> None:
        self._metrics = MetricsTable(directory / METRICS_FILE)
        self._media = MediaFiles(directory)

    def write(self, record: Record[Payload]) -> None:
        """Write one record; TensorBoard's own events have no place in a CSV."""
        if record.only_numbers:
            all_numbers = cast("Mapping[str, float]", record.values)
            self._write_numbers(record, all_numbers)
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
            self._write_numbers(record, numbers)

    def seal(self) -> None:
        """Let nothing be added to the rows of ``metrics.csv`` that there are."""
        self._metrics.seal()

    def row_count(self) -> int:
        """Return how many rows ``metrics.csv`` has, after a flush."""
        return self._metrics.row_count()

    def flush(self) -> None:
        """Bring everything that was written into the files."""
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

    def _write_numbers(self, record: Record[Payload], numbers: Mapping[str, float]) -> None:
        self._metrics.write(record.step, record.epoch, numbers, record.batch)
