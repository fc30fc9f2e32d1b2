"""With the fast path open, every way of training goes to the bit as it goes without TrackPlus."""

from __future__ import annotations

import contextlib
import copy
import pickle
import re

import pytest
import torch
from torch.utils.data import DataLoader
from torchmetrics import Metric

import tests.flavour as L
from lightning_trackplus import TrackPlusLogger
from tests.flavour.pytorch.callbacks import (
    BatchSizeFinder,
    EarlyStopping,
    LearningRateFinder,
    ModelCheckpoint,
    StochasticWeightAveraging,
)
from tests.support.paired_runs import (
    ByHand,
    ExactRows,
    Saying,
    Talking,
    exact,
    report,
    usual,
    usually,
)
from tests.support.same import briefly, difference, names, same, same_in_all_ways
from tests.support.training import goes_on_exactly, loader

# Ways of training.


@pytest.mark.parametrize(
    "options",
    [
        {"accumulate_grad_batches": 2, "reload_dataloaders_every_n_epochs": 1},
        {"accumulate_grad_batches": 2, "log_every_n_steps": 2, "check_val_every_n_epoch": 2, "max_epochs": 3},
        {"log_every_n_steps": 3, "val_check_interval": 1},
        {"log_every_n_steps": 0, "num_sanity_val_steps": -1},
        {"val_check_interval": 2, "check_val_every_n_epoch": None, "num_sanity_val_steps": 0},
        {"limit_train_batches": 1, "limit_val_batches": 0},
        {"max_steps": 4, "max_epochs": -1, "precision": "64-true"},
        {"precision": "bf16-mixed", "gradient_clip_val": 0.1},
        {"precision": "bf16-true", "inference_mode": False},
        {"fast_dev_run": True},
        {"barebones": True, "logger": False, "log_every_n_steps": 0, "num_sanity_val_steps": 0},
        {"logger": False, "enable_progress_bar": True},
        {"deterministic": True, "detect_anomaly": True, "overfit_batches": 2},
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


@pytest.mark.parametrize("number", [torch.float64, torch.bfloat16])
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


BATCHES = {
    "tensors": [torch.rand(size, 2) for size in (3, 1, 5)],
    "pairs": [(torch.rand(size, 2), torch.rand(size)) for size in (3, 1, 5)],
    "dicts": [{"x": torch.rand(size, 2), "y": "text"} for size in (3, 1, 5)],
    "empty": [(), torch.rand(2, 2)],
    "ambiguous": [[torch.rand(3, 2), torch.rand(4)], [torch.rand(2, 2), torch.rand(2)]],
    "texts": [[torch.rand(3, 2), ["a", "b"]], [torch.rand(2, 2), None]],
    "text": ["text", torch.rand(2, 2)],
    "pairs with a scalar": [(torch.rand(3, 2), torch.tensor(1.0)), (torch.tensor(1.0), torch.rand(3, 2))],
    "scalars": [torch.tensor(1.0), torch.tensor(2.0)],
    "nested": [torch.rand(3, 2), {"a": {"b": (torch.rand(7),)}}],
}
"""Some that tell their size, some that tell two, and some that tell none, which Lightning refuses."""


class AnyBatch(Saying):
    """Looks at no batch."""

    def loss(self, batch):
        return self.scale * 1.0

    def training_step(self, batch, batch_idx):
        return super().training_step([batch], batch_idx)

    def validation_step(self, batch, batch_idx):
        return super().validation_step([batch], batch_idx)


def say_of_a_batch(module, count):
    module.log("sum", count + 0.5, on_epoch=True, reduce_fx="sum")
    module.log("mean", count + 0.5, on_step=True, on_epoch=True, prog_bar=True)
    module.log_dict({"a": 0.1 * count, "b": 1.0}, on_step=True, on_epoch=True)


def fit_to(batches):
    def act(trainer_of, module):
        data = DataLoader(batches, batch_size=None, collate_fn=lambda batch: batch)
        trainer_of(num_sanity_val_steps=0).fit(module, data, data)

    return act


def test_batches_of_any_kind(tmp_path):
    """The batch size is found, warned of or refused as ever; what a refused call leaves behind is nothing."""

    def say(module, count):
        try:
            say_of_a_batch(module, count)
        except Exception as error:  # noqa: BLE001  what it is, is compared
            refused.append(repr(error))

    refused: list[str] = []
    make = lambda: AnyBatch(training_step=say, validation_step=say)  # noqa: E731
    seen = same(tmp_path, make, fit_to([batch for batches in BATCHES.values() for batch in batches]))
    assert seen["error"] is None
    assert any("ambiguous" in text for _, text in seen["warnings"])
    # Of two batches, in training and validation, in two epochs, in two runs.
    assert len(refused) == 2 * 2 * 2 * 2
    assert refused[:8] == refused[8:]


@pytest.mark.parametrize("name", ["empty", "text"])
def test_a_batch_that_tells_no_size(tmp_path, name):
    """The run ends where it ends without TrackPlus."""
    make = lambda: AnyBatch(training_step=say_of_a_batch, validation_step=say_of_a_batch)  # noqa: E731
    assert same(tmp_path, make, fit_to([*BATCHES["tensors"], *BATCHES[name]]))["error"] is not None


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


REFUSED = [
    lambda m: m.log("x", 1.0, prog_bar=True),
    lambda m: m.log("x", 1.0, on_epoch=True),
    lambda m: m.log("x", 1.0, on_epoch=False),
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
    lambda m: m.log("whole", torch.tensor(1 + 2j)),
    lambda m: m.log("x", 2**2000),
    lambda m: m.log("x", m.metric("mean")),
    lambda m: m.log("x/dataloader_idx_1", 1.0),
    lambda m: m.log_dict({"x": 5.0, "a": None, "b": 7.0}),
    lambda m: m.log_dict({"x": 5.0, "a": 2**2000, "b": 7.0}),
    lambda m: m.log_dict({"x": 5.0, "a": 1.0, "b": 7.0}, prog_bar=True),
    lambda m: m.log_dict({"x": 5.0, "a": 1.0, "b": 7.0}, no_such_argument=1),
    lambda m: m.log_dict(),
    lambda m: m.log_dict(None),
]
"""Calls that are refused where calls like them were taken; a few of them some hooks take, with a warning or without."""


def log_as_ever(module, count):
    module.log("", 1.0)
    module.log("x", 0.5 + count)
    module.log("whole", torch.tensor(count))
    module.log_dict({"x": 5.0, "a": 1.5, "b": 2.0 * count})


@pytest.mark.parametrize("hook", ["training_step", "validation_step"])
def test_errors_in_mid_run_leave_the_same_behind(tmp_path, hook):
    """A call that is refused, after others like it were taken, is refused in the same words, at the same state."""
    left = []

    def say(module, count):
        log_as_ever(module, count)
        error = None
        if count:
            try:
                REFUSED[count - 1](module)
            except Exception as raised:  # noqa: BLE001  what it is, is compared
                error = re.sub("at 0x[0-9a-f]+", "at …", repr(raised))
        left.append((error, exact(module.trainer.callback_metrics)))

    def act(trainer_of, module):
        batches = loader(len(REFUSED) + 1, batch_size=1)
        loaders = (batches, None) if hook == "training_step" else (loader(1), batches)
        trainer_of(max_epochs=1, num_sanity_val_steps=0).fit(module, *loaders)

    seen = same_in_all_ways(tmp_path, lambda: Saying(**{"training_step": usual, hook: say}), act)
    assert seen["error"] is None
    assert len(left) == 3 * (len(REFUSED) + 1)
    without, closed, opened = (left[number * len(left) // 3 :][: len(left) // 3] for number in range(3))
    assert closed == without
    assert opened == without
    assert sum(error is not None for error, _ in without) >= len(REFUSED) - 3


@pytest.mark.parametrize(
    "call", [lambda m: m.log_dict({"x": 5.0, "a": None, "b": 7.0}), lambda m: m.log("x", 1.0, prog_bar=True)]
)
@pytest.mark.parametrize("hook", ["training_step", "validation_step"])
def test_errors_that_end_a_run(tmp_path, call, hook):
    """The Trainer shows then what it shows without TrackPlus."""

    def say(module, count):
        log_as_ever(module, count)
        if count == 1:
            call(module)

    seen = same(tmp_path, lambda: Saying(**{"training_step": usual, hook: say}), briefly)
    assert seen["error"] is not None
    assert "on_exception" in [hook for hook, _ in seen["seen"]]


def test_errors_that_the_step_catches(tmp_path):
    """Training continues with what was logged before."""

    def say(module, count):
        module.log_dict({"x": 5.0, "a": 1.5, "b": 2.0 * count}, on_epoch=True)
        for value in (None, 2**2000, torch.rand(3)[:0].sum() + 1j):
            with contextlib.suppress(Exception):
                module.log_dict({"x": 6.0 * count, "a": value, "b": 7.0 * count}, on_epoch=True)

    assert same(tmp_path, lambda: Saying(training_step=say, validation_step=say))["error"] is None


@pytest.mark.parametrize("options", [{}, {"logger": False}, {"prog_bar": True, "logger": False}])
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
        ours = [TrackPlusLogger(trainer.default_root_dir, add_callback=False)]
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
    """The second training continues with the first one's Trainer."""

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
    """They get each call, with the arguments as they were given; of a ``log`` one warning more says that it does."""

    class Louder(Saying):
        def log(self, name, value, *args, **kwargs):
            super().log(f"louder/{name}", value, *args, **kwargs)

    class Dicts(Saying):
        def log_dict(self, dictionary, *args, **kwargs):
            super().log_dict({f"dict/{name}": value for name, value in dictionary.items()}, *args, **kwargs)

    for kind in (Louder, Dicts):
        make = lambda kind=kind: kind(training_step=usual, validation_step=usual)  # noqa: E731
        without, seen = (report(tmp_path / kind.__name__, way, make) for way in ("without", "open"))
        said = [one for one in seen["warnings"] if "fast path" in one[1]]
        assert len(said) == (kind is Louder)
        seen["warnings"] = [one for one in seen["warnings"] if one not in said]
        assert difference(without, seen) is None
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
