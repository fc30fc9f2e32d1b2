"""What the end of an epoch costs in two processes: 20 names with three of our reducers each against 20 MeanMetrics.

Both sides are validations by one DDP Trainer over gloo, in turn and in the same two processes. Timed is what lies
between the end of the last ``validation_step``, which both processes leave in one moment, and
``on_validation_end``: putting the values of both processes together and telling Lightning the results. An epoch in
which nothing is logged shows what there is without that::

    python -m benchmarks.epoch_end
"""

from __future__ import annotations

import logging
import statistics
import time
import warnings

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric

from lightning_trackplus import TrackPlus

NAMES, EPOCHS = 20, 50
REDUCERS = ["mean", "std", "p95"]


class Module(L.LightningModule):
    """Logs 20 names in two of three epochs: first by MeanMetrics, then by our reducers, then nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
        self.means = torch.nn.ModuleList(MeanMetric() for _ in range(NAMES))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)

    def training_step(self, batch, batch_idx):
        return self.layer(batch).mean()

    def validation_step(self, batch, batch_idx):
        """Log the batch's mean under all names."""
        loss = batch.mean()
        for number in range(NAMES):
            if self.current_epoch % 3 == 1:
                self.log(f"ours/{number}", loss, reduce_fx=REDUCERS, sync_dist=True)
            elif self.current_epoch % 3 == 0:
                self.means[number].update(loss)
                self.log(f"theirs/{number}", self.means[number])


class Stopwatch(Callback):
    """Notes how long each epoch's end takes."""

    def __init__(self) -> None:
        self.took: list[float] = []

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):  # noqa: PLR0917
        if batch_idx + 1 == trainer.num_val_batches[0]:
            # So that none waits for a process that is still in its steps, or that a barrier has let go later.
            moment = torch.tensor(time.monotonic() + 0.005, dtype=torch.float64)
            torch.distributed.all_reduce(moment, torch.distributed.ReduceOp.MAX)
            while time.monotonic() < moment:
                pass
            self._last_step = time.monotonic()

    def on_validation_end(self, trainer, pl_module):
        self.took.append((time.monotonic() - self._last_step) * 1e3)


def main() -> None:
    """Print what an epoch's end takes on each side, and the ratio."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    stopwatch = Stopwatch()
    trainer = L.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        max_epochs=3 * EPOCHS,
        callbacks=[TrackPlus(), stopwatch],
    )
    trainer.fit(Module(), DataLoader(torch.rand(4, 4)), DataLoader(torch.rand(200, 4)))
    if trainer.is_global_zero:
        theirs, ours, none = (stopwatch.took[first::3] for first in (3, 4, 5))
        print(
            f"ms: 20 MeanMetrics {statistics.median(theirs):.1f}, 20 names × 3 reducers {statistics.median(ours):.1f},"
            f" nothing logged {statistics.median(none):.1f}; the first time ours {stopwatch.took[1]:.1f}"
        )
        whole = statistics.median(a / b for a, b in zip(theirs, ours, strict=False))
        over = [(a - c) / (b - c) for a, b, c in zip(theirs, ours, none, strict=False)]
        print(f"theirs / ours: {whole:.1f}; over one that logs nothing: {statistics.median(over):.1f} (goal 10)")


if __name__ == "__main__":
    main()
