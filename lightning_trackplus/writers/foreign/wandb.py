"""Lightning's WandbLogger: media as W&B shows them, each kind as its own.

W&B takes files by path, so nothing is encoded again; only an animated WebP is converted to GIF.
"""

from __future__ import annotations

import glob
import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import assert_never

from lightning_trackplus.formats.event_files import CAPTIONS_SUFFIX
from lightning_trackplus.formats.layout import MEDIA_FOLDER, media_file, media_folder
from lightning_trackplus.record import (
    AudioPayload,
    Cell,
    FilesPayload,
    HistogramPayload,
    ImagePayload,
    Item,
    MediaPayload,
    Payload,
    Record,
    TablePayload,
    TextPayload,
    VideoPayload,
)
from lightning_trackplus.writers.foreign.base import VIDEO_SUFFIXES, ForeignWriter, about, item_files, playable

if TYPE_CHECKING:
    import wandb
    from lightning.pytorch.loggers import WandbLogger

# The names of W&B's artifacts have 128 characters, with those of the run, a prefix and a hash.
_LONGEST_KEY = 70
_HASH = 18
_MOST_BINS = 512


class WandbWriter(ForeignWriter):
    """Logs media to a W&B run as WandbLogger logs its own: with its prefix, and with ``trainer/global_step``.

    Texts are a table, as those of ``WandbLogger.log_text`` are; so are files of a kind that W&B does not show, with
    their paths among the files of the run. Where W&B has no place for captions, they are a table too,
    ``<name>/captions``.
    """

    def __init__(self, logger: WandbLogger) -> None:
        super().__init__(logger)
        _ = logger.experiment

    def _write_media(self, name: str, media: MediaPayload, record: Record[Payload]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            values = _values(_key(name), media, folder, partial(self._save, name, record.step))
            self._logger.log_metrics(values, record.step)  # It adds the prefix.

    def _save(self, name: str, step: int, item: Item) -> str:
        """Keep a file that W&B does not show among the files of the run, and return its path there."""
        run = self._logger.experiment
        file = media_file(Path(run.dir), name, step, item.suffix)
        path = Path(run.dir, file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(item.data)
        run.save(glob.escape(str(path)), base_path=run.dir, policy="now")
        return file


def _key(name: str) -> str:
    """Return the name, or that of its media folder where W&B could not make file names from it."""
    is_fit = name.isprintable() and len(name.encode()) <= _LONGEST_KEY
    if is_fit and not any(part in {"", ".", ".."} for part in name.split("/")):
        return name
    folder = media_folder(name).removeprefix(f"{MEDIA_FOLDER}/")
    return folder if len(folder) <= _LONGEST_KEY else folder[: _LONGEST_KEY - _HASH] + folder[-_HASH:]


def _values(key: str, media: MediaPayload, folder: str, save: Callable[[Item], str]) -> dict[str, Any]:
    # Imported here, since it takes seconds.
    import wandb  # noqa: PLC0415

    items = media.items
    values: dict[str, Any]
    match media:
        case ImagePayload():
            images = [wandb.Image(path, caption=line) for path, line in _files(items, folder)]
            # W&B drops the end of a longer list.
            return _numbered(key, [list(part) for part in _parts(images, wandb.Image.MAX_ITEMS)])
        case AudioPayload():
            return {key: [wandb.Audio(path, caption=line) for path, line in _files(items, folder)]}
        case VideoPayload():
            return {key: [wandb.Video(playable(path), caption=line) for path, line in _files(items, folder)]}
        case FilesPayload() if all(item.suffix in VIDEO_SUFFIXES for item in items):
            return {key: [wandb.Video(path, caption=line) for path, line in _files(items, folder)]}
        case TextPayload():
            return {key: _about(items, "text", [item.data.decode() for item in items])}
        case FilesPayload() if all(item.suffix == ".html" for item in items):
            values = {key: [wandb.Html(item.data.decode(), inject=False) for item in items]}
        case FilesPayload():
            return {key: _about(items, "file", list(map(save, items)))}
        case TablePayload():
            values = _numbered(key, [_table(table.columns, table.rows) for table in media.tables])
        case HistogramPayload():
            values = _numbered(key, [wandb.Histogram(np_histogram=bins.coarse(_MOST_BINS)) for bins in media.bins])
        case _:
            assert_never(media)
    if any(map(about, items)):
        values[key + CAPTIONS_SUFFIX] = _about(items, "number", range(1, len(items) + 1))
    return values


def _numbered(key: str, values: Sequence[Any]) -> dict[str, Any]:
    """Return the values by key. W&B takes one for each key: several get ``<key>/1``, ``<key>/2`` and so on."""
    return {key: values[0]} if len(values) == 1 else {f"{key}/{number}": one for number, one in enumerate(values, 1)}


def _parts(values: Sequence[Any], most: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), most):
        yield values[start : start + most]


def _files(items: Sequence[Item], folder: str) -> Iterator[tuple[str, str | None]]:
    """Yield for each item the path of a file that holds it, and the line that W&B shows below it."""
    # W&B shows no captions at all where the first has none.
    lines = map(_line, items) if any(map(about, items)) else itertools.repeat(None)
    return zip(item_files(items, folder), lines, strict=False)


def _line(item: Item) -> str:
    score = "" if item.score is None else f"score {item.score:.6g}"
    return f"{item.caption} ({score})" if item.caption and score else item.caption or score


def _about(items: Sequence[Item], title: str, first: Sequence[Cell]) -> wandb.Table:
    """Return a table of the items, with their captions and scores if they have any."""
    columns = {title: first, "caption": [item.caption for item in items], "score": [item.score for item in items]}
    filled = {name: cells for name, cells in columns.items() if any(cell is not None for cell in cells)}
    return _table(tuple(filled), list(zip(*filled.values(), strict=True)))


def _table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> wandb.Table:
    import wandb  # noqa: PLC0415

    data = [list(row) for row in rows]
    try:
        return wandb.Table(columns=list(columns), data=data)
    except TypeError:
        # W&B expects one type in each column unless it is told otherwise.
        return wandb.Table(columns=list(columns), data=data, allow_mixed_types=True)
