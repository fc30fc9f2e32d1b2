"""Log a medium of each kind, and keep the files that are the pictures of ``docs/media/``.

A linear classifier of scikit-learn's digits is trained for a few epochs. After each it logs its errors, its weights,
and two photographs that come with scikit-learn. `tests/browser` shows the same run in TensorBoard. Needs what nothing
else here does::

    pip install '.[examples]' matplotlib
    python docs/draw_media.py
"""
# ruff: noqa: INP001  (a program, beside the pages)

from __future__ import annotations

import math
import shutil
import tempfile
from pathlib import Path

import lightning as L
import matplotlib.figure
import torch
from sklearn.datasets import load_digits, load_sample_image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.functional.classification import multiclass_confusion_matrix

from lightning_trackplus import Audio, Figure, HeatMap, Histogram, Image, Table, Text, TrackPlus, TrackPlusLogger, Video

IMAGES = Path(__file__).parent / "images"
PICTURES = {
    "val-flower": "image-flower.jpeg",
    "val-pan": "video-pan.webp",
    "val-losses": "figure-losses.png",
    "val-confusion": "heat-map-confusion.png",
}
"""Which folders of a run's media hold the pictures, and what these are called in the documentation."""
NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
EPOCHS = 4
TRAINING = 1000
FPS = 8
FRAMES = 12
SAMPLE_RATE = 16_000
SECONDS = [2.5, 1.25]


class Classifier(L.LightningModule):
    """A linear net that logs a medium of each kind after each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, len(NAMES))
        self.results: list[tuple[Tensor, Tensor, Tensor]] = []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer."""
        return torch.optim.Adam(self.parameters(), lr=0.02)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """Return the mean loss of a batch."""
        return functional.cross_entropy(self.layer(batch[0].flatten(1)), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        """Log the digits of the highest losses."""
        images, targets = batch
        logits = self.layer(images.flatten(1))
        losses = functional.cross_entropy(logits, targets, reduction="none")
        captions = [f"a {NAMES[target]}" for target in targets.tolist()]
        large = functional.interpolate(images, scale_factor=8)
        self.log("val/hardest", Image(large, captions, losses, format="webp"), reduce_fx="top4")
        self.results.append((losses, logits.argmax(dim=1), targets))

    def on_validation_epoch_end(self) -> None:
        """Log all that is made of the epoch as a whole, and the photographs."""
        losses, predictions, targets = map(torch.cat, zip(*self.results, strict=True))
        self.results.clear()
        accuracy = (predictions == targets).float().mean()
        self.log("val/accuracy", accuracy)
        matrix = multiclass_confusion_matrix(predictions, targets, num_classes=len(NAMES))
        self.log("val/flower", flower())
        self.log("val/grid", Image(torch.tensor(load_digits().images[:40]) / 16, grid=10))
        self.log("val/pan", Video(pan(), fps=FPS))
        self.log("val/losses", Figure(curve(losses)))
        self.log("val/confusion", HeatMap(matrix, NAMES))
        self.log("val/weights", Histogram(self.layer.weight))
        self.log("val/chord", Audio([chord(SECONDS[0]), chord(SECONDS[1])[0]], SAMPLE_RATE, ["stereo", "mono"]))
        self.log("val/report", Text(report(accuracy.item())))
        self.log("val/worst", worst(losses, predictions, targets))


def log_every_kind(save_dir: Path, name: str, version: str) -> Path:
    """Train for a few epochs, and return the run directory.

    Args:
        save_dir: As for `TrackPlusLogger`.
        name: The same.
        version: The same.
    """
    L.seed_everything(0, verbose=False)
    digits = load_digits()
    images, targets = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16, torch.tensor(digits.target)
    trainer = L.Trainer(
        accelerator="cpu",
        callbacks=[TrackPlus()],
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        log_every_n_steps=1,
        logger=TrackPlusLogger(save_dir, name=name, version=version),
        max_epochs=EPOCHS,
        num_sanity_val_steps=0,
    )
    training = DataLoader(TensorDataset(images[:TRAINING], targets[:TRAINING]), 100, shuffle=True)
    validation = DataLoader(TensorDataset(images[TRAINING:], targets[TRAINING:]), 200)
    trainer.fit(Classifier(), training, validation)
    return save_dir / name / version


def flower() -> Image:
    """Return a photograph whose petals are tinted and whose flower stands in a box."""
    pixels = torch.tensor(load_sample_image("flower.jpg")).permute(2, 0, 1)[:, :360]
    red, _, blue = pixels
    petals = red > 1.2 * blue.clamp(min=100)
    rows, columns = (petals.float().mean(dim).gt(0.1).nonzero() for dim in (1, 0))
    position = {"minX": columns[0], "maxX": columns[-1], "minY": rows[0], "maxY": rows[-1]}
    box = {"position": position, "domain": "pixel", "class_id": 2, "scores": {"share": petals.float().mean()}}
    labels = {"class_labels": {1: "petal", 2: "flower"}}
    return Image(
        pixels,
        "found by its colour",
        boxes={"found": {"box_data": [box], **labels}},
        masks={"found": {"mask_data": petals, **labels}},
        format="jpeg",
    )


def pan() -> Tensor:
    """Return frames of 160 by 120 pixels that pass over a photograph from left to right."""
    pixels = torch.tensor(load_sample_image("china.jpg")).permute(2, 0, 1)
    lefts = torch.linspace(0, pixels.shape[2] - 320, FRAMES).int().tolist()
    return torch.stack([pixels[:, 100:340:2, left : left + 320 : 2] for left in lefts])


def curve(losses: Tensor) -> matplotlib.figure.Figure:
    """Return a plot of the losses in their order.

    Args:
        losses: The loss on each digit.
    """
    figure = matplotlib.figure.Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    axes.semilogy(losses.sort(descending=True).values.numpy())
    axes.set_xlabel("digits, the hardest first")
    axes.set_ylabel("loss")
    return figure


def chord(seconds: float) -> Tensor:
    """Return a fifth, its lower tone on the left and its upper one on the right, shape ``(2, T)``.

    Args:
        seconds: How long it lasts.
    """
    time = torch.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return 0.5 * torch.stack([torch.sin(2 * math.pi * pitch * time) for pitch in (220, 330)])


def report(accuracy: float) -> str:
    """Return a text in markdown.

    Args:
        accuracy: The share of digits that were told right, in [0, 1].
    """
    return (
        f"### {accuracy:.1%} are right\n\n1. The net is *linear*.\n2. It has `{64 * 10 + 10}` parameters.\n\n"
        f"| set | digits |\n| --- | --- |\n| training | {TRAINING} |\n| validation | {1797 - TRAINING} |\n\n"
        "```python\nnn.Linear(64, 10)\n```"
    )


def worst(losses: Tensor, predictions: Tensor, targets: Tensor) -> Table:
    """Return a table of the five digits of the highest losses.

    Args:
        losses: The loss on each digit.
        predictions: What each was taken for.
        targets: What each is.
    """
    highest = losses.topk(5)
    digits, taken_for = ([NAMES[digit] for digit in all_[highest.indices]] for all_ in (targets, predictions))
    return Table({"place": range(1, 6), "digit": digits, "taken for": taken_for, "loss": highest.values})


def main() -> None:
    """Train, and keep the files of the last epoch that are pictures of the documentation."""
    with tempfile.TemporaryDirectory() as folder:
        run = log_every_kind(Path(folder), "media", "run")
        for folder_name, picture in PICTURES.items():
            shutil.copy(max((run / "media" / folder_name).iterdir()), IMAGES / picture)


if __name__ == "__main__":
    main()
