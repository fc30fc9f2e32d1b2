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

    items: tuple[Item, ...]
    kind: ClassVar[str]

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
class AudioPayload(Encoded):
    """Sounds."""

    kind: ClassVar[str] = "audio"


@dataclass(frozen=True, slots=True)
class TextPayload(Encoded):
    """Markdown texts, as UTF-8."""

    kind: ClassVar[str] = "text"


@dataclass(frozen=True, slots=True)
class FilesPayload(Encoded):
    """Files of any other kind, such as HTML pages: writers keep them as files, or show them where they can.

    Attributes:
        kind: What ``media.csv`` says that they are, such as ``"html"``.
    """

    kind: str  # type: ignore[misc]  # other payloads have one kind each


class Counts(NamedTuple):
    """How many of some numbers lie in each bin, below all bins and above them.

    Attributes:
        edges: Where the bins begin and the last one ends, finite, none below the one before, shape ``(N + 1,)``.
        counts: How many numbers lie in each bin, shape ``(N,)``; bins are half-open, and only the last is closed.
        below: How many lie below the first edge, -inf among them.
        above: How many lie above the last edge, inf among them.
        infinite: How many are infinite; only known where a medium has counted them.
        nan: How many are NaN, and in none of the counts; only known where a medium has counted them.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.float64]
    below: float
    above: float
    infinite: int = 0
    nan: int = 0

    @property
    def nbytes(self) -> int:
        """Memory that edges and counts hold, in bytes."""
        return self.edges.nbytes + self.counts.nbytes

    def as_nan(self) -> Counts:
        """Return the same bins, with NaN for each count."""
        return Counts(self.edges, np.full_like(self.counts, np.nan), np.nan, np.nan)

    def rows(self, *, finite: bool = False) -> NDArray[np.float64]:
        """Return the bins as rows of low, high and count, shape ``(rows, 3)``.

        Numbers outside of all bins have a row of their own, from -inf or to inf. A bin of width 0 has no row; a
        count that the last one has is added to the bin before it.

        Args:
            finite: Whether a row outside of all bins is as wide as its neighbor, for charts that need finite bins.

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
        """Return finite rows without the empty ones at both ends, as TensorBoard's own writers leave them out."""
        rows = self.rows(finite=True)
        filled = np.flatnonzero(rows[:, 2] > 0)
        return rows[filled[0] : filled[-1] + 1] if len(filled) else rows[:0]

    def coarse(self, bins: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return counts and edges of at most so many finite bins, neighbors taken together; an unknown count is 0."""
        rows = self.rows(finite=True)
        starts = np.arange(0, len(rows), -(-len(rows) // bins))
        return np.add.reduceat(np.nan_to_num(rows[:, 2]), starts), np.append(rows[starts, 0], rows[-1, 1])

    def csv(self) -> bytes:
        """Return the rows as CSV with the columns low, high and count."""
        lines = [",".join(repr(number).removesuffix(".0") for number in row) for row in self.rows().tolist()]
        return "\n".join(["low,high,count", *lines, ""]).encode()


@dataclass(frozen=True, slots=True)
class HistogramPayload(Encoded):
    """Histograms, as CSV and as counts."""

    kind: ClassVar[str] = "histogram"
    bins: tuple[Counts, ...]

    @property
    def nbytes(self) -> int:
        """Memory that files and counts hold, in bytes."""
        return sum(len(item.data) for item in self.items) + sum(counts.nbytes for counts in self.bins)


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

    def snapshot(self) -> TensorBoardEvent:
        """Return this object; nobody changes an event that was added."""
        return self


MediaPayload: TypeAlias = (
    ImagePayload | VideoPayload | AudioPayload | TextPayload | FilesPayload | HistogramPayload | TablePayload
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
    """

    step: int
    epoch: float | None
    wall_time: float
    values: Mapping[str, ValueT_co]
    only_numbers: bool = False
    batch: EvaluationBatch | None = None

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
