"""Prints tables, numbers and times: with rich in a terminal, as plain text otherwise."""

# ruff: noqa: T201  A command prints.

from __future__ import annotations

import datetime
import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

_MAX_CHARACTERS = 40
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


class Styled(NamedTuple):
    """Text and a style of rich, such as ``"bold"``."""

    text: str
    style: str


Cell: TypeAlias = str | Styled


def print_table(headers: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Print rows below their headers, without columns that are empty in all rows."""
    table = [[cell if isinstance(cell, Styled) else Styled(cell, "") for cell in row] for row in rows]
    kept = [number for number in range(len(headers)) if any(row[number].text for row in table)]
    lines = [[Styled(header, "bold") for header in headers], *table]
    columns = [[line[number]._replace(text=printable(line[number].text)) for line in lines] for number in kept]
    for line in zip(*map(_aligned, columns), strict=True):
        _print_line(line)


def _aligned(column: Sequence[Styled]) -> list[Styled]:
    """Return the cells of a column padded to its width; a column of numbers is aligned right."""
    width = max(len(cell.text) for cell in column)
    is_of_numbers = all(_is_number(cell.text) for cell in column[1:])
    return [cell._replace(text=cell.text.rjust(width) if is_of_numbers else cell.text.ljust(width)) for cell in column]


def _print_line(cells: Sequence[Styled]) -> None:
    if not has_colours():
        print("  ".join(cell.text for cell in cells).rstrip())
        return
    # Imported here, since it is optional.
    from rich.console import Console  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    line = Text("  ").join(Text(cell.text, cell.style) for cell in cells)
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
    """Return a number with five digits; text such as ``"NaN"`` is returned as it is.

    Examples:
        >>> number(0.123456789), number(1200), number("NaN"), number(None)
        ('0.12346', '1200', 'NaN', '')
    """
    if value is None or isinstance(value, str):
        return value or ""
    return str(value) if isinstance(value, int) else f"{value:.5g}"


def point(entry: Mapping[str, Any], name: str) -> str:
    """Return a value of an entry of ``summary.json`` with its step."""
    if entry.get(name) is None:
        return ""
    return f"{number(entry[name])} @ {entry[f'{name}_step']}"


def moment(seconds: float) -> str:
    """Return a time in seconds since 1970 as local date and time."""
    return datetime.datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")


def iso(seconds: float) -> str:
    """Return a time in seconds since 1970 in ISO 8601, in UTC."""
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).isoformat(timespec="seconds")


def duration(seconds: float) -> str:
    """Return a duration in its two largest units.

    Examples:
        >>> duration(12.3), duration(200), duration(3720), duration(2 * 86400 + 3600)
        ('12s', '3m 20s', '1h 02m', '2d 01h')
    """
    whole = max(int(seconds), 0)
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m {whole % _MINUTE:02}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h {whole % _HOUR // _MINUTE:02}m"
    return f"{whole // _DAY}d {whole % _DAY // _HOUR:02}h"


def _is_number(text: str) -> bool:
    try:
        float(text or "0")
    except ValueError:
        return False
    return True
