"""Speed and accuracy of ``Quantile(q, method="sketch")``, in 16 KiB, against the KLL sketch of Apache DataSketches.

The speed is that of the public API, ``update`` with 65,536 float32 values a call and one ``compute`` at the end, on one
thread; KLL gets the same arrays in turn. The rank error of a result is how far its rank among all values is from the
one asked for, the worst over ten distributions; the same after the stream was cut into 8 parts and these merged. Needs
DataSketches, and 2 GiB of memory::

    pip install datasketches
    python -m benchmarks.quantile_sketch
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import datasketches
import numpy as np
import torch

from lightning_trackplus.reducers.quantile import Method, Quantile
from lightning_trackplus.reducers.stream import Stream

CHUNK, VALUES, ROUNDS, WAYS = 65_536, 10_000_000, 7, 8
QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99, 0.999)

Draw = Callable[[np.random.Generator, int], np.ndarray]
Errors = list[float]

DISTRIBUTIONS: dict[str, Draw] = {
    "normal": lambda generator, count: generator.normal(size=count),
    "lognormal": lambda generator, count: generator.lognormal(size=count),
    "exponential": lambda generator, count: generator.exponential(size=count),
    "uniform": lambda generator, count: generator.random(count),
    "gamma": lambda generator, count: generator.gamma(0.5, size=count),
    "beta": lambda generator, count: generator.beta(2, 5, size=count),
    "student t": lambda generator, count: generator.standard_t(3, size=count),
    "bimodal": lambda generator, count: (
        generator.normal(size=count) + generator.choice([-3.0, 2.0], count, p=[0.3, 0.7])
    ),
    "1e6 ± 1": lambda generator, count: generator.uniform(999_999, 1_000_001, count),
    "losses": lambda generator, count: (
        generator.gamma(2, 0.3, count)
        + generator.choice([0.0, 1.0], count, p=[0.98, 0.02]) * generator.pareto(1.5, count)
    ),
}


def filled(chunks: list[torch.Tensor], method: Method) -> Quantile:
    """Return a reducer that was given some values."""
    reducer = Quantile(0.95, method=method)
    for chunk in chunks:
        reducer.update(chunk)
    return reducer


def stream_of(chunks: list[torch.Tensor], method: Method = "sketch") -> Stream:
    """Return a stream whose reducers of all quantiles share a state."""
    stream = Stream([Quantile(q, method=method) for q in QUANTILES])
    for chunk in chunks:
        stream.add(chunk)
    return stream


def kll(chunks: list[np.ndarray]) -> datasketches.kll_floats_sketch:
    """Return a KLL sketch of about 16 KiB that was given some values."""
    sketch = datasketches.kll_floats_sketch(1350)
    for chunk in chunks:
        sketch.update(chunk)
    return sketch


def seconds(work: Callable[[], object]) -> float:
    """Return how long something takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def speed(method: Method) -> None:
    """Print values per second of both, in turn."""
    generator = np.random.default_rng(0)
    arrays = [generator.normal(size=CHUNK).astype(np.float32) for _ in range(50)]
    tensors = [torch.from_numpy(array) for array in arrays]
    rounds = [
        (seconds(lambda: kll(arrays).get_quantile(0.95)), seconds(lambda: filled(tensors, method).compute()))
        for _ in range(ROUNDS)
    ]
    theirs, own = (len(arrays) * CHUNK / statistics.median(side) / 1e6 for side in zip(*rounds, strict=True))
    ratio = statistics.median(theirs / own for theirs, own in rounds)
    print(f"{method:6} | KLL {theirs:4.0f} | TrackPlus {own:4.0f} | ratio {ratio:4.1f}")


def rank_errors(results: list[float], rising: np.ndarray) -> Errors:
    """Return how far the ranks of results are from those asked for; among equal values, any of their ranks is right."""
    low = np.searchsorted(rising, results, side="left") / len(rising)
    high = np.searchsorted(rising, results, side="right") / len(rising)
    return [max(below - q, q - above, 0.0) for below, above, q in zip(low, high, QUANTILES, strict=True)]


def errors_of(draw: Draw, seed: int) -> dict[str, Errors]:
    """Return the rank errors for one distribution, of both."""
    values = draw(np.random.default_rng(seed), VALUES).astype(np.float32)
    chunks = [values[start : start + CHUNK] for start in range(0, VALUES, CHUNK)]
    tensors = [torch.from_numpy(chunk) for chunk in chunks]
    whole, *parts = [stream_of(part) for part in (tensors, *(tensors[rank::WAYS] for rank in range(WAYS)))]
    sketch = kll(chunks)
    # Searched as float64, or a result is rounded to float32 first and may pass for a value that it is not.
    rising = np.sort(values).astype(np.float64)
    return {
        "KLL": rank_errors([sketch.get_quantile(q) for q in QUANTILES], rising),
        "TrackPlus": rank_errors(whole.results(whole.summary()), rising),
        f"TrackPlus, {WAYS} parts": rank_errors(
            whole.results(whole.merged([part.summary() for part in parts])), rising
        ),
    }


def accuracy() -> None:
    """Print the rank errors, the worst over the distributions, and those of each."""
    per_distribution = {name: errors_of(draw, seed) for seed, (name, draw) in enumerate(DISTRIBUTIONS.items())}
    print("\nrank errors at", ", ".join(f"p{100 * q:g}" for q in QUANTILES), f"of {VALUES:.0e} values")
    for side in ("KLL", "TrackPlus", f"TrackPlus, {WAYS} parts"):
        for name, errors in per_distribution.items():
            print(f"{side:18} {name:11} |", " ".join(f"{error:.1e}" for error in errors[side]))
        worst = [max(column) for column in zip(*(errors[side] for errors in per_distribution.values()), strict=True)]
        print(f"{side:18} worst       |", " ".join(f"{error:.1e}" for error in worst))


def exactness() -> None:
    """Print whether, up to 65,536 values, results are those of numpy to the last bit."""
    for name, draw in DISTRIBUTIONS.items():
        values = draw(np.random.default_rng(1), CHUNK)
        stream = stream_of([torch.from_numpy(values)], "auto")
        equal = stream.results(stream.summary()) == np.quantile(values, QUANTILES).tolist()
        print(f"{name:11} {len(values)} values, method='auto': equal to np.quantile: {equal}")


def main() -> None:
    """Print all of it."""
    torch.set_num_threads(1)
    print(f"million values a second, median of {ROUNDS} rounds; ratio = TrackPlus / KLL, median of rounds")
    speed("sketch")
    speed("auto")
    speed("hist")
    accuracy()
    print()
    exactness()


if __name__ == "__main__":
    main()
