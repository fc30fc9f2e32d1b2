"""What two processes over gloo do, in parts that have names.

Each leaves what it saw as JSON; a part that fails, or waits for another process in vain, leaves its error and ends
the process.
"""

from __future__ import annotations

import datetime
import functools
import json
import os
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import distributed
from torch.utils.data import DataLoader, IterableDataset
from torchmetrics.classification import BinaryROC, MulticlassAccuracy
from torchmetrics.wrappers import ClasswiseWrapper

import tests.flavour as L
from lightning_trackplus import Image, TrackPlus, TrackPlusLogger
from lightning_trackplus.reducers.histogram import Histogram
from lightning_trackplus.reducers.quantile import Quantile
from lightning_trackplus.reducers.registry import REDUCERS, reducers_of
from lightning_trackplus.reducers.sum import NanCount
from tests.flavour.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from tests.flavour.pytorch.strategies import DDPStrategy
from tests.support.paired_runs import paired_runs
from tests.support.recording import Rows, numbers
from tests.support.training import LoggingModule, leave, quiet_trainer
from tests.support.two_processes import uneven_training

PATIENCE = datetime.timedelta(seconds=100)
EDGES = [0.5, 1.0, 2.0, 4.0]

SPECS = {name: name for name in REDUCERS} | {
    "nan_count": NanCount(),
    "quantile": "quantile(0.3)",
    "histogram": Histogram(EDGES),
    "topk": "topk(3)",
    "bottomk": "bottomk(2)",
    "ema": "ema(0.5)",
    "ewm_std": "ewm_std(0.3)",
    "running": "running(2, median)",
}

random = np.random.default_rng(0)


def own_rank():
    """Return the rank of this process."""
    return int(os.environ["LOCAL_RANK"])


def batches(*sizes):
    """Return batches of values above 0, with ties."""
    return [np.ceil(random.gamma(2.0, size=size) * 8) / 8 for size in sizes]


SPLITS = {
    "uneven": [batches(4, 3, 5), batches(4, 6)],
    "one_batch_more": [batches(2, 2, 2), batches(3, 1, 3)],
    "nothing_on_rank_1": [batches(4, 3), []],
    "nothing_on_rank_0": [[], batches(4, 3)],
    "nan_on_rank_1": [batches(4, 3), [np.full(4, np.nan), np.full(2, np.nan)]],
    "some_nan": [[np.array([np.nan, 1.0, 2.0]), np.array([7.0])], [np.array([3.0]), np.array([np.nan, 5.0])]],
}


class Batches(IterableDataset):
    """Batches of values, without a length."""

    def __init__(self, values) -> None:
        self.values = values

    def __iter__(self):
        return iter([(torch.tensor(batch),) for batch in self.values])


def loader(values):
    """Return a loader of batches."""
    return DataLoader(Batches(values), batch_size=None)


def trainer(root, *callbacks, **options):
    """Return a Trainer of two processes that do not wait for each other for long."""
    strategy = DDPStrategy(timeout=PATIENCE)
    return quiet_trainer(root, callbacks=[TrackPlus(), *callbacks], strategy=strategy, devices=2, **options)


def validated(root, parts, *, several=False, logger=False, epoch_end=lambda *_: None, step):
    """Validate a module, and return its metrics and warnings.

    Args:
        root: The folder.
        parts: For each rank, its batches.
        several: Whether these are several dataloaders.
        logger: The logger.
        epoch_end: What the module does at the end of the epoch.
        step: What it does in a step.
    """
    loaders = [loader(one) for one in parts[own_rank()]] if several else loader(parts[own_rank()])
    runner = trainer(root, logger=logger)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        module = LoggingModule(validation_step=step, on_validation_epoch_end=epoch_end)
        runner.validate(module, loaders, verbose=False)
    return {"metrics": numbers(runner.callback_metrics), "warnings": [str(warning.message) for warning in caught]}


def connect(root):
    """Start the other process: a Trainer does it when it first runs."""
    validated(root, [[np.ones(1)]] * 2, step=lambda *_: None)


def split(root, name):
    """Log each reducer with ``sync_dist``."""

    def step(module, values, _):
        module.log("x", values, reduce_fx=list(SPECS.values()), sync_dist=True)

    logger = TrackPlusLogger(root, name=name)
    seen = validated(root, SPLITS[name], logger=logger, step=step)
    logger.finalize("success")
    return seen | {"histogram": bins_in(Path(logger.log_dir)) if own_rank() == 0 else None}


def bins_in(folder):
    """Return the counts of the one histogram in a run directory, by the lower edges."""
    (path,) = [path for path in folder.rglob("*.csv") if path.parent != folder]
    rows = [line.split(",") for line in path.read_text().split()[1:]]
    return {float(low): float(count) for low, _, count in rows}


def alone(root):
    """Use each reducer without a Trainer."""
    results = {}
    for name, spec in SPECS.items():
        for of, parts in (("uneven", SPLITS["uneven"]), ("nothing_on_rank_1", SPLITS["nothing_on_rank_1"])):
            (reducer,) = reducers_of(spec)
            for batch in parts[own_rank()]:
                reducer.update(torch.tensor(batch))
            result = reducer.compute()
            results[f"{of}/{name}"] = (
                {key: one.tolist() for key, one in result.items()} if isinstance(result, dict) else result.item()
            )
            reducer.reset()
    return {"results": results}


def keys(root):
    """Log other keys on each rank, in some epochs, and fork one in steps."""

    def step(module, values, index):
        rank, epoch = module.global_rank, module.current_epoch
        module.log(f"only{rank}", values, reduce_fx=["max", "p50"], sync_dist=True)
        module.log("both", values, reduce_fx="count", sync_dist=True)
        module.log(f"kept{rank}", values, reduce_fx="max", sync_dist=False)
        if epoch % 2 == rank:
            module.log("by_turns", values, reduce_fx="median", sync_dist=True)
        if rank:
            module.log("fork", values, reduce_fx="max", on_step=True, on_epoch=True, sync_dist=True)
            module.log("forks", values, reduce_fx=["max", "count"], on_step=True, on_epoch=True, sync_dist=True)
            module.log("weighed", float(index), reduce_fx="count", batch_size=3, sync_dist=True)

    def training_step(module, values, _):
        if module.global_rank:
            module.log("train_fork", values[:, 0], reduce_fx="max", on_step=True, on_epoch=True, sync_dist=True)
            module.log("train_epoch", values[:1, 0], reduce_fx="count", on_epoch=True, on_step=False, sync_dist=True)

    rows, seen = Rows(), []
    runner = trainer(root, logger=rows, max_epochs=3, limit_train_batches=2, num_sanity_val_steps=1)
    module = LoggingModule(validation_step=step, training_step=training_step)
    module.on_train_epoch_start = lambda: seen.append(numbers(runner.callback_metrics))
    module.on_train_end = lambda: seen.append(numbers(runner.callback_metrics))
    training = loader([np.arange(4.0).reshape(2, 2).astype(np.float32) + own_rank()] * 2)
    runner.fit(module, training, loader(SPLITS["uneven"][own_rank()]))
    return {"epochs": seen[1:], "rows": [numbers(row) for row in rows.rows]}


def a_lambda(root):
    """Log what cannot be sent, on one rank alone."""

    def step(module, values, _):
        module.log("both", values, reduce_fx=["max", lambda x: x.sum()], sync_dist=True)
        if module.global_rank:
            module.log("unsendable", values, reduce_fx=lambda x: x.max(), sync_dist=True)

    return validated(root, SPLITS["uneven"], step=step)


def dataloaders(root):
    """Log for three dataloaders, of which rank 1 has only the middle one, and rank 0 not the last."""
    first, second = SPLITS["uneven"]
    seen = {}
    for name, loaders in {"gaps": [[first, first, []], [[], second, []]], "last": [[first, []], [[], second]]}.items():

        def step(module, values, _):
            module.log("x", values, reduce_fx=["max", "count"], sync_dist=True)
            if module.global_rank:
                module.log("only1", values, reduce_fx="count", sync_dist=True)

        seen[name] = validated(root, loaders, several=True, step=step)
    return seen


def options(root):
    """Log with a group, for rank zero alone, and without ``sync_dist``."""
    connect(root)
    group = distributed.new_group([0, 1], timeout=PATIENCE)
    mine = [distributed.new_group([rank], timeout=PATIENCE) for rank in range(2)][own_rank()]

    def step(module, values, _):
        module.log("group", values, reduce_fx="max", sync_dist=True, sync_dist_group=group)
        module.log("own_group", values, reduce_fx="count", sync_dist=True, sync_dist_group=mine)
        module.log("synced", values, reduce_fx="count", sync_dist=True)
        module.log("local", values, reduce_fx="count")
        module.log("zero", values, reduce_fx="count", sync_dist=True, rank_zero_only=True)

    return validated(root, SPLITS["uneven"], step=step)


def attributes(root):
    """Log reducers that the module has."""

    class Module(LoggingModule):
        def __init__(self) -> None:
            super().__init__()
            self.p95, self.ema = Quantile(0.95), reducers_of("ema(0.5)")[0]

        def validation_step(self, batch, index, dataloader_idx=0):
            self.p95.update(batch[0])
            self.ema.update(batch[0])
            self.log("p95", self.p95)
            self.log("ema", self.ema, sync_dist=True)

    seen = {}
    for name in ("one_batch_more", "nothing_on_rank_1"):
        runner = trainer(root)
        module = Module()
        for _ in range(2):
            runner.validate(module, loader(SPLITS[name][own_rank()]), verbose=False)
        seen[name] = numbers(runner.callback_metrics)
    return seen


def metric_results(root):
    """Log metrics whose result is a dict, and a curve, of another number of batches on each rank."""

    class Module(LoggingModule):
        def __init__(self) -> None:
            super().__init__()
            self.classes, self.roc = ClasswiseWrapper(MulticlassAccuracy(2, average=None)), BinaryROC(thresholds=5)

        def validation_step(self, batch, index, dataloader_idx=0):
            hits, scores = (batch[0] > 1).long(), batch[0] / 10
            self.classes.update(torch.zeros_like(hits), hits)
            self.roc.update(scores, hits)
            self.log_dict({"classes": self.classes, "roc": self.roc})

    logger = TrackPlusLogger(root)
    runner = trainer(root, logger=logger)
    runner.validate(Module(), loader(SPLITS["uneven"][own_rank()]), verbose=False)
    logger.finalize("success")
    return {"metrics": numbers(runner.callback_metrics), "curves": [path.name for path in root.rglob("*.png")]}


def monitored(root):
    """Stop and save by a synced result that falls on one rank and rises on the other."""

    def step(module, values, _):
        value = [5.0, 4.0, 3.0, 2.0, 1.0] if module.global_rank else [5.0, 3.0, 9.0, 10.0, 11.0]
        module.log("score", value[module.current_epoch] + values * 0, reduce_fx="p50", sync_dist=True)

    checkpoint = ModelCheckpoint(root, "{epoch}", monitor="score")
    runner = trainer(
        root,
        EarlyStopping("score", patience=2),
        checkpoint,
        max_epochs=5,
        enable_checkpointing=True,
        num_sanity_val_steps=0,
    )
    runner.fit(LoggingModule(validation_step=step), _training(), loader([np.ones(3)]))
    return {"epochs": runner.current_epoch, "best": Path(checkpoint.best_model_path).name}


def epoch_ends(root):
    """Log in the hooks at the ends of epochs."""

    def log(prefix, module, *_):
        module.log(
            f"{prefix}_values", torch.arange(3.0) + 10 * own_rank(), reduce_fx=["median", "count"], sync_dist=True
        )
        module.log(f"{prefix}_local", torch.arange(3.0) + 10 * own_rank(), reduce_fx="median")
        module.log(f"{prefix}_native", float(own_rank()), sync_dist=True)
        module.log(f"{prefix}_number", float(own_rank()), reduce_fx="std", sync_dist=True)

    hooks = {
        "on_validation_epoch_end": functools.partial(log, "val"),
        "on_train_epoch_end": functools.partial(log, "train"),
        "validation_step": lambda *_: None,
    }
    runner = trainer(root, max_epochs=2)
    runner.fit(LoggingModule(**hooks), _training(), loader([np.ones(3)]))
    return {"metrics": numbers(runner.callback_metrics)}


def _training(count=2):
    return loader([np.ones((2, 2), dtype=np.float32)] * count)


def counted(root):
    """Count the collectives in ``self.log`` and in our ends of epochs."""
    connect(root)
    seen, where = Counter(), ["elsewhere"]

    def counting(function):
        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            seen[where[-1] + (" in pairs" if function.__name__ == "batch_isend_irecv" else "")] += 1
            return function(*args, **kwargs)

        return wrapped

    def within(place, function, *args, **kwargs):
        where.append(place)
        try:
            return function(*args, **kwargs)
        finally:
            where.pop()

    def step(module, values, _):
        for index in range(20):
            arguments = {"reduce_fx": ["p95", "std", "max"], "sync_dist": True}
            within("log", module.log, f"key{index}", values.flatten(), **arguments)
            if module.trainer.training:
                within("log", module.log, f"fork{index}", values.flatten(), on_epoch=True, on_step=True, **arguments)
        within("native log", module.log, "native", 1.0, on_step=True, on_epoch=False, sync_dist=True)

    c10d = sys.modules["torch.distributed.distributed_c10d"]
    inner = [
        "all_gather",
        "all_gather_into_tensor",
        "all_reduce",
        "broadcast",
        "reduce",
        "gather",
        "barrier",
        "scatter",
        "batch_isend_irecv",
    ]
    kept = {(place, name): getattr(place, name) for place in (c10d, distributed) for name in inner}
    wrapped = {name: counting(getattr(c10d, name)) for name in inner}
    for place, name in kept:
        setattr(place, name, wrapped[name])
    try:
        runner = trainer(root, max_epochs=2, num_sanity_val_steps=0)
        track = next(callback for callback in runner.callbacks if isinstance(callback, TrackPlus))
        for hook in ("on_validation_epoch_end", "on_train_epoch_end"):
            setattr(track, hook, functools.partial(within, hook, getattr(track, hook)))
        runner.fit(LoggingModule(training_step=step, validation_step=step), _training(), loader([np.arange(5000.0)]))
        where.append("nothing")
        trainer(root).validate(LoggingModule(), loader([np.ones(1)]), verbose=False)
    finally:
        for (place, name), function in kept.items():
            setattr(place, name, function)
    return {"seen": dict(seen), "keys": len(runner.callback_metrics)}


def rank_zero_at_epoch_end(root):
    """Log at an epoch's end on rank zero alone, as ``rank_zero_only`` is meant for, and without ``sync_dist``."""

    def epoch_end(module, *_):
        if module.global_rank == 0:
            module.log("zero", torch.arange(3.0), reduce_fx="max", rank_zero_only=True)

    return validated(root, SPLITS["uneven"], step=lambda *_: None, epoch_end=epoch_end)


def one_rank_at_epoch_end(root):
    """Log at an epoch's end on rank 1 alone, and exchange nothing."""

    def epoch_end(module, *_):
        if module.global_rank == 1:
            module.log("one", torch.arange(3.0), reduce_fx="max")

    return validated(root, SPLITS["uneven"], step=lambda *_: None, epoch_end=epoch_end)


def several_groups(root):
    """Log with eight groups of both processes."""
    connect(root)
    groups = [distributed.new_group([0, 1], timeout=PATIENCE) for _ in range(8)]

    def step(module, values, _):
        for index, group in enumerate(groups):
            module.log(f"group{index}", values, reduce_fx="max", sync_dist=True, sync_dist_group=group)

    return validated(root, SPLITS["uneven"], step=step)


def a_group_and_nothing_on_a_rank(root):
    """Log with a group of both processes, of which one has no batch."""
    connect(root)
    group = distributed.new_group([0, 1], timeout=PATIENCE)

    def step(module, values, _):
        module.log("group", values, reduce_fx="max", sync_dist=True, sync_dist_group=group)

    return validated(root, SPLITS["nothing_on_rank_1"], step=step)


def groups_in_other_orders(root):
    """Log with groups of both processes at the end of an epoch, in another order in each."""
    connect(root)
    groups = [distributed.new_group([0, 1], timeout=PATIENCE) for _ in range(2)]

    def epoch_end(module, *_):
        for index in range(2) if own_rank() == 0 else reversed(range(2)):
            value = torch.arange(3.0) + own_rank()
            module.log(f"group{index}", value, reduce_fx="max", sync_dist=True, sync_dist_group=groups[index])

    return validated(root, SPLITS["uneven"], step=lambda *_: None, epoch_end=epoch_end)


def asked_early(root):
    """Ask for results in one rank at a time at which more is still to be logged, as a progress bar does."""

    class LogsAndAsks(Callback):
        def on_train_epoch_end(self, runner, module):
            module.log("first", torch.arange(3.0) + own_rank(), reduce_fx="median", sync_dist=True)
            if own_rank() == 0:
                numbers(runner.callback_metrics)

    def epoch_end(module, *_):
        for name in ("second", "third"):
            module.log(name, torch.arange(3.0) + own_rank(), reduce_fx="max", sync_dist=True)

    runner = trainer(root, LogsAndAsks(), max_epochs=2)
    runner.fit(LoggingModule(on_train_epoch_end=epoch_end), _training())
    return {"metrics": numbers(runner.callback_metrics)}


def a_trainer_of_one_process(root):
    """Use a Trainer of one process in one rank, beside one that both share."""
    connect(root)
    if own_rank() == 1:
        return {}

    def step(module, batch, _):
        module.log("p95", batch[:, 0], reduce_fx="p95", sync_dist=True, on_step=False, on_epoch=True)
        shades = Image(batch[:, :1, None, None].expand(-1, 1, 2, 2), score=batch[:, 0])
        module.log("hard", shades, reduce_fx="top1", on_step=False, on_epoch=True)

    def epoch_end(module, *_):
        module.log("late", torch.arange(3.0), reduce_fx="max", sync_dist=True)

    runner = quiet_trainer(root, callbacks=[TrackPlus()], logger=TrackPlusLogger(root), enable_checkpointing=True)
    runner.fit(LoggingModule(training_step=step, on_train_epoch_end=epoch_end), _training())
    runner.logger.finalize("success")
    return {"metrics": numbers(runner.callback_metrics), "media": len(list(root.rglob("*.png")))}


def odd_names(root):
    """Log under names of a class that cannot be sent."""

    class Name(str):
        __slots__ = ()

    def step(module, values, _):
        module.log(Name("x"), values, reduce_fx=["max", "count"], sync_dist=True)

    return validated(root, SPLITS["uneven"], step=step)


def reducers_of_groups(root):
    """Compute reducers of the module in groups: of both processes, and of one alone; and one that one rank has."""
    connect(root)
    both, other = (distributed.new_group(ranks, timeout=PATIENCE) for ranks in ([0, 1], [1]))

    class Module(LoggingModule):
        def __init__(self) -> None:
            super().__init__()
            self.of_both, self.own = Quantile(0.5), Quantile(0.5)
            self.of_both.process_group = both

        def validation_step(self, batch, index, dataloader_idx=0):
            self.of_both.update(batch[0])
            self.log("of_both", self.of_both)
            if own_rank():
                self.own.update(batch[0])
                self.log("own", self.own)

    alone = Quantile(0.5)
    alone.process_group = other
    alone.update(float(own_rank()))
    runner = trainer(root)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        runner.validate(Module(), loader(SPLITS["uneven"][own_rank()]), verbose=False)
    return {
        "metrics": numbers(runner.callback_metrics),
        "alone": alone.compute().item(),
        "warnings": [str(one.message) for one in caught if "sync_dist=True" in str(one.message)],
    }


PARTS = {f"split:{name}": functools.partial(split, name=name) for name in SPLITS} | {
    part.__name__: part
    for part in (
        alone,
        keys,
        a_lambda,
        dataloaders,
        options,
        attributes,
        metric_results,
        monitored,
        epoch_ends,
        counted,
        rank_zero_at_epoch_end,
        one_rank_at_epoch_end,
        several_groups,
        a_group_and_nothing_on_a_rank,
        groups_in_other_orders,
        asked_early,
        a_trainer_of_one_process,
        odd_names,
        reducers_of_groups,
        uneven_training,
        paired_runs,
    )
}


def run_parts(_say: Callable[[object], None], root: Path) -> None:
    """Do all parts, as one of two processes."""
    L.seed_everything(0)
    connect(root)
    for name, part in PARTS.items():
        try:
            report = part(root / name.replace(":", "_"))
        except Exception:  # noqa: BLE001  the test shows it
            report = {"error": traceback.format_exc()}
        Path(root, f"{name}{own_rank()}.json").write_text(json.dumps(report))
        if "error" in report:
            # What hangs in the other process ends with it.
            os._exit(1)
    leave()
