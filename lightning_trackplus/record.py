"""Records and payloads: the form in which everything that is logged reaches the writers.

Reducers and media produce payloads, writers take them, and neither side depends on the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Cell: TypeAlias = str | float | int | bool | None
"""The value of a cell of a table."""

NUMBERS = (float, int)
"""The types of numbers in a record; `isinstance` takes twice as long with ``float | int``."""

_BYTES_PER_SCALAR = 64


class Item(NamedTuple):
    """One encoded item: the content of one media file, with its suffix, caption and score.

    Attributes:
        data: The bytes of the file.
        suffix: What the name of the file ends with, such as ``".png"``.
        caption: Its caption.
        score: The score by which it was selected.
    """

    data: bytes
    suffix: str
    caption: str | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Encoded:
    """Base of the media payloads: items of one kind that were logged under one name at one step.

    Attributes:
        items: The items.
        kind: What ``media.csv`` says that they are, such as ``"image"``.
    """

    items: tuple[Item, ...]
    kind: ClassVar[str]

    @property
    def nbytes(self) -> int:
        """Memory of the files in bytes."""
        return sum(len(item.data) for item in self.items)


class CaptionedCopies(Protocol):
    """Draws copies of images that have their captions and scores below them."""

    @property
    def nbytes(self) -> int:
        """Memory that is needed until then, in bytes."""

    def draw(self) -> ImagePayload:
        """Return the copies, with captions only if one of them is not shown in full."""


@dataclass(frozen=True, slots=True)
class ImagePayload(Encoded):
    """Images.

    Attributes:
        width: The width of the first image, in pixels.
        height: Its height, in pixels.
        captioned: Draws copies with captions and scores below them; None if there are none.
    """

    kind: ClassVar[str] = "image"
    width: int
    height: int
    captioned: CaptionedCopies | None = field(default=None, compare=False, repr=False)

    @property
    def nbytes(self) -> int:
        """Memory of the files, and of what is needed to draw the copies, in bytes."""
        drawn = 0 if self.captioned is None else self.captioned.nbytes
        return sum(len(item.data) for item in self.items) + drawn


@dataclass(frozen=True, slots=True)
class VideoPayload(Encoded):
    """Videos as animated images.

    Attributes:
        width: The width of the first video, in pixels.
        height: Its height, in pixels.
    """

    kind: ClassVar[str] = "video"
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class AudioPayload(Encoded):
    """Sounds."""

    kind: ClassVar[str] = "audio"


@dataclass(frozen=True, slots=True)
class TextPayload(Encoded):
    """Markdown texts, as UTF-8."""

    kind: ClassVar[str] = "text"


@dataclass(frozen=True, slots=True)
class FilesPayload(Encoded):
    """Files of any other kind, such as HTML pages or those of a medium of your own.

    Attributes:
        kind: What ``media.csv`` says that they are, such as ``"html"``.
    """

    kind: str  # type: ignore[misc]  # other payloads have one kind each


class Counts(NamedTuple):
    """How many values are in each bin, below all bins and above them.

    Attributes:
        edges: The edges of the bins, finite and not decreasing, shape ``(N + 1,)``.
        counts: The values in each bin, shape ``(N,)``, NaN if unknown; bins are half-open, only the last is closed.
        below: The values below the first edge, including -inf.
        above: The values above the last edge, including inf.
        infinite: The infinite values; counted only by the medium `Histogram`.
        nan: The values that are NaN and in no other count; counted only by the medium `Histogram`.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.float64]
    below: float
    above: float
    infinite: int = 0
    nan: int = 0

    @property
    def nbytes(self) -> int:
        """Memory of edges and counts in bytes."""
        return self.edges.nbytes + self.counts.nbytes

    def as_nan(self) -> Counts:
        """Return the same bins, with NaN for each count."""
        return Counts(self.edges, np.full_like(self.counts, np.nan), np.nan, np.nan)

    def rows(self, *, finite: bool = False) -> NDArray[np.float64]:
        """Return rows of low, high and count, shape ``(rows, 3)``.

        Values outside all bins have a row of their own, from -inf or to inf. A bin of width 0 has no row: its count
        is added to the bin before.

        Args:
            finite: Whether to make the outer rows as wide as their neighbours, for charts that need finite bins.

        Examples:
            >>> counts = Counts(np.array([0.0, 1.0, 2.0]), np.array([5.0, 3.0]), below=2, above=0)
            >>> counts.rows().tolist()
            [[-inf, 0.0, 2.0], [0.0, 1.0, 5.0], [1.0, 2.0, 3.0]]
            >>> counts.rows(finite=True)[0].tolist()
            [-1.0, 0.0, 2.0]
        """
        wide = np.flatnonzero(np.diff(self.edges))
        edges = np.append(self.edges[wide], self.edges[-1])
        rows = np.stack([edges[:-1], edges[1:], np.add.reduceat(self.counts, wide)], axis=1)
        if self.below:
            low = edges[0] - (edges[1] - edges[0]) if finite else -np.inf
            rows = np.concatenate([[[low, edges[0], self.below]], rows])
        if self.above:
            high = edges[-1] + (edges[-1] - edges[-2]) if finite else np.inf
            rows = np.concatenate([rows, [[edges[-1], high, self.above]]])
        return rows

    def buckets(self) -> NDArray[np.float64]:
        """Return finite rows without empty ones at either end, as TensorBoard's own writers do."""
        rows = self.rows(finite=True)
        filled = np.flatnonzero(rows[:, 2] > 0)
        return rows[filled[0] : filled[-1] + 1] if len(filled) else rows[:0]

    def coarse(self, bins: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return counts and edges of at most ``bins`` finite bins, merging neighbours; unknown counts are 0."""
        rows = self.rows(finite=True)
        starts = np.arange(0, len(rows), -(-len(rows) // bins))
        return np.add.reduceat(np.nan_to_num(rows[:, 2]), starts), np.append(rows[starts, 0], rows[-1, 1])

    def csv(self) -> bytes:
        """Return the rows as CSV with the columns low, high and count."""
        lines = [",".join(repr(number).removesuffix(".0") for number in row) for row in self.rows().tolist()]
        return "\n".join(["low,high,count", *lines, ""]).encode()


@dataclass(frozen=True, slots=True)
class HistogramPayload(Encoded):
    """Histograms, as CSV and as counts.

    Attributes:
        bins: The counts of each histogram.
    """

    kind: ClassVar[str] = "histogram"
    bins: tuple[Counts, ...]

    @property
    def nbytes(self) -> int:
        """Memory of files and counts in bytes."""
        return sum(len(item.data) for item in self.items) + sum(counts.nbytes for counts in self.bins)


@dataclass(frozen=True, slots=True)
class TableData:
    """The cells of one table.

    Attributes:
        columns: The names of the columns.
        rows: The rows, each with a cell for each column.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True)
class TablePayload(Encoded):
    """Tables, as CSV and as cells.

    Attributes:
        tables: The cells of each table.
    """

    kind: ClassVar[str] = "table"
    tables: tuple[TableData, ...]


@dataclass(frozen=True, slots=True)
class TensorBoardEvent:
    """A TensorBoard ``Event`` made by ``logger.experiment.add_…``; other writers ignore it."""

    event: Any
    nbytes: int


MediaPayload: TypeAlias = (
    ImagePayload | VideoPayload | AudioPayload | TextPayload | FilesPayload | HistogramPayload | TablePayload
)
Payload: TypeAlias = float | MediaPayload | TensorBoardEvent


class Encodable(Protocol):
    """A value that the delivery thread turns into a payload."""

    @property
    def nbytes(self) -> int:
        """Memory of the value in bytes, until it is encoded."""

    def snapshot(self) -> Encodable:
        """Return a copy that later changes do not reach."""

    def encode(self, name: str) -> Payload:
        """Return the payload; pure, and not called on the training thread.

        Args:
            name: The name the value was logged under, for warnings.
        """


class OwnEvent(NamedTuple):
    """A TensorBoard event on its way to delivery.

    Attributes:
        name: Its tag.
        value: The event, or a value that is encoded to one.
        step: Its step.
        wall_time: Seconds since 1970-01-01 UTC.
        folder: The sub-run that it belongs to, below the run directory; ``""`` for the run itself.
        is_media: Whether it holds media, which may be dropped if the queue is full.
    """

    name: str
    value: TensorBoardEvent | Encodable
    step: int
    wall_time: float
    folder: str
    is_media: bool


ValueT_co = TypeVar("ValueT_co", bound="Payload | Encodable", covariant=True)


class EvaluationBatch(NamedTuple):
    """The evaluation whose batches a record is of; its step counts these batches instead of training steps.

    Attributes:
        stage: ``"validation"`` or ``"test"``.
        waiting_step: The global step under which the results of the evaluation will be logged.
    """

    stage: str
    waiting_step: int


@dataclass(slots=True)  # A frozen one takes three times as long to make.
class Record(Generic[ValueT_co]):
    """Everything logged in one call: one event of an event file, one row of ``metrics.csv``.

    Attributes:
        step: The global step, as the Trainer counts it.
        epoch: The epoch, if known.
        wall_time: Seconds since 1970-01-01 UTC.
        values: The values by name.
        only_numbers: Whether all values are numbers, so that writers need not check each.
        batch: The evaluation, if this is one of its batches; otherwise None.
        is_media: Whether it holds media, which ``media_overflow="drop"`` drops if there is no room.

    Examples:
        >>> record = Record(step=3, epoch=0.0, wall_time=1795381767.7, values={"val/loss": 0.5})
        >>> record.values["val/loss"]
        0.5
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
        """Memory of the record in the delivery queue, roughly, in bytes."""
        if self.only_numbers:
            return _BYTES_PER_SCALAR * len(self.values)
        # Faster than a sum over a generator; this runs on the training thread.
        held = 0
        for value in self.values.values():
            held += _BYTES_PER_SCALAR if isinstance(value, NUMBERS) else value.nbytes
        return held
