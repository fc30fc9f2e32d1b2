"""``trackplus ls``: the runs below a folder."""

# ruff: noqa: T201  A command prints.

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_trackplus.cli import output
from lightning_trackplus.formats.layout import is_url
from lightning_trackplus.views.times import duration, moment

if TYPE_CHECKING:
    from lightning_trackplus.reading.run_info import RunInfo

_DEFAULT = "lightning_logs"
_MAX_HPARAMS = 5
_MAX_MONITORED = 3


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command's arguments."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "ls",
        help="list the runs below a folder",
        description="List the runs below a folder, the newest first: start, duration, last step, how they ended, the "
        "best values of monitored metrics, and the hyper-parameters that differ.",
        epilog="examples:\n"
        "  trackplus ls\n"
        "  trackplus ls lightning_logs\n"
        "  trackplus ls s3://bucket/logs\n"
        "  trackplus ls --json | jq '.runs[0].path'",
    )
    parser.add_argument(
        "directory",
        metavar="DIR",
        nargs="?",
        help=f"the folder or its URL; by default {_DEFAULT}, or the working directory",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, with all hyper-parameters")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Run the command, and return its exit status."""
    # Imported here, so that --help is fast.
    from lightning_trackplus.reading.run_info import differing_hparams  # noqa: PLC0415

    root = arguments.directory or (_DEFAULT if Path(_DEFAULT).is_dir() else ".")
    # Lightning's loggers record the start in whole seconds.
    runs = sorted(_runs(root), key=lambda run: (run.started, run.ended), reverse=True)
    if not runs:
        raise ValueError(f"{root} has no runs; expected a folder with runs, such as {_DEFAULT}.")
    differing = differing_hparams(runs)
    if arguments.json:
        output.print_json({"runs": [_as_json(run) for run in runs], "differing_hparams": differing})
        return 0
    monitored = list(dict.fromkeys(name for run in runs for name in run.monitored))[:_MAX_MONITORED]
    shown = differing[:_MAX_HPARAMS]
    of_run = ["run", "started", "took", "last step", "ended"]
    headers = [*of_run, *(f"best {name}" for name in monitored), *map(output.shortened, shown)]
    output.print_table(headers, [_row(run, root, monitored, shown) for run in runs])
    if more := len(differing) - len(shown):
        print(f"{more} more hyper-parameter{' differs' if more == 1 else 's differ'}; --json has all")
    return 0


def _runs(root: str) -> Iterator[RunInfo]:
    # Imported here, so that --help is fast.
    from lightning_trackplus.reading.run_info import run_directories, run_info  # noqa: PLC0415

    for path in run_directories(root):
        try:
            run = run_info(path)
            _as_json(run)  # It reads all that is shown.
        except (ValueError, OSError, ImportError) as error:  # noqa: PERF203  the other runs are shown
            warnings.warn(str(error), stacklevel=1)
        else:
            yield run


def _row(run: RunInfo, root: str, monitored: list[str], hparams: list[str]) -> list[output.Cell]:
    root = root.removeprefix("file://").rstrip("/")
    path = "." if run.name == root else run.name.removeprefix(f"{root}/")
    styles = {"interrupted": "red", "running": "green"}
    return [
        path,
        moment(run.started),
        duration(run.ended - run.started),
        "" if run.last_step is None else str(run.last_step),
        output.Styled(run.status or "", styles.get(run.status or "", "")),
        *(output.point(run.metrics.get(name, {}), "best") for name in monitored),
        *(output.shortened(str(run.hparams.get(name, ""))) for name in hparams),
    ]


def _as_json(run: RunInfo) -> dict[str, Any]:
    keys = ("best", "best_step", "mode")
    return {
        "path": run.name if is_url(run.name) else os.path.abspath(run.name),
        "started": output.iso(run.started),
        "seconds": round(run.ended - run.started, 3),
        "last_step": run.last_step,
        "status": run.status,
        "best": {name: {key: run.metrics[name].get(key) for key in keys} for name in run.monitored},
        "hparams": run.hparams,
    }
