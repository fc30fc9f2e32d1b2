"""A training whose values are those of its batches, and that can go on from any of its checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from lightning_trackplus import TrackPlus
from lightning_trackplus.reducers.ema import EMA
from lightning_trackplus.reducers.first_last import Last
from lightning_trackplus.reducers.quantile import Quantile
from lightning_trackplus.reducers.running import Running
from tests.flavour.pytorch.callbacks import Callback, ModelCheckpoint
from tests.support.ranks import SPECS
from tests.support.recording import Rows, numbers
from tests.support.training import LoggingModule, leave, loader, quiet_trainer

EPOCHS, BATCHES = 2, 6

SERIES = ["ema(0.3)", "ewm_std(0.3)", "running(3)", "running(2, max)"]
OF_AN_EPOCH = {
    name: spec for name, spec in SPECS.items() if name not in ("ema", "ewm_std", "running", "since_logged", "histogram")
}


def values(epoch, index, rank):
    """Return the values of a batch: two to five, above 0."""
    random = np.random.default_rng([epoch, index, rank])
    return random.gamma(2.0, size=random.integers(2, 6))


class Module(LoggingModule):
    """Logs in each way that a checkpoint has to remember.

    Args:
        hooks: Further hooks, as for `LoggingModule`.
    """

    def __init__(self, **hooks) -> None:
        super().__init__(**hooks)
        self.p95, self.ema, self.last, self.running = Quantile(0.95), EMA(0.3), Last(), Running(3)

    def training_step(self, batch, batch_idx):
        x = torch.tensor(values(self.current_epoch, batch_idx, self.global_rank))
        epoch, both = {"on_step": False, "on_epoch": True}, {"on_step": True, "on_epoch": True}
        self.log("epoch", x, reduce_fx=list(OF_AN_EPOCH.values()), sync_dist=True, **epoch)
        self.log("scalar", x.mean(), reduce_fx=["p95", "count", "last"], sync_dist=True, batch_size=len(x), **epoch)
        self.log("function", x, reduce_fx=order, sync_dist=True, **epoch)
        self.log("local", x, reduce_fx=["p95", "std"], **epoch)
        self.log("plain", x, sync_dist=True, **epoch)
        self.log("series", x, reduce_fx=SERIES, sync_dist=True, **both)
        self.log("since", x, reduce_fx=["since_logged", "since_logged(count)"])
        if batch_idx == 0:
            self.log("begin", x, reduce_fx=["max", "ema(0.3)"], sync_dist=True, **epoch)
        for name in ("p95", "ema", "last", "running"):
            reducer = getattr(self, name)
            reducer.update(x)
            self.log(f"own_{name}", reducer, sync_dist=True, **(epoch if reducer.span == "epoch" else both))
        return super().training_step(batch, batch_idx)


def order(x):
    """Return a number that the order of the values changes."""
    return (x * torch.arange(1, len(x) + 1)).sum()


class Save(Callback):
    """Saves a checkpoint in some hooks, named by hook and step.

    Args:
        hooks: The hooks.
    """

    def __init__(self, *hooks: str) -> None:
        for hook in hooks:
            setattr(self, hook, lambda trainer, *_, hook=hook: save(trainer, hook))


def save(trainer, name):
    """Save a checkpoint, named by the steps that were trained."""
    trainer.save_checkpoint(Path(trainer.default_root_dir, f"{name}-{trainer.global_step}.ckpt"))


def train(root, *callbacks, ckpt_path=None, track=None, module=None, **options):
    """Train, and return the Trainer and the rows that were logged."""
    rows = Rows()
    callbacks = [TrackPlus() if track is None else track, *callbacks]
    options = {"max_epochs": EPOCHS, "log_every_n_steps": 2, "num_sanity_val_steps": 0, **options}
    trainer = quiet_trainer(root, callbacks=callbacks, logger=rows, use_distributed_sampler=False, **options)
    trainer.fit(module or Module(), loader(2 * BATCHES, 2), ckpt_path=ckpt_path)
    return trainer, [numbers(row) for row in rows.rows]


def every_step(root):
    """Return what saves a checkpoint after each batch."""
    return ModelCheckpoint(root, "{step}", every_n_train_steps=1, save_top_k=-1, save_on_train_epoch_end=False)


def in_two_processes(say, root: Path) -> None:
    """Train as one of two processes over gloo, then go on from some checkpoints, and say the rows of each."""
    options = {"devices": 2, "strategy": "ddp"}
    _, whole = train(root, every_step(root), Save("on_train_epoch_end"), enable_checkpointing=True, **options)
    say(("whole", whole))
    for name in ("step=1", "step=4", "step=9", "on_train_epoch_end-6", "of_one_process"):
        say((name, train(root, ckpt_path=root / f"{name}.ckpt", **options)[1]))
    leave()
