"""What is shown of a media file: its kind, and its content as that needs it."""

from __future__ import annotations

import contextlib
import csv
import html
import importlib.util
import io
import mimetypes
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_trackplus.formats.csv_rows import read_rows
from lightning_trackplus.formats.layout import FILM_SUFFIXES

_MOST_ROWS = 200
_MOST_BINS = 100
# Not every Python and system knows these.
_TYPES = {".flac": "audio/flac", ".webp": "image/webp", ".wav": "audio/wav", ".opus": "audio/ogg"}


def size_of(path: Path) -> int | None:
    """Return the size of a file in bytes; None if there is no such file."""
    with contextlib.suppress(OSError):  # Such as of a name that is too long.
        if path.is_file():
            return path.stat().st_size
    return None


def shown(kind: str, name: str, data: bytes) -> dict[str, Any]:
    """Return how a media file is shown, as ``"show"``, and what that needs.

    Args:
        kind: Its kind in ``media.csv``.
        name: Its name.
        data: Its content.
    """
    suffix = PurePath(name).suffix.lower()
    if kind == "text":
        return {"show": "text", "html": _markdown(data.decode("utf-8", "replace"))}
    if kind == "html":
        return {"show": "frame", "page": data.decode("utf-8-sig", "replace")}
    if kind in {"table", "histogram"} and suffix == ".csv":
        with contextlib.suppress(ValueError, csv.Error):  # A damaged file is there to be saved.
            return _shown_numbers(kind, data.decode("utf-8", "replace"))
    mime = _TYPES.get(suffix) or mimetypes.guess_type(name, strict=False)[0] or ""
    show = "video" if suffix in FILM_SUFFIXES and kind == "video" else mime.partition("/")[0]
    return {"show": show if show in {"image", "video", "audio"} else "file", "mime": mime, "data": data, "file": name}


def _markdown(text: str) -> str:
    """Return markdown as HTML, or as it is if markdown-it-py is not installed, which only a report requires."""
    if importlib.util.find_spec("markdown_it") is None:
        return f"<pre>{html.escape(text)}</pre>"
    from markdown_it import MarkdownIt  # noqa: PLC0415  of the extra

    # This parser escapes HTML and removes links that execute code. A picture would be loaded from the network.
    return str(MarkdownIt("js-default").disable("image").render(text))


def _shown_numbers(kind: str, text: str) -> dict[str, Any]:
    columns, *rows = read_rows(io.StringIO(text, newline=""))
    if kind == "table":
        return {"show": "table", "columns": columns, "rows": rows[:_MOST_ROWS], "more": len(rows[_MOST_ROWS:])}
    edges, counts = bins_of(np.array(rows, np.float64).reshape(-1, 3))
    return {"show": "histogram", "edges": edges, "counts": counts}


def bins_of(table: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the edges and counts of equally wide bins over the range of all values.

    The count of each bin of the table, a row of low, high and count, is spread evenly over its width.
    """
    low, high, count = table[np.isfinite(table).all(1) & (table[:, 0] <= table[:, 1]) & (table[:, 2] > 0)].T
    if not len(low):
        return np.zeros(1), np.zeros(0)
    first, last = low[0], high[-1]
    with np.errstate(all="ignore"):
        widths, span = high - low, last - first
        number = span / widths[0] if np.allclose(widths, widths[0], atol=0) else np.inf
        # Each end has its share, since the difference may overflow a float64.
        shares = np.linspace(0, 1, round(min(number, _MOST_BINS)) + 1 if number > 0 else 2)
    edges = first * (1 - shares) + last * shares
    # Between bins, the sum stays the same.
    places, sums = np.column_stack([low, high]).ravel(), np.cumsum(count)
    return edges, np.diff(np.interp(edges, places, np.column_stack([sums - count, sums]).ravel()))
