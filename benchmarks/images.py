"""What it costs to log natural images, ours against torch's SummaryWriter.

Both sides run in this process, in turn: 64 images of 3 x 224 x 224 one by one, and one of 1080p, all different crops
of scikit-learn's two photographs. The caller's time is that of the calls; the CPU time is that of all threads until
everything is written and the files are closed. Then single images are logged, each after a training step of a small
net, whose data and code take the place of ours in the processor's caches. Then a thread that is busy with Python and
with small tensors writes one 1080p image, and the time by which that holds it up is compared::

    python -m benchmarks.images
"""

from __future__ import annotations

import functools
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image
import torch
from sklearn.datasets import load_sample_images
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from lightning_trackplus import Image, TrackPlusLogger

ROUNDS = 7
FORMATS = ("png", "webp", "jpeg")
BUSY_ROUNDS, BUSY_STEPS = 15, 50000


class Cost(NamedTuple):
    """What it costs to write some images.

    Attributes:
        caller: Milliseconds of the calling thread.
        cpu: Milliseconds of all threads.
        size: Kilobytes of the files.
    """

    caller: float
    cpu: float
    size: float


def crops(count: int, height: int, width: int) -> list[Tensor]:
    """Return different parts of two photographs, in the size that is wanted, uint8 (C, H, W)."""
    photographs = load_sample_images().images
    generator = np.random.default_rng(0)
    images = []
    for index in range(count):
        photograph = photographs[index % len(photographs)]
        scale = min(photograph.shape[0] / height, photograph.shape[1] / width) * generator.uniform(0.8, 1)
        rows, columns = int(height * scale), int(width * scale)
        top = generator.integers(photograph.shape[0] - rows + 1)
        left = generator.integers(photograph.shape[1] - columns + 1)
        part = PIL.Image.fromarray(photograph[top : top + rows, left : left + columns])
        images.append(torch.from_numpy(np.array(part.resize((width, height)))).permute(2, 0, 1).contiguous())
    return images


def torch_writes(images: Sequence[Tensor], folder: str) -> Cost:
    """Write images with a SummaryWriter."""
    began = time.process_time()
    writer = SummaryWriter(folder)
    started = time.perf_counter()
    for index, image in enumerate(images):
        writer.add_image(f"image_{index}", image, 0)
    caller = time.perf_counter() - started
    writer.close()
    return Cost(caller * 1e3, (time.process_time() - began) * 1e3, size_of(folder))


def trackplus_writes(file_format: str, images: Sequence[Tensor], folder: str) -> Cost:
    """Write images with a TrackPlusLogger."""
    began = time.process_time()
    logger = TrackPlusLogger(folder, writers=("tensorboard",))
    # A SummaryWriter opens its file at once, a logger with the first record.
    logger.log_metrics({"opened": 1.0}, 0)
    started = time.perf_counter()
    for index, image in enumerate(images):
        logger.log_media(f"image_{index}", Image(image, format=file_format), 0)
    caller = time.perf_counter() - started
    logger.finalize("success")
    return Cost(caller * 1e3, (time.process_time() - began) * 1e3, size_of(folder))


def size_of(folder: str) -> float:
    """Return the kilobytes of the files below a folder."""
    return sum(file.stat().st_size for file in Path(folder).rglob("*events*")) / 1e3


def work(write: Callable[[], None]) -> float:
    """Return the milliseconds that a fixed work takes, in whose middle an image is written."""
    # Small enough for torch to leave it to this thread.
    values, numbers = torch.rand(1000), list(range(100))
    started = time.perf_counter()
    for step in range(BUSY_STEPS):
        values = (values * 1.5).clamp(0, 1)
        sorted(numbers, key=lambda number: -number)
        if step == BUSY_STEPS // 4:
            write()
    return (time.perf_counter() - started) * 1e3


def slowdowns(image: Tensor) -> list[tuple[float, float]]:
    """Return by how many milliseconds each side holds a busy thread up, round by round."""
    rounds = []
    for _ in range(BUSY_ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            writer = SummaryWriter(f"{folder}/torch")
            logger = TrackPlusLogger(f"{folder}/trackplus", writers=("tensorboard",), flush_secs=0.1)
            # What is only done once does not count.
            writer.add_image("warm", image[:, :9, :9], 0)
            logger.log_media("warm", Image(image[:, :9, :9]), 0)
            alone = work(lambda: None)
            theirs = work(functools.partial(writer.add_image, "image", image, 0))
            ours = work(lambda logger=logger: logger.log_media("image", Image(image), 0))
            alone = (alone + work(lambda: None)) / 2
            writer.close()
            logger.finalize("success")
        rounds.append((theirs - alone, ours - alone))
    return rounds


def training_step() -> Callable[[], None]:
    """Return a step of some ten milliseconds."""
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.ReLU(), torch.nn.Conv2d(16, 16, 3, 2))
    optimizer, batch = torch.optim.SGD(net.parameters(), lr=0.01), torch.rand(16, 3, 64, 64)

    def step() -> None:
        optimizer.zero_grad()
        net(batch).square().mean().backward()
        optimizer.step()

    return step


def single_calls(images: Sequence[Tensor]) -> tuple[float, float]:
    """Return the CPU time of the calling thread for one image after a training step, in microseconds."""
    step, found = training_step(), []
    with tempfile.TemporaryDirectory() as folder:
        writer, logger = SummaryWriter(f"{folder}/torch"), TrackPlusLogger(folder, writers=("tensorboard",))
        for log in (
            lambda image, index: writer.add_image("image", image, index),
            lambda image, index: logger.log_media("image", Image(image), index),
        ):
            times = []
            for index, image in enumerate(images):
                step()
                began = time.thread_time()
                log(image, index)
                times.append(time.thread_time() - began)
            found.append(statistics.median(times) * 1e6)
        writer.close()
        logger.finalize("success")
    return found[0], found[1]


def compare(title: str, images: Sequence[Tensor], file_format: str) -> None:
    """Print what both sides cost."""
    rounds: list[tuple[Cost, Cost]] = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            theirs = torch_writes(images, f"{folder}/torch")
            ours = trackplus_writes(file_format, images, f"{folder}/trackplus")
        rounds.append((theirs, ours))
    theirs, ours = (Cost(*map(statistics.median, zip(*side, strict=True))) for side in zip(*rounds, strict=True))
    ratios = Cost(*(statistics.median(theirs[which] / ours[which] for theirs, ours in rounds) for which in range(3)))
    print(
        f"{title:22} | {theirs.caller:7.1f} {theirs.cpu:6.0f} {theirs.size:6.0f}"
        f" | {ours.caller:7.2f} {ours.cpu:6.1f} {ours.size:6.0f}"
        f" | {ratios.caller:6.0f} {ratios.cpu:6.1f} {ratios.size:6.2f}"
    )


def main() -> None:
    """Print a row for each case."""
    print(f"median of {ROUNDS} rounds; caller's ms, CPU ms, kB; ratio = torch / TrackPlus, median of rounds")
    print(f"{'':22} | {'SummaryWriter':>21} | {'TrackPlus':>21} | {'ratio':>20}")
    small, large = crops(64, 224, 224), crops(1, 1080, 1920)
    trackplus_writes("png", small[:2], tempfile.mkdtemp())  # Warm.
    for file_format in FORMATS:
        compare(f"64 images, {file_format}", small, file_format)
    compare("64 float images, png", [image / 255 for image in small], "png")
    for file_format in FORMATS:
        compare(f"one 1080p image, {file_format}", large, file_format)
    theirs, ours = single_calls([image / 255 for image in small])
    print(
        f"one float image after a training step, caller's CPU: {theirs:.0f} µs and {ours:.0f} µs, {theirs / ours:.0f}"
    )
    rounds = slowdowns(large[0])
    theirs, ours = (statistics.median(side) for side in zip(*rounds, strict=True))
    print(f"a busy thread is held up by one 1080p image: {theirs:.0f} ms and {ours:.1f} ms, ratio {theirs / ours:.0f}")


if __name__ == "__main__":
    main()
