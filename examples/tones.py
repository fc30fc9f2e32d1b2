"""Train a small convolutional network to classify instruments, and log audio, spectrograms and tables.

The data are 2,000 synthesized notes of half a second, so nothing is downloaded::

    python examples/tones.py fit --config examples/tones.yaml

The module only uses ``self.log``. In each validation it logs the notes with the highest loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import lightning as L
import torch
from lightning.pytorch.cli import LightningCLI
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset, random_split
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from lightning_trackplus import Audio, Image, Table

SAMPLE_RATE = 8000
SAMPLES = SAMPLE_RATE // 2
WINDOW, HOP = 256, 32
LOWEST, HIGHEST = 45, 69  # MIDI note numbers: A2, 110 Hz, and A4, 440 Hz.
NOTES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
# The amplitudes of the overtones: https://mathworld.wolfram.com/FourierSeries.html.
OVERTONES: dict[str, Callable[[Tensor], Tensor]] = {
    "sine": lambda n: (n == 1).float(),
    "triangle": lambda n: torch.sin(n * math.pi / 2) / n**2,
    "square": lambda n: (n % 2) / n,
    "sawtooth": lambda n: 1 / n,
}
INSTRUMENTS = (*OVERTONES, "string")
# The colours from silence to full scale: black, violet, red, yellow, white.
COLOURS = torch.tensor([[0, 0, 0], [80, 18, 123], [214, 69, 80], [252, 194, 75], [255, 255, 240]])
DECIBELS = 60
WORST = 10


class Tones(L.LightningDataModule):
    """Notes of five instruments at random pitches, with noise; four fifths for training and one fifth for validation.

    Args:
        batch_size: The number of notes in a batch.
        count: The number of notes.
    """

    def __init__(self, batch_size: int = 50, count: int = 2000) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.count = count

    def setup(self, stage: str) -> None:  # noqa: ARG002  the split is the same for all stages
        """Synthesize and split the notes."""
        random = torch.Generator().manual_seed(0)
        instruments = torch.randint(len(INSTRUMENTS), (self.count,), generator=random)
        pitches = torch.randint(LOWEST, HIGHEST + 1, (self.count,), generator=random)
        waveforms = [
            add_noise(tone(INSTRUMENTS[instrument], pitch, random), random)
            for instrument, pitch in zip(instruments.tolist(), pitches.tolist(), strict=True)
        ]
        numbers = torch.arange(self.count)
        self.dataset = TensorDataset(torch.stack(waveforms), instruments, pitches, numbers)
        self.training, self.validation = random_split(self.dataset, [0.8, 0.2], generator=random)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Return the training data, shuffled."""
        return DataLoader(self.training, self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """Return the validation data."""
        return DataLoader(self.validation, self.batch_size)


class Result(NamedTuple):
    """A validation note and its prediction.

    Attributes:
        number: The index of the note.
        instrument: The true instrument.
        prediction: The predicted instrument.
        pitch: The name of the pitch, such as A4.
        loss: The cross entropy.
    """

    number: int
    instrument: str
    prediction: str
    pitch: str
    loss: float

    @property
    def caption(self) -> str:
        """Everything except the loss, in one line."""
        return f"note {self.number}: {self.instrument}, {self.pitch}, predicted {self.prediction}"


class ToneNet(L.LightningModule):
    """Three convolutions over a spectrogram and a linear layer.

    Args:
        width: The number of channels of the first convolution.
        learning_rate: Adam's step size.
    """

    def __init__(self, width: int = 8, learning_rate: float = 3e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.learning_rate = learning_rate
        self.net = nn.Sequential(
            nn.BatchNorm2d(1),
            nn.Conv2d(1, width, 5, stride=(2, 4)),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 5, stride=2),
            nn.ReLU(),
            nn.Conv2d(2 * width, 4 * width, 5, stride=2),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            nn.Linear(4 * width, len(INSTRUMENTS)),
        )
        self.accuracy = MulticlassAccuracy(len(INSTRUMENTS), average="micro")
        self.recall = MulticlassAccuracy(len(INSTRUMENTS), average=None)
        self.confusion = MulticlassConfusionMatrix(len(INSTRUMENTS))
        self.results: list[Result] = []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer."""
        return torch.optim.Adam(self.parameters(), self.learning_rate)

    def forward(self, waveforms: Tensor) -> Tensor:
        """Return the logits of the instruments.

        Args:
            waveforms: Audio in [-1, 1], shape ``(N, SAMPLES)``.

        Returns:
            Shape ``(N, len(INSTRUMENTS))``.
        """
        logits: Tensor = self.net(spectrograms(waveforms).unsqueeze(1))
        return logits

    def training_step(self, batch: tuple[Tensor, ...], _: int) -> Tensor:
        """Return the loss of a batch."""
        waveforms, instruments = batch[:2]
        loss = functional.cross_entropy(self(waveforms), instruments)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, ...], _: int) -> None:
        """Log the quality of the network in total and per instrument, and the notes with the highest loss."""
        waveforms, instruments, pitches, numbers = batch
        logits = self(waveforms)
        losses = functional.cross_entropy(logits, instruments, reduction="none")
        predictions = logits.argmax(dim=1)
        for metric in (self.accuracy, self.recall, self.confusion):
            metric.update(predictions, instruments)
        self.log("val/loss", losses, reduce_fx=["mean", "p95"])
        self.log("val/accuracy", self.accuracy, prog_bar=True)
        self.log("val/recall", self.recall, names=INSTRUMENTS)
        self.log("val/confusion", self.confusion, names=INSTRUMENTS)
        results = [
            Result(number, INSTRUMENTS[instrument], INSTRUMENTS[prediction], note(pitch), loss)
            for number, instrument, prediction, pitch, loss in zip(
                *(each.tolist() for each in (numbers, instruments, predictions, pitches, losses)), strict=True
            )
        ]
        self.results += results
        captions = [one.caption for one in results]
        self.log("val/hardest", Audio(waveforms, SAMPLE_RATE, captions, losses), reduce_fx="top4")
        self.log("val/hardest_spectrograms", Image(to_images(waveforms), captions, losses), reduce_fx="top4")

    def on_validation_epoch_end(self) -> None:
        """Log a table of the notes with the highest loss."""
        worst = sorted(self.results, key=lambda one: one.loss, reverse=True)[:WORST]
        self.log("val/worst", Table(worst, columns=Result._fields))
        self.results.clear()


def tone(instrument: str, pitch: int, random: torch.Generator) -> Tensor:
    """Return a decaying note.

    Args:
        instrument: One of `INSTRUMENTS`.
        pitch: The MIDI note number; A4 is 69.
        random: The generator of the string's initial noise.

    Returns:
        Samples, shape ``(SAMPLES,)``.
    """
    frequency = 440 * 2 ** ((pitch - 69) / 12)
    if instrument == "string":
        return plucked(frequency, random)
    time = torch.arange(SAMPLES) / SAMPLE_RATE
    # Overtones up to half the sample rate; higher ones would alias.
    orders = torch.arange(1, math.ceil(SAMPLE_RATE / 2 / frequency))
    phases = 2 * math.pi * frequency * orders.unsqueeze(1) * time
    return OVERTONES[instrument](orders) @ torch.sin(phases) * torch.exp(-4 * time)


def plucked(frequency: float, random: torch.Generator) -> Tensor:
    """Return the sound of a plucked string: repeated noise, in which each repetition averages neighbouring samples.

    K. Karplus and A. Strong, "Digital Synthesis of Plucked-String and Drum Timbres", Computer Music
    Journal 7(2), 1983. The period is a whole number of samples, so the pitch is off by up to a third of a semitone.

    Args:
        frequency: In hertz.
        random: The generator of the initial noise.

    Returns:
        Samples, shape ``(SAMPLES,)``.
    """
    period = round(SAMPLE_RATE / frequency - 0.5)
    samples = torch.empty(SAMPLES + 2 * period)
    pluck = torch.rand(period + 1, generator=random)
    samples[: period + 1] = pluck - pluck.mean()
    for start in range(period + 1, len(samples) - period, period):
        before = samples[start - period - 1 : start]
        samples[start : start + period] = (before[1:] + before[:-1]) / 2
    return samples[:SAMPLES]


def add_noise(sound: Tensor, random: torch.Generator) -> Tensor:
    """Return a sound with the noise of a poor microphone.

    Args:
        sound: Samples of any amplitude, shape ``(T,)``.
        random: The generator of the noise and its amplitude.

    Returns:
        Samples within [-0.9, 0.9], of the same shape.
    """
    noise = torch.randn(len(sound), generator=random) * torch.rand((), generator=random) * 0.4
    noisy = sound / sound.abs().max() + noise
    return 0.9 * noisy / noisy.abs().max()


def note(pitch: int) -> str:
    """Return the name of a pitch.

    Args:
        pitch: The MIDI note number.

    Examples:
        >>> note(69)
        'A4'
    """
    return f"{NOTES[pitch % 12]}{pitch // 12 - 1}"


def spectrograms(waveforms: Tensor) -> Tensor:
    """Return the level of each frequency over time, from 0 for silence to 1 for a full-scale sine.

    Args:
        waveforms: Audio in [-1, 1], shape ``(N, SAMPLES)``.

    Returns:
        Levels in [0, 1], linear in decibels, shape ``(N, WINDOW // 2 + 1, SAMPLES // HOP + 1)``.
    """
    window = torch.hann_window(WINDOW, device=waveforms.device)
    amplitudes = torch.stft(waveforms, WINDOW, HOP, window=window, return_complex=True).abs() * 2 / window.sum()
    return (1 + 20 * amplitudes.clamp(min=1e-9).log10() / DECIBELS).clamp(0, 1)


def to_images(waveforms: Tensor) -> Tensor:
    """Return spectrograms as images, with time from left to right and low frequencies at the bottom.

    Args:
        waveforms: Audio in [-1, 1], shape ``(N, SAMPLES)``.

    Returns:
        RGB as uint8, shape ``(N, 3, WINDOW // 2 + 1, SAMPLES // HOP + 1)``.
    """
    ramp = functional.interpolate(COLOURS.T[None].float(), 256, mode="linear", align_corners=True)[0].T
    levels = (255 * spectrograms(waveforms).flip(1)).round().long()
    return ramp.to(waveforms.device, torch.uint8)[levels].permute(0, 3, 1, 2)


def main() -> None:
    """Run the command line."""
    LightningCLI(ToneNet, Tones)


if __name__ == "__main__":
    main()
