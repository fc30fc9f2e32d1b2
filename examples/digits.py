"""Train a small convolutional network on handwritten digits, and look at the ones that it misreads.

The data are the 1,797 digits of 8 by 8 pixels that scikit-learn includes::

    python examples/digits.py fit --config examples/digits.yaml

The module only uses ``self.log``. The YAML adds the callback and the logger. The run ends with a report.
"""

from __future__ import annotations

from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.cli import LightningCLI
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset, random_split
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassRecall

from lightning_trackplus import Image, TrackPlusLogger, report

DIGITS = [str(digit) for digit in range(10)]


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
            nn.Linear(2 * width * 4 * 4, len(DIGITS)),
        )
        self.accuracy = MulticlassAccuracy(len(DIGITS), average="micro")
        self.recall = MulticlassRecall(len(DIGITS), average=None)
        self.confusion = MulticlassConfusionMatrix(len(DIGITS))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer."""
        return torch.optim.Adam(self.parameters(), self.learning_rate)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """Return the loss of a batch."""
        images, labels = batch
        loss = functional.cross_entropy(self.net(images), labels)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        """Log the quality of the network over all images, and the eight images with the highest loss."""
        images, labels = batch
        logits = self.net(images)
        losses = functional.cross_entropy(logits, labels, reduction="none")
        predictions = logits.argmax(dim=1)
        for metric in (self.accuracy, self.recall, self.confusion):
            metric.update(predictions, labels)

        self.log("val/loss", losses, reduce_fx=["mean", "p5", "median", "p95"])
        self.log("val/accuracy", self.accuracy, prog_bar=True)
        self.log("val/recall", self.recall, names=DIGITS)
        self.log("val/confusion", self.confusion, names=DIGITS)
        captions = [f"label {a}, prediction {b}" for a, b in zip(labels.tolist(), predictions.tolist(), strict=True)]
        self.log("val/hardest", Image(images, caption=captions, score=losses), reduce_fx="top8")


def main() -> None:
    """Train, and write the report of the run."""
    trainer = LightningCLI(DigitNet, Digits).trainer
    if isinstance(trainer.logger, TrackPlusLogger) and trainer.is_global_zero:
        path = report(trainer.logger.log_dir, Path(trainer.logger.log_dir, "report.html"))
        print(f"The report is {path}")


if __name__ == "__main__":
    main()
