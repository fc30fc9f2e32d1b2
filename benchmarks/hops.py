"""Which functions of this package one `self.log` calls, in validation, when its name was logged before.

    python -m benchmarks.hops [--list]

For each kind of value: how many calls on the training thread, how many different functions; with ``--list`` also which,
in their order. What the delivery thread runs later is not counted.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader

import lightning_trackplus
from lightning_trackplus import Image, TrackPlus, TrackPlusLogger

COUNTED = (1, 2)
PACKAGE = str(Path(lightning_trackplus.__file__).parent)
LOGGED: dict[str, tuple[Any, dict[str, Any]]] = {
    "a scalar": (torch.tensor(0.5), {}),
    "a vector with p95": (torch.rand(64), {"reduce_fx": "p95"}),
    "a vector with [mean, p95]": (torch.rand(64), {"reduce_fx": ["mean", "p95"]}),
    "an image with top8": (Image(torch.rand(4, 3, 8, 8), score=torch.rand(4)), {"reduce_fx": "top8"}),
    "a histogram": (torch.rand(64), {"reduce_fx": "histogram"}),
}


class Counted(L.LightningModule):
    """Logs in validation, and counts the calls of the third batch of the second epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen: dict[str, list[str]] = {}

    def training_step(self, batch: torch.Tensor) -> torch.Tensor:
        return self.layer(batch).mean()

    def validation_step(self, batch: torch.Tensor, index: int) -> None:
        for name, (value, options) in LOGGED.items():
            log = functools.partial(self.log, name, value, batch_size=64, **options)
            if (self.current_epoch, index) == COUNTED:
                self.seen[name] = counted(log)
            else:
                log()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(torch.rand(4, 1))

    def train_dataloader(self) -> DataLoader:
        return DataLoader(torch.rand(2, 1))


def counted(log: Callable[[], None]) -> list[str]:
    """Return the functions of this package that a call enters, on this thread."""
    found: list[str] = []

    def profile(frame: Any, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGE):
            found.append(f"{Path(code.co_filename).relative_to(PACKAGE)}: {code.co_qualname}")

    sys.setprofile(profile)
    try:
        log()
    finally:
        sys.setprofile(None)
    return found


def main() -> None:
    """Count, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="print the functions in their order")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    module = Counted()
    with tempfile.TemporaryDirectory() as folder:
        trainer = L.Trainer(
            max_epochs=2, callbacks=[TrackPlus()], logger=TrackPlusLogger(folder), enable_progress_bar=False,
            enable_model_summary=False, enable_checkpointing=False, accelerator="cpu",
        )  # fmt: skip
        trainer.fit(module)
    for name, calls in module.seen.items():
        print(f"{name:28} {len(calls):4} calls of {len(set(calls)):3} functions")
        if options.list:
            print("".join(f"    {one}\n" for one in calls), end="")


if __name__ == "__main__":
    main()
