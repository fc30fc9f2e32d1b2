"""Media as the values of a TensorBoard event.

They use TensorBoard's tensor form, in which one tag holds several samples: an image is ``[width, height, image, …]``,
a sound ``[[audio, label], …]``, a text ``text`` or ``[text, …]``. A histogram is ``[[low, high, count], …]``, and only
one fits into a tag: of several, each has its own, ``<name>/1`` ….
"""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Sequence
from typing import Any, TypeAlias

from tensorboard.compat.proto.summary_pb2 import SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_DOUBLE, DT_STRING
from tensorboard.plugins.audio import metadata as audio
from tensorboard.plugins.histogram import metadata as histogram
from tensorboard.plugins.image import metadata as image
from tensorboard.plugins.text import metadata as text
from typing_extensions import assert_never

from lightning_trackplus.formats.event_files import CAPTIONS_SUFFIX
from lightning_trackplus.formats.layout import escaped, media_folder
from lightning_trackplus.record import (
    AudioPayload,
    Cell,
    Counts,
    FilesPayload,
    HistogramPayload,
    ImagePayload,
    MediaPayload,
    TableData,
    TablePayload,
    TextPayload,
    VideoPayload,
)

Fields: TypeAlias = dict[str, Any]
"""The fields of a message by name, which a message around them takes at less cost than the message itself."""

_TEXT = text.create_summary_metadata("", "")
_IMAGE = image.create_summary_metadata("", "")
_AUDIO = audio.create_summary_metadata("", "", audio.Encoding.Value("WAV"))
_ROWS_SHOWN = 100
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|])")


def media_values(name: str, media: MediaPayload) -> list[Fields]:
    """Return media as the values of an event's summary, with their captions."""
    data = [item.data for item in media.items]
    match media:
        case ImagePayload() | VideoPayload():
            size = [str(media.width).encode(), str(media.height).encode()]
            values = [_strings(name, [*size, *data], (len(data) + 2,), _IMAGE)]
        case AudioPayload():
            labels = [(item.caption or "").encode("utf-8", "backslashreplace") for item in media.items]
            pairs = list(itertools.chain.from_iterable(zip(data, labels, strict=True)))
            values = [_strings(name, pairs, (len(data), 2), _AUDIO)]
        case TextPayload():
            values = [_texts(name, data)]
        case TablePayload():
            values = [_texts(name, [_markdown(table).encode("utf-8", "backslashreplace") for table in media.tables])]
        case FilesPayload():
            # TensorBoard shows no such files.
            where = f"in the run directory under {media_folder(name)}/"
            notes = [f"{media.kind} file {number} of {len(data)}, {where}" for number in range(1, len(data) + 1)]
            values = [_texts(name, [_plain(note).encode("utf-8", "backslashreplace") for note in notes])]
        case HistogramPayload():
            tags = [name] if len(data) == 1 else [f"{name}/{number}" for number in range(1, len(data) + 1)]
            values = [_histogram(tag, bins) for tag, bins in zip(tags, media.bins, strict=True)]
        case _:
            assert_never(media)
    captions = [item.caption for item in media.items]
    if any(captions):
        values.append(_strings(name + CAPTIONS_SUFFIX, [_listed(captions)], (), _TEXT))
    return values


def _texts(name: str, texts: Sequence[bytes]) -> Fields:
    # TensorBoard draws a box around each text of a vector, and none around a scalar.
    shape = () if len(texts) == 1 else (len(texts),)
    return _strings(name, texts, shape, _TEXT)


def _markdown(table: TableData) -> str:
    """Return a table in markdown; of a long one the beginning."""
    rule = "|" + " --- |" * len(table.columns)
    shown = "\n".join([_line(table.columns), rule, *map(_line, table.rows[:_ROWS_SHOWN])])
    hidden = len(table.rows) - _ROWS_SHOWN
    return shown if hidden <= 0 else f"{shown}\n\n{hidden} more rows are in the file."


def _line(cells: Sequence[Cell]) -> str:
    return "| " + " | ".join(map(_shown, cells)) + " |"


def _shown(cell: Cell) -> str:
    if isinstance(cell, float):
        return f"{cell:.6g}"
    return "" if cell is None else _plain(str(cell))


def _histogram(tag: str, bins: Counts) -> Fields:
    rows = bins.buckets()
    dimensions = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in rows.shape])
    tensor = TensorProto(dtype=DT_DOUBLE, double_val=rows.reshape(-1).tolist(), tensor_shape=dimensions)
    return {"tag": escaped(tag), "tensor": tensor, "metadata": histogram.create_summary_metadata("", "")}


def _listed(captions: Sequence[str | None]) -> bytes:
    """Return captions as a text: TensorBoard has no place for them beside an image or a sound."""
    lines = [f"{number}. {_plain(caption or '')}" for number, caption in enumerate(captions, start=1)]
    return "\n".join(lines).encode("utf-8", "backslashreplace")


def _plain(caption: str) -> str:
    """Return markdown that shows a caption as it was written, in one line."""
    return html.escape(_MARKDOWN.sub(r"\\\1", " ".join(caption.split())), quote=False)


def _strings(tag: str, strings: Sequence[bytes], shape: Sequence[int], metadata: SummaryMetadata) -> Fields:
    dimensions = {"dim": [{"size": size} for size in shape]}
    tensor = {"dtype": DT_STRING, "string_val": strings, "tensor_shape": dimensions}
    return {"tag": escaped(tag), "tensor": tensor, "metadata": metadata}
