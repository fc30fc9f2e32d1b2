"""What seven reducers on one name cost a step, against one built-in ``self.log`` and a p95 by torchmetrics' CatMetric.

Each side is a validation of many batches by a real Trainer, in this process and in turn; the cost of a step is its
time, all in, the end of the epoch included, over that of a validation which logs nothing. The built-in mean and the
CatMetric run without TrackPlus::

    python benchmarks/reducers.py
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
    """Does nothing in its validation but to log.

    Args:
        log: Called in each step with the module and a number.
    """

    def __init__(self, log: Callable[[L.LightningModule, torch.Tensor], None]) -> None:
        super().__init__()
        self._log_step = log
        self.p95 = CatQuantile()

    def validation_step(self, batch, batch_idx):
        """Log the mean of the batch."""
        self._log_step(self, batch.mean())


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


def nothing(module: L.LightningModule, loss: torch.Tensor) -> None:
    """Log nothing."""


def seconds(log: Callable[[L.LightningModule, torch.Tensor], None], callbacks: list[L.Callback]) -> float:
    """Return how long a validation takes."""
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=callbacks,
    )
    batches = DataLoader(torch.rand(BATCHES, 4), batch_size=None)
    trainer.validate(Validated(log), DataLoader(torch.rand(2, 4), batch_size=None), verbose=False)  # Warm.
    started = time.process_time()
    trainer.validate(Validated(log), batches, verbose=False)
    return time.process_time() - started


def main() -> None:
    """Print what a step costs on each side, and the ratios."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    sides = {"mean": (log_mean, []), "cat": (log_cat, []), "seven": (log_seven, [TrackPlus()])}
    rounds: list[dict[str, float]] = []
    for _ in range(ROUNDS):
        base = seconds(nothing, [])
        rounds.append({side: (seconds(*how) - base) / BATCHES * 1e6 for side, how in sides.items()})
        print({side: round(cost, 1) for side, cost in rounds[-1].items()}, f"loop {base / BATCHES * 1e6:.0f}")
    cost = {side: statistics.median(one[side] for one in rounds) for side in sides}
    print(f"µs a step: built-in mean {cost['mean']:.0f}, CatMetric p95 {cost['cat']:.0f}, seven {cost['seven']:.1f}")
    for side, goal in (("mean", 20), ("cat", 40)):
        ratio = statistics.median(one[side] / one["seven"] for one in rounds)
        print(f"{side} / seven reducers: {ratio:.1f} (goal {goal})")


if __name__ == "__main__":
    main()
