"""The whole way on CUDA. Needs nothing but Lightning, torch, torchmetrics and tensorboard beside a checkout.

It is written for unittest, so that not even pytest has to be there::

    python -m unittest -v tests.gpu.test_training_on_cuda
"""

from __future__ import annotations

import csv
import tempfile
import unittest
import warnings
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader, TensorDataset

import tests.flavour as L
from lightning_trackplus import Audio, Image, Text, TrackPlus, TrackPlusLogger
from tests.flavour.pytorch.callbacks import ModelCheckpoint

ACCELERATOR = "cuda"
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


class TrainingOnCuda(unittest.TestCase):
    """Two epochs, and what they left in memory and on disk."""

    precision: str | int = "32-true"
    deterministic = False

    @classmethod
    def setUpClass(cls):
        if ACCELERATOR == "cuda" and not torch.cuda.is_available():
            raise unittest.SkipTest("there is no CUDA device")
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        torch.manual_seed(0)
        cls.data = TensorDataset(torch.rand(SAMPLES, 3, 16, 16), torch.randint(10, (SAMPLES,)))
        loader = DataLoader(cls.data, BATCH)
        logger = TrackPlusLogger(folder.name)
        cls.checkpoint = ModelCheckpoint(monitor="val/loss_p95", filename="best")
        cls.trainer = L.Trainer(
            accelerator=ACCELERATOR,
            devices=1,
            precision=cls.precision,
            deterministic=cls.deterministic,
            max_epochs=2,
            callbacks=[TrackPlus(), cls.checkpoint],
            logger=logger,
            log_every_n_steps=5,
            enable_progress_bar=False,
        )
        cls.module = Net()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            cls.trainer.fit(cls.module, loader, loader)
        cls.failures = [str(one.message) for one in caught if "failed" in str(one.message)]
        cls.directory = Path(logger.log_dir)
        cls.addClassCleanup(torch.use_deterministic_algorithms, mode=False)

    def test_no_writer_failed(self):
        """Nothing was lost on its way to the files."""
        self.assertEqual(self.failures, [])

    def test_results_are_those_of_numpy_on_the_cpu(self):
        """Every reducer gives what numpy makes of the same losses, in float64."""
        losses = torch.cat(self.module.losses).cpu().numpy()
        oracles = {
            "mean": losses.mean(), "sum": losses.sum(), "min": losses.min(), "max": losses.max(), "count": SAMPLES,
            "std": losses.std(ddof=1), "var": losses.var(ddof=1), "median": np.median(losses),
            "p95": np.quantile(losses, 0.95), "first": losses[0], "last": losses[-1], "amax": losses.max(),
        }  # fmt: skip
        metrics = self.trainer.callback_metrics
        for name, expected in oracles.items():
            with self.subTest(name):
                np.testing.assert_allclose(metrics[f"val/loss_{name}"].item(), expected, rtol=1e-12)
        np.testing.assert_allclose(metrics["val/plain"].item(), losses.mean(), rtol=1e-12)

    def test_events_and_csv_agree(self):
        """TensorBoard has to float32 what CSV has to float64."""
        rows = self._rows("metrics.csv")
        found = EventAccumulator(str(self.directory), size_guidance={"scalars": 0}).Reload()
        self.assertIn("train/median_step", found.Tags()["scalars"])
        for name in found.Tags()["scalars"]:
            in_csv = [(int(row["step"]), np.float32(row[name])) for row in rows if row[name]]
            in_events = sorted({(event.step, np.float32(event.value)) for event in found.Scalars(name)})
            self.assertEqual(in_events, in_csv)

    def test_media_are_those_of_the_data(self):
        """The PNG files hold the pixels that were on the device."""
        rows = [row for row in self._rows("media.csv") if row["name"] == "val/image"]
        self.assertEqual(len(rows), 2 * 8)
        images, targets = self.data.tensors
        for index, row in enumerate(rows[:8]):
            pixels = np.asarray(PIL.Image.open(self.directory / row["file"])).transpose(2, 0, 1)
            np.testing.assert_array_equal(pixels, (images[index] * 255).round().byte().numpy())
            self.assertEqual(row["caption"], str(targets[index].item()))

    def test_the_checkpoint_monitors_our_result(self):
        """ModelCheckpoint compares results that lie on the device."""
        p95 = [float(row["val/loss_p95"]) for row in self._rows("metrics.csv") if row["val/loss_p95"]]
        self.assertEqual(self.checkpoint.best_model_score.item(), min(p95))

    def _rows(self, name):
        with (self.directory / name).open(newline="") as file:
            return list(csv.DictReader(file))


class TrainingInBFloat16(TrainingOnCuda):
    """The same with bf16-mixed."""

    precision = "bf16-mixed"


class TrainingInHalf(TrainingOnCuda):
    """The same with 16-mixed."""

    precision = "16-mixed"


class DeterministicTraining(TrainingOnCuda):
    """The same where torch refuses whatever is not deterministic."""

    deterministic = True


if __name__ == "__main__":
    unittest.main()
