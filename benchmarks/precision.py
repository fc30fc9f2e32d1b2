"""How exact mean and variance are after a million steps, ours against Lightning's own mean.

The numbers are logged one by one into as many streams as there are processes, whose summaries are merged as at an
epoch's end. Errors are relative, against numpy in float64 and, for the mean, against Lightning's float32 sum::

    python -m benchmarks.precision
"""

from __future__ import annotations

import numpy as np
import torch

from lightning_trackplus.reducers.registry import reducers_of
from lightning_trackplus.reducers.stream import Stream

STEPS = 1_000_000
PROCESSES = (1, 2, 3, 8, 64)


def reduced(values: np.ndarray, processes: int) -> tuple[float, float]:
    """Return mean and variance of values that are dealt to processes in turn."""
    streams = [Stream(reducers_of(["mean", "var"])) for _ in range(processes)]
    for step, value in enumerate(values.tolist()):
        streams[step % processes].add_snapshot(value, 1, step)
    mean, variance = streams[0].results(streams[0].merged([stream.summary() for stream in streams]))
    return mean, variance


def lightnings_mean(values: np.ndarray) -> float:
    """Return the mean as Lightning's result collection accumulates it, in the default dtype."""
    total = torch.tensor(0.0)
    for value in torch.from_numpy(values).float():
        total = total + value
    return (total / len(values)).item()


def main() -> None:
    """Print the errors for some distributions, and the worst of ours."""
    generator = np.random.default_rng(0)
    distributions = {
        "losses, lognormal": generator.lognormal(size=STEPS),
        "1000.1 ± 1e-3": generator.normal(1000.1, 1e-3, STEPS),
        "1e6 ± 1": generator.normal(1e6, 1, STEPS),
        "normal around 0.1": generator.normal(0.1, 1, STEPS),
    }
    worst = 0.0
    print("relative error: mean, variance (worst of", *PROCESSES, "processes) | Lightning's mean")
    for name, values in distributions.items():
        errors = np.array(
            [
                [
                    abs(got / expected - 1)
                    for got, expected in zip(reduced(values, processes), oracle(values), strict=True)
                ]
                for processes in PROCESSES
            ]
        ).max(axis=0)
        worst = max(worst, errors.max())
        print(f"{name:18} {errors[0]:.1e} {errors[1]:.1e} | {abs(lightnings_mean(values) / values.mean() - 1):.1e}")
    print(f"worst of ours: {worst:.1e} (goal 1e-12)")


def oracle(values: np.ndarray) -> tuple[float, float]:
    """Return mean and variance as numpy has them, the values centred first as its own two passes do."""
    return float(values.mean()), float(values.var(ddof=1))


if __name__ == "__main__":
    main()
