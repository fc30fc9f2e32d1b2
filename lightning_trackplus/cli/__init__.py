"""The command ``trackplus``."""

# ruff: noqa: T201  A command prints.

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence

from lightning_trackplus.cli import report

_MAX_SHOWN = 20
_SAME, _DIFFERENT, _NOT_COMPARED = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, 1 if ``verify`` found differences, or 2 if it had nothing to compare."""
    arguments = _parser().parse_args(argv)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            status: int = arguments.command(arguments)
        except (ValueError, OSError, ImportError) as error:
            print(f"trackplus {arguments.name}: {error}", file=sys.stderr)
            status = _NOT_COMPARED
    for warning in caught:
        if issubclass(warning.category, UserWarning):
            print(f"trackplus {arguments.name}: {warning.message}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="trackplus", description="Inspect runs that TrackPlusLogger wrote.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="name")
    verify = commands.add_parser(
        "verify",
        help="check that CSV and TensorBoard hold the same values",
        description="Check that metrics.csv and the event files of a run hold the same values, also if Lightning's"
        " CSVLogger and TensorBoardLogger wrote them. Exits with 0 if they do, with 1 if there are differences, and"
        " with 2 if there is nothing to compare.",
    )
    verify.add_argument("run", metavar="RUN", help="the run directory, such as lightning_logs/version_0")
    verify.add_argument(
        "csv_run", metavar="CSV_RUN", nargs="?", help="the directory of metrics.csv, if it is another one"
    )
    verify.add_argument("--all", action="store_true", help=f"list all differences, not only the first {_MAX_SHOWN}")
    verify.set_defaults(command=_verify)
    report.add_parser(commands)
    return parser


def _verify(arguments: argparse.Namespace) -> int:
    # Imported here, so that --help is fast.
    from lightning_trackplus.reading.verify import compare  # noqa: PLC0415

    comparison = compare(arguments.run, arguments.csv_run)
    differences = comparison.differences
    noun = "difference" if len(differences) == 1 else "differences"
    count = f"{len(differences):,} {noun}" if differences else f"no {noun}"
    print(f"{comparison.values:,} value{'' if comparison.values == 1 else 's'} in both, {count}")
    shown = differences if arguments.all else differences[:_MAX_SHOWN]
    for difference in shown:
        print(f"  {difference}")
    if len(shown) < len(differences):
        print(f"  … and {len(differences) - len(shown):,} more; --all lists them")
    return _DIFFERENT if differences else _SAME
