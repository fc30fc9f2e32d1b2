"""What the tests share: a small module that logs what a test asks for, and a Trainer that is quiet."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from packaging.version import Version
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import tests.flavour as L

goes_on_exactly = pytest.mark.skipif(
    Version(L.__version__) < Version("2.5"),
    reason="Lightning 2.4 trains the batch before a checkpoint again, and fewer batches after a search",
)
"""For tests of runs that go on from a checkpoint, as after a search."""


class LoggingModule(L.LightningModule):
    """A linear layer whose hooks call the functions they are given, as ``function(module, batch, batch_idx)``."""

    def __init__(self, **hooks: Callable[..., None]) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.hooks = hooks

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)

    def training_step(self, batch, batch_idx):
        self._call("training_step", batch[0], batch_idx)
        return self.layer(batch[0]).pow(2).mean()

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self._call("validation_step", batch[0], batch_idx)

    def test_step(self, batch, batch_idx, dataloader_idx=0):
        self._call("test_step", batch[0], batch_idx)

    def predict_step(self, batch, batch_idx):
        self._call("predict_step", batch[0], batch_idx)

    def on_train_epoch_end(self):
        self._call("on_train_epoch_end", None, None)

    def on_validation_epoch_end(self):
        self._call("on_validation_epoch_end", None, None)

    def _call(self, hook: str, batch: Tensor | None, batch_idx: int | None) -> None:
        if hook in self.hooks:
            self.hooks[hook](self, batch, batch_idx)


def loader(count: int = 10, batch_size: int = 4) -> DataLoader:
    """Return batches of ``[i, -i]`` in order; the last batch is smaller."""
    numbers = torch.arange(count, dtype=torch.float32)
    return DataLoader(TensorDataset(torch.stack([numbers, -numbers], dim=1)), batch_size=batch_size)


def quiet_trainer(root: Path, **options: Any) -> L.Trainer:
    """Return a Trainer on the CPU that prints little and saves no checkpoints unless it is told to."""
    defaults = {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": 1,
        "log_every_n_steps": 1,
        "default_root_dir": root,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return L.Trainer(**{**defaults, **options})


def leave() -> None:
    """End what ties this process to others: at the interpreter's exit, gloo's threads can abort it."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


@contextlib.contextmanager
def disk_full_above(size):
    """Let no file of this process grow beyond a size, as a full disk would."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
