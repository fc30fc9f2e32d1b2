"""What the copy of a logged tensor costs, with and without the memory that the allocator is told to keep.

Each row is measured in fresh processes, in turn: in half of them `_keep_freed_memory` of ``media/tensors.py`` does
nothing. A process that has freed a large block before, as reading a large file does, keeps memory anyway, and shows no
difference::

    python -m benchmarks.copies
"""

from __future__ import annotations

import multiprocessing
import statistics
import time

import torch

from lightning_trackplus.media import tensors

ROUNDS, PROCESSES = 60, 3
CASES = (((8, 3, 64, 64), 64), ((1, 3, 224, 224), 64), ((16, 3, 224, 224), 4))
"""The shape of a float32 tensor, and how many copies wait until they are written."""


def microseconds(shape: tuple[int, ...], count: int, *, keeps: bool) -> float:
    """Return what one of some copies costs that are freed together."""
    if not keeps:
        tensors._keep_freed_memory = lambda: None
    tensor, times = torch.rand(shape), []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        waiting = [tensors.snapshot_tensor(tensor) for _ in range(count)]
        times.append((time.perf_counter() - started) / count * 1e6)
        waiting.clear()
    return statistics.median(times)


def main() -> None:
    """Print a row for each case."""
    print(f"µs a copy, median of {PROCESSES} processes of {ROUNDS} rounds\nshape, copies | without, with | ratio")
    for shape, count in CASES:
        found: dict[bool, list[float]] = {False: [], True: []}
        for keeps in [False, True] * PROCESSES:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                found[keeps].append(pool.apply(microseconds, (shape, count), {"keeps": keeps}))
        without, kept = (statistics.median(found[keeps]) for keeps in (False, True))
        print(f"{shape}, {count} | {without:.0f}, {kept:.0f} | {without / kept:.1f}")


if __name__ == "__main__":
    main()
