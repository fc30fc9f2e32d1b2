"""``media.csv``, the index of a run's media files."""

from __future__ import annotations

import itertools
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

import numpy as np

from lightning_trackplus.formats.csv_rows import cells_of, is_whole, read_row
from lightning_trackplus.formats.layout import MEDIA_INDEX
from lightning_trackplus.formats.metrics_csv import warn_torn_row

COLUMNS = ("step", "epoch", "name", "kind", "file", "caption", "score", "wall_time")


@dataclass(frozen=True, slots=True)
class MediaRecord:
    """One media file of a run.

    Attributes:
        step: The global step.
        epoch: The epoch, where it is known.
        name: The name under which it was logged.
        kind: ``"image"``, ``"video"``, ``"audio"``, ``"text"``, ``"html"``, ``"histogram"``, ``"table"``, or the
            ``kind`` of a medium of your own.
        path: The absolute path of the file.
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


def read_media(directory: Path, *, warns: bool = True) -> tuple[MediaRecord, ...]:
    """Return the records of ``media.csv``, none where there is no such file."""
    path = directory / MEDIA_INDEX
    rows = [*media_rows(path)]
    if rows and not rows[-1][1]:
        rows.pop()
        if warns:
            warn_torn_row(path)
    records = [_media_record(directory, row) for row, _ in rows]
    if None in records:
        warnings.warn(f"Damaged rows of {path} were skipped.", stacklevel=3)
    return tuple(filter(None, records))


def media_by_step(media: Iterable[MediaRecord]) -> dict[str, dict[int, list[MediaRecord]]]:
    """Return the media by name and step, those of a step in the order of their scores."""
    found: dict[str, dict[int, list[MediaRecord]]] = defaultdict(lambda: defaultdict(list))
    for record in media:
        found[record.name][record.step].append(record)
    return {name: {step: _by_score(of_step) for step, of_step in by_step.items()} for name, by_step in found.items()}


def _by_score(records: list[MediaRecord]) -> list[MediaRecord]:
    """Return the records of a step with the highest score first, or as they are if they are in an order of scores."""
    scores = [record.score for record in records if record.score is not None]
    if len(scores) < len(records) or all(one <= other for one, other in itertools.pairwise(scores)):
        return records
    return sorted(records, key=lambda record: -np.nan_to_num(record.score or 0.0, nan=-np.inf))


def media_rows(path: Path, start: int = 0) -> Iterator[tuple[dict[str, str], bool]]:
    """Yield the rows of a ``media.csv``, or those from an offset on, by column, each with whether it is whole."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        header = read_row(file)
        if not is_whole(header):
            yield from [({}, False)] if header else ()
            return
        columns = [column.removeprefix("\ufeff") for column in cells_of(header)]
        file.seek(max(start, file.tell()))
        while row := read_row(file):
            if cells := cells_of(row):
                yield dict(zip(columns, cells, strict=False)), is_whole(row)


def _media_record(directory: Path, row: dict[str, str]) -> MediaRecord | None:
    """Return the record of a row; None if the row is damaged."""
    try:
        # An index that others made must not lead to other files of this machine; a path of Windows may be absolute too.
        file = PureWindowsPath(row["file"])
        if file.anchor or not file.parts or ".." in file.parts or "\0" in row["file"]:
            return None
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
