"""Pixels of any dtype as bytes: which values are black and white, and what to do with NaN and values outside."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_trackplus.runtime.lists import is_list

Picture: TypeAlias = NDArray[np.uint8]
"""A picture of shape ``(C, H, W)``; C is 1 (grey), 3 (RGB) or 4 (RGBA)."""

ValueRange: TypeAlias = tuple[float, float]
"""Which values are black and white."""

# Beyond this, the difference of two values overflows float32.
_LARGEST = 1e30
_BRIGHTEST_UNIT_PIXEL = 2.0
_UNIT, _BYTES = (0.0, 1.0), (0.0, 255.0)
_MAGENTA = (255, 0, 255, 255)


class DetectedRange:
    """Detects whether floats are in [0, 1] or [0, 255]: by the brightest pixel of all pictures of a batch.

    Examples:
        >>> DetectedRange([torch.tensor([0.5, 3.0])], 1).wait()
        (0.0, 255.0)
    """

    __slots__ = ("_are_bytes", "_range", "_unmeasured", "count")

    def __init__(self, pixels: Sequence[Tensor], count: int) -> None:
        self.count = count
        self._unmeasured = pixels
        self._are_bytes: Sequence[Tensor | bool] = ()
        self._range: ValueRange | None = None

    def measure(self) -> None:
        """Measure all pixels on their device without waiting for it, and release them."""
        if self._unmeasured:
            self._are_bytes = [_are_bytes(one) for one in self._unmeasured if one.is_floating_point()]
            self._unmeasured = ()

    def wait(self) -> ValueRange:
        """Return the range, after waiting for the device."""
        if self._range is None:
            self.measure()
            self._range = _BYTES if any(map(bool, self._are_bytes)) else _UNIT
        return self._range


AnyRange: TypeAlias = ValueRange | DetectedRange | None
"""The range of a picture; None if it has no floats and needs none."""


def detected_range(pixels: Sequence[Tensor], *, are_batches: bool) -> DetectedRange | None:
    """Return the range of the pictures of one batch; None if none of them has floats."""
    for one in pixels:
        if one.is_floating_point():
            return DetectedRange(pixels, sum(map(len, pixels)) if are_batches else len(pixels))
    return None


def waited_for(value_range: AnyRange) -> ValueRange:
    """Return a range, after waiting for its detection."""
    return value_range.wait() if isinstance(value_range, DetectedRange) else value_range or _UNIT


def range_of_copies(value_range: AnyRange, copies: Sequence[Tensor], count: int) -> AnyRange:
    """Return the range of copies of pictures of one batch, without waiting for a device.

    If all pictures were copied, the copies are measured when they are encoded. Otherwise the originals are, now.
    """
    if isinstance(value_range, DetectedRange):
        if value_range.count == count:
            return DetectedRange(copies, count)
        value_range.measure()
    return value_range


def ranges_of_copies(ranges: Sequence[AnyRange], copies: Sequence[Tensor]) -> list[AnyRange]:
    """Return the ranges of copies of pictures of one batch or several, without waiting for a device."""
    if all(one is ranges[0] for one in ranges[1:]):
        return [range_of_copies(one, copies, len(ranges)) for one in ranges[:1]] * len(ranges)
    return [range_of_copies(one, (), 0) for one in ranges]


class ScaledPicture(NamedTuple):
    """A picture, and how many of its pixels could not be shown.

    Attributes:
        picture: The picture.
        nan_count: How many pixels are NaN in some channel; they are magenta.
        outside_count: How many values are darker than black or brighter than white.
    """

    picture: Picture
    nan_count: int = 0
    outside_count: int = 0


def checked_range(value_range: Any, owner: str) -> ValueRange:
    """Return a range from the user; raise a ValueError if it is not one."""
    if is_list(value_range) and len(value_range) == 2 and all(isinstance(one, Real) for one in value_range):
        black, white = value_range
        if -_LARGEST < black < white < _LARGEST and white - black > 1 / _LARGEST:
            return float(black), float(white)
    raise ValueError(
        f"{owner} got value_range={value_range!r}; expected two numbers, which values are black and which are white,"
        " such as (-1.0, 1.0)."
    )


def on_host(pixels: Tensor, *, has_range: bool) -> NDArray[Any]:
    """Return pixels as bytes, bools or floats of numpy; ``has_range`` says that the user gave a range."""
    pixels = pixels.cpu().resolve_neg()
    if pixels.dtype == torch.bool or (pixels.dtype == torch.uint8 and not has_range):
        return pixels.numpy()
    # A range can be narrow and far from 0, where float32 is not exact enough.
    is_wide = pixels.element_size() >= 4 and pixels.dtype != torch.float32
    return (pixels.double() if has_range and is_wide else pixels.float()).numpy()


def scaled_to_bytes(pixels: NDArray[Any], value_range: ValueRange) -> ScaledPicture:
    """Return a picture of pixels of shape ``(C, H, W)``; bytes and bools are taken as they are."""
    if pixels.dtype == np.uint8:
        return ScaledPicture(pixels)
    if pixels.dtype == np.bool_:
        return ScaledPicture(pixels * np.uint8(255))
    black, white = value_range
    with np.errstate(over="ignore", invalid="ignore"):
        levels = pixels - pixels.dtype.type(black) if black else pixels
        levels = levels * pixels.dtype.type(255 / (white - black))
        levels += 0.5
        # A comparison with NaN is false.
        if levels.min() >= 0 and levels.max() < 256:
            return ScaledPicture(levels.astype(np.uint8))
    return _marked(levels)


def pictures_of(ranged_pixels: Iterable[tuple[NDArray[Any], AnyRange]], logged: str) -> list[Picture]:
    """Return pictures of pixels of shape ``(C, H, W)``; warn of NaN and of values outside of their ranges."""
    pictures, nan_count, outside = [], 0, Counter[str]()
    for pixels, value_range in ranged_pixels:
        scaled = scaled_to_bytes(pixels, waited_for(value_range))
        pictures.append(scaled.picture)
        nan_count += scaled.nan_count
        outside[_in_words(value_range)] += scaled.outside_count
    if nan_count:
        warnings.warn(f"{logged}: {nan_count} pixels are NaN and drawn in magenta.", stacklevel=2)
    for words, count in (+outside).items():
        warnings.warn(f"{logged}: {count} pixel values lie outside {words}", stacklevel=2)
    return pictures


def _in_words(value_range: AnyRange) -> str:
    """Return the end of the warning about clipped values."""
    if not isinstance(value_range, tuple):
        return "[0, 1] or [0, 255] and are clipped; use value_range=(black, white) for another range."
    return "[{:g}, {:g}] and are clipped.".format(*value_range)


def _are_bytes(pixels: Tensor) -> Tensor | bool:
    """Return whether floats are in [0, 255]; for floats on a device, a tensor there."""
    if pixels.device.type == "cpu":
        return _brightest(on_host(pixels, has_range=False)) > _BRIGHTEST_UNIT_PIXEL
    # Floats of one byte cannot be compared.
    pixels = pixels.float() if pixels.element_size() == 1 else pixels
    return ((pixels > _BRIGHTEST_UNIT_PIXEL) & (pixels < torch.inf)).any()


def _brightest(pixels: NDArray[Any]) -> float:
    with np.errstate(invalid="ignore"):
        brightest = pixels.max()
    if not np.isfinite(brightest):
        brightest = pixels.max(where=np.isfinite(pixels), initial=0.0)
    return float(brightest)


def _marked(levels: NDArray[Any]) -> ScaledPicture:
    """Return a picture of levels, some of which are NaN or outside [0, 256)."""
    is_nan = np.isnan(levels)
    outside_count = int(((levels < 0) | (levels >= 256)).sum())
    picture = np.where(is_nan, 0, levels).clip(0, 255).astype(np.uint8)
    strange = is_nan.any(axis=0)
    if not strange.any():
        return ScaledPicture(picture, 0, outside_count)
    picture = picture.repeat(3, axis=0) if len(picture) == 1 else picture
    picture[:, strange] = np.array(_MAGENTA[: len(picture)], np.uint8)[:, np.newaxis]
    return ScaledPicture(picture, int(strange.sum()), outside_count)
