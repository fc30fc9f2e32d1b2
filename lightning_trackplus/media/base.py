"""What all media have in common: items, a caption and a score for each, a snapshot, an encoding."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeAlias, TypeVar

import torch
from torch import Tensor
from typing_extensions import Self

from lightning_trackplus.record import Item, MediaPayload

ItemT = TypeVar("ItemT")


class LateCaption(ABC):
    """A caption that is made when it is written, for instance of values that lie on a device until then."""

    @abstractmethod
    def __str__(self) -> str:
        """Return the caption; not called on the training thread."""


Caption: TypeAlias = str | LateCaption | None


class Media(ABC, Generic[ItemT]):
    """A batch of one or more items of one kind; immutable.

    A subclass checks in its constructor what it is given, so that a mistake shows at the user's
    line, and leaves all costly work to `encode`, which runs on the delivery thread.

    Args:
        items: The items.
        caption: A line about each item; one string stands for all of them.
        score: A number for each item, by which it can be found again; shape ``(len(items),)``.

    Raises:
        ValueError: If there are no items, or another number of captions or scores than of items.
    """

    def __init__(
        self,
        items: Sequence[ItemT],
        caption: str | Sequence[str] | None,
        score: float | Sequence[float] | Tensor | None,
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

    def __str__(self) -> str:
        # Lightning puts a value that it refuses into its message this way. It refuses a medium only
        # where the callback is missing, and this is the one place from which we can say so.
        return f"{self!r} (a medium can be logged once TrackPlus() is among the Trainer's callbacks)"

    @property
    def kind(self) -> str:
        """What it is, in words; a name has media of one kind."""
        return self._title

    @property
    def captions(self) -> tuple[Caption, ...]:
        """A line about each item."""
        return self._captions

    @property
    def scores(self) -> Tensor | None:
        """A number for each item, float64, shape ``(len(self),)``, on the device where it was given."""
        return self._scores

    def take(self, indices: Sequence[int]) -> Self:
        """Return some of the items.

        Args:
            indices: Which, at least one, in the order in which they are wanted.
        """
        return self._with(
            tuple(self._items[index] for index in indices),
            tuple(self._captions[index] for index in indices),
            # By views, since a list of indices would wait for the device.
            None if self._scores is None else torch.cat([self._scores.narrow(0, index, 1) for index in indices]),
        )

    def joined(self, others: Sequence[Self]) -> Self:
        """Return the items of this batch followed by those of others of its kind.

        Args:
            others: The batches to append, in order.
        """
        parts = (self, *others)
        scored = next((part._scores for part in parts if part._scores is not None), None)
        scores = None if scored is None else torch.cat([part._scores_or_nan(scored) for part in parts])
        return self._with(
            tuple(item for part in parts for item in part._items),
            tuple(caption for part in parts for caption in part._captions),
            scores,
        )

    def snapshot(self) -> Self:
        """Return a copy that later changes to the caller's tensors do not reach; waits for no device."""
        return self._with(tuple(map(self._snapshot_of, self._items)), self._captions, self._scores)

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Memory that the items hold, in bytes."""

    @abstractmethod
    def encode(self, name: str) -> MediaPayload:
        """Return the items in the form in which they are written.

        Args:
            name: The name the medium was logged under, for warnings.
        """

    @abstractmethod
    def _snapshot_of(self, item: ItemT) -> ItemT:
        """Copy one item."""

    @property
    def _title(self) -> str:
        return type(self).__name__

    def _encoded(self, data: Sequence[bytes], suffix: str | Sequence[str]) -> tuple[Item, ...]:
        """Return the files with what belongs to each; a suffix is that of all of them, or there is one for each."""
        scores = itertools.repeat(None) if self._scores is None else self._scores.tolist()
        suffixes = itertools.repeat(suffix) if isinstance(suffix, str) else suffix
        captions = [caption if caption is None else str(caption) for caption in self._captions]
        return tuple(map(Item, data, suffixes, captions, scores))

    def _with(self, items: tuple[ItemT, ...], captions: tuple[Caption, ...], scores: Tensor | None) -> Self:
        # As copy.copy() does, in a fifth of its time.
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        other._items, other._captions, other._scores = items, captions, scores
        return other

    def _one_each(self, caption: str | Sequence[str | None] | None) -> tuple[Caption, ...]:
        if caption is None or isinstance(caption, str):
            return (caption,) * len(self._items)
        if len(caption) != len(self):
            raise ValueError(
                f"{self._title} got {len(self)} items and {len(caption)} captions; give one caption for each item,"
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
                f"{self._title} got {len(self)} items and {len(scores)} scores; give one number for each item."
            )
        return scores

    def _scores_or_nan(self, like: Tensor) -> Tensor:
        """Return the scores on the device of others, on which they usually are."""
        if self._scores is not None:
            return self._scores.to(like.device, non_blocking=True)
        return torch.full((len(self),), torch.nan, dtype=like.dtype, device=like.device)
