"""The contract with Lightning: each test fails first when a private name that we touch moves."""

from __future__ import annotations

import contextlib
import re
import runpy
from pathlib import Path

import pytest
import torch
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy
from torchmetrics.wrappers import ClasswiseWrapper

import tests.flavour as L
from lightning_trackplus import TrackPlusLogger
from lightning_trackplus.lightning_internals import lightning_loggers, result_entries, trainer_state
from lightning_trackplus.lightning_internals.running_trainers import current_run
from lightning_trackplus.lightning_internals.split_results import ResultParts, keep_step_value
from lightning_trackplus.routing.log_call import bound
from tests.flavour.fabric.utilities.exceptions import MisconfigurationException
from tests.flavour.pytorch.callbacks import Callback
from tests.flavour.pytorch.loggers import CSVLogger, TensorBoardLogger
from tests.flavour.pytorch.trainer.connectors.logger_connector.logger_connector import _LoggerConnector
from tests.support.resuming import Save
from tests.support.training import LoggingModule, loader, quiet_trainer
from tests.support.wrappers import WRAPPERS, unnamed

PACKAGE = Path(__file__).parents[2] / "lightning_trackplus"
PRIVATE = [
    "_results",
    "_logger_connector",
    "_current_fx_name",
    "_forward_cache",
    "_ResultCollection",
    "_ResultMetric",
    "_FxValidator",
    "_batches_that_stepped",
    "_should_accumulate",
    "_first_loop_iter",
    "_root_dir",
    "_default_hp_metric",
    "_metric_attributes",
    "_should_check_val_fx",
    "_data_fetcher",
]


def test_private_names_are_in_lightning_internals_alone():
    """No file outside of `lightning_internals` names what is private in Lightning or torchmetrics, nor imports it."""
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        if path.parent.name != "lightning_internals":
            found = [name for name in PRIVATE if re.search(rf"\b{re.escape(name)}\b", text)]
            found += re.findall(r"(?:from|import) (?:lightning|torchmetrics)\S* import _\w+", text)
            assert not found, path


def noted(tmp_path, note, hook="training_step", **options):
    """Return what a function of the Trainer gives in each call of a hook."""
    seen = []
    trainer = quiet_trainer(tmp_path, **options)
    module = LoggingModule(**{hook: lambda m, b, i: seen.append(note(trainer, m, b, i))})
    trainer.fit(module, loader(), loader())
    return seen


@pytest.mark.parametrize("hook", ["training_step", "validation_step", "on_train_epoch_end", "on_validation_epoch_end"])
def test_hook_name_is_that_of_the_hook_that_runs(tmp_path, hook):
    """Lightning notes the hook that runs on the module."""
    assert set(noted(tmp_path, lambda t, m, b, i: trainer_state.hook_name(m), hook)) == {hook}
    assert trainer_state.hook_name(LoggingModule()) is None


def test_dataloader_index_tells_several_dataloaders_apart(tmp_path):
    """The index is known where there are several, and None where there is one."""
    seen = []
    trainer = quiet_trainer(tmp_path)
    module = LoggingModule(test_step=lambda m, b, i: seen.append(trainer_state.LoopPosition(trainer).dataloader))
    trainer.test(module, [loader(4), loader(4)], verbose=False)
    trainer.test(module, loader(4), verbose=False)
    assert seen == [0, 1, None]


def test_levels_are_lightnings_defaults_and_errors():
    """The defaults of a hook, and the refusal of what it does not allow, are Lightning's."""
    assert trainer_state.check_levels(L.Trainer(logger=False), "training_step", None, None) == (True, False)
    assert trainer_state.check_levels(L.Trainer(logger=False), "validation_step", None, None) == (False, True)
    with pytest.raises(MisconfigurationException):
        trainer_state.check_levels(L.Trainer(logger=False), "on_train_start", True, None)
    with pytest.raises(MisconfigurationException):
        trainer_state.check_levels(L.Trainer(logger=False), "configure_optimizers", None, None)


def test_batch_size_is_the_given_or_that_of_the_batch(tmp_path):
    """The size found is that which Lightning finds."""
    assert noted(tmp_path, lambda t, m, b, i: trainer_state.LoopPosition(t).batch_size(None)) == [4, 4, 2]
    assert noted(tmp_path, lambda t, m, b, i: trainer_state.LoopPosition(t).batch_size(7)) == [7, 7, 7]
    assert noted(tmp_path, lambda t, m, b, i: trainer_state.LoopPosition(t).batch_size(None), "on_train_epoch_end") == [
        1
    ]


@pytest.mark.parametrize(
    ("reduction", "expected"),
    [("mean", ((4 * 4 + 3 * 4 + 8 * 2) / 10, 10.0)), ("max", (8.0, 1.0)), ("sum", (15.0, 1.0))],
)
def test_withdraw_takes_what_lightning_has_accumulated(tmp_path, reduction, expected):
    """Value and weight come out, and the name is free again; a second time there is nothing."""
    taken = []

    def step(module, batch, index):
        module.log("x", [4.0, 3.0, 8.0][index], reduce_fx=reduction, on_epoch=True)
        if index == 2:
            assert result_entries.withdraw(trainer, "training_step", "x", None, "another") is None
            taken.append(result_entries.withdraw(trainer, "training_step", "x", None, reduction))
            taken.append(result_entries.withdraw(trainer, "training_step", "x", None, reduction))

    trainer = quiet_trainer(tmp_path)
    trainer.fit(LoggingModule(training_step=step), loader())
    (value, weight), nothing = taken
    assert (value.item(), weight) == pytest.approx(expected)
    assert nothing is None


def test_a_step_value_set_is_the_one_that_lightning_shows(tmp_path):
    """Lightning takes a metric's step value from where we put it."""

    class Constant(MeanMetric):
        pass

    def step(module, batch, index):
        metric = Constant()
        metric.update(1.0)
        result_entries.set_step_value(metric, torch.tensor(42.0))
        module.log("x", metric, on_step=True, on_epoch=False, metric_attribute="any")

    trainer = quiet_trainer(tmp_path)
    trainer.fit(LoggingModule(training_step=step), loader())
    assert trainer.callback_metrics["x"] == 42


def test_the_step_of_a_place_is_the_loggers_in_training_and_the_batch_in_an_evaluation(tmp_path):
    """Validation counts its batches anew each time, training continues."""
    seen = []
    hooks = {
        hook: lambda m, b, i: seen.append(trainer_state.LoopPosition(trainer).step)
        for hook in ("training_step", "validation_step")
    }
    trainer = quiet_trainer(tmp_path, max_epochs=2, num_sanity_val_steps=0)
    trainer.fit(LoggingModule(**hooks), loader(), loader(8))
    assert seen == [0, 1, 2, 0, 1, 3, 4, 5, 0, 1]


def test_an_entry_that_is_split_shows_as_its_parts(tmp_path):
    """Each has the names that Lightning gives a number, until the entry is given back."""
    module, seen = LoggingModule(), []
    module.mean = MeanMetric()

    def split(key, value, on_step, full_name):
        seen.append((key, value.item(), on_step, full_name("y")))
        return {"y": value + 1, "z": value + 2}

    def step(module, batch, index):
        module.mean(5.0)
        module.log("x", module.mean, on_step=True, on_epoch=True)
        parts = ResultParts(trainer, split)
        parts.watch(result_entries.entry_key("training_step", "x", None))
        assert trainer.callback_metrics == {"y": 6.0, "y_step": 6.0, "z": 7.0, "z_step": 7.0}
        parts.close()

    module.hooks = {"training_step": step}
    trainer = quiet_trainer(tmp_path, limit_train_batches=1)
    trainer.fit(module, loader())
    assert seen == [("training_step.x", 5.0, True, "y_step")]
    assert {"x", "x_step", "x_epoch"} <= set(trainer.callback_metrics)


def test_what_a_wrapper_returns_is_kept_as_its_steps_value():
    """As torchmetrics does for metrics that do not wrap another."""
    metric = ClasswiseWrapper(MulticlassAccuracy(2, average=None))
    hook = metric.register_forward_hook(keep_step_value)
    returned = metric(torch.tensor([0, 1]), torch.tensor([0, 0]))
    assert metric._forward_cache is returned
    hook.remove()


def test_an_entry_that_is_hidden_is_passed_over_until_it_is_shown(tmp_path):
    """Lightning asks the metric of a shown entry anew, and takes the value for the step."""
    module = LoggingModule()
    module.mean = MeanMetric()
    seen = []

    def step(module, batch, index):
        module.mean.update(float(index))
        module.log("x", module.mean, on_step=True, on_epoch=False)
        entry = result_entries.results_of(trainer)[result_entries.entry_key("training_step", "x", None)]
        result_entries.mark_unset(entry)
        seen.append(dict(trainer.callback_metrics))
        result_entries.set_entry(entry, step_value=torch.tensor(42.0 + index))
        seen.append(dict(trainer.callback_metrics))

    module.hooks = {"training_step": step}
    trainer = quiet_trainer(tmp_path, limit_train_batches=1)
    trainer.fit(module, loader())
    assert seen == [{}, {"x": 42.0}]


@pytest.mark.parametrize(
    ("hook", "expected"),
    [("training_step", True), ("validation_step", True), ("on_train_epoch_end", False), ("on_train_start", False)],
)
def test_hooks_that_may_log_in_steps_are_known(hook, expected):
    """As Lightning's own check has it."""
    assert trainer_state.may_log_in_steps(L.Trainer(logger=False), hook) is expected


def test_results_of_a_dataloader_can_be_logged_when_all_are_over(tmp_path):
    """They stand in the returned list and in the metrics where Lightning would have put them."""

    def end(module, batch, index):
        for dataloader in (0, 1):
            with result_entries.dataloader_results(trainer, dataloader, [0, 1]):
                module.log("x", float(dataloader), on_epoch=True)
        with result_entries.dataloader_results(trainer, None, [0, 1]):
            module.log("y", 5.0)

    trainer = quiet_trainer(tmp_path)
    module = LoggingModule(on_validation_epoch_end=end, validation_step=lambda m, b, i: None)
    returned = trainer.validate(module, [loader(4), loader(4)], verbose=False)
    assert returned == [{"x/dataloader_idx_0": 0.0, "y": 5.0}, {"x/dataloader_idx_1": 1.0, "y": 5.0}]
    assert set(trainer.callback_metrics) == {"x/dataloader_idx_0", "x/dataloader_idx_1", "y"}


@pytest.mark.parametrize(
    "options",
    [
        {"log_every_n_steps": 2},
        {"log_every_n_steps": 1, "accumulate_grad_batches": 2},
        {"log_every_n_steps": 3, "max_epochs": 4},
        {"log_every_n_steps": 0},
        {"log_every_n_steps": 2, "val_check_interval": 1, "max_epochs": 3},
    ],
    ids=str,
)
def test_steps_that_log_and_their_numbers_are_those_of_lightnings_loggers(tmp_path, options):
    """What `lightning_internals` foretells in a step is what a logger of Lightning's then receives."""

    class Recorder(L.pytorch.loggers.Logger):
        name, version = "recorder", 0

        def __init__(self):
            super().__init__()
            self.steps = {"train": [], "val": [], "train_epoch": []}

        def log_metrics(self, metrics, step=None):
            for name, steps in self.steps.items():
                if name in metrics:
                    steps.append(step)

        def log_hyperparams(self, *args, **kwargs):
            pass

    foretold = {"train": [], "val": [], "train_epoch": []}

    def step(module, batch, index):
        module.log("train", 1.0)
        if trainer_state.logs_this_step(trainer):
            foretold["train"].append(trainer_state.logged_step(trainer))

    def at(name):
        def hook(module, batch, index):
            module.log(name, 1.0)
            if not trainer.sanity_checking:
                foretold[name].append(trainer_state.logged_step(trainer))

        return hook

    recorder = Recorder()
    trainer = quiet_trainer(tmp_path, logger=recorder, **options)
    hooks = {"on_validation_epoch_end": at("val"), "on_train_epoch_end": at("train_epoch")}
    trainer.fit(LoggingModule(training_step=step, **hooks), loader(14), loader())
    assert foretold == recorder.steps
    assert foretold["val"]


def test_a_fast_development_run_is_known(tmp_path):
    """Lightning sets the attribute after its constructor began."""
    assert trainer_state.is_fast_dev_run(quiet_trainer(tmp_path, fast_dev_run=True))
    assert not trainer_state.is_fast_dev_run(quiet_trainer(tmp_path))


@pytest.mark.parametrize("is_within", [False, True])
def test_a_hook_that_logs_within_another_one_resets_nothing(tmp_path, is_within):
    """In the first batch of an epoch, Lightning alone drops what both have logged before."""

    def step(module, batch, index):
        for number in range(2):
            module.log(f"step{number}", 1.0)
            module._current_fx_name = "on_before_optimizer_step"
            within = trainer_state.logging_within(trainer, module._current_fx_name, again=bool(number))
            with within if is_within else contextlib.nullcontext():
                module.log(f"hook{number}", 2.0)
            module._current_fx_name = "training_step"
        names.append(set(trainer._results.metrics(on_step=True)["callback"]))

    trainer, names = quiet_trainer(tmp_path), []
    trainer.fit(LoggingModule(training_step=step), loader(), loader())
    kept = {"step0", "step1", "hook0", "hook1"}
    assert [kept - one for one in names[:2]] == [set() if is_within else {"step0", "hook0"}, set()]


def test_strategies_that_start_processes_are_known(tmp_path):
    """Those of `ddp` run the program again, and one process alone starts none."""
    strategies = {"auto": False, "ddp": False, "ddp_spawn": True, "ddp_fork": True}
    for strategy, expected in strategies.items():
        trainer = quiet_trainer(tmp_path, strategy=strategy, devices=1 if strategy == "auto" else 2)
        trainer.strategy._configure_launcher()  # As a run does first of all.
        assert trainer_state.launches_processes(trainer) == expected


def test_a_prefix_is_the_one_before_lightnings_numbers(tmp_path):
    """A name stands behind the prefix as the logger's own numbers do; without a prefix it stays as it is."""
    for prefix, expected in (("mine", "mine-loss"), ("", "loss")):
        logger = CSVLogger(tmp_path, prefix=prefix)
        logger.log_metrics({"loss": 1.0}, 0)
        assert expected in logger.experiment.metrics[0]
        assert lightning_loggers.prefixed(logger, "loss") == expected


def test_a_logger_made_without_tensorboard_has_what_lightnings_constructor_sets(tmp_path):
    """The attributes that we set ourselves are those that Lightning's constructor sets."""
    theirs = vars(TensorBoardLogger(tmp_path, default_hp_metric=False))
    ours = vars(TrackPlusLogger(tmp_path, writers=("csv",)))
    assert theirs.keys() <= ours.keys()
    same = {name for name in theirs if type(theirs[name]) is type(ours[name])}
    assert same == theirs.keys()


class FirstStep(Callback):
    """Foretells the first step, and notes under which one the first training batch is logged."""

    foretold = first = None

    def on_train_start(self, trainer, pl_module):
        self.foretold = trainer_state.first_step(trainer)

    def on_train_batch_start(self, trainer, *_):
        if self.first is None:
            self.first = trainer_state.LoopPosition(trainer).step


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"accumulate_grad_batches": 2},
        {"val_check_interval": 2},
        {"val_check_interval": 2, "accumulate_grad_batches": 2},
        {"val_check_interval": 3, "check_val_every_n_epoch": None},
        {"check_val_every_n_epoch": 2},
        {"limit_val_batches": 0},
        {"max_steps": 5},
    ],
    ids=str,
)
def test_the_first_step_of_a_resumed_training_is_foretold(tmp_path, options):
    """From checkpoints of any hook, what is foretold as training starts is the step of the first batch."""
    hooks = ["on_train_epoch_start", "on_train_batch_start", "on_train_batch_end", "on_validation_start"]
    hooks += ["on_validation_batch_end", "on_validation_end", "on_train_epoch_end"]
    options = {"max_epochs": 2, "num_sanity_val_steps": 0, **options}
    quiet_trainer(tmp_path, callbacks=[Save(*hooks)], **options).fit(LoggingModule(), loader(), loader(4))
    resumed = 0
    for checkpoint in [None, *tmp_path.glob("*.ckpt")]:
        callback = FirstStep()
        trainer = quiet_trainer(tmp_path, callbacks=[callback], **options)
        trainer.fit(LoggingModule(), loader(), loader(4), ckpt_path=checkpoint)
        if callback.first is not None:
            assert callback.foretold == callback.first, checkpoint
            resumed += 1
    assert resumed > len(hooks)


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_the_arguments_of_log_are_known_where_a_wrapper_hides_them(monkeypatch):
    """They are Lightning's, with its defaults, also where the wrapper was there before this package."""
    monkeypatch.setattr(L.LightningModule, "log", unnamed(L.LightningModule.log))
    hidden = runpy.run_module("lightning_trackplus.routing.log_call")["bound"]
    for args, kwargs in ((("x",), {"value": 0.5, "batch_size": 4}), (("x", 0.5, True, False), {})):
        assert hidden(args, kwargs) == bound(args, kwargs)
        assert hidden(args, kwargs)["reduce_fx"] == "mean"
    with pytest.raises(TypeError, match="'on_stp'"):
        hidden(("x", 0.5), {"on_stp": True})
    with pytest.raises(TypeError, match="'value'"):
        hidden(("x",), {})
    with pytest.raises(TypeError, match="'value'"):
        hidden(("x", 0.5), {"value": 0.5})


class Runs(Callback):
    """Notes of which run a Trainer's hooks are."""

    def __init__(self) -> None:
        self.seen = []

    def setup(self, trainer, pl_module, stage):
        self.seen.append(current_run())

    on_fit_start = on_test_start = lambda self, trainer, *_: self.seen.append(current_run())


@pytest.mark.parametrize("wrap", [lambda function: function, *WRAPPERS], ids=["plain", "torch", "named", "unnamed"])
def test_the_run_that_is_under_way_is_known_from_its_first_hook_on(tmp_path, monkeypatch, wrap):
    """With its Trainer and its checkpoint, also in a run within another; outside of one there is none."""
    monkeypatch.setattr(L.Trainer, "_run", wrap(L.Trainer._run))
    first = quiet_trainer(tmp_path, callbacks=[Save("on_train_epoch_end")])
    first.fit(LoggingModule(), loader())
    (checkpoint,) = map(str, tmp_path.glob("*.ckpt"))
    outer, inner = Runs(), Runs()
    trainers = [quiet_trainer(tmp_path, callbacks=[runs], max_epochs=2) for runs in (outer, inner)]

    def test(module, batch, index):
        trainers[1].test(LoggingModule(), loader(), verbose=False)
        assert current_run() == (trainers[0], checkpoint)

    trainers[0].fit(LoggingModule(on_train_epoch_end=test), loader(), ckpt_path=checkpoint)
    assert outer.seen == [(trainers[0], checkpoint)] * 2
    assert inner.seen == [(trainers[1], None)] * 2
    assert current_run() is None


class Given(CSVLogger):
    """Notes what it is given while a Trainer says that it hands over a batch, and what at other times."""

    def __init__(self, trainer_of) -> None:
        super().__init__("csv")
        self.trainer_of = trainer_of
        self.names = {True: [], False: []}

    def log_metrics(self, metrics, step=None):
        self.names[trainer_state.hands_over_a_batch(self.trainer_of())] += [name for name in metrics if name != "epoch"]


HOOKS = [
    "on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer", "training_step",
    *(f"on_{stage}_{moment}" for stage in ("validation", "test") for moment in (
        "start", "epoch_start", "batch_start", "batch_end", "epoch_end", "end"
    )),
]  # fmt: skip


class Talkative(LoggingModule):
    """Logs in each batch of an evaluation, and in each hook gives its loggers a number itself."""

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.log("batch", 1.0, on_step=True, on_epoch=True)
        self.logger.log_metrics({"validation_step": 1.0}, step=0)

    test_step = validation_step


def giving(hook):
    """Return a hook that gives the logger a number, and does what it does in any module."""
    native = getattr(LoggingModule, hook)

    def give(self, *args, **kwargs):
        self.logger.log_metrics({hook: 1.0}, step=0)
        return native(self, *args, **kwargs)

    return give


for hook in HOOKS:
    setattr(Talkative, hook, giving(hook))


@pytest.mark.parametrize("loaders", [1, 2])
def test_what_a_batch_of_an_evaluation_has_logged_is_told_from_all_else(tmp_path, monkeypatch, loaders):
    """A module gives its logger numbers in each hook, also in one in which another Trainer evaluates it."""
    wrapped = unnamed(_LoggerConnector.update_eval_step_metrics)
    monkeypatch.setattr(_LoggerConnector, "update_eval_step_metrics", wrapped)

    def evaluate(module, batch, index):
        outer, module.hooks = module.trainer, {}
        inner.validate(module, [loader(6)] * loaders, verbose=False)
        module.trainer = outer

    inner = quiet_trainer(tmp_path, logger=Given(lambda: inner))
    trainer = quiet_trainer(tmp_path, logger=Given(lambda: trainer), max_epochs=2, val_check_interval=2)
    module = Talkative(on_validation_epoch_end=evaluate)
    trainer.fit(module, loader(), [loader(6)] * loaders)
    trainer.test(module, [loader(6)] * loaders, verbose=False)
    suffixes = [""] if loaders == 1 else ["/dataloader_idx_0", "/dataloader_idx_1"]
    for one, evaluations in ((trainer, 3), (inner, 1)):
        batches = [f"batch_step{suffix}" for suffix in suffixes for _ in range(2)]
        assert one.logger.names[True] == batches * evaluations
        given = {hook for hook in HOOKS if one is trainer or not hook.startswith(("on_test", "training"))}
        assert given | {f"batch_epoch{suffix}" for suffix in suffixes} <= set(one.logger.names[False])
