"""The calls that log a medium without ``self.log``, under the names and with the arguments of WandbLogger."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import numpy as np
from lightning_utilities.core.rank_zero import rank_zero_only
from torch import Tensor

from lightning_trackplus.logger.wandb_arguments import (
    Drawn,
    captions_of,
    check_list,
    one_each,
    picture_formats,
    some_of,
    table_of,
    video_formats,
    warn_of_unused,
    with_classes,
)
from lightning_trackplus.logger.wandb_objects import (
    drawn_in,
    figure_of,
    file_of,
    picture_of,
    range_in,
    with_own_captions,
)
from lightning_trackplus.media.audio import Audio
from lightning_trackplus.media.base import Media
from lightning_trackplus.media.figure import Figure, is_figure, is_matplotlibs
from lightning_trackplus.media.histogram import Histogram
from lightning_trackplus.media.image import Image
from lightning_trackplus.media.video import Video

MediaT = TypeVar("MediaT", bound=Media[Any])
_DEFAULT_FPS = 4


class MediaMethods(ABC):
    """What a logger has that can log a medium; as with `WandbLogger`, rank zero alone logs.

    Where an argument is a list, it has an entry for each item.
    """

    @abstractmethod
    def log_media(self, key: str, media: Media[Any], step: int | None = None) -> None:
        """Log a medium.

        Args:
            key: The name.
            media: An `Image`, a `Text`, an `Audio`, or another medium; all its items are written.
            step: The global step; by default the Trainer's.

        Raises:
            TypeError: If it is no medium.
        """

    @property
    def watch(self) -> NoReturn:
        """WandbLogger's call that logs gradients and weights, which is none here.

        Raises:
            AttributeError: Always; it says how these are logged.
        """
        raise AttributeError(
            f"{type(self).__name__} has no watch() as WandbLogger has: give the Trainer the callback GradientNorms()"
            " for the norms of gradients, and log weights by log_histogram(name, parameter)."
        )

    @rank_zero_only
    def log_image(
        self,
        key: str,
        images: list[Any],
        step: int | None = None,
        *,
        caption: Sequence[str | None] | None = None,
        score: Sequence[float] | None = None,
        boxes: Sequence[Drawn] | None = None,
        masks: Sequence[Drawn] | None = None,
        classes: Sequence[Sequence[Mapping[str, Any]] | None] | None = None,
        file_type: Sequence[str | None] | None = None,
        normalize: Sequence[bool] | None = None,
        mode: Sequence[str | None] | None = None,
        grouping: Sequence[int | None] | None = None,
    ) -> None:
        """Log images; the call that `WandbLogger` has.

        Args:
            key: The name.
            images: A list of what `Image` takes, of figures, of ``Axes``, or of `wandb.Image`; integers are in
                [0, 255], whatever their width. Of an empty list nothing is logged.
            step: The global step; by default the Trainer's.
            caption: A line about each, or None.
            score: A number for each.
            boxes: Boxes to draw on each, as `Image` takes them.
            masks: Masks to draw on each, as `Image` takes them.
            classes: The classes of each image, ``[{"id": 1, "name": "car"}, …]``, for boxes and masks
                that come without ``"class_labels"``.
            file_type: ``"png"``, ``"webp"``, ``"jpg"`` or ``"jpeg"`` for each; by default PNG, and for W&B's ``"bmp"``
                as well, with a warning.
            normalize: For each, False if its pixels are in [0, 255] even where they are floats below 1; by default
                the range of all is detected.
            mode: Ignored, with a warning; an image's channels say what they are.
            grouping: Ignored, with a warning.

        Raises:
            TypeError: If the images are no list, or an image is not one.
            ValueError: If a list has another length, or an image, a box, a mask or an option has no meaning.
        """
        columns = {"caption": caption, "score": score, "boxes": boxes, "masks": masks, "classes": classes}
        stored = {"file_type": file_type, "normalize": normalize}
        unused = {"mode": mode, "grouping": grouping}
        check_list("images", images, **columns, **stored, **unused)
        warn_of_unused(**unused)
        given = [figure_of(image) for image in images]
        if not given:
            return
        boxes, masks = boxes or drawn_in(given, "boxes"), masks or drawn_in(given, "masks")
        caption = captions_of(with_own_captions(caption, given))
        if all(map(is_figure, given)) and not any(boxes or ()) and not any(masks or ()):
            self.log_media(key, Figure(given, caption, score), step)
            return
        if any(is_figure(image) and not is_matplotlibs(image) for image in given):
            raise TypeError(
                "log_image got a figure of plotly beside other images, or with boxes or masks; log it in another call."
            )
        pictures = [picture_of(image) for image in given]
        boxes, masks = with_classes(boxes, classes), with_classes(masks, classes)
        formats = picture_formats(one_each(file_type, given))
        ranges = [
            (0.0, 255.0) if is_any_range is False else range_in(picture)
            for picture, is_any_range in zip(pictures, one_each(normalize, given), strict=True)
        ]

        def image_of(places: list[int]) -> Image:
            return Image(
                [pictures[place] for place in places],
                some_of(caption, places),
                some_of(score, places),
                boxes=some_of(boxes, places),
                masks=some_of(masks, places),
                format=formats[places[0]],
                value_range=ranges[places[0]],
            )

        places = [place for place, picture in enumerate(pictures) if picture is not None]
        are_alike = len({(formats[place], ranges[place]) for place in places}) == 1
        parts = [image_of(group) for group in ([places] if are_alike else [[place] for place in places])]
        if parts:
            self.log_media(key, _joined(parts).in_one_range() if len(parts) > 1 else parts[0], step)

    @rank_zero_only
    def log_audio(
        self,
        key: str,
        audios: list[Any],
        step: int | None = None,
        *,
        sample_rate: Sequence[int | None] | None = None,
        caption: Sequence[str | None] | None = None,
        score: Sequence[float] | None = None,
    ) -> None:
        """Log sounds; the call that `WandbLogger` has.

        Args:
            key: The name.
            audios: A list of what `Audio` takes, of lists of samples, or of `wandb.Audio`.
            step: The global step; by default the Trainer's.
            sample_rate: Samples a second of each; a file has its own.
            caption: A line about each, or None.
            score: A number for each.

        Raises:
            TypeError: If the sounds are no list.
            ValueError: If a list has another length, or a sound is not one.
        """
        check_list("audios", audios, sample_rate=sample_rate, caption=caption, score=score)
        caption = captions_of(with_own_captions(caption, audios))
        columns = [one_each(column, audios) for column in (sample_rate, caption, score)]
        sounds = [np.asarray(audio) if isinstance(audio, list) else file_of(audio) for audio in audios]
        parts = [Audio(*row) for row in zip(sounds, *columns, strict=True) if row[0] is not None]
        if parts:
            self.log_media(key, _joined(parts), step)

    @rank_zero_only
    def log_video(
        self,
        key: str,
        videos: list[Any],
        step: int | None = None,
        *,
        caption: Sequence[str | None] | None = None,
        score: Sequence[float] | None = None,
        fps: Sequence[float | None] | None = None,
        format: Sequence[str | None] | None = None,  # noqa: A002  as WandbLogger calls it
    ) -> None:
        """Log videos; the call that `WandbLogger` has.

        Args:
            key: The name.
            videos: A list of what `Video` takes, or of `wandb.Video`; integers are in [0, 255], whatever their width.
            step: The global step; by default the Trainer's.
            caption: A line about each, or None.
            score: A number for each.
            fps: Frames a second of each; by default 4.
            format: ``"webp"`` or ``"gif"`` for each; by default WebP. W&B's ``"mp4"``, ``"webm"`` and
                ``"ogg"`` become WebP, with a warning.

        Raises:
            TypeError: If the videos are no list.
            ValueError: If a list has another length, there is no such format, or a video is not one.
        """
        check_list("videos", videos, caption=caption, score=score, fps=fps, format=format)
        caption = captions_of(with_own_captions(caption, videos))
        given = [file_of(video) for video in videos]
        are_files = [not isinstance(video, Tensor | np.ndarray) for video in given]
        formats = video_formats(one_each(format, given), are_files)
        columns = [one_each(column, given) for column in (fps, caption, score)]
        parts = [
            Video(video, rate or _DEFAULT_FPS, line, number, format=file_format, value_range=range_in(video))
            for video, rate, line, number, file_format in zip(given, *columns, formats, strict=True)
            if video is not None
        ]
        if parts:
            self.log_media(key, _joined(parts).in_one_range(), step)

    @rank_zero_only
    def log_table(
        self,
        key: str,
        columns: Sequence[str] | None = None,
        data: Any = None,
        dataframe: Any = None,
        step: int | None = None,
    ) -> None:
        """Log a table; the call that `WandbLogger` has.

        Args:
            key: The name.
            columns: The names of the columns.
            data: The rows, or what else `Table` takes.
            dataframe: A data frame of pandas or polars; then columns and data are not looked at.
            step: The global step; by default the Trainer's.

        Raises:
            TypeError: If there is no table.
            ValueError: If rows and columns do not fit.
        """
        self.log_media(key, table_of("log_table", columns, data, dataframe), step)

    @rank_zero_only
    def log_text(
        self,
        key: str,
        columns: Sequence[str] | None = None,
        data: Any = None,
        dataframe: Any = None,
        step: int | None = None,
    ) -> None:
        """Log a table of texts; the call that `WandbLogger` has. Markdown is logged by ``log_media(key, Text(…))``.

        Args:
            key: The name.
            columns: The names of the columns.
            data: The rows, or what else `Table` takes.
            dataframe: A data frame of pandas or polars; then columns and data are not looked at.
            step: The global step; by default the Trainer's.

        Raises:
            TypeError: If there is no table.
            ValueError: If rows and columns do not fit.
        """
        self.log_media(key, table_of("log_text", columns, data, dataframe), step)

    @rank_zero_only
    def log_figure(self, key: str, figure: Any, step: int | None = None, caption: str | None = None) -> None:
        """Log a figure.

        Args:
            key: The name.
            figure: What `Figure` takes.
            step: The global step; by default the Trainer's.
            caption: A line about the figure.

        Raises:
            TypeError: If it is no figure.
        """
        self.log_media(key, Figure(figure, caption), step)

    @rank_zero_only
    def log_histogram(
        self, key: str, values: Any, step: int | None = None, bins: Any = 64, caption: str | None = None
    ) -> None:
        """Log the distribution of numbers.

        Args:
            key: The name.
            values: What `Histogram` takes.
            step: The global step; by default the Trainer's.
            bins: How many bins, or where they begin and the last one ends.
            caption: A line about the histogram.

        Raises:
            TypeError: If the values are no numbers.
            ValueError: If there is no histogram of them, or the bins have no meaning.
        """
        self.log_media(key, Histogram(values, bins, caption), step)


def _joined(parts: Iterable[MediaT]) -> MediaT:
    first, *others = parts
    for other in others:
        if other.media_type != first.media_type:
            raise ValueError(f"{first.media_type} and {other.media_type} stand in one list; log them in two calls.")
    return first.joined(others)
