"""Metric objects in training give what they give without TrackPlus, where nobody asks for results before Lightning."""

from __future__ import annotations

import warnings

import pytest
import torch
import torchmetrics
from packaging.version import Version
from torch._subclasses.fake_tensor import FakeTensorMode
from torchmetrics import MeanMetric, Metric, MetricCollection, R2Score, SumMetric
from torchmetrics.classification import BinaryAUROC, BinaryAveragePrecision, MulticlassAccuracy

from tests.flavour.pytorch.loggers import CSVLogger
from tests.support.paired_runs import WAYS, exact
from tests.support.training import LoggingModule, loader, quiet_trainer

needs_torchmetrics_1_6_3 = pytest.mark.skipif(
    Version(torchmetrics.__version__) < Version("1.6.3"),
    reason="Earlier ones have no merge_state, or lose lists that metrics of a collection share, without TrackPlus too",
)


class WithMetrics(LoggingModule):
    """Has metrics, by name, and hooks that take the module, the batch and its index."""

    def __init__(self, metrics, **hooks):
        super().__init__(**hooks)
        self.metrics = torch.nn.ModuleDict(metrics)


def seen(tmp_path, way, make, val=None, **options):
    """Train in one of the ways, and return what there is to see at the end."""
    folder = tmp_path / way
    trainer = quiet_trainer(
        folder, callbacks=[one() for one in WAYS[way]], **{"max_epochs": 3, "logger": CSVLogger(folder), **options}
    )
    error = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            trainer.fit(make(), loader(12), val)
        except Exception as raised:  # noqa: BLE001  what it is, is compared
            error = repr(raised)
    texts = [str(one.message) for one in caught if "Checkpoint directory" not in str(one.message)]
    values = {name: value.tolist() for name, value in trainer.callback_metrics.items()}
    return {"error": error, "metrics": exact(trainer.callback_metrics), "values": values, "warnings": texts}


def same(tmp_path, make, val=None, **options):
    """Train in each way, show that all is the same, and return it."""
    without, closed, opened = (seen(tmp_path, way, make, val, **options) for way in ("without", "closed", "open"))
    assert closed == without
    assert opened == without
    return without


def logging(metric, *, before=None, **options):
    """Return a step that updates a metric with one more each time, and logs it."""

    def step(module, batch, index):
        if before is not None:
            before(module)
        module.metrics[metric].update(torch.tensor(1.0, dtype=torch.float64) / (index + 3))
        module.log("x", module.metrics[metric], on_step=False, on_epoch=True, **options)

    return step


def test_a_metric_of_another_dtype(tmp_path):
    """Lightning's way of moving a metric lets it forget the dtype that it was given."""

    def make():
        module = WithMetrics({"mean": MeanMetric()}, training_step=logging("mean"))
        module.on_fit_start = lambda: module.metrics["mean"].set_dtype(torch.float64)
        return module

    assert same(tmp_path, make)["error"] is None


@needs_torchmetrics_1_6_3
def test_lists_that_metrics_of_a_collection_share(tmp_path):
    """Lightning gives the one that is logged lists of its own."""

    def step(module, batch, index):
        generator = torch.Generator().manual_seed(module.global_step)
        module.collection.update(torch.rand(8, generator=generator), torch.randint(0, 2, (8,), generator=generator))
        module.log("x", module.collection.BinaryAveragePrecision, on_step=False, on_epoch=True)

    def make():
        module = WithMetrics({}, training_step=step)
        module.collection = MetricCollection([BinaryAUROC(), BinaryAveragePrecision()])
        return module

    assert same(tmp_path, make)["error"] is None


def test_lists_on_another_device_than_their_metric(tmp_path):
    """With each call, Lightning brings them to the metric; a fake device shows it without a GPU."""
    fake = FakeTensorMode()
    devices = []

    class Elsewhere(Metric):
        full_state_update = False

        def __init__(self):
            super().__init__()
            self.add_state("values", [], dist_reduce_fx="cat")

        def update(self, value):
            with fake:
                self.values.append(torch.empty(2, device="cuda"))

        def compute(self):
            devices[-1].append([value.device.type for value in self.values])
            return torch.tensor(float(len(self.values)))

    def make():
        devices.append([])
        return WithMetrics({"far": Elsewhere()}, training_step=logging("far"))

    assert same(tmp_path, make)["error"] is None
    assert devices[2] == devices[0] == [["cpu"] * 3] * 3


@pytest.mark.parametrize("name", ["to", "_apply"])
def test_a_metric_that_moves_in_a_way_of_its_own(tmp_path, name):
    """Its own way is called as often as without TrackPlus, with each call of ``log``."""

    class Moved(SumMetric):
        def to(self, *args, **kwargs):
            return self._noted("to", *args, **kwargs)

        def _apply(self, *args, **kwargs):
            return self._noted("_apply", *args, **kwargs)

        def _noted(self, way, *args, **kwargs):
            if way == name:
                self.sum_value = self.sum_value + 100
            return getattr(super(), way)(*args, **kwargs)

    if name == "to":
        del Moved._apply
    else:
        del Moved.to

    found = same(tmp_path, lambda: WithMetrics({"moved": Moved()}, training_step=logging("moved")))
    assert found["values"]["x"] > 200


def test_a_state_that_is_no_tensor(tmp_path):
    """Lightning says so in the step in which it became one."""

    class Wrong(Metric):
        full_state_update = False

        def __init__(self):
            super().__init__()
            self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

        def update(self, value):
            self.count = int(self.count) + 1 if int(self.count) > 1 else self.count + 1

        def compute(self):
            return torch.tensor(float(self.count))

    found = same(tmp_path, lambda: WithMetrics({"wrong": Wrong()}, training_step=logging("wrong")))
    assert "but encountered 3" in found["error"]


@needs_torchmetrics_1_6_3
@pytest.mark.parametrize("hook", ["training_step", "on_train_epoch_end"])
def test_states_that_change_without_an_update(tmp_path, hook):
    """What is merged in the hook that ends the epoch counts."""

    def merge(module, batch=None, index=None):
        if hook == "on_train_epoch_end":
            module.metrics["sum"].update(1.0)
            module.log("x", module.metrics["sum"])
        module.metrics["sum"].merge_state({"sum_value": torch.tensor(100.0)})

    hooks = {"on_train_epoch_end": merge}
    if hook == "training_step":
        hooks["training_step"] = logging("sum")
    found = same(tmp_path, lambda: WithMetrics({"sum": SumMetric()}, **hooks))
    assert found["values"]["x"] > 100


def test_a_metric_that_has_its_values_at_the_end_of_the_epoch_alone(tmp_path):
    """It is asked for by nobody before."""

    def step(module, batch, index):
        module.log("x", module.metrics["auroc"], on_step=False, on_epoch=True)

    def end(module, batch, index):
        module.metrics["auroc"].update(torch.tensor([0.1, 0.9, 0.4]), torch.tensor([0, 1, 1]))

    make = lambda: WithMetrics({"auroc": BinaryAUROC()}, training_step=step, on_train_epoch_end=end)  # noqa: E731
    assert same(tmp_path, make)["error"] is None


def test_a_sanity_check_that_is_too_short_for_a_metric(tmp_path):
    """Of several dataloaders, Lightning asks for no result there."""

    class Module(WithMetrics):
        def validation_step(self, batch, index, dataloader_idx=0):
            metric = self.metrics[str(dataloader_idx)]
            metric.update(batch[0][:, 0], batch[0][:, 1] + 1)
            self.log("r2", metric)

    make = lambda: Module({"0": R2Score(), "1": R2Score()})  # noqa: E731
    val = [loader(3, batch_size=1), loader(4, batch_size=1)]
    assert same(tmp_path, make, val, num_sanity_val_steps=1)["error"] is None


@pytest.mark.parametrize("hook", ["training_step", "on_train_epoch_end", "on_validation_epoch_end"])
def test_a_metric_without_an_update(tmp_path, hook):
    """Its warning comes as often as without TrackPlus."""

    def say(module, batch, index):
        module.log("x", module.metrics["sum"], on_step=False, on_epoch=True)

    found = same(tmp_path, lambda: WithMetrics({"sum": SumMetric()}, **{hook: say}), loader(4))
    assert sum("was called before the ``update``" in text for text in found["warnings"]) >= 3


@pytest.mark.parametrize("options", [{"logger": False}, {}])
def test_an_array_that_neither_loggers_nor_the_progress_bar_get(tmp_path, options):
    """Lightning keeps it as it is."""

    def step(module, batch, index):
        metric = module.metrics["accuracy"]
        metric(torch.tensor([0, 1, 2, 1]), torch.tensor([0, 1, 1, 1]))
        module.log("x", metric, on_step=True, on_epoch=True, **options)

    make = lambda: WithMetrics({"accuracy": MulticlassAccuracy(3, average=None)}, training_step=step)  # noqa: E731
    found = same(tmp_path, make, **({} if options else {"logger": False}))
    assert list(found["values"]) == ["x", "x_step", "x_epoch"]
