"""With the fast path open, each argument of ``log`` and each hook give to the bit what they give without TrackPlus."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.support.paired_runs import (
    BACKWARD,
    TESTING,
    TRAINING,
    VALIDATION,
    Saying,
    Talking,
    exact,
    usual,
    values_of,
)
from tests.support.same import briefly, names, same, same_in_all_ways
from tests.support.training import loader

# Every argument of `log`.


OPTIONS = [
    {},
    {"on_step": True, "on_epoch": True, "prog_bar": True},
    {"on_step": False, "on_epoch": True},
    {"on_step": True, "on_epoch": True, "reduce_fx": "SUM"},
    {"on_step": False, "on_epoch": True, "reduce_fx": "max"},
    {"on_step": True, "on_epoch": False, "reduce_fx": min},
    # What becomes of a value does not depend on these.
    {"on_step": True, "on_epoch": False},
    {"on_epoch": True, "logger": False},
    {"on_epoch": True, "logger": True},
    {"on_epoch": True, "batch_size": 3},
    {"on_epoch": True, "batch_size": 0},
    {"on_epoch": True, "enable_graph": True},
    {"on_epoch": True, "sync_dist": True},
    {"on_epoch": True, "rank_zero_only": True},
    {"on_epoch": True, "add_dataloader_idx": True},
    {"on_epoch": True, "metric_attribute": "any"},
    *({"on_step": True, "on_epoch": True, "reduce_fx": one} for one in ("mean", "avg", "max", "min")),
    *({"on_step": False, "on_epoch": True, "reduce_fx": one} for one in (torch.max, torch.min, max, min, sum)),
    {"on_step": True, "on_epoch": False, "reduce_fx": "max"},
]
WITH_ALL_VALUES = 6
SOME_VALUES = ("float", "float64", "torch.int32_tensor", "with_graph", "nan_tensor")


@pytest.mark.parametrize("share", range(3))
def test_every_argument_and_every_value(tmp_path, share):
    """Values of every dtype and shape, and Python's and numpy's, are kept and reduced alike."""
    chosen = [(str(one), one, number < WITH_ALL_VALUES) for number, one in enumerate(OPTIONS)][share::3]

    def say(module, count):
        values = values_of(module, count)
        for label, options, with_all in chosen:
            for name in values if with_all else SOME_VALUES:
                module.log(f"{label} {name}", values[name], **options)

    def say_some(module, count):
        values = values_of(module, count)
        for label, options, _ in chosen:
            for name in SOME_VALUES[:4]:
                module.log(f"{label} {name}", values[name], **options)

    seen = same_in_all_ways(tmp_path, lambda: Saying(training_step=say, validation_step=say_some), briefly)
    assert seen["error"] is None
    shown = {name.removesuffix("_step").removesuffix("_epoch") for name in names(seen)}
    assert shown >= {f"{label} {name}" for label, *_ in chosen for name in SOME_VALUES}
    assert shown >= {f"{chosen[0][0]} {name}" for name in ("torch.int8_tensor", "of_one")}


def test_every_value_in_log_dict(tmp_path):
    """``log_dict`` does with each of its values what ``log`` does."""

    def say(module, count):
        for options in ({}, {"on_epoch": True, "prog_bar": True, "batch_size": 2}):
            module.log_dict({f"{options}/{name}": one for name, one in values_of(module, count).items()}, **options)
        module.log_dict({"a": count, "b": 0.5 * count, "c": module.current}, on_epoch=True)
        module.log_dict({"last/a": count, "last/b": 0.5 * count}, True, None, True, True)

    seen = same_in_all_ways(tmp_path, lambda: Saying(training_step=say, validation_step=say), briefly)
    assert seen["error"] is None


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


SIZES = {
    "int": lambda count: count + 1,
    "float": lambda count: 2.5,
    "tensor": lambda count: torch.tensor(count + 1),
    "float tensor": lambda count: torch.tensor(0.5),
    "numpy": lambda count: np.int64(3),
    "bool": lambda count: True,
    "changing": lambda count: [3, 2.5, None][count % 3],
}


def test_batch_sizes_of_any_kind(tmp_path):
    """Lightning counts with what it is given, whatever it is."""

    def say(module, count):
        for name, size in SIZES.items():
            module.log(f"x/{name}", module.current, on_step=True, on_epoch=True, batch_size=size(count))
            module.log(f"y/{name}", 0.1 * count, on_step=False, on_epoch=True, batch_size=size(count))
            module.log_dict({f"z/{name}": 0.3 * count}, on_epoch=True, batch_size=size(count))

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

    def saying(hook):
        def say(module, count):
            for number in range(4):
                module.log(hook, count + number, prog_bar=True)
                module.log_dict({f"{hook}/a": 1.5 * number, f"{hook}/b": number}, reduce_fx="max")
                read.append(exact(module.trainer.callback_metrics) + exact(module.trainer.progress_bar_metrics))

        return say

    hooks = ("on_train_epoch_end", "on_validation_epoch_end", "on_validation_start", "training_step")
    assert same_in_all_ways(tmp_path, lambda: Saying(**{hook: saying(hook) for hook in hooks}))["error"] is None
    third = len(read) // 3
    assert read[:third] == read[third : 2 * third] == read[2 * third :]
    assert third > 4 * len(hooks)


# Every hook.


def test_every_hook_that_may_log(tmp_path):
    """One name in several hooks, and names of their own; the hooks reset what they have logged in their turn."""

    def make():
        def saying(hook):
            def say(module, count):
                for prefix, options in (("", {}), ("shown/", {"on_epoch": True, "prog_bar": True})):
                    module.log(f"{prefix}shared", 0.1 * count, **options)
                    module.log(f"{prefix}{hook}", count, **options)
                    module.log_dict({f"{prefix}{hook}/a": 1.5 * count, f"{prefix}{hook}/b": 2}, **options)

            return say

        steps = ("training_step", "validation_step", "test_step")
        return Saying(**{hook: saying(hook) for hook in (*TRAINING, *BACKWARD, *VALIDATION, *TESTING, *steps)})

    def act(trainer_of, module):
        trainer = trainer_of(num_sanity_val_steps=1)
        trainer.fit(module, loader(8), [loader(8), loader(2)])
        return trainer.test(module, [loader(8), loader(2)], verbose=False)

    seen = same_in_all_ways(tmp_path, make, act, callbacks=[Talking])
    assert seen["error"] is None
    assert names(seen) >= {"shared", "shown/shared", *BACKWARD, *(f"shown/{hook}" for hook in TRAINING)}


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
