"""Moving images in any form: as tensors of frames, or as files that need nothing done."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from lightning_trackplus.media.arrays import is_float, readable

OneVideo: TypeAlias = "Tensor | np.ndarray[Any, Any] | str | os.PathLike[str]"

_CHANNELS = (1, 3, 4)
_SUFFIXES = {"WEBP": ".webp", "GIF": ".gif"}


class VideoFile(NamedTuple):
    """A video that came as a file.

    Attributes:
        data: The bytes of the file.
        suffix: With its dot.
        width: In pixels.
        height: In pixels.
    """

    data: bytes
    suffix: str
    width: int
    height: int


def videos_of(video: OneVideo) -> Iterator[Tensor | VideoFile]:
    """Yield the videos that one value stands for, of shape ``(T, C, H, W)``; those of a tensor or an array are views.

    Args:
        video: Whatever `Video` takes, but for a list.

    Raises:
        ValueError: If it has a shape or a dtype that videos have not, or is a file of another kind.
        TypeError: If it is of another type.
        FileNotFoundError: If a path leads nowhere.
    """
    match video:
        case str() | os.PathLike():
            yield _read(video)
        case Tensor() | np.ndarray():
            yield from _split(video)
        case _:
            raise TypeError(f"Video got a {type(video).__name__}; give a tensor, an array, a path, or a list of them.")


def _read(path: str | os.PathLike[str]) -> VideoFile:
    data = Path(path).read_bytes()
    try:
        with PIL.Image.open(io.BytesIO(data), formats=tuple(_SUFFIXES)) as opened:
            return VideoFile(data, _SUFFIXES[str(opened.format)], *opened.size)
    except PIL.UnidentifiedImageError as error:
        raise ValueError(
            f"Video got the file {os.fspath(path)!r}, which is neither WebP nor GIF; give one of these, or the frames"
            " as a tensor of shape (T, C, H, W)."
        ) from error


def _split(video: Tensor | np.ndarray[Any, Any]) -> tuple[Tensor, ...]:
    """Return the videos of shape (T, C, H, W) in a tensor of any shape that `Video` takes."""
    frames = readable(video, "Video")
    if frames is None or not (frames.dtype in (torch.uint8, torch.bool) or is_float(frames.dtype)):
        raise ValueError(
            f"Video got pixels of {str(video.dtype).removeprefix('torch.')}; give uint8 in [0, 255], bool, or floats in"
            " [0, 1] or [0, 255]."
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
