"""The page of a report: `report` fills the templates with what the other modules make of the runs."""

from __future__ import annotations

import base64
import contextlib
import functools
import gzip
import html
import importlib.resources
import importlib.util
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np

from lightning_trackplus.formats.layout import escaped, is_url
from lightning_trackplus.reading.curves import Curve
from lightning_trackplus.reading.run import Run
from lightning_trackplus.reading.run_info import RunInfo
from lightning_trackplus.reports import MAX_MEDIA_MB, MAX_MEDIA_MB_IN_NOTEBOOK
from lightning_trackplus.reports.data import ReportRun, load_runs
from lightning_trackplus.views.times import duration, moment

_NEEDED = {"jinja2": "jinja2", "plotly": "plotly", "markdown_it": "markdown-it-py", "pandas": "pandas"}
_VALUES_SHOWN = {"last": "last", "best": "best", "min": "lowest", "max": "highest"}
_TEMPLATES = "lightning_trackplus.reports"

OneRun = str | os.PathLike[str] | Run


@dataclass(frozen=True, slots=True)
class Report:
    """A report that was not written to a file; a notebook shows it.

    Attributes:
        html: The page.
    """

    html: str

    def _repr_html_(self) -> str:
        """Return a frame with the page, which can do nothing to the notebook around it."""
        return (
            '<iframe sandbox="allow-scripts allow-downloads" style="width: 100%; height: 800px; border: 0"'
            f' srcdoc="{html.escape(self.html)}"></iframe>'
        )

    def __repr__(self) -> str:
        """Return how large it is; the page itself would fill a terminal."""
        return f"<Report: {len(self.html) / 10**6:.1f} MB>"


class Point(NamedTuple):
    """A value of a metric and its step, or what stands for none."""

    value: str = ""
    step: str = ""


@overload
def report(
    runs: OneRun | Iterable[OneRun],
    path: None = None,
    *,
    group_by: str | None = None,
    max_media_mb: float | None = None,
) -> Report: ...
@overload
def report(
    runs: OneRun | Iterable[OneRun],
    path: str | os.PathLike[str],
    *,
    group_by: str | None = None,
    max_media_mb: float | None = None,
) -> Path: ...
def report(
    runs: OneRun | Iterable[OneRun],
    path: str | os.PathLike[str] | None = None,
    *,
    group_by: str | None = None,
    max_media_mb: float | None = None,
) -> Path | Report:
    r"""Write runs as one HTML page with charts, media and hyper-parameters.

    The page needs no server and no network. It needs the extra ``report``:
    ``pip install 'lightning-trackplus[report]'``.

    Args:
        runs: One or more runs: paths or URLs of run directories, or results of `read_run`.
        path: The file to write, such as ``"report.html"``; without it, the report is shown in a notebook.
        group_by: A hyper-parameter. Runs that have the same value of it are drawn as their mean, with their standard
            deviation as a band.
        max_media_mb: How many megabytes of media files the page holds, the newest first: by default 20, and 5 in a
            notebook, because the notebook's file stores them.

    Returns:
        The path of the file, or an object that a notebook shows.

    Raises:
        ValueError: If ``runs`` is empty or contains a path that is not a run directory, if none of the runs has the
            hyper-parameter ``group_by``, or if ``path`` is a folder or a URL.
        ImportError: If a package of the extra ``report`` is missing.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "metrics.csv").write_text("step,epoch,loss\n0,0,0.5\n1,0,0.25\n")
        >>> report(folder, folder / "report.html").name
        'report.html'
    """
    _check_installed()
    if path is not None and (is_url(os.fspath(path)) or Path(path).is_dir()):
        raise ValueError(f"report got path={os.fspath(path)!r}; expected a file of this machine, such as report.html.")
    several = [runs] if isinstance(runs, str | os.PathLike | Run) else list(runs)
    limit = MAX_MEDIA_MB if path is not None else MAX_MEDIA_MB_IN_NOTEBOOK
    # Paths can have bytes that are not UTF-8.
    page = escaped(_page(load_runs(several), group_by, limit if max_media_mb is None else max_media_mb))
    if path is None:
        return Report(page)
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page, encoding="utf-8")
    return file


def _check_installed() -> None:
    missing = [package for module, package in _NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise ImportError(
            f"A report needs {', '.join(missing)}, and that is not installed:"
            " `pip install 'lightning-trackplus[report]'`.",
            name=missing[0],
        )


def _page(runs: Sequence[ReportRun], group_by: str | None, max_media_mb: float) -> str:
    import jinja2  # noqa: PLC0415  of the extra

    from lightning_trackplus.reports.charts import charts_of, lines_of, packed  # noqa: PLC0415
    from lightning_trackplus.reports.media import media_of  # noqa: PLC0415  of the extra

    lines = lines_of(runs, group_by)
    media, note = media_of(runs, max_media_mb)
    summary = _summary(runs)
    has_best = any(row["mode"] for row in summary)
    data = {
        "lines": [
            {
                "name": one.name,
                "epochs": [packed(row) for row in one.clock.epochs],
                "times": [packed(row) for row in one.clock.times],
            }
            for one in lines
        ],
        "charts": charts_of(lines),
        "runs": [run.name for run in runs],
        "lineOfRun": [next(i for i, one in enumerate(lines) if run in one.runs) for run in runs],
        "media": media,
    }
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(_TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html").render(
        title=runs[0].name if len(runs) == 1 else f"{len(runs)} runs",
        runs=runs,
        lines=lines,
        data=data,
        group_by=group_by,
        note=note,
        facts=[_facts(run) for run in runs],
        hparams=_hparams(runs),
        summary=summary,
        values_shown={which: words for which, words in _VALUES_SHOWN.items() if which != "best" or has_best}.items(),
        library=_library(),
        style=_resource("page.css"),
        script=_resource("page.js"),
        made=moment(time.time()),
    )


def _resource(name: str) -> str:
    return (importlib.resources.files(_TEMPLATES) / "templates" / name).read_text(encoding="utf-8")


@functools.cache
def _library() -> str:
    """Return plotly's script, compressed, which is 2 MB instead of 5."""
    import plotly.offline  # noqa: PLC0415  of the extra

    return base64.b64encode(gzip.compress(plotly.offline.get_plotlyjs().encode(), mtime=0)).decode()


def _facts(run: ReportRun) -> dict[str, str]:
    """Return what a run was, in a few words each."""
    facts = {}
    info = RunInfo(run.name, run.run.path)
    with contextlib.suppress(OSError):  # A run that was read can be deleted by now.
        facts = {"started": moment(info.started), "took": duration(info.ended - info.started)}
    of_training = [curve.steps.max() for curve in run.curves.values() if not curve.of_batches]
    if of_training:
        facts["steps"] = f"{int(max(of_training)) + 1:,}"
    if run.clock.epochs.size:
        facts["epochs"] = f"{run.clock.epochs[1, -1]:.3g}"
    return facts


def _hparams(runs: Sequence[ReportRun]) -> dict[str, list[tuple[str, list[str]]]]:
    """Return each hyper-parameter with its value in each run, those that differ and those that do not."""
    found: dict[str, list[tuple[str, list[str]]]] = {"different": [], "same": []}
    for name in dict.fromkeys(name for run in runs for name in run.hparams):
        values = [str(run.hparams.get(name, "—")) for run in runs]
        found["same" if len(set(values)) == 1 else "different"].append((name, values))
    return found


def _summary(runs: Sequence[ReportRun]) -> list[dict[str, Any]]:
    """Return a row for each metric: last, best, lowest and highest value of each run, and which run is the best."""
    rows = []
    for name in dict.fromkeys(name for run in runs for name in run.curves):
        modes = {run.modes[name] for run in runs if name in run.modes}
        # Runs that disagree have no best one.
        mode = modes.pop() if len(modes) == 1 else None
        curves = [run.curves.get(name) for run in runs]
        cells = [_points(curve, mode) for curve in curves]
        bests = [np.nan if curve is None or mode is None else getattr(curve.values, mode)() for curve in curves]
        best = int(getattr(np, f"nanarg{mode}")(bests)) if mode and len(runs) > 1 else None
        rows.append({"name": name, "mode": mode, "cells": cells, "best": best})
    return sorted(rows, key=lambda row: row["mode"] is None)


def _points(curve: Curve | None, mode: str | None) -> dict[str, Point]:
    if curve is None:
        return dict.fromkeys(_VALUES_SHOWN, Point())
    places = {"last": -1, "min": int(curve.values.argmin()), "max": int(curve.values.argmax())}
    points = {which: Point(f"{curve.values[at]:.5g}", f"{int(curve.steps[at]):,}") for which, at in places.items()}
    return points | {"best": points[mode] if mode else Point()}
