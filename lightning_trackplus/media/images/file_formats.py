"""Images and videos as the bytes of a file: PNG, WebP, JPEG and GIF.

PNG is written here and not by Pillow, which takes seven times as long; its format is that of the W3C's PNG
specification, third edition.
"""

from __future__ import annotations

import importlib
import io
import itertools
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from lightning_trackplus.media.images.value_range import Picture

try:
    isal_zlib: Any = importlib.import_module("isal.isal_zlib")
except ImportError:  # It is optional.
    isal_zlib = None

ImageFormat: TypeAlias = Literal["png", "webp", "jpeg"]
VideoFormat: TypeAlias = Literal["webp", "gif"]

SLOWEST = 0.01
"""The fewest frames per second: both video formats store the duration of a frame in few bits."""

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_WHITE = 255
_FOREVER = 0

_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}
_UP, _PAETH = 2, 4
# So many bytes are filtered at once that the arrays in between stay in the processor's cache.
_CACHED_BYTES = 2**17
# A photograph compresses to a sixth of its bytes at best, since it has no long repetitions. A picture that compresses
# better is a drawing, which has them, so that searching for them pays.
_DRAWING = 1 / 8


class FileFormat(NamedTuple):
    """A file format and its limits.

    Attributes:
        title: Its name.
        longest: The most pixels that a side may have.
        encode_image: Returns a picture as the bytes of a file.
        encode_frames: Returns frames as the bytes of a file, given how long each lasts in milliseconds.
        fastest: The most frames per second.
        tick: The unit of the duration of a frame, in milliseconds.
    """

    title: str
    longest: int
    encode_image: Callable[[Picture], bytes] | None = None
    encode_frames: Callable[[Sequence[PIL.Image.Image], list[int]], bytes] | None = None
    fastest: int = 0
    tick: int = 1


def encode_image(picture: Picture, file_format: ImageFormat) -> bytes:
    """Return a picture as the bytes of a file; raise a ValueError if a side is too long."""
    _, height, width = picture.shape
    check_size("Image", height, width, file_format)
    encode = FORMATS[file_format].encode_image
    assert encode is not None  # noqa: S101  each `ImageFormat` has one
    return encode(picture)


def encode_video(pictures: Sequence[Picture], fps: float, file_format: VideoFormat) -> bytes:
    """Return pictures of one size as the bytes of a file that is played again and again."""
    frames = list(map(as_pillow, pictures))
    mode = max((frame.mode for frame in frames), key=len)
    alike = [frame if frame.mode == mode else frame.convert(mode) for frame in frames]
    encode = FORMATS[file_format].encode_frames
    assert encode is not None  # noqa: S101  each `VideoFormat` has one
    return encode(alike, durations(len(frames), fps, FORMATS[file_format].tick))


def durations(count: int, fps: float, tick: int) -> list[int]:
    """Return the duration of each frame in milliseconds, in multiples of ``tick``, so that their sum is exact.

    Examples:
        >>> durations(4, fps=30, tick=1)
        [33, 34, 33, 33]
    """
    ends = [round(frame * 1000 / fps / tick) * tick for frame in range(count + 1)]
    return [end - begin for begin, end in itertools.pairwise(ends)]


def check_size(owner: str, height: int, width: int, file_format: str) -> None:
    """Raise a ValueError if a side is longer than a format allows."""
    title, longest = FORMATS[file_format][:2]
    if max(height, width) > longest:
        png_instead = ', or format="png"' if owner == "Image" else ""
        raise ValueError(
            f"{owner} got {width} x {height} pixels, and {title} has at most {longest} on a side; expected a smaller"
            f" size{png_instead}."
        )


def as_pillow(picture: Picture) -> PIL.Image.Image:
    """Return a picture as Pillow has it."""
    mode = _MODES[len(picture)]
    pixels = picture.transpose(1, 2, 0)
    if len(picture) > 1 and not pixels.flags.c_contiguous:
        # Pillow interleaves the channels in a third of numpy's time.
        return PIL.Image.merge(mode, [PIL.Image.fromarray(np.ascontiguousarray(channel)) for channel in picture])
    return PIL.Image.fromarray(np.ascontiguousarray(pixels if len(picture) > 1 else picture[0]))


def opaque(picture: PIL.Image.Image) -> PIL.Image.Image:
    """Return a picture in front of white."""
    if picture.mode != "RGBA":
        return picture
    background = PIL.Image.new("RGBA", picture.size, (_WHITE,) * 4)
    return PIL.Image.alpha_composite(background, picture).convert("RGB")


def _webp(picture: Picture) -> bytes:
    # The colours of transparent pixels are kept. A lossless file's "quality" is the work it takes.
    return _saved(as_pillow(picture), "WEBP", lossless=True, method=0, quality=0, exact=True)


def _jpeg(picture: Picture) -> bytes:
    return _saved(opaque(as_pillow(picture)), "JPEG", quality=90)


def _moving_webp(frames: Sequence[PIL.Image.Image], milliseconds: list[int]) -> bytes:
    # Each frame is stored as its difference to the one before; whole frames in between would cost half as much again.
    # But an opaque rectangle as the only difference would let readers take the whole video for opaque.
    only_whole_frames = int(frames[0].mode == "RGBA")
    options = {"quality": 80, "method": 0, "kmin": 0, "kmax": only_whole_frames}
    return _saved_frames(frames, milliseconds, "WEBP", **options)


def _gif(frames: Sequence[PIL.Image.Image], milliseconds: list[int]) -> bytes:
    if frames[0].mode != "L":
        # Pillow's own choice of colours takes forty times as long. Its transparency in videos differs by version.
        frames = [opaque(frame).quantize(256, PIL.Image.Quantize.FASTOCTREE) for frame in frames]
    return _saved_frames(frames, milliseconds, "GIF", optimize=False)


def _saved_frames(frames: Sequence[PIL.Image.Image], milliseconds: list[int], kind: str, **options: Any) -> bytes:
    first, *others = frames
    return _saved(first, kind, save_all=True, append_images=others, duration=milliseconds, loop=_FOREVER, **options)


def _saved(picture: PIL.Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def png(picture: NDArray[np.uint8]) -> bytes:
    """Return a picture as PNG.

    A photograph takes a seventh of the time of Pillow's default and about as many bytes: zlib only assigns short codes
    to frequent values. Where isal is installed, it takes a quarter of zlib's time for 7 % more bytes; drawings are left
    to zlib.

    Examples:
        >>> png(np.zeros((3, 2, 2), np.uint8))[1:4]
        b'PNG'
    """
    channels, height, width = picture.shape
    header = struct.pack(">2I5B", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    chunks = _chunk(b"IHDR", header), _chunk(b"IDAT", _compressed(picture)), _chunk(b"IEND", b"")
    return b"".join((b"\x89PNG\r\n\x1a\n", *chunks))


def _compressed(picture: NDArray[np.uint8]) -> bytes:
    """Return the filtered and compressed rows of a picture."""
    channels, height, width = picture.shape
    padded = np.zeros((channels, height + 1, width + 1), np.uint8)
    padded[:, 1:, 1:] = picture
    rows = _filtered(padded, _PAETH, _paeth)
    data = _run_lengths(rows) if isal_zlib is None else isal_zlib.compress(rows.data, 1)
    if len(data) < picture.size * _DRAWING:
        found = _deflated(_filtered(padded, _UP, _above), 6, zlib.Z_DEFAULT_STRATEGY)
        data = min(data if isal_zlib is None else _run_lengths(rows), found, key=len)
    return data


def _filtered(
    padded: NDArray[np.uint8], kind: int, predict: Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]
) -> NDArray[np.uint8]:
    """Return the filtered rows of a picture, each after the number of its filter.

    Predictions run over the bytes of many rows as one array, since numpy takes longer for each row by itself. Those of
    the padding are not used.
    """
    channels, height, width = (padded.shape[0], padded.shape[1] - 1, padded.shape[2] - 1)
    flat, differences = padded.reshape(-1), np.empty(padded.shape, np.uint8)
    first = width + 2  # The first pixel, after the padding above and to the left.
    for begin in range(first, flat.size, _CACHED_BYTES):
        part = slice(begin, begin + _CACHED_BYTES)
        predicted = predict(flat[begin - first : part.stop], first)
        np.subtract(flat[part], predicted, out=differences.reshape(-1)[part])
    rows = np.empty((height, 1 + width * channels), np.uint8)
    rows[:, 0] = kind
    for channel in range(channels):
        # numpy interleaves one channel at a time in a quarter of the time it takes for all.
        rows[:, 1 + channel :: channels] = differences[channel, 1:, 1:]
    return rows


def _above(pixels: NDArray[np.uint8], first: int) -> NDArray[np.uint8]:
    return pixels[1 : 1 - first]


def _paeth(pixels: NDArray[np.uint8], first: int) -> NDArray[np.uint8]:
    """Return Paeth's prediction of each pixel: its neighbour closest to left + above - between.

    It is computed in eight bits throughout: with the distances between - above and between - left, the pixel between is
    nearest if they have different signs and their sum is the smallest of the three.
    """
    left, above, between = pixels[first - 1 : -1], pixels[1 : 1 - first], pixels[:-first]
    of_left = np.maximum(above, between) - np.minimum(above, between)
    of_above = np.maximum(left, between) - np.minimum(left, between)
    smaller = np.minimum(of_left, of_above)
    of_between = np.maximum(of_left, of_above) - smaller
    is_between = ((left > between) ^ (above > between)) & (smaller > of_between)
    return _where(is_between, between, _where(of_left <= of_above, left, above))


def _where(condition: NDArray[np.bool_], chosen: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Do what `np.where` does, in a fraction of its time."""
    mask = np.negative(condition.view(np.uint8))
    return other ^ ((chosen ^ other) & mask)


def _run_lengths(rows: NDArray[np.uint8]) -> bytes:
    return _deflated(rows, 1, zlib.Z_RLE)


def _deflated(rows: NDArray[np.uint8], level: int, strategy: int) -> bytes:
    compressor = zlib.compressobj(level, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, strategy)
    return compressor.compress(rows.data) + compressor.flush()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return b"".join((struct.pack(">I", len(data)), kind, data, struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))))


FORMATS: Mapping[str, FileFormat] = {
    "png": FileFormat("PNG", 2**31 - 1, encode_image=png),
    "jpeg": FileFormat("JPEG", 65500, encode_image=_jpeg),
    "webp": FileFormat("WebP", 16383, encode_image=_webp, encode_frames=_moving_webp, fastest=1000),
    # Browsers replace a duration below 20 ms by 100 ms.
    "gif": FileFormat("GIF", 65535, encode_frames=_gif, fastest=50, tick=10),
}
"""The formats by the names that ``format=`` takes, which are also their suffixes."""
