"""What it costs to read, verify and take back a long run, and to write one with many names, beside other readers.

    python -m benchmarks.run_directory [--rows 250000] [--names 20]

Seconds are those of one process that does nothing else; memory is what the step adds to the process at its peak.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lightning_trackplus import read_run
from lightning_trackplus.reading.verify import compare
from lightning_trackplus.record import Record
from lightning_trackplus.run.journal import Extent, RunJournal
from lightning_trackplus.run.resume import rewind
from lightning_trackplus.writers.csv import CSVWriter
from lightning_trackplus.writers.metrics_table import MetricsTable
from lightning_trackplus.writers.protocol import Writer
from lightning_trackplus.writers.tensorboard import TensorBoardWriter

OCCUR_ONCE = (1000, 2000, 4000, 8000)


def write(directory: Path, rows: int, names: int) -> None:
    """Write a run, its numbers as CSV and as events."""
    generator = np.random.default_rng(0)
    writers: list[Writer] = [CSVWriter(directory), TensorBoardWriter(directory)]
    columns = [f"metric {number}" for number in range(names)]
    RunJournal(directory).begin("benchmark", Extent(0, {}))
    for step in range(rows):
        values = dict(zip(columns, generator.random(names).tolist(), strict=True))
        for writer in writers:
            writer.write(Record(step, float(step // 1000), 1e9 + step, values, only_numbers=True))
    for writer in writers:
        writer.close()


def measured(step: Callable[..., Any], *args: Any) -> tuple[float, float]:
    """Return the seconds and the MB that a step takes, in a process of its own that has imported all before."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(_measured, (step, *args))


def _measured(step: Callable[..., Any], *args: Any) -> tuple[float, float]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    step(*args)
    return time.perf_counter() - begin, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def pandas_alone(directory: Path) -> None:
    """Read the CSV as a person does."""
    import pandas  # noqa: PLC0415  not in each of the measured processes

    pandas.read_csv(directory / "metrics.csv")


def verify(directory: Path) -> None:
    """Compare both formats."""
    assert not compare(directory).differences


def event_accumulator(directory: Path) -> None:
    """Read the events as TensorBoard's loader in Python does."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: PLC0415  likewise

    EventAccumulator(str(directory), size_guidance={"scalars": 0}).Reload()


def take_back(directory: Path, rows: int) -> None:
    """Take a run back to its half."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(directory, Path(folder, "run")))
        (events,) = copy.glob("*tfevents*")
        size = events.stat().st_size // 2
        begin = time.perf_counter()
        rewind(copy, Extent(rows // 2, {events.name: size, "run.jsonl": (copy / "run.jsonl").stat().st_size}))
        table = MetricsTable(copy / "metrics.csv")
        table.write(rows, 0, {"metric 0": 1.0})
        table.close()
        print(f"    of which the rewind and the next flush take {time.perf_counter() - begin:.2f} s")


def many_columns(count: int) -> None:
    """Write some rows of very many names, and read them."""
    with tempfile.TemporaryDirectory() as folder:
        table = MetricsTable(Path(folder, "metrics.csv"))
        for step in range(3):
            table.write(step, 0, {f"name {number}": 0.5 for number in range(count)})
            table.flush()
        table.close()
        read_run(folder)


def names_that_occur_once(count: int) -> None:
    """Write names that each occur once, at a step of their own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "metrics.csv")
        table = MetricsTable(path)
        for step in range(count):
            table.write(step, 0, {f"name {step}": 0.5})
            if step % 500 == 0:
                table.flush()
        table.close()
        print(f"    its metrics.csv has {path.stat().st_size / 1e6:.2f} MB")


def names_that_come_late(count: int) -> None:
    """Write a new name in each flush, behind 100,000 rows, and add up the files that were made for their columns."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "metrics.csv")
        table = MetricsTable(path)
        for step in range(100_000):
            table.write(step, 0, {"loss": step / 3, "acc": step / 7})
        table.flush()
        copied, file = 0, path.stat().st_ino
        for step in range(100_000, 100_000 + count):
            table.write(step, 0, {"loss": 0.5, f"name {step}": 0.25})
            table.flush()
            if path.stat().st_ino != file:
                copied, file = copied + path.stat().st_size, path.stat().st_ino
        table.close()
        print(f"    its metrics.csv has {path.stat().st_size / 1e6:.2f} MB, and repeat of it had {copied / 1e6:.0f} MB")


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=250_000)
    parser.add_argument("--names", type=int, default=20)
    parser.add_argument("--with-accumulator", action="store_true", help="EventAccumulator takes a minute and a half")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        seconds, _ = measured(write, run, options.rows, options.names)
        size = sum(path.stat().st_size for path in run.iterdir()) / 1e6
        print(f"{options.rows:,} rows of {options.names} names: {size:.0f} MB, written in {seconds:.1f} s")
        steps: list[tuple[str, Callable[..., Any], tuple[Any, ...]]] = [
            ("pandas.read_csv alone", pandas_alone, (run,)),
            ("read_run", read_run, (run,)),
            ("verify", verify, (run,)),
            ("rewind to the half, and the next flush", take_back, (run, options.rows)),
            ("100,000 columns, three rows", many_columns, (100_000,)),
            *((f"{count:,} names that occur once", names_that_occur_once, (count,)) for count in OCCUR_ONCE),
            ("1,000 names that come late, one a flush", names_that_come_late, (1000,)),
        ]
        if options.with_accumulator:
            steps.append(("TensorBoard's EventAccumulator", event_accumulator, (run,)))
        for name, step, args in steps:
            seconds, memory = measured(step, *args)
            print(f"{name:45} {seconds:6.2f} s {memory:7.0f} MB", flush=True)
    print("per row, a million rows of ten values:")
    with tempfile.TemporaryDirectory() as folder:
        table = MetricsTable(Path(folder, "metrics.csv"))
        values = {f"v{number}": math.pi * number for number in range(10)}
        for part in range(4):
            begin = time.perf_counter()
            for step in range(part * 250_000, (part + 1) * 250_000):
                table.write(step, 0, values)
                if step % 1000 == 0:
                    table.flush()
            print(f"    quarter {part + 1}: {(time.perf_counter() - begin) / 0.25:5.2f} us a row", flush=True)
        table.close()


if __name__ == "__main__":
    main()
