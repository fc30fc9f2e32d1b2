"""What it costs to hand numbers to the loggers, ours against Lightning's pair of TensorBoardLogger and CSVLogger.

Both sides run in this process, in turn, with ``log_metrics`` and ``save`` as the Trainer calls them. The caller's time
is that of the calling thread; the CPU time is that of all threads, with everything written at the end::

    python -m benchmarks.log_metrics
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from typing import NamedTuple

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from lightning_trackplus import TrackPlusLogger

CALLS, ROUNDS = 300, 7


class Cost(NamedTuple):
    """Microseconds of one call.

    Attributes:
        caller: Wall time of the calling thread.
        cpu: CPU time of all threads.
    """

    caller: float
    cpu: float


def cost(loggers: Sequence[Logger], count: int) -> Cost:
    """Return what one call with so many numbers costs."""
    metrics = {f"metric_{number}": 0.1 * number for number in range(count)}
    caller = 0.0
    began = time.process_time()
    for step in range(CALLS):
        started = time.perf_counter()
        for logger in loggers:
            logger.log_metrics(metrics, step)
            logger.save()
        caller += time.perf_counter() - started
    for logger in loggers:
        logger.finalize("success")
    return Cost(caller / CALLS * 1e6, (time.process_time() - began) / CALLS * 1e6)


def main() -> None:
    """Print a row for each number of metrics."""
    print(f"median of {ROUNDS} rounds of {CALLS} calls, in µs a call; ratio = Lightning / TrackPlus, median of rounds")
    print("numbers | Lightning caller, cpu | TrackPlus caller, cpu | ratio caller, cpu")
    for count in (1, 10, 100):
        rounds = []
        for _ in range(ROUNDS):
            with tempfile.TemporaryDirectory() as folder:
                theirs = cost([TensorBoardLogger(folder, "tb"), CSVLogger(folder, "csv")], count)
                ours = cost([TrackPlusLogger(folder, "trackplus")], count)
            rounds.append((theirs, ours))
        theirs, ours = (Cost(*map(statistics.median, zip(*side, strict=True))) for side in zip(*rounds, strict=True))
        ratios = Cost(
            *(statistics.median(theirs[which] / ours[which] for theirs, ours in rounds) for which in range(2))
        )
        print(
            f"{count:7} | {theirs.caller:9.0f} {theirs.cpu:9.0f} | {ours.caller:9.0f} {ours.cpu:9.0f} |"
            f" {ratios.caller:6.1f} {ratios.cpu:6.1f}"
        )


if __name__ == "__main__":
    main()
