"""Images in any form, as tensors of one."""

from __future__ import annotations

import functools
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

from lightning_trackplus.media.tensors import as_tensor, has_numbers

OneImage: TypeAlias = "Tensor | np.ndarray[Any, Any] | PIL.Image.Image | str | os.PathLike[str]"

_CHANNELS = (1, 3, 4)
_STEPS_OF_16_BITS = 65535 / 255


class Batch(NamedTuple):
    """Images of one size that came together.

    Attributes:
        pixels: Their pixels, shape ``(N, C, H, W)``.
        is_own: Whether nobody else can change them.
    """

    pixels: Tensor
    is_own: bool


def batches(image: OneImage, *, has_range: bool) -> Iterator[Batch]:
    """Yield the images that one value stands for; those of a tensor or an array are views of it.

    Raises:
        ValueError: If it has a shape, a dtype or a layout that images have not.
        TypeError: If it is of another type.
        FileNotFoundError: If a path leads nowhere.
    """
    match image:
        case Tensor():
            yield Batch(_batch(_dense(image.detach()), channels_first=True, has_range=has_range), is_own=False)
        case np.ndarray():
            yield Batch(_batch(_from_array(image), channels_first=False, has_range=has_range), is_own=False)
        case PIL.Image.Image():
            pixels = torch.from_numpy(_from_pillow(image, has_range=has_range))
            yield Batch(_batch(pixels, channels_first=False, has_range=has_range), is_own=True)
        case str() | os.PathLike():
            with PIL.Image.open(Path(image)) as opened:
                yield from batches(opened, has_range=has_range)
        case _:
            raise TypeError(
                f"Image got a {type(image).__name__}; give a tensor, an array, a PIL image, a path, or a list of them."
            )


def _dense(pixels: Tensor) -> Tensor:
    if pixels.is_nested:
        raise ValueError("Image got a nested tensor; give a list of its tensors: pixels.unbind().")
    if pixels.is_quantized:
        raise ValueError("Image got a quantized tensor; give its numbers: pixels.dequantize().")
    if pixels.layout is not torch.strided:
        raise ValueError("Image got a sparse tensor; give a dense one: pixels.to_dense().")
    if pixels.is_meta:
        raise ValueError("Image got a tensor on the device 'meta', where it has no pixels; give one with values.")
    return pixels


def _from_array(array: NDArray[Any]) -> Tensor:
    if array.dtype.kind not in "biuf":
        raise ValueError(_wrong_dtype(array.dtype))
    return as_tensor(array)


def _from_pillow(image: PIL.Image.Image, *, has_range: bool) -> NDArray[Any]:
    # A camera's file can say that it is to be shown turned, and the file we write cannot.
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


def _batch(pixels: Tensor, *, channels_first: bool, has_range: bool) -> Tensor:
    """Return the images of shape (N, C, H, W) in a tensor of any shape that `Image` takes."""
    if not is_image_dtype(pixels.dtype, has_range=has_range):
        raise ValueError(_wrong_dtype(pixels.dtype))
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
            f"Image got pixels of shape {shape}; give (C, H, W), (H, W, C) or (H, W), or a batch of these with the"
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
def is_image_dtype(dtype: torch.dtype, *, has_range: bool) -> bool:
    """Return whether pixels may have a dtype.

    Args:
        dtype: The dtype.
        has_range: Whether it was said which pixels are black and white.
    """
    if dtype.is_complex:
        return False
    if dtype.is_floating_point or has_range:
        return has_numbers(dtype)
    return dtype in (torch.uint8, torch.bool)


def _wrong_dtype(dtype: torch.dtype | np.dtype[Any]) -> str:
    return (
        f"Image got pixels of {str(dtype).removeprefix('torch.')}; give uint8 in [0, 255], bool, floats in [0, 1] or"
        " [0, 255], or any real numbers with value_range=(black, white)."
    )
