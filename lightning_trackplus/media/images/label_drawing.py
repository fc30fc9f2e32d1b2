"""Lines and labels on a picture."""

from __future__ import annotations

import colorsys
import functools
import unicodedata
from collections.abc import Sequence
from typing import TypeAlias

import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

Colour: TypeAlias = tuple[int, int, int]
"""Red, green and blue in [0, 255]."""

_GOLDEN_RATIO = 0.618034
# The first group is vivid, the second pale, the third dark.
_SATURATION_AND_VALUE = ((0.85, 1.0), (0.4, 1.0), (0.85, 0.6))
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)


def colour_of_class(class_id: int, group: int = 0) -> Colour:
    """Return the colour of a class; hues that follow each other lie a golden section apart.

    Examples:
        >>> colour_of_class(0)
        (255, 38, 38)
    """
    saturation, value = _SATURATION_AND_VALUE[group % len(_SATURATION_AND_VALUE)]
    red, green, blue = colorsys.hsv_to_rgb(class_id * _GOLDEN_RATIO % 1, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


class LabelDrawing:
    """Draws on a picture, with lines and letters that fit its size."""

    def __init__(self, picture: PIL.Image.Image) -> None:
        self.picture = picture
        self._draw = PIL.ImageDraw.Draw(picture)
        self._font = _font(max(10, max(picture.size) // 80))
        self._line = max(2, max(picture.size) // 400)

    def box(self, edges: tuple[int, int, int, int], text: str, colour: Colour) -> None:
        """Draw a box, with its label above it or, where it has no room there, inside."""
        self._draw.rectangle(edges, outline=colour, width=self._line)
        if text:
            _, height = self._size(text)
            left, top = edges[:2]
            self._label(left, top - height if top >= height else top, text, colour)

    def legend(self, entries: Sequence[tuple[str, Colour]]) -> None:
        """Draw labels below each other into the lower left corner."""
        top = self.picture.height
        for text, colour in reversed(entries):
            top -= self._size(text)[1]
            self._label(0, top, text, colour)

    def _label(self, left: int, top: int, text: str, colour: Colour) -> None:
        width, height = self._size(text)
        left = max(0, min(left, self.picture.width - width))
        self._draw.rectangle((left, top, left + width - 1, top + height - 1), fill=colour)
        is_bright = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140
        self._draw.text((left + 2, top + 1), _line(text), fill=_BLACK if is_bright else _WHITE, font=self._font)

    def _size(self, text: str) -> tuple[int, int]:
        """Return the width and height of a label."""
        ascent, descent = self._font.getmetrics()
        return round(self._font.getlength(_line(text))) + 4, ascent + descent + 2


def _line(text: str) -> str:
    """Return a text in one line, without accents, which the font has not; what has no UTF-8 is escaped."""
    decomposed = unicodedata.normalize("NFKD", " ".join(text.split()))
    plain = "".join(character for character in decomposed if not unicodedata.combining(character))
    return plain.encode("utf-8", "backslashreplace").decode()


@functools.cache
def _font(size: int) -> PIL.ImageFont.FreeTypeFont:
    # It comes with Pillow, so that pictures look alike everywhere.
    font = PIL.ImageFont.load_default(size)
    assert isinstance(font, PIL.ImageFont.FreeTypeFont)  # noqa: S101  a size is there for these alone
    return font
