"""Rank errors and size of quantiles above 65,536 values, the worst over distributions, splits and 2,000 quantiles.

The rank error of an estimate x of the quantile q is the distance of q from the ranks [P(X < x), P(X ≤ x)] of x::

    python -m benchmarks.rank_errors [--sizes 65537 1000000] [--seeds 3] [--method auto]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from lightning_trackplus.reducers.quantile import Method, Quantile
from lightning_trackplus.reducers.types import Samples, State

BATCH, SCALARS = 65_536, 2048
SIZES = (65_537, 70_000, 100_000, 200_000, 500_000, 1_000_000, 3_000_000)
QUANTILES = np.union1d(np.linspace(0.001, 0.999, 1997), [0.05, 0.5, 0.95, 0.99])

Random = np.random.Generator

DISTRIBUTIONS: dict[str, Callable[[Random, int], np.ndarray]] = {
    "normal": lambda random, count: random.normal(size=count),
    "lognormal": lambda random, count: random.lognormal(0, 2, count),
    "cauchy": lambda random, count: random.standard_cauchy(count),
    "drifting": lambda random, count: random.normal(np.linspace(0, 30, count), 1),
    "alternating": lambda random, count: random.normal(np.where(np.arange(count) % 2, 5.0, -5.0)),
    "poisson": lambda random, count: random.poisson(100, count).astype(float),
    "float16": lambda random, count: random.lognormal(size=count).astype(np.float16).astype(float),
    "half zeros": lambda random, count: random.lognormal(size=count) * random.integers(0, 2, count),
    "rounded": lambda random, count: random.normal(size=count).round(3),
    "20 groups": lambda random, count: random.integers(0, 20, count) * 100 + random.normal(size=count),
    "some in gap": lambda random, count: np.where(
        random.random(count) < 20 / count,
        random.random(count),
        random.normal(np.where(np.arange(count) % 2, 9.0, -9.0)),
    ),
    "jumping": lambda random, count: random.normal(
        np.repeat([0, 5, 2, 8, 1, 9, 3, 7, 4, 6], -(-count // 10))[:count] * 100.0
    ),
}


def in_batches(reducer: Quantile, values: np.ndarray, batch: int) -> State:
    """Return the state of a stream that came in batches of one size."""
    state = reducer.summarize(Samples(*np.empty((3, 0))))
    for start in range(0, len(values), batch):
        part = values[start : start + batch]
        samples = Samples(part, np.broadcast_to(1.0, part.shape), np.broadcast_to(np.int64(0), part.shape))
        state = reducer.merge(state, reducer.summarize(samples))
    return state


def as_tree(reducer: Quantile, states: list[State]) -> State:
    """Return states merged by neighbouring pairs, as between ranks."""
    states = list(map(reducer.compact, states))
    while len(states) > 1:
        pairs = zip(states[::2], states[1::2], strict=False)
        states = [reducer.compact(reducer.merge(left, right)) for left, right in pairs] + states[len(states) & ~1 :]
    return states[0]


def splits(values: np.ndarray) -> dict[str, list[np.ndarray]]:
    """Return how the values come to ranks."""
    rising, count = np.sort(values), len(values)
    found = {"1 rank": [values]}
    for ranks in (2, 3, 7, 64, 1024):
        found[f"{ranks} dealt"] = [values[rank::ranks] for rank in range(ranks)]
        found[f"{ranks} blocks"] = np.array_split(values, ranks)
        found[f"{ranks} sorted"] = np.array_split(rising, ranks)
    found["single ones"] = np.split(values, range(1, 33))
    found["unequal"] = np.split(values, [count // 2, count * 3 // 4, count - 5000, count - 1])
    found["unequal, sorted"] = np.split(rising, [100, count // 3, count - 5000, count - 1])
    return found


def rank_error(reducer: Quantile, state: State, rising: np.ndarray) -> float:
    """Return the worst rank error."""
    points = reducer.points(state)
    results = [points.quantile(q) for q in QUANTILES]
    low, high = (np.searchsorted(rising, results, side=side) / len(rising) for side in ("left", "right"))
    return float(np.maximum(low - QUANTILES, QUANTILES - high).max())


def main() -> None:
    """Print the worst error and the largest state of each distribution and size, and the split that has the error."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--distributions", nargs="*", default=list(DISTRIBUTIONS))
    parser.add_argument("--method", default="auto")
    options = parser.parse_args()
    method: Method = options.method
    reducer = Quantile(0.5, method)
    for size in options.sizes:
        for name in options.distributions:
            rows: list[tuple[float, str, int]] = []
            for seed in range(options.seeds):
                values = DISTRIBUTIONS[name](np.random.default_rng(seed), size)
                rising = np.sort(values)
                states = {
                    f"in {SCALARS}s": in_batches(reducer, values, SCALARS),
                    f"in {SCALARS}s, sorted": in_batches(reducer, rising, SCALARS),
                }
                for split, parts in splits(values).items():
                    states[split] = as_tree(reducer, [in_batches(reducer, part, BATCH) for part in parts])
                rows += [(rank_error(reducer, state, rising), key, state.nbytes) for key, state in states.items()]
            rows.sort(reverse=True)
            worst = ", ".join(f"{error:.1e} ({split})" for error, split, _ in rows[:3])
            print(f"{size:9,} {name:11} | {max(row[2] for row in rows) / 1024:5.1f} KiB | {worst}", flush=True)


if __name__ == "__main__":
    main()
