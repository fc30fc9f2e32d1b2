"""Times as the command line and a report show them."""

from __future__ import annotations

import datetime

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def moment(seconds: float) -> str:
    """Return a time in seconds since 1970 as local date and time."""
    return datetime.datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")


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
