"""What any number of processes over gloo log, each with another part of the data."""

from __future__ import annotations

import datetime
import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed

from lightning_trackplus import Image, Media, Reducer, TrackPlus, TrackPlusLogger
from lightning_trackplus.reducers import Histogram, Quantile
from lightning_trackplus.runtime.distributed import gather_objects
from lightning_trackplus.runtime.reduce_states import all_reduce_states
from tests.flavour.pytorch.strategies import DDPStrategy
from tests.support.recording import numbers
from tests.support.training import LoggingModule, leave, loader, quiet_trainer

REDUCTIONS = ["mean", "sum", "std", "min", "max", "count", "median", "p95", "first", "last"]


def values(rank: int, step: int) -> np.ndarray:
    """Return the values of a batch; the last rank but one has none."""
    random = np.random.default_rng([rank, step])
    return random.gamma(2.0, size=random.integers(1, 40)) if rank != idle(world()) else np.empty(0)


def world() -> int:
    """Return how many ranks there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def idle(count: int) -> int:
    """Return the rank that logs nothing."""
    return count - 2


def order(x: torch.Tensor) -> torch.Tensor:
    """Return a number that the order of the values changes."""
    return (x * torch.arange(1, len(x) + 1)).sum()


def step(module: Any, _batch: Any, index: int) -> None:
    """Log all kinds of things, in some of the ranks."""
    rank, x = module.global_rank, torch.from_numpy(values(module.global_rank, index))
    if not len(x):
        return
    module.log("x", x, reduce_fx=REDUCTIONS, sync_dist=True)
    module.log("order", x, reduce_fx=order, sync_dist=True)
    module.log("local", x, reduce_fx="count")
    shades = Image(x.float().clamp(0, 8)[:, None, None, None].expand(-1, 1, 2, 2) / 8, [f"{rank}"] * len(x), x)
    module.log("hard", shades, reduce_fx=["top5", "bottom3", "first4"])
    if rank % 2:
        module.log("odd", x, reduce_fx="p95", sync_dist=True)
        module.log("sent", x, reduce_fx=lambda x: x.max(), sync_dist=True)


def validate(_say: Callable[[object], None], root: Path) -> None:
    """Validate as one of several ranks, and leave what this rank saw."""
    rank = int(os.environ["LOCAL_RANK"])
    objects: dict[str, Any] = {}
    logger = TrackPlusLogger(root, name="", version="run")
    strategy = DDPStrategy(timeout=datetime.timedelta(seconds=100))
    trainer = quiet_trainer(
        root, callbacks=[TrackPlus()], logger=logger, strategy=strategy, devices=world(), use_distributed_sampler=False
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")

        def at_end(module: Any, *_: Any) -> None:
            objects.update(exchanged(rank))
            # Of a group, only its processes have to log.
            group = distributed.new_group([0, 1])
            if rank in (0, 1):
                number = torch.tensor(float(rank))
                module.log("group_median", number, reduce_fx="median", sync_dist=True, sync_dist_group=group)

        module = LoggingModule(validation_step=step, on_validation_epoch_end=at_end)
        trainer.validate(module, loader(2, 1), verbose=False)
    report = {
        "metrics": numbers(trainer.callback_metrics),
        "warnings": [str(one.message) for one in caught if "'sent'" in str(one.message)],
        **objects,
    }
    Path(root, f"{rank}.json").write_text(json.dumps(report))
    leave()


class Unpicklable(Media):
    """A medium that cannot reach another process."""

    kind = "odd"
    suffix = ".odd"

    def __init__(self) -> None:
        super().__init__([lambda: None], score=100.0)

    def snapshot_item(self, item):
        return item

    def encode_item(self, item):
        return b"odd"


def disagreements(module: Any, _batch: Any, _index: int) -> dict[str, Callable[[], None]]:
    """Return what processes can log that does not fit together, by name."""
    rank, x = module.global_rank, torch.ones(3)
    edges = [0.0, 1.0, 2.0, 3.0] if rank == 1 else [0.0, 1.0, 2.0]
    return {
        "reducers": lambda: module.log("x", x, reduce_fx=["mean", "p95"] if rank == 1 else ["std"], sync_dist=True),
        "parameters": lambda: module.log("x", x, reduce_fx=Histogram(edges), sync_dist=True),
        "breaks": lambda: module.log("x", x, reduce_fx=BreaksOnTwo(), sync_dist=True),
        "unsynced": lambda: module.log(
            "x", x / (rank != 1) - x / (rank != 1), reduce_fx=Quantile(0.5, nan_policy="raise")
        ),
        "media": lambda: module.log("odd", Unpicklable(), reduce_fx="top1") if rank == 1 else None,
    }


class BreaksOnTwo(Reducer):
    """Cannot merge the states of the third process and its partner."""

    name = "breaks"

    def summarize(self, samples):
        return np.array([float(distributed.get_rank())])

    def merge(self, left, right):
        if left[0] == 2 and right[0] == 3:
            raise ZeroDivisionError("on purpose")
        return np.maximum(left, right) if len(left) else right

    def result(self, state):
        return state[0]


def disagree(_say: Callable[[object], None], root: Path, case: str) -> None:
    """Log what does not fit together, and leave what this rank says of it."""
    strategy = DDPStrategy(timeout=datetime.timedelta(seconds=20))
    logger = TrackPlusLogger(root / "run")
    trainer = quiet_trainer(root, callbacks=[TrackPlus()], logger=logger, strategy=strategy, devices=world())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            step = lambda *args: disagreements(*args)[case]()  # noqa: E731
            trainer.validate(LoggingModule(validation_step=step), loader(world(), 1), verbose=False)
            report = [str(one.message) for one in caught if "cannot be sent" in str(one.message)]
        except Exception as error:  # noqa: BLE001  it is what the test is about
            report = [f"{type(error).__name__}: {error}"]
    Path(root, f"{os.environ['LOCAL_RANK']}.json").write_text(json.dumps(report))
    os._exit(0)


def exchanged(rank: int) -> dict[str, Any]:
    """Send objects in all ways, and return what this rank received."""
    group = distributed.new_group(list(range(1, world())))

    def merged(own: dict[Any, list[int]], group: Any = None) -> dict[str, list[int]]:
        found = all_reduce_states(lambda: own, lambda _, left, right: [*left, *right], group)
        return {str(key): one for key, one in found.items()}

    mine = {"all": [rank], ("own", rank): [rank], ("odd", rank % 2): [rank]}
    return {
        "merged": merged(mine),
        "of_group": merged(mine, group) if rank else {},
        "nothing": merged({}),
        "gathered": {str(sender): one for sender, one in gather_objects(rank * 1000, [0, world() - 1]).items()},
    }
