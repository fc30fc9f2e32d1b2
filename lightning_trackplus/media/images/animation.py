"""Frames as files that browsers play as an image."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias, get_args

import PIL.Image

from lightning_trackplus.media.images.image_files import opaque
from lightning_trackplus.runtime.names import did_you_mean

VideoFormat: TypeAlias = Literal["webp", "gif"]

SLOWEST = 0.01
"""The fewest frames a second: both formats say in few bits how long a frame lasts."""

_FOR_EVER = 0


class _FileFormat(NamedTuple):
    """A kind of file.

    Attributes:
        title: Its name.
        longest: The most pixels that a side may have.
        fastest: The most frames a second.
        tick: What the duration of a frame is a multiple of, in milliseconds.
        encode: Returns frames as the bytes of a file, given how long each lasts in milliseconds.
    """

    title: str
    longest: int
    fastest: int
    tick: int
    encode: Callable[[Sequence[PIL.Image.Image], list[int]], bytes]


def encoded(frames: Sequence[PIL.Image.Image], fps: float, file_format: VideoFormat) -> bytes:
    """Return frames as the bytes of a file that is played again and again.

    Args:
        frames: The frames, grey, RGB or RGBA, of one size.
        fps: Frames a second.
        file_format: Of what kind.
    """
    mode = max((frame.mode for frame in frames), key=len)
    alike = [frame if frame.mode == mode else frame.convert(mode) for frame in frames]
    tick, encode = _FORMATS[file_format].tick, _FORMATS[file_format].encode
    return encode(alike, durations(len(frames), fps, tick))


def durations(count: int, fps: float, tick: int) -> list[int]:
    """Return how long each frame lasts, in milliseconds, so that all together last as long as they should.

    Args:
        count: How many frames.
        fps: Frames a second.
        tick: What the durations are multiples of, in milliseconds.

    Examples:
        >>> durations(4, fps=30, tick=1)
        [33, 34, 33, 33]
    """
    ends = [round(frame * 1000 / fps / tick) * tick for frame in range(count + 1)]
    return [end - begin for begin, end in itertools.pairwise(ends)]


def check_format(file_format: str) -> None:
    """Raise an error unless videos can be written in a format.

    Raises:
        ValueError: If it is none of ours.
    """
    if file_format not in get_args(VideoFormat):
        guess = did_you_mean(str(file_format), get_args(VideoFormat))
        raise ValueError(f'Video got format={file_format!r}; give "webp" or "gif".{guess}')


def check_size(height: int, width: int, file_format: VideoFormat) -> None:
    """Raise an error unless frames of some size can be written in a format.

    Raises:
        ValueError: If a side is too long.
    """
    title, longest = _FORMATS[file_format].title, _FORMATS[file_format].longest
    if max(height, width) > longest:
        raise ValueError(
            f"Video got frames of {width} x {height} pixels, and {title} has at most {longest} on a side; give smaller"
            " ones."
        )


def fastest(file_format: VideoFormat) -> int:
    """Return the most frames a second that a format has."""
    return _FORMATS[file_format].fastest


def _webp(frames: Sequence[PIL.Image.Image], milliseconds: list[int]) -> bytes:
    file = io.BytesIO()
    # Each frame is told as its difference to the one before, and to begin anew in between would cost half as much
    # again. But an opaque rectangle as the only difference would let readers take the whole film for opaque.
    only_whole_frames = int(frames[0].mode == "RGBA")
    frames[0].save(
        file,
        "WEBP",
        save_all=True,
        append_images=frames[1:],
        duration=milliseconds,
        loop=_FOR_EVER,
        quality=80,
        method=0,
        kmin=0,
        kmax=only_whole_frames,
    )
    return file.getvalue()


def _gif(frames: Sequence[PIL.Image.Image], milliseconds: list[int]) -> bytes:
    if frames[0].mode != "L":
        # Pillow's own choice of colours takes forty times as long. Its transparency in films differs by version.
        frames = [opaque(frame).quantize(256, PIL.Image.Quantize.FASTOCTREE) for frame in frames]
    file = io.BytesIO()
    frames[0].save(
        file,
        "GIF",
        save_all=True,
        append_images=frames[1:],
        duration=milliseconds,
        loop=_FOR_EVER,
        optimize=False,
    )
    return file.getvalue()


_FORMATS: Mapping[VideoFormat, _FileFormat] = {
    "webp": _FileFormat("WebP", 16383, 1000, 1, _webp),
    # Browsers take a shorter duration than 20 ms for a mistake, and show the frame for 100.
    "gif": _FileFormat("GIF", 65535, 50, 10, _gif),
}
