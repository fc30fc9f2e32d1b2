"""Pictures as the bytes of a file: PNG, WebP or JPEG."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import PIL.Image

from lightning_trackplus.media.images.png import png
from lightning_trackplus.media.images.value_range import Picture
from lightning_trackplus.runtime.names import did_you_mean

Format: TypeAlias = Literal["png", "webp", "jpeg"]

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_WHITE = 255


class _FileFormat(NamedTuple):
    """A kind of file.

    Attributes:
        title: Its name.
        longest: The most pixels that a side may have.
        encode: Returns a picture as the bytes of a file.
    """

    title: str
    longest: int
    encode: Callable[[Picture], bytes]


def encoded(picture: Picture, file_format: Format) -> bytes:
    """Return a picture as the bytes of a file.

    Raises:
        ValueError: If a side is too long.
    """
    _, height, width = picture.shape
    check_size(height, width, file_format)
    return _FORMATS[file_format].encode(picture)


def check_format(file_format: str) -> None:
    """Raise an error unless pictures can be written in a format.

    Raises:
        ValueError: If it is none of ours.
    """
    if file_format not in get_args(Format):
        guess = did_you_mean(str(file_format), get_args(Format))
        raise ValueError(f'Image got format={file_format!r}; give "png", "webp" or "jpeg".{guess}')


def check_size(height: int, width: int, file_format: Format) -> None:
    """Raise an error unless a picture of some size can be written in a format.

    Raises:
        ValueError: If a side is too long.
    """
    title, longest, _ = _FORMATS[file_format]
    if max(height, width) > longest:
        raise ValueError(
            f"Image got a picture of {width} x {height} pixels, and {title} has at most {longest} on a side; give a"
            ' smaller one, or format="png".'
        )


def as_pillow(picture: Picture) -> PIL.Image.Image:
    """Return a picture as Pillow has it."""
    mode = _MODES[len(picture)]
    pixels = picture.transpose(1, 2, 0)
    if len(picture) > 1 and not pixels.flags.c_contiguous:
        # To let Pillow put the channels side by side takes a third of numpy's time.
        return PIL.Image.merge(mode, [PIL.Image.fromarray(np.ascontiguousarray(channel)) for channel in picture])
    return PIL.Image.fromarray(np.ascontiguousarray(pixels if len(picture) > 1 else picture[0]))


def opaque(picture: PIL.Image.Image) -> PIL.Image.Image:
    """Return a picture in front of white."""
    if picture.mode != "RGBA":
        return picture
    background = PIL.Image.new("RGBA", picture.size, (_WHITE,) * 4)
    return PIL.Image.alpha_composite(background, picture).convert("RGB")


def _webp(picture: Picture) -> bytes:
    file = io.BytesIO()
    # The colours of transparent pixels are kept. A lossless file's "quality" is the work it takes.
    as_pillow(picture).save(file, "WEBP", lossless=True, method=0, quality=0, exact=True)
    return file.getvalue()


def _jpeg(picture: Picture) -> bytes:
    file = io.BytesIO()
    opaque(as_pillow(picture)).save(file, "JPEG", quality=90)
    return file.getvalue()


_FORMATS: Mapping[Format, _FileFormat] = {
    "png": _FileFormat("PNG", 2**31 - 1, png),
    "webp": _FileFormat("WebP", 16383, _webp),
    "jpeg": _FileFormat("JPEG", 65500, _jpeg),
}
