"""``trackplus compare``: several runs side by side."""

# ruff: noqa: T201  A command prints.

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lightning_trackplus.cli import output
from lightning_trackplus.formats.summary import json_number
from lightning_trackplus.runtime.names import did_you_mean

if TYPE_CHECKING:
    from lightning_trackplus.reading.run_info import RunInfo

_DIFFERS, _BEST = "≠", "*"


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command's arguments."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "compare",
        help="compare runs",
        description="Show the metrics and hyper-parameters of runs side by side. A metric has its best value if it is "
        "known whether low or high is good, and its last value otherwise. "
        f"{_DIFFERS} marks what differs, and {_BEST} the best run.\n"
        "With --by, runs that differ only in this hyper-parameter, such as the seed, share a column with mean and "
        "standard deviation.",
        epilog="examples:\n"
        "  trackplus compare lightning_logs/version_0 lightning_logs/version_1\n"
        "  trackplus compare lightning_logs/version_* --by seed",
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help="a run directory or its URL")
    parser.add_argument(
        "--by",
        metavar="KEY",
        action="append",
        default=[],
        help="a hyper-parameter to average over; can be repeated",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


class _Column(NamedTuple):
    """A run, or runs that differ only in the hyper-parameters of ``--by``."""

    runs: list[RunInfo]
    hparams: dict[str, Any]

    def values(self, name: str, mode: str | None) -> list[float]:
        """Return the best value of a metric in each run that has it, or the last one if no mode is known."""
        entries = [run.newest_metrics[name] for run in self.runs if name in run.newest_metrics]
        # A run without a mode has both extremes.
        found = [entry.get("best", entry.get(mode)) if mode else entry["last"] for entry in entries]
        return [math.nan if value is None else float(value) for value in found]


def run(arguments: argparse.Namespace) -> int:
    """Run the command, and return its exit status."""
    # Imported here, so that --help is fast.
    from lightning_trackplus.reading.run_info import run_info  # noqa: PLC0415

    runs = {run.name: run for run in map(run_info, arguments.runs)}
    columns = _columns(list(runs.values()), arguments.by)
    if arguments.json:
        output.print_json(_as_json(columns))
    else:
        _print(columns, arguments.by)
    return 0


def _columns(runs: list[RunInfo], by: Sequence[str]) -> list[_Column]:
    known = list(dict.fromkeys(name for run in runs for name in run.hparams))
    for key in by:
        if key not in known:
            raise ValueError(f"no run has the hyper-parameter {key!r}.{did_you_mean(key, known)}")
    if not by:
        return [_Column([run], dict(run.hparams)) for run in runs]
    columns: dict[str, _Column] = {}
    for run in runs:
        rest = {name: value for name, value in run.hparams.items() if name not in by}
        columns.setdefault(repr(sorted(rest.items())), _Column([], rest)).runs.append(run)
    return list(columns.values())


def _print(columns: list[_Column], by: Sequence[str]) -> None:
    titles = _titles(columns)
    if by:
        for title, column in zip(titles, columns, strict=True):
            print(output.printable(f"{title}: {', '.join(run.name for run in column.runs)}"))
        print()
    rows: list[list[output.Cell]] = []
    for name in dict.fromkeys(name for column in columns for name in column.hparams):
        values = [column.hparams.get(name, "") for column in columns]
        rows.append(
            _row(name, [output.shortened(str(value)) for value in values], differs=len(set(map(repr, values))) > 1)
        )
    if rows:
        output.print_table(["", "hyper-parameter", *titles], rows, keys=2)
        print()
    rows = []
    for name, mode in _modes(columns).items():
        found = [column.values(name, mode) for column in columns]
        texts = [_mean_and_deviation(values) for values in found]
        differs = len({tuple(map(_as_float32, values)) for values in found}) > 1
        means = list(map(_mean, found))
        if mode and differs and not all(map(math.isnan, means)):
            best = (np.nanmin if mode == "min" else np.nanmax)(means)
            texts = [f"{text} {_BEST}" if mean == best else text for text, mean in zip(texts, means, strict=True)]
        rows.append(_row(f"{name} ({mode})" if mode else name, texts, differs=differs))
    if rows:
        output.print_table(["", "metric", *titles], rows, keys=2)


def _as_float32(value: float) -> str:
    """Return a number in the precision of event files, which some runs only have; NaN equals NaN."""
    with np.errstate(over="ignore"):
        return repr(np.float32(value))


def _row(name: str, texts: list[str], *, differs: bool) -> list[output.Cell]:
    style = "" if differs else "dim"
    cells = [output.Styled(text, "bold green" if text.endswith(f" {_BEST}") else style) for text in texts]
    return [_DIFFERS if differs else " ", output.Styled(name, style), *cells]


def _titles(columns: list[_Column]) -> list[str]:
    """Return the names of the columns: paths without the folders that all share, and how many runs each has."""
    paths = [column.runs[0].name.split("/") for column in columns]
    shared = 0
    while all(len(path) > shared + 1 and path[: shared + 1] == paths[0][: shared + 1] for path in paths):
        shared += 1
    names = ["/".join(path[shared:]) for path in paths]
    counts = [len(column.runs) for column in columns]
    return [name if count == 1 else f"{name} and {count - 1} more" for name, count in zip(names, counts, strict=True)]


def _modes(columns: list[_Column]) -> dict[str, str | None]:
    """Return the mode of each metric; None if no run has one, or they disagree."""
    modes: dict[str, set[str]] = {}
    for entries in (run.newest_metrics for column in columns for run in column.runs):
        for name, entry in entries.items():
            modes.setdefault(name, set()).update({entry["mode"]} if "mode" in entry else ())
    return {name: next(iter(found)) if len(found) == 1 else None for name, found in modes.items()}


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _deviation(values: list[float]) -> float | None:
    """Return the sample standard deviation; None for one value, and NaN if a value is not finite."""
    if len(values) < 2:  # noqa: PLR2004
        return None
    return statistics.stdev(values) if all(map(math.isfinite, values)) else math.nan


def _mean_and_deviation(values: list[float]) -> str:
    deviation = _deviation(values)
    text = output.number(_mean(values)) if values else ""
    return text if deviation is None else f"{text} ± {output.number(deviation)}"


def _as_json(columns: list[_Column]) -> dict[str, Any]:
    names, modes = dict.fromkeys(name for column in columns for name in column.hparams), _modes(columns)
    return {
        "columns": [
            {
                "runs": [run.name for run in column.runs],
                "hparams": column.hparams,
                "metrics": {
                    name: _statistics(values) for name, mode in modes.items() if (values := column.values(name, mode))
                },
            }
            for column in columns
        ],
        "modes": modes,
        "differing_hparams": [name for name in names if len({repr(one.hparams.get(name)) for one in columns}) > 1],
    }


def _statistics(values: list[float]) -> dict[str, Any]:
    deviation = _deviation(values)
    return {
        "mean": json_number(_mean(values)),
        "std": None if deviation is None else json_number(deviation),
        "values": [json_number(value) for value in values],
    }
