"""Lightning's WandbLogger: media as W&B shows them, each kind as its own.

W&B takes files by path, so that what is encoded already is not encoded again; only a moving WebP becomes a GIF.
"""

from __future__ import annotations

import glob
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import PIL.Image
from typing_extensions import assert_never

from lightning_trackplus.formats.layout import MEDIA_FOLDER, media_file, media_folder
from lightning_trackplus.record import (
    AudioPayload,
    Cell,
    Encoded,
    FilesPayload,
    HistogramPayload,
    ImagePayload,
    Item,
    MediaPayload,
    Payload,
    Record,
    TablePayload,
    TensorBoardEvent,
    TextPayload,
    VideoPayload,
)

if TYPE_CHECKING:
    import wandb
    from lightning.pytorch.loggers import WandbLogger

CAPTIONS_SUFFIX = "/captions"
# The names of W&B's artifacts have 128 characters, with those of the run, a prefix and a hash.
_LONGEST_KEY = 70
_HASH = 18
_MOST_BINS = 512
_VIDEO_SUFFIXES = (".gif", ".mp4", ".webm", ".ogg")


class WandbWriter:
    """Logs media to a W&B run as WandbLogger logs its own: with its prefix, and with ``trainer/global_step``.

    Texts are a table, as those of ``WandbLogger.log_text`` are; so are files of a kind that W&B does not show, with
    their paths among the files of the run. Where W&B has no place for captions, they are a table too,
    ``<name>/captions``.

    Args:
        logger: The logger. It begins its run here, on the thread that logs the numbers: two threads that come first
            could begin two.
    """

    def __init__(self, logger: WandbLogger) -> None:
        self._logger = logger
        _ = logger.experiment

    def write(self, record: Record[Payload]) -> None:
        """Write the media of one record, as one row of the run's history."""
        row: dict[str, Any] = {}
        with tempfile.TemporaryDirectory() as folder:
            for name, value in record.values.items():
                match value:
                    case Encoded():
                        row |= _values(_key(name), value, Path(folder), partial(self._save, name, record.step))
                    case float() | int() | TensorBoardEvent():
                        pass
                    case _:
                        assert_never(value)
            if row:
                self._logger.log_metrics(row, record.step)

    def _save(self, name: str, step: int, item: Item) -> str:
        """Keep a file that W&B does not show among the files of the run, and return its path there."""
        run = self._logger.experiment
        file = media_file(Path(run.dir), name, step, item.suffix)
        path = Path(run.dir, file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(item.data)
        run.save(glob.escape(str(path)), base_path=run.dir, policy="now")
        return file

    def flush(self) -> None:
        """Do nothing: W&B keeps each row as soon as it is written."""

    def close(self) -> None:
        """Do nothing: the run is the logger's."""


def _key(name: str) -> str:
    """Return the name, or where W&B could not make file names from it, one like that of its media folder."""
    is_fit = name.isprintable() and len(name.encode()) <= _LONGEST_KEY
    if is_fit and not any(part in {"", ".", ".."} for part in name.split("/")):
        return name
    folder = media_folder(name).removeprefix(f"{MEDIA_FOLDER}/")
    return folder if len(folder) <= _LONGEST_KEY else folder[: _LONGEST_KEY - _HASH] + folder[-_HASH:]


def _values(key: str, media: MediaPayload, folder: Path, save: Callable[[Item], str]) -> dict[str, Any]:
    # Imported here, since it takes seconds.
    import wandb  # noqa: PLC0415

    items = media.items
    values: dict[str, Any]
    match media:
        case ImagePayload():
            images = [wandb.Image(path, caption=line) for path, line in _files(items, folder)]
            # Of a longer list, W&B drops the end.
            return _numbered(key, [list(part) for part in _parts(images, wandb.Image.MAX_ITEMS)])
        case AudioPayload():
            return {key: [wandb.Audio(path, caption=line) for path, line in _files(items, folder)]}
        case VideoPayload():
            return {key: [wandb.Video(_playable(path), caption=line) for path, line in _files(items, folder)]}
        case FilesPayload() if all(item.suffix in _VIDEO_SUFFIXES for item in items):
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
    if any(item.caption or item.score is not None for item in items):
        values[key + CAPTIONS_SUFFIX] = _about(items, "number", range(1, len(items) + 1))
    return values


def _numbered(key: str, values: Sequence[Any]) -> dict[str, Any]:
    """Return values of which W&B takes one under a key: of several, each has its own, ``<key>/1`` …."""
    return {key: values[0]} if len(values) == 1 else {f"{key}/{number}": one for number, one in enumerate(values, 1)}


def _parts(values: Sequence[Any], most: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), most):
        yield values[start : start + most]


def _files(items: Sequence[Item], folder: Path) -> Iterator[tuple[str, str | None]]:
    """Yield for each item the path of a file that holds it, and the line that W&B shows below it."""
    has_lines = any(item.caption or item.score is not None for item in items)
    for item in items:
        handle, path = tempfile.mkstemp(item.suffix, dir=folder)
        with open(handle, "wb") as file:
            file.write(item.data)
        # W&B shows no captions at all where the first has none.
        yield path, _line(item) if has_lines else None


def _line(item: Item) -> str:
    score = "" if item.score is None else f"score {item.score:.6g}"
    return f"{item.caption} ({score})" if item.caption and score else item.caption or score


def _playable(path: str) -> str:
    """Return the path of the same moving image as a GIF, if W&B does not take it as it is."""
    if path.endswith(_VIDEO_SUFFIXES):
        return path
    gif = f"{path}.gif"
    with PIL.Image.open(path) as frames:
        frames.save(gif, save_all=True)
    return gif


def _about(items: Sequence[Item], title: str, first: Sequence[Cell]) -> wandb.Table:
    """Return a table of the items with captions and scores, where there are any."""
    columns = {title: first, "caption": [item.caption for item in items], "score": [item.score for item in items]}
    filled = {name: cells for name, cells in columns.items() if any(cell is not None for cell in cells)}
    return _table(tuple(filled), list(zip(*filled.values(), strict=True)))


def _table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> wandb.Table:
    import wandb  # noqa: PLC0415

    data = [list(row) for row in rows]
    try:
        return wandb.Table(columns=list(columns), data=data)
    except TypeError:
        # W&B expects one type in a column, and knows it by this one where it may have several.
        return wandb.Table(columns=list(columns), data=data, allow_mixed_types=True)
