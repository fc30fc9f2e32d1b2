"""A call that Lightning takes does, with TrackPlus attached, what it does without."""

from __future__ import annotations

import warnings

import pytest
import torch
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.aggregation import MaxMetric

import tests.flavour as L
from lightning_trackplus import TrackPlus
from tests.flavour.pytorch.callbacks import Callback
from tests.support.training import LoggingModule, loader, quiet_trainer


class Everything(L.LightningModule):
    """Uses everything that Lightning's ``log`` offers, in every hook that may log."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.mean_metric = MeanMetric()
        self.collection = MetricCollection({"low": MeanMetric(), "high": MaxMetric()})

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)

    def training_step(self, batch, batch_idx):
        loss = self.layer(batch[0]).pow(2).mean()
        self.log("loss", loss, prog_bar=True)
        self.log("both", loss, on_step=True, on_epoch=True)
        self.log("shape_of_one", loss.reshape(1))
        self.log("epoch_only", loss, on_step=False, on_epoch=True, batch_size=3)
        self.log("positional", loss, True, None, True, True, "max")
        self.log("unlogged", loss, logger=False)
        self.log("python_float", 1.5)
        self.log("integer", 3)
        self.log("graph", loss, enable_graph=True)
        for reduction in ("mean", "avg", "SUM", "min", torch.max, sum):
            self.log(f"by_{getattr(reduction, '__name__', reduction)}", loss, on_epoch=True, reduce_fx=reduction)
        self.mean_metric(loss)
        self.log("metric", self.mean_metric, on_step=True, on_epoch=True)
        self.log_dict({"dict/a": loss, "dict/b": 2 * loss}, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        value = batch[0].sum() + batch_idx
        self.log("val", value, prog_bar=True, sync_dist=True)
        self.log("val_step", value, on_step=True, on_epoch=False)
        self.log(f"own_name_{dataloader_idx}", value, add_dataloader_idx=False)
        self.log_dict(self.collection(value), on_epoch=True)

    def on_train_start(self):
        self.log("started", 1.0)

    def on_before_optimizer_step(self, optimizer):
        self.log("before_step", 2.0)

    def on_train_epoch_end(self):
        self.log("train_end", torch.tensor(3.0), prog_bar=True)

    def on_validation_epoch_end(self):
        self.log("val_end", 4.0, rank_zero_only=True)


class Watcher(Callback):
    """Logs through its own ``log``, and notes what can be seen after every batch and epoch."""

    def __init__(self) -> None:
        self.seen: list[dict[str, dict[str, object]]] = []

    def on_train_batch_end(self, trainer, *args):
        self.log("from_callback", 5.0)
        self._note(trainer)

    def on_validation_end(self, trainer, module):
        self._note(trainer)

    def on_train_end(self, trainer, module):
        self._note(trainer)

    def _note(self, trainer) -> None:
        self.seen.append(
            {
                kind: {name: _plain(value) for name, value in getattr(trainer, kind).items()}
                for kind in ("callback_metrics", "logged_metrics", "progress_bar_metrics")
            }
        )


def _plain(value):
    return (value.dtype, value.item()) if isinstance(value, torch.Tensor) else value


def _run(tmp_path, callbacks, **options):
    L.seed_everything(1, verbose=False)
    watcher = Watcher()
    trainer = quiet_trainer(tmp_path, callbacks=[*callbacks, watcher], max_epochs=2, **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(Everything(), loader(), [loader(), loader(6)])
    return watcher.seen, sorted({str(warning.message) for warning in caught})


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"accumulate_grad_batches": 2, "log_every_n_steps": 3},
        {"val_check_interval": 1, "logger": True, "precision": "bf16-mixed"},
        {"fast_dev_run": True},
    ],
    ids=str,
)
def test_everything_that_log_offers_is_as_without_trackplus(tmp_path, options):
    """All metrics, at every batch and epoch end, and all warnings are equal with the callback and without it."""
    without, warnings_without = _run(tmp_path / "without", [], **options)
    attached, warnings_attached = _run(tmp_path / "attached", [TrackPlus()], **options)
    assert len(without) > 1
    assert attached == without
    assert warnings_attached == warnings_without


@pytest.mark.parametrize(
    "call",
    [
        lambda m, b, i: m.log("x", [1.0, "2.0"]),
        lambda m, b, i: m.log("x", {1, 2}),
        lambda m, b, i: m.log("x", None),
        lambda m, b, i: m.log("x", None, reduce_fx="p95"),
        lambda m, b, i: m.log("x", 1.0, on_step=False, on_epoch=False),
        lambda m, b, i: m.log("x/dataloader_idx_3", 1.0),
        lambda m, b, i: m.log("x", MeanMetric()),
        lambda m, b, i: m.log("x", 1.0, no_such_argument=1),
        lambda m, b, i: m.log("x"),
        lambda m, b, i: m.log("x", 1.0, name="y"),
        lambda m, b, i: (m.log("x", 1.0), m.log("x", 1.0, prog_bar=True)),
    ],
)
def test_what_lightning_refuses_is_refused_in_the_same_words(tmp_path, call):
    """A wrong call raises the same error, with the same message, with the callback and without it."""
    errors = []
    for callbacks in ([], [TrackPlus()]):
        trainer = quiet_trainer(tmp_path, callbacks=callbacks)
        with pytest.raises(Exception) as caught:
            trainer.fit(LoggingModule(training_step=call), loader())
        errors.append((type(caught.value), str(caught.value)))
    assert errors[0] == errors[1]
