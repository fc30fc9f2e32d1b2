"""Images."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import PIL.Image
import PIL.ImageOps
import torch
from torch import Tensor

from lightning_trackplus.media.media import Media
from lightning_trackplus.record import Pictures

OneImage: TypeAlias = "Tensor | np.ndarray[Any, Any] | PIL.Image.Image | str | os.PathLike[str]"

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_BRIGHTEST_UNIT_PIXEL = 2.0
_STEPS_OF_16_BITS = 65535 / 255


class Image(Media[Tensor]):
    """One image or a batch of them, written as PNG and shown in TensorBoard's image tab.

    Args:
        pixels: A tensor or an array of shape ``(C, H, W)``, ``(H, W, C)`` or ``(H, W)``, a batch
            ``(N, C, H, W)``, ``(N, H, W, C)`` or ``(N, H, W)``, a PIL image, a path of an image
            file, or a list of any of these. C is 1 (grey), 3 (RGB) or 4 (RGBA). Where a shape can be
            read both ways, a tensor has its channels first and an array has them last, and three
            dimensions that begin or end with 1, 3 or 4 are one image. The dtype is uint8 in [0, 255],
            bool, or any float in [0, 1] or [0, 255]: a batch with a pixel above 2 is in [0, 255].
        caption: A line about the image, or a list with one for each.
        score: A number for the image, or one for each, shape ``(N,)``.

    Raises:
        ValueError: If the shape or the dtype is none of these, or there is another number of
            captions or scores than of images.
        TypeError: If an image is of another type.
        FileNotFoundError: If a path leads nowhere.

    Examples:
        >>> import torch
        >>> Image(torch.rand(8, 3, 32, 32), caption=[f"sample {i}" for i in range(8)])
        <Image: 8 items>
    """

    def __init__(
        self,
        pixels: OneImage | Sequence[OneImage],
        caption: str | Sequence[str] | None = None,
        score: float | Sequence[float] | Tensor | None = None,
    ) -> None:
        several: Sequence[OneImage] = pixels if isinstance(pixels, list | tuple) else [cast("OneImage", pixels)]
        super().__init__([image for one in several for image in _images(one)], caption, score)

    @property
    def nbytes(self) -> int:
        """Memory that the pixels hold, in bytes."""
        return sum(image.nbytes for image in self._items)

    def encode(self, name: str) -> Pictures:
        """Return the images as PNG.

        Args:
            name: The name they were logged under, for warnings.
        """
        images = [image.cpu().float() if image.is_floating_point() else image.cpu() for image in self._items]
        scale = _float_scale(images)
        images = [image * scale if image.is_floating_point() else image for image in images]
        _warn_of_pixels(sum(int(image.isnan().sum()) for image in images), "are NaN and drawn black", name)
        outside = sum(int(((image < -0.5) | (image > 255.5)).sum()) for image in images)
        _warn_of_pixels(outside, "lie outside [0, 1] or [0, 255] and are clipped", name)
        files = [_png(_to_bytes(image)) for image in images]
        height, width = images[0].shape[1:]
        return Pictures(self._encoded(files, ".png"), width, height)

    def _snapshot_of(self, item: Tensor) -> Tensor:
        return item.clone()


def _images(image: OneImage) -> Iterator[Tensor]:
    """Yield images of shape (C, H, W); those of a tensor are views of it."""
    match image:
        case Tensor():
            yield from _split(image.detach(), channels_first=True)
        case np.ndarray():
            yield from _split(torch.from_numpy(np.array(image)), channels_first=False)
        case PIL.Image.Image():
            yield from _split(torch.from_numpy(_pixels(image)), channels_first=False)
        case str() | os.PathLike():
            with PIL.Image.open(Path(image)) as opened:
                yield from _images(opened)
        case _:
            raise TypeError(
                f"Image got a {type(image).__name__}; give a tensor, an array, a PIL image, a path, or a list of them."
            )


def _pixels(image: PIL.Image.Image) -> np.ndarray[Any, Any]:
    # A camera's file can say that it is to be shown turned, and a PNG cannot.
    image = PIL.ImageOps.exif_transpose(image)
    if image.mode == "F":
        return np.array(image)
    if image.mode.startswith("I"):
        # Pillow reads pictures of 16 bits so, by version as `I;16` or as `I`.
        return (np.array(image, dtype=np.float32) / _STEPS_OF_16_BITS).clip(0, 255).round().astype(np.uint8)
    if image.has_transparency_data:
        return np.array(image.convert("RGBA"))
    return np.array(image if image.mode in {"1", *_MODES.values()} else image.convert("RGB"))


def _split(pixels: Tensor, *, channels_first: bool) -> tuple[Tensor, ...]:
    """Return the images of shape (C, H, W) in a tensor of any shape that `Image` takes."""
    if pixels.dtype not in (torch.uint8, torch.bool) and not pixels.is_floating_point():
        raise ValueError(
            f"Image got pixels of {pixels.dtype}; give uint8 in [0, 255], bool, or floats in [0, 1] or [0, 255]."
        )
    shape = tuple(pixels.shape)
    batch = None
    if pixels.ndim == 2:
        batch = pixels[None, None]
    elif pixels.ndim == 3:
        channels = _channels_dim(shape, (0, 2), channels_first=channels_first)
        batch = pixels[:, None] if channels is None else pixels.movedim(channels, 0)[None]
    elif pixels.ndim == 4 and (channels := _channels_dim(shape, (1, 3), channels_first=channels_first)) is not None:
        batch = pixels.movedim(channels, 1)
    if batch is None or not batch.numel():
        raise ValueError(
            f"Image got pixels of shape {shape}; give (C, H, W), (H, W, C) or (H, W), or a batch of these with the"
            " batch first. C is 1, 3 or 4, and no dimension is 0."
        )
    return batch.unbind()


def _channels_dim(shape: tuple[int, ...], first_and_last: tuple[int, int], *, channels_first: bool) -> int | None:
    fitting = [dim for dim in first_and_last if shape[dim] in _MODES]
    if not fitting:
        return None
    return fitting[0] if channels_first else fitting[-1]


def _float_scale(images: Sequence[Tensor]) -> float:
    """Return what takes the floats of a batch to [0, 255]."""
    brightest = (image.nan_to_num(nan=0.0, posinf=0.0).max().item() for image in images if image.is_floating_point())
    return 1.0 if max(brightest, default=0.0) > _BRIGHTEST_UNIT_PIXEL else 255.0


def _to_bytes(image: Tensor) -> Tensor:
    if image.is_floating_point():
        return image.nan_to_num(nan=0.0).clamp(0, 255).round().to(torch.uint8)
    return image if image.dtype == torch.uint8 else image.to(torch.uint8) * 255


def _warn_of_pixels(count: int, what: str, name: str) -> None:
    if count:
        warnings.warn(f"Image {name!r}: {count} pixel values {what}.", stacklevel=2)


def _png(image: Tensor) -> bytes:
    channels = image.shape[0]
    pixels = image[0] if channels == 1 else image.movedim(0, 2)
    file = io.BytesIO()
    PIL.Image.fromarray(pixels.contiguous().numpy(), _MODES[channels]).save(file, "PNG")
    return file.getvalue()
