"""Memory held for p95 over logged scalars: ``Quantile(0.95)`` against torchmetrics' ``CatMetric``.

A scalar is logged as a training step does it, as a tensor of its own. What a side holds is the growth of the process's
resident memory, which counts what Python, torch and numpy hold alike, from before the first scalar to after the result;
each case runs in a process of its own, in turn. Needs Linux::

    python -m benchmarks.quantile_memory
"""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torchmetrics import CatMetric

from lightning_trackplus.reducers.quantile import Quantile

PART = 1000
CASES = [
    ("CatMetric", 100_000),
    ("TrackPlus", 100_000),
    ("CatMetric", 1_000_000),
    ("TrackPlus", 1_000_000),
    ("TrackPlus", 10_000_000),
]


def resident() -> int:
    """Return the resident memory of this process, in bytes."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def held(side: str, count: int) -> int:
    """Return how many bytes a side holds after so many scalars."""
    # What each needs for its first value, and what this program itself needs, is not counted.
    for warm_up in (CatMetric(), Quantile(0.95)):
        _log(warm_up.update, PART)
        warm_up.compute()
    metric = CatMetric() if side == "CatMetric" else Quantile(0.95)
    before = resident()
    _log(metric.update, count)
    after = resident()
    metric.compute()
    return after - before


def _log(update: Callable[[torch.Tensor], None], count: int) -> None:
    generator = np.random.default_rng(0)
    for _ in range(count // PART):
        for value in torch.from_numpy(generator.normal(size=PART).astype(np.float32)):
            update(value.clone())


def main() -> None:
    """Print a row for each case."""
    print("side      |   scalars | MB held | bytes per scalar")
    results = {}
    for side, count in CASES:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            results[side, count] = pool.apply(held, (side, count))
        size = results[side, count]
        print(f"{side:9} | {count:9} | {size / 1e6:7.2f} | {size / count:8.2f}", flush=True)
    ratio = results["CatMetric", 1_000_000] / max(results["TrackPlus", 1_000_000], 1)
    print(f"CatMetric / TrackPlus at 1e6: {ratio:.0f}")


if __name__ == "__main__":
    main()
