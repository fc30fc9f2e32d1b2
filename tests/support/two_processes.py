"""A training in two processes whose parts of the data differ in size."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassRecall

from lightning_trackplus import Image, TrackPlus, TrackPlusLogger
from tests.flavour.pytorch.callbacks import Callback
from tests.support.training import LoggingModule, quiet_trainer

REDUCTIONS = ["mean", "sum", "min", "max", "count", "std", "var", "median", "p90", "first", "last"]


def order(values):
    """Return a number that tells in which order the values came."""
    return (values * 10.0 ** torch.arange(len(values)).flip(0)).sum()


class Steps(Callback):
    """Notes the step values of a training."""

    def __init__(self) -> None:
        self.seen: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer, module, *args):
        metrics = trainer.callback_metrics
        self.seen.append({name: metrics[name].item() for name in ("step_synced", "step_local")})


class Uneven(LoggingModule):
    """Rank 0 validates 0 … 5 in two batches, rank 1 validates 6 … 9 in one."""

    def __init__(self) -> None:
        super().__init__()
        self.recall = MulticlassRecall(2, average=None)

    def training_step(self, batch, batch_idx):
        values = batch[0][:, 0]
        self.log("step_synced", values, reduce_fx="max", sync_dist=True)
        self.log("step_local", values, reduce_fx="max")
        return self.layer(batch[0]).pow(2).mean()

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        values = batch[0][:, 0]
        self.log("synced", values, reduce_fx=[*REDUCTIONS, len], sync_dist=True)
        self.log("order", values, reduce_fx=order, sync_dist=True)
        self.log("local", values, reduce_fx=REDUCTIONS)
        self.log("scalar", values.mean(), reduce_fx=["median", "count"], sync_dist=True)
        self.log("plain_vector", values, sync_dist=True)
        self.log("rank_zero", values, reduce_fx="max", sync_dist=True, rank_zero_only=True)
        some = values[: 1 if self.global_rank else 3]
        self.log("one_or_more", some, sync_dist=True, batch_size=len(some))
        self.log("native", values.mean(), sync_dist=True, reduce_fx="max")
        nan = torch.full_like(values, torch.nan) if self.global_rank else values
        self.log("one_rank_nan", nan, reduce_fx="max", sync_dist=True)
        self.log("alone", values, reduce_fx=["max", "min"])
        self.log("classes", values[:2], names=["a", "b"])
        self.log("several", {"a": values, "b": values.mean()})
        self.recall.update(torch.zeros(2).int(), torch.zeros(2).int())
        self.log("recall", self.recall, names=["a", "b"])
        shades = Image(values[:, None, None, None].expand(-1, 1, 4, 4) / 255, score=(values % 4))
        self.log("img", shades)
        self.log("hard", shades, reduce_fx=["top3", "bottom4", "last2", "sample4"])
        if self.global_rank:
            self.log("elsewhere", shades, reduce_fx="first1")


def part(rank: int) -> DataLoader:
    """Return what a rank sees."""
    numbers = torch.arange(6.0) if rank == 0 else torch.arange(6.0, 10.0)
    return DataLoader(TensorDataset(torch.stack([numbers, -numbers], dim=1)), batch_size=4)


class Parts(Uneven):
    """The module with its data, which differ by rank."""

    def train_dataloader(self):
        return DataLoader(part(self.global_rank).dataset, batch_size=2, drop_last=False)

    def val_dataloader(self):
        return part(self.global_rank)


def uneven_training(root: Path) -> dict[str, Any]:
    """Train and validate for two epochs, and return what this process saw."""
    steps, logger = Steps(), TrackPlusLogger()
    trainer = quiet_trainer(
        root,
        callbacks=[TrackPlus(reducers={"alone": "range", "native": "range"}), steps],
        logger=logger,
        strategy="ddp",
        devices=2,
        use_distributed_sampler=False,
        limit_train_batches=2,
        max_epochs=2,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(Parts())
    return {
        "metrics": {name: value.item() for name, value in trainer.callback_metrics.items()},
        "steps": steps.seen,
        "log_dir": trainer.log_dir,
        "warnings": [str(warning.message) for warning in caught],
    }
