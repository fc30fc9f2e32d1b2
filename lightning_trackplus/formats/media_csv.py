"""What ``media.csv`` says of the media files of a run."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lightning_trackplus.formats.csv_rows import cells_of, is_whole, read_row
from lightning_trackplus.formats.layout import MEDIA_INDEX
from lightning_trackplus.formats.metrics_csv import warn_of_torn


@dataclass(frozen=True, slots=True)
class MediaRecord:
    """One media file.

    Attributes:
        step: The global step.
        epoch: The epoch, where it is known.
        name: The name that the medium was logged under.
        kind: ``"image"``, ``"video"``, ``"audio"``, ``"text"``, ``"html"``, ``"histogram"``, ``"table"``, or
            the ``kind`` of a medium of your own.
        path: The file, absolute.
        caption: Its caption.
        score: The score by which it was selected.
        wall_time: When it was logged, in seconds since 1970-01-01 UTC.
    """

    step: int
    epoch: float | None
    name: str
    kind: str
    path: Path
    caption: str | None
    score: float | None
    wall_time: float


def read_media(directory: Path) -> tuple[MediaRecord, ...]:
    """Return the records of ``media.csv``, none where there is no such file."""
    path = directory / MEDIA_INDEX
    if not path.is_file():
        return ()
    rows = map(cells_of, _whole_rows(path))
    columns = [column.removeprefix("\ufeff") for column in next(rows, [])]
    records = [_media_record(directory, dict(zip(columns, row, strict=False))) for row in rows if row]
    if None in records:
        warnings.warn(f"Rows of {path} that do not say what they are of were left out.", stacklevel=3)
    return tuple(filter(None, records))


def _whole_rows(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while is_whole(row := read_row(file)):
            yield row
    if row:
        warn_of_torn(path)


def _media_record(directory: Path, row: dict[str, str]) -> MediaRecord | None:
    """Return what a row says; None if it was damaged."""
    try:
        return MediaRecord(
            int(row["step"]),
            float(row["epoch"]) if row["epoch"] else None,
            row["name"],
            row["kind"],
            directory / row["file"],
            row["caption"] or None,
            float(row["score"]) if row["score"] else None,
            float(row["wall_time"]),
        )
    except (KeyError, ValueError):
        return None
