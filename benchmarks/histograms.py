"""What a histogram of a million values costs, ours against torch's SummaryWriter.

Both sides run in this process, in turn. The caller's time is that of the calling thread, where what was logged before
has been written, as it has after some steps of training; the CPU time is that of all threads, with everything written
at the end::

    python -m benchmarks.histograms
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from lightning_trackplus import TrackPlusLogger
from lightning_trackplus.media.histogram import Histogram

CALLS, ROUNDS = 10, 15
GOAL_CALLER, GOAL_CPU = 20, 2
VALUES: dict[str, Callable[[Tensor], Tensor]] = {
    "normal": lambda normal: normal,
    "behind a ReLU": lambda normal: normal.relu(),
    "bfloat16": lambda normal: normal.bfloat16(),
    "whole numbers": lambda normal: (normal * 10).long(),
}


class Cost(NamedTuple):
    """Milliseconds of one histogram.

    Attributes:
        caller: Wall time of the calling thread.
        cpu: CPU time of all threads.
    """

    caller: float
    cpu: float


def torchs(values: Tensor, folder: str) -> Cost:
    """Return what a histogram costs with torch's writer."""
    writer = SummaryWriter(folder)
    # numpy has no bfloat16.
    return cost(lambda step: writer.add_histogram("weights", as_numpy_can(values), step), writer.flush, writer.close)


def ours(values: Tensor, folder: str) -> Cost:
    """Return what a histogram costs with ours."""
    logger = TrackPlusLogger(folder, writers=("tensorboard",))
    return cost(
        lambda step: logger.log_media("weights", Histogram(values), step),
        logger.experiment.flush,
        lambda: logger.finalize("success"),
    )


def as_numpy_can(values: Tensor) -> Tensor:
    """Return values in a dtype that numpy has."""
    return values.float() if values.dtype == torch.bfloat16 else values


def cost(log: Callable[[int], None], flush: Callable[[], None], close: Callable[[], None]) -> Cost:
    """Return the median time of a call, and the CPU time of all, closing included, for each."""
    callers = []
    began = time.process_time()
    for step in range(CALLS):
        started = time.perf_counter()
        log(step)
        callers.append(time.perf_counter() - started)
        flush()
    close()
    return Cost(statistics.median(callers) * 1e3, (time.process_time() - began) / CALLS * 1e3)


def main() -> None:
    """Print a row for each kind of values."""
    print(
        f"median of {ROUNDS} rounds of {CALLS} histograms of 1e6 values, in ms; ratio = torch / ours, median of rounds"
    )
    print(f"goals: caller {GOAL_CALLER}, cpu {GOAL_CPU}")
    print("values          | torch caller, cpu | TrackPlus caller, cpu | ratio caller, cpu")
    normal = torch.randn(1_000_000, generator=torch.manual_seed(0))
    for title, make in VALUES.items():
        values, rounds = make(normal), []
        for _ in range(ROUNDS):
            with tempfile.TemporaryDirectory() as folder:
                rounds.append((torchs(values, f"{folder}/torch"), ours(values, folder)))
        theirs, own = (Cost(*map(statistics.median, zip(*side, strict=True))) for side in zip(*rounds, strict=True))
        ratios = [statistics.median(theirs[which] / own[which] for theirs, own in rounds) for which in range(2)]
        print(
            f"{title:15} | {theirs.caller:11.2f} {theirs.cpu:5.2f} | {own.caller:15.3f} {own.cpu:5.2f} |"
            f" {ratios[0]:12.1f} {ratios[1]:4.1f}"
        )


if __name__ == "__main__":
    main()
