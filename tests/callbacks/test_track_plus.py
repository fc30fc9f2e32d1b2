"""Attaching and detaching."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

import tests.flavour as L
from lightning_trackplus import Image, Text, TrackPlus
from lightning_trackplus.lightning_internals import flavours
from tests.flavour.fabric.utilities.exceptions import MisconfigurationException
from tests.support.training import LoggingModule, loader, quiet_trainer


def is_native(module: L.LightningModule) -> bool:
    """Return whether nothing stands in the module's ``log``."""
    return "log" not in vars(module) and module.log.__func__ is L.LightningModule.log


@pytest.mark.parametrize("entry", ["fit", "validate", "test"])
def test_log_is_lightnings_own_again_after_a_run(tmp_path, entry):
    """The module and the callbacks have their own ``log`` back after ``fit``, ``validate`` and ``test``."""
    module, other = LoggingModule(), L.Callback()
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus(), other])
    getattr(trainer, entry)(module, loader())
    assert is_native(module)
    assert other.log == module.log


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt(), SystemExit(3)])
def test_log_is_lightnings_own_again_after_an_exception(tmp_path, error):
    """An exception, an interrupt and an exit in a step leave nothing attached."""

    def step(module, batch, index):
        raise error

    module = LoggingModule(training_step=step)
    with pytest.raises(BaseException):
        quiet_trainer(tmp_path, callbacks=[TrackPlus()]).fit(module, loader())
    assert is_native(module)
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()])
    module.hooks = {"validation_step": lambda m, b, i: m.log("x", b[:, 0], reduce_fx="max")}
    trainer.validate(module, loader(), verbose=False)
    assert trainer.callback_metrics["x"] == 9


def test_a_log_that_the_user_put_into_the_module_is_put_back(tmp_path):
    """An instance's own ``log`` is called, and stands there again afterwards."""
    module = LoggingModule(training_step=lambda m, b, i: m.log("x", 1.0))
    calls = []
    own = module.log = lambda *args, **kwargs: calls.append(args)
    quiet_trainer(tmp_path, callbacks=[TrackPlus()]).fit(module, loader())
    assert module.log is own
    assert calls == [("x", 1.0)] * 3


def test_a_second_callback_is_refused(tmp_path):
    """Two would count everything twice."""
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus(), TrackPlus()])
    with pytest.raises(MisconfigurationException, match="two TrackPlus callbacks"):
        trainer.fit(LoggingModule(), loader())


def test_a_trainer_that_is_too_old(tmp_path, monkeypatch):
    """It is refused by name, and the module is as it was."""
    monkeypatch.setattr(flavours, "_OLDEST", (99, 0))
    flavours._flavour_of.cache_clear()
    module = LoggingModule()
    with pytest.raises(TypeError, match=r"needs a Trainer of lightning or pytorch-lightning 99\.0 or later"):
        quiet_trainer(tmp_path, callbacks=[TrackPlus()]).validate(module, loader())
    assert is_native(module)


def test_configure_callbacks_may_bring_it(tmp_path):
    """A module can bring the callback itself."""
    module = LoggingModule(validation_step=lambda m, b, i: m.log("x", b[:, 0], reduce_fx="p50"))
    module.configure_callbacks = lambda: [TrackPlus()]
    trainer = quiet_trainer(tmp_path)
    trainer.validate(module, loader(), verbose=False)
    assert trainer.callback_metrics["x"] == 4.5


def test_barebones_logs_nothing_and_says_so(tmp_path):
    """In a barebones run our calls are ignored with Lightning's own warning."""

    def step(module, batch, index):
        module.log("x", batch[:, 0], reduce_fx="p95")
        module.log("y", Text("a"))
        module.log("z", 1.0)

    trainer = L.Trainer(barebones=True, accelerator="cpu", devices=1, max_epochs=1, callbacks=[TrackPlus()])
    with pytest.warns(UserWarning, match=r"`Trainer\(barebones=True\)` is configured"):
        trainer.fit(LoggingModule(training_step=step), loader())
    assert not trainer.callback_metrics


def test_logging_outside_of_the_trainers_control_is_refused_in_lightnings_words(tmp_path):
    """Outside of a hook nothing can be logged, whatever the lane."""

    class Late(L.Callback):
        def on_train_epoch_end(self, trainer, module):
            module._current_fx_name = None
            for value, options in ((torch.ones(3), {"reduce_fx": "p95"}), (Image(torch.rand(3, 4, 4)), {}), (1.0, {})):
                with pytest.raises(MisconfigurationException, match="it is not managed by the `Trainer` control flow"):
                    module.log("x", value, **options)

    quiet_trainer(tmp_path, callbacks=[TrackPlus(), Late()]).fit(LoggingModule(), loader())


def test_a_copy_of_a_module_that_was_given_a_log(tmp_path):
    """It has that one too, as in Lightning."""

    def log(*args, **kwargs):
        L.LightningModule.log(module, *args, **kwargs)

    copies = []
    module = LoggingModule(training_step=lambda module, *_: copies.append(copy.deepcopy(module)))
    module.log = log
    quiet_trainer(tmp_path, callbacks=[TrackPlus()], max_steps=1).fit(module, loader())
    assert [one.log for one in (*copies, module)] == [log, log]


def test_the_callback_can_be_pickled_at_any_time(tmp_path):
    """A pickle of it has nothing of the run that is under way."""
    callback, copies = TrackPlus(), []

    def step(module, batch, index):
        # Lightning gives each callback the module's `log`, so that the module is in the pickle too.
        hooks, module.hooks = module.hooks, {}
        copies.append(pickle.loads(pickle.dumps(callback)))
        module.hooks = hooks

    quiet_trainer(tmp_path, callbacks=[callback]).fit(LoggingModule(training_step=step), loader())
    assert len(copies) == 3
    assert all(isinstance(copied, TrackPlus) for copied in copies)
    trainer = quiet_trainer(tmp_path, callbacks=[copies[0]])
    trainer.validate(LoggingModule(validation_step=lambda m, b, i: m.log("x", b[:, 0], reduce_fx="max")), loader())
    assert trainer.callback_metrics["x"] == 9
