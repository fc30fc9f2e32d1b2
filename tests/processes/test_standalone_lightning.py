"""With pytorch-lightning alone, without lightning: `tox run -e standalone` has such an environment."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader
from lightning_trackplus import Image, TrackPlus, TrackPlusLogger, read_run

class Module(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        self.log("loss", loss := self.layer(batch).mean(), prog_bar=True)
        self.log("train", batch[:, 0], reduce_fx=["max", "p50"], on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val/images", Image(torch.rand(len(batch), 3, 8, 8)), reduce_fx="first2")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

trainer = pl.Trainer(
    max_epochs=2, log_every_n_steps=1, accelerator="cpu", enable_progress_bar=False, default_root_dir=sys.argv[1],
    logger=TrackPlusLogger(), callbacks=[TrackPlus()] if sys.argv[2] == "callback" else [],
)
module = Module()
if sys.argv[2] != "callback":
    module.training_step = lambda batch, batch_idx: module.layer(batch).mean()
    module.validation_step = lambda batch, batch_idx: None
    module.on_train_batch_end = lambda *_: module.logger.log_metrics({"seen": 1.0})
trainer.fit(module, DataLoader(torch.arange(8.0).reshape(8, 1), batch_size=2), DataLoader(torch.rand(4, 1)))
run = read_run(trainer.log_dir)
assert isinstance(trainer.logger, pl.loggers.TensorBoardLogger)
assert trainer.log_dir.startswith(sys.argv[1])
if sys.argv[2] == "callback":
    assert run.metrics["loss"].notna().all() and len(run.metrics) == 8
    assert run.metrics["train_max"].dropna().tolist() == [7.0, 7.0]
    assert [item.step for item in run.media] == [3, 3, 7, 7]
    assert trainer.callback_metrics["train_p50"] == 3.5
else:
    assert run.metrics["step"].tolist() == list(range(8))
import lightning.pytorch
assert lightning.pytorch is pl
"""


@pytest.mark.skipif(
    importlib.util.find_spec("pytorch_lightning") is None or importlib.util.find_spec("lightning") is not None,
    reason="pytorch-lightning is not installed alone",
)
@pytest.mark.parametrize("attached_by", ["callback", "entry point"])
def test_a_run_with_pytorch_lightning_alone(attached_by, tmp_path):
    """Its Trainer logs numbers, reductions and media, with the callback and with the logger alone."""
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(tmp_path), attached_by]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=Path(__file__).parent)
    assert done.returncode == 0, done.stderr
