"""Images and videos in any form, as tensors of one or as files that are taken as they are."""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import PIL.Image
import PIL.ImageOps
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_trackplus.media.tensors import has_numbers, readable
from lightning_trackplus.runtime.names import a_type

OneImage: TypeAlias = "Tensor | np.ndarray[Any, Any] | PIL.Image.Image | str | os.PathLike[str]"

OneVideo: TypeAlias = "Tensor | np.ndarray[Any, Any] | str | os.PathLike[str] | io.BytesIO"

_CHANNELS = (1, 3, 4)
_SUFFIXES = {"WEBP": ".webp", "GIF": ".gif"}
# Matroska, of which WebM is a part, says in its first bytes which of both it is.
_MATROSKA, _WEBM, _HEAD = b"\x1a\x45\xdf\xa3", b"webm", 64
_STEPS_OF_16_BITS = 65535 / 255


class Batch(NamedTuple):
    """Images of one size that came together.

    Attributes:
        pixels: Their pixels, shape ``(N, C, H, W)``.
        is_own: Whether no other code can change them.
    """

    pixels: Tensor
    is_own: bool


def batches(image: OneImage, *, has_range: bool) -> Iterator[Batch]:
    """Yield the images of one value; those of a tensor or an array are views of it."""
    match image:
        case Tensor():
            yield Batch(_batch(image, channels_first=True, has_range=has_range), is_own=False)
        case np.ndarray():
            yield Batch(_batch(image, channels_first=False, has_range=has_range), is_own=False)
        case PIL.Image.Image():
            pixels = torch.from_numpy(_from_pillow(image, has_range=has_range))
            yield Batch(_batch(pixels, channels_first=False, has_range=has_range), is_own=True)
        case str() | os.PathLike():
            with PIL.Image.open(Path(image)) as opened:
                yield from batches(opened, has_range=has_range)
        case _:
            raise TypeError(
                f"Image got {a_type(image)}; expected a tensor, an array, a PIL image, a path, or a list of them."
            )


def _from_pillow(image: PIL.Image.Image, *, has_range: bool) -> NDArray[Any]:
    # A camera's file can say that it has to be rotated, and the file we write cannot.
    image = PIL.ImageOps.exif_transpose(image)
    if image.mode == "F":
        return np.array(image)
    if image.mode.startswith("I"):
        levels = np.array(image, dtype=np.int32)
        # Pillow reads pictures of 16 bits so, by version as `I;16` or as `I`.
        return levels if has_range else (levels / np.float32(_STEPS_OF_16_BITS)).clip(0, 255).round().astype(np.uint8)
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        return np.array(image.convert("RGBA"))
    return np.array(image if image.mode in {"1", "L", "RGB"} else image.convert("RGB"))


def _batch(image: Tensor | NDArray[Any], *, channels_first: bool, has_range: bool) -> Tensor:
    """Return the images of shape (N, C, H, W) in a tensor of any shape that `Image` takes."""
    pixels = _readable_pixels(image, "Image", has_range=has_range)
    shape = tuple(pixels.shape)
    batch = None
    if pixels.ndim == 2:
        batch = pixels[None, None]
    elif pixels.ndim == 3:
        channels = _channels_dim(shape, (0, 2), channels_first=channels_first)
        batch = pixels[:, None] if channels is None else _with_channels(pixels[None], channels + 1)
    elif pixels.ndim == 4 and (channels := _channels_dim(shape, (1, 3), channels_first=channels_first)) is not None:
        batch = _with_channels(pixels, channels)
    if batch is None or not batch.numel():
        raise ValueError(
            f"Image got pixels of shape {shape}; expected (C, H, W), (H, W, C) or (H, W), or a batch of these with the"
            " batch first. C is 1, 3 or 4, and no dimension is 0."
        )
    return batch


def _channels_dim(shape: tuple[int, ...], first_and_last: tuple[int, int], *, channels_first: bool) -> int | None:
    fitting = [dim for dim in first_and_last if shape[dim] in _CHANNELS]
    if not fitting:
        return None
    return fitting[0] if channels_first else fitting[-1]


def _with_channels(batch: Tensor, dim: int) -> Tensor:
    """Return a batch of shape (N, C, H, W), of one that has its channels elsewhere."""
    return batch if dim == 1 else batch.permute(0, 3, 1, 2)


@functools.cache
def _is_image_dtype(dtype: torch.dtype, *, has_range: bool) -> bool:
    """Return whether pixels may have a dtype."""
    if dtype.is_complex:
        return False
    if dtype.is_floating_point or has_range:
        return has_numbers(dtype)
    return dtype in (torch.uint8, torch.bool)


def _readable_pixels(given: Tensor | NDArray[Any], owner: str, *, has_range: bool) -> Tensor:
    """Return pixels as a dense tensor; raise a ValueError if pixels cannot have that dtype or layout."""
    pixels = readable(given, owner)
    if pixels is None or not _is_image_dtype(pixels.dtype, has_range=has_range):
        raise ValueError(
            f"{owner} got pixels of {str(given.dtype).removeprefix('torch.')}; expected uint8 in [0, 255], bool, floats"
            " in [0, 1] or [0, 255], or any real numbers with value_range=(black, white)."
        )
    return pixels


class VideoFile(NamedTuple):
    """A video that came as a file.

    Attributes:
        data: The bytes of the file.
        suffix: With its dot.
        width: In pixels; 0 for a film, which is not opened.
        height: In pixels; 0 for a film.
    """

    data: bytes
    suffix: str
    width: int
    height: int


def videos_of(video: OneVideo, *, has_range: bool) -> Iterator[Tensor | VideoFile]:
    """Yield the videos of one value, shape ``(T, C, H, W)``; those of a tensor or an array are views of it."""
    match video:
        case str() | os.PathLike():
            yield _file(Path(video).read_bytes(), f"the file {os.fspath(video)!r}")
        case io.BytesIO():
            yield _file(video.getvalue(), "a file of bytes")
        case Tensor() | np.ndarray():
            yield from _split(video, has_range=has_range)
        case _:
            raise TypeError(
                f"Video got {a_type(video)}; expected a tensor, an array, a path, a BytesIO, or a list of them."
            )


def _file(data: bytes, described: str) -> VideoFile:
    try:
        with PIL.Image.open(io.BytesIO(data), formats=tuple(_SUFFIXES)) as opened:
            return VideoFile(data, _SUFFIXES[str(opened.format)], *opened.size)
    except PIL.UnidentifiedImageError as error:
        if suffix := _film_suffix(data):
            return VideoFile(data, suffix, 0, 0)
        raise ValueError(
            f"Video got {described}, which is neither WebP, GIF, MP4, WebM nor Ogg; expected one of these, which ffmpeg"
            " makes of any film, or the frames as a tensor of shape (T, C, H, W)."
        ) from error


def _film_suffix(data: bytes) -> str | None:
    """Return the suffix of a film, or None if browsers do not play it."""
    if data[4:8] == b"ftyp" and data[8:12] != b"qt  ":
        return ".mp4"
    if data.startswith(_MATROSKA) and _WEBM in data[:_HEAD]:
        return ".webm"
    return ".ogg" if data.startswith(b"OggS") else None


def _split(video: Tensor | NDArray[Any], *, has_range: bool) -> tuple[Tensor, ...]:
    """Return the videos of shape (T, C, H, W) in a tensor of any shape that `Video` takes."""
    frames = _readable_pixels(video, "Video", has_range=has_range)
    shape = tuple(frames.shape)
    fitting = [dim for dim in (frames.ndim - 3, frames.ndim - 1) if frames.ndim in (4, 5) and shape[dim] in _CHANNELS]
    if not fitting or not frames.numel():
        raise ValueError(
            f"Video got frames of shape {shape}; expected (T, C, H, W) or (T, H, W, C), or a batch of these with the"
            " batch first. C is 1, 3 or 4, and no dimension is 0. Single frames make a video by torch.stack(frames)."
        )
    channels = fitting[0] if isinstance(video, Tensor) else fitting[-1]
    batch = frames.movedim(channels, frames.ndim - 3)
    return batch.unbind() if batch.ndim == 5 else (batch,)
