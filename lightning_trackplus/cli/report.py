"""The command ``trackplus report``."""

# ruff: noqa: T201  A command talks to a person.

from __future__ import annotations

import argparse
from typing import Any

from lightning_trackplus.reports import MAX_MEDIA_MB


def add_parser(commands: Any) -> None:
    """Add the command to those of ``trackplus``."""
    parser = commands.add_parser(
        "report",
        help="write runs as one HTML page",
        description="Write runs as one HTML page with charts, media, hyper-parameters and what differs between the"
        " runs. The page needs no server and no network.",
        epilog="Examples: trackplus report lightning_logs/version_0; trackplus report lightning_logs/version_*"
        " -o sweep.html --by seed",
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help="a run directory, such as lightning_logs/version_0")
    parser.add_argument("-o", "--output", metavar="FILE", default="report.html", help="the file (%(default)s)")
    parser.add_argument("--by", metavar="KEY", help="draw runs with the same value of a hyper-parameter as their mean")
    parser.add_argument(
        "--max-media-mb", metavar="MB", type=float, default=MAX_MEDIA_MB, help="how much media it holds (%(default)g)"
    )
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the report, and say where it is.

    Raises:
        ValueError: If there is no such run or hyper-parameter.
        ImportError: If a package of the extra ``report`` is missing.
    """
    # Imported here, so that help is there at once.
    from lightning_trackplus.reports.page import report  # noqa: PLC0415

    file = report(arguments.runs, arguments.output, by=arguments.by, max_media_mb=arguments.max_media_mb)
    print(f"{file} ({file.stat().st_size / 10**6:.1f} MB)")
    return 0
