"""Draw ``docs/images/skewed-losses.png``: what a mean does not say of a classifier's losses.

A small net is trained on one half of scikit-learn's digits and logs its loss on each sample of the other
half. The numbers in the picture are those that ``self.log`` has made of them. Needs what nothing else here
does::

    pip install '.[examples]' matplotlib
    python docs/plot_skewed_losses.py
"""
# ruff: noqa: INP001  (a program, beside the pages)

from __future__ import annotations

from pathlib import Path

import lightning as L
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset, random_split

from lightning_trackplus import TrackPlus

PICTURE = Path(__file__).parent / "images/skewed-losses.png"
EPOCHS = 40
STATISTICS = ["mean", "median", "p95", "p99"]
COLOURS = {"median": "#2a7f62", "mean": "#1f4e9c", "p95": "#c97b12", "p99": "#b3261e"}
SMALLEST = 1e-6
"""Smaller losses are drawn as this one."""


class Classifier(L.LightningModule):
    """One hidden layer, which remembers the last epoch's losses and what was logged of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        self.losses: list[Tensor] = []
        self.epochs: list[dict[str, float]] = []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer."""
        return torch.optim.Adam(self.parameters(), lr=3e-3)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """Return the mean loss of a batch."""
        return functional.cross_entropy(self.net(batch[0]), batch[1])

    def on_validation_epoch_start(self) -> None:
        """Forget the losses of the epoch before."""
        self.losses.clear()

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        """Log the loss on each sample."""
        losses = functional.cross_entropy(self.net(batch[0]), batch[1], reduction="none")
        self.log("val/loss", losses, reduce_fx=list(STATISTICS))
        self.losses.append(losses)

    def on_validation_epoch_end(self) -> None:
        """Keep what was logged."""
        metrics = self.trainer.callback_metrics
        self.epochs.append({name: metrics[f"val/loss_{name}"].item() for name in STATISTICS})


def trained() -> Classifier:
    """Return the net after its training."""
    L.seed_everything(0, verbose=False)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32) / 16
    halves = random_split(TensorDataset(images, torch.tensor(digits.target)), [0.5, 0.5])
    trainer = L.Trainer(
        accelerator="cpu",
        callbacks=[TrackPlus()],
        enable_checkpointing=False,
        logger=False,
        max_epochs=EPOCHS,
        num_sanity_val_steps=0,
    )
    module = Classifier()
    trainer.fit(module, DataLoader(halves[0], 32, shuffle=True), DataLoader(halves[1], 256))
    return module


def draw_distribution(axes: Axes, losses: NDArray[np.float64], logged: dict[str, float]) -> None:
    """Draw how the losses of one epoch lie, and where the logged statistics lie among them.

    Args:
        axes: Where to draw.
        losses: The loss on each sample.
        logged: The statistics.
    """
    shown = np.maximum(losses, SMALLEST)
    counts, *_ = axes.hist(
        shown, bins=np.geomspace(SMALLEST, 20, 37), color="#cfd6df", edgecolor="white", linewidth=0.5
    )
    top = counts.max()
    for name, height in {"median": 1.22, "mean": 1.22, "p95": 1.02, "p99": 1.22}.items():
        value, colour = logged[name], COLOURS[name]
        axes.plot([value, value], [0, top * height], color=colour, linewidth=1.6, solid_capstyle="butt")
        axes.annotate(
            f"{name}\n{value:.2g}", (value, top * height), (0, 2), textcoords="offset points", color=colour, ha="center"
        )
    axes.set_xscale("log")
    axes.set_xlim(SMALLEST, 20)
    axes.set_ylim(0, top * 1.5)
    ticks = {SMALLEST: "≤ 1e-6", 1e-4: "0.0001", 1e-2: "0.01", 1: "1"}
    axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: ticks.get(value, "")))
    axes.tick_params(axis="x", which="minor", length=0)
    axes.set_xlabel(f"loss of a sample after epoch {EPOCHS}")
    axes.set_ylabel(f"samples, of {len(losses)}")
    axes.set_title(f"{(losses < logged['mean']).mean():.0%} of the samples lie below the mean")


def draw_epochs(axes: Axes, epochs: list[dict[str, float]]) -> None:
    """Draw the logged statistics over the epochs.

    Args:
        axes: Where to draw.
        epochs: The statistics of each epoch.
    """
    numbers = np.arange(1, len(epochs) + 1)
    for name in ("p99", "p95", "mean"):
        series = [epoch[name] for epoch in epochs]
        axes.plot(numbers, series, color=COLOURS[name], linewidth=1.6)
        axes.annotate(
            name, (numbers[-1], series[-1]), (5, 0), textcoords="offset points", color=COLOURS[name], va="center"
        )
    axes.set_yscale("log")
    axes.set_ylim(0.08, 5)
    axes.yaxis.set_major_locator(FixedLocator([0.1, 0.3, 1, 3]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.tick_params(axis="y", which="minor", length=0)
    axes.set_xlim(0, len(epochs))
    axes.set_xlabel("epoch")
    axes.set_title("The mean falls, p99 rises again")


def main() -> None:
    """Train, draw, and write the picture."""
    module = trained()
    plt.style.use(Path(__file__).parent / "plot.mplstyle")
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4), width_ratios=[3, 2], layout="constrained")
    draw_distribution(left, torch.cat(module.losses).double().numpy(), module.epochs[-1])
    draw_epochs(right, module.epochs)
    figure.savefig(PICTURE, dpi=200, facecolor="white")


if __name__ == "__main__":
    main()
