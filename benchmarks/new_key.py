"""What a name costs that appears after a million rows, ours against Lightning's CSVLogger; and a row among many.

Both sides write the same rows before. The time is that until the new column is in the file. Then the rows of our own
table are timed at different places of a long run, and with many names::

    python -m benchmarks.new_key
"""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from lightning_trackplus.writers.metrics_table import MetricsTable

ROWS, ROUNDS = 1_000_000, 3
NAMES = ("train/loss", "train/acc", "lr")
MANY_NAMES = 10_000


def numbers(step: int) -> dict[str, float]:
    """Return what is logged at a step."""
    return {name: step * 0.001 + number for number, name in enumerate(NAMES)}


def ours(folder: str) -> float:
    """Return the seconds of a new name in our table."""
    table = MetricsTable(Path(folder, "metrics.csv"))
    for step in range(ROWS):
        table.write(step, 0, numbers(step))
    table.flush()
    started = time.perf_counter()
    table.write(ROWS, 0, {"val/loss": 0.5})
    table.flush()
    seconds = time.perf_counter() - started
    table.close()
    return seconds


def theirs(folder: str) -> float:
    """Return the seconds of a new name in the writer of Lightning's CSVLogger."""
    writer = ExperimentWriter(folder)
    for step in range(ROWS):
        writer.metrics.append({"step": step, "epoch": 0, **numbers(step)})
    writer.save()
    started = time.perf_counter()
    writer.log_metrics({"val/loss": 0.5}, ROWS)
    writer.save()
    return time.perf_counter() - started


def row_costs() -> None:
    """Print what a row costs early and late in a run, and the memory that it takes."""
    with tempfile.TemporaryDirectory() as folder:
        table = MetricsTable(Path(folder, "metrics.csv"))
        began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for step in range(ROWS + 1):
            table.write(step, 0, numbers(step))
            if step in (1_000, 10_000, 100_000, ROWS):
                table.flush()
                now = time.perf_counter()
                grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10
                print(f"up to row {step:9,}: {(now - began) / step * 1e6:5.2f} µs a row, {grown:5.1f} MiB more memory")
        table.close()


def many_names() -> None:
    """Print what ten thousand names cost, which come a hundred at a time."""
    with tempfile.TemporaryDirectory() as folder:
        table = MetricsTable(Path(folder, "metrics.csv"))
        began = time.process_time()
        for step in range(MANY_NAMES // 100):
            table.write(step, 0, {f"name_{step * 100 + number}": 0.5 for number in range(100)})
            table.flush()
        table.close()
        seconds = time.process_time() - began
        size = Path(folder, "metrics.csv").stat().st_size / 2**20
        print(f"{MANY_NAMES:,} names in {MANY_NAMES // 100} flushes: {seconds:.2f} s of CPU, {size:.1f} MiB")


def main() -> None:
    """Print the comparison."""
    row_costs()
    many_names()
    ratios = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            their_seconds, our_seconds = theirs(f"{folder}/theirs"), ours(folder)
        ratios.append(their_seconds / our_seconds)
        print(f"a new name after {ROWS:,} rows: CSVLogger {their_seconds:.2f} s, TrackPlus {our_seconds:.3f} s")
        sys.stdout.flush()
    print(f"ratio, median of {ROUNDS} rounds: {statistics.median(ratios):.0f}")


if __name__ == "__main__":
    main()
