"""With the fast lane open, all is to the bit as with it closed, and as without TrackPlus."""

from __future__ import annotations

import contextlib
import copy
import csv
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    EarlyStopping,
    LearningRateFinder,
    ModelCheckpoint,
    StochasticWeightAveraging,
)
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.trainer.connectors.logger_connector.result import _ResultCollection
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric, Metric

from lightning_trackplus import TrackPlus, TrackPlusLogger
from lightning_trackplus.lagging_numbers import LaggingNumbers
from lightning_trackplus.late_numbers import LateNumbers
from lightning_trackplus.seam.number_site import NumberSite
from lightning_trackplus.seam.step_metrics import StepMetrics
from tests.conftest import LoggingModule, goes_on_exactly, loader, quiet_trainer
from tests.fast_lane_runs import (
    BACKWARD,
    TESTING,
    TRAINING,
    VALIDATION,
    WAYS,
    ByHand,
    ExactRows,
    Saying,
    Talking,
    exact,
    fit,
    report,
    values_of,
)

TENSORS = st.builds(
    lambda number, dtype, shape: torch.tensor(number).to(dtype).reshape(shape),
    st.integers(0, 100) | st.floats(-1e4, 1e4),
    st.sampled_from(
        [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool]
    ),
    st.sampled_from([(), (), (), (1,)]),
)
VALUES = st.one_of(st.floats(), st.integers(-(2**40), 2**40), st.booleans(), TENSORS)


def same(root, make, act=fit, **options):
    """Make a run in the three ways, show that they are the same, and return what was seen."""
    reports = {way: report(root, way, make, act, **options) for way in WAYS}
    for way in ("closed", "open"):
        if (found := difference(reports["without"], reports[way])) is not None:
            pytest.fail(f"{way}: {str(found)[:1000]}", pytrace=False)
    return reports["open"]


def briefly(trainer_of, module):
    """Train and validate on as few batches as show all: the first, another, and those of a second epoch."""
    trainer_of(num_sanity_val_steps=0).fit(module, loader(6), [loader(6), loader(2)])


def difference(expected, found):
    """Return where two reports differ first, and how; None if they are equal."""
    if expected == found:
        return None
    if isinstance(expected, dict) and isinstance(found, dict) and list(expected) == list(found):
        key = next(key for key in expected if expected[key] != found[key])
        return [key, *difference(expected[key], found[key])]
    if isinstance(expected, list) and isinstance(found, list) and expected and found:
        if len(expected) == len(found):
            index = next(index for index, one in enumerate(expected) if one != found[index])
            return [index, *difference(expected[index], found[index])]
        return [
            len(expected),
            len(found),
            *(
                [one for one in part if one not in other or part.count(one) != other.count(one)]
                for part, other in ((expected, found), (found, expected))
            ),
        ]
    return [expected, found]


def names(seen):
    """Return the names that were shown at any time."""
    return {name for _, kinds in seen["seen"] for metrics in kinds.values() for name, _ in metrics}


# Every argument of `log`.


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"on_step": True, "on_epoch": True},
        {"on_step": False, "on_epoch": True},
        {"on_step": True, "on_epoch": False},
        {"on_step": True, "on_epoch": True, "prog_bar": True},
        {"on_epoch": True, "logger": False},
        {"on_epoch": True, "logger": True},
        {"on_epoch": True, "batch_size": 3},
        {"on_epoch": True, "batch_size": 0},
        {"on_epoch": True, "enable_graph": True},
        {"on_epoch": True, "sync_dist": True},
        {"on_epoch": True, "rank_zero_only": True},
        {"on_epoch": True, "add_dataloader_idx": True},
        {"on_epoch": True, "metric_attribute": "any"},
        *({"on_step": True, "on_epoch": True, "reduce_fx": one} for one in ("mean", "avg", "SUM", "max", "min")),
        *({"on_step": False, "on_epoch": True, "reduce_fx": one} for one in (torch.max, torch.min, max, min, sum)),
        {"on_step": True, "on_epoch": False, "reduce_fx": "max"},
    ],
    ids=str,
)
def test_every_argument_with_every_value(tmp_path, options):
    """Values of every dtype and shape, and Python's and numpy's, are kept and reduced alike."""

    def say(module, count):
        for name, value in values_of(module, count).items():
            module.log(name, value, **options)

    def say_some(module, count):
        for name in ("float", "float64", "torch.int32_tensor", "with_graph"):
            module.log(name, values_of(module, count)[name], **options)

    seen = same(tmp_path, lambda: Saying(training_step=say, validation_step=say_some), briefly)
    assert seen["error"] is None
    assert {"float", "torch.int8_tensor", "of_one"} <= {name.removesuffix("_step") for name in names(seen)}


@pytest.mark.parametrize("options", [{}, {"on_epoch": True}, {"on_epoch": True, "prog_bar": True, "batch_size": 2}])
def test_every_value_in_log_dict(tmp_path, options):
    """``log_dict`` does with each of its values what ``log`` does."""

    def say(module, count):
        module.log_dict(values_of(module, count), **options)
        module.log_dict({"last/a": count, "last/b": 0.5 * count}, True, None, True, True)

    assert same(tmp_path, lambda: Saying(training_step=say, validation_step=say), briefly)["error"] is None


def test_dictionaries_whose_names_order_and_arguments_change(tmp_path):
    """Some names more, some fewer, another order, and a name that came by ``log`` before."""

    def say(module, count):
        numbers = {f"n{index}": float(index + count) for index in range(5)}
        module.log("n0", 7.0)
        module.log_dict(numbers)
        module.log_dict(dict(reversed(list(numbers.items())[: count % 5 + 1])))
        module.log_dict({**numbers, f"late{count // 3}": 1.0})
        module.log_dict({})
        module.log_dict(dictionary={"by_keyword": count}, prog_bar=True)
        module.log_dict({"sized": 1.0 * count}, on_epoch=True, batch_size=count + 1)

    assert same(tmp_path, lambda: Saying(training_step=say, validation_step=say))["error"] is None


def test_however_the_arguments_are_given(tmp_path):
    """By position, by keyword, in any mixture, as equals that are not the same."""

    def say(module, count):
        value = module.current
        module.log("a", value, True, None, True, True, "max")
        module.log("b", value, bool(count % 2) or True)
        module.log(name="c", value=value, prog_bar=1)
        module.log(value=float(count), name="d", on_epoch=True, batch_size=2)
        module.log("e", value=count, on_epoch=np.bool_(True))
        module.log("f", value, on_step=True if count % 2 else None)
        module.log("g", value, on_epoch=True, reduce_fx=["mean", "avg"][count % 2])

    assert same(tmp_path, lambda: Saying(training_step=say))["error"] is None


@pytest.mark.parametrize(
    "size",
    [
        lambda count: count + 1,
        lambda count: 2.5,
        lambda count: torch.tensor(count + 1),
        lambda count: torch.tensor(0.5),
        lambda count: np.int64(3),
        lambda count: True,
        lambda count: [3, 2.5, None][count % 3],
    ],
    ids=["int", "float", "tensor", "float tensor", "numpy", "bool", "changing"],
)
def test_batch_sizes_of_any_kind(tmp_path, size):
    """Lightning counts with what it is given, whatever it is."""

    def say(module, count):
        module.log("x", module.current, on_step=True, on_epoch=True, batch_size=size(count))
        module.log("y", 0.1 * count, on_step=False, on_epoch=True, batch_size=size(count))
        module.log_dict({"z": 0.3 * count}, on_epoch=True, batch_size=size(count))

    seen = same(tmp_path, lambda: Saying(training_step=say, validation_step=say))
    assert seen["error"] is None


def test_values_of_another_kind_than_the_first(tmp_path):
    """A site that has seen one kind of value takes or refuses the next as Lightning does, with what it says of it."""

    def say(module, count):
        kinds = list(values_of(module, count).values())
        module.log("turning", kinds[count % len(kinds)], on_step=True, on_epoch=True)
        module.log("back", kinds[-1 - count % len(kinds)], on_epoch=True, reduce_fx="max")

    def act(trainer_of, module):
        trainer_of(max_epochs=4).fit(module, loader(28), [loader(28), loader(6)])

    seen = same(tmp_path, lambda: Saying(training_step=say, validation_step=say), act)
    assert any("needs to be floating" in text for _, text in seen["warnings"])


def test_a_metric_called_step(tmp_path):
    """It is the step under which Lightning hands over what is logged with it."""

    def say(module, count):
        module.log("step", 100.0 + 2 * count)
        module.log("x", 0.5 * count)

    seen = same(tmp_path, lambda: Saying(training_step=say, on_validation_epoch_end=say))
    assert 100 in [row[0] for row in seen["rows"]]


def test_a_metric_that_training_and_validation_share(tmp_path):
    """It is reset by the validation, and asked once for a training that had no more batches."""

    def say(module, count):
        metric = module.metrics["fitting"]["mean"]
        metric(module.current)
        module.log("shared", metric, on_step=False, on_epoch=True)

    seen = same(tmp_path, lambda: Saying(training_step=say, validation_step=say))
    assert sum("was called before the ``update`` method" in text for _, text in seen["warnings"]) == 2


def test_a_metric_logged_under_another_name_in_turn(tmp_path):
    """The name says which of two metrics it is, and an error which arguments differ."""

    def say(module, count):
        first, second = module.metrics["fitting"].values()
        first(module.current)
        second(module.current)
        module.log("first", first, on_epoch=True)
        module.log_dict({"second": second, "x": 0.5})
        if count == 4:
            module.log("first", second, on_epoch=True)

    seen = same(tmp_path, lambda: Saying(training_step=say))
    assert "with different arguments" in str(seen["error"])


def test_each_call_for_a_logger_that_is_not_there(tmp_path):
    """Lightning warns of each."""

    def say(module, count):
        module.log("x", 0.5, logger=True)
        module.log_dict({"a": 0.5, "b": 1.5}, logger=True)

    seen = same(tmp_path, lambda: Saying(training_step=say), logger=False)
    assert sum("have no logger configured" in text for _, text in seen["warnings"]) == 18


def test_a_tensor_that_is_changed_after_the_call(tmp_path):
    """What counts is what a tensor held when it was logged, in every reduction."""

    def say(module, count):
        value = torch.tensor(float(count))
        for reduction in ("mean", "sum", "max", "min", max, min):
            module.log(f"{reduction}/both", value, on_step=True, on_epoch=True, reduce_fx=reduction)
            module.log(f"{reduction}/step", value, on_step=True, on_epoch=False, reduce_fx=reduction)
            module.log(f"{reduction}/epoch", value, on_step=False, on_epoch=True, reduce_fx=reduction)
        value.fill_(-1e6)

    assert same(tmp_path, lambda: Saying(training_step=say, validation_step=say))["error"] is None


def test_no_graph_is_kept(tmp_path):
    """What was logged does not hold the graph of its step in memory."""

    def say(module, count):
        usual(module, count)
        for reduction in ("sum", "max"):
            module.log(reduction, module.current, on_step=True, on_epoch=True, reduce_fx=reduction)
        values = [entry.value for entry in module.trainer._results.values() if entry.is_tensor]
        assert len(values) > 5
        assert not any(value.requires_grad for value in values)

    assert same(tmp_path, lambda: Saying(training_step=say))["error"] is None


def test_what_is_shown_may_be_changed(tmp_path):
    """Whoever writes into a metric that the Trainer shows, writes into Lightning's own."""

    def say(module, count):
        module.log("x", module.current, on_step=True, on_epoch=True, prog_bar=True)
        if count % 2:
            module.trainer.callback_metrics["x_step"].fill_(count)
            module.trainer.logged_metrics.clear()

    assert same(tmp_path, lambda: Saying(training_step=say))["error"] is None


def test_metrics_that_are_read_between_calls(tmp_path):
    """A result that was asked for in an epoch-end hook is made anew when more is logged there."""
    read = []

    def say(module, count):
        for number in range(4):
            module.log("x", count + number, prog_bar=True)
            module.log_dict({"a": 1.5 * number, "b": number}, reduce_fx="max")
            read.append(exact(module.trainer.callback_metrics) + exact(module.trainer.progress_bar_metrics))

    make = lambda: Saying(**{"training_step": usual, hook: say})  # noqa: E731
    for hook in ("on_train_epoch_end", "on_validation_epoch_end", "on_validation_start", "training_step"):
        read.clear()
        assert same(tmp_path / hook, make)["error"] is None
        third = len(read) // 3
        assert read[:third] == read[third : 2 * third] == read[2 * third :]
        assert third > 4


# Every hook.


@pytest.mark.parametrize("hooks", [TRAINING, BACKWARD, VALIDATION, TESTING, (*TRAINING, *VALIDATION, *BACKWARD)])
@pytest.mark.parametrize("options", [{}, {"on_epoch": True, "prog_bar": True}], ids=str)
def test_every_hook_that_may_log(tmp_path, hooks, options):
    """One name in several hooks, and names of their own; the hooks reset what they have logged in their turn."""

    def make():
        def saying(hook):
            def say(module, count):
                module.log("shared", 0.1 * count, **options)
                module.log(hook, count, **options)
                module.log_dict({f"{hook}/a": 1.5 * count, f"{hook}/b": 2}, **options)

            return say

        steps = ("training_step", "validation_step", "test_step")
        return Saying(**{hook: saying(hook) for hook in (*hooks, *steps)})

    def act(trainer_of, module):
        trainer = trainer_of(num_sanity_val_steps=2)
        trainer.fit(module, loader(), [loader(), loader(6)])
        return trainer.test(module, [loader(), loader(6)], verbose=False)

    seen = same(tmp_path, make, act, callbacks=[Talking])
    assert seen["error"] is None
    assert names(seen) >= {"shared"}


@pytest.mark.parametrize("hook", ["on_fit_start", "on_train_end", "predict_step", "configure_optimizers"])
def test_hooks_that_may_not_log(tmp_path, hook):
    """Lightning's errors are its own, even for a name that was taken before."""

    class Speaking(Saying):
        pass

    def speak(self, *args, **kwargs):
        self.log("x", 1.0)
        return getattr(super(Speaking, self), hook)(*args, **kwargs)

    setattr(Speaking, hook, speak)

    def act(trainer_of, module):
        trainer = trainer_of()
        trainer.fit(module, loader()) if hook != "predict_step" else trainer.predict(module, loader())

    seen = same(tmp_path, lambda: Speaking(training_step=lambda m, i: m.log("x", 1.0)), act)
    assert seen["error"] is not None


# Ways of training.


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


@pytest.mark.parametrize(
    "options",
    [
        {"accumulate_grad_batches": 2},
        {"accumulate_grad_batches": 2, "log_every_n_steps": 2},
        {"log_every_n_steps": 3},
        {"log_every_n_steps": 0},
        {"val_check_interval": 1},
        {"val_check_interval": 2, "check_val_every_n_epoch": None},
        {"check_val_every_n_epoch": 2},
        {"num_sanity_val_steps": 0},
        {"num_sanity_val_steps": -1},
        {"limit_val_batches": 0},
        {"limit_train_batches": 1},
        {"max_steps": 4, "max_epochs": -1},
        {"precision": "bf16-mixed"},
        {"precision": "bf16-true"},
        {"precision": "64-true"},
        {"inference_mode": False},
        {"gradient_clip_val": 0.1},
        {"reload_dataloaders_every_n_epochs": 1},
        {"fast_dev_run": True},
        {"barebones": True, "logger": False, "log_every_n_steps": 0, "num_sanity_val_steps": 0},
        {"logger": False},
        {"enable_progress_bar": True},
        {"deterministic": True, "detect_anomaly": True},
        {"overfit_batches": 2},
    ],
    ids=str,
)
def test_every_way_of_training(tmp_path, options):
    """Whatever a Trainer is told, what it shows and writes is the same."""
    seen = same(tmp_path, usually, callbacks=[Talking], **options)
    assert seen["error"] is None
    assert bool(seen["warnings"]) >= ("barebones" in options)


def test_manual_optimization(tmp_path):
    """A step that logs twice, before and after the optimizer's hooks have logged."""
    make = lambda: ByHand(training_step=usual, on_before_optimizer_step=lambda m, i: m.log("loss", float(i)))  # noqa: E731
    assert same(tmp_path, make)["error"] is None


@pytest.mark.parametrize("number", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_default_dtypes(tmp_path, number):
    """Numbers become tensors of the default dtype, or of float32 if that is shorter."""
    before = torch.get_default_dtype()

    def say(module, count):
        module.log("float", 0.1 * count, on_step=True, on_epoch=True)
        module.log("int", torch.tensor(count), on_step=True, on_epoch=True)
        module.log("half", torch.tensor(0.1, dtype=torch.float16), on_step=True, on_epoch=True)

    def act(trainer_of, module):
        torch.set_default_dtype(number)
        try:
            data = DataLoader(torch.arange(10.0).reshape(5, 1, 2), batch_size=None)
            trainer_of().fit(module, data, data)
        finally:
            torch.set_default_dtype(before)

    class Plain(Saying):
        def loss(self, batch):
            return self.scale * 1.0

    assert same(tmp_path, lambda: Plain(training_step=say, validation_step=say), act)["error"] is None


def test_the_default_dtype_changes_in_mid_run(tmp_path):
    """Lightning asks for it with each call."""
    before = torch.get_default_dtype()

    def say(module, count):
        torch.set_default_dtype(torch.float64 if count % 2 else torch.float32)
        try:
            module.log("float", 0.1 * count, on_step=True, on_epoch=True)
            module.log("int", torch.tensor(count), on_step=True, on_epoch=True)
        finally:
            torch.set_default_dtype(before)

    assert same(tmp_path, lambda: Saying(training_step=say))["error"] is None


def test_the_default_device_changes_in_mid_run(tmp_path):
    """A number lies on the device of its module, whatever the default is."""

    def say(module, count):
        with torch.device("meta" if count % 2 else "cpu"):
            module.log("float", 0.1 * count, on_step=True, on_epoch=True, batch_size=count + 1)

    assert same(tmp_path, lambda: Saying(training_step=say, validation_step=say))["error"] is None


def test_values_on_another_device(tmp_path):
    """The entry of a name moves to the device of each value, if it can; a number lies on that of its module."""

    def say(module, count):
        device = "meta" if count > 1 else "cpu"
        module.log("x", torch.zeros((), device=device), on_step=True, on_epoch=False, logger=False)
        if count == 4:
            module.log("x", 0.5, on_step=True, on_epoch=False, logger=False)

    seen = same(tmp_path, lambda: Saying(training_step=say), lambda of, module: of().fit(module, loader(40)))
    assert seen["error"] == ["NotImplementedError", "Cannot copy out of meta tensor; no data!"]


@pytest.mark.parametrize(
    "batches",
    [
        [torch.rand(size, 2) for size in (3, 1, 5)],
        [(torch.rand(size, 2), torch.rand(size)) for size in (3, 1, 5)],
        [{"x": torch.rand(size, 2), "y": "text"} for size in (3, 1, 5)],
        [[torch.rand(3, 2), torch.rand(4)], [torch.rand(2, 2), torch.rand(2)]],
        [[torch.rand(3, 2), ["a", "b"]], [torch.rand(2, 2), None]],
        [(torch.rand(3, 2), torch.tensor(1.0)), (torch.tensor(1.0), torch.rand(3, 2))],
        [torch.tensor(1.0), torch.tensor(2.0)],
        [torch.rand(3, 2), (), torch.rand(2, 2)],
        [torch.rand(3, 2), "text", torch.rand(2, 2)],
        [torch.rand(3, 2), {"a": {"b": (torch.rand(7),)}}],
    ],
    ids=["tensor", "pair", "dict", "ambiguous", "texts", "scalars", "scalar", "empty", "text", "nested"],
)
@pytest.mark.parametrize("catches", [False, True])
def test_batches_of_any_kind(tmp_path, batches, catches):
    """The batch size is found, warned of or refused as ever; what a refused call leaves behind is nothing."""

    class AnyBatch(Saying):
        def loss(self, batch):
            return self.scale * 1.0

        def training_step(self, batch, batch_idx):
            return super().training_step([batch], batch_idx)

        def validation_step(self, batch, batch_idx):
            return super().validation_step([batch], batch_idx)

    def say(module, count):
        module.log("sum", count + 0.5, on_epoch=True, reduce_fx="sum")
        try:
            module.log("mean", count + 0.5, on_step=True, on_epoch=True, prog_bar=True)
            module.log_dict({"a": 0.1 * count, "b": 1.0}, on_step=True, on_epoch=True)
        except Exception:
            if not catches:
                raise

    def act(trainer_of, module):
        data = DataLoader(batches, batch_size=None, collate_fn=lambda batch: batch)
        trainer_of(num_sanity_val_steps=0).fit(module, data, data)

    same(tmp_path, lambda: AnyBatch(training_step=say, validation_step=say), act)


def test_a_step_that_takes_the_iterator(tmp_path):
    """Where a step fetches its batches itself, each call has to say its batch size."""

    class Fetching(Saying):
        def training_step(self, dataloader_iter):
            batch, _, _ = next(dataloader_iter)
            self.current = self.loss(batch[0])
            self.say("training_step")
            return self.current

    def say(module, count):
        module.log("x", module.current, on_epoch=True, batch_size=3)
        module.log("y", module.current, **({"batch_size": 4} if count < 4 else {}))

    seen = same(tmp_path, lambda: Fetching(training_step=say), lambda of, module: of().fit(module, loader()))
    assert "batch_size=...)` should be provided" in seen["error"][1]


# Errors.


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.log("x", 1.0, prog_bar=True),
        lambda m: m.log("x", 1.0, on_epoch=True),
        lambda m: m.log("x", 1.0, reduce_fx="max"),
        lambda m: m.log("x", 1.0, on_step=False, on_epoch=False),
        lambda m: m.log("x", 1.0, no_such_argument=1),
        lambda m: m.log("x", 1.0, name="y"),
        lambda m: m.log("x", 1.0, False, value=2.0),
        lambda m: m.log("x"),
        lambda m: m.log(value=1.0),
        lambda m: m.log(),
        lambda m: m.log("x", None),
        lambda m: m.log("x", {1, 2}),
        lambda m: m.log("x", torch.zeros(0).sum() + 1j),
        lambda m: m.log("x", 1 + 2j),
        lambda m: m.log("x", 2**2000),
        lambda m: m.log("x", m.metric("mean")),
        lambda m: m.log("x/dataloader_idx_1", 1.0),
        lambda m: m.log_dict({"x": 5.0, "a": None, "b": 7.0}),
        lambda m: m.log_dict({"x": 5.0, "a": 2**2000, "b": 7.0}),
        lambda m: m.log_dict({"x": 5.0, "a": 1.0, "b": 7.0}, prog_bar=True),
        lambda m: m.log_dict({"x": 5.0, "a": 1.0, "b": 7.0}, no_such_argument=1),
        lambda m: m.log_dict(),
        lambda m: m.log_dict(None),
        lambda m: 1 / 0,
    ],
)
@pytest.mark.parametrize("hook", ["training_step", "validation_step"])
def test_errors_in_mid_run_leave_the_same_behind(tmp_path, call, hook):
    """A call that is refused, after others like it were taken, is refused in the same words, at the same state."""

    def say(module, count):
        module.log("", 1.0)
        module.log("x", 0.5 + count)
        module.log_dict({"x": 5.0, "a": 1.5, "b": 2.0 * count})
        if count == 1:
            call(module)
            raise KeyError

    seen = same(tmp_path, lambda: Saying(**{"training_step": usual, hook: say}), briefly)
    assert seen["error"] is not None
    assert "on_exception" in [hook for hook, _ in seen["seen"]]


def test_errors_that_the_step_catches(tmp_path):
    """Training goes on with what was logged before."""

    def say(module, count):
        module.log_dict({"x": 5.0, "a": 1.5, "b": 2.0 * count}, on_epoch=True)
        for value in (None, 2**2000, torch.rand(3)[:0].sum() + 1j):
            with contextlib.suppress(Exception):
                module.log_dict({"x": 6.0 * count, "a": value, "b": 7.0 * count}, on_epoch=True)

    assert same(tmp_path, lambda: Saying(training_step=say, validation_step=say))["error"] is None


@pytest.mark.parametrize("options", [{"prog_bar": True}, {}, {"logger": False}, {"prog_bar": True, "logger": False}])
def test_a_metric_whose_step_is_no_number(tmp_path, options):
    """Lightning's message, not torch's."""

    class Vector(Metric):
        full_state_update = False

        def __init__(self):
            super().__init__()
            self.add_state("total", torch.zeros(2), dist_reduce_fx="sum")

        def update(self, value):
            self.total = self.total + value

        def compute(self):
            return self.total

    class Module(Saying):
        def __init__(self, **says):
            super().__init__(**says)
            self.vector = Vector()

    def say(module, count):
        module.log("x", 1.0, prog_bar=True)
        module.vector(torch.ones(2) * count)
        # Past the door, which knows what to do with it.
        L.LightningModule.log(module, "v", module.vector, on_step=True, on_epoch=False, **options)

    seen = same(tmp_path, lambda: Module(training_step=say), briefly)
    assert (seen["error"] is None) == (options == {"logger": False})


@pytest.mark.parametrize("where", ["first", "last"])
def test_a_logger_that_fails(tmp_path, where):
    """What was logged is known, whatever a logger makes of it."""

    class Failing(ExactRows):
        def log_metrics(self, metrics, step=None):
            if step == 3:
                raise RuntimeError("no room")

    def act(trainer_of, module):
        trainer = trainer_of()
        ours = [TrackPlusLogger(trainer.default_root_dir)]
        trainer.loggers = [Failing(), *ours] if where == "first" else [*ours, Failing()]
        try:
            trainer.fit(module, loader(20))
        finally:
            module.left = trainer.logged_metrics

    assert same(tmp_path, usually, act)["error"] == ["RuntimeError", "no room"]


# Runs that go on, or begin again.


def test_validate_then_fit_then_test(tmp_path):
    """One Trainer in all its uses; an evaluation in inference mode leaves nothing that training could not change."""

    def act(trainer_of, module):
        trainer = trainer_of()
        results = [trainer.validate(module, [loader(), loader(6)], verbose=False)]
        trainer.fit(module, loader(), [loader(), loader(6)])
        results.append(trainer.validate(module, loader(6), verbose=False))
        results.append(trainer.test(module, loader(), verbose=False))
        return results

    assert same(tmp_path, lambda: usually(test_step=usual), act)["error"] is None


def test_fit_twice(tmp_path):
    """The second training goes on with the first one's Trainer."""

    def act(trainer_of, module):
        trainer = trainer_of(max_epochs=1)
        trainer.fit(module, loader(), loader())
        trainer.fit_loop.max_epochs = 3
        trainer.fit(module, loader(7), loader(3))

    assert same(tmp_path, usually, act)["error"] is None


def test_two_trainers_in_turn(tmp_path):
    """A module that goes from one Trainer to the next, one of which has failed."""

    def act(trainer_of, module):
        trainer_of().fit(module, loader(), loader())
        with pytest.raises(ZeroDivisionError):
            trainer_of(callbacks=[Failing()]).fit(module, loader(), loader())
        trainer_of().fit(module, loader(6))

    class Failing(L.Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            return 1 // (batch_idx - 1)

    assert same(tmp_path, usually, act)["error"] is None


@goes_on_exactly
def test_resume(tmp_path):
    """A run that goes on from a checkpoint in mid-epoch, with another Trainer."""

    def act(trainer_of, module):
        trainer_of(max_steps=2).fit(module, loader(20), loader())
        trainer = trainer_of(max_steps=4)
        trainer.fit(module, loader(20), loader())
        trainer.save_checkpoint("at4.ckpt")
        trainer_of(max_epochs=3).fit(usually(), loader(20), loader(), ckpt_path="at4.ckpt")

    assert same(tmp_path, usually, act)["error"] is None


def test_early_stop_and_best_checkpoint(tmp_path):
    """Those who monitor find the same, and stop at the same step."""

    def act(trainer_of, module):
        best = ModelCheckpoint(monitor="best", mode="max", filename="best")
        trainer = trainer_of(
            max_epochs=9,
            callbacks=[EarlyStopping("stop", mode="max", patience=1), best],
            enable_checkpointing=True,
        )
        trainer.fit(module, loader(), loader())
        return trainer.current_epoch, trainer.global_step, best.best_model_score

    def say(module, count):
        module.log("stop", -abs(module.trainer.current_epoch - 2.0))
        module.log("best", torch.tensor(float(count % 7)), reduce_fx="max")

    assert same(tmp_path, lambda: usually(validation_step=say), act)["result"].startswith("(")


def test_should_stop(tmp_path):
    """A Trainer that is told to stop in mid-epoch logs its last step."""

    def say(module, count):
        usual(module, count)
        module.trainer.should_stop = count == 3

    assert same(tmp_path, lambda: usually(training_step=say), log_every_n_steps=5)["error"] is None


@pytest.mark.parametrize("finder", ["learning_rate", "batch_size"])
def test_searches(tmp_path, finder):
    """What looks for a rate or a size runs batches of its own before the training."""

    class Searched(Saying):
        def __init__(self, **says):
            super().__init__(**says)
            self.lr, self.batch_size = 0.01, 1

        def train_dataloader(self):
            return loader(10, self.batch_size)

        def val_dataloader(self):
            return loader(2)

    def act(trainer_of, module):
        search = (
            LearningRateFinder(num_training_steps=5)
            if finder == "learning_rate"
            else BatchSizeFinder(max_trials=1, steps_per_trial=2)
        )
        trainer_of(max_epochs=1, callbacks=[search]).fit(module)

    seen = same(tmp_path, lambda: Searched(training_step=usual), act)
    assert seen["error"] is None


def test_averaged_weights(tmp_path):
    """A callback that runs an epoch more than was asked for."""

    def act(trainer_of, module):
        swa = StochasticWeightAveraging(swa_lrs=0.1, swa_epoch_start=1)
        trainer_of(max_epochs=3, callbacks=[swa]).fit(module, loader(), loader())

    assert same(tmp_path, usually, act)["error"] is None


# Modules and loggers of all sorts.


def test_modules_with_a_log_of_their_own(tmp_path):
    """They get each call, with the arguments as they were given."""

    class Louder(Saying):
        def log(self, name, value, *args, **kwargs):
            super().log(f"louder/{name}", value, *args, **kwargs)

    class Dicts(Saying):
        def log_dict(self, dictionary, *args, **kwargs):
            super().log_dict({f"dict/{name}": value for name, value in dictionary.items()}, *args, **kwargs)

    for kind in (Louder, Dicts):
        seen = same(tmp_path / kind.__name__, lambda kind=kind: kind(training_step=usual, validation_step=usual))
        assert any(name.startswith(("louder/", "dict/")) for name in names(seen))


def test_calls_past_the_door(tmp_path):
    """``super().log`` reaches Lightning directly; both ways lead to one entry."""

    def say(module, count):
        module.log("x", float(count), on_step=True, on_epoch=True)
        L.LightningModule.log(module, "x", 2.0 * count, on_step=True, on_epoch=True)
        L.LightningModule.log_dict(module, {"x": 3.0}, on_step=True, on_epoch=True)

    assert same(tmp_path, lambda: Saying(training_step=say))["error"] is None


def test_entries_that_someone_removes(tmp_path):
    """A name that is no longer in Lightning's results begins anew."""

    def say(module, count):
        module.log("x", float(count), on_step=True, on_epoch=True)
        module.log("y", float(count), on_step=True, on_epoch=True)
        if count % 3 == 1:
            module.trainer._results.pop("training_step.x")
        if count % 3 == 2:
            module.trainer._results.reset()
        if count == 4:
            module.trainer._results.clear()

    make = lambda: Saying(training_step=say)  # noqa: E731
    assert same(tmp_path, make, lambda of, module: of().fit(module, loader(40)))["error"] is None


def test_subclasses_of_tensor(tmp_path):
    """A tensor of another class stays one where Lightning lets it."""

    class Marked(torch.Tensor):
        pass

    def say(module, count):
        value = torch.tensor(float(count)).as_subclass(Marked)
        module.log("x", value, on_step=True, on_epoch=True)
        module.log("y", value, on_epoch=True, reduce_fx="max")
        found = {name: type(one).__name__ for name, one in module.trainer.callback_metrics.items()}
        module.trainer.strategy.types = [*getattr(module.trainer.strategy, "types", []), found]

    def act(trainer_of, module):
        trainer = trainer_of()
        trainer.fit(module, loader())
        return trainer.strategy.types

    assert "Marked" in same(tmp_path, lambda: Saying(training_step=say), act)["result"]


class Copied(Saying):
    """Logs the usual; pickle finds its class."""

    copies: list[L.LightningModule] = []

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch[0])
        self.log("loss", loss, prog_bar=True, on_epoch=True)
        self.log_dict({"a": float(batch_idx), "b": loss.detach()}, on_epoch=True)
        if batch_idx == 1 and len(self.copies) < 2:
            self.copies += [copy.deepcopy(self), pickle.loads(pickle.dumps(self))]
        return loss


def test_a_module_that_is_copied_in_mid_run(tmp_path):
    """A copy and a pickle, which have no door, run as the module does."""

    def act(trainer_of, module):
        Copied.copies = []
        trainer_of(max_epochs=1).fit(module, loader())
        for one in Copied.copies:
            trainer_of(max_epochs=1).fit(one, loader())

    seen = same(tmp_path, Copied, act)
    assert seen["error"] is None
    assert len(Copied.copies) == 2


def test_a_name_that_is_a_reducers_first(tmp_path):
    """Numbers that a reducer of ours takes, and numbers that are Lightning's, side by side."""

    def say(module, count):
        value = torch.tensor(float(count % 5))
        module.log("p90", value, reduce_fx="p90", on_step=False, on_epoch=True)
        module.log("mean", value, on_step=True, on_epoch=True)
        module.log("samples", torch.arange(3.0) + count, on_step=False, on_epoch=True)

    reports = [
        report(tmp_path, way, lambda: Saying(training_step=say, validation_step=say)) for way in ("closed", "open")
    ]
    assert reports[0] == reports[1]
    assert reports[0]["error"] is None


# Where the lane begins and ends.


@pytest.fixture
def reached(monkeypatch):
    """Return the names that reach Lightning's results by Lightning's own way, in their order."""
    found = []
    native = _ResultCollection.log

    def log(self, fx, name, *args, **kwargs):
        found.append(name)
        native(self, fx, name, *args, **kwargs)

    monkeypatch.setattr(_ResultCollection, "log", log)
    return found


@pytest.mark.parametrize(("fast", "x_times", "times"), [(True, 2, 1), (False, 6, 6)])
def test_lightning_sees_the_first_call_of_an_epoch(tmp_path, reached, fast, x_times, times):
    """Of six calls in two epochs, two reach Lightning, of other names one; all where the lane is closed."""

    class Module(LoggingModule):
        def __init__(self, **hooks):
            super().__init__(**hooks)
            self.mean = MeanMetric()

    def say(module, batch, batch_idx):
        module.log("x", 0.5)
        module.mean(batch)
        module.log("m", module.mean)
        module.log("y", batch.mean(), on_step=True, on_epoch=True, prog_bar=True)
        module.log_dict({"a": 1, "b": batch.sum()}, on_epoch=True)

    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus(fast=fast)], max_epochs=2)
    trainer.fit(Module(training_step=say), loader())
    assert {name: reached.count(name) for name in reached} == {"x": x_times, **dict.fromkeys("myab", times)}


@pytest.mark.parametrize("name", ["log", "log_dict"])
def test_a_way_that_somebody_gave_lightning(tmp_path, monkeypatch, name):
    """Each call passes through what stands in Lightning's own place."""
    passed = []
    native = getattr(L.LightningModule, name)

    def patched(self, *args, **kwargs):
        passed.append(args)
        native(self, *args, **kwargs)

    monkeypatch.setattr(L.LightningModule, name, patched)

    def say(module, batch, batch_idx):
        module.log("x", 0.5) if name == "log" else module.log_dict({"x": 0.5})

    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], max_epochs=2)
    trainer.fit(LoggingModule(training_step=say), loader())
    assert len(passed) == 6


def left_of(trainer, module):
    """Return what stands for Lightning's own in a Trainer and a module."""
    loops = [trainer.fit_loop.epoch_loop, trainer.fit_loop.epoch_loop.val_loop, trainer.validate_loop]
    return [
        *(["metrics"] if any("metrics" in vars(loop._results) for loop in loops) else []),
        *({"log_metrics"} & set(vars(trainer._logger_connector))),
        *({"log", "log_dict"} & set(vars(module))),
    ]


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_stays_behind(tmp_path, fails):
    """After a run and after a failure, Lightning's own is where it was."""
    found = []

    def say(module, batch, batch_idx):
        module.log("x", 0.5)
        found.append(left_of(module.trainer, module))
        if fails and batch_idx == 2:
            raise KeyError

    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()])
    module = LoggingModule(training_step=say, validation_step=say)
    with pytest.raises(KeyError) if fails else contextlib.nullcontext():
        trainer.fit(module, loader(), loader())
    assert sorted(found[-1]) == ["log", "log_dict", "log_metrics", "metrics"]
    assert left_of(trainer, module) == []


OTHER_LIGHTNING = """
import sys, warnings
from lightning.pytorch.trainer.connectors.logger_connector import result

native = result._ResultMetric.update

def update(self, value, batch_size):
    native(self, value if self.update_count == 1 else 2 * value, batch_size)

result._ResultMetric.update = update
from lightning_trackplus import TrackPlus
from tests.conftest import LoggingModule, loader, quiet_trainer

say = lambda module, batch, batch_idx: module.log("x", 1.0, on_step=False, on_epoch=True, reduce_fx="sum")
for fast in (True, True, False):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer = quiet_trainer(sys.argv[1], callbacks=[TrackPlus(fast=fast)], max_epochs=2)
        trainer.fit(LoggingModule(training_step=say), loader())
    print(trainer.callback_metrics["x"].item(), *[one.message for one in caught if "fast lane" in str(one.message)])
"""


def test_on_another_lightning_the_lane_stays_closed(tmp_path):
    """Where Lightning keeps what is logged in another way, one warning says so, and its way is what counts."""
    program = tmp_path / "program.py"
    program.write_text(OTHER_LIGHTNING)
    checkout = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "5.0 This version of Lightning keeps what is logged in another way than the fast lane of lightning-trackplus"
        " knows, so every call of self.log goes to Lightning itself: the results are the same, at Lightning's own"
        " cost.",
        "5.0",
        "5.0",
    ]


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("fast", [True, False])
def test_compiled_steps(tmp_path, backend, fast):
    """A step that torch has compiled logs what it logs uncompiled, in ``log`` and in ``log_dict``."""

    class Compiled(Saying):
        def training_step(self, batch, batch_idx):
            loss = self.loss(batch[0])
            self.log("loss", loss, on_step=True, on_epoch=True, prog_bar=True)
            self.log("number", 0.5, on_epoch=True)
            self.log_dict({"a": loss * 2, "b": 3}, on_epoch=True)
            return loss

    shown = []
    for compiles in (False, True):
        torch.manual_seed(0)
        module = Compiled()
        if compiles:
            torch._dynamo.reset()
            module.training_step = torch.compile(module.training_step, backend=backend)
        trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus(fast=fast)], max_epochs=2, logger=ExactRows())
        trainer.fit(module, loader(12))
        rows = [row for row in trainer.logger.rows if row != "saved"]
        shown.append([{name: value.item() for name, value in trainer.callback_metrics.items()}, rows])
    assert shown[0][0] == pytest.approx(shown[1][0], rel=1e-6)
    rows = [[(step, [name for name, _ in row]) for step, row in rows if row] for _, rows in shown]
    assert rows[0] == rows[1]


# Numbers on their way to the loggers.


class OnDevice(torch.Tensor):
    """A tensor that says it lies on a CUDA device, and counts how often someone waits for its number."""

    waits = 0
    is_cpu = False
    is_cuda = True

    def item(self):
        OnDevice.waits += 1
        return self.as_subclass(torch.Tensor).item()

    def __float__(self):
        return self.item()

    def to(self, *args, **kwargs):
        moved = super().to(*args, **kwargs)
        return moved.as_subclass(torch.Tensor) if "cpu" in args else moved


@pytest.fixture
def waits():
    """Return how often was waited for a number so far."""
    OnDevice.waits = 0
    return lambda: OnDevice.waits


def on_device(value):
    """Return a tensor that says it lies on a device."""
    return torch.as_tensor(value).as_subclass(OnDevice)


def several(module, batch, batch_idx):
    """Log tensors of a device, in training and evaluation."""
    value = on_device(batch.mean())
    module.log("x", value, on_step=True, on_epoch=True)
    module.log("y", value * 2, on_epoch=True, reduce_fx="max")
    module.log_dict({"a": value, "b": on_device(torch.tensor(batch_idx, dtype=torch.float64))}, on_epoch=True)


def test_our_logger_waits_for_no_number(tmp_path, waits):
    """What is handed over in steps is read by the delivery thread; only the ends of epochs are asked for at once."""
    logger = TrackPlusLogger(tmp_path)
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=logger, max_epochs=2, num_sanity_val_steps=0)
    trainer.fit(LoggingModule(training_step=several), loader(40))
    assert waits() == 0
    rows = [one for one in rows_of(logger) if one["x_step"]]
    assert [float(row["x_step"]) for row in rows] == [0.0] * 20
    assert [float(row["b_step"]) for row in rows] == [*range(10), *range(10)]


def rows_of(logger):
    """Return the rows of a run's numbers."""
    with Path(logger.log_dir, "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


class Floats(ExactRows):
    """A logger of others."""


class Own(TrackPlusLogger):
    """A logger that takes the numbers in itself, as a class of a user may."""

    def log_metrics(self, metrics, step=None):
        self.types = {*getattr(self, "types", ()), *map(type, metrics.values())}
        super().log_metrics(metrics, step)


@pytest.mark.parametrize("ours_first", [True, False])
def test_other_loggers_get_numbers(tmp_path, ours_first, waits):
    """Whoever does not expect tensors gets what Lightning gives, beside ours, which writes the same."""
    others, ours = [Floats(), Own(tmp_path / "own")], [TrackPlusLogger(tmp_path / "ours")]
    loggers = [*ours, *others] if ours_first else [*others, *ours]
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=loggers)
    trainer.fit(LoggingModule(training_step=several), loader())
    rows = [row for row in others[0].rows if row != "saved"]
    assert {kind for _, row in rows for _, (kind, *_) in row} == {"float", "int"}
    assert others[0].rows.count("saved") >= len(rows) > 3
    assert others[1].types == {float, int}
    assert waits() > 0
    assert [{**row, "wall_time": ""} for row in rows_of(ours[0])] == [
        {**row, "wall_time": ""} for row in rows_of(others[1])
    ]


def test_a_number_of_lightnings_loggers_beside_ours(tmp_path):
    """CSVLogger beside ours writes what it writes alone."""
    written = []
    for callbacks in ([], [TrackPlus()]):
        torch.manual_seed(0)
        folder = tmp_path / str(len(callbacks))
        trainer = quiet_trainer(folder, callbacks=callbacks, logger=[TrackPlusLogger(folder), CSVLogger(folder, "csv")])
        trainer.fit(usually(), loader(), loader())
        written.append(Path(trainer.loggers[1].log_dir, "metrics.csv").read_bytes())
    assert written[0] == written[1]


@given(numbers=st.dictionaries(st.text(max_size=3), st.one_of(st.floats(), st.integers(), TENSORS), max_size=6))
def test_late_numbers_are_what_the_tensors_held(numbers):
    """Numbers of all dtypes arrive as they were when they left, in their order; numbers of the host are among them."""
    held = {name: value.clone() if isinstance(value, torch.Tensor) else value for name, value in numbers.items()}
    late = LateNumbers(held)
    for value in held.values():
        if isinstance(value, torch.Tensor):
            value.zero_()
    expected = {name: value.item() if isinstance(value, torch.Tensor) else value for name, value in numbers.items()}
    assert list(late) == list(numbers)
    assert len(late) == len(numbers)
    assert late.have_arrived()
    assert repr(dict(late)) == repr(expected)
    assert repr(late.numbers()) == repr(expected)


@pytest.mark.skipif(torch.cuda.is_available(), reason="tests/gpu shows it on the device itself")
def test_late_numbers_are_sent_without_being_read():
    """A fake tensor has no number: whatever asked for one, and would wait for it on a device, would raise."""
    with FakeTensorMode():
        values = {f"n{index}": torch.empty((), device="cuda") for index in range(50)}
        late = LateNumbers({**values, "epoch": 3, "double": torch.empty((), dtype=torch.float64, device="cuda")})
        assert len(late) == 52
        with pytest.raises(DataDependentOutputException):
            values["n0"].item()


@pytest.mark.skipif(torch.cuda.is_available(), reason="tests/gpu shows it on the device itself")
@pytest.mark.parametrize("reduction", ["mean", "sum", "max"])
@pytest.mark.parametrize(("on_step", "on_epoch"), [(True, True), (True, False), (False, True)])
def test_values_are_taken_without_being_read(reduction, on_step, on_epoch):
    """Tensors and Python's numbers go into an entry on a device, and out of it, while no number is to be had."""
    results = _ResultCollection(training=True)
    options = {"on_step": on_step, "on_epoch": on_epoch, "reduce_fx": reduction}
    results.log("training_step", "x", torch.tensor(1.0), **options)
    entry = results["training_step.x"]
    connector = SimpleNamespace(_current_fx="training_step", _first_loop_iter=False)
    with FakeTensorMode():
        entry.value = value = torch.empty((), device="cuda")
        entry.cumulated_batch_size = torch.empty((), dtype=torch.int64, device="cuda")
        results.batch = torch.empty(3, device="cuda")
        site = NumberSite(results, connector, "training_step", "training_step.x", taken=value, device=value.device)
        for one in (value, 0.5, 3, 1e300, 2**70, value.half(), value.double()):
            assert site.take(one, None)
            assert site.take(one, 7)
            assert entry.value.device == value.device
        assert len(StepMetrics(results)(True)["log"]) == on_step
        entry.value = torch.empty(())
        assert not site.take(value, 7)
        with pytest.raises(DataDependentOutputException):
            entry.value.item()


def test_numbers_of_the_progress_bar(waits):
    """On the host they are exact; on a device those that have arrived, and new names are waited for once."""
    lagging = LaggingNumbers()
    assert lagging.of({"a": torch.tensor(0.5), "b": torch.tensor([3])}) == {"a": 0.5, "b": 3}
    first = {"c": on_device(0.5), "a": torch.tensor(1.5), "d": on_device(2**40 + 1)}
    assert lagging.of(first) == {"c": 0.5, "a": 1.5, "d": 2**40 + 1}
    assert list(lagging.of(first)) == ["c", "a", "d"]
    before = waits()
    second = {"c": on_device(0.75), "a": torch.tensor(2.5), "d": on_device(2**40 + 2)}
    assert lagging.of(second) == {"c": 0.5, "a": 2.5, "d": 2**40 + 1}
    assert lagging.of(second) == {"c": 0.75, "a": 2.5, "d": 2**40 + 2}
    assert waits() == before


# Sequences that nobody thought of.

OPTIONS = [
    {},
    {"on_epoch": True},
    {"on_step": True, "on_epoch": True},
    {"on_step": False, "on_epoch": True},
    {"on_step": True, "on_epoch": True, "reduce_fx": "max", "prog_bar": True},
    {"on_epoch": True, "reduce_fx": "sum", "logger": False},
    {"on_epoch": True, "reduce_fx": "min", "batch_size": 3},
    {"on_epoch": True, "batch_size": 2, "prog_bar": True},
    {"on_epoch": True, "enable_graph": True},
    {"on_epoch": True, "sync_dist": True, "rank_zero_only": True},
]


@st.composite
def scripts(draw):
    """Draw what a module logs in each batch: names with their arguments, and now and then another argument."""
    usual_options = {name: draw(st.sampled_from(OPTIONS)) for name in "abcd"}
    other = st.one_of(*[st.none()] * 12, st.sampled_from(OPTIONS))

    def calls():
        made = []
        for _ in range(draw(st.integers(0, 4))):
            chosen = draw(st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True))
            options = draw(other) or usual_options[chosen[0]]
            made.append((draw(st.booleans()), chosen, options))
        return made

    variants = [calls() for _ in range(draw(st.integers(1, 2)))]
    order = draw(st.lists(st.sampled_from(variants), min_size=1, max_size=4))
    return order, draw(st.lists(VALUES, min_size=1, max_size=8))


def following(script):
    """Return what says, in one hook, what a script says."""
    order, values = script

    def say(module, count):
        at = count
        for as_dict, chosen, options in order[count % len(order)]:
            numbers = {name: values[(at + index) % len(values)] for index, name in enumerate(chosen)}
            at += len(chosen)
            if as_dict:
                module.log_dict(numbers, **options)
            else:
                for name, number in numbers.items():
                    module.log(name, number, **options)

    return say


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    hooks=st.fixed_dictionaries(
        {},
        optional={
            hook: scripts()
            for hook in (
                "training_step",
                "on_train_batch_end",
                "validation_step",
                "on_train_epoch_end",
                "on_validation_epoch_end",
                "on_before_optimizer_step",
            )
        },
    ),
    accumulate=st.sampled_from([1, 1, 2]),
    every=st.sampled_from([1, 1, 2]),
)
def test_any_sequence_of_calls(tmp_path_factory, hooks, accumulate, every):
    """Any calls in any hooks give the same numbers, warnings and errors."""
    same(
        tmp_path_factory.mktemp("drawn"),
        lambda: Saying(**{hook: following(script) for hook, script in hooks.items()}),
        accumulate_grad_batches=accumulate,
        log_every_n_steps=every,
    )


# Two processes.


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """Run the program once, as Lightning starts it: the second process is a child of the first."""
    folder = tmp_path_factory.mktemp("ranks")
    checkout = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, str(checkout / "tests/fast_lane_runs.py"), str(folder)],
        env={**os.environ, "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("way", ["closed", "open"])
def test_two_processes_see_the_same(ranks, way):
    """With sync_dist in each reduction and without, each process sees what it saw without TrackPlus."""
    for rank in ranks:
        assert rank[way] == rank["without"]
        assert rank[way]["error"] is None
        assert len(rank[way]["seen"]) > 10
