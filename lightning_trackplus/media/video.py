"""Moving images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from numbers import Real
from typing import Any, NamedTuple, TypeAlias, cast, get_args

from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import Self, override

from lightning_trackplus.formats.layout import FILM_SUFFIXES
from lightning_trackplus.media.base import Media
from lightning_trackplus.media.images.file_formats import FORMATS, SLOWEST, VideoFormat, check_size, encode_video
from lightning_trackplus.media.images.pixels import OneVideo, VideoFile, videos_of
from lightning_trackplus.media.images.value_range import (
    AnyRange,
    DetectedRange,
    checked_range,
    detected_range,
    on_host,
    pictures_of,
    ranges_of_copies,
)
from lightning_trackplus.media.tensors import snapshot_tensor
from lightning_trackplus.record import FilesPayload, VideoPayload
from lightning_trackplus.runtime.lists import is_list
from lightning_trackplus.runtime.names import check_choice


class Clip(NamedTuple):
    """The frames of one video of a batch, which may have videos of several rates and formats.

    Attributes:
        frames: Shape ``(T, C, H, W)``.
        fps: Frames per second.
        format: The format of its file.
        value_range: Which floats are black and white.
    """

    frames: Tensor
    fps: float
    format: VideoFormat
    value_range: AnyRange


OneItem: TypeAlias = Clip | VideoFile


class Video(Media[OneItem]):
    """One video or a batch of them, written so that TensorBoard's image tab and every browser play it.

    Args:
        frames: A tensor or an array of shape ``(T, C, H, W)`` or ``(T, H, W, C)``, a batch of these with
            the batch first, a path or a BytesIO of a WebP, GIF, MP4, WebM or Ogg file, which is taken as it
            is, or a list of any of these. C is 1 (grey), 3 (RGB) or 4 (RGBA). Where a shape can be read both
            ways, a tensor has its channels first and an array has them last. The dtype is uint8 in [0, 255],
            bool, or any float in [0, 1] or [0, 255]: a batch with a pixel above 2 is in [0, 255]. Pixels
            outside are clipped, pixels that are NaN are magenta, with a warning that counts them.
        fps: Frames per second, from 0.01 to 1000, and in a GIF to 50; that of a file is in the file.
        caption: A line about the video, or a list with one for each.
        score: A number for the video, or one for each, shape ``(N,)``.
        format: ``"webp"``, lossy of quality 80, or ``"gif"``, of 256 colours per frame, several times as
            large and rarely better; it has no transparency, which becomes white. In both, equal consecutive
            frames become one that lasts longer.
        value_range: Which values are black and white, two finite numbers; then pixels are real numbers of
            any dtype. Bools have no range.

    Raises:
        ValueError: If the shape, the dtype, the rate or an option is not one of these, a file is of another kind,
            films (MP4, WebM, Ogg) are mixed with other videos, frames are too large, or there is not one
            caption or score for each video.
        TypeError: If a video is of another type.
        FileNotFoundError: If there is no file at a path.

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
        value_range: tuple[float, float] | None = None,
    ) -> None:
        check_choice("Video", "format", format, get_args(VideoFormat))
        rate = _checked_rate(fps, format)
        several: Sequence[OneVideo] = frames if is_list(frames) else [cast("OneVideo", frames)]
        has_range = value_range is not None
        black_and_white: AnyRange = checked_range(value_range, "Video") if has_range else None
        videos = [video for given in several for video in videos_of(given, has_range=has_range)]
        clips = [video for video in videos if isinstance(video, Tensor)]
        for frames_given in clips:
            check_size("Video", frames_given.shape[2], frames_given.shape[3], format)
        if black_and_white is None:
            black_and_white = detected_range(clips, are_batches=False)
        items = [Clip(one, rate, format, black_and_white) if isinstance(one, Tensor) else one for one in videos]
        are_films = {_is_film(item) for item in items}
        if len(are_films) > 1:
            raise ValueError("Video got films (MP4, WebM or Ogg) and other videos; log them under two names.")
        self._are_films = are_films == {True}
        super().__init__(items, caption, score)

    @property
    @override
    def media_type(self) -> str:
        """The type of video: films, which TensorBoard does not play, become different payloads."""
        return "Video of films" if self._are_films else "Video"

    @property
    @override
    def nbytes(self) -> int:
        """Memory of frames and files in bytes."""
        return sum(item.frames.nbytes if isinstance(item, Clip) else len(item.data) for item in self._items)

    @override
    def _copied(self) -> Self:
        copy = super()._copied()
        clips = copy._clips
        return copy._with_ranges(ranges_of_copies([clip.value_range for clip in clips], [one.frames for one in clips]))

    def in_one_range(self) -> Self:
        """Return the same videos, with one detected range for all whose range is detected."""
        detected = [clip.frames for clip in self._clips if isinstance(clip.value_range, DetectedRange)]
        together = DetectedRange(detected, len(detected)) if detected else None
        return self._with_ranges(
            [together if isinstance(clip.value_range, DetectedRange) else clip.value_range for clip in self._clips]
        )

    @override
    def encode(self, name: str) -> VideoPayload | FilesPayload:
        """Return the videos as files."""
        if self._are_films:
            films = [item for item in self._items if isinstance(item, VideoFile)]
            items = self._encoded([film.data for film in films], [film.suffix for film in films])
            return FilesPayload(items, VideoPayload.kind)
        pictures = iter(pictures_of(_ranged_frames(self._clips), f"Video {name!r}"))
        files = [
            encode_video(list(islice(pictures, len(item.frames))), item.fps, item.format)
            if isinstance(item, Clip)
            else item.data
            for item in self._items
        ]
        return VideoPayload(self._encoded(files, [_suffix(item) for item in self._items]), *_size(self._items[0]))

    @override
    def snapshot_item(self, item: OneItem) -> OneItem:
        return item._replace(frames=snapshot_tensor(item.frames)) if isinstance(item, Clip) else item

    @property
    def _clips(self) -> list[Clip]:
        return [item for item in self._items if isinstance(item, Clip)]

    def _with_ranges(self, ranges: Sequence[AnyRange]) -> Self:
        """Return the same videos with other ranges for those made of frames."""
        left = iter(ranges)
        items = (item._replace(value_range=next(left)) if isinstance(item, Clip) else item for item in self._items)
        return self._with(tuple(items), self._captions, self._scores)


def _checked_rate(fps: float, file_format: VideoFormat) -> float:
    if isinstance(fps, Real) and not isinstance(fps, bool) and SLOWEST <= fps <= FORMATS[file_format].fastest:
        return float(fps)
    raise ValueError(
        f'Video got fps={fps!r}; expected frames per second, with format="{file_format}" a number from {SLOWEST} to'
        f" {FORMATS[file_format].fastest}."
    )


def _ranged_frames(clips: Sequence[Clip]) -> Iterator[tuple[NDArray[Any], AnyRange]]:
    """Yield the frames of all videos and their ranges; one video at a time is on the host in full."""
    for clip in clips:
        for frame in on_host(clip.frames, has_range=isinstance(clip.value_range, tuple)):
            yield frame, clip.value_range


def _is_film(item: OneItem) -> bool:
    return isinstance(item, VideoFile) and item.suffix in FILM_SUFFIXES


def _suffix(item: OneItem) -> str:
    return f".{item.format}" if isinstance(item, Clip) else item.suffix


def _size(item: OneItem) -> tuple[int, int]:
    """Return width and height."""
    return (item.frames.shape[3], item.frames.shape[2]) if isinstance(item, Clip) else (item.width, item.height)
