"""Train a small convolutional network on handwritten digits, and log numbers, images, text and audio.

The data are the 1,797 digits of 8 by 8 pixels that scikit-learn includes::

    python examples/digits.py fit --config examples/digits.yaml

The module only uses ``self.log``. The YAML adds the callback and the logger.
"""

from __future__ import annotations

import math

import lightning as L
import torch
from lightning.pytorch.cli import LightningCLI
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset, random_split
from torchmetrics.classification import MulticlassAccuracy

from lightning_trackplus import Audio, Image, Text

CLASSES = 10
SAMPLE_RATE = 8000
SECONDS_PER_STEP = 0.05


class Digits(L.LightningDataModule):
    """scikit-learn's handwritten digits, four fifths for training and one fifth for validation.

    Args:
        batch_size: The number of images in a batch.
    """

    def __init__(self, batch_size: int = 64) -> None:
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage: str) -> None:  # noqa: ARG002  the split is the same for all stages
        """Read and split the data."""
        digits = load_digits()
        images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
        dataset = TensorDataset(images, torch.tensor(digits.target))
        self.training, self.validation = random_split(dataset, [0.8, 0.2], generator=torch.Generator().manual_seed(0))

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Return the training data, shuffled."""
        return DataLoader(self.training, self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Return the validation data."""
        return DataLoader(self.validation, self.batch_size)


class DigitNet(L.LightningModule):
    """Two convolutions and a linear layer.

    Args:
        width: The number of channels of the first convolution.
        learning_rate: Adam's step size.
    """

    def __init__(self, width: int = 16, learning_rate: float = 3e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.learning_rate = learning_rate
        self.net = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(2 * width * 4 * 4, CLASSES),
        )
        self.accuracy = MulticlassAccuracy(CLASSES, average="micro")
        self.recall = MulticlassAccuracy(CLASSES, average=None)
        self.epoch_losses: list[Tensor] = []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer."""
        return torch.optim.Adam(self.parameters(), self.learning_rate)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """Return the loss of a batch."""
        images, targets = batch
        loss = functional.cross_entropy(self.net(images), targets)
        self.log("train/loss", loss, prog_bar=True)
        self.epoch_losses.append(loss.detach())
        return loss

    def on_train_epoch_end(self) -> None:
        """Log the loss curve of the epoch as audio: a falling pitch means that the network learns."""
        self.log("train/loss_as_pitch", Audio(as_tone(torch.stack(self.epoch_losses).cpu()), SAMPLE_RATE))
        self.epoch_losses.clear()

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        """Log the quality of the network over all samples, and some of the images."""
        images, targets = batch
        logits = self.net(images)
        losses = functional.cross_entropy(logits, targets, reduction="none")
        predictions = logits.argmax(dim=1)
        self.log("val/loss", losses, reduce_fx=["mean", "median", "p95"])
        self.accuracy(predictions, targets)
        self.recall(predictions, targets)
        self.log("val/accuracy", self.accuracy, prog_bar=True)
        captions = [f"predicted {p}, true {t}" for p, t in zip(predictions.tolist(), targets.tolist(), strict=True)]
        self.log("val/digits", Image(functional.interpolate(images, scale_factor=8), captions, losses))

    def on_validation_epoch_end(self) -> None:
        """Log a report."""
        recall = self.recall.compute()
        self.log("val/report", Text(report(self.current_epoch, recall.tolist())))
        self.log("val/recall", recall, names=map(str, range(CLASSES)))
        self.recall.reset()


def as_tone(losses: Tensor) -> Tensor:
    """Return a tone whose pitch follows the losses, 220 Hz for a loss of 0 and 440 Hz for a loss of 1.

    Args:
        losses: One loss for each step, shape ``(N,)``.

    Returns:
        Samples in [-1, 1], shape ``(N * SAMPLE_RATE * SECONDS_PER_STEP,)``.
    """
    pitch = 220 * (1 + losses.double())
    pitch = pitch.repeat_interleave(int(SAMPLE_RATE * SECONDS_PER_STEP)).clamp(max=SAMPLE_RATE / 2)
    return 0.5 * torch.sin(2 * math.pi * torch.cumsum(pitch / SAMPLE_RATE, dim=0))


def report(epoch: int, recall: list[float]) -> str:
    """Return a Markdown table with the recall of each digit.

    Args:
        epoch: The epoch.
        recall: The recall of each digit, in [0, 1].
    """
    rows = [f"| {digit} | {value:.1%} |" for digit, value in enumerate(recall)]
    return "\n".join([f"### Epoch {epoch}", "", "| digit | recall |", "| --- | --- |", *rows])


def main() -> None:
    """Run the command line."""
    LightningCLI(DigitNet, Digits)


if __name__ == "__main__":
    main()
