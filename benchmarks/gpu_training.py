"""What logging costs on a GPU, and whether it is right there: the rows for ``docs/gpu-validation.md``.

It takes less than ten minutes, and needs Lightning, torch, torchmetrics and tensorboard beside a checkout::

    python benchmarks/gpu_training.py

Without a GPU, it can be tried on the host in a minute; what is to be seen on a GPU alone is left out then::

    python benchmarks/gpu_training.py --device cpu --quick
"""

from __future__ import annotations

import argparse
import csv
import datetime
import gc
import logging
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import PIL.Image
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_trackplus import Audio, Image, Text, TrackPlus, TrackPlusLogger
from lightning_trackplus.reducers.registry import REDUCERS, reducers_of
from lightning_trackplus.reducers.stream import Stream

SCALARS, ON_BAR, WARM = 50, 5, 20
# Those that need an argument; a histogram is logged by itself.
WITH_ARGUMENTS = {"quantile": "quantile(0.3)", "topk": "topk(3)", "bottomk": "bottomk(3)", "running": "running(100)"}
REDUCTIONS = [WITH_ARGUMENTS.get(name, name) for name in REDUCERS if name != "histogram"] + ["p5", "p95", "p99"]
ORACLES: dict[str, Callable[[np.ndarray], float]] = {
    "mean": np.mean,
    "sum": np.sum,
    "min": np.min,
    "max": np.max,
    "count": len,
    "std": lambda x: np.std(x, ddof=1),
    "var": lambda x: np.var(x, ddof=1),
    "median": np.median,
    "p95": lambda x: np.quantile(x, 0.95),
    "first": lambda x: x[0],
    "last": lambda x: x[-1],
}


class Sizes(NamedTuple):
    """How much is done.

    Attributes:
        steps: The steps of a timed run.
        rounds: How often each side runs.
        width: The width of the model that keeps the device busy.
        busy_ms: How long its step takes at least, in milliseconds.
        samples: The samples of the model that is trained.
        epochs: The epochs of a thousand steps in which memory is watched.
        epoch_steps: Their steps.
    """

    steps: int = 200
    rounds: int = 3
    width: int = 4096
    busy_ms: float = 22.0
    samples: int = 2048
    epochs: int = 6
    epoch_steps: int = 1000


QUICK = Sizes(steps=60, rounds=2, width=128, busy_ms=2.0, samples=256, epochs=3, epoch_steps=100)


class Place(NamedTuple):
    """Where the runs take place.

    Attributes:
        device: ``"cuda"`` or ``"cpu"``.
        sizes: How much is done.
    """

    device: str
    sizes: Sizes

    @property
    def is_gpu(self) -> bool:
        """Whether there is a device to wait for."""
        return self.device == "cuda"

    def wait(self) -> None:
        """Wait for the device."""
        if self.is_gpu:
            torch.cuda.synchronize()


class Logs(L.LightningModule):
    """Multiplies a batch so many times by one matrix, and logs scalars of the device in each step."""

    def __init__(self, width: int, repeats: int, scalars: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width)
        self.repeats = repeats
        self.names = [f"train/metric_{number}" for number in range(scalars)]

    def training_step(self, batch, batch_idx):
        for _ in range(self.repeats):
            batch = torch.relu(self.layer(batch))
        loss = batch.mean()
        value = loss.detach()
        for number, name in enumerate(self.names):
            self.log(name, value, prog_bar=number < ON_BAR)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-4)


class Clock(Callback):
    """Takes the time of all steps but the first ones; reads the progress bar's numbers, as a bar would."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.seconds = 0.0

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == WARM:
            self.place.wait()
            self.seconds = time.perf_counter()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        _ = trainer.progress_bar_metrics

    def on_train_end(self, trainer, pl_module):
        self.place.wait()
        self.seconds = time.perf_counter() - self.seconds


class Waits(Callback):
    """Lets torch say of each wait for the device, or raise, from the first steps to the last."""

    def __init__(self, mode: str, steps: int) -> None:
        self.mode, self.steps = mode, steps

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == WARM:
            torch.cuda.synchronize()
            torch.cuda.set_sync_debug_mode(self.mode)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if batch_idx == self.steps + WARM - 1:
            torch.cuda.set_sync_debug_mode("default")


class Memory(Callback):
    """Notes the memory of the process and of the device at the end of each epoch, in MiB."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.host: list[float] = []
        self.device: list[float] = []

    def on_train_epoch_end(self, trainer, pl_module):
        self.place.wait()
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.host.append(pages * 4096 / 2**20)
        self.device.append(torch.cuda.memory_allocated() / 2**20 if self.place.is_gpu else 0.0)


class Rows:
    """The rows of the table, and whether one of them is a failure."""

    def __init__(self, place: Place) -> None:
        card = torch.cuda.get_device_name() if place.is_gpu else "none, on the host"
        versions = f"Lightning {L.__version__}, torch {torch.__version__}"
        self._start = f"| {datetime.datetime.now(datetime.timezone.utc).date()} | {card} | {versions} "
        self.has_failed = False
        print("| date | card | versions | what was run | what was seen |\n| --- | --- | --- | --- | --- |", flush=True)

    def add(self, ran: str, seen: str, *, is_right: bool = True) -> None:
        """Print a row."""
        self.has_failed |= not is_right
        print(f"{self._start}| {ran} | {'' if is_right else '**FAILED** '}{seen} |", flush=True)


def trainer_of(place: Place, folder: str, loggers: Any, *callbacks: Callback, **options: Any) -> L.Trainer:
    """Return a Trainer that does nothing but train and log."""
    return L.Trainer(
        accelerator=place.device,
        devices=1,
        logger=loggers,
        callbacks=list(callbacks),
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        **{"log_every_n_steps": 1, "max_epochs": 1, **options},
    )


def theirs(folder: str) -> Any:
    """Return Lightning's two loggers."""
    return [TensorBoardLogger(folder, "tensorboard"), CSVLogger(folder, "csv")]


SIDES: dict[str, tuple[int, Callable[[str], Any], Callable[[], list[Callback]]]] = {
    "none": (0, lambda _: False, list),
    "Lightning": (SCALARS, theirs, list),
    "TrackPlus": (SCALARS, TrackPlusLogger, lambda: [TrackPlus()]),
}
"""What is compared: how many scalars are logged, by which loggers, and with which callbacks."""


def train(place: Place, side: str, width: int, repeats: int, steps: int, *callbacks: Callback) -> None:
    """Train the model that is timed."""
    scalars, loggers, ours = SIDES[side]
    with tempfile.TemporaryDirectory() as folder:
        batches = [torch.rand(width, width, device=place.device)] * (steps + WARM)
        gc.collect()
        trainer = trainer_of(place, folder, loggers(folder), *ours(), *callbacks)
        trainer.fit(Logs(width, repeats, scalars), DataLoader(batches, batch_size=None))


def step_ms(place: Place, side: str, width: int, repeats: int) -> float:
    """Return what a step takes, in milliseconds."""
    clock = Clock(place)
    train(place, side, width, repeats, place.sizes.steps, clock)
    return clock.seconds / place.sizes.steps * 1e3


def busy_repeats(place: Place) -> int:
    """Return how many products make a step that keeps the device busy for long enough."""
    width, repeats = place.sizes.width, 1
    while (took := step_ms(place._replace(sizes=place.sizes._replace(steps=20)), "none", width, repeats)) < (
        place.sizes.busy_ms
    ):
        repeats = max(repeats + 1, round(repeats * place.sizes.busy_ms / took))
    return repeats


def costs(rows: Rows, place: Place) -> None:
    """Compare the time of a step, where the device is busy and where the host is."""
    small = (8, 1)
    for title, (width, repeats) in {
        "bound by the device": (place.sizes.width, busy_repeats(place)),
        "bound by the host": small,
    }.items():
        rounds = [{side: step_ms(place, side, width, repeats) for side in SIDES} for _ in range(place.sizes.rounds)]
        none, their, our = (statistics.median(one[side] for one in rounds) for side in SIDES)
        ratio = statistics.median(
            (one["Lightning"] - one["none"]) / max(one["TrackPlus"] - one["none"], 1e-6) for one in rounds
        )
        rows.add(
            f"{SCALARS} scalars each step, {ON_BAR} on the progress bar; a step {title}",
            f"{none:.2f} ms without logging; Lightning adds {their - none:.3f} ms ({(their / none - 1):.1%}), TrackPlus"
            f" {our - none:.3f} ms ({(our / none - 1):.1%}), a ratio of {ratio:.1f}",
        )


def waits(rows: Rows, place: Place) -> None:
    """Count how often a step waits for the device, and show that ours does not."""
    if not place.is_gpu:
        return
    steps, counts = 100, {}
    try:
        for side in SIDES:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                train(place, side, 8, 1, steps, Waits("warn", steps))
            counts[side] = sum("synchroniz" in str(one.message) for one in caught) / steps
        error = ""
        train(place, "TrackPlus", 8, 1, steps, Waits("error", steps))
    except RuntimeError as raised:
        error = f"; with `set_sync_debug_mode('error')` it raised {raised}"
    finally:
        torch.cuda.set_sync_debug_mode("default")
    seen = ", ".join(f"{side} {count:.2f}" for side, count in counts.items())
    rows.add(f"waits for the device, in each of {steps} steps", seen + error, is_right=not error)


class Net(L.LightningModule):
    """A small transformer over patches of pictures; it logs all there is, and keeps its losses for an oracle."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 64, 4, stride=4)
        layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(64, 10)
        self.losses: list[Tensor] = []

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), 1e-3)

    def forward(self, pictures):
        return self.head(self.encoder(self.patches(pictures).flatten(2).transpose(1, 2)).mean(1))

    def training_step(self, batch, batch_idx):
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.log("train/loss", loss, prog_bar=True, on_step=True, on_epoch=True)
        self.log("train/median", loss, reduce_fx="median", on_step=True, on_epoch=True)
        self.log_dict({f"train/scaled_{number}": loss.detach() * number for number in range(8)})
        return loss

    def on_validation_epoch_start(self):
        self.losses.clear()

    def validation_step(self, batch, batch_idx):
        losses = nn.functional.cross_entropy(self(batch[0]), batch[1], reduction="none").double()
        self.losses.append(losses)
        self.log("val/loss", losses, reduce_fx=REDUCTIONS)
        self.log("val/plain", losses.mean(), prog_bar=True)
        self.log("val/losses", losses, reduce_fx="histogram")
        self.log("val/image", Image(batch[0], caption=[str(one) for one in batch[1].tolist()], score=losses))
        self.log("val/sound", Audio(batch[0][0].flatten(), 8000))

    def on_validation_epoch_end(self):
        self.log("val/text", Text(f"epoch {self.current_epoch}"))


def real_training(rows: Rows, place: Place, precision: str) -> None:
    """Train, and compare what is shown and written with the same on the host."""
    torch.manual_seed(0)
    data = TensorDataset(torch.rand(place.sizes.samples, 3, 16, 16), torch.randint(10, (place.sizes.samples,)))
    loader, module = DataLoader(data, 64), Net()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        logger = TrackPlusLogger(folder)
        trainer = trainer_of(place, folder, logger, TrackPlus(), precision=precision, max_epochs=2)
        trainer.fit(module, loader, loader)
        wrong = [str(one.message) for one in caught if "failed" in str(one.message)]
        batches = [one.cpu() for one in module.losses]
        wrong += wrong_results({name: value.item() for name, value in trainer.callback_metrics.items()}, batches)
        wrong += wrong_files(Path(logger.log_dir)) + wrong_media(Path(logger.log_dir), data)
    rows.add(
        f"a transformer in {precision}, two epochs: {len(REDUCTIONS)} reducers, histogram, media, events and CSV",
        "; ".join(wrong[:3]) or "all results, rows, events and pixels are those of the host",
        is_right=not wrong,
    )


def wrong_results(metrics: dict[str, float], batches: list[Tensor]) -> list[str]:
    """Return which reducers give other numbers than on the host, or than numpy."""
    values = torch.cat(batches).numpy()
    host = Stream(reducers_of(REDUCTIONS))
    for step, batch in enumerate(batches):
        host.add(batch, step=step)
    wrong = []
    for reducer, result in zip(host.reducers, host.results(host.summary()), strict=True):
        parts = result if isinstance(result, dict) else {reducer.name: result}
        for name, expected in parts.items():
            found = metrics.get(f"val/loss_{name}")
            if found is None or not np.array_equal(found, float(expected), equal_nan=True):
                wrong.append(f"val/loss_{name} is {found!r}, on the host {float(expected)!r}")
    for name, oracle in ORACLES.items():
        if not np.isclose(metrics[f"val/loss_{name}"], oracle(values), rtol=1e-12, atol=0):
            wrong.append(f"val/loss_{name} is {metrics[f'val/loss_{name}']!r}, by numpy {oracle(values)!r}")
    return wrong


def wrong_files(run: Path) -> list[str]:
    """Return which names have other numbers in TensorBoard's events than in ``metrics.csv``."""
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    events = EventAccumulator(str(run), size_guidance={"scalars": 0}).Reload()
    names = set(events.Tags()["scalars"])
    wrong = [f"{name} has no events" for name in ("train/loss_step", "val/plain", "val/loss_p95") if name not in names]
    for name in names:
        in_csv = sorted((int(row["step"]), str(np.float32(row[name]))) for row in rows if row[name])
        if in_csv != sorted({(event.step, str(np.float32(event.value))) for event in events.Scalars(name)}):
            wrong.append(f"{name} differs between metrics.csv and the events")
    return wrong


def wrong_media(run: Path, data: TensorDataset) -> list[str]:
    """Return which pictures have other pixels or captions than the data."""
    with (run / "media.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["name"] == "val/image"]
    pictures, targets = data.tensors
    wrong = [] if rows else ["no picture was written"]
    for index, row in enumerate(rows[:8]):
        pixels = np.asarray(PIL.Image.open(run / row["file"])).transpose(2, 0, 1)
        if row["caption"] != str(targets[index].item()):
            wrong.append(f"picture {index} has the caption {row['caption']}")
        if not np.array_equal(pixels, (pictures[index] * 255).round().byte().numpy()):
            wrong.append(f"picture {index} has other pixels")
    return wrong


class Long(Logs):
    """Logs scalars, reducers and now and then a picture, for thousands of steps."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.log("train/p95", loss, reduce_fx=["p95", "mean"], on_step=False, on_epoch=True)
        if batch_idx % 50 == 0:
            self.log("train/image", Image(torch.rand(1, 3, 32, 32, device=self.device)), on_step=True, on_epoch=False)
        return loss


def memory(rows: Rows, place: Place) -> None:
    """Show that nothing piles up."""
    watch, sizes = Memory(place), place.sizes
    with tempfile.TemporaryDirectory() as folder:
        batches = [torch.rand(8, 8, device=place.device)] * sizes.epoch_steps
        logger = TrackPlusLogger(folder)
        trainer = trainer_of(place, folder, logger, TrackPlus(), watch, max_epochs=sizes.epochs)
        trainer.fit(Long(8, 1, SCALARS), DataLoader(batches, batch_size=None))
    device, host = (f"{part[1]:.1f} MiB, then {part[-1]:.1f}" for part in (watch.device, watch.host))
    grown = watch.device[-1] - watch.device[1]
    rows.add(
        f"memory after {2 * sizes.epoch_steps:,} steps and after {sizes.epochs * sizes.epoch_steps:,}",
        f"on the device {device}; of the process {host}",
        is_right=grown < 1.0,
    )


def main() -> None:
    """Print the table; exit with 1 if something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="small sizes, to try the program")
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device; --device cpu --quick tries the program without one")
    place = Place(given.device, QUICK if given.quick else Sizes())
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if not place.is_gpu:
        torch.set_num_threads(1)
    rows, started = Rows(place), time.perf_counter()
    for precision in ("32-true", "bf16-mixed", *(["16-mixed"] if place.is_gpu else [])):
        real_training(rows, place, precision)
    waits(rows, place)
    memory(rows, place)
    costs(rows, place)
    print(f"\nThis took {time.perf_counter() - started:.0f} s.")
    sys.exit(rows.has_failed)


if __name__ == "__main__":
    main()
