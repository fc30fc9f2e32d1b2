"""What logging adds to a training step: TrackPlus with its logger against Lightning with its two loggers.

Trainers with a tiny module run in turn in this process: without logging, with Lightning's own, and with ours. What is
compared is the time of a step over that of a run that logs nothing, on the calling thread, and the CPU time of all::

    python -m benchmarks.training_steps
    python -m benchmarks.training_steps pytorch_lightning
"""

from __future__ import annotations

import gc
import importlib
import logging
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric
from typing_extensions import override

from lightning_trackplus import TrackPlus, TrackPlusLogger

PACKAGE = sys.argv[1] if len(sys.argv) > 1 else "lightning.pytorch"
if TYPE_CHECKING:
    import lightning.pytorch as L
else:
    L = importlib.import_module(PACKAGE)
STEPS, ROUNDS = 300, 5
WARM = 20


class Module(L.LightningModule):
    """Trains one weight, and logs so many values in each step: scalars, or metric objects that get none.

    With ``as_dict``, they are logged in one call.
    """

    def __init__(self, count: int, *, metrics: bool = False, as_dict: bool = False, **options: Any) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.metrics = torch.nn.ModuleList(MeanMetric() for _ in range(count if metrics else 0))
        for metric in self.metrics:
            metric(1.0)
        self.names = [f"train/metric_{number}" for number in range(count)]
        self.as_dict = as_dict
        self.options = options

    @override
    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss: Tensor = self.layer(batch).mean()
        values = zip(self.names, self.metrics or [loss.detach()] * len(self.names), strict=True)
        if self.as_dict:
            self.log_dict(dict(values), **self.options)
        else:
            for name, value in values:
                self.log(name, value, **self.options)
        return loss

    @override
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Clock(L.callbacks.Callback):
    """Takes the time of all steps but the first ones."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    @override
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == WARM:
            self.wall, self.cpu = time.perf_counter(), time.process_time()

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.wall = time.perf_counter() - self.wall

    def end(self) -> None:
        """Take the CPU time, with that of what is written after the training."""
        self.cpu = time.process_time() - self.cpu


class Cost(NamedTuple):
    """Microseconds of a step.

    Attributes:
        wall: Of the training thread.
        cpu: Of all threads.
    """

    wall: float
    cpu: float


def run(
    module: Module,
    every: int,
    loggers: Callable[[str], Any],
    *callbacks: L.callbacks.Callback,
    epoch_steps: int | None = None,
) -> Cost:
    """Train, in one epoch or in epochs of so many steps; return what a step costs."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = L.Trainer(
            max_steps=STEPS + WARM,
            max_epochs=-1,
            logger=loggers(folder),
            callbacks=[clock, *callbacks],
            log_every_n_steps=every,
            accelerator="cpu",
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            default_root_dir=folder,
        )
        gc.collect()
        trainer.fit(module, DataLoader(torch.rand(epoch_steps or STEPS + WARM, 1)))
        clock.end()
    return Cost(clock.wall / STEPS * 1e6, clock.cpu / STEPS * 1e6)


def theirs(folder: str) -> Any:
    """Return Lightning's two loggers."""
    return [L.loggers.TensorBoardLogger(folder, "tensorboard"), L.loggers.CSVLogger(folder, "csv")]


def ours(folder: str) -> Any:
    """Return our logger."""
    return TrackPlusLogger(folder)


def compare(title: str, count: int, every: int, *, epoch_steps: int | None = None, **options: Any) -> None:
    """Print what logging adds on both sides."""
    rounds = []
    for _ in range(ROUNDS):
        none = run(Module(0), every, lambda _: False, epoch_steps=epoch_steps)
        their = run(Module(count, **options), every, theirs, epoch_steps=epoch_steps)
        our = run(Module(count, **options), every, ours, TrackPlus(), epoch_steps=epoch_steps)
        rounds.append([(their.wall - none.wall, our.wall - none.wall), (their.cpu - none.cpu, our.cpu - none.cpu)])
    texts = []
    for kind in zip(*rounds, strict=True):
        their_us, our_us = (statistics.median(side) for side in zip(*kind, strict=True))
        ratio = statistics.median(their / our for their, our in kind)
        texts.append(f"{their_us:7.0f} {our_us:6.0f} {ratio:6.1f}")
    print(f"{title:42} | {' | '.join(texts)}", flush=True)


def attached_alone() -> None:
    """Print what the callback and the logger cost where nothing is logged."""
    rounds = []
    for _ in range(2 * ROUNDS):
        without = run(Module(0), 1, theirs)
        rounds.append((without.wall, run(Module(0), 1, ours, TrackPlus()).wall))
    without, attached = (statistics.median(side) for side in zip(*rounds, strict=True))
    differences = [attached - without for without, attached in rounds]
    print(
        f"nothing logged: a step takes {without:.0f} µs without and {attached:.0f} µs with TrackPlus,"
        f" median difference {statistics.median(differences):+.1f} µs"
    )


def main() -> None:
    """Print a row for each case."""
    warnings.simplefilter("ignore")
    logging.getLogger(PACKAGE).setLevel(logging.ERROR)
    torch.set_num_threads(1)
    print(f"µs that logging adds to a step, medians of {ROUNDS} rounds of {STEPS} steps: Lightning, TrackPlus, ratio")
    print(f"{'':42} | {'training thread':>22} | {'CPU of all threads':>22}")
    compare("100 scalars every step", 100, 1)
    compare("100 scalars every step, one log_dict", 100, 1, as_dict=True)
    compare("100 scalars every step, epochs of 10 steps", 100, 1, epoch_steps=10)
    compare("10 scalars every step", 10, 1)
    compare("10 scalars, on_step and on_epoch", 10, 1, on_step=True, on_epoch=True)
    compare("10 scalars, log_every_n_steps=50", 10, 50)
    compare("10 metric objects, on_step and on_epoch", 10, 1, metrics=True, on_step=True, on_epoch=True)
    attached_alone()


if __name__ == "__main__":
    main()
