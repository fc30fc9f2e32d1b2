"""The whole way on CUDA. Needs nothing but Lightning, torch, torchmetrics and tensorboard beside a checkout."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader, TensorDataset

from lightning_trackplus import Audio, Image, Text, TrackPlus, TrackPlusLogger

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")

REDUCTIONS = ["mean", "sum", "min", "max", "count", "std", "var", "median", "p95", "first", "last"]
SAMPLES, BATCH = 1000, 64


class Net(L.LightningModule):
    """A small convolutional net that logs all there is, and keeps the losses for an oracle."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(16 * 256, 10)
        )
        self.losses: list[torch.Tensor] = []

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-3)

    def training_step(self, batch, batch_idx):
        loss = torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train/loss", loss, prog_bar=True)
        self.log("train/image", Image(batch[0][:2]))
        self.log("train/median", loss, reduce_fx="median", on_step=True, on_epoch=True)
        return loss

    def on_validation_epoch_start(self):
        self.losses.clear()

    def validation_step(self, batch, batch_idx):
        losses = torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1], reduction="none")
        self.losses.append(losses.double())
        self.log("val/loss", losses, reduce_fx=[*REDUCTIONS, torch.amax])
        self.log("val/plain", losses)
        self.log("val/image", Image(batch[0], caption=[str(t) for t in batch[1].tolist()], score=losses))
        self.log("val/sound", Audio(batch[0][0].flatten(), 8000))

    def on_validation_epoch_end(self):
        self.log("val/text", Text(f"epoch {self.current_epoch}"))


@pytest.fixture(scope="module", params=["32-true", "bf16-mixed", "16-mixed"])
def trained(request, tmp_path_factory):
    """Train for two epochs in one precision."""
    torch.manual_seed(0)
    data = TensorDataset(torch.rand(SAMPLES, 3, 16, 16), torch.randint(10, (SAMPLES,)))
    loader = DataLoader(data, BATCH)
    logger = TrackPlusLogger(tmp_path_factory.mktemp("cuda"))
    checkpoint = ModelCheckpoint(monitor="val/loss_p95", filename="best")
    trainer = L.Trainer(
        accelerator="cuda",
        devices=1,
        precision=request.param,
        max_epochs=2,
        callbacks=[TrackPlus(), checkpoint],
        logger=logger,
        log_every_n_steps=5,
        enable_progress_bar=False,
    )
    module = Net()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*failed, training goes on")
        trainer.fit(module, loader, loader)
    return trainer, module, Path(logger.log_dir)


def test_results_are_those_of_numpy_on_the_cpu(trained):
    """Every reducer gives what numpy makes of the same losses, in float64."""
    trainer, module, _ = trained
    losses = torch.cat(module.losses).cpu().numpy()
    oracles = {
        "mean": losses.mean(), "sum": losses.sum(), "min": losses.min(), "max": losses.max(), "count": SAMPLES,
        "std": losses.std(ddof=1), "var": losses.var(ddof=1), "median": np.median(losses),
        "p95": np.quantile(losses, 0.95), "first": losses[0], "last": losses[-1], "amax": losses.max(),
    }  # fmt: skip
    for name, expected in oracles.items():
        assert trainer.callback_metrics[f"val/loss_{name}"].item() == pytest.approx(expected, rel=1e-12), name
    assert trainer.callback_metrics["val/plain"].item() == pytest.approx(losses.mean(), rel=1e-12)


def test_events_and_csv_agree(trained):
    """TensorBoard has to float32 what CSV has to float64."""
    _, _, directory = trained
    with (directory / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = EventAccumulator(str(directory), size_guidance={"scalars": 0}).Reload()
    for name in found.Tags()["scalars"]:
        in_csv = [(int(row["step"]), np.float32(row[name])) for row in rows if row[name]]
        assert sorted({(event.step, np.float32(event.value)) for event in found.Scalars(name)}) == in_csv


def test_media_are_those_of_the_data(trained):
    """The PNG files hold the pixels that were on the device."""
    import PIL.Image

    trainer, _, directory = trained
    with (directory / "media.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["name"] == "val/image"]
    assert len(rows) == 2 * 8
    images, targets = trainer.val_dataloaders.dataset.tensors
    for index, row in enumerate(rows[:8]):
        pixels = np.asarray(PIL.Image.open(directory / row["file"])).transpose(2, 0, 1)
        assert np.array_equal(pixels, (images[index] * 255).round().byte().numpy())
        assert row["caption"] == str(targets[index].item())


def test_the_checkpoint_monitors_our_result(trained):
    """ModelCheckpoint compares results that lie on the device."""
    trainer, _, _ = trained
    assert trainer.checkpoint_callback.best_model_score.item() > 0
