"""Text on pictures, in Pillow's own font, so that pictures look the same everywhere.

That font has the letters of ASCII. Accents are left out, and text in other scripts is written in a font of the system.
"""

from __future__ import annotations

import bisect
import functools
import importlib.util
import itertools
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import PIL.features
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

Colour: TypeAlias = tuple[int, int, int]
"""Red, green and blue in [0, 255]."""

BLACK, WHITE = (0, 0, 0), (255, 255, 255)
_BRIGHT = 140
_ELLIPSIS = "…"
_NOWHERE = "\uffff"
"""A character that no font has."""
_FROM_RIGHT = {"R", "AL"}
"""What Unicode calls letters of scripts that are written from right to left."""
_TRIED = 12
"""The size in which a font is searched for a character."""
_OTHER_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "PingFang.ttc",
    "Arial Unicode.ttf",
    "msyh.ttc",
    "arial.ttf",
)
"""Fonts for other scripts, as Linux, macOS and Windows have them."""


class Lettering(NamedTuple):
    """A text as it is drawn.

    Attributes:
        text: The text in one line. A character that no font has is escaped.
        font: The file of its font; None is Pillow's own.
        is_exact: Whether no character is changed, and all are in their order.
    """

    text: str
    font: str | None
    is_exact: bool


class Paragraph(NamedTuple):
    """A text in lines.

    Attributes:
        lines: The lines, each with its font.
        size: The size of their letters.
        is_exact: Whether nothing is left out or changed.
    """

    lines: Sequence[tuple[str, str | None]]
    size: int
    is_exact: bool

    def write(self, picture: PIL.Image.Image, left: int, top: int, colour: Colour | int) -> None:
        """Write the lines onto a picture, one below the other."""
        draw = PIL.ImageDraw.Draw(picture)
        for number, (line, font) in enumerate(self.lines):
            draw.text((left, top + number * height_of_line(self.size)), line, colour, _font(self.size, font))


def wrapped(text: str, width: int, size: int, most: int) -> Paragraph:
    """Return a text in at most ``most`` lines of a width in pixels; a longer one ends with an ellipsis."""
    # No letter is narrower than a tenth of its size, so what is beyond is not drawn.
    longest = most * (10 * width // size + 1)
    # Line by line, so that line breaks remain.
    parts = list(map(_lettering, text[:longest].splitlines()))
    every = ((line, part.font) for part in parts for line in _broken(part.text, width, _font(size, part.font)))
    lines = list(itertools.islice(every, most + 1))
    is_whole = len(lines) <= most and len(text) <= longest
    if not is_whole:
        lines = lines[:most]
        lines[-1:] = [(_cut(f"{line} ", width, _font(size, font)), font) for line, font in lines[-1:]]
    return Paragraph(lines, size, is_whole and all(part.is_exact for part in parts))


def shortened(text: str, width: int, size: int) -> str:
    """Return a text in one line of at most a width in pixels; a longer one has an ellipsis in its middle."""
    # Names that begin alike often differ in their last letters.
    longest = 10 * width
    text, file, _ = _lettering(text if len(text) <= longest else text[:longest] + text[-longest:])
    font = _font(size, file)
    if font.getlength(text) <= width:
        return text
    counts = range(1, len(text))
    kept = bisect.bisect_right(counts, float(width), key=lambda count: font.getlength(_without_middle(text, count)))
    return _without_middle(text, kept)


def width_of(text: str, size: int) -> int:
    """Return the width of a text in pixels."""
    text, font, _ = _lettering(text)
    return round(_font(size, font).getlength(text))


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
    size: int,
    colour: Colour = BLACK,
) -> None:
    """Write a text onto a picture."""
    text, font, _ = _lettering(text)
    PIL.ImageDraw.Draw(picture).text(place, text, colour, _font(size, font), anchor)


def write_upwards(
    picture: PIL.Image.Image, place: tuple[int, int], text: str, *, size: int, colour: Colour = BLACK
) -> None:
    """Write a text onto a picture upwards; ``place`` is the middle of its upper end."""
    text, font, _ = _lettering(text)
    height = height_of_line(size)
    line = PIL.Image.new("L", (width_of(text, size) + 1, height))
    PIL.ImageDraw.Draw(line).text((0, height // 2), text, 255, _font(size, font), "lm")
    picture.paste(colour, (place[0] - height // 2, place[1]), line.transpose(PIL.Image.Transpose.ROTATE_90))


def _broken(text: str, width: int, font: PIL.ImageFont.FreeTypeFont) -> Iterator[str]:
    """Yield the lines of a text, broken between words, or within a word that is longer than a line."""
    while font.getlength(text) > width:
        fitting = max(1, _fitting(text, width, font))
        end = text.rfind(" ", 1, fitting + 1)
        end = fitting if end < 0 else end
        yield text[:end].rstrip()
        text = text[end:].lstrip()
    if text:
        yield text


def _cut(text: str, width: int, font: PIL.ImageFont.FreeTypeFont) -> str:
    """Return the beginning of a text, with an ellipsis that still fits."""
    return text[: _fitting(text, width - font.getlength(_ELLIPSIS), font)].rstrip() + _ELLIPSIS


def _without_middle(text: str, kept: int) -> str:
    """Return the first and last characters of a text, so many of them, around an ellipsis."""
    last = kept // 2
    return text[: kept - last].rstrip() + _ELLIPSIS + text[len(text) - last :].lstrip()


def _fitting(text: str, width: float, font: PIL.ImageFont.FreeTypeFont) -> int:
    """Return how many characters of a text fit into a width."""
    return bisect.bisect_right(range(1, len(text) + 1), width, key=lambda count: font.getlength(text[:count]))


@functools.lru_cache(1024)
def _lettering(text: str) -> Lettering:
    shown = "".join(character for character in " ".join(text.split()) if unicodedata.category(character) != "Cf")
    decomposed = unicodedata.normalize("NFKD", shown)
    plain = "".join(character for character in decomposed if not unicodedata.combining(character))
    if _lacking(plain, None):
        composed = unicodedata.normalize("NFC", shown)
        texts = [(plain, None), *((composed, file) for file in _other_fonts())]
        plain, font = min(texts, key=lambda one: len(_lacking(*one)))
        for character in _lacking(plain, font):
            plain = plain.replace(character, character.encode("unicode_escape").decode())
    else:
        font = None
    # Without the library Raqm, as on Windows, Pillow writes Hebrew and Arabic from left to right.
    is_in_order = PIL.features.check("raqm") or not any(unicodedata.bidirectional(one) in _FROM_RIGHT for one in plain)
    return Lettering(plain, font, plain == shown and is_in_order)


def _lacking(text: str, font: str | None) -> set[str]:
    """Return the characters of a text that a font does not have."""
    return {character for character in set(text) if not _has(font, character)}


@functools.lru_cache(4096)
def _has(font: str | None, character: str) -> bool:
    if character == " ":
        return True
    if not character.isprintable():
        return False
    opened = _font(_TRIED, font)
    return bytes(opened.getmask(character)) != bytes(opened.getmask(_NOWHERE))


@functools.cache
def _other_fonts() -> list[str]:
    """Return the fonts for other scripts that there are."""
    package = importlib.util.find_spec("matplotlib")
    folders = [] if package is None else package.submodule_search_locations or []
    matplotlibs = [str(Path(folder, "mpl-data/fonts/ttf/DejaVuSans.ttf")) for folder in folders]
    return [name for name in (*matplotlibs, *_OTHER_FONTS) if _is_font(name)]


def _is_font(name: str) -> bool:
    """Return whether there is a font, a path or a name in the folders of the system."""
    try:
        PIL.ImageFont.truetype(name, _TRIED)
    except OSError:
        return False
    return True


@functools.lru_cache(64)
def _font(size: int, file: str | None = None) -> PIL.ImageFont.FreeTypeFont:
    font = PIL.ImageFont.load_default(size) if file is None else PIL.ImageFont.truetype(file, size)
    assert isinstance(font, PIL.ImageFont.FreeTypeFont)  # noqa: S101  with a size, it always is
    return font
