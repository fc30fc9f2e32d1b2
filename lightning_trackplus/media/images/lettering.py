"""Text on pictures, in Pillow's own font, so that pictures look the same everywhere."""

from __future__ import annotations

import functools
import unicodedata
from typing import TypeAlias

import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

Colour: TypeAlias = tuple[int, int, int]
"""Red, green and blue in [0, 255]."""

BLACK, WHITE = (0, 0, 0), (255, 255, 255)
LINE = 15
"""The height of a line of the usual size, in pixels."""
_SIZE = 12
_BRIGHT = 140


def one_line(text: str) -> str:
    """Return a text in one line, without accents, which the font lacks; lone surrogates are escaped."""
    decomposed = unicodedata.normalize("NFKD", " ".join(text.split()))
    plain = "".join(character for character in decomposed if not unicodedata.combining(character))
    return plain.encode("utf-8", "backslashreplace").decode()


def shortened(text: str, longest: int) -> str:
    """Return a text in one line of at most ``longest`` characters."""
    text = one_line(text)
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def width_of(text: str, size: int = _SIZE) -> int:
    """Return the width of a text in pixels."""
    return round(_font(size).getlength(one_line(text)))


def height_of_line(size: int) -> int:
    """Return the height of a line in pixels, from the highest letter to the lowest."""
    return sum(_font(size).getmetrics())


def contrasting(red: float, green: float, blue: float) -> Colour:
    """Return black or white, whichever is readable on a colour."""
    brightness = 0.299 * red + 0.587 * green + 0.114 * blue  # As in ITU-R BT.601.
    return BLACK if brightness > _BRIGHT else WHITE


def write(
    picture: PIL.Image.Image,
    place: tuple[int, int],
    text: str,
    anchor: str = "la",
    *,
    colour: Colour = BLACK,
    size: int = _SIZE,
) -> None:
    """Write a text onto a picture."""
    PIL.ImageDraw.Draw(picture).text(place, one_line(text), colour, _font(size), anchor)


def write_upwards(picture: PIL.Image.Image, place: tuple[int, int], text: str) -> None:
    """Write a text onto a picture upwards, in black."""
    line = PIL.Image.new("L", (width_of(text) + 1, LINE))
    PIL.ImageDraw.Draw(line).text((0, LINE // 2), one_line(text), 255, _font(_SIZE), "lm")
    picture.paste(BLACK, (place[0] - LINE // 2, place[1]), line.transpose(PIL.Image.Transpose.ROTATE_90))


@functools.cache
def _font(size: int) -> PIL.ImageFont.FreeTypeFont:
    font = PIL.ImageFont.load_default(size)
    assert isinstance(font, PIL.ImageFont.FreeTypeFont)  # noqa: S101  with a size, it always is
    return font
