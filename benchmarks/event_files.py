"""How large event files are and how fast TensorBoard loads them, ours against torch's SummaryWriter.

Both hold the same scalars. They are loaded in turn by TensorBoard's EventAccumulator, and by the loader below it, which
brings events into today's form::

    python -m benchmarks.event_files
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from lightning_trackplus import TrackPlusLogger

STEPS, ROUNDS = 1000, 5
EVERYTHING = {"scalars": 0}


def written(logger: TensorBoardLogger, count: int) -> Path:
    """Write scalars at each step; return the run directory."""
    for step in range(STEPS):
        logger.log_metrics({f"train/metric_{number}": step * 0.1 + number for number in range(count)}, step)
        logger.save()
    logger.finalize("success")
    return Path(logger.log_dir)


def size(directory: Path) -> int:
    """Return the bytes of the event files of a run."""
    return sum(path.stat().st_size for path in directory.glob("events*"))


def accumulate(directory: Path) -> None:
    """Load a run as TensorBoard's slow loader does."""
    EventAccumulator(str(directory), size_guidance=EVERYTHING).Reload()


def iterate(directory: Path) -> None:
    """Load the events of a run, with all that TensorBoard does to bring them into today's form."""
    for path in directory.glob("events*"):
        for _ in EventFileLoader(str(path)).Load():
            pass


def seconds(work: Callable[[Path], None], directory: Path) -> float:
    """Return how long a run takes to load."""
    started = time.perf_counter()
    work(directory)
    return time.perf_counter() - started


def main() -> None:
    """Print a row for each number of scalars."""
    print(f"{STEPS} steps; SummaryWriter / TrackPlus, medians of {ROUNDS} rounds")
    for count in (1, 10, 100):
        with tempfile.TemporaryDirectory() as folder:
            theirs = written(TensorBoardLogger(folder, "theirs", default_hp_metric=False), count)
            ours = written(TrackPlusLogger(folder, "ours", writers=("tensorboard",)), count)
            their_size, our_size = size(theirs), size(ours)
            print(
                f"{count:3} scalars a step: {their_size / 1e3:8.0f} kB and {our_size / 1e3:8.0f} kB,"
                f" {1 - our_size / their_size:.0%} smaller"
            )
            for work in (accumulate, iterate):
                rounds = [(seconds(work, theirs), seconds(work, ours)) for _ in range(ROUNDS)]
                their_seconds, our_seconds = map(statistics.median, zip(*rounds, strict=True))
                ratio = statistics.median(one / other for one, other in rounds)
                print(f"    {work.__name__}: {their_seconds:.2f} s and {our_seconds:.2f} s, {ratio:.1f} times as fast")


if __name__ == "__main__":
    main()
