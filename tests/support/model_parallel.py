"""What two processes log whose parameters are sharded, as FSDP does it."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lightning_trackplus import Image, TrackPlus, TrackPlusLogger
from lightning_trackplus.reducers import Quantile
from tests.flavour.pytorch.callbacks import ModelCheckpoint
from tests.flavour.pytorch.strategies import ModelParallelStrategy
from tests.support.recording import numbers
from tests.support.training import LoggingModule, leave, loader, quiet_trainer

VALUES = np.arange(16.0)


class Sharded(LoggingModule):
    """Logs reductions and media of values that the batch's number decides, two in a batch of each process."""

    def __init__(self) -> None:
        super().__init__()
        self.p95 = Quantile(0.95)

    def configure_model(self) -> None:
        from torch.distributed.fsdp import fully_shard  # Older versions of torch have none.

        fully_shard(self.layer, mesh=self.device_mesh["data_parallel"])

    def values(self, batch_idx: int) -> torch.Tensor:
        return torch.from_numpy(VALUES[4 * batch_idx + 2 * self.global_rank :][:2])

    def training_step(self, batch, batch_idx):
        x = self.values(batch_idx)
        self.log("train", x, reduce_fx=["p95", "count", "sum"], sync_dist=True, on_step=False, on_epoch=True)
        self.log("ema", x, reduce_fx="ema", sync_dist=True, on_step=True, on_epoch=True)
        self.p95.update(x)
        self.log("own", self.p95, on_step=False, on_epoch=True)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        x = self.values(batch_idx)
        self.log("val", x, reduce_fx=["median", "count"], sync_dist=True)
        shades = torch.zeros(len(x), 1, 4, 4)
        self.log("best", Image(shades, [f"{value:g}" for value in x.tolist()], x), reduce_fx="top3")


def train(root: Path, name: str, **options: Any) -> dict[str, float]:
    """Train an epoch in two processes, or go on with it; return the metrics."""
    strategy = ModelParallelStrategy(
        data_parallel_size=2,
        tensor_parallel_size=1,
        process_group_backend="gloo",
        timeout=datetime.timedelta(seconds=100),
    )
    checkpoint = ModelCheckpoint(root, "{step}", every_n_train_steps=2, save_top_k=-1, save_on_train_epoch_end=False)
    trainer = quiet_trainer(
        root,
        callbacks=[TrackPlus(), checkpoint],
        logger=TrackPlusLogger(root, name="", version=name),
        strategy=strategy,
        devices=2,
        enable_checkpointing=True,
        num_sanity_val_steps=0,
    )
    trainer.fit(Sharded(), loader(16, 2), loader(16, 2), **options)
    return numbers(trainer.callback_metrics)


def shard(say: Callable[[object], None], root: Path) -> None:
    """Train, go on from the middle of the epoch, and say the metrics of both."""
    whole = train(root, "whole")
    say(json.dumps([whole, train(root, "resumed", ckpt_path=root / "step=2.ckpt")]))
    leave()
