"""The command ``trackplus``: one module per command."""

# ruff: noqa: T201  A command prints.

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import warnings
from collections.abc import Sequence

import lightning_trackplus
from lightning_trackplus.cli import compare, ls, report, show, verify

_COMMANDS = (ls, show, compare, report, verify)
_FAILED = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, 1 if ``verify`` found differences, or 2 if there was nothing to read."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help()
        return 0
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # A terminal may not be able to show curves and dashes.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            status: int = arguments.run_command(arguments)
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader of the output, such as `head`, has exited. The interpreter flushes once more at its end.
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except (ValueError, OSError, ImportError) as error:
            print(f"trackplus {arguments.command}: {error}", file=sys.stderr)
            status = _FAILED
    for warning in caught:
        if issubclass(warning.category, UserWarning):
            print(f"trackplus {arguments.command}: {warning.message}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="trackplus",
        description="Inspect runs of TrackPlusLogger, and of Lightning's CSVLogger and TensorBoardLogger.",
        epilog="A run is a folder such as lightning_logs/version_0, or its URL, such as s3://bucket/logs/version_0.\n"
        "`trackplus COMMAND --help` has examples.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"lightning-trackplus {lightning_trackplus.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for module in _COMMANDS:
        added = module.add_parser(commands)
        added.formatter_class = argparse.RawDescriptionHelpFormatter
        added.set_defaults(run_command=module.run)
    return parser
