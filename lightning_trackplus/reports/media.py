"""The media of a report: which fit into it, and what the page shows of each."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from lightning_trackplus.formats.media_csv import MediaRecord, media_by_step
from lightning_trackplus.reports.charts import packed
from lightning_trackplus.reports.data import ReportRun
from lightning_trackplus.views.media_files import shown, size_of

_MB = 10**6


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


def _as_json(value: Any) -> Any:
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case np.ndarray():
            return packed(value)
    return value
