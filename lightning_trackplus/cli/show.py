"""``trackplus show``: one run."""

# ruff: noqa: T201  A command prints.

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lightning_trackplus.cli import output
from lightning_trackplus.cli.output import BLOCKS
from lightning_trackplus.formats.layout import is_url
from lightning_trackplus.views.times import duration, moment

if TYPE_CHECKING:
    from lightning_trackplus.reading.run_info import RunInfo

_WIDTH = 16
_BEST = "*"
_WHAT = {
    "metrics.csv": "numbers",
    "summary.json": "last and best values",
    "media.csv": "index of media",
    "media": "media",
    "hparams.yaml": "hyper-parameters",
    "config.yaml": "configuration",
    "checkpoints": "checkpoints",
    "report.html": "report",
    "backup": "records removed by resumes",
}


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command's arguments."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "show",
        help="show one run: hyper-parameters, metrics, media, files",
        description="Show one run: its hyper-parameters; each metric's last and best value, or lowest and highest "
        "value, as VALUE @ STEP, with a small curve; its media; and its files.",
        epilog="examples:\n"
        "  trackplus show lightning_logs/version_0\n"
        "  trackplus show s3://bucket/logs/version_0\n"
        "  trackplus show lightning_logs/version_0 --json | jq '.metrics[\"val/loss\"].last'",
    )
    parser.add_argument("run", metavar="RUN", help="the run directory or its URL")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Run the command, and return its exit status."""
    # Imported here, so that --help is fast.
    from lightning_trackplus.reading.run_info import run_info  # noqa: PLC0415

    shown = run_info(arguments.run)
    if arguments.json:
        output.print_json(_as_json(shown))
    else:
        _print(shown)
    return 0


def _print(run: RunInfo) -> None:
    steps = "" if run.last_step is None else f", last step {run.last_step}"
    state = f"{run.status}, " if run.status else ""
    output.print_heading(run.name)
    print(f"{state}began {moment(run.started)}, took {duration(run.ended - run.started)}{steps}")
    if run.hparams:
        print()
        output.print_table(
            ["hyper-parameter", "value"], [[name, output.shortened(str(value))] for name, value in run.hparams.items()]
        )
    if run.newest_metrics:
        print()
        output.print_table(
            ["metric", "last", "lowest", "highest", "curve"],
            [
                [name, output.point(entry, "last"), *_extremes(entry), _curve_of(run, name)]
                for name, entry in run.newest_metrics.items()
            ],
        )
        if any("mode" in entry for entry in run.newest_metrics.values()):
            print(f"{_BEST} is the best")
    if run.media:
        print()
        output.print_table(
            ["media", "kind", "count", "steps"],
            [[one["name"], one["kind"], str(one["count"]), _span(one["steps"])] for one in _media(run)],
        )
    print()
    output.print_table(["file", "what it is"], [[where, what] for where, what in _files(run).items()])


def _curve_of(run: RunInfo, name: str) -> str:
    return curve(run.series[name][1]) if name in run.series else ""


def _extremes(entry: Mapping[str, Any]) -> tuple[str, str]:
    """Return the lowest and the highest value; if one is the best, the summary does not have the other."""
    best = f"{output.point(entry, 'best')} {_BEST}" if entry.get("best") is not None else ""
    match entry.get("mode"):
        case "min":
            return best, ""
        case "max":
            return "", best
    return output.point(entry, "min"), output.point(entry, "max")


def _as_json(run: RunInfo) -> dict[str, Any]:
    return {
        "path": run.name if is_url(run.name) else str(run.directory),
        "status": run.status,
        "started": output.iso(run.started),
        "seconds": round(run.ended - run.started, 3),
        "last_step": run.last_step,
        "hparams": run.hparams,
        "metrics": run.newest_metrics,
        "media": _media(run),
        "files": list(_files(run)),
    }


def curve(values: NDArray[np.float64]) -> str:
    """Return values as a row of blocks, each the mean of equally many values; a space if none is finite.

    Examples:
        >>> curve(np.arange(8.0)), curve(np.array([1.0, np.nan, 1.0]))
        ('▁▂▃▄▅▆▇█', '▄ ▄')
    """
    count = min(_WIDTH, len(values))
    sizes = np.full(count, len(values) // count)
    sizes[: len(values) % count] += 1
    starts, is_finite = np.cumsum(sizes) - sizes, np.isfinite(values)
    finite = np.add.reduceat(is_finite.astype(np.intp), starts)
    # From the lowest value on, equal values have equal means. Halves and shares, since no sum may overflow a float64.
    above = np.where(is_finite, values, np.nan) / 2
    above -= np.fmin.reduce(above)
    means = np.add.reduceat(np.where(is_finite, above, 0.0) / np.repeat(np.maximum(finite, 1), sizes), starts)
    lowest, highest = means[finite > 0].min(initial=np.inf), means[finite > 0].max(initial=-np.inf)
    heights = (means - lowest) / (highest - lowest) * len(BLOCKS) if lowest < highest else np.full(count, 3)
    levels = np.clip(heights, 0, len(BLOCKS) - 1).astype(int)
    return "".join(BLOCKS[level] if number else " " for level, number in zip(levels, finite, strict=True))


def _media(run: RunInfo) -> list[dict[str, Any]]:
    counts = Counter((one.name, one.kind) for one in run.media)
    steps: dict[tuple[str, str], dict[int, None]] = {}
    for one in run.media:
        steps.setdefault((one.name, one.kind), {})[one.step] = None
    return [
        {"name": name, "kind": kind, "count": count, "steps": list(steps[name, kind])}
        for (name, kind), count in counts.items()
    ]


def _span(steps: list[int]) -> str:
    return str(steps[0]) if len(steps) == 1 else f"{len(steps)} steps, {min(steps)} to {max(steps)}"


def _files(run: RunInfo) -> dict[str, str]:
    """Return the paths that exist, and what each is."""
    # Imported here, so that --help is fast.
    from lightning_trackplus.reading.run_files import files_of  # noqa: PLC0415

    # The copy of a run at a URL does not have all files.
    is_copy = is_url(run.name) and not run.name.startswith("file://")
    there = {path.partition("/")[0] for path in files_of(run.name)} if is_copy else set(os.listdir(run.directory))
    events = [name for name in there if "tfevents" in name]
    found = {f"{run.name}/{name}": what for name, what in _WHAT.items() if name in there}
    if events:
        count = f"{len(events)} file{'' if len(events) == 1 else 's'}"
        found[f"{run.name}/events.out.tfevents.*"] = f"TensorBoard events, {count}"
    return found
