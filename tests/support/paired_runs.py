"""Runs whose every number is kept, to be compared with those of the same runs without TrackPlus."""

from __future__ import annotations

import csv
import itertools
import math
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchmetrics import MeanMetric, Metric

import tests.flavour as L
from lightning_trackplus import TrackPlus, TrackPlusLogger
from lightning_trackplus.runtime.warn import warn_once
from tests.flavour.pytorch.callbacks import Callback
from tests.flavour.pytorch.loggers import Logger
from tests.flavour.pytorch.utilities.rank_zero import WarningCache, rank_zero_only
from tests.support.training import loader, quiet_trainer

WAYS = {"without": (), "closed": (lambda: TrackPlus(fast=False),), "open": (TrackPlus,)}
"""The three runs that are compared: the callbacks of each."""

KINDS = ("callback_metrics", "logged_metrics", "progress_bar_metrics")

TRAINING = (
    "on_train_start",
    "on_train_epoch_start",
    "on_train_batch_start",
    "on_train_batch_end",
    "on_train_epoch_end",
)
VALIDATION = tuple(
    f"on_validation_{moment}" for moment in ("start", "epoch_start", "batch_start", "batch_end", "epoch_end")
)
TESTING = tuple(hook.replace("validation", "test") for hook in VALIDATION)
BACKWARD = (
    "on_before_zero_grad",
    "optimizer_zero_grad",
    "on_before_backward",
    "backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "optimizer_step",
    "configure_gradient_clipping",
)
MODULE_HOOKS = (*TRAINING, *VALIDATION, *TESTING, *BACKWARD)
WATCHED = (
    *(f"on_{stage}_{end}" for stage in ("train", "validation", "test") for end in ("batch_end", "epoch_end", "end")),
    "on_train_batch_start",
    "on_exception",
)

STAGES = ("fitting", "loader0", "loader1")

Say = Callable[[Any, int], None]


class CountMetric(Metric):
    """Counts its updates; the result is a whole number."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, value: torch.Tensor) -> None:
        self.count = self.count + 1

    def compute(self) -> torch.Tensor:
        return self.count


class Saying(L.LightningModule):
    """A linear layer whose hooks say something, as ``function(module, how often the hook has run)``.

    A step is ``training_step``, ``validation_step`` or ``test_step``.
    """

    def __init__(self, **says: Say) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.metrics = torch.nn.ModuleDict(
            {stage: torch.nn.ModuleDict({"mean": MeanMetric(), "count": CountMetric()}) for stage in STAGES}
        )
        self.scale = torch.nn.Parameter(torch.tensor(0.5))
        self.says = says
        self.counts: dict[str, int] = {}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)

    def loss(self, batch):
        """Return the loss of a batch."""
        return (self.layer(batch) * self.scale).pow(2).mean()

    def training_step(self, batch, batch_idx):
        self.current = self.loss(batch[0])
        self.say("training_step")
        return self.current

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.current, self.dataloader = self.loss(batch[0]), dataloader_idx
        self.say("validation_step")

    def test_step(self, batch, batch_idx, dataloader_idx=0):
        self.current, self.dataloader = self.loss(batch[0]), dataloader_idx
        self.say("test_step")

    def metric(self, name: str) -> Metric:
        """Return the metric for where the Trainer is."""
        stage = "fitting" if self.trainer.training else f"loader{self.dataloader}"
        return self.metrics[stage][name]

    def say(self, hook: str) -> None:
        """Say what is to be said in a hook."""
        if hook in self.says:
            self.counts[hook] = count = self.counts.get(hook, -1) + 1
            self.says[hook](self, count)


def _saying(hook):
    def method(self, *args, **kwargs):
        self.say(hook)
        return getattr(super(Saying, self), hook)(*args, **kwargs)

    method.__name__ = hook
    return method


for _hook in MODULE_HOOKS:
    setattr(Saying, _hook, _saying(_hook))


class ByHand(Saying):
    """The same, which steps its optimizer by itself."""

    def __init__(self, **says: Say) -> None:
        super().__init__(**says)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        for _ in range(2):
            self.current = self.loss(batch[0])
            self.optimizers().zero_grad()
            self.manual_backward(self.current)
            self.optimizers().step()
            self.say("training_step")


def usual(module, count):
    """Log what modules usually log."""
    module.log("loss", module.current, prog_bar=True)
    module.log("both", module.current, on_step=True, on_epoch=True, prog_bar=True)
    module.log("count", float(count), on_epoch=True, reduce_fx="sum")
    module.log_dict({"a": module.current, "b": count, "c": torch.tensor(0.1)}, on_epoch=True)
    for name in ("mean", "count"):
        metric = module.metric(name)
        metric(module.current)
        module.log(f"metric/{name}", metric, on_step=True, on_epoch=True, prog_bar=True)


def usually(**hooks):
    """Return a module that logs the usual in training and validation."""
    return Saying(**{"training_step": usual, "validation_step": usual, **hooks})


class Talking(Callback):
    """A callback that logs, by its own ``log`` and ``log_dict``, and by the module's."""

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.log("talking/own", float(batch_idx), prog_bar=True)
        self.log_dict({"talking/a": 1.0 + batch_idx, "talking/b": 2}, on_epoch=True)
        module.log("talking/module", torch.tensor(batch_idx / 3), on_epoch=True)

    def on_train_epoch_end(self, trainer, module):
        self.log("talking/epoch", 0.1 + trainer.current_epoch)

    def on_validation_batch_end(self, trainer, module, outputs, batch, batch_idx, dataloader_idx=0):
        self.log("talking/val", batch_idx, batch_size=2)


class Watcher(Callback):
    """Keeps all that a Trainer shows, in each hook."""

    def __init__(self) -> None:
        self.seen: list[Any] = []


def _watching(hook):
    def method(self, trainer, *args):
        try:
            self.seen.append([hook, {kind: exact(getattr(trainer, kind)) for kind in KINDS}])
        except Exception as error:
            if hook != "on_exception":
                raise
            self.seen.append([hook, {"error": [[str(error)]]}])

    return method


for _hook in WATCHED:
    setattr(Watcher, _hook, _watching(_hook))


class ExactRows(Logger):
    """A logger that keeps each row that it is handed, to the bit."""

    name = "rows"
    version = 0

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Any] = []

    @rank_zero_only
    def log_metrics(self, metrics, step=None):
        self.rows.append([step, exact(metrics)])

    @rank_zero_only
    def save(self):
        self.rows.append("saved")

    def log_hyperparams(self, *args, **kwargs):
        pass


def exact(metrics):
    """Return numbers with their names, in their order, as what tells each from every other."""
    return [[name, _exact(value)] for name, value in metrics.items()]


def _exact(value):
    if isinstance(value, torch.Tensor):
        bits = None if value.is_meta else value.detach().reshape(-1).view(torch.uint8).numpy().tobytes().hex()
        return [str(value.dtype), str(value.device), list(value.shape), value.requires_grad, bits]
    if isinstance(value, float):
        return [type(value).__name__, "nan" if math.isnan(value) else value.hex()]
    return [type(value).__name__, repr(value)]


def fit(trainer_of, module):
    """Train and validate."""
    trainer_of().fit(module, loader(), [loader(6), loader(2)])


def report(
    root: Path,
    way: str,
    make: Callable[[], L.LightningModule],
    act: Callable[..., Any] = fit,
    *,
    callbacks: Sequence[Callable[[], Callback]] = (),
    logger: Any = True,
    **options: Any,
) -> dict[str, Any]:
    """Make a run in one of three ways, and return all that could be seen of it.

    Args:
        root: A folder.
        way: Which of the ways.
        make: What makes the module.
        act: What is done, as ``act(trainer_of, module)``; each call of ``trainer_of`` makes a Trainer.
        callbacks: What makes the other callbacks.
        logger: Whether there are loggers, one that keeps what it gets and ours.
        options: Options of the Trainer.
    """
    clear_warnings()
    watcher, rows, folders = Watcher(), ExactRows(), []

    def trainer_of(**more):
        folders.append(root / way / str(len(folders)))
        both = [rows, TrackPlusLogger(folders[-1], add_callback=False)] if logger else False
        made = [one() for one in (*callbacks, *WAYS[way])]
        settings = {"max_epochs": 2, **options, **more}
        extra = settings.pop("callbacks", [])
        return quiet_trainer(folders[-1], callbacks=[*made, watcher, *extra], logger=both, **settings)

    L.seed_everything(1, verbose=False)
    error = result = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = act(trainer_of, make())
        except Exception as raised:  # noqa: BLE001  what it is, is compared
            error = [type(raised).__name__, _without_folder(str(raised), root / way)]
    files = sorted(file for folder in folders for file in folder.rglob("metrics.csv") if rows.rows)
    return {
        "error": error,
        "result": repr(result),
        "seen": watcher.seen,
        "rows": rows.rows,
        "warnings": [
            [one.category.__name__, _without_folder(str(one.message), root / way)]
            for one in caught
            if "Triggered internally" not in str(one.message)  # torch says it once in a process.
        ],
        "files": [_without_times(file) for file in files],
    }


def clear_warnings():
    """Let what is said once in a process be said again."""
    found = [vars(module).get("warning_cache") for module in list(sys.modules.values()) if hasattr(module, "__dict__")]
    for cache in found:
        if isinstance(cache, WarningCache):
            cache.clear()
    warn_once._shown.clear()


def _without_folder(text: str, folder: Path) -> str:
    return re.sub("at 0x[0-9a-f]+", "at …", text.replace(str(folder), "…"))


def _without_times(path):
    with path.open(newline="") as file:
        return [{key: value for key, value in row.items() if key != "wall_time"} for row in csv.DictReader(file)]


def values_of(module, count):
    """Return one value of each kind that ``log`` takes."""
    number = (count + 1) / 3
    whole = count % 7
    values = {
        str(dtype).removeprefix("torch."): torch.tensor(number, dtype=dtype)
        for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    }
    values |= {
        f"{dtype}_tensor": torch.tensor(whole, dtype=dtype)
        for dtype in (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
    }
    return values | {
        "float": number,
        "int": whole,
        "bool": bool(whole),
        "numpy_float": np.float32(number),
        "numpy_int": np.int64(whole),
        "of_one": torch.tensor([number]),
        "of_one_by_one": torch.tensor([[number]]),
        "with_graph": module.current,
        "parameter": module.scale,
        "view": module.layer.weight[0, 0],
        "nan": math.nan if count % 2 else number,
        "nan_tensor": torch.tensor(math.nan if count % 2 else number),
        "infinite": torch.tensor(-math.inf if count % 3 else math.inf),
        "large": torch.tensor(3e38),
        "large_float": 1e300,
        "minus_zero": torch.tensor(-0.0),
    }


def spread(module, count):
    """Log with sync_dist in all its ways, from two processes."""
    value = module.current.detach() + module.global_rank
    for reduction, (on_step, on_epoch) in itertools.product(
        ("mean", "sum", "max", "min"), ((True, False), (False, True), (True, True))
    ):
        options = {"on_step": on_step, "on_epoch": on_epoch, "reduce_fx": reduction, "sync_dist": True}
        module.log(f"{reduction}/{on_step}/{on_epoch}", value, **options)
    module.log("float", 0.1 * (count + module.global_rank), on_epoch=True, sync_dist=True, prog_bar=True)
    module.log("local", value, on_step=True, on_epoch=True)
    module.log("first", value, on_epoch=True, sync_dist=True, rank_zero_only=True)
    module.log("group", value, on_epoch=True, sync_dist=True, sync_dist_group=torch.distributed.group.WORLD)
    module.log_dict({"a": value, "b": 2 * value}, on_epoch=True, sync_dist=True)
    if module.trainer.training:
        module.metric("mean")(value)
        module.log("metric", module.metric("mean"), on_step=True, on_epoch=True)


def paired_runs(root: Path) -> dict[str, Any]:
    """Make the runs of two processes, and return what this one saw."""
    return {
        way: report(
            root,
            way,
            lambda: Saying(training_step=spread, validation_step=spread, on_train_epoch_end=spread_epoch),
            strategy="ddp",
            devices=2,
        )
        for way in WAYS
    }


def spread_epoch(module, count):
    """Log in the end of an epoch from two processes."""
    module.log("ended", float(count + module.global_rank), sync_dist=True)
