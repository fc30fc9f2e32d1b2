"""Patterns of logged names."""

from __future__ import annotations

import fnmatch


def matches(name: str, pattern: str) -> bool:
    """Return whether a name fits a pattern.

    Examples:
        >>> matches("val/loss", "val/*"), matches("x[1]", "x[1]")
        (True, True)
    """
    return fnmatch.fnmatchcase(name, pattern.replace("[", "[[]"))
