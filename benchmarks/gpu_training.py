"""What logging costs on a GPU, and whether it is right there: the rows for ``docs/gpu-validation.md``.

It ends within eight minutes, and needs Lightning, torch, torchmetrics and tensorboard beside a checkout, in whose
folder it is started::

    python -m benchmarks.gpu_training --out gpu-results

The tests in ``tests/gpu`` and each measurement run in a process of their own with a time limit, so that one that fails
or hangs leaves the others alone. Each row is printed and appended to ``rows.jsonl`` as soon as it is known;
``results.md`` and ``results.json`` have all rows with all versions, and are written again after each part. What a
part prints besides is in ``<part>.log``.

Without a GPU, it can be tried on the host; what is to be seen on a GPU alone is left out then::

    python -m benchmarks.gpu_training --out gpu-results --device cpu --quick
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import datetime
import functools
import gc
import importlib.metadata
import json
import logging
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import unittest
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

import lightning_trackplus
from lightning_trackplus import Audio, Image, Text, TrackPlus, TrackPlusLogger
from lightning_trackplus.reducers.registry import REDUCERS, reducers_of
from lightning_trackplus.reducers.stream import Stream

ROOT = Path(__file__).resolve().parents[1]
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


class Row(NamedTuple):
    """A row of the table.

    Attributes:
        part: The part that it is of.
        ran: What was run.
        seen: What was seen.
        is_right: Whether that is as it is to be.
    """

    part: str
    ran: str
    seen: str
    is_right: bool = True


class Rows:
    """The rows of the table, which are added by several processes."""

    def __init__(self, folder: Path, part: str) -> None:
        self._file, self._part = folder / "rows.jsonl", part

    def add(self, ran: str, seen: str, *, is_right: bool = True) -> None:
        """Print a row and append it to the file."""
        row = Row(self._part, ran, seen, is_right)
        print(line_of(row), flush=True)
        with self._file.open("a") as file:
            file.write(json.dumps(row._asdict()) + "\n")

    def all(self) -> list[Row]:
        """Return the rows of all parts so far."""
        return [Row(**json.loads(line)) for line in self._file.read_text().splitlines()] if self._file.exists() else []


HEAD = "| part | what was run | what was seen |\n| --- | --- | --- |"


def line_of(row: Row) -> str:
    """Return a row in markdown."""
    seen = row.seen.replace("|", "/").replace("\n", " ")
    return f"| {row.part} | {row.ran} | {'' if row.is_right else '**FAILED** '}{seen} |"


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


def costs(rows: Rows, place: Place, title: str, width: int, repeats: int) -> None:
    """Compare the time of a step."""
    rounds = [{side: step_ms(place, side, width, repeats) for side in SIDES} for _ in range(place.sizes.rounds)]
    none, their, our = (statistics.median(one[side] for one in rounds) for side in SIDES)
    ratio = statistics.median(
        (one["Lightning"] - one["none"]) / max(one["TrackPlus"] - one["none"], 1e-6) for one in rounds
    )
    rows.add(
        f"{SCALARS} scalars each step, {ON_BAR} on the progress bar; a step bound by the {title}",
        f"{none:.2f} ms without logging; Lightning adds {their - none:.3f} ms ({(their / none - 1):.1%}), TrackPlus"
        f" {our - none:.3f} ms ({(our / none - 1):.1%}), a ratio of {ratio:.1f}",
    )


def device_costs(rows: Rows, place: Place) -> None:
    """Compare the time of a step where the device is busy."""
    costs(rows, place, "device", place.sizes.width, busy_repeats(place))


def host_costs(rows: Rows, place: Place) -> None:
    """Compare the time of a step where the host is busy."""
    costs(rows, place, "host", 8, 1)


def waits(rows: Rows, place: Place) -> None:
    """Count how often a step waits for the device, and show that ours does not."""
    if not place.is_gpu:
        rows.add("waits for the device", "not run: it needs a GPU")
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
    if precision == "16-mixed" and not place.is_gpu:
        rows.add(f"a transformer in {precision}", "not run: it needs a GPU")
        return
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


class Part(NamedTuple):
    """A part of the validation.

    Attributes:
        run: What it does.
        limit: The most seconds that it may take.
    """

    run: Callable[[Rows, Place], None]
    limit: float


def tests(rows: Rows, place: Place, module: str) -> None:
    """Run a module of ``tests/gpu``."""
    loaded = unittest.defaultTestLoader.loadTestsFromName(f"tests.gpu.{module}")
    result = unittest.TextTestRunner(sys.stderr, verbosity=2).run(loaded)
    wrong = [str(test) for test, _ in (*result.failures, *result.errors)] + list(map(str, result.unexpectedSuccesses))
    counts = f"{result.testsRun} tests, {len(result.skipped)} skipped, {len(wrong)} failed"
    is_right = not wrong and (len(result.skipped) < result.testsRun or not place.is_gpu)
    rows.add(f"tests/gpu/{module}.py", "; ".join([counts, *wrong]), is_right=is_right)


PARTS = {
    **{
        name: Part(functools.partial(tests, module=f"test_{name}_on_cuda"), 75)
        for name in ("training", "fast_path", "reducers", "media")
    },
    **{
        precision: Part(functools.partial(real_training, precision=precision), 60)
        for precision in ("32-true", "bf16-mixed", "16-mixed")
    },
    "waits": Part(waits, 60),
    "host_costs": Part(host_costs, 90),
    "device_costs": Part(device_costs, 120),
    "memory": Part(memory, 90),
}
LIMIT = 465.0
"""The most seconds that all take together; a part gets what is left."""


def versions(device: str) -> dict[str, str | None]:
    """Return the versions of all that matters."""
    names = ("lightning", "torch", "torchmetrics", "tensorboard", "numpy")
    is_gpu = device == "cuda"
    status = _said("git", "status", "--porcelain", "--untracked-files=no")
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "card": torch.cuda.get_device_name() if is_gpu else "none, on the host",
        "driver": _said("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") if is_gpu else None,
        "CUDA": torch.version.cuda if is_gpu else None,
        "cuDNN": str(torch.backends.cudnn.version()) if is_gpu else None,
        "Python": platform.python_version(),
        "system": platform.platform(),
        **{name: importlib.metadata.version(name) for name in names},
        "lightning_trackplus": lightning_trackplus.__version__,
        "commit": f"{_said('git', 'rev-parse', 'HEAD') or 'unknown'}{', with changes' if status else ''}",
    }


def _said(*command: str) -> str | None:
    """Return what a command prints; None if it fails or is missing."""
    try:
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None


def run_part(name: str, folder: Path, options: list[str], limit: float) -> str | None:
    """Run a part in a process of its own; return what went wrong, None if it has ended by itself."""
    command = [sys.executable, "-m", "benchmarks.gpu_training", "--out", str(folder), "--part", name, *options]
    with (folder / f"{name}.log").open("w") as log:
        # It may start others, so that all have to be ended with it.
        process = subprocess.Popen(command, stderr=log, cwd=ROOT, start_new_session=True)
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            return f"stopped after {limit:.0f} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if not code:
        return None
    said = (folder / f"{name}.log").read_text().strip().splitlines()
    return f"it ended with {code}: {said[-1] if said else 'no message'}"


def write_results(folder: Path, found: dict[str, str | None], rows: list[Row], seconds: float) -> None:
    """Write all that is known so far; a kill leaves the files of before or those of now."""
    data = {"versions": found, "seconds": round(seconds, 1), "rows": [row._asdict() for row in rows]}
    listed = "\n".join(f"- {name}: {version}" for name, version in found.items() if version is not None)
    lines = "\n".join(map(line_of, rows))
    for name, text in (
        ("results.json", json.dumps(data, indent=2)),
        ("results.md", f"{listed}\n\n{HEAD}\n{lines}\n\nThis took {seconds:.0f} s."),
    ):
        (folder / f"{name}.new").write_text(text + "\n")
        (folder / f"{name}.new").replace(folder / name)


def run_all(folder: Path, device: str, options: list[str]) -> bool:
    """Run all parts; return whether all was right."""
    started = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.jsonl").unlink(missing_ok=True)
    found = versions(device)
    print("\n".join(f"{name}: {version}" for name, version in found.items()), f"\n{HEAD}", flush=True)
    for name, part in PARTS.items():
        left = LIMIT - (time.monotonic() - started)
        wrong = run_part(name, folder, options, min(part.limit, left)) if left > 1 else "not run: no time was left"
        rows = Rows(folder, name)
        if wrong is not None:
            rows.add("all of it", wrong, is_right=False)
        write_results(folder, found, rows.all(), time.monotonic() - started)
    print(f"\nThis took {time.monotonic() - started:.0f} s.")
    return all(row.is_right for row in Rows(folder, "").all())


def main() -> None:
    """Run all parts, or one; exit with 1 if something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the results are written")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="small sizes, to try the program")
    parser.add_argument("--part", choices=list(PARTS), help="run only this part, in this process")
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device; --device cpu --quick tries the program without one")
    folder = given.out.resolve()
    if given.part is None:
        options = ["--device", given.device, *(["--quick"] if given.quick else [])]
        sys.exit(not run_all(folder, given.device, options))
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if given.device == "cpu":
        torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    PARTS[given.part].run(Rows(folder, given.part), Place(given.device, QUICK if given.quick else Sizes()))


if __name__ == "__main__":
    main()
