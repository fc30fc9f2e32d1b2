"""`MediaMethods`: log_image, log_audio and others, with the arguments of WandbLogger's methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import numpy as np
from lightning_utilities.core.rank_zero import rank_zero_only
from torch import Tensor

from lightning_trackplus.logger.wandb_arguments import (
    Drawn,
    boxes_or_masks,
    byte_range,
    captions_of,
    check_list,
    figure_of,
    file_of,
    image_formats,
    image_of,
    one_each,
    table_of,
    take,
    video_formats,
    warn_of_unused,
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
    """Methods of a logger that log media without ``self.log``; as with `WandbLogger`, only rank zero logs.

    An argument that is a list has an entry for each item.
    """

    @abstractmethod
    def log_media(self, key: str, media: Media[Any], step: int | None = None) -> None:
        """Log a medium.

        Args:
            key: The name.
            media: An `Image`, a `Text`, an `Audio`, or another medium; all its items are written.
            step: The global step. The default is the Trainer's.

        Raises:
            TypeError: If ``media`` is not a medium.

        Examples:
            >>> from lightning_trackplus.testing import CapturingLogger
            >>> logger = CapturingLogger()
            >>> from lightning_trackplus import Text
            >>> logger.log_media("val/report", Text("All is well."), step=3)
            >>> [item.value for item in logger.media("val/report")]
            ['All is well.']
        """

    @property
    def watch(self) -> NoReturn:
        """Raise an error that says how to log gradients and weights; WandbLogger has this method.

        Raises:
            AttributeError: Always.
        """
        raise AttributeError(
            f"{type(self).__name__} has no watch() method. For gradient norms, add the callback GradientNorms() to the"
            " Trainer; for weights, call log_histogram(name, parameter)."
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
        """Log images, as `WandbLogger.log_image` does.

        Args:
            key: The name.
            images: A list of inputs of `Image`, figures, ``Axes``, or `wandb.Image`. Integers of any width are in
                [0, 255]. An empty list logs nothing.
            step: The global step. The default is the Trainer's.
            caption: A caption or None for each image.
            score: A number for each image.
            boxes: Boxes to draw on each image, in the format of `Image`.
            masks: Masks to draw on each image, in the format of `Image`.
            classes: The classes of each image, ``[{"id": 1, "name": "car"}, …]``, for boxes and masks
                without ``"class_labels"``.
            file_type: ``"png"``, ``"webp"``, ``"jpg"`` or ``"jpeg"`` for each image. The default is PNG. W&B's
                ``"bmp"`` becomes PNG, with a warning.
            normalize: For each image, False if its pixels are in [0, 255] even if they are floats below 1. By
                default, the range of all images is detected.
            mode: Ignored, with a warning; the number of channels determines the mode.
            grouping: Ignored, with a warning.

        Raises:
            TypeError: If ``images`` is not a list, or an item is not an image.
            ValueError: If a list has a different length, or an image, box, mask or option is invalid.

        Examples:
            >>> from lightning_trackplus.testing import CapturingLogger
            >>> logger = CapturingLogger()
            >>> images = [np.zeros((8, 8), np.uint8), np.zeros((3, 16, 16), np.uint8)]
            >>> logger.log_image("val/digits", images, step=3, caption=["a zero", "a one"])
            >>> [(item.caption, item.value.shape) for item in logger.media("val/digits")]
            [('a zero', (8, 8)), ('a one', (16, 16, 3))]
        """
        columns = {"caption": caption, "score": score, "boxes": boxes, "masks": masks, "classes": classes}
        columns |= {"file_type": file_type, "normalize": normalize}
        unused = {"mode": mode, "grouping": grouping}
        check_list("images", images, **columns, **unused)
        warn_of_unused(**unused)
        given = [figure_of(image) for image in images]
        if not given:
            return
        caption = captions_of(caption, given)
        boxes = boxes_or_masks("boxes", boxes, classes, given)
        masks = boxes_or_masks("masks", masks, classes, given)
        if all(map(is_figure, given)) and not any(boxes or ()) and not any(masks or ()):
            self.log_media(key, Figure(given, caption, score), step)
            return
        if any(is_figure(image) and not is_matplotlibs(image) for image in given):
            raise TypeError(
                "log_image got a plotly figure together with other images, boxes or masks; log it in a separate call."
            )
        pictures = [image_of(image) for image in given]
        formats = image_formats(one_each(file_type, given))
        ranges = [
            (0.0, 255.0) if is_normalized is False else byte_range(picture)
            for picture, is_normalized in zip(pictures, one_each(normalize, given), strict=True)
        ]

        def image_at(indices: list[int]) -> Image:
            return Image(
                take(pictures, indices),
                take(caption, indices),
                take(score, indices),
                boxes=take(boxes, indices),
                masks=take(masks, indices),
                format=formats[indices[0]],
                value_range=ranges[indices[0]],
            )

        indices = [index for index, picture in enumerate(pictures) if picture is not None]
        are_alike = len({(formats[index], ranges[index]) for index in indices}) == 1
        parts = [image_at(group) for group in ([indices] if are_alike else [[index] for index in indices])]
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
        """Log sounds, as `WandbLogger.log_audio` does.

        Args:
            key: The name.
            audios: A list of inputs of `Audio`, lists of samples, or `wandb.Audio`.
            step: The global step. The default is the Trainer's.
            sample_rate: Samples per second of each sound; a file has its own.
            caption: A caption or None for each sound.
            score: A number for each sound.

        Raises:
            TypeError: If ``audios`` is not a list.
            ValueError: If a list has a different length, or an item is not a sound.

        Examples:
            >>> from lightning_trackplus.testing import CapturingLogger
            >>> logger = CapturingLogger()
            >>> logger.log_audio("val/voice", [np.zeros((2, 800))], step=3, sample_rate=[8000])
            >>> [item.value.shape for item in logger.media("val/voice")]
            [(2, 800)]
        """
        check_list("audios", audios, sample_rate=sample_rate, caption=caption, score=score)
        caption = captions_of(caption, audios)
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
        format: Sequence[str | None] | None = None,  # noqa: A002  WandbLogger's name
    ) -> None:
        """Log videos, as `WandbLogger.log_video` does.

        Args:
            key: The name.
            videos: A list of inputs of `Video`, or `wandb.Video`. Integers of any width are in [0, 255].
            step: The global step. The default is the Trainer's.
            caption: A caption or None for each video.
            score: A number for each video.
            fps: Frames per second of each video. The default is 4.
            format: ``"webp"`` or ``"gif"`` for each video. The default is WebP. Frames with W&B's ``"mp4"``,
                ``"webm"`` or ``"ogg"`` become WebP, with a warning.

        Raises:
            TypeError: If ``videos`` is not a list.
            ValueError: If a list has a different length, a format is unknown, or an item is not a video.

        Examples:
            >>> from lightning_trackplus.testing import CapturingLogger
            >>> logger = CapturingLogger()
            >>> frames = np.random.default_rng(0).integers(256, size=(4, 3, 8, 8), dtype=np.uint8)
            >>> logger.log_video("val/moves", [frames], step=3, fps=[8])
            >>> [item.value.shape for item in logger.media("val/moves")]
            [(4, 8, 8, 3)]
        """
        check_list("videos", videos, caption=caption, score=score, fps=fps, format=format)
        caption = captions_of(caption, videos)
        given = [file_of(video) for video in videos]
        are_files = [not isinstance(video, Tensor | np.ndarray) for video in given]
        formats = video_formats(one_each(format, given), are_files)
        columns = [one_each(column, given) for column in (fps, caption, score)]
        parts = [
            Video(video, rate or _DEFAULT_FPS, line, number, format=file_format, value_range=byte_range(video))
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
        """Log a table, as `WandbLogger.log_table` does.

        Args:
            key: The name.
            columns: The names of the columns.
            data: The rows, or another input of `Table`.
            dataframe: A data frame of pandas or polars; it replaces ``columns`` and ``data``.
            step: The global step. The default is the Trainer's.

        Raises:
            TypeError: If the arguments are not a table.
            ValueError: If rows and columns do not match.

        Examples:
            >>> from lightning_trackplus.testing import CapturingLogger
            >>> logger = CapturingLogger()
            >>> logger.log_table("val/recall", columns=["digit", "recall"], data=[[7, 0.98], [8, 0.91]], step=3)
            >>> [item.value.rows for item in logger.media("val/recall")]
            [((7, 0.98), (8, 0.91))]
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
        """Log a table of texts, as `WandbLogger.log_text` does. For Markdown use ``log_media(key, Text(…))``.

        Args:
            key: The name.
            columns: The names of the columns.
            data: The rows, or another input of `Table`.
            dataframe: A data frame of pandas or polars; it replaces ``columns`` and ``data``.
            step: The global step. The default is the Trainer's.

        Raises:
            TypeError: If the arguments are not a table.
            ValueError: If rows and columns do not match.

        Examples:
            >>> from lightning_trackplus.testing import CapturingLogger
            >>> logger = CapturingLogger()
            >>> logger.log_text("val/answers", columns=["question", "answer"], data=[["1 + 1", "2"]], step=3)
            >>> [item.value.rows for item in logger.media("val/answers")]
            [(('1 + 1', '2'),)]
        """
        self.log_media(key, table_of("log_text", columns, data, dataframe), step)

    @rank_zero_only
    def log_figure(self, key: str, figure: Any, step: int | None = None, caption: str | None = None) -> None:
        """Log a figure.

        Args:
            key: The name.
            figure: A figure of matplotlib or plotly, or a list of them.
            step: The global step. The default is the Trainer's.
            caption: A caption of the figure.

        Raises:
            TypeError: If ``figure`` is not a figure.

        Examples:
            >>> from lightning_trackplus.testing import CapturingLogger
            >>> logger = CapturingLogger()
            >>> import matplotlib.figure
            >>> logger.log_figure("val/curve", matplotlib.figure.Figure(figsize=(2, 1), dpi=100), step=3)
            >>> [item.value.shape[:2] for item in logger.media("val/curve")]
            [(100, 200)]
        """
        self.log_media(key, Figure(figure, caption), step)

    @rank_zero_only
    def log_histogram(
        self, key: str, values: Any, step: int | None = None, bins: Any = 64, caption: str | None = None
    ) -> None:
        """Log the distribution of numbers.

        Args:
            key: The name.
            values: Real numbers, in a tensor, an array or a list of any shape.
            step: The global step. The default is the Trainer's.
            bins: The number of bins, or their edges.
            caption: A caption of the histogram.

        Raises:
            TypeError: If the values are not real numbers.
            ValueError: If there are no values, or the bins are invalid.

        Examples:
            >>> from lightning_trackplus.testing import CapturingLogger
            >>> logger = CapturingLogger()
            >>> logger.log_histogram("weights", [0.0, 0.25, 1.0], step=3, bins=2)
            >>> [item.value.tolist() for item in logger.media("weights")]
            [[[0.0, 0.5, 2.0], [0.5, 1.0, 1.0]]]
        """
        self.log_media(key, Histogram(values, bins, caption), step)


def _joined(parts: Iterable[MediaT]) -> MediaT:
    first, *others = parts
    for other in others:
        if other.media_type != first.media_type:
            raise ValueError(
                f"The list contains {first.media_type} and {other.media_type}; log them in separate calls."
            )
    return first.joined(others)
