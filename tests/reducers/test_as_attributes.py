"""Reducers as torchmetrics metrics: attributes of a module that are updated and logged."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pandas
import pytest
import torch
from torchmetrics import MetricCollection

import tests.flavour as L
from lightning_trackplus import TrackPlus, TrackPlusLogger
from lightning_trackplus.reducers import EMA, IQR, Histogram, Max, Mean, Quantile, Std, Sum, TopK
from tests.flavour.fabric.utilities.exceptions import MisconfigurationException
from tests.flavour.pytorch.callbacks import ModelCheckpoint
from tests.support.recording import Rows, Shown, numbers
from tests.support.training import LoggingModule, loader, quiet_trainer

NUMBERS = np.arange(10.0)
BATCHES = np.split(NUMBERS, [4, 8])
ORACLES = {
    "mean": (Mean, np.mean),
    "sum": (Sum, np.sum),
    "max": (Max, np.max),
    "std": (Std, lambda values: np.std(values, ddof=1)),
    "median": (lambda: Quantile(0.5), np.median),
    "p95": (lambda: Quantile(0.95), lambda values: np.quantile(values, 0.95)),
}


class Module(LoggingModule):
    """A module with one reducer."""

    def __init__(self, reducer, **hooks):
        super().__init__(**hooks)
        self.reducer = reducer


def update_and_log(name="x", **options):
    """Return a step that updates the reducer with a value for each sample, and logs it."""

    def step(module, batch, index):
        module.reducer.update(batch[:, 0] + 100 * module.current_epoch)
        module.log(name, module.reducer, **options)

    return step


def forward_and_log(name="x", **options):
    """Return a step that calls the reducer as a function, and logs it."""

    def step(module, batch, index):
        module.reducer(batch[:, 0] + 100 * module.current_epoch)
        module.log(name, module.reducer, **options)

    return step


def callbacks_of(attached, *others):
    """Return a Trainer's callbacks, TrackPlus among them or not."""
    return [*([TrackPlus()] if attached else []), *others]


def fitted(tmp_path, module, *, attached=True, callbacks=(), **options):
    """Train over two epochs; return the Trainer and its rows."""
    rows = Rows()
    trainer = quiet_trainer(
        tmp_path, callbacks=callbacks_of(attached, *callbacks), **{"logger": rows, "max_epochs": 2, **options}
    )
    trainer.fit(module, loader(), loader())
    return trainer, rows


class Several(LoggingModule):
    """A module with a reducer of each kind, of which a step logs the results under their names."""

    def __init__(self, hook, *, forward, **options):
        super().__init__(**{hook: self._update_and_log})
        self.reducers = torch.nn.ModuleDict({name: make() for name, (make, _) in ORACLES.items()})
        self.forward_of = forward
        self.options = options

    def _update_and_log(self, _module, batch, _index):
        for name, reducer in self.reducers.items():
            give = reducer if self.forward_of else reducer.update
            give(batch[:, 0] + 100 * self.current_epoch)
            self.log(name, reducer, **self.options)


@pytest.mark.parametrize("attached", [True, False])
@pytest.mark.parametrize("forward", [False, True], ids=["update", "forward"])
def test_attributes_log_each_epoch_of_validation_alone(tmp_path, forward, attached):
    """With TrackPlus and without, the epoch's values count, and the next epoch begins anew."""
    trainer, rows = fitted(tmp_path, Several("validation_step", forward=forward), attached=attached)
    shown = numbers(trainer.callback_metrics)
    assert shown.keys() == ORACLES.keys()
    for name, (_, oracle) in ORACLES.items():
        expected = {2: oracle(NUMBERS), 5: oracle(NUMBERS + 100)}
        assert rows.series(name) == pytest.approx(expected, rel=1e-6)
        assert shown[name] == pytest.approx(expected[5], rel=1e-13)


@pytest.mark.parametrize("attached", [True, False])
def test_forward_in_training_forks_into_steps_and_epochs(tmp_path, attached):
    """The step shows its own values, the epoch all of them, under Lightning's two names."""
    module = Several("training_step", forward=True, on_step=True, on_epoch=True)
    _, rows = fitted(tmp_path, module, attached=attached)
    for name, (_, oracle) in ORACLES.items():
        steps = [oracle(batch + 100 * epoch) for epoch in range(2) for batch in BATCHES]
        assert list(rows.series(f"{name}_step").values()) == pytest.approx(steps, rel=1e-6)
        assert rows.series(f"{name}_epoch") == pytest.approx({2: oracle(NUMBERS), 5: oracle(NUMBERS + 100)}, rel=1e-6)


def test_a_second_fit_of_the_module_has_values_of_its_own(tmp_path):
    """With another Trainer and the same attributes, an epoch shows nothing of the first fit's."""

    def validate(module, batch, index):
        module.smooth.update(batch[:, 0])
        module.log("v", module.smooth)

    module = Module(Sum(), training_step=update_and_log(on_step=False, on_epoch=True), validation_step=validate)
    module.smooth = EMA(0.5)
    shown = [numbers(fitted(tmp_path, module, max_epochs=1)[0].callback_metrics) for _ in range(2)]
    # Batches of 0 … 3, 4 … 7 and 8, 9, of which each step's mean counts half as much as the next one's.
    assert shown == [{"x": 45.0, "v": pytest.approx((1.5 + 2 * 5.5 + 4 * 8.5) / 7)}] * 2


@pytest.mark.parametrize("options", [{}, {"on_step": True, "on_epoch": True}, {"on_step": False, "on_epoch": True}])
@pytest.mark.parametrize("hook", ["training_step", "validation_step"])
def test_with_trackplus_an_attribute_shows_what_it_shows_without(tmp_path, hook, options):
    """All three collections of metrics are key by key those of a run without TrackPlus."""
    shown = [Shown("on_train_batch_end", "on_validation_batch_end", "on_validation_end", "on_train_end") for _ in "ab"]
    for one, attached in zip(shown, (True, False), strict=True):
        step = forward_and_log(prog_bar=True, **options)
        fitted(tmp_path, Module(Quantile(0.9), **{hook: step}), attached=attached, callbacks=[one])
    for ours, native in zip(*(one.seen for one in shown), strict=True):
        for kind in Shown.kinds:
            assert ours[kind].keys() == native[kind].keys()
            assert ours[kind] == pytest.approx(native[kind], rel=1e-6, nan_ok=True)


@pytest.mark.parametrize("attached", [True, False])
def test_the_modules_own_epoch_end_hook_still_sees_the_values(tmp_path, attached):
    """What was logged in the steps can be computed in the module's epoch-end hook, as with any metric."""
    seen = []
    hooks = {
        "validation_step": update_and_log(),
        "on_validation_epoch_end": lambda m, b, i: seen.append(m.reducer.compute().item()),
    }
    fitted(tmp_path, Module(Max(), **hooks), attached=attached, num_sanity_val_steps=0)
    assert seen == [9.0, 109.0]


@pytest.mark.parametrize("attached", [True, False])
def test_the_modules_own_training_epoch_end_hook_still_sees_the_values(tmp_path, attached):
    """The same in training."""
    seen = []
    hooks = {
        "training_step": update_and_log(on_step=False, on_epoch=True),
        "on_train_epoch_end": lambda m, b, i: seen.append(m.reducer.compute().item()),
    }
    fitted(tmp_path, Module(Max(), **hooks), attached=attached)
    assert seen == [9.0, 109.0]


@pytest.mark.parametrize("attached", [True, False])
def test_an_attribute_can_be_logged_in_an_epoch_end_hook(tmp_path, attached):
    """Updated in the steps and logged at the end of the epoch, it is reset for the next one."""
    hooks = {
        "validation_step": lambda m, b, i: m.reducer.update(b[:, 0] - 100 * m.current_epoch),
        "on_validation_epoch_end": lambda m, b, i: m.log("x", m.reducer),
    }
    _, rows = fitted(tmp_path, Module(Max(), **hooks), attached=attached)
    assert rows.series("x") == {2: 9.0, 5: -91.0}


@pytest.mark.parametrize("attached", [True, False])
def test_a_computed_attribute_is_logged_as_a_number(tmp_path, attached):
    """``self.log(name, metric.compute())`` and ``metric.reset()`` by hand work like with any metric."""

    def end(module, batch, index):
        module.log("x", module.reducer.compute())
        module.reducer.reset()

    hooks = {"validation_step": lambda m, b, i: m.reducer.update(b[:, 0] - 100 * m.current_epoch)}
    _, rows = fitted(tmp_path, Module(Max(), **hooks, on_validation_epoch_end=end), attached=attached)
    assert rows.series("x") == {2: 9.0, 5: -91.0}


@pytest.mark.parametrize("attached", [True, False])
def test_the_sanity_check_leaves_no_values_in_it(tmp_path, attached):
    """The first epoch has its own values alone."""

    def step(module, batch, index):
        module.reducer.update(batch[:, 0] + 1000 * module.trainer.sanity_checking)
        module.log("x", module.reducer)

    _, rows = fitted(tmp_path, Module(Max(), validation_step=step), attached=attached)
    assert rows.series("x") == {2: 9.0, 5: 9.0}


@pytest.mark.parametrize("attached", [True, False])
def test_a_reducer_for_each_dataloader(tmp_path, attached):
    """Reducers in a ModuleList have Lightning's suffixes."""

    class Several(LoggingModule):
        def __init__(self):
            super().__init__()
            self.reducers = torch.nn.ModuleList([Max(), Max()])

        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            self.reducers[dataloader_idx].update(batch[0][:, 0])
            self.log("x", self.reducers[dataloader_idx])

    trainer = quiet_trainer(tmp_path, callbacks=callbacks_of(attached))
    results = trainer.validate(Several(), [loader(10), loader(4)], verbose=False)
    assert results == [{"x/dataloader_idx_0": 9.0}, {"x/dataloader_idx_1": 3.0}]


@pytest.mark.parametrize(
    ("reducer", "expected"),
    [
        (TopK(2), {"x_top1": 9.0, "x_top2": 8.0}),
        (IQR(), {"x_iqr": 4.5, "x_p25": 2.25, "x_p75": 6.75}),
    ],
    ids=["top2", "iqr"],
)
def test_several_numbers_log_a_name_each(tmp_path, reducer, expected):
    """A reducer of several numbers shows each behind the logged name, in each epoch anew."""

    def step(module, batch, index):
        module.reducer.update(batch[:, 0])
        module.log("x", module.reducer)

    trainer, rows = fitted(tmp_path, Module(reducer, validation_step=step))
    assert numbers(trainer.callback_metrics) == expected
    assert rows.series("x_" + next(iter(expected))[2:]) == dict.fromkeys((2, 5), next(iter(expected.values())))


def test_several_numbers_of_a_step(tmp_path):
    """After ``forward``, steps show the numbers of their batch."""
    module = Module(TopK(2), training_step=forward_and_log(on_step=True, on_epoch=True))
    _, rows = fitted(tmp_path, module)
    assert list(rows.series("x_top2_step").values()) == [2, 6, 8, 102, 106, 108]
    assert rows.series("x_top2_epoch") == {2: 8.0, 5: 108.0}


def test_a_histogram_as_an_attribute_reaches_the_files(tmp_path):
    """Counts over bins are written as a medium once an epoch."""
    logger = TrackPlusLogger(tmp_path)
    module = Module(Histogram(5, 0.0, 10.0), validation_step=update_and_log())
    fitted(tmp_path, module, logger=logger)
    media = pandas.read_csv(f"{logger.log_dir}/media.csv")
    assert list(media["step"]) == [2, 5]
    tables = [pandas.read_csv(f"{logger.log_dir}/{file}") for file in media["file"]]
    assert list(tables[0]["count"]) == list(np.histogram(NUMBERS, 5, (0, 10))[0])
    assert tables[1]["count"].tolist()[-1] == 10


@pytest.mark.parametrize("attached", [True, False])
@pytest.mark.parametrize("called", ["update", "forward"])
def test_a_metric_collection_logs_all_of_its_reducers(tmp_path, called, attached):
    """``log_dict`` of a MetricCollection shows each under its key, with prefix, and resets all."""

    class Collected(LoggingModule):
        def __init__(self):
            super().__init__()
            reducers = {"mean": Mean(), "p95": Quantile(0.95), "p50": Quantile(0.5), "max": Max()}
            self.metrics = MetricCollection(reducers, prefix="val/")

        def validation_step(self, batch, batch_idx):
            values = batch[0][:, 0] + 100 * self.current_epoch
            self.metrics.update(values) if called == "update" else self.metrics(values)
            self.log_dict(self.metrics)

    _, rows = fitted(tmp_path, Collected(), attached=attached)
    for epoch, step in enumerate((2, 5)):
        seen = {name: rows.series(name)[step] for name in rows.names()}
        values = NUMBERS + 100 * epoch
        assert seen == pytest.approx({
            "val/mean": values.mean(), "val/p95": np.quantile(values, 0.95),
            "val/p50": np.median(values), "val/max": values.max(),
        }, rel=1e-6)  # fmt: skip


def test_a_metric_collection_gives_forwards_results_and_its_own(tmp_path):
    """Without a Trainer, a collection of reducers returns what each would."""
    metrics = MetricCollection([Max(), Mean(), Quantile(0.5)])
    first = metrics(torch.tensor([1.0, 2.0, 6.0]))
    metrics(torch.tensor([0.0]))
    assert numbers(first) == {"Max": 6.0, "Mean": 3.0, "Quantile": 2.0}
    assert numbers(metrics.compute()) == {"Max": 6.0, "Mean": 2.25, "Quantile": 1.5}


def test_two_attributes_under_one_name_are_refused(tmp_path):
    """Two reducers of one kind are two streams, and one name cannot show both."""

    class Two(LoggingModule):
        def __init__(self):
            super().__init__()
            self.first, self.second = Max(), Max()

        def validation_step(self, batch, batch_idx):
            for reducer in (self.first, self.second):
                reducer.update(batch[0][:, 0])
                self.log("x", reducer)

    with pytest.raises(MisconfigurationException, match=r"You called `self.log\(x, ...\)` twice"):
        quiet_trainer(tmp_path, callbacks=[TrackPlus()]).validate(Two(), loader(), verbose=False)


def test_an_attribute_and_a_number_under_one_name_are_refused(tmp_path):
    """A name is a reducer's or a number's."""

    def step(module, batch, index):
        module.reducer.update(batch[:, 0])
        module.log("x", module.reducer)
        module.log("x", 1.0, reduce_fx="max")

    with pytest.raises(MisconfigurationException, match=r"You called `self.log\(x, ...\)` twice"):
        quiet_trainer(tmp_path, callbacks=[TrackPlus()]).validate(Module(Max(), validation_step=step), loader())


@pytest.mark.parametrize("attached", [True, False])
def test_one_attribute_under_two_names(tmp_path, attached):
    """Both names show the same epoch, and the reset comes after both."""

    def step(module, batch, index):
        module.reducer.update(batch[:, 0] - 100 * module.current_epoch)
        module.log("a", module.reducer)
        module.log("b", module.reducer, prog_bar=True)

    _, rows = fitted(tmp_path, Module(Max(), validation_step=step), attached=attached)
    assert rows.series("a") == rows.series("b") == {2: 9.0, 5: -91.0}


def test_a_metric_takes_no_reduction_besides(tmp_path):
    """Also a reducer of ours that is logged as an attribute reduces itself."""

    def step(module, batch, index):
        module.log("x", module.reducer, reduce_fx="p95")

    with pytest.raises(MisconfigurationException, match="got the metric Max and reduce_fx='p95'"):
        quiet_trainer(tmp_path, callbacks=[TrackPlus()]).validate(Module(Max(), validation_step=step), loader())


@pytest.mark.parametrize("made_by", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_a_copy_of_the_module_in_mid_run_has_values_of_its_own(tmp_path, made_by):
    """A copy has what was seen so far; neither the copy nor the run sees what comes to the other."""
    repeat = []

    def step(module, batch, index):
        module.reducer.update(batch[:, 0])
        module.log("x", module.reducer)
        if index == 1 and not module.trainer.sanity_checking:
            hooks, module.hooks = module.hooks, {}
            repeat.append(made_by(module))
            module.hooks = hooks
            repeat[-1].reducer.update(1000.0)

    _, rows = fitted(tmp_path, Module(Max(), validation_step=step), max_epochs=1)
    assert rows.series("x") == {2: 9.0}
    (made,) = repeat
    assert made.reducer.compute() == 1000.0
    made.reducer.reset()
    made.hooks = {"validation_step": update_and_log()}
    again = quiet_trainer(tmp_path, callbacks=[TrackPlus()])
    again.validate(made, loader(4), verbose=False)
    assert again.callback_metrics["x"] == 3.0


@pytest.mark.parametrize("attached", [True, False])
@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
def test_another_precision_of_the_module_keeps_results_exact(tmp_path, precision, attached):
    """A module in bfloat16 converts its parameters and batches, and no sum of its reducers."""
    values = torch.rand(1000, generator=torch.Generator().manual_seed(1)) + 1000
    seen = []

    def step(module, batch, index):
        module.reducer.update(values)
        module.log("x", module.reducer)
        seen.append(batch.dtype)

    trainer, _ = fitted(
        tmp_path, Module(Mean(), validation_step=step), attached=attached, precision=precision, max_epochs=1
    )
    assert seen[0] == (torch.bfloat16 if precision == "bf16-true" else torch.float64)
    assert trainer.callback_metrics["x"].item() == pytest.approx(values.double().mean().item(), rel=1e-14)


def test_a_module_moved_and_cast_keeps_what_it_has_seen():
    """``module.half()`` and ``module.to(dtype)`` in the middle of an epoch change no value."""
    module = Module(Mean())
    module.reducer.update(torch.tensor([1.0001, 1.0002], dtype=torch.float64))
    module.half()
    module.to(torch.bfloat16)
    module.reducer.update(torch.tensor([1.0003], dtype=torch.float64))
    assert module.reducer.compute().item() == pytest.approx(1.0002, rel=1e-15)
    assert module.reducer.compute().dtype == torch.float64


def test_checkpoints_of_the_module_are_as_without_reducers(tmp_path):
    """The weights have the same keys, and load strictly into a module with reducers and into one without."""
    checkpoint = ModelCheckpoint(tmp_path / "kept", monitor="x", mode="max")
    _trainer, _ = fitted(
        tmp_path, Module(Max(), validation_step=update_and_log()), callbacks=[checkpoint], enable_checkpointing=True
    )
    kept = torch.load(checkpoint.best_model_path, weights_only=False)
    assert set(kept["state_dict"]) == set(LoggingModule().state_dict())
    LoggingModule().load_state_dict(kept["state_dict"], strict=True)
    Module(Max()).load_state_dict(kept["state_dict"], strict=True)
    assert checkpoint.best_model_score == 109.0
    again = quiet_trainer(tmp_path, callbacks=[TrackPlus()], max_epochs=3)
    module = Module(Max(), validation_step=update_and_log())
    again.fit(module, loader(), loader(), ckpt_path=checkpoint.best_model_path)
    assert again.callback_metrics["x"] == 209.0


def test_validation_within_a_training_epoch_leaves_the_training_attribute_alone(tmp_path):
    """A reducer of training keeps its values while one of validation is shown and reset."""

    class Both(LoggingModule):
        def __init__(self):
            super().__init__()
            self.train_sum, self.val_sum = Sum(), Sum()

        def training_step(self, batch, batch_idx):
            self.train_sum.update(batch[0][:, 0])
            self.log("train", self.train_sum, on_step=False, on_epoch=True)
            return super().training_step(batch, batch_idx)

        def validation_step(self, batch, batch_idx):
            self.val_sum.update(batch[0][:, 0])
            self.log("val", self.val_sum)

    _, rows = fitted(tmp_path, Both(), val_check_interval=1)
    assert rows.series("train") == {2: 45.0, 5: 45.0}
    assert rows.series("val") == dict.fromkeys(range(6), 45.0)


def test_a_series_as_an_attribute_goes_on_over_epochs(tmp_path):
    """An EMA that is updated once a step and logged is pandas' over all updates."""

    def step(module, batch, index):
        module.reducer.update(float(index + 10 * module.current_epoch))
        module.log("x", module.reducer)

    _, rows = fitted(tmp_path, Module(EMA(0.3), training_step=step))
    expected = pandas.Series([0.0, 1, 2, 10, 11, 12]).ewm(alpha=0.3).mean()
    assert list(rows.series("x").values()) == pytest.approx(list(expected), rel=1e-6)


def test_weights_given_to_update_count(tmp_path):
    """A weight for each value is the metric's own, and no batch size comes on top."""

    def step(module, batch, index):
        module.reducer.update(batch[:, 0].mean(), weight=float(index))
        module.log("x", module.reducer, batch_size=100)

    trainer, _ = fitted(tmp_path, Module(Mean(), validation_step=step), max_epochs=1)
    expected = np.average([batch.mean() for batch in BATCHES], weights=[0, 1, 2])
    assert trainer.callback_metrics["x"].item() == pytest.approx(expected)


@pytest.mark.parametrize("attached", [True, False])
def test_the_reducer_is_empty_after_the_run(tmp_path, attached):
    """A validation leaves the attribute reset, so that the next one needs no care."""
    module = Module(Sum(), validation_step=update_and_log())
    for _ in range(2):
        trainer = quiet_trainer(tmp_path, callbacks=callbacks_of(attached))
        assert trainer.validate(module, loader(), verbose=False) == [{"x": 45.0}]
    assert module.reducer.compute() == 0.0


def test_a_callback_may_log_a_reducer_of_the_module(tmp_path):
    """``self.log`` of another callback takes it as well."""

    class Other(L.Callback):
        def on_validation_batch_end(self, trainer, module, outputs, batch, index, dataloader_idx=0):
            module.reducer.update(batch[0][:, 0])
            self.log("x", module.reducer)

    trainer, _ = fitted(tmp_path, Module(Max()), callbacks=[Other()])
    assert trainer.callback_metrics["x"] == 9.0
