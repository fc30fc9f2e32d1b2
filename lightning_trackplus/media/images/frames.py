"""Moving images in any form: as tensors of frames, or as files that need nothing done."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import PIL.Image
from torch import Tensor

from lightning_trackplus.media.images.pixels import is_image_dtype
from lightning_trackplus.media.tensors import readable

OneVideo: TypeAlias = "Tensor | np.ndarray[Any, Any] | str | os.PathLike[str] | io.BytesIO"

FILM_SUFFIXES = (".mp4", ".webm", ".ogg")
"""The suffixes of films, which TensorBoard does not play."""

_CHANNELS = (1, 3, 4)
_SUFFIXES = {"WEBP": ".webp", "GIF": ".gif"}
# Matroska, of which WebM is a part, says in its first bytes which of both it is.
_MATROSKA, _WEBM, _HEAD = b"\x1a\x45\xdf\xa3", b"webm", 64


class VideoFile(NamedTuple):
    """A video that came as a file.

    Attributes:
        data: The bytes of the file.
        suffix: With its dot.
        width: In pixels; 0 if it is a film, which is not looked into.
        height: In pixels; 0 if it is a film.
    """

    data: bytes
    suffix: str
    width: int
    height: int


def videos_of(video: OneVideo, *, has_range: bool) -> Iterator[Tensor | VideoFile]:
    """Yield the videos that one value stands for, of shape ``(T, C, H, W)``; those of a tensor or an array are views.

    Raises:
        ValueError: If it has a shape or a dtype that videos have not, or is a file of another kind.
        TypeError: If it is of another type.
        FileNotFoundError: If a path leads nowhere.
    """
    match video:
        case str() | os.PathLike():
            yield _file(Path(video).read_bytes(), f"the file {os.fspath(video)!r}")
        case io.BytesIO():
            yield _file(video.getvalue(), "a file of bytes")
        case Tensor() | np.ndarray():
            yield from _split(video, has_range=has_range)
        case _:
            raise TypeError(
                f"Video got a {type(video).__name__}; give a tensor, an array, a path, a BytesIO, or a list of them."
            )


def _file(data: bytes, described: str) -> VideoFile:
    try:
        with PIL.Image.open(io.BytesIO(data), formats=tuple(_SUFFIXES)) as opened:
            return VideoFile(data, _SUFFIXES[str(opened.format)], *opened.size)
    except PIL.UnidentifiedImageError as error:
        if suffix := _film_suffix(data):
            return VideoFile(data, suffix, 0, 0)
        raise ValueError(
            f"Video got {described}, which is neither WebP, GIF, MP4, WebM nor Ogg; give one of these, which ffmpeg"
            " makes of any film, or the frames as a tensor of shape (T, C, H, W)."
        ) from error


def _film_suffix(data: bytes) -> str | None:
    """Return what the name of a film ends with; None if it is none that browsers play."""
    if data[4:8] == b"ftyp" and data[8:12] != b"qt  ":
        return ".mp4"
    if data.startswith(_MATROSKA) and _WEBM in data[:_HEAD]:
        return ".webm"
    return ".ogg" if data.startswith(b"OggS") else None


def _split(video: Tensor | np.ndarray[Any, Any], *, has_range: bool) -> tuple[Tensor, ...]:
    """Return the videos of shape (T, C, H, W) in a tensor of any shape that `Video` takes."""
    frames = readable(video, "Video")
    if frames is None or not is_image_dtype(frames.dtype, has_range=has_range):
        raise ValueError(
            f"Video got pixels of {str(video.dtype).removeprefix('torch.')}; give uint8 in [0, 255], bool, floats in"
            " [0, 1] or [0, 255], or any real numbers with value_range=(black, white)."
        )
    shape = tuple(frames.shape)
    fitting = [dim for dim in (frames.ndim - 3, frames.ndim - 1) if frames.ndim in (4, 5) and shape[dim] in _CHANNELS]
    if not fitting or not frames.numel():
        raise ValueError(
            f"Video got frames of shape {shape}; give (T, C, H, W) or (T, H, W, C), or a batch of these with the batch"
            " first. C is 1, 3 or 4, and no dimension is 0. Single frames make a video by torch.stack(frames)."
        )
    channels = fitting[0] if isinstance(video, Tensor) else fitting[-1]
    batch = frames.movedim(channels, frames.ndim - 3)
    return batch.unbind() if batch.ndim == 5 else (batch,)
