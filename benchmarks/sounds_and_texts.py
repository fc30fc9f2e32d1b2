"""What it costs to log sounds and texts to TensorBoard, ours against torch's SummaryWriter.

Both sides run in this process, in turn, and are measured in the midst of a run: each has logged the same once before.
The caller's time is that of the calling thread, with the medium made in it; the CPU time is that of all threads, with
everything written at the end. It is 10 seconds of chords with noise at 44.1 kHz, and 100 pieces of 1 kB of the standard
library's sources::

    python -m benchmarks.sounds_and_texts
"""

from __future__ import annotations

import inspect
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from lightning_trackplus import Audio, Text, TrackPlusLogger

ROUNDS = 21
SAMPLE_RATE, SECONDS = 44100, 10
TEXTS, LETTERS = 100, 1000


class Cost(NamedTuple):
    """Milliseconds for all that is logged.

    Attributes:
        caller: Wall time of the calling thread.
        cpu: CPU time of all threads.
    """

    caller: float
    cpu: float


class Work(NamedTuple):
    """What is logged, the same on both sides.

    Attributes:
        title: Its name.
        theirs: Logs it with a SummaryWriter.
        ours: Logs it with a TrackPlusLogger.
        goal: How many times less ours is to cost.
    """

    title: str
    theirs: Callable[[SummaryWriter], None]
    ours: Callable[[TrackPlusLogger], None]
    goal: Cost


def cost_of_theirs(work: Work) -> Cost:
    """Return what the SummaryWriter takes."""
    with tempfile.TemporaryDirectory() as folder:
        writer = SummaryWriter(folder)
        work.theirs(writer)
        writer.flush()
        return measured(lambda: work.theirs(writer), writer.close)


def cost_of_ours(work: Work) -> Cost:
    """Return what the TrackPlusLogger takes."""
    with tempfile.TemporaryDirectory() as folder:
        logger = TrackPlusLogger(folder, writers=("tensorboard",))
        work.ours(logger)
        logger.experiment.flush()
        logger.save()  # hparams.yaml, which a SummaryWriter does not write.
        return measured(lambda: work.ours(logger), lambda: logger.finalize("success"))


def measured(log: Callable[[], None], finish: Callable[[], None]) -> Cost:
    """Return what it costs to log and to bring everything into the file."""
    began = time.process_time()
    started = time.perf_counter()
    log()
    caller = time.perf_counter() - started
    finish()
    return Cost(caller * 1e3, (time.process_time() - began) * 1e3)


def chords() -> Tensor:
    """Return a chord a second, each struck and dying away, with some noise, float32 in [-1, 1]."""
    generator = torch.Generator().manual_seed(0)
    seconds = torch.arange(SAMPLE_RATE * SECONDS) / SAMPLE_RATE
    roots = torch.tensor([220.0, 247.5, 275.0, 293.3, 330.0])[(seconds.long()) % 5]
    tones = sum(torch.sin(2 * torch.pi * roots * third * seconds) for third in (1.0, 1.25, 1.5, 2.0))
    noise = torch.randn(len(seconds), generator=generator)
    return (0.2 * tones * torch.exp(-3 * (seconds % 1)) + 0.01 * noise).clamp(-1, 1)


def works() -> list[Work]:
    """Return what is logged."""
    samples = chords()
    source = inspect.getsource(inspect)
    texts = [source[LETTERS * number : LETTERS * (number + 1)] for number in range(TEXTS)]

    # Where a step came again, ours would begin another file.
    steps = itertools.count()

    def add_texts(writer: SummaryWriter) -> None:
        for text, step in zip(texts, steps):  # noqa: B905  the steps never end
            writer.add_text("val/note", text, step)

    def log_texts(logger: TrackPlusLogger) -> None:
        for text, step in zip(texts, steps):  # noqa: B905
            logger.log_media("val/note", Text(text), step)

    return [
        Work(
            f"{SECONDS} s of sound",
            lambda writer: writer.add_audio("val/tone", samples, 1, SAMPLE_RATE),
            lambda logger: logger.log_media("val/tone", Audio(samples, SAMPLE_RATE), 1),
            Cost(2, 40),
        ),
        Work(f"{TEXTS} texts of 1 kB", add_texts, log_texts, Cost(50, 10)),
    ]


def main() -> None:
    """Print a row for each kind of work."""
    print(f"median of {ROUNDS} rounds, in ms; ratio = SummaryWriter / TrackPlus, median of rounds (goal)")
    print("                   | SummaryWriter caller, cpu | TrackPlus caller, cpu | ratio caller, cpu")
    for work in works():
        cost_of_theirs(work), cost_of_ours(work)
        rounds = [(cost_of_theirs(work), cost_of_ours(work)) for _ in range(ROUNDS)]
        theirs, ours = (Cost(*map(statistics.median, zip(*side, strict=True))) for side in zip(*rounds, strict=True))
        caller, cpu = (statistics.median(theirs[which] / ours[which] for theirs, ours in rounds) for which in range(2))
        print(
            f"{work.title:18} | {theirs.caller:17.2f} {theirs.cpu:7.2f} | {ours.caller:13.3f} {ours.cpu:7.2f} |"
            f" {caller:6.1f} ({work.goal.caller}) {cpu:6.1f} ({work.goal.cpu})"
        )


if __name__ == "__main__":
    main()
