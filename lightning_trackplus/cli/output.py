"""Prints tables, numbers and times: with rich in a terminal, as plain text otherwise."""

# ruff: noqa: T201  A command prints.

from __future__ import annotations

import codecs
import datetime
import importlib.util
import json
import shutil
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TextIO, TypeAlias

from lightning_trackplus.formats.summary import json_number

BLOCKS = "▁▂▃▄▅▆▇█"
"""The characters of a curve, from the lowest to the highest."""

_IN_ASCII = {**dict(zip(BLOCKS, "_.-~=+*#", strict=True)), "≠": "!", "±": "+-", "…": "~"}
_MAX_CHARACTERS = 40
_GAP = "  "


class Styled(NamedTuple):
    """Text and a style of rich, such as ``"bold"``."""

    text: str
    style: str


Cell: TypeAlias = str | Styled


def replace_unencodable(stream: TextIO) -> None:
    """Let a stream print other characters for those that its encoding does not have, instead of raising an error."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="lightning_trackplus_ascii")


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_IN_ASCII.get(one, "?") for one in error.object[error.start : error.end]), error.end


codecs.register_error("lightning_trackplus_ascii", _in_ascii)


def print_table(headers: Sequence[str], rows: Sequence[Sequence[Cell]], keys: int = 1) -> None:
    """Print rows below their headers, without columns that are empty in all rows.

    In a terminal, a table that is too wide is printed in several parts, each of which has the key columns.

    Args:
        headers: The names of the columns.
        rows: The cells of each row.
        keys: How many of the first columns are keys.
    """
    table = [[cell if isinstance(cell, Styled) else Styled(cell, "") for cell in row] for row in rows]
    kept = [number for number in range(len(headers)) if any(row[number].text for row in table)]
    lines = [[Styled(header, "bold") for header in headers], *table]
    columns = [[line[number]._replace(text=printable(line[number].text)) for line in lines] for number in kept]
    for number, part in enumerate(_parts(list(map(_aligned, columns)), keys)):
        if number:
            print()
        for line in zip(*part, strict=True):
            _print_line(line)


def _parts(columns: list[list[Styled]], keys: int) -> Iterator[list[list[Styled]]]:
    """Yield the columns of a table in parts that fit into the terminal; all at once if there is none."""
    if not sys.stdout.isatty():
        yield columns
        return
    room = shutil.get_terminal_size().columns
    part = columns[:keys]
    for column in columns[keys:]:
        if len(part) > keys and sum(_width(one[0].text) + len(_GAP) for one in part) + _width(column[0].text) > room:
            yield part
            part = columns[:keys]
        part.append(column)
    yield part


def _aligned(column: Sequence[Styled]) -> list[Styled]:
    """Return the cells of a column padded to its width; a column of numbers is aligned right."""
    width = max(_width(cell.text) for cell in column)
    is_of_numbers = all(_is_number(cell.text) for cell in column[1:])
    padding = [" " * (width - _width(cell.text)) for cell in column]
    return [
        cell._replace(text=f"{blanks}{cell.text}" if is_of_numbers else f"{cell.text}{blanks}")
        for cell, blanks in zip(column, padding, strict=True)
    ]


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes.

    Examples:
        >>> _width("loss"), _width("損失"), _width("e\u0301")
        (4, 4, 1)
    """
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(one) in {"W", "F"} for one in text)
    return len(text) + wide - sum(unicodedata.combining(one) > 0 for one in text)


def _print_line(cells: Sequence[Styled]) -> None:
    if not has_colours():
        print(_GAP.join(cell.text for cell in cells).rstrip())
        return
    # Imported here, since it is optional.
    from rich.console import Console  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    line = Text(_GAP).join(Text(cell.text, cell.style) for cell in cells)
    line.rstrip()
    Console(file=sys.stdout, highlight=False).print(line, soft_wrap=True)


def print_heading(text: str) -> None:
    """Print a heading."""
    _print_line([Styled(printable(text), "bold")])


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, indent=2, allow_nan=False))


def has_colours() -> bool:
    """Return whether the output is a terminal and rich is installed."""
    return sys.stdout.isatty() and importlib.util.find_spec("rich") is not None


def printable(text: str) -> str:
    r"""Return text on one line, with control characters, which a terminal would execute, as escapes.

    Examples:
        >>> print(printable("val/loss"), printable("a\x1b[31m"))
        val/loss a\x1b[31m
    """
    if not text.isprintable():
        text = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
    return text


def shortened(text: str) -> str:
    """Return text cut to the width of a column."""
    return text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 1] + "…"


def number(value: float | str | None) -> str:
    """Return a number with five digits; NaN and infinity as ``summary.json`` has them.

    Examples:
        >>> number(0.123456789), number(1200), number("NaN"), number(float("inf")), number(None)
        ('0.12346', '1200', 'NaN', 'Infinity', '')
    """
    value = "" if value is None else value if isinstance(value, str) else json_number(value)
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) else f"{value:.5g}"


def point(entry: Mapping[str, Any], name: str) -> str:
    """Return a value of an entry of ``summary.json`` with its step."""
    if entry.get(name) is None:
        return ""
    return f"{number(entry[name])} @ {entry[f'{name}_step']}"


def iso(seconds: float) -> str:
    """Return a time in seconds since 1970 in ISO 8601, in UTC."""
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).isoformat(timespec="seconds")


def _is_number(text: str) -> bool:
    try:
        float(text or "0")
    except ValueError:
        return False
    return True
