"""Trainers that run one module within each other: each has its own numbers, as without TrackPlus."""

from __future__ import annotations

import gc
import signal
import warnings
import weakref
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import tests.flavour as L
from lightning_trackplus import TrackPlus, TrackPlusLogger, read_run
from tests.flavour.fabric.utilities.exceptions import MisconfigurationException
from tests.flavour.pytorch.loggers import CSVLogger
from tests.support.training import LoggingModule, quiet_trainer

HOOKS = (
    "setup", "on_fit_start", "on_train_start", "on_train_epoch_start", "on_train_batch_start", "on_train_batch_end",
    "on_validation_start", "on_validation_batch_start", "on_validation_batch_end", "on_validation_epoch_end",
    "on_validation_end", "on_train_epoch_end", "on_save_checkpoint", "on_train_end", "on_fit_end", "teardown",
)  # fmt: skip
ONES = DataLoader(TensorDataset(torch.ones(4, 2)), batch_size=2)
TENS = DataLoader(TensorDataset(torch.full((4, 2), 10.0)), batch_size=2)


class Values(LoggingModule):
    """Logs the values of its batches in all hooks that may log."""

    def training_step(self, batch, batch_idx):
        self.log("loss", batch[0].mean() + batch_idx, on_step=True, on_epoch=True, prog_bar=True)
        return self.layer(batch[0]).pow(2).mean()

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.log_dict({"val/loss": batch[0].mean(), "val/index": float(batch_idx)})

    def test_step(self, batch, batch_idx, dataloader_idx=0):
        self.log("test/loss", batch[0].mean())

    def on_validation_epoch_end(self):
        self.log("val/ended", 1.0)

    def on_train_epoch_end(self):
        self.log("ended", 2.0)


class Inner(L.Callback):
    """Runs another Trainer in one hook, and leaves the module to the outer one if it is told to."""

    def __init__(self, hook, make, run, *, restores):
        self.hook, self.make, self.run, self.restores = hook, make, run, restores
        self.results = []

    def __getattribute__(self, name):
        own = super().__getattribute__(name)
        if name in HOOKS and name == super().__getattribute__("hook"):
            return super().__getattribute__("called")
        return own

    def called(self, trainer, module, *args, **kwargs):
        if trainer.sanity_checking or trainer.global_rank or self.results:
            return
        self.results.append("begun")
        inner = self.make()
        try:
            self.results[0] = self.run(inner, module)
        except Exception as error:  # noqa: BLE001  it is compared
            self.results[0] = type(error), str(error)
        self.results.append({name: value.item() for name, value in inner.callback_metrics.items()})
        if self.restores:
            module.trainer = trainer


def validate(trainer, module):
    return trainer.validate(module, TENS, verbose=False)


def run_test(trainer, module):
    return trainer.test(module, TENS, verbose=False)


def what_happens(root, outer, inner, *, hook, run, restores):
    """Return all that a fit with a Trainer in one of its hooks shows and says, and check that nothing is left."""
    torch.manual_seed(0)
    module = Values()
    within = Inner(hook, lambda: quiet_trainer(root, callbacks=inner), run, restores=restores)
    trainer = quiet_trainer(
        root, max_epochs=2, callbacks=[*outer, within], logger=CSVLogger(root, "", ""), enable_checkpointing=True
    )
    error = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            trainer.fit(module, TENS, ONES)
        except Exception as raised:  # noqa: BLE001  it is compared
            error = type(raised), str(raised)
    shown = {name: value.item() for name, value in trainer.callback_metrics.items()}
    assert not {"log", "log_dict"} & vars(module).keys()
    return (
        shown,
        within.results,
        error,
        [str(one.message) for one in caught if "exists and is not empty" not in str(one)],
    )


@pytest.mark.parametrize(
    ("hook", "run"),
    [*((hook, validate) for hook in HOOKS), ("on_train_batch_end", run_test), ("on_train_end", run_test)],
)
def test_numbers_warnings_and_errors_are_lightnings(tmp_path, hook, run):
    """Whichever of the Trainers has a TrackPlus, in whichever hook the inner one runs, and what it leaves behind."""
    both = TrackPlus()
    for restores in (True, False):
        plain, *ours = [
            what_happens(tmp_path / f"{number}{restores}", *callbacks, hook=hook, run=run, restores=restores)
            for number, callbacks in enumerate(
                [([], []), ([TrackPlus()], []), ([], [TrackPlus()]), ([TrackPlus()], [TrackPlus()]), ([both], [both])]
            )
        ]
        assert plain[1], "the inner Trainer has run"
        for one in ours:
            assert one == plain


@pytest.mark.parametrize("inner", ["none", "another", "the same"])
def test_reducers_within_reducers(tmp_path, inner):
    """Each Trainer that has a TrackPlus gives the values of its own batches; the other is Lightning's alone."""

    class Reducing(Values):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            if inner != "none" or self.trainer is trainer:
                self.log("val", batch[0][:, 0] + batch_idx, reduce_fx=["max", "p50"])
            self.log("val/loss", batch[0].mean())

    track = TrackPlus()
    callbacks = {"none": [], "another": [TrackPlus()], "the same": [track]}[inner]
    within = Inner(
        "on_validation_batch_end", lambda: quiet_trainer(tmp_path, callbacks=callbacks), validate, restores=True
    )
    trainer = quiet_trainer(tmp_path, callbacks=[track, within])
    trainer.fit(Reducing(), ONES, ONES)
    outer = {name: value.item() for name, value in trainer.callback_metrics.items() if name.startswith("val")}
    assert outer == {"val_max": 2.0, "val_p50": 1.5, "val/loss": 1.0, "val/ended": 1.0}
    of_reducers = {} if inner == "none" else {"val_max": 11.0, "val_p50": 10.5}
    assert within.results[0] == [{"val/loss": 10.0, "val/ended": 1.0, **of_reducers}]


class TestItself(L.Callback):
    """Runs a test of the Trainer that is at the end of a training, as Lightning's page does not forbid."""

    __test__ = False

    def on_train_end(self, trainer, pl_module):
        self.results = trainer.test(pl_module, TENS, verbose=False)


def test_a_trainer_that_tests_at_the_end_of_its_training(tmp_path):
    """The module is left as it was, and the Trainers are freed once their handlers of signals are."""
    module, within, trainers = Values(), TestItself(), []
    handlers = {one: signal.getsignal(one) for one in signal.valid_signals()}
    for _ in range(3):
        trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus(), within])
        trainer.fit(module, TENS, ONES)
        assert within.results == [{"test/loss": 10.0}]
        assert not {"log", "log_dict"} & vars(module).keys()
        trainers.append(weakref.ref(trainer))
    del trainer, within
    module.trainer = None
    for one, handler in handlers.items():
        if signal.getsignal(one) is not handler:
            signal.signal(one, handler)
    gc.collect()
    assert [one() for one in trainers] == [None] * 3


def test_trainers_within_are_freed_before_the_outer_one_ends(tmp_path):
    """Also where their callbacks hold them, as progress bars do."""
    alive = []

    class Validates(L.Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            inner = quiet_trainer(tmp_path, callbacks=[TrackPlus(), self.held()])
            inner.validate(pl_module, TENS, verbose=False)
            pl_module.trainer = trainer
            reference = weakref.ref(inner)
            del inner
            gc.collect()
            alive.append(reference())

        def held(self):
            holder = L.Callback()
            holder.setup = lambda trainer, *_, **__: setattr(holder, "trainer", trainer)
            return holder

    quiet_trainer(tmp_path, callbacks=[TrackPlus(), Validates()]).fit(Values(), TENS, ONES)
    assert alive == [None, None]


class OwnRun(L.Trainer):
    """Does something of its own around each run."""

    def _run(self, model, ckpt_path=None, **options):
        return super()._run(model, ckpt_path=ckpt_path, **options)


def test_a_trainer_that_overrides_its_run_and_fails(tmp_path):
    """The module is left as it was."""
    module = Values()
    module.hooks["predict_step"] = lambda *_: 1 / 0
    trainer = OwnRun(
        accelerator="cpu", logger=False, default_root_dir=tmp_path, enable_progress_bar=False, callbacks=[TrackPlus()]
    )
    with pytest.raises(ZeroDivisionError):
        trainer.predict(module, ONES)
    assert not {"log", "log_dict"} & vars(module).keys()


class FailsWithin(L.Callback):
    """Runs what raises in one hook of a training, and goes on."""

    def __init__(self, run):
        self.run = run
        self.errors = []

    def on_train_epoch_start(self, trainer, pl_module):
        try:
            self.run(trainer, pl_module)
        except (ZeroDivisionError, MisconfigurationException) as error:
            self.errors.append(type(error))
        pl_module.trainer = trainer


def fails_in_a_step(_, module):
    module.hooks["predict_step"] = lambda *_: 1 / 0
    quiet_trainer(Path.cwd(), callbacks=[TrackPlus()]).predict(module, ONES)


def fails_before_its_setup(trainer, module):
    trainer.callbacks[0].on_exception(trainer, module, MisconfigurationException())
    raise MisconfigurationException


@pytest.mark.parametrize("run", [fails_in_a_step, fails_before_its_setup])
def test_a_run_that_fails_within_another(tmp_path, run):
    """The outer one goes on as if it had not been."""
    within = FailsWithin(run)
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus(), within])
    module = Values()
    trainer.fit(module, TENS, ONES)
    assert len(within.errors) == 1
    assert trainer.callback_metrics["val/loss"] == 1.0
    assert not {"log", "log_dict"} & vars(module).keys()


class ByHand(L.Callback):
    """Runs the Trainer's own validation loop in a training, as a validation or as it is."""

    def __init__(self, hook, *, validating):
        self.validating = validating
        self.seen = []
        setattr(self, hook, self.called)

    def called(self, trainer, *_):
        trainer.validating = self.validating
        trainer.training = trainer.training or not self.validating
        trainer.fit_loop.epoch_loop.val_loop.run()
        trainer.training = True
        self.seen.append({name: value.item() for name, value in trainer.callback_metrics.items()})


@pytest.mark.parametrize("validating", [True, False])
@pytest.mark.parametrize("hook", ["on_train_epoch_start", "on_train_batch_end", "on_train_epoch_end"])
def test_a_validation_loop_that_is_run_by_hand(tmp_path, hook, validating):
    """The numbers and the errors are Lightning's, whatever the Trainer takes the loop for, and so are reducers'."""

    class Both(Values):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            values = batch[0][:, 0] + batch_idx + 10 * self.trainer.current_epoch
            self.log("lightnings", values.mean())
            self.log("ours", values if trackplus else values.mean())

    shown = []
    for trackplus in (True, False):
        torch.manual_seed(0)
        by_hand = ByHand(hook, validating=validating)
        trainer = quiet_trainer(tmp_path, max_epochs=2, callbacks=[*([TrackPlus()] if trackplus else []), by_hand])
        try:
            trainer.fit(Both(), TENS, ONES)
        except AssertionError as error:
            by_hand.seen.append(str(error))
        shown.append((by_hand.seen, {name: value.item() for name, value in trainer.callback_metrics.items()}))
    assert shown[0] == shown[1]
    assert shown[0][1]["ours"] == shown[0][1]["lightnings"]


def test_one_logger_of_two_trainers(tmp_path):
    """What the outer one logs after the inner one has run has the outer one's steps, in one run."""

    class Logs(L.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            trainer.logger.log_metrics({"before": float(batch_idx)})
            if batch_idx == 1:
                quiet_trainer(tmp_path, logger=logger, callbacks=[TrackPlus()]).validate(pl_module, TENS, verbose=False)
                pl_module.trainer = trainer
            trainer.logger.log_metrics({"after": float(batch_idx)})

    logger = TrackPlusLogger(tmp_path, name="")
    trainer = quiet_trainer(tmp_path, logger=logger, callbacks=[TrackPlus(), Logs()], max_epochs=2)
    trainer.fit(Values(), TENS, ONES)
    metrics = read_run(trainer.log_dir).metrics
    for name in ("before", "after"):
        rows = metrics.dropna(subset=[name])
        assert rows[name].tolist() == [0, 1, 0, 1]
        assert rows["step"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("outer", "inner"), [("lightning.pytorch", "pytorch_lightning"), ("pytorch_lightning", "lightning.pytorch")]
)
def test_a_trainer_of_one_within_a_trainer_of_the_other(outer, inner, tmp_path):
    """A library may use another package than the script that calls it; one callback and one logger serve both."""
    outer, inner = pytest.importorskip(outer), pytest.importorskip(inner)
    track = TrackPlus()

    def trainer_of(package, folder, *callbacks, **options):
        return package.Trainer(
            accelerator="cpu", logger=TrackPlusLogger(tmp_path / folder), callbacks=[track, *callbacks],
            enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, **options,
        )  # fmt: skip

    def module_of(package):
        class Module(package.LightningModule):
            def training_step(self, batch, batch_idx):
                return self.layer(batch).mean()

            def validation_step(self, batch, batch_idx):
                self.log("val", batch[:, 0], reduce_fx=["max"])
                self.log("mean", batch.mean())

            def configure_optimizers(self):
                return torch.optim.SGD(self.parameters(), lr=0.1)

        module = Module()
        module.layer = torch.nn.Linear(1, 1)
        return module

    class Library(outer.Callback):
        def on_validation_batch_end(self, *_):
            trainer = trainer_of(inner, "inner")
            trainer.validate(module_of(inner), DataLoader(torch.full((4, 1), 10.0), batch_size=2), verbose=False)
            seen.append({name: value.item() for name, value in trainer.callback_metrics.items()})

    seen = []
    trainer = trainer_of(outer, "outer", Library(), max_epochs=1)
    numbers = torch.arange(4.0).reshape(4, 1)
    trainer.fit(module_of(outer), DataLoader(numbers, batch_size=2), DataLoader(numbers, batch_size=2))
    assert seen == [{"val_max": 10.0, "mean": 10.0}] * len(seen)
    assert len(seen) >= 2
    assert {name: value.item() for name, value in trainer.callback_metrics.items()} == {"val_max": 3.0, "mean": 1.5}
    assert read_run(trainer.log_dir).metrics["val_max"].dropna().tolist() == [3.0]
