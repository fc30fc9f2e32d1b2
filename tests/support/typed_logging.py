"""A module as a type checker sees it: mypy, strict, passes this file, and a test runs it."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor

from lightning_trackplus import HeatMap, Image, Table, log
from lightning_trackplus.media.selection import Top
from lightning_trackplus.reducers import Quantile


class Typed(L.LightningModule):
    """Logs all there is."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss: Tensor = self.layer(batch[0]).pow(2).mean()
        log(self, "train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        scores = batch[0][:, 0]
        images = batch[0][:, None, None, :].expand(-1, 1, 4, -1) / 10
        log(self, "val/loss", scores, reduce_fx=["mean", "p95", Quantile(0.1)])
        log(self, "val/hard", Image(images, score=scores), reduce_fx="top2")
        log(self, "val/harder", Image(images, score=scores), reduce_fx=[Top(1)])
        log(self, "val/dict", {"mean": scores.mean(), "note": "text"})
        log(self, "val/class", torch.ones(2), names=["zero", "one"])

    def on_validation_epoch_end(self) -> None:
        log(self, "val/table", Table({"digit": [1, 2], "recall": [0.9, 0.8]}))
        log(self, "val/confusion", HeatMap(torch.eye(2)))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)
