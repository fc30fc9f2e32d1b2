"""Captures what a module logs, for tests."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageSequence

from lightning_trackplus.logger.track_plus_logger import TrackPlusLogger
from lightning_trackplus.media import audio_files
from lightning_trackplus.record import (
    NUMBERS,
    AudioPayload,
    Encoded,
    FilesPayload,
    HistogramPayload,
    ImagePayload,
    Item,
    Payload,
    Record,
    TablePayload,
    TextPayload,
    VideoPayload,
)
from lightning_trackplus.runtime.names import did_you_mean


@dataclass(frozen=True, slots=True)
class CapturedItem:
    """One item of media that was logged, decoded.

    Attributes:
        step: The global step.
        epoch: The epoch, where it is known.
        kind: ``"image"``, ``"video"``, ``"audio"``, ``"text"``, ``"html"``, ``"histogram"`` or ``"table"``.
        value: Of an image, an array of shape ``(H, W, C)``, or ``(H, W)`` in grey, uint8; of a video of frames,
            ``(T, H, W, C)``, uint8; of a sound, ``(C, T)``, int16; of a histogram, its bins with the columns low, high
            and count, ``(bins, 3)``, float64; of a text or a page, a string; of a table, an object with ``columns``
            and ``rows``; of anything else, the bytes of the file.
        caption: Its caption.
        score: The score by which it was selected.
    """

    step: int
    epoch: float | None
    kind: str
    value: Any
    caption: str | None
    score: float | None


class CapturingLogger(TrackPlusLogger):
    """Keeps everything that is logged in memory, so that tests can assert on it.

    It is a `TrackPlusLogger`, so a Trainer that has it reduces and delivers values as in a real run. What was logged is
    there when it is asked for, during the run too; the logger first waits for its delivery thread. In distributed runs
    the logger of rank zero has everything.

    Args:
        save_dir: Where checkpoints and other files of the run are written. By default a temporary directory that is
            removed together with the logger.

    Examples:
        >>> from lightning_trackplus import Text
        >>> from lightning_trackplus.testing import CapturingLogger
        >>> logger = CapturingLogger()
        >>> logger.log_metrics({"val/loss": 0.5}, step=3)
        >>> logger.log_media("val/report", Text("All is well.", caption="epoch 0"), step=3)
        >>> logger.values("val/loss")
        [0.5]
        >>> [report] = logger.media("val/report")
        >>> report.step, report.value, report.caption
        (3, 'All is well.', 'epoch 0')
    """

    def __init__(self, save_dir: str | os.PathLike[str] | None = None) -> None:
        if save_dir is None:
            save_dir = tempfile.mkdtemp(prefix="trackplus-")
            weakref.finalize(self, shutil.rmtree, save_dir, ignore_errors=True)
        self._captured = _Memory()
        super().__init__(save_dir, writers=[self._captured])

    @property
    def records(self) -> list[Record[Payload]]:
        """Everything that was logged, in order; media as payloads of `lightning_trackplus.record`."""
        self.flush()
        return list(self._captured.records)

    @property
    def names(self) -> list[str]:
        """The names of all numbers and media, in the order of their first value; without Lightning's ``epoch``."""
        return list(dict.fromkeys(name for record in self.records for name in record.values if name != "epoch"))

    def values(self, name: str) -> list[float]:
        """Return all numbers that were logged under a name, in order.

        Args:
            name: The name, with the suffix of its reducer.

        Raises:
            ValueError: If there are none.
        """
        return [value for _, value in self._logged(name, NUMBERS, "number")]

    def media(self, name: str) -> list[CapturedItem]:
        """Return all items of media that were logged under a name, in order.

        Args:
            name: The name.

        Raises:
            ValueError: If there are none.
        """
        return [
            CapturedItem(record.step, record.epoch, payload.kind, _decoded(payload, index), item.caption, item.score)
            for record, payload in self._logged(name, Encoded, "medium")
            for index, item in enumerate(payload.items)
        ]

    def _logged(self, name: str, kind: Any, title: str) -> list[tuple[Record[Payload], Any]]:
        values = [(record, each, value) for record in self.records for each, value in record.values.items()]
        found = [(record, value) for record, each, value in values if each == name and isinstance(value, kind)]
        if not found:
            names = list(dict.fromkeys(each for _, each, value in values if isinstance(value, kind)))
            raise ValueError(f"No {title} was logged as {name!r}; expected one of {names}.{did_you_mean(name, names)}")
        return found


class _Memory:
    def __init__(self) -> None:
        self.records: list[Record[Payload]] = []

    def write(self, record: Record[Payload]) -> None:
        self.records.append(record)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def _decoded(payload: Encoded, index: int) -> Any:
    item = payload.items[index]
    match payload:
        case ImagePayload():
            return np.asarray(PIL.Image.open(io.BytesIO(item.data)))
        case VideoPayload():
            frames = PIL.ImageSequence.Iterator(PIL.Image.open(io.BytesIO(item.data)))
            return np.stack([np.asarray(frame.convert("RGB")) for frame in frames])
        case AudioPayload():
            return _samples(item)
        case TextPayload():
            return item.data.decode()
        case FilesPayload(kind="html"):
            return item.data.decode("utf-8-sig")  # A page begins with a byte order mark.
        case HistogramPayload():
            return payload.bins[index].rows()
        case TablePayload():
            return payload.tables[index]
        case _:
            return item.data


def _samples(item: Item) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, f"sound{item.suffix}")
        with open(path, "wb") as file:
            file.write(item.data)
        return audio_files.read(path)[0].numpy()
