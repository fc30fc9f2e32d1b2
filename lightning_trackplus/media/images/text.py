"""Letters on a drawing."""

from __future__ import annotations

import functools
from typing import TypeAlias

import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

Colour: TypeAlias = tuple[int, int, int]

LINE = 15
"""The height of a line, in pixels."""
_SIZE = 12
_BLACK = (0, 0, 0)


def width_of(text: str) -> int:
    """Return the width of a text, in pixels."""
    return round(_font().getlength(_in_one_line(text)))


def shortened(text: str, longest: int) -> str:
    """Return a text in one line, of a long one the beginning."""
    text = _in_one_line(text)
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def write(sheet: PIL.Image.Image, place: tuple[int, int], text: str, anchor: str, colour: Colour = _BLACK) -> None:
    """Write a text onto a drawing."""
    PIL.ImageDraw.Draw(sheet).text(place, _in_one_line(text), colour, _font(), anchor)


def write_upwards(sheet: PIL.Image.Image, place: tuple[int, int], text: str) -> None:
    """Write a text from below to above onto a drawing, in black."""
    line = PIL.Image.new("L", (width_of(text) + 1, LINE))
    PIL.ImageDraw.Draw(line).text((0, LINE // 2), _in_one_line(text), 255, _font(), "lm")
    turned = line.transpose(PIL.Image.Transpose.ROTATE_90)
    sheet.paste(_BLACK, (place[0] - LINE // 2, place[1]), turned)


def _in_one_line(text: str) -> str:
    """Return a text in one line; what has no UTF-8 stands there as its escape."""
    return " ".join(text.split()).encode("utf-8", "backslashreplace").decode()


@functools.cache
def _font() -> PIL.ImageFont.FreeTypeFont | PIL.ImageFont.ImageFont:
    # It comes with Pillow, so that drawings look alike everywhere.
    return PIL.ImageFont.load_default(_SIZE)
