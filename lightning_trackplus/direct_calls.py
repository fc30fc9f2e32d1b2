"""The calls that log a medium without ``self.log``, under the names and with the arguments of WandbLogger."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_only

from lightning_trackplus.media.audio import Audio
from lightning_trackplus.media.image import Image
from lightning_trackplus.media.media import Media
from lightning_trackplus.media.text import Text


class DirectCalls(ABC):
    """What a logger has that can log a medium."""

    @abstractmethod
    def log_media(self, key: str, media: Media[Any], step: int | None = None) -> None:
        """Log a medium.

        Args:
            key: The name.
            media: An `Image`, a `Text`, an `Audio`, or another medium; all its items are written.
            step: The global step; by default the Trainer's.
        """

    @rank_zero_only
    def log_image(
        self,
        key: str,
        images: list[Any],
        step: int | None = None,
        *,
        caption: list[str] | None = None,
        score: list[float] | None = None,
    ) -> None:
        """Log images; the call that `WandbLogger` has.

        Args:
            key: The name.
            images: A list of what `Image` takes.
            step: The global step; by default the Trainer's.
            caption: A line about each.
            score: A number for each.

        Raises:
            TypeError: If the images are no list.
            ValueError: If there is another number of captions or scores, or an image is not one.
        """
        _check_list("images", images, caption=caption, score=score)
        self.log_media(key, Image(images, caption, score), step)

    @rank_zero_only
    def log_audio(
        self,
        key: str,
        audios: list[Any],
        step: int | None = None,
        *,
        sample_rate: list[int],
        caption: list[str] | None = None,
        score: list[float] | None = None,
    ) -> None:
        """Log sounds; the call that `WandbLogger` has.

        Args:
            key: The name.
            audios: A list of what `Audio` takes.
            step: The global step; by default the Trainer's.
            sample_rate: Samples a second of each.
            caption: A line about each.
            score: A number for each.

        Raises:
            TypeError: If the sounds are no list.
            ValueError: If there is another number of sample rates, captions or scores, or a sound is not one.
        """
        _check_list("audios", audios, sample_rate=sample_rate, caption=caption, score=score)
        first, *others = (
            Audio(audio, rate, None if caption is None else caption[index], None if score is None else score[index])
            for index, (audio, rate) in enumerate(zip(audios, sample_rate, strict=True))
        )
        self.log_media(key, first.joined(others), step)

    @rank_zero_only
    def log_text(self, key: str, texts: str | list[str], step: int | None = None) -> None:
        """Log texts.

        Args:
            key: The name.
            texts: Markdown, one string or several.
            step: The global step; by default the Trainer's.

        Raises:
            TypeError: If a text is no string.
        """
        self.log_media(key, Text(texts), step)


def _check_list(title: str, values: object, **columns: Sequence[Any] | None) -> None:
    """Raise what WandbLogger raises."""
    if not isinstance(values, list):
        raise TypeError(f'Expected a list as "{title}", found {type(values)}')
    if not values:
        raise ValueError(f'Expected at least one item in "{title}", found none')
    for name, column in columns.items():
        if column is not None and len(column) != len(values):
            raise ValueError(f"Expected {len(values)} items but only found {len(column)} for {name}")
