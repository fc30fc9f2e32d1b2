"""PNG, fast: the format is that of the W3C's PNG specification, third edition."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}
_UP, _PAETH = 2, 4
# A photograph comes to a sixth of its bytes at least, and has no long repetitions that could be looked for. What comes
# to fewer is a drawing, which has them.
_DRAWING = 1 / 8


def png(picture: NDArray[np.uint8]) -> bytes:
    """Return a picture as PNG.

    A photograph takes a seventh of the time of Pillow's default, and about as many bytes: zlib does nothing but to
    give frequent values short codes.

    Examples:
        >>> png(np.zeros((3, 2, 2), np.uint8))[1:4]
        b'PNG'
    """
    channels, height, width = picture.shape
    padded = np.zeros((channels, height + 1, width + 1), np.uint8)
    padded[:, 1:, 1:] = picture
    data = _deflated(_filtered(padded, _PAETH, _paeth), 1, zlib.Z_RLE)
    if len(data) < picture.size * _DRAWING:
        data = min(data, _deflated(_filtered(padded, _UP, _above), 6, zlib.Z_DEFAULT_STRATEGY), key=len)
    header = struct.pack(">2I5B", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    chunks = _chunk(b"IHDR", header), _chunk(b"IDAT", data), _chunk(b"IEND", b"")
    return b"".join((b"\x89PNG\r\n\x1a\n", *chunks))


def _filtered(
    padded: NDArray[np.uint8], kind: int, predict: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
) -> NDArray[np.uint8]:
    """Return the rows of a picture as PNG compresses them: the filter, and what it leaves of each pixel."""
    channels, height, width = (padded.shape[0], padded.shape[1] - 1, padded.shape[2] - 1)
    rows = np.empty((height, 1 + width * channels), np.uint8)
    rows[:, 0] = kind
    strides = (1, rows.strides[0], channels)
    pixels = np.ndarray((channels, height, width), np.uint8, rows, offset=1, strides=strides)
    np.subtract(padded[:, 1:, 1:], predict(padded), out=pixels)
    return rows


def _above(padded: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return padded[:, :-1, 1:]


def _paeth(padded: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return of the pixels on the left, above and between these the one that is nearest to left + above - between.

    It is Paeth's predictor in eight bits throughout: with the distances between - above and between - left, the
    pixel between is nearest if they have different signs, and their sum is the smallest of the three.
    """
    left, above, between = padded[:, 1:, :-1], padded[:, :-1, 1:], padded[:, :-1, :-1]
    of_left = np.maximum(above, between) - np.minimum(above, between)
    of_above = np.maximum(left, between) - np.minimum(left, between)
    smaller = np.minimum(of_left, of_above)
    of_between = np.maximum(of_left, of_above) - smaller
    is_between = ((left > between) ^ (above > between)) & (smaller > of_between)
    return _where(is_between, between, _where(of_left <= of_above, left, above))


def _where(condition: NDArray[np.bool_], chosen: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return what `np.where` does, in a fraction of its time."""
    mask = np.negative(condition.view(np.uint8))
    return other ^ ((chosen ^ other) & mask)


def _deflated(rows: NDArray[np.uint8], level: int, strategy: int) -> bytes:
    compressor = zlib.compressobj(level, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, strategy)
    return compressor.compress(rows.data) + compressor.flush()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return b"".join((struct.pack(">I", len(data)), kind, data, struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))))
