"""Where the fast path begins and ends, and how numbers go from it to the loggers."""

from __future__ import annotations

import contextlib
import csv
import functools
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torchmetrics import MeanMetric

import tests.flavour as L
from lightning_trackplus import TrackPlus, TrackPlusLogger
from lightning_trackplus.lightning_internals.entry_sites import ScalarSite
from lightning_trackplus.lightning_internals.fast_path import is_as_mirrored
from lightning_trackplus.lightning_internals.flavours import installed_flavours
from lightning_trackplus.lightning_internals.step_metrics import LastKnownScalars, StepMetrics
from lightning_trackplus.runtime.device_transfer import PendingScalars
from tests.flavour.pytorch.loggers import CSVLogger
from tests.flavour.pytorch.trainer.connectors.logger_connector.result import _ResultCollection, _ResultMetric
from tests.support.drawn import TENSORS
from tests.support.paired_runs import (
    ExactRows,
    Saying,
    clear_warnings,
    usually,
)
from tests.support.same import names, same_in_all_ways
from tests.support.training import LoggingModule, loader, quiet_trainer
from tests.support.wrappers import made, named, unnamed

# Where the lane begins and ends.


@pytest.fixture
def reached(monkeypatch):
    """Return the names that reach Lightning's results by Lightning's own way, in their order."""
    is_as_mirrored(installed_flavours()[0])  # It logs too, once in a process.
    found = []
    native = _ResultCollection.log

    def log(self, fx, name, *args, **kwargs):
        found.append(name)
        native(self, fx, name, *args, **kwargs)

    monkeypatch.setattr(_ResultCollection, "log", log)
    return found


@pytest.fixture
def said():
    """Return what is said of the fast path, once in a process."""
    clear_warnings()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield lambda: [str(one.message) for one in caught if "fast path" in str(one.message)]


def closed(why):
    """Return how it is said that the fast path is not used."""
    return (
        f"TrackPlus does not use its fast path, since {why}. Every call of self.log takes Lightning's own path: the"
        " results are the same, at Lightning's own cost. TrackPlus(fast=False) does the same without this warning."
    )


def closed_for(home):
    """Return why it is closed for what somebody wrote in a module."""
    return closed(f"self.log is overridden or wrapped in `{home}`, which must see every call")


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


@pytest.mark.parametrize("again", [False, True])
def test_what_torch_wraps_is_lightnings_own(tmp_path, monkeypatch, reached, said, again):
    """Lightning's main branch decorates it with ``torch.compiler.disable``, and so may somebody for one module."""
    for owner, names_of in ((L.LightningModule, ("log", "log_dict")), (_ResultCollection, ("log", "update_metrics"))):
        for name in names_of:
            monkeypatch.setattr(owner, name, torch.compiler.disable(getattr(owner, name)))

    def say(module, batch, batch_idx):
        module.log("x", 0.5)
        module.log_dict({"y": 0.5})

    module = LoggingModule(training_step=say)
    if again:
        module.log = torch.compiler.disable(module.log)
        if not hasattr(module.log.__wrapped__, "__self__"):
            pytest.skip("this torch loses the object of a method that is wrapped twice")
    quiet_trainer(tmp_path, callbacks=[TrackPlus()], max_epochs=2).fit(module, loader())
    assert [reached.count(name) for name in "xy"] == [2, 1]
    assert said() == []


@pytest.mark.parametrize(
    ("wrap", "home"), [(named, "tests.support.wrappers"), (unnamed, "tests.support.wrappers"), (made, "<string>")]
)
@pytest.mark.parametrize("name", ["log", "log_dict"])
def test_a_way_that_somebody_gave_lightning(tmp_path, monkeypatch, said, name, wrap, home):
    """Each call passes through what stands in Lightning's own place, and a closed lane is said once."""
    passed = []
    native = getattr(L.LightningModule, name)

    def patched(self, *args, **kwargs):
        passed.append(args)
        native(self, *args, **kwargs)

    patched.__wrapped__ = native
    monkeypatch.setattr(L.LightningModule, name, wrap(patched))

    def say(module, batch, batch_idx):
        module.log("x", 0.5) if name == "log" else module.log_dict({"x": 0.5})

    for fast in (True, True, False):
        trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus(fast=fast)], max_epochs=2)
        trainer.fit(LoggingModule(training_step=say), loader())
    assert len(passed) == 18
    assert said() == ([closed_for(home)] if name == "log" else [])


def test_a_module_with_its_own_log(tmp_path, reached, said):
    """It is asked for each call, and one warning says why the lane is closed."""

    class Own(LoggingModule):
        @torch.compiler.disable
        def log(self, name, value, **options):
            super().log(f"own/{name}", value, **options)

    for _ in range(2):
        trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()])
        trainer.fit(Own(training_step=lambda module, batch, batch_idx: module.log("x", 0.5)), loader())
    assert reached == ["own/x"] * 6
    assert said() == [closed_for(__name__)]


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


@pytest.mark.parametrize("name", ["log", "log_dict"])
def test_what_is_put_around_log_in_a_run_stays(tmp_path, name):
    """It is there afterwards, and leads to Lightning's own."""
    passed = []

    def wrap(module, batch, batch_idx):
        if not passed:
            inner = getattr(module, name)
            setattr(module, name, lambda *args, **kwargs: passed.append(args) or inner(*args, **kwargs))
        module.log("x", 0.5) if name == "log" else module.log_dict({"x": 0.5})

    module = LoggingModule(training_step=wrap)
    quiet_trainer(tmp_path, callbacks=[TrackPlus()]).fit(module, loader())
    assert len(passed) == 3
    trainer = quiet_trainer(tmp_path)
    trainer.fit(module, loader())
    assert len(passed) == 6
    assert trainer.callback_metrics["x"] == 0.5


def test_a_dictionary_like_one_before_it_is_not_taken_apart_again(tmp_path):
    """Of a ``log_dict`` call, ``log`` hears in the first step of an epoch alone."""
    heard, by_step = [], []

    def say(module, batch, batch_idx):
        if not by_step:
            inner = module.log
            module.log = lambda name, *args, **kwargs: heard.append(name) or inner(name, *args, **kwargs)
        for _ in range(2):
            heard.clear()
            module.log_dict({"a": 0.5, "b": batch.mean()}, on_epoch=True)
            by_step.append("".join(heard))

    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], max_epochs=2)
    trainer.fit(LoggingModule(training_step=say), loader())
    an_epoch = ["ab", "", "", "", "", ""]
    assert by_step == 2 * an_epoch


def test_an_empty_dictionary_as_the_first_call_of_a_hook(tmp_path):
    """It logs nothing, and what comes after it is as without TrackPlus."""

    def say(module, count):
        module.log_dict({})
        module.log_dict({}, on_epoch=True)
        module.log_dict({"a": count, "b": module.current} if count else {}, on_epoch=True)
        module.log("c", 0.5 * count)

    seen = same_in_all_ways(tmp_path, lambda: Saying(training_step=say, validation_step=say))
    assert seen["error"] is None
    assert {"a_epoch", "b_step", "c"} <= names(seen)


@pytest.fixture
def looks_at_lightning():
    """Let the fast path look at Lightning anew, in this test and after it."""
    is_as_mirrored.cache_clear()
    yield
    is_as_mirrored.cache_clear()


def keeps_in_another_way(monkeypatch):
    """Let Lightning keep for an epoch what it does not show in a step."""
    native = _ResultMetric.update

    def update(self, value, batch_size):
        native(self, value, batch_size)
        if self.is_tensor and self.meta.on_epoch and self.update_count > 1:
            self.value = self.value + 1

    monkeypatch.setattr(_ResultMetric, "update", update)


def shows_in_another_way(monkeypatch):
    """Let Lightning show in another way what it keeps as ever."""
    native = _ResultCollection.metrics

    def metrics(self, on_step):
        shown = native(self, on_step)
        return {kind: {name: value + 0.25 for name, value in of.items()} for kind, of in shown.items()}

    monkeypatch.setattr(_ResultCollection, "metrics", metrics)


def has_another_name(monkeypatch):
    """Let Lightning no longer have what the lane asks it for."""
    native, forked_name = _ResultCollection.metrics, _ResultCollection._forked_name

    def metrics(self, on_step):
        self._forked_name = functools.partial(forked_name, self)
        try:
            return native(self, on_step)
        finally:
            del self._forked_name

    monkeypatch.setattr(_ResultCollection, "metrics", metrics)
    monkeypatch.delattr(_ResultCollection, "_forked_name")


@pytest.mark.parametrize("change", [keeps_in_another_way, shows_in_another_way, has_another_name])
def test_on_another_lightning_the_lane_stays_closed(tmp_path, monkeypatch, looks_at_lightning, said, change):
    """Where Lightning keeps or shows what is logged in another way, one warning says so, and its way is what counts."""
    change(monkeypatch)

    def say(module, batch, batch_idx):
        module.log("x", 1.0, on_step=False, on_epoch=True, reduce_fx="sum")
        module.log("y", 1.0 + batch_idx, prog_bar=True)

    shown = []
    for callbacks in ([], [TrackPlus()], [TrackPlus()], [TrackPlus(fast=False)]):
        trainer = quiet_trainer(tmp_path, callbacks=callbacks, max_epochs=2)
        trainer.fit(LoggingModule(training_step=say), loader())
        shown.append({name: value.item() for name, value in trainer.callback_metrics.items()})
    assert shown == [shown[0]] * 4
    assert shown[0].keys() == {"x", "y"}
    assert said() == [
        closed(
            f"{installed_flavours()[0]} or torchmetrics keeps what is logged in another way than the fast path knows"
        )
    ]


@pytest.mark.parametrize(("fast", "backend"), [(True, "aot_eager"), (False, "eager")])
def test_compiled_steps(tmp_path, fast, backend):
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


@pytest.mark.skipif(sys.platform == "win32", reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("fast", [True, False])
def test_a_compiled_module(tmp_path, fast):
    """It logs what it logs uncompiled, also where Lightning's own ``log`` cannot be compiled."""

    class Module(LoggingModule):
        def training_step(self, batch, batch_idx):
            loss = self.layer(batch[0]).pow(2).mean()
            self.log("loss", loss, on_step=True, on_epoch=True)
            self.log_dict({"a": loss.detach() * 2, "b": 3})
            return loss

        def validation_step(self, batch, batch_idx):
            self.log("val", self.layer(batch[0]).mean(), reduce_fx="max")

    def trained(callbacks, compiles):
        torch.manual_seed(0)
        torch._dynamo.reset()
        module = torch.compile(Module(), backend="aot_eager") if compiles else Module()
        trainer = quiet_trainer(tmp_path, callbacks=callbacks, max_epochs=2)
        trainer.fit(module, loader(), loader())
        return {name: value.item() for name, value in trainer.callback_metrics.items()}

    uncompiled = pytest.approx(trained([], compiles=False), rel=1e-6)
    assert trained([TrackPlus(fast=fast)], compiles=True) == uncompiled
    try:
        assert trained([], compiles=True) == uncompiled
    except torch._dynamo.exc.InternalTorchDynamoError as error:
        assert "is_param_in_hook_signature" in str(error)  # noqa: PT017  Lightning 2.6 with torch 2.13


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


@settings(max_examples=40)
@given(numbers=st.dictionaries(st.text(max_size=3), st.one_of(st.floats(), st.integers(), TENSORS), max_size=6))
def test_late_numbers_are_what_the_tensors_held(numbers):
    """Numbers of all dtypes arrive as they were when they left, in their order; numbers of the host are among them."""
    held = {name: value.clone() if isinstance(value, torch.Tensor) else value for name, value in numbers.items()}
    late = PendingScalars(held)
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
        late = PendingScalars({**values, "epoch": 3, "double": torch.empty((), dtype=torch.float64, device="cuda")})
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
        site = ScalarSite(results, connector, "training_step", "training_step.x", taken=value, device=value.device)
        for one in (value, 0.5, 3, 1e300, 2**70, value.half(), value.double()):
            assert site.add(one, None)
            assert site.add(one, 7)
            assert entry.value.device == value.device
        assert len(StepMetrics(results)(True)["log"]) == on_step
        entry.value = torch.empty(())
        assert not site.add(value, 7)
        with pytest.raises(DataDependentOutputException):
            entry.value.item()


def test_numbers_of_the_progress_bar(waits):
    """On the host they are exact; on a device those that have arrived, and new names are waited for once."""
    lagging = LastKnownScalars()
    assert lagging.of({"a": torch.tensor(0.5), "b": torch.tensor([3])}) == {"a": 0.5, "b": 3}
    first = {"c": on_device(0.5), "a": torch.tensor(1.5), "d": on_device(2**40 + 1)}
    assert lagging.of(first) == {"c": 0.5, "a": 1.5, "d": 2**40 + 1}
    assert list(lagging.of(first)) == ["c", "a", "d"]
    before = waits()
    second = {"c": on_device(0.75), "a": torch.tensor(2.5), "d": on_device(2**40 + 2)}
    assert lagging.of(second) == {"c": 0.5, "a": 2.5, "d": 2**40 + 1}
    assert lagging.of(second) == {"c": 0.75, "a": 2.5, "d": 2**40 + 2}
    assert waits() == before
