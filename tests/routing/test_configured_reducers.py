"""Reducers that the Trainer's configuration asks for: ``TrackPlus(reducers=…)``."""

from __future__ import annotations

import math
import re
import warnings

import numpy as np
import pandas
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric

from lightning_trackplus import Text, TrackPlus, TrackPlusLogger
from lightning_trackplus.reducers import Max, Mean, Min, Quantile
from tests.flavour.fabric.utilities.exceptions import MisconfigurationException
from tests.flavour.pytorch.cli import LightningCLI
from tests.flavour.pytorch.demos.boring_classes import BoringDataModule, BoringModel
from tests.support.csv_files import read_metrics
from tests.support.programs import as_a_program
from tests.support.recording import Rows, Shown, numbers
from tests.support.training import LoggingModule, loader, quiet_trainer

NUMBERS = np.arange(10.0)
BATCHES = [NUMBERS[:4], NUMBERS[4:8], NUMBERS[8:]]
MEANS = np.array([batch.mean() for batch in BATCHES])
REPEATED = np.repeat(MEANS, [4, 4, 2])
HOOKS = (
    "on_train_batch_end",
    "on_validation_batch_end",
    "on_train_epoch_end",
    "on_validation_epoch_end",
    "on_train_end",
)


def validated(tmp_path, reducers, step, *, loaders=None, **track):
    """Return ``callback_metrics`` after a validation with configured reducers."""
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus(reducers=reducers, **track)])
    trainer.validate(LoggingModule(validation_step=step), loaders or loader(), verbose=False)
    return numbers(trainer.callback_metrics)


def fitted(tmp_path, reducers, hooks, *, loaders=None, **options):
    """Return the Trainer, its rows and what it has shown after a training; without TrackPlus if there are none."""
    rows, shown = Rows(), Shown(*HOOKS)
    callbacks = [shown] if reducers is None else [TrackPlus(reducers=reducers), shown]
    torch.manual_seed(0)
    trainer = quiet_trainer(tmp_path, callbacks=callbacks, logger=rows, **{"max_epochs": 2, **options})
    trainer.fit(LoggingModule(**hooks), loader(), loaders or loader())
    return trainer, rows, shown


def loss(module, batch, index):
    """Log the mean of a batch, as most modules do."""
    module.log("loss", batch[:, 0].mean())


@pytest.mark.parametrize(
    ("reducers", "expected"),
    [
        ({"loss": ["median", "p95"]}, {"loss_median": np.median(REPEATED), "loss_p95": np.quantile(REPEATED, 0.95)}),
        ({"loss": "median"}, {"loss_median": np.median(REPEATED)}),
        ({"loss": ("max",)}, {"loss_max": 8.5}),
        ({"l*": "std"}, {"loss_std": np.std(REPEATED, ddof=1)}),
        ({"l?ss": "min"}, {"loss_min": 1.5}),
        ({"*": "count"}, {"loss_count": 10.0}),
        ({"loss": Quantile(0.3)}, {"loss_p30": np.quantile(REPEATED, 0.3)}),
        ({"loss": [Max(), "min"]}, {"loss_max": 8.5, "loss_min": 1.5}),
        ({"loss": torch.amax}, {"loss_amax": 8.5}),
        ({"loss": lambda values: float(len(values))}, {"loss_lambda": 3.0}),
        ({"loss": max}, {"loss_max": 8.5}),
        ({"loss": "top2"}, {"loss_top1": 8.5, "loss_top2": 5.5}),
        ({"los": "max", "loss?": "max", "LOSS": "max"}, {}),
        ({}, {}),
        (None, {}),
    ],
)
def test_a_name_gets_the_reducers_of_its_pattern(tmp_path, reducers, expected):
    """Each shows as ``<name>_<reducer>`` beside the module's own mean, and of names without a pattern none does."""
    assert validated(tmp_path, reducers, loss) == pytest.approx({"loss": NUMBERS.mean(), **expected}, rel=1e-13)


def test_patterns_that_overlap_add_up_and_each_reducer_shows_once(tmp_path):
    """A name gets the reducers of all its patterns; one that two of them ask for is there once."""
    reducers = {"val/*": ["median", "max"], "*/loss": ["max", "p95"], "val/loss": Max(), "train/*": "min"}

    def step(module, batch, index):
        module.log("val/loss", batch[:, 0].mean())
        module.log("val/other", batch[:, 0].mean())

    assert set(validated(tmp_path, reducers, step)) == {
        "val/loss", "val/loss_median", "val/loss_max", "val/loss_p95", "val/other", "val/other_median", "val/other_max",
    }  # fmt: skip


def test_a_pattern_matches_the_whole_name_and_is_case_sensitive(tmp_path):
    """``loss`` does not match ``val/loss``, and ``*`` reaches over slashes."""

    def step(module, batch, index):
        module.log("a/b/loss", 1.0)
        module.log("a/Loss", 1.0)

    metrics = validated(tmp_path, {"loss": "max", "a/*loss": "min", "b/*": "sum"}, step)
    assert set(metrics) == {"a/b/loss", "a/b/loss_min", "a/Loss"}


def test_vectors_give_each_sample_its_place(tmp_path):
    """Of a value for each sample, the configured reducers see all of them, weighted once."""
    metrics = validated(tmp_path, {"loss": ["p95", "std", "count"]}, lambda m, b, i: m.log("loss", b[:, 0]))
    assert metrics == pytest.approx({
        "loss": 4.5, "loss_p95": np.quantile(NUMBERS, 0.95), "loss_std": np.std(NUMBERS, ddof=1), "loss_count": 10,
    })  # fmt: skip


@pytest.mark.parametrize("order", [1, -1])
def test_a_first_or_last_batch_of_one_sample_is_one_sample_among_vectors(tmp_path, order):
    """Whether the batch of one comes first or last, it counts once, beside a reduction that Lightning takes."""
    parts = [torch.tensor([3.0, 4.0, 8.0]), torch.tensor([1.0, 2.0]), torch.tensor([9.0])][::order]
    loaders = DataLoader([(part[:, None],) for part in parts], batch_size=None)
    metrics = validated(
        tmp_path, {"x": ["count", "mean"]}, lambda m, b, i: m.log("x", b[:, 0], reduce_fx="max"), loaders=loaders
    )
    assert metrics == {"x": 9.0, "x_count": 6.0, "x_mean": 4.5}


@pytest.mark.parametrize("own", ["mean", "max", "min", "sum", "p50", ["median", "max"], torch.max, Max(), Mean()])
@pytest.mark.parametrize("vectors", [False, True])
def test_what_the_module_asks_for_stays_as_it_is(tmp_path, own, vectors):
    """With any reduction of the module's, its own names and numbers are those of a run without configuration."""

    def step(module, batch, index):
        module.log("x", batch[:, 0] if vectors else batch[:, 0].mean(), reduce_fx=own)

    plain = validated(tmp_path, None, step)
    metrics = validated(tmp_path, {"x": ["p95", "count"]}, step)
    assert {name: metrics[name] for name in plain} == plain
    seen = NUMBERS if vectors else REPEATED
    assert metrics == {**plain, "x_p95": pytest.approx(np.quantile(seen, 0.95)), "x_count": 10.0}


class SortsInPlace(Min):
    """A reducer that changes the samples it is given."""

    def summarize(self, samples):
        samples.values.sort()
        return super().summarize(samples)


def test_a_reducer_of_the_module_that_changes_samples_changes_no_other_stream(tmp_path):
    """A batch that is large enough to be summarized by itself is not the array of both streams."""
    smallest = SortsInPlace()

    def step(module, batch, index):
        module.log("loss", torch.arange(70_000.0).flip(0) + index, reduce_fx=smallest)

    shown = validated(tmp_path, {"loss": ["first", "last"]}, step)

    assert shown == {"loss": 0.0, "loss_first": 69_999.0, "loss_last": 2.0}


def test_a_reducer_that_the_module_asks_for_itself_shows_once(tmp_path):
    """A list of the module's that has a configured reducer already wins, and nothing is logged twice."""

    def step(module, batch, index):
        module.log("x", batch[:, 0], reduce_fx=["mean", "p95"])

    metrics = validated(tmp_path, {"x": ["p95", "median"]}, step)
    assert metrics == pytest.approx({"x_mean": 4.5, "x_p95": np.quantile(NUMBERS, 0.95), "x_median": 4.5})


def test_a_reducer_in_the_modules_list_shows_once_in_the_loggers_and_on_the_progress_bar(tmp_path):
    """The module's ``prog_bar`` of a name it asks for itself is kept where the configuration asks for it too."""

    def step(module, batch, index):
        module.log("x", batch[:, 0], reduce_fx=["mean", "p95"], prog_bar=True)

    trainer, rows, _ = fitted(tmp_path, {"x": ["p95", "median"]}, {"validation_step": step})
    assert set(rows.names()) == {"x_mean", "x_p95", "x_median"}
    assert {name for name in trainer.progress_bar_metrics if name.startswith("x")} == {"x_mean", "x_p95"}
    assert trainer.progress_bar_metrics["x_p95"] == pytest.approx(8.55)


def test_in_training_a_reducer_of_the_modules_list_shows_once(tmp_path):
    """Under ``on_step`` and ``on_epoch`` alike, the module's own name keeps its meaning."""

    def step(module, batch, index):
        module.log("x", batch[:, 0], reduce_fx=["mean", "max"], on_step=True, on_epoch=True)

    _, plain, _ = fitted(tmp_path, {}, {"training_step": step})
    _, rows, _ = fitted(tmp_path, {"x": ["max", "min"]}, {"training_step": step})
    for name in plain.names():
        assert rows.series(name) == plain.series(name)
    assert rows.series("x_min") == {2: 0.0, 5: 0.0}


LEVELS = [(None, None), (True, False), (False, True), (True, True)]


def without_added(shown, added):
    """Return what was shown without some names, after a check that each of these came up."""
    names = {name for one in shown.seen for name in one["callback_metrics"]}
    assert added <= names
    return [{kind: {k: v for k, v in one[kind].items() if k not in added} for kind in one} for one in shown.seen]


@pytest.mark.parametrize(
    ("on_step", "on_epoch", "options"),
    [
        *[(*levels, {}) for levels in LEVELS],
        (True, True, {"log_every_n_steps": 2}),
        (True, True, {"accumulate_grad_batches": 2}),
    ],
)
def test_everything_else_is_as_in_a_run_without_trackplus(tmp_path, on_step, on_epoch, options):
    """All three collections of metrics, in each hook, and the loggers' rows differ by the added names alone."""

    def train(module, batch, index):
        module.log("x", batch[:, 0].mean() + index, on_step=on_step, on_epoch=on_epoch, prog_bar=True)
        module.log("y", batch[:, 0].max(), reduce_fx="max", on_step=on_step, on_epoch=on_epoch)
        module.log("z", 3.0, logger=False)

    def validate(module, batch, index):
        module.log("v", batch[:, 0].mean(), on_step=on_step, on_epoch=on_epoch, prog_bar=True)

    hooks = {"training_step": train, "validation_step": validate}
    _, plain_rows, plain = fitted(tmp_path, None, hooks, **options)
    added = {"x_p50", "x_ema0.5", "y_p50", "v_p50", "v_ema0.5", "y_ema0.5"}
    trainer, rows, shown = fitted(tmp_path, {name: ["p50", "ema(0.5)"] for name in "xyv"}, hooks, **options)
    assert without_added(shown, added) == plain.seen
    kept = [{name: value for name, value in row.items() if name not in added} for row in rows.rows]
    assert [row for row in kept if set(row) - {"step", "epoch"}] == plain_rows.rows
    assert not added & set(trainer.progress_bar_metrics)


@pytest.mark.parametrize(("on_step", "on_epoch"), LEVELS)
def test_in_training_reducers_show_once_an_epoch_and_series_in_steps(tmp_path, on_step, on_epoch):
    """Whatever levels the module asks for, epoch reducers stand at the end of the epoch and series at each step."""

    def step(module, batch, index):
        module.log("x", batch[:, 0].mean(), on_step=on_step, on_epoch=on_epoch)

    reducers = {"x": ["max", "ema(0.5)", "running(2)", "since_logged"]}
    _, rows, _ = fitted(tmp_path, reducers, {"training_step": step})
    assert rows.series("x_max") == {2: 8.5, 5: 8.5}
    series = pandas.Series(np.tile(MEANS, 2))
    assert list(rows.series("x_ema0.5")) == list(range(6))
    np.testing.assert_allclose(list(rows.series("x_ema0.5").values()), series.ewm(alpha=0.5).mean(), rtol=1e-12)
    sums, sizes = (
        pandas.Series(np.tile(one, 2)).rolling(2, min_periods=1).sum() for one in (MEANS * [4, 4, 2], [4, 4, 2])
    )
    np.testing.assert_allclose(list(rows.series("x_running2").values()), sums / sizes, rtol=1e-12)
    np.testing.assert_allclose(list(rows.series("x_since_logged").values()), series, rtol=1e-12)


def test_in_validation_series_show_once_an_epoch_and_begin_anew(tmp_path):
    """In an evaluation a series is what it has come to at the end, from the first batch of this epoch on."""
    _, rows, _ = fitted(tmp_path, {"loss": ["ema(0.5)", "running(2, max)"]}, {"validation_step": loss})
    expected = pandas.Series(MEANS).ewm(alpha=0.5).mean().iloc[-1]
    assert rows.series("loss_ema0.5") == pytest.approx({2: expected, 5: expected}, rel=1e-12)
    assert rows.series("loss_running2_max") == {2: 8.5, 5: 8.5}


def test_one_pattern_serves_training_and_validation(tmp_path):
    """The same name in ``training_step`` and in ``validation_step`` has a stream for each."""
    hooks = {
        "training_step": lambda m, b, i: m.log("x", b[:, 0].mean(), on_step=False, on_epoch=True),
        "validation_step": lambda m, b, i: m.log("y", 100 + b[:, 0].mean()),
    }
    _, rows, _ = fitted(tmp_path, {"*": ["max", "count"]}, hooks)
    assert rows.series("x_max") == {2: 8.5, 5: 8.5}
    assert rows.series("y_max") == {2: 108.5, 5: 108.5}
    assert rows.series("x_count") == rows.series("y_count") == {2: 10.0, 5: 10.0}


def test_dataloaders_have_streams_and_suffixes_of_their_own(tmp_path):
    """Names with Lightning's suffix are those of the module's log, and the pattern is without it."""
    metrics = validated(tmp_path, {"loss": ["max", "count"]}, loss, loaders=[loader(10), loader(4)])
    assert metrics == {
        "loss/dataloader_idx_0": 4.5, "loss_max/dataloader_idx_0": 8.5, "loss_count/dataloader_idx_0": 10.0,
        "loss/dataloader_idx_1": 1.5, "loss_max/dataloader_idx_1": 1.5, "loss_count/dataloader_idx_1": 4.0,
    }  # fmt: skip


def test_dataloaders_without_suffix_keep_their_own_names(tmp_path):
    """``add_dataloader_idx=False`` with a name for each dataloader is taken as Lightning takes it."""

    class Module(LoggingModule):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            self.log(f"x{dataloader_idx}", batch[0][:, 0].mean(), add_dataloader_idx=False)

    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus(reducers={"x*": "max"})])
    results = trainer.validate(Module(), [loader(10), loader(4)], verbose=False)
    assert results == [{"x0": 4.5, "x0_max": 8.5}, {"x1": 1.5, "x1_max": 1.5}]


def test_logger_false_keeps_the_added_names_from_the_loggers_too(tmp_path):
    """What the module does not want in the loggers is not there under another name."""
    step = lambda m, b, i: m.log("x", b[:, 0].mean(), logger=False, on_epoch=True)  # noqa: E731
    trainer, rows, _ = fitted(tmp_path, {"x": ["max", "ema(0.5)"]}, {"training_step": step})
    assert rows.names() == set()
    assert {"x_max", "x_ema0.5"} <= set(trainer.callback_metrics)


def test_what_an_epoch_end_hook_logs_is_reduced_as_one_value(tmp_path):
    """In ``on_validation_epoch_end`` there is one value, and each reducer is of it alone."""
    hooks = {"on_validation_epoch_end": lambda m, b, i: m.log("x", 3.0 + m.current_epoch)}
    trainer, rows, _ = fitted(tmp_path, {"x": ["max", "count"]}, hooks)
    assert rows.series("x_max") == {2: 3.0, 5: 4.0}
    assert rows.series("x_count") == {2: 1.0, 5: 1.0}
    assert trainer.callback_metrics["x"] == 4.0


@pytest.mark.parametrize("hook", ["on_train_start", "on_train_epoch_start", "on_train_epoch_end"])
def test_a_series_for_all_of_training_leaves_hooks_without_steps_alone(tmp_path, hook):
    """Where Lightning takes no ``on_step``, the module's value is logged as ever, and its series once an epoch."""
    import tests.flavour as L

    class Other(L.Callback):
        pass

    def log(trainer, module):
        module.log("train/x", 3.0)

    seen = []
    for reducers in (None, {"train/x": ["ema(0.5)", "max"]}):
        other, rows = Other(), Rows()
        setattr(other, hook, log)
        track = [] if reducers is None else [TrackPlus(reducers=reducers)]
        trainer = quiet_trainer(tmp_path, callbacks=[*track, other], logger=rows, max_epochs=2)
        trainer.fit(LoggingModule(), loader())
        seen.append(rows)
    plain, rows = seen
    assert plain.series("train/x")
    for name in ("train/x", "train/x_max", "train/x_ema0.5"):
        assert rows.series(name) == plain.series("train/x")


def test_log_dict_and_the_logs_of_callbacks_are_matched_too(tmp_path):
    """Every way to log a number leads past the configuration."""
    import tests.flavour as L

    class Other(L.Callback):
        def on_validation_batch_end(self, trainer, module, outputs, batch, index, dataloader_idx=0):
            self.log("other", float(index))
            module.log_dict({"a": float(index), "b": batch[0][:, 0]}, batch_size=1)

    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus(reducers={"*": "max"}), Other()])
    trainer.validate(LoggingModule(), loader(), verbose=False)
    metrics = numbers(trainer.callback_metrics)
    assert metrics == {"other": pytest.approx(8 / 10), "other_max": 2.0, "a": 1.0, "a_max": 2.0, "b": 4.5, "b_max": 9.0}


class Everything(LoggingModule):
    """Logs a value, which reducers can be given for, and all that they can show nothing of."""

    def __init__(self):
        super().__init__()
        self.metric, self.p95 = MeanMetric(), Quantile(0.95)

    def validation_step(self, batch, batch_idx):
        self.metric.update(batch[0][:, 0])
        self.p95.update(batch[0][:, 0])
        self.log("val/loss", batch[0][:, 0])
        self.log("val/metric", self.metric)
        self.log("val/own", self.p95)
        self.log("val/classes", batch[0][0], names=["a", "b"])
        self.log("val/parts", {"a": self.metric})
        self.log("val/text", Text("a"))

    def on_validation_epoch_end(self):
        self.log("val/once", 1.0)


def test_a_pattern_means_values_over_an_epoch_and_passes_over_all_else(tmp_path):
    """Of metrics, elements of ``names=``, media and what is logged once an epoch there is no copy and no word."""
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus(reducers={"val/*": "max", "*text": "max"})])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(Everything(), loader(), loader())
    assert {name for name in trainer.callback_metrics if name.endswith("_max")} == {"val/loss_max"}
    assert trainer.callback_metrics["val/loss_max"] == 9.0
    assert messages_of(caught) == []


def test_of_a_name_in_full_that_can_show_nothing_it_is_said_why(tmp_path):
    """Each is said once, and what the module logs stays as it is."""
    names = ["loss", "metric", "own", "classes", "parts", "text", "once", "classes/b"]
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus(reducers={f"val/{name}": "min" for name in names})])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(Everything(), loader(), loader())
    assert messages_of(caught) == [
        f"TrackPlus(reducers=…) has reducers for 'val/{name}', which show nothing: it is logged as {reason}."
        for name, reason in (
            ("metric", "the metric MeanMetric, which reduces itself"),
            ("own", "the metric Quantile, which reduces itself"),
            ("classes", "several values, under names of their own such as 'val/classes/…'"),
            ("parts", "several values, under names of their own such as 'val/parts/…'"),
            ("text", "the medium Text, and reducers are for numbers"),
        )
    ]
    metrics = numbers(trainer.callback_metrics)
    assert {name: metrics[name] for name in metrics if name.endswith("_min")} == {
        "val/loss_min": 0.0, "val/once_min": 1.0, "val/classes/b_min": -8.0,
    }  # fmt: skip
    assert metrics["val/metric"] == 4.5
    assert metrics["val/own"] == pytest.approx(8.55)


def messages_of(caught):
    """Return those warnings that are about configured reducers."""
    return [str(one.message) for one in caught if "TrackPlus(reducers" in str(one.message)]


def test_patterns_that_nothing_matched_are_said_once_at_the_end_of_the_fit(tmp_path):
    """One warning names them all; those that matched in any hook are not in it."""
    hooks = {"training_step": lambda m, b, i: m.log("train/loss", 1.0), "validation_step": loss}
    with pytest.warns(UserWarning, match=r"TrackPlus\(reducers=…\)") as caught:
        fitted(tmp_path, {"lss": "max", "loss": "max", "train/*": "ema", "val/*": "p5"}, hooks)
    (message,) = messages_of(caught)
    assert "nothing was logged under 'lss', 'val/*'" in message


def test_patterns_for_tests_are_said_at_the_end_of_a_test_alone(tmp_path):
    """A fit cannot know what the test after it logs."""
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus(reducers={"test/*": "max", "test_lss": "max"})])
    module = LoggingModule(test_step=lambda m, b, i: m.log("test/loss", 1.0))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(module, loader(), loader())
    assert messages_of(caught) == []
    with pytest.warns(UserWarning, match="nothing was logged under 'test_lss', so"):
        trainer.test(module, loader(), verbose=False)
    assert trainer.callback_metrics["test/loss_max"] == 1


def test_without_unused_patterns_there_is_no_warning(tmp_path):
    """A pattern that matched in an epoch-end hook alone is used."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted(tmp_path, {"x": "max"}, {"on_train_epoch_end": lambda m, b, i: m.log("x", 1.0)})
    assert messages_of(caught) == []


def test_a_validation_alone_says_nothing_of_patterns_for_training(tmp_path):
    """``trainer.validate`` cannot know what training would log."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        validated(tmp_path, {"train/*": "max", "loss": "p50"}, loss)
    assert messages_of(caught) == []


@pytest.mark.parametrize(
    ("reducers", "message"),
    [
        ({"x": "medain"}, r"Unknown reduce_fx 'medain'; expected one of .* Did you mean 'median'\?"),
        ({"x": ["p95", "p101"]}, "p101"),
        ("median", "TrackPlus got reducers='median'; expected reducers by the logged name that they are for, such as"),
        (["median"], r"TrackPlus got reducers=\['median'\]; expected reducers by the logged name"),
        ({1: "median"}, "TrackPlus got reducers={1: 'median'}; expected reducers by the logged name"),
        ({"x": 3}, "Unknown reduce_fx 3"),
        ({"x": []}, "asks for nothing"),
        ({"x": ["p50", "p50"]}, "each with a name of its own"),
        ({"x": None}, "Unknown reduce_fx None"),
        ({"x": Quantile}, "reduce_fx=Quantile is a class; expected an object"),
        ({"x": "ema(2)"}, r"ema\(2\)"),
    ],
    ids=str,
)
def test_what_is_no_reducer_is_refused_by_the_constructor(reducers, message):
    """A mistake is found before anything is trained."""
    with pytest.raises(MisconfigurationException, match=message):
        TrackPlus(reducers=reducers)


def test_a_wrong_policy_is_refused_by_the_constructor():
    """The message says what can be given."""
    with pytest.raises(ValueError, match=r"TrackPlus got nan_policy='skip'; expected 'omit', 'propagate' or 'raise'\."):
        TrackPlus(nan_policy="skip")


@pytest.mark.parametrize(("policy", "expected"), [("omit", 8.5), ("propagate", math.nan)])
def test_the_policy_for_nan_is_that_of_configured_names(tmp_path, policy, expected):
    """``nan_policy`` of `TrackPlus` says what NaN does to reducers that the configuration names."""

    def step(module, batch, index):
        module.log("x", batch[:, 0].mean() if index != 1 else torch.nan)

    metrics = validated(tmp_path, {"x": ["max", Quantile(1.0, nan_policy="omit")]}, step, nan_policy=policy)
    assert metrics["x_max"] == pytest.approx(expected, nan_ok=True)
    assert metrics["x_p100"] == 8.5  # A Reducer object has a policy of its own.
    assert math.isnan(metrics["x"])


def test_the_policy_raise_names_the_call(tmp_path):
    """The error comes at the end of the epoch and says under which name NaN was logged."""
    with pytest.raises(ValueError, match=r"self.log\('x', …\): .*max got 3 values that are NaN"):
        validated(tmp_path, {"x": "max"}, lambda m, b, i: m.log("x", torch.nan, batch_size=1), nan_policy="raise")


def test_what_is_logged_alike_in_steps_and_epochs_of_evaluation(tmp_path):
    """``on_step=True`` in validation leaves the configured names without a suffix."""
    hooks = {"validation_step": lambda m, b, i: m.log("x", b[:, 0].mean(), on_step=True, on_epoch=True)}
    _, plain, _ = fitted(tmp_path, None, hooks)
    _, rows, _ = fitted(tmp_path, {"x": ["max", "ema(0.5)"]}, hooks)
    assert rows.names() - plain.names() == {"x_max", "x_ema0.5"}
    for name in plain.names():
        assert rows.series(name) == plain.series(name)


def test_values_come_back_from_the_files(tmp_path):
    """CSV and event file hold the added names at the steps and with the values of the run."""
    hooks = {
        "training_step": lambda m, b, i: m.log("train/loss", b[:, 0].mean()),
        "validation_step": lambda m, b, i: m.log("val/loss", b[:, 0].mean()),
    }
    logger = TrackPlusLogger(tmp_path)
    track = TrackPlus(reducers={"val/*": ["median", "p95"], "train/loss": ["ema(0.5)", "max"]})
    trainer = quiet_trainer(tmp_path, callbacks=[track], logger=logger, max_epochs=2)
    trainer.fit(LoggingModule(**hooks), loader(), loader())
    table = read_metrics(logger.log_dir).set_index("step")
    events = EventAccumulator(logger.log_dir)
    events.Reload()
    expected = {
        "val/loss_median": {step: np.median(REPEATED) for step in (2, 5)},
        "val/loss_p95": {step: np.quantile(REPEATED, 0.95) for step in (2, 5)},
        "train/loss_max": {2: 8.5, 5: 8.5},
        "train/loss_ema0.5": dict(enumerate(pandas.Series(np.tile(MEANS, 2)).ewm(alpha=0.5).mean())),
    }
    for name, series in expected.items():
        assert table[name].dropna().to_dict() == pytest.approx(series, rel=1e-6)
        assert {event.step: event.value for event in events.Scalars(name)} == pytest.approx(series, rel=1e-6)


class Model(BoringModel):
    def training_step(self, batch, batch_idx):
        self.log("train/loss", float(batch_idx))
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", float(batch_idx) if batch_idx != 1 else torch.nan)


TRAINER = {
    "accelerator": "cpu", "devices": 1, "max_epochs": 1, "log_every_n_steps": 1, "enable_progress_bar": False,
    "limit_train_batches": 5, "limit_val_batches": 5, "num_sanity_val_steps": 0,
    "logger": {"class_path": "lightning_trackplus.TrackPlusLogger"},
}  # fmt: skip


def cli(tmp_path, track):
    """Start LightningCLI with a callback from YAML."""
    callbacks = [{"class_path": "lightning_trackplus.TrackPlus", "init_args": track}]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"trainer": {**TRAINER, "callbacks": callbacks}}))
    with as_a_program("fit", "--config", "config.yaml", folder=tmp_path):
        LightningCLI(Model, BoringDataModule)


@pytest.mark.parametrize(("policy", "median"), [("omit", 2.5), ("propagate", math.nan)])
def test_yaml_asks_for_reducers_and_the_policy(tmp_path, policy, median):
    """LightningCLI passes strings and lists of names, and ``nan_policy``, without a line of code."""
    reducers = {"val/*": ["median", "max"], "train/loss": "running(2)"}
    cli(tmp_path, {"reducers": reducers, "nan_policy": policy})
    (run,) = tmp_path.glob("lightning_logs/*")
    table = read_metrics(run)
    assert list(table["train/loss_running2"].dropna()) == [0.0, 0.5, 1.5, 2.5, 3.5]
    seen = table["val/loss_median"].dropna().tolist() or [math.nan]
    assert seen == pytest.approx([median], nan_ok=True)
    assert (run / "config.yaml").is_file()


def test_yaml_with_a_wrong_reducer_fails_before_training(tmp_path, capsys):
    """The error of a misspelt reducer reaches the person at the command line, and nothing was run."""
    with pytest.raises((Exception, SystemExit)) as ended:
        cli(tmp_path, {"reducers": {"val/*": "medain"}})
    assert re.search(r"Did you mean\s+'median'", f"{ended.value} {capsys.readouterr().err}")
    assert not (tmp_path / "lightning_logs").exists()


def test_brackets_in_a_pattern_stand_for_themselves(tmp_path):
    """A name with an index is asked for as it is logged."""
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus(reducers={"acc[0]": "max", "*[1]": "min"})])
    step = lambda m, b, i: m.log_dict({"acc[0]": float(i), "acc[1]": float(i), "acc0": 7.0})  # noqa: E731
    trainer.validate(LoggingModule(validation_step=step), loader(), verbose=False)
    assert {"acc[0]_max", "acc[1]_min"} == set(trainer.callback_metrics) - {"acc[0]", "acc[1]", "acc0"}


def test_of_reducers_called_the_same_the_first_pattern_counts(tmp_path):
    """A name that several patterns match gets each reducer once."""
    track = TrackPlus(reducers={"x": [Quantile(0.5, name="q")], "*": [Quantile(0.9, name="q")]})
    trainer = quiet_trainer(tmp_path, callbacks=[track])
    trainer.validate(LoggingModule(validation_step=lambda m, b, i: m.log("x", b[:, 0])), loader(), verbose=False)
    assert trainer.callback_metrics["x_q"] == 4.5
