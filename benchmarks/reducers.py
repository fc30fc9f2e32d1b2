"""What seven reducers on one name cost a step, against one built-in ``self.log`` and a p95 by torchmetrics' CatMetric.

Each side is a validation of many batches by a real Trainer, in this process and in turn. The cost of a step is the
time in its ``self.log`` and its share of all that follows the last step of the epoch, over what follows it where
nothing is logged. The built-in mean and the CatMetric run without TrackPlus. What it costs a batch that there is one
callback more, whatever it does, is shown beside::

    python -m benchmarks.reducers
"""

from __future__ import annotations

import logging
import statistics
import time
import warnings
from collections.abc import Callable

import lightning as L
import torch
from torch.utils.data import DataLoader
from torchmetrics import CatMetric

from lightning_trackplus import TrackPlus

BATCHES, ROUNDS = 4000, 7
SEVEN = ["mean", "std", "min", "max", "median", "p95", "p99"]


class CatQuantile(CatMetric):
    """How one gets a p95 from torchmetrics: all values, and a quantile of them at the end."""

    def compute(self):
        """Return the quantile."""
        return torch.quantile(super().compute(), 0.95)


class Validated(L.LightningModule):
    """Does nothing in its validation but to log, and notes how long that takes.

    Args:
        log: Called in each step with the module and a number.
    """

    def __init__(self, log: Callable[[L.LightningModule, torch.Tensor], None]) -> None:
        super().__init__()
        self._log_step = log
        self.p95 = CatQuantile()
        self.values = torch.rand(64)
        self.logging = 0.0
        self.ending = 0.0

    def validation_step(self, batch, batch_idx):
        """Log the mean of the batch."""
        loss = batch.mean()
        began = time.perf_counter()
        self._log_step(self, loss)
        self._ended = time.perf_counter()
        self.logging += self._ended - began

    def on_validation_end(self):
        """Note what has passed since the last step."""
        self.ending = time.perf_counter() - self._ended


def log_mean(module: L.LightningModule, loss: torch.Tensor) -> None:
    """Log with Lightning's default."""
    module.log("val/loss", loss)


def log_cat(module: L.LightningModule, loss: torch.Tensor) -> None:
    """Log through the CatMetric, as its documentation says."""
    module.p95.update(loss)
    module.log("val/loss", module.p95)


def log_seven(module: L.LightningModule, loss: torch.Tensor) -> None:
    """Log with seven reducers."""
    module.log("val/loss", loss, reduce_fx=SEVEN)


def log_vector(module: L.LightningModule, loss: torch.Tensor) -> None:
    """Log 64 values with one reducer."""
    module.log("val/loss", module.values, reduce_fx="p95")


def log_vectors(module: L.LightningModule, loss: torch.Tensor) -> None:
    """Log 64 values with a list of reducers."""
    module.log("val/loss", module.values, reduce_fx=["mean", "median", "p95"])


def nothing(module: L.LightningModule, loss: torch.Tensor) -> None:
    """Log nothing."""


def validated(
    log: Callable[[L.LightningModule, torch.Tensor], None], callbacks: list[L.Callback]
) -> tuple[float, float]:
    """Return the seconds that the logging of a validation took, and the whole of it."""
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=callbacks,
    )
    trainer.validate(Validated(log), DataLoader(torch.rand(2, 4), batch_size=None), verbose=False)  # Warm.
    module = Validated(log)
    began = time.perf_counter()
    trainer.validate(module, DataLoader(torch.rand(BATCHES, 4), batch_size=None), verbose=False)
    return module.logging + module.ending, time.perf_counter() - began


def calling(log: Callable[[L.LightningModule, torch.Tensor], None]) -> float:
    """Return the microseconds of a call alone, without what follows the last step."""
    module = Validated(log)
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=[TrackPlus()],
    )
    trainer.validate(module, DataLoader(torch.rand(BATCHES, 4), batch_size=None), verbose=False)
    return module.logging / BATCHES * 1e6


def main() -> None:
    """Print what a step costs on each side, and the ratios."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    sides = {"mean": (log_mean, []), "cat": (log_cat, []), "seven": (log_seven, [TrackPlus()])}
    rounds: list[dict[str, float]] = []
    attached = []
    for _ in range(ROUNDS):
        base, whole = validated(nothing, [])
        rounds.append({side: (validated(*how)[0] - base) / BATCHES * 1e6 for side, how in sides.items()})
        attached.append((validated(nothing, [TrackPlus()])[1] - whole) / BATCHES * 1e6)
    cost = {side: statistics.median(one[side] for one in rounds) for side in sides}
    print(f"µs a step: built-in mean {cost['mean']:.0f}, CatMetric p95 {cost['cat']:.0f}, seven {cost['seven']:.1f}")
    for side, goal in (("mean", 20), ("cat", 40)):
        ratios = [one[side] / one["seven"] for one in rounds]
        middle, low, high = statistics.median(ratios), min(ratios), max(ratios)
        print(f"{side} / seven reducers: {middle:.1f}, of {low:.1f} … {high:.1f} (goal {goal})")
    for name, log in (("one reducer", log_vector), ("a list of three", log_vectors)):
        calls = [calling(log) for _ in range(ROUNDS)]
        print(f"µs a call with 64 values and {name}: {statistics.median(calls):.1f}, of {min(calls):.1f} … (goal 15)")
    print(f"a batch with the callback attached and nothing logged: {statistics.median(attached):.1f} µs more")


if __name__ == "__main__":
    main()
