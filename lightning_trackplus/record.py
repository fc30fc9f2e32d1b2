"""The waist of the package: what everything logged becomes before it is written.

Above it lie many reducers and media, below it several writers. A new medium ends in one of the
payloads here, a new writer reads them, and neither knows the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

FILM_SUFFIXES = (".mp4", ".webm", ".ogg")
"""What the names of `VideoFilePayload` end with."""

Cell: TypeAlias = str | float | int | bool | None
"""What stands in a table."""

NUMBERS = (float, int)
"""What a number is in a record; `isinstance` takes twice as long with ``float | int``."""

_BYTES_PER_SCALAR = 64


class Item(NamedTuple):
    """One picture, sound or text, encoded: what one media file holds."""

    data: bytes
    suffix: str
    caption: str | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Encoded:
    """Media of one kind that were logged under one name at one step, each as the bytes of a file."""

    kind: ClassVar[str]
    items: tuple[Item, ...]

    @property
    def nbytes(self) -> int:
        """Memory that the files hold, in bytes."""
        return sum(len(item.data) for item in self.items)


@dataclass(frozen=True, slots=True)
class ImagePayload(Encoded):
    """Images; width and height are the first's, in pixels."""

    kind: ClassVar[str] = "image"
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class VideoPayload(Encoded):
    """Moving images, as files that a browser plays as an image; width and height are the first's, in pixels."""

    kind: ClassVar[str] = "video"
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class VideoFilePayload(Encoded):
    """Videos as files that TensorBoard does not play."""

    kind: ClassVar[str] = "video"


@dataclass(frozen=True, slots=True)
class AudioPayload(Encoded):
    """Sounds."""

    kind: ClassVar[str] = "audio"


@dataclass(frozen=True, slots=True)
class TextPayload(Encoded):
    """Markdown texts, as UTF-8."""

    kind: ClassVar[str] = "text"


@dataclass(frozen=True, slots=True)
class HtmlPayload(Encoded):
    """HTML pages, as UTF-8."""

    kind: ClassVar[str] = "html"


@dataclass(frozen=True, slots=True)
class HistogramPayload(Encoded):
    """Histograms, as CSV and as numbers.

    Attributes:
        bins: A table for each, with the columns low, high and count, float64, shape ``(bins, 3)``. The
            first bin may begin at -inf, the last end at inf.
    """

    kind: ClassVar[str] = "histogram"
    bins: tuple[NDArray[np.float64], ...]

    @property
    def nbytes(self) -> int:
        """Memory that files and tables hold, in bytes."""
        return sum(len(item.data) for item in self.items) + sum(table.nbytes for table in self.bins)


@dataclass(frozen=True, slots=True)
class TableData:
    """The cells of one table."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True)
class TablePayload(Encoded):
    """Tables, as CSV and as cells."""

    kind: ClassVar[str] = "table"
    tables: tuple[TableData, ...]


@dataclass(frozen=True, slots=True)
class TensorBoardEvent:
    """A TensorBoard ``Event`` made by ``logger.experiment.add_…``; other writers have no use for it."""

    event: Any
    nbytes: int


MediaPayload: TypeAlias = (
    ImagePayload
    | VideoPayload
    | VideoFilePayload
    | AudioPayload
    | TextPayload
    | HtmlPayload
    | HistogramPayload
    | TablePayload
)
Payload: TypeAlias = float | MediaPayload | TensorBoardEvent


@runtime_checkable
class Encodable(Protocol):
    """A value that still has to be turned into a payload, which happens on the delivery thread."""

    @property
    def nbytes(self) -> int:
        """Memory that the value holds until it is encoded, in bytes."""

    def snapshot(self) -> Encodable:
        """Return a copy that the caller cannot change."""

    def encode(self, name: str) -> Payload:
        """Return the payload; pure, and not called on the training thread.

        Args:
            name: The name the value was logged under, for warnings.
        """


class OwnEvent(NamedTuple):
    """An event of TensorBoard's own on its way into delivery.

    Attributes:
        name: Its tag.
        value: The event, or what becomes one when it is encoded.
        step: Its step.
        wall_time: Seconds since 1970-01-01 UTC.
        folder: The run below the run directory that it belongs to; ``""`` for the run itself.
        is_media: Whether it holds media, which may be dropped.
    """

    name: str
    value: TensorBoardEvent | Encodable
    step: int
    wall_time: float
    folder: str
    is_media: bool


ValueT_co = TypeVar("ValueT_co", bound="Payload | Encodable", covariant=True)


class EvaluationBatch(NamedTuple):
    """Which batch of an evaluation numbers are of; their step counts these batches, and not the steps of training.

    Attributes:
        stage: ``"validation"`` or ``"test"``.
        waiting_step: The global step that the results of the evaluation are going to have.
    """

    stage: str
    waiting_step: int


@dataclass(slots=True)  # A frozen one takes three times as long to make.
class Record(Generic[ValueT_co]):
    """Everything logged in one call: one event of an event file, one row of ``metrics.csv``.

    Attributes:
        step: The global step, as the Trainer counts it.
        epoch: The epoch, where it is known.
        wall_time: Seconds since 1970-01-01 UTC.
        values: The values by name.
        only_numbers: Whether all values are numbers, so that nobody has to look at each.
        batch: The batch of an evaluation whose series this is; None for all else.
        is_media: Whether it holds media, which are dropped under ``media_overflow="drop"`` where there is no room.
    """

    step: int
    epoch: float | None
    wall_time: float
    values: Mapping[str, ValueT_co]
    only_numbers: bool = False
    batch: EvaluationBatch | None = None
    is_media: bool = False

    @property
    def nbytes(self) -> int:
        """Memory that the record holds while it waits for its delivery, in bytes, roughly."""
        if self.only_numbers:
            return _BYTES_PER_SCALAR * len(self.values)
        # Faster than a sum over a generator, and this is asked on the training thread.
        held = 0
        for value in self.values.values():
            held += _BYTES_PER_SCALAR if isinstance(value, NUMBERS) else value.nbytes
        return held
