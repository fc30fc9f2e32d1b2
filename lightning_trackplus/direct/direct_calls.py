"""The calls that log a medium without ``self.log``, under the names and with the arguments of WandbLogger."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from lightning.pytorch.utilities.rank_zero import rank_zero_only

from lightning_trackplus.direct.wandb_arguments import (
    Drawn,
    are_figures,
    captions_of,
    check_list,
    one_each,
    picture_format,
    table_of,
    value_range,
    video_formats,
    warn_of_unused,
    with_classes,
)
from lightning_trackplus.media.audio import Audio
from lightning_trackplus.media.figure import Figure
from lightning_trackplus.media.histogram import Histogram
from lightning_trackplus.media.image import Image
from lightning_trackplus.media.media import Media
from lightning_trackplus.media.video import Video

MediaT = TypeVar("MediaT", bound=Media[Any])
_DEFAULT_FPS = 4


class DirectCalls(ABC):
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
            images: A list of what `Image` takes, or of figures.
            step: The global step; by default the Trainer's.
            caption: A line about each, or None.
            score: A number for each.
            boxes: Boxes to draw on each, as `Image` takes them.
            masks: Masks to draw on each, as `Image` takes them.
            classes: The classes of each image, ``[{"id": 1, "name": "car"}, …]``, for boxes and masks
                that come without ``"class_labels"``.
            file_type: ``"png"``, ``"webp"``, ``"jpg"`` or ``"jpeg"``, the same for all; by default PNG.
            normalize: False if pixels are in [0, 255] even where they are floats below 1, the same for
                all; by default the range is detected.
            mode: Ignored, with a warning; an image's channels say what they are.
            grouping: Ignored, with a warning.

        Raises:
            TypeError: If the images are no list, or there are figures and images in it.
            ValueError: If a list has another length, images are to be written in several ways, or an
                image is not one.
        """
        drawn = {"boxes": boxes, "masks": masks, "classes": classes}
        stored = {"file_type": file_type, "normalize": normalize}
        unused = {"mode": mode, "grouping": grouping}
        check_list("images", images, caption=caption, score=score, **drawn, **stored, **unused)
        warn_of_unused(**unused)
        if are_figures(images, **drawn):
            self.log_media(key, Figure(images, captions_of(caption), score), step)
            return
        image = Image(
            images,
            captions_of(caption),
            score,
            boxes=with_classes(boxes, classes),
            masks=with_classes(masks, classes),
            format=picture_format(file_type),
            value_range=value_range(normalize),
        )
        self.log_media(key, image, step)

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
            audios: A list of what `Audio` takes.
            step: The global step; by default the Trainer's.
            sample_rate: Samples a second of each; a file has its own.
            caption: A line about each, or None.
            score: A number for each.

        Raises:
            TypeError: If the sounds are no list.
            ValueError: If a list has another length, or a sound is not one.
        """
        check_list("audios", audios, sample_rate=sample_rate, caption=caption, score=score)
        columns = [one_each(column, audios) for column in (sample_rate, captions_of(caption), score)]
        self.log_media(key, _joined(map(Audio, audios, *columns)), step)

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
            videos: A list of what `Video` takes.
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
        formats = video_formats(one_each(format, videos))
        columns = [one_each(column, videos) for column in (fps, captions_of(caption), score)]
        parts = (
            Video(video, rate or _DEFAULT_FPS, line, number, format=file_format)
            for video, rate, line, number, file_format in zip(videos, *columns, formats, strict=True)
        )
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
    return first.joined(others)
