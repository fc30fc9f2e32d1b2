"""The media of a report: which fit into it, and what the page shows of each."""

from __future__ import annotations

import base64
import contextlib
import csv
import html
import importlib.util
import io
import itertools
import mimetypes
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_trackplus.formats.csv_rows import read_rows
from lightning_trackplus.formats.layout import FILM_SUFFIXES
from lightning_trackplus.formats.media_csv import MediaRecord
from lightning_trackplus.reports.charts import packed
from lightning_trackplus.reports.data import ReportRun

_MOST_ROWS = 200
_MOST_BINS = 100
_MB = 10**6
# Not every Python and system knows these.
_TYPES = {".flac": "audio/flac", ".webp": "image/webp", ".wav": "audio/wav", ".opus": "audio/ogg"}


def media_of(runs: Sequence[ReportRun], max_media_mb: float) -> tuple[list[dict[str, Any]], str]:
    """Return the media by name as the page's script takes them, and a sentence on what is left out.

    The newest come first, of each name and run in turn, until the next would be beyond the limit.
    """
    files: list[tuple[int, str, int, MediaRecord]] = []
    for number, run in enumerate(runs):
        for name, by_step in media_by_step(run.run.media).items():
            for age, step in enumerate(sorted(by_step, reverse=True)):
                files += [(age, name, number, record) for record in by_step[step]]
    cards: dict[str, dict[str, Any]] = {
        name: {"name": name, "items": [], "leftOut": 0} for name in dict.fromkeys(name for _, name, _, _ in files)
    }
    left, total, missing = [], 0, 0
    for _, name, number, record in sorted(files, key=lambda file: file[0]):
        if (size := size_of(record.path)) is None:
            missing += 1
            continue
        if not total + size <= max_media_mb * _MB:
            left.append(size)
            cards[name]["leftOut"] += 1
            continue
        total += size
        item = {"run": number, "step": record.step, "caption": record.caption}
        item["score"] = None if record.score is None else f"{record.score:.4g}"
        view = shown(record.kind, record.path.name, record.path.read_bytes())
        cards[name]["items"].append(item | {key: _as_json(value) for key, value in view.items()})
    notes = []
    if left:
        notes.append(
            f"{len(left):,} of {len(files):,} files, {sum(left) / _MB:,.1f} MB, are left out, the oldest first: the"
            f" report holds up to {max_media_mb:g} MB of media. Raise max_media_mb to see more."
        )
    if missing:
        notes.append(f"{missing:,} of {len(files):,} files are not there any more.")
    return [card for card in cards.values() if card["items"] or card["leftOut"]], " ".join(notes)


def size_of(path: Path) -> int | None:
    """Return the size of a file in bytes; None if there is no such file."""
    with contextlib.suppress(OSError):  # Such as of a name that is too long.
        if path.is_file():
            return path.stat().st_size
    return None


def media_by_step(media: Iterable[MediaRecord]) -> dict[str, dict[int, list[MediaRecord]]]:
    """Return the media by name and step, those of a step in the order of their scores."""
    found: dict[str, dict[int, list[MediaRecord]]] = defaultdict(lambda: defaultdict(list))
    for record in media:
        found[record.name][record.step].append(record)
    return {name: {step: _by_score(of_step) for step, of_step in by_step.items()} for name, by_step in found.items()}


def _by_score(records: list[MediaRecord]) -> list[MediaRecord]:
    """Return the records of a step with the highest score first, or as they are if they are in an order of scores."""
    scores = [record.score for record in records if record.score is not None]
    if len(scores) < len(records) or all(one <= other for one, other in itertools.pairwise(scores)):
        return records
    return sorted(records, key=lambda record: -np.nan_to_num(record.score or 0.0, nan=-np.inf))


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

    # This one takes no HTML and no addresses that run, and a picture would be loaded from the net.
    return str(MarkdownIt("js-default").disable("image").render(text))


def _as_json(value: Any) -> Any:
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case np.ndarray():
            return packed(value)
    return value


def _shown_numbers(kind: str, text: str) -> dict[str, Any]:
    columns, *rows = read_rows(io.StringIO(text, newline=""))
    if kind == "table":
        return {"show": "table", "columns": columns, "rows": rows[:_MOST_ROWS], "more": len(rows[_MOST_ROWS:])}
    edges, counts = bins_of(np.array(rows, np.float64).reshape(-1, 3))
    return {"show": "histogram", "edges": edges, "counts": counts}


def bins_of(table: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return edges and counts of bins of one width over the values that there are; each bin's are spread over it."""
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
    # Where there is no bin, the sum stays what it is.
    places, sums = np.column_stack([low, high]).ravel(), np.cumsum(count)
    return edges, np.diff(np.interp(edges, places, np.column_stack([sums - count, sums]).ravel()))
