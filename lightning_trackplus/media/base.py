"""The base class of all media."""

from __future__ import annotations

import itertools
import re
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

import torch
from torch import Tensor
from typing_extensions import Self

from lightning_trackplus.record import FilesPayload, Item, MediaPayload

ItemT = TypeVar("ItemT")

_MAX_SHOWN = 64  # Of the items, in a notebook.
_SUFFIX = re.compile(r"(\.[A-Za-z0-9_-]+)+")


class LateCaption(ABC):
    """A caption that is made on the delivery thread, for instance from values on a device."""

    @abstractmethod
    def __str__(self) -> str:
        """Return the caption; called on the delivery thread."""


Caption: TypeAlias = str | LateCaption | None


class Media(ABC, Generic[ItemT]):
    """Base class of all media: a batch of one or more items of one kind, immutable.

    A medium of your own is a subclass that says what kind of file each item becomes. Its constructor checks what it
    is given, so that a mistake shows at the user's line; `snapshot_item` copies an item, and `encode_item`, which runs
    on the delivery thread, turns it into the bytes of a file. Selections, several processes, ``read_run``, ``trackplus
    verify`` and resuming then work as for the media of this package.

    Args:
        items: The items.
        caption: A line about each item; one string stands for all of them.
        score: A number for each item, by which selections choose, shape ``(len(items),)``.

    Attributes:
        kind: What ``media.csv`` says that the files are, such as ``"point_cloud"``.
        suffix: What the names of the files end with, such as ``".ply"``.

    Raises:
        ValueError: If there are no items, or not one caption and one score for each.

    Examples:
        >>> import json
        >>> class Json(Media):
        ...     kind = "json"
        ...     suffix = ".json"
        ...
        ...     def __init__(self, value, caption=None, score=None):
        ...         super().__init__([json.dumps(value)], caption, score)
        ...
        ...     def snapshot_item(self, item):
        ...         return item  # Nobody can change a string.
        ...
        ...     def encode_item(self, item):
        ...         return item.encode()
        >>> Json({"a": 1}, caption="settings")
        <Json: 1 item>
    """

    kind: ClassVar[str]
    suffix: ClassVar[str]

    _is_copy = False
    """Whether the items are those of a snapshot."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        kind, suffix = getattr(cls, "kind", None), getattr(cls, "suffix", None)
        if "encode_item" in vars(cls) and not (kind and isinstance(suffix, str) and _SUFFIX.fullmatch(suffix)):
            raise TypeError(
                f"{cls.__name__} has kind={kind!r} and suffix={suffix!r}; expected two class attributes such as"
                ' kind = "point_cloud" and suffix = ".ply".'
            )

    def __init__(
        self,
        items: Sequence[ItemT],
        caption: str | Sequence[str] | None = None,
        score: float | Sequence[float] | Tensor | None = None,
    ) -> None:
        self._items = tuple(items)
        if not self._items:
            raise ValueError(f"{self._title} got no items; log at least one, or leave the call out.")
        self._captions = self._one_each(caption)
        self._scores = self._score_each(score)

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._items)

    def __repr__(self) -> str:
        return f"<{self._title}: {len(self)} item{'s' if len(self) > 1 else ''}>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        from lightning_trackplus.views import html  # noqa: PLC0415  only a notebook needs it

        part = self.take(range(min(len(self), _MAX_SHOWN))).snapshot()
        payload, limit = part.encode("notebook"), html.Limit(left_out=len(self) - len(part))
        figures = html.figures([(payload.kind, item) for item in payload.items], limit)
        return html.output([figures, limit.note()])

    def __str__(self) -> str:
        # Lightning puts a value that it refuses into its error message. It refuses a medium only if the callback is
        # missing, and this is the only place from which we can say so.
        return f"{self!r} (a medium can be logged once TrackPlus() is among the Trainer's callbacks)"

    @property
    def media_type(self) -> str:
        """The type of medium in words; a name has media of one type."""
        return self._title

    @property
    def items(self) -> tuple[ItemT, ...]:
        """The items."""
        return self._items

    @property
    def captions(self) -> tuple[Caption, ...]:
        """The captions."""
        return self._captions

    @property
    def scores(self) -> Tensor | None:
        """The scores, float64, shape ``(len(self),)``, on the device on which they were passed."""
        return self._scores

    def take(self, indices: Sequence[int]) -> Self:
        """Return some of the items.

        Args:
            indices: The positions of at least one item, in the order of the result.
        """
        part = self._with(
            tuple(self._items[index] for index in indices),
            tuple(self._captions[index] for index in indices),
            # Views, since indexing with a list would wait for the device.
            None if self._scores is None else torch.cat([self._scores.narrow(0, index, 1) for index in indices]),
        )
        # A part can hold the memory of the whole, so that it is copied again.
        part._is_copy = self._is_copy and len(part) == len(self)
        return part

    def joined(self, others: Sequence[Self]) -> Self:
        """Return the items of this batch followed by those of others of its type.

        Args:
            others: The batches to append, in order.
        """
        parts = (self, *others)
        scored = next((part._scores for part in parts if part._scores is not None), None)
        scores = None if scored is None else torch.cat([part._scores_or_nan(scored) for part in parts])
        both = self._with(
            tuple(item for part in parts for item in part._items),
            tuple(caption for part in parts for caption in part._captions),
            scores,
        )
        both._is_copy = all(part._is_copy for part in parts)
        return both

    def snapshot(self) -> Self:
        """Return a copy that later changes to the caller's tensors do not reach, without waiting for a device.

        A copy is not copied again, nor are joined copies.
        """
        if self._is_copy:
            return self
        copy = self._copied()
        copy._is_copy = True
        return copy

    def _copied(self) -> Self:
        return self._with(tuple(map(self.snapshot_item, self._items)), self._captions, self._scores)

    @property
    def nbytes(self) -> int:
        """Memory of the items in bytes; override it for items that contain others, such as tuples of arrays."""
        return sum(map(_nbytes_of, self._items))

    @abstractmethod
    def snapshot_item(self, item: ItemT) -> ItemT:
        """Return a copy of an item that later changes do not reach; called on the training thread.

        Args:
            item: The item; return it as it is if nobody can change it. Copy a tensor on its device,
                ``item.detach().clone()``: moving it off the device would make training wait.
        """

    def encode_item(self, item: ItemT) -> bytes:
        """Return the bytes of the file that an item becomes; called on the delivery thread.

        Args:
            item: The item, as `snapshot_item` has returned it.
        """
        raise NotImplementedError(f"{self._title} has no encode_item(self, item), which returns the bytes of a file.")

    def encode(self, name: str) -> MediaPayload:  # noqa: ARG002  for subclasses
        """Return the payload that writers take; called on the delivery thread.

        Args:
            name: The name the medium was logged under, for warnings.
        """
        files = self._encoded([self.encode_item(item) for item in self._items], self.suffix)
        return FilesPayload(files, self.kind)

    @property
    def _title(self) -> str:
        return type(self).__name__

    def _encoded(self, data: Sequence[bytes], suffix: str | Sequence[str]) -> tuple[Item, ...]:
        """Return an item for each file, with its caption and score; ``suffix`` is one for all or one for each."""
        scores = itertools.repeat(None) if self._scores is None else self._scores.tolist()
        suffixes = itertools.repeat(suffix) if isinstance(suffix, str) else suffix
        captions = [caption if caption is None else str(caption) for caption in self._captions]
        return tuple(map(Item, data, suffixes, captions, scores))

    def _warn(self, name: str, count: int, what: str) -> None:
        """Warn of so many parts of what was logged under a name, if there are any."""
        if count:
            warnings.warn(f"{self._title} {name!r}: {count} {what}.", stacklevel=3)

    def _with(self, items: tuple[ItemT, ...], captions: tuple[Caption, ...], scores: Tensor | None) -> Self:
        # Does what copy.copy() does, in a fifth of its time.
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        other._items, other._captions, other._scores = items, captions, scores
        return other

    def _one_each(self, caption: str | Sequence[str | None] | None) -> tuple[Caption, ...]:
        if caption is None or isinstance(caption, str):
            return (caption,) * len(self._items)
        if len(caption) != len(self):
            raise ValueError(
                f"{self._title} got {len(self)} items and {len(caption)} captions; expected one caption for each item,"
                " or a single string for all."
            )
        return tuple(one if one is None or isinstance(one, LateCaption) else str(one) for one in caption)

    def _score_each(self, score: float | Sequence[float] | Tensor | None) -> Tensor | None:
        if score is None:
            return None
        given = score.detach() if isinstance(score, Tensor) else torch.as_tensor(score, dtype=torch.float64)
        # Apple's GPUs have no float64.
        widest = torch.float32 if given.device.type == "mps" else torch.float64
        scores = given.to(widest, copy=True).reshape(-1)
        if len(scores) != len(self):
            raise ValueError(
                f"{self._title} got {len(self)} items and {len(scores)} scores; expected one number for each item."
            )
        return scores

    def _scores_or_nan(self, like: Tensor) -> Tensor:
        """Return the scores on the device of ``like``, or NaN."""
        if self._scores is not None:
            return self._scores.to(like.device, non_blocking=True)
        return torch.full((len(self),), torch.nan, dtype=like.dtype, device=like.device)


def _nbytes_of(item: Any) -> int:
    return len(item) if isinstance(item, (str, bytes)) else int(getattr(item, "nbytes", None) or sys.getsizeof(item))
