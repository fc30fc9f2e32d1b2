"""What it costs to have captions and scores below images in TensorBoard.

Two loggers write the same images with the same captions in turn in this process, one with ``draw_captions=True`` and
one with ``draw_captions=False``; a third writes them without captions and scores. The caller's time is that of the
calls; the CPU time is that of all threads until everything is written and the files are closed::

    python -m benchmarks.captions
"""

from __future__ import annotations

import logging
import statistics
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from benchmarks.images import crops
from lightning_trackplus import Image, TrackPlusLogger

ROUNDS = 15


def costs(images: Sequence[Tensor], folder: str, *, draw_captions: bool, **options: Any) -> tuple[float, float]:
    """Return the milliseconds of the caller and of all threads."""
    began = time.process_time()
    logger = TrackPlusLogger(folder, draw_captions=draw_captions)
    logger.log_metrics({"opened": 1.0}, 0)
    started = time.perf_counter()
    for index, image in enumerate(images):
        logger.log_media(f"image_{index}", Image(image, **options), 0)
    caller = time.perf_counter() - started
    logger.finalize("success")
    return caller * 1e3, (time.process_time() - began) * 1e3


def compare(title: str, images: Sequence[Tensor], file_format: str) -> None:
    """Print a row: the medians of all sides, and of the ratios."""
    texts = {"caption": "predicted a dahlia, true a rose", "score": 2.31}
    sides: list[list[tuple[float, float]]] = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            sides.append(
                [
                    costs(images, f"{folder}/below", draw_captions=True, format=file_format, **texts),
                    costs(images, f"{folder}/text", draw_captions=False, format=file_format, **texts),
                    costs(images, f"{folder}/none", draw_captions=True, format=file_format),
                ]
            )
    callers, cpu = (
        [statistics.median(round_[side][which] for round_ in sides) for side in range(3)] for which in (0, 1)
    )
    ratios = [statistics.median(round_[0][which] / round_[1][which] for round_ in sides) for which in (0, 1)]
    print(
        f"{title:28} | {callers[0]:7.2f} {callers[1]:7.2f} {callers[2]:7.2f}"
        f" | {cpu[0]:7.1f} {cpu[1]:7.1f} {cpu[2]:7.1f} | {ratios[0]:6.2f} {ratios[1]:6.2f}"
    )


def main() -> None:
    """Print a row for each case."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # Each logger says where its run is.
    print(f"median of {ROUNDS} rounds; ratio = below images / in the Text tab, median of rounds")
    print(f"{'captions':28} | {'caller, ms':^23} | {'CPU, ms':^23} | {'ratio':^13}")
    print(f"{'':28} | {'below':>7} {'text':>7} {'none':>7} | {'below':>7} {'text':>7} {'none':>7} | caller    CPU")
    small, large, digits = crops(8, 224, 224), crops(1, 1080, 1920), [image[:1] for image in crops(8, 28, 28)]
    costs(digits, tempfile.mkdtemp(), draw_captions=True, caption="warm")
    compare("8 images, 1 x 28 x 28, png", digits, "png")
    for file_format in ("png", "webp", "jpeg"):
        compare(f"8 images, 3 x 224 x 224, {file_format}", small, file_format)
    compare("a 1080p image, png", large, "png")


if __name__ == "__main__":
    main()
