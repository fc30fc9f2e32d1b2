"""The fast path on CUDA: the same results as Lightning alone, and no wait for the device.

python -m unittest -v tests.gpu.test_fast_path_on_cuda
"""

from __future__ import annotations

import csv
import math
import tempfile
import unittest
import warnings
from pathlib import Path

import numpy as np
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader, TensorDataset

import tests.flavour as L
from lightning_trackplus import TrackPlus, TrackPlusLogger
from tests.flavour.pytorch.callbacks import Callback
from tests.flavour.pytorch.loggers import Logger

ACCELERATOR = "cuda"
BATCHES, EPOCHS, WARM = 40, 2, 3


class Numbers(L.LightningModule):
    """Trains a little, and logs numbers that do not depend on it, in all the ways that the lane takes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(8, 1)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-3)

    def training_step(self, batch, batch_idx):
        (values,) = batch
        self.log_numbers(values, batch_idx)
        return self.layer(values).pow(2).mean()

    def validation_step(self, batch, batch_idx):
        self.log_numbers(batch[0], batch_idx)

    def log_numbers(self, values, batch_idx):
        """Log tensors of many dtypes, and Python's numbers."""
        for index in range(8):
            self.log(f"plain/{index}", values[0, index])
        for reduction in ("mean", "sum", "max", "min"):
            for on_step, on_epoch in ((True, False), (False, True), (True, True)):
                name = f"{reduction}/{on_step}/{on_epoch}"
                self.log(name, values[1, 0] / 3, on_step=on_step, on_epoch=on_epoch, reduce_fx=reduction)
        for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool):
            self.log(str(dtype), (values[2, 0] * 9).to(dtype), on_step=True, on_epoch=True)
        self.log_dict({f"dict/{index}": values[3, index] * 2 for index in range(4)}, on_epoch=True)
        for name, number in (("tenth", 0.1 * batch_idx), ("int", batch_idx), ("huge", 1e300), ("nan", math.nan)):
            self.log(f"python/{name}", number, on_step=True, on_epoch=True)
        for index in range(5):
            self.log(f"bar/{index}", values[0, index], prog_bar=True, on_step=True, on_epoch=True)


class Rows(Logger):
    """A logger of others, which keeps what it is handed."""

    name = "rows"
    version = 0

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int, dict[str, float]]] = []

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, metrics))

    def log_hyperparams(self, *args, **kwargs):
        pass


class Shown(Callback):
    """Keeps what a Trainer shows, without waiting for it."""

    def __init__(self) -> None:
        self.seen: list[dict[str, object]] = []

    def on_train_batch_end(self, trainer, *args):
        self._keep(trainer)

    def on_validation_end(self, trainer, *args):
        self._keep(trainer)

    def on_train_end(self, trainer, *args):
        self._keep(trainer)

    def _keep(self, trainer):
        shown = {**trainer.callback_metrics, **{f"logged {key}": one for key, one in trainer.logged_metrics.items()}}
        self.seen.append({key: one.clone() if isinstance(one, torch.Tensor) else one for key, one in shown.items()})


class NoWaiting(Callback):
    """Lets any wait for the device raise, from an epoch's first batches to its last."""

    def __init__(self) -> None:
        self.batches = 0

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if batch_idx == WARM and ACCELERATOR == "cuda":
            torch.cuda.synchronize()
            torch.cuda.set_sync_debug_mode("error")

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if batch_idx >= WARM:
            # What a progress bar, a checkpoint and a person ask for after each batch.
            _ = trainer.progress_bar_metrics, trainer.callback_metrics, trainer.logged_metrics
            self.batches += 1
        if batch_idx == BATCHES - 1 and ACCELERATOR == "cuda":
            torch.cuda.set_sync_debug_mode("default")


class Bar(Callback):
    """Compares what the progress bar would show with the batch of now, and of before."""

    def __init__(self) -> None:
        self.logged: list[float] = []
        self.strange: list[tuple[int, float]] = []
        self.late: list[int] = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        value = batch[0][0, 0].item()
        self.logged.append(value)
        if (shown := trainer.progress_bar_metrics["bar/0_step"]) not in self.logged:
            self.strange.append((batch_idx, shown))
        # Two looks, with time for the device to send what it has: the second shows the batch of now.
        for _ in range(2):
            if ACCELERATOR == "cuda":
                torch.cuda.synchronize()
            shown = trainer.progress_bar_metrics["bar/0_step"]
        if shown != value:
            self.late.append(batch_idx)


class FastLaneOnCuda(unittest.TestCase):
    """Runs with the lane open, and with Lightning alone."""

    precision: str = "32-true"

    @classmethod
    def setUpClass(cls):
        if ACCELERATOR == "cuda" and not torch.cuda.is_available():
            raise unittest.SkipTest("there is no CUDA device")
        torch.manual_seed(0)
        device = torch.device(ACCELERATOR)
        cls.data = TensorDataset(torch.rand(BATCHES * 4, 8).to(device))

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        if ACCELERATOR == "cuda":
            self.addCleanup(torch.cuda.set_sync_debug_mode, "default")

    def fit(self, *callbacks, logger):
        """Train, and return the Trainer."""
        trainer = L.Trainer(
            accelerator=ACCELERATOR,
            devices=1,
            precision=self.precision,
            max_epochs=EPOCHS,
            callbacks=list(callbacks),
            logger=logger,
            log_every_n_steps=1,
            enable_progress_bar=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            default_root_dir=self.root,
        )
        loader = DataLoader(self.data, 4)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.fit(Numbers(), loader, loader)
        return trainer

    def test_results_are_those_of_lightning_alone(self):
        """All that is shown and handed on is the same to the bit, on the same device."""
        shown, rows = [], []
        for callbacks in ((), (TrackPlus(),)):
            keeper, logger = Shown(), Rows()
            self.fit(*callbacks, keeper, logger=[logger, TrackPlusLogger(self.root / str(len(callbacks)))])
            shown.append(keeper.seen)
            rows.append(logger.rows)
        self.assertEqual(repr(rows[0]), repr(rows[1]))
        self.assertEqual(len(shown[0]), len(shown[1]))
        for theirs, ours in zip(*shown, strict=True):
            self.assertEqual(list(theirs), list(ours))
            for name, value in theirs.items():
                self.assertEqual(
                    (value.dtype, value.device, repr(value.item())),
                    (ours[name].dtype, ours[name].device, repr(ours[name].item())),
                    name,
                )

    def test_nothing_waits_for_the_device(self):
        """Steps that log forty numbers to our logger, five on the progress bar, while torch raises at any wait."""
        watch = NoWaiting()
        self.fit(TrackPlus(), watch, logger=TrackPlusLogger(self.root))
        self.assertEqual(watch.batches, EPOCHS * (BATCHES - WARM))

    def test_the_progress_bar_follows(self):
        """It shows a number that was logged, and after a moment that of the last batch."""
        bar = Bar()
        self.fit(TrackPlus(), bar, logger=TrackPlusLogger(self.root))
        self.assertEqual((bar.strange, bar.late, len(bar.logged)), ([], [], EPOCHS * BATCHES))

    def test_both_files_hold_what_other_loggers_get(self):
        """``metrics.csv`` has the numbers to the last digit, TensorBoard's events have them in float32."""
        rows, ours = Rows(), TrackPlusLogger(self.root)
        self.fit(TrackPlus(), logger=[ours, rows])
        expected: dict[str, dict[int, float]] = {}
        for step, row in rows.rows:
            for name, number in row.items():
                expected.setdefault(name, {})[step] = float(number)
        with Path(ours.log_dir, "metrics.csv").open(newline="") as file:
            in_csv = list(csv.DictReader(file))
        events = EventAccumulator(ours.log_dir, size_guidance={"scalars": 0}).Reload()
        for name, numbers in expected.items():
            if name != "epoch":
                found = {int(row["step"]): float(row[name]) for row in in_csv if row[name]}
                self.assertEqual(repr(sorted(found.items())), repr(sorted(numbers.items())), name)
                with np.errstate(over="ignore"):
                    floats = {step: np.float32(number) for step, number in numbers.items()}
                shown = {event.step: np.float32(event.value) for event in events.Scalars(name)}
                self.assertEqual(repr(sorted(shown.items())), repr(sorted(floats.items())), name)


class FastLaneInBFloat16(FastLaneOnCuda):
    """The same with bf16-mixed."""

    precision = "bf16-mixed"


class FastLaneInHalf(FastLaneOnCuda):
    """The same with 16-mixed, whose gradient scaler waits for the device in each step."""

    precision = "16-mixed"

    def test_nothing_waits_for_the_device(self):
        """Left out: torch's own scaler waits."""
        self.skipTest("the gradient scaler waits for the device")


if __name__ == "__main__":
    unittest.main()
