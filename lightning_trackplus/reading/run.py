"""A run as it was read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_trackplus.formats.media_csv import MediaRecord, media_by_step
from lightning_trackplus.formats.summary import modes_of
from lightning_trackplus.reading.curves import curves_of
from lightning_trackplus.reading.run_info import RunInfo
from lightning_trackplus.record import Item

# Of a run, in a notebook: metrics, names of media, and files of each.
_MAX_METRICS, _MAX_NAMES, _MAX_FILES = 100, 12, 8


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class Run:
    """The contents of a run; a notebook shows its metrics with small curves, and its newest media.

    Attributes:
        path: The run directory, absolute; for a run at a URL, the copy on this machine.
        metrics: A frame with a row for each step. Its columns are ``step``, int64, and ``epoch`` and one for each name,
            float64; cells without a value are NaN in pandas and null in polars.
        media: The media files, in the order in which they were logged.
    """

    path: Path
    metrics: Any
    media: tuple[MediaRecord, ...]

    def __repr__(self) -> str:
        names = len(self.metrics.columns) - 2  # Without step and epoch.
        return f"<Run {self.path}: {len(self.metrics)} rows of {names} metrics, {len(self.media)} media files>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        from lightning_trackplus.views import html  # noqa: PLC0415  only a notebook needs it

        curves, modes, limit = curves_of(self.metrics), modes_of(self.path), html.Limit()
        status = RunInfo(str(self.path), self.path).status or ""
        counts = f"{len(self.metrics):,} rows, {len(curves):,} metrics, {len(self.media):,} media files"
        parts = [html.line(f"<b>{html.text('/'.join(self.path.parts[-2:]))}</b> {status} <small>{counts}</small>")]
        if curves:
            shown = list(curves.items())[:_MAX_METRICS]
            rows = [html.metric_row(name, one.steps, one.values, modes.get(name)) for name, one in shown]
            parts.append(html.table(["metric", "last", "lowest", "highest", ""], rows))
        if (more := len(curves) - _MAX_METRICS) > 0:
            parts.append(html.line(f"{more:,} more metrics are not shown."))
        by_name = media_by_step(self.media)
        for name, by_step in list(by_name.items())[:_MAX_NAMES]:
            step, count = max(by_step), sum(map(len, by_step.values()))
            of_step = f"{len(by_step[step]):,} of {count:,} files"
            parts.append(html.line(f"<b>{html.text(name)}</b> step {step:,} <small>{of_step}</small>"))
            items = (
                (record.kind, Item(data, record.path.suffix, record.caption, record.score))
                for record in by_step[step][:_MAX_FILES]
                if (data := limit.read(record.path)) is not None
            )
            parts.append(html.figures(items, limit))
            limit.left_out += len(by_step[step][_MAX_FILES:])
        if (more := len(by_name) - _MAX_NAMES) > 0:
            parts.append(html.line(f"Media of {more:,} more names are not shown."))
        return html.output([*parts, limit.note()])
