"""Draw ``docs/images/ranks.png``: what the end of an epoch costs one rank, by the number of ranks.

It draws the figures that the benchmark writes, and needs matplotlib::

    python -m benchmarks.ranks --json ranks.json
    python docs/plot_ranks.py ranks.json
"""
# ruff: noqa: INP001  (a program, beside the pages)

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

PICTURE = Path(__file__).parent / "images/ranks.png"
COLOURS = ("#1f4e9c", "#c97b12", "#2a7f62")


def draw(axes: Axes, rows: list[dict[str, Any]], column: str, unit: float) -> None:
    """Draw a column over the number of ranks, a line for each algorithm."""
    algorithms = list(dict.fromkeys(row["algorithm"] for row in rows))
    for algorithm, colour, width in zip(algorithms, COLOURS, (2.4, 1.4, 1.4), strict=False):
        points = [(row["ranks"], row[column] / unit) for row in rows if row["algorithm"] == algorithm]
        axes.plot(*zip(*points, strict=True), color=colour, linewidth=width, marker="o", markersize=4, label=algorithm)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(sorted({row["ranks"] for row in rows})))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("ranks")
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color="#e4e4e4")
    axes.set_axisbelow(True)


def main() -> None:
    """Draw, and write the picture."""
    rows = json.loads(Path(sys.argv[1]).read_text())["rows"]
    plt.style.use(Path(__file__).parent / "plot.mplstyle")
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    draw(left, rows, "seconds", 1e-3)
    left.set_title("CPU time of one rank, ms")
    left.legend(frameon=False, loc="upper left")
    draw(right, rows, "received", 1e6)
    right.set_title("Received by one rank, MB")
    figure.savefig(PICTURE, dpi=130, facecolor="white")


if __name__ == "__main__":
    main()
