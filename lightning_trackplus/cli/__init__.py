"""The command ``trackplus``: one module per command."""

# ruff: noqa: T201  A command prints.

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import warnings
from collections.abc import Sequence

from typing_extensions import override

import lightning_trackplus
from lightning_trackplus.cli import compare, ls, output, report, show, verify

_COMMANDS = (ls, show, compare, report, verify)
_FAILED, _INTERRUPTED = 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0, or 1 if ``verify`` found differences, 2 if there was nothing to read, or 130 after Ctrl+C.
    """
    # Python has no stream where the shell has closed it, as `>&-` does, and would print errors to the other one.
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  until the interpreter ends
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    output.replace_unencodable(sys.stdout)
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help()
        return 0
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
        except KeyboardInterrupt:
            return _INTERRUPTED
        except (ValueError, OSError, ImportError) as error:
            _complain(arguments.command, error)
            status = _FAILED
    for warning in caught:
        if issubclass(warning.category, UserWarning):
            _complain(arguments.command, warning.message)
    return status


def _complain(command: str, message: object) -> None:
    """Print an error or a warning; paths and names in it can have control characters."""
    lines = map(output.printable, f"trackplus {command}: {message}".split("\n"))
    print("\n".join(lines), file=sys.stderr)


class _HelpFormatter(argparse.HelpFormatter):
    """Wraps each line of a description to the width of the terminal, except examples, which are indented."""

    @override
    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = text.splitlines()
        return "\n".join(
            one if one.startswith(" ") else super(_HelpFormatter, self)._fill_text(one, width, indent) for one in lines
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="trackplus",
        description="Inspect runs of TrackPlusLogger, and of Lightning's CSVLogger and TensorBoardLogger.",
        epilog="A run is a folder such as lightning_logs/version_0, or its URL, such as s3://bucket/logs/version_0.\n"
        "`trackplus COMMAND --help` has examples.",
        formatter_class=_HelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"lightning-trackplus {lightning_trackplus.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for module in _COMMANDS:
        added = module.add_parser(commands)
        added.formatter_class = _HelpFormatter
        added.set_defaults(run_command=module.run)
    return parser
