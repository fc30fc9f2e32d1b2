"""Moving images."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from numbers import Real
from typing import Any, NamedTuple, TypeAlias, cast

import PIL.Image
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from lightning_trackplus.lists import is_list
from lightning_trackplus.media.copied import copied
from lightning_trackplus.media.media import Media
from lightning_trackplus.media.pictures.animation import (
    SLOWEST,
    VideoFormat,
    check_format,
    check_size,
    encoded,
    fastest,
)
from lightning_trackplus.media.pictures.brightness import float_range, on_host, shown
from lightning_trackplus.media.pictures.frames import OneVideo, VideoFile, videos_of
from lightning_trackplus.media.pictures.picture_files import as_pillow
from lightning_trackplus.record import Videos


class Clip(NamedTuple):
    """The frames of one video of a batch; videos of several rates and formats can stand in one batch.

    Attributes:
        frames: Shape ``(T, C, H, W)``.
        fps: Frames a second.
        format: What it becomes.
    """

    frames: Tensor
    fps: float
    format: VideoFormat


OneItem: TypeAlias = Clip | VideoFile


class Video(Media[OneItem]):
    """One video or a batch of them, written so that TensorBoard's image tab and every browser play it.

    Args:
        frames: A tensor or an array of shape ``(T, C, H, W)`` or ``(T, H, W, C)``, a batch of these with
            the batch first, a path of a WebP or GIF file, which is taken as it is, or a list of any of
            these. C is 1 (grey), 3 (RGB) or 4 (RGBA). Where a shape can be read both ways, a tensor has its
            channels first and an array has them last. The dtype is uint8 in [0, 255], bool, or any float in
            [0, 1] or [0, 255]: a batch with a pixel above 2 is in [0, 255]. Pixels outside are clipped,
            pixels that are NaN are magenta, with a warning that counts them.
        fps: Frames a second, from 0.01 to 1000, and in a GIF to 50. A file has its own, which counts.
        caption: A line about the video, or a list with one for each.
        score: A number for the video, or one for each, shape ``(N,)``.
        format: ``"webp"``, lossy of quality 80, or ``"gif"``, of 256 colours a frame, several times as
            large and seldom better; it has no transparency, which becomes white. In both, frames that
            look alike become one that lasts longer.

    Raises:
        ValueError: If the shape, the dtype, the rate or the format is none of these, a file is neither WebP
            nor GIF, frames are too large, or there is another number of captions or scores than of videos.
        TypeError: If a video is of another type.
        FileNotFoundError: If a path leads nowhere.

    Examples:
        >>> import torch
        >>> Video(torch.rand(8, 3, 32, 32), fps=2)
        <Video: 1 item>
        >>> Video(torch.rand(5, 8, 3, 32, 32), score=[0.1, 0.2, 0.3, 0.4, 0.5])
        <Video: 5 items>
    """

    def __init__(
        self,
        frames: OneVideo | Sequence[OneVideo],
        fps: float = 4,
        caption: str | Sequence[str] | None = None,
        score: float | Sequence[float] | Tensor | None = None,
        *,
        format: VideoFormat = "webp",  # noqa: A002  as W&B calls it
    ) -> None:
        check_format(format)
        rate = _checked_rate(fps, format)
        several: Sequence[OneVideo] = frames if is_list(frames) else [cast("OneVideo", frames)]
        items: list[OneItem] = []
        for one in [video for given in several for video in videos_of(given)]:
            if isinstance(one, Tensor):
                check_size(one.shape[2], one.shape[3], format)
            items.append(Clip(one, rate, format) if isinstance(one, Tensor) else one)
        super().__init__(items, caption, score)

    @property
    @override
    def nbytes(self) -> int:
        """Memory that frames and files hold, in bytes."""
        return sum(item.frames.nbytes if isinstance(item, Clip) else len(item.data) for item in self._items)

    @override
    def encode(self, name: str) -> Videos:
        """Return the videos as files.

        Args:
            name: The name they were logged under, for warnings.
        """
        pixels = [on_host(item.frames, has_range=False) for item in self._items if isinstance(item, Clip)]
        clips = iter(_pictures(pixels, name))
        files = [
            encoded(next(clips), item.fps, item.format) if isinstance(item, Clip) else item.data for item in self._items
        ]
        return Videos(self._encoded(files, [_suffix(item) for item in self._items]), *_size(self._items[0]))

    @override
    def _snapshot_of(self, item: OneItem) -> OneItem:
        return item._replace(frames=copied(item.frames)) if isinstance(item, Clip) else item


def _checked_rate(fps: float, file_format: VideoFormat) -> float:
    if isinstance(fps, Real) and not isinstance(fps, bool) and SLOWEST <= fps <= fastest(file_format):
        return float(fps)
    raise ValueError(
        f'Video got fps={fps!r}; give frames a second, with format="{file_format}" a number from {SLOWEST} to'
        f" {fastest(file_format)}."
    )


def _pictures(videos: Sequence[NDArray[Any]], name: str) -> list[list[PIL.Image.Image]]:
    """Return the frames of each video as Pillow has them, with a warning of what could not be shown."""
    value_range = float_range(videos)
    nan_count = outside_count = 0
    pictures = []
    for frames in videos:
        drawn = [shown(frame, value_range) for frame in frames]
        pictures.append([as_pillow(one.picture) for one in drawn])
        nan_count += sum(one.nan_count for one in drawn)
        outside_count += sum(one.outside_count for one in drawn)
    _warn(f"{nan_count} pixels are NaN and drawn in magenta", nan_count, name)
    _warn(f"{outside_count} pixel values lie outside [0, 1] or [0, 255] and are clipped", outside_count, name)
    return pictures


def _warn(what: str, count: int, name: str) -> None:
    if count:
        warnings.warn(f"Video {name!r}: {what}.", stacklevel=4)


def _suffix(item: OneItem) -> str:
    return f".{item.format}" if isinstance(item, Clip) else item.suffix


def _size(item: OneItem) -> tuple[int, int]:
    """Return width and height."""
    return (item.frames.shape[3], item.frames.shape[2]) if isinstance(item, Clip) else (item.width, item.height)
