"""``trackplus verify``: checks that CSV and event files of a run hold the same values."""

# ruff: noqa: T201  A command prints.

from __future__ import annotations

import argparse
from typing import Any

from lightning_trackplus.cli import output

_MAX_SHOWN = 20
_SAME, _DIFFERENT = 0, 1


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command's arguments."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "verify",
        help="check that CSV and TensorBoard hold the same values",
        description="Check that metrics.csv and the event files of a run hold the same values, also if Lightning's "
        "CSVLogger and TensorBoardLogger wrote them. Exits with 0 if they do, with 1 if there are differences, and "
        "with 2 if there is nothing to compare.",
        epilog="examples:\n"
        "  trackplus verify lightning_logs/version_0\n"
        "  trackplus verify tensorboard_logs/version_0 csv_logs/version_0",
    )
    parser.add_argument("run", metavar="RUN", help="the run directory or its URL")
    parser.add_argument(
        "csv_run", metavar="CSV_RUN", nargs="?", help="the directory of metrics.csv, if it is another one"
    )
    parser.add_argument("--all", action="store_true", help=f"list all differences, not only the first {_MAX_SHOWN}")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Run the command, and return its exit status."""
    # Imported here, so that --help is fast.
    from lightning_trackplus.reading.verify import compare  # noqa: PLC0415

    comparison = compare(arguments.run, arguments.csv_run)
    differences = comparison.differences
    noun = "difference" if len(differences) == 1 else "differences"
    count = f"{len(differences):,} {noun}" if differences else f"no {noun}"
    print(f"{comparison.values:,} value{'' if comparison.values == 1 else 's'} in both, {count}")
    shown = differences if arguments.all else differences[:_MAX_SHOWN]
    for difference in shown:
        print(output.printable(f"  {difference}"))
    if len(shown) < len(differences):
        print(f"  … and {len(differences) - len(shown):,} more; --all lists them")
    return _DIFFERENT if differences else _SAME
