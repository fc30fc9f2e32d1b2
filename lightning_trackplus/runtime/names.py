"""Names in messages and from users: what a wrong one probably means, and which names a pattern matches."""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Callable, Iterable, Sequence

_MEANT = {
    "best": ("top", "bottom"),
    "worst": ("bottom", "top"),
    "random": ("sample",),
    "highest": ("top", "max"),
    "largest": ("top", "max"),
    "lowest": ("bottom", "min"),
    "smallest": ("bottom", "min"),
    "percentile": ("p",),
    "pct": ("p",),
    "quantile": ("p",),
    "q": ("p",),
    "average": ("mean",),
    "nanmean": ("mean",),
    "variance": ("var",),
    "stddev": ("std",),
    "jpg": ("jpeg",),
    "tiff": ("png",),
    "valid": ("val",),
    "validation": ("val",),
    "training": ("train",),
}
"""Words of other packages, and the names here that mean the same."""

_SIMILAR = 0.65


def matches(name: str, pattern: str) -> bool:
    """Return whether a name matches a pattern with ``*`` and ``?``.

    Examples:
        >>> matches("val/loss", "val/*"), matches("x[1]", "x[1]")
        (True, True)
    """
    return fnmatch.fnmatchcase(name, pattern.replace("[", "[[]"))


def did_you_mean(given: str, names: Iterable[str], numbered: Iterable[str] = ()) -> str:
    """Return a question to end an error message with, or nothing where no name is similar.

    Examples:
        >>> did_you_mean("tpo8", ["mean"], numbered=["top", "bottom"])
        " Did you mean 'top8'?"
        >>> did_you_mean("jpg", ["png", "jpeg"])
        " Did you mean 'jpeg'?"
    """
    found = _close(given.strip().lower(), list(names), list(numbered))
    return f" Did you mean {' or '.join(map(repr, found))}?" if found else ""


def a_type(value: object) -> str:
    """Return the name of a value's type with its article, for a message.

    Examples:
        >>> a_type([]), a_type(3), a_type(None)
        ('a list', 'an int', 'None')
    """
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeio' else 'a'} {name}"


def check_choice(owner: str, option: str, given: object, choices: Sequence[str]) -> None:
    """Raise a ValueError if an option is none of the words that it may be.

    Examples:
        >>> check_choice("Image", "format", "png", ["png", "webp", "jpeg"])
    """
    if given not in choices:
        *first, last = [f'"{choice}"' for choice in choices]
        expected = f"{', '.join(first)} or {last}" if first else last
        raise ValueError(f"{owner} got {option}={given!r}; expected {expected}.{did_you_mean(str(given), choices)}")


def as_list(given: str, is_name: Callable[[str], bool]) -> list[str]:
    """Return the names in a string that should have been a list of names; none where it holds one, or anything else.

    Examples:
        >>> as_list("p95, ema(0.1)", lambda text: True)
        ['p95', 'ema(0.1)']
    """
    names = re.findall(r"[^\s,;|()]+(?:\([^)]*\))?", given)
    return names if len(names) > 1 and all(map(is_name, names)) else []


def _close(given: str, names: list[str], numbered: list[str]) -> list[str]:
    """Return the names that are meant: with the same number, by another word, or by its letters."""
    parts = re.fullmatch(r"([a-z]+)[\s_%.(-]*(\d+(?:\.\d+)?)[%)]*", given)
    if parts is not None and (stems := _of_word(parts[1], numbered)):
        number = float(parts[2])
        # A quantile of 0.95 is the percentile 95.
        is_share = stems == ["p"] and parts[1] != "p" and number <= 1
        is_whole = number == int(number)
        return [f"{stem}{number * 100 if is_share else number:g}" for stem in stems if is_whole or stem == "p"]
    return _of_word(given, names)


def _of_word(word: str, names: list[str]) -> list[str]:
    if word in names:
        return [word]
    meant = [name for name in _MEANT.get(word, ()) if name in names]
    return meant or difflib.get_close_matches(word, names, n=1, cutoff=_SIMILAR)
