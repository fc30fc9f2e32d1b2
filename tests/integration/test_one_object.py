"""``TrackPlusLogger()`` alone gives a Trainer all that the package does, and with ``add_callback=False`` nothing."""

from __future__ import annotations

import copy
import warnings
import weakref

import pytest
import torch

from lightning_trackplus import Image, TrackPlus, TrackPlusLogger, read_run
from lightning_trackplus.callbacks.track_plus import AddTrackPlus
from tests.flavour.pytorch.callbacks import ModelCheckpoint
from tests.flavour.pytorch.loggers import CSVLogger
from tests.flavour.pytorch.tuner import Tuner
from tests.support.training import LoggingModule, goes_on_exactly, loader, quiet_trainer


class Everything(LoggingModule):
    """Logs what only TrackPlus takes."""

    def training_step(self, batch, batch_idx):
        self.log("train", batch[0][:, 0], reduce_fx="ema(0.5)")
        self.log("epoch", batch[0][:, 0], reduce_fx=["max"], on_epoch=True, on_step=False)
        return self.layer(batch[0]).pow(2).mean()

    def validation_step(self, batch, batch_idx):
        self.log("val", batch[0][:, 0], reduce_fx=["p50", "max"])
        self.log("recall", torch.tensor([0.5, 1.0]), names=["cat", "dog"])
        self.log("images", Image(torch.rand(len(batch[0]), 1, 4, 4)), reduce_fx="first2")


def test_reducers_and_media_with_the_logger_alone(tmp_path):
    """A TrackPlus comes before all other callbacks; the second run of the Trainer has the same one."""
    trainer = quiet_trainer(tmp_path, logger=TrackPlusLogger(tmp_path))
    trainer.fit(Everything(), loader(), loader())
    first = trainer.callbacks[0]
    assert isinstance(first, TrackPlus)
    assert {"val_p50": 4.5, "val_max": 9.0, "recall/cat": 0.5, "epoch_max": 9.0}.items() <= {
        name: value.item() for name, value in trainer.callback_metrics.items()
    }.items()
    assert len(read_run(trainer.log_dir).media) == 2
    trainer.validate(Everything(), loader(), verbose=False)
    assert [one for one in trainer.callbacks if isinstance(one, TrackPlus | AddTrackPlus)] == [first]
    assert trainer.callback_metrics["val_p50"] == 4.5


def test_a_logger_that_leaves_modules_alone(tmp_path):
    """The refusal is Lightning's, the module has Lightning's ``log``, and the logger knows its Trainer all the same."""
    seen = []
    module = LoggingModule(validation_step=lambda module, batch, index: seen.append("log" in vars(module)))
    trainer = quiet_trainer(tmp_path, logger=TrackPlusLogger(add_callback=False), max_epochs=2)
    trainer.fit(module, loader(), loader())
    assert seen
    assert not any(seen)
    assert trainer.log_dir == str(tmp_path / "lightning_logs" / "version_0")
    module.hooks["validation_step"] = lambda module, batch, index: module.log("x", batch[:, 0])
    with pytest.raises(ValueError, match="single element"):
        trainer.validate(module, loader(), verbose=False)


def test_a_callback_that_is_given_is_the_one(tmp_path):
    """Also where it comes from the module, in the Trainer's first run or in a later one."""
    given = TrackPlus()
    trainer = quiet_trainer(tmp_path, logger=TrackPlusLogger(tmp_path), callbacks=[given])
    trainer.validate(Everything(), loader(), verbose=False)
    assert [one for one in trainer.callbacks if isinstance(one, TrackPlus | AddTrackPlus)] == [given]
    for earlier in (False, True):
        trainer = quiet_trainer(tmp_path, logger=TrackPlusLogger(tmp_path))
        if earlier:
            trainer.validate(Everything(), loader(), verbose=False)
        module = Everything()
        module.configure_callbacks = lambda: [given]
        trainer.validate(module, loader(), verbose=False)
        assert [one for one in trainer.callbacks if isinstance(one, TrackPlus | AddTrackPlus)] == [given]
        assert trainer.callback_metrics["val_max"] == 9.0


def test_copies_and_callbacks_of_another_trainer(tmp_path):
    """A copy of the Trainer, and a second one that is given the callbacks of the first, before and after a run."""
    for has_run in (False, True):
        first = quiet_trainer(tmp_path, logger=TrackPlusLogger(tmp_path, name=f"first{has_run}"))
        if has_run:
            first.validate(Everything(), loader(), verbose=False)
        again = quiet_trainer(
            tmp_path, logger=TrackPlusLogger(tmp_path, name=f"again{has_run}"), callbacks=first.callbacks
        )
        for trainer in (again, copy.deepcopy(again)):
            trainer.validate(Everything(), loader(), verbose=False)
            assert trainer.callback_metrics["val_p50"] == 4.5
            assert sum(isinstance(one, TrackPlus) for one in trainer.callbacks) == 1


@goes_on_exactly
@pytest.mark.parametrize("then", [True, False])
@pytest.mark.parametrize("first", [True, False])
def test_resumes_with_and_without_the_callback(tmp_path, first, then):
    """Whether the callback is given or added, in the run that saves and in the one that goes on: nothing is missed."""

    def fit(name, given, **options):
        checkpoint = ModelCheckpoint(tmp_path / name, save_top_k=-1, filename="{epoch}")
        trainer = quiet_trainer(
            tmp_path, logger=TrackPlusLogger(tmp_path, name="", version=name), max_epochs=3, enable_checkpointing=True,
            callbacks=[checkpoint, *([TrackPlus()] if given else [])],
        )  # fmt: skip
        trainer.fit(Everything(), loader(), loader(), **options)
        return read_run(trainer.log_dir).metrics.drop(columns=["wall_time"], errors="ignore")

    whole = fit("whole", first)
    fit("resumed", first)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*callbacks used to create the checkpoint")
        resumed = fit("resumed", then, ckpt_path=tmp_path / "resumed" / "epoch=0.ckpt")
    assert resumed.equals(whole)


def test_a_search_for_a_learning_rate(tmp_path):
    """The search logs nothing and leaves the module as it was, and the fit after it logs everything."""

    class Searched(Everything):
        lr = 0.01

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=self.lr)

    trainer = quiet_trainer(tmp_path, logger=TrackPlusLogger(tmp_path), max_epochs=1)
    module = Searched()
    Tuner(trainer).lr_find(module, loader(), loader(), num_training=5)
    assert not {"log", "log_dict"} & vars(module).keys()
    trainer.fit(module, loader(), loader())
    assert trainer.callback_metrics["val_p50"] == 4.5
    assert read_run(trainer.log_dir).metrics["epoch_max"].dropna().tolist() == [9.0]


@pytest.mark.parametrize("add_callback", [True, False])
def test_a_fast_dev_run(tmp_path, monkeypatch, add_callback):
    """Lightning takes the logger away; what it brings is there all the same."""
    monkeypatch.setattr(
        "lightning_trackplus.logger.track_plus_logger._loggers", weakref.WeakSet()
    )  # Other tests' may live.
    trainer = quiet_trainer(tmp_path, logger=TrackPlusLogger(add_callback=add_callback), fast_dev_run=True)
    trainer.validate(LoggingModule(), loader(), verbose=False)
    assert any(isinstance(one, TrackPlus) for one in trainer.callbacks) == add_callback
    if add_callback:
        trainer.fit(Everything(), loader(), loader())
        assert trainer.callback_metrics["val_max"] == 3.0


def test_a_trainer_that_nothing_was_added_to(tmp_path):
    """Where no entry point is installed, the logger says once what is missing; with the callback it says nothing."""
    said = []
    for callbacks in ([], [TrackPlus()]):
        logger = TrackPlusLogger(tmp_path)
        trainer = quiet_trainer(tmp_path, logger=logger, callbacks=callbacks)
        trainer.callbacks = [one for one in trainer.callbacks if not isinstance(one, AddTrackPlus)]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(2):
                trainer.validate(LoggingModule(), loader(), verbose=False)
        said.append([str(one.message) for one in caught if "TrackPlus" in str(one.message)])
    (message,) = said[0]
    assert message.startswith(
        "The Trainer has a TrackPlusLogger but no TrackPlus callback, which is needed for reducers"
    )
    assert said[1] == []


def test_other_loggers_with_the_callback_alone(tmp_path):
    """The callback needs no logger of ours."""
    trainer = quiet_trainer(tmp_path, logger=CSVLogger(tmp_path), callbacks=[TrackPlus()])
    trainer.fit(Everything(), loader(), loader())
    assert trainer.callback_metrics["val_p50"] == 4.5
