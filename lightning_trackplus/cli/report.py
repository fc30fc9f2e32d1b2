"""``trackplus report``: writes runs as one HTML page."""

# ruff: noqa: T201  A command prints.

from __future__ import annotations

import argparse
from typing import Any

from lightning_trackplus.cli import output
from lightning_trackplus.reports import MAX_MEDIA_MB


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command's arguments."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "report",
        help="write runs as one HTML page",
        description="Write runs as one HTML page with charts, media, hyper-parameters and what differs between the "
        "runs. The page needs no server and no network.",
        epilog="examples:\n"
        "  trackplus report lightning_logs/version_0\n"
        "  trackplus report lightning_logs/version_* -o sweep.html --group-by learning_rate",
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help="a run directory or its URL")
    parser.add_argument("-o", "--output", metavar="FILE", default="report.html", help="the file (%(default)s)")
    parser.add_argument(
        "--group-by", metavar="KEY", help="draw runs with the same value of this hyper-parameter as their mean"
    )
    parser.add_argument(
        "--max-media-mb",
        metavar="MB",
        type=float,
        default=MAX_MEDIA_MB,
        help="the limit for media files, in MB (%(default)g)",
    )
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Run the command, and return its exit status."""
    # Imported here, so that --help is fast.
    from lightning_trackplus.reports.page import report  # noqa: PLC0415

    file = report(arguments.runs, arguments.output, group_by=arguments.group_by, max_media_mb=arguments.max_media_mb)
    print(output.printable(f"{file} ({file.stat().st_size / 10**6:.1f} MB)"))
    return 0
