"""Reductions of ours and values for each sample, through real Trainer runs."""

from __future__ import annotations

import copy
import functools
import pickle
import re
import sys

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric

from lightning_trackplus import TrackPlus
from lightning_trackplus.reducers import Mean, Quantile, Reducer
from tests.flavour.fabric.utilities.exceptions import MisconfigurationException
from tests.flavour.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from tests.support.training import LoggingModule, loader, quiet_trainer

NUMBERS = np.arange(10.0)


def validated(tmp_path, step, *, loaders=None, trainer=None, **options):
    """Return ``callback_metrics`` after a validation whose step is the function."""
    trainer = trainer or quiet_trainer(tmp_path, callbacks=[TrackPlus()], **options)
    trainer.validate(LoggingModule(validation_step=step), loaders or loader(), verbose=False)
    return {name: value.item() for name, value in trainer.callback_metrics.items()}


@pytest.mark.parametrize(
    ("reduction", "expected"),
    [
        ("median", np.median(NUMBERS)),
        ("MEDIAN", np.median(NUMBERS)),
        ("p0", 0.0),
        ("p25", np.quantile(NUMBERS, 0.25)),
        ("p95", np.quantile(NUMBERS, 0.95)),
        ("p99.9", np.quantile(NUMBERS, 0.999)),
        ("p100", 9.0),
        ("std", np.std(NUMBERS, ddof=1)),
        ("var", np.var(NUMBERS, ddof=1)),
        ("first", 0.0),
        ("last", 9.0),
        ("count", 10.0),
        ("mean", 4.5),
        ("avg", 4.5),
        ("min", 0.0),
        ("max", 9.0),
        ("sum", 45.0),
        (torch.mean, 4.5),
        (torch.max, 9.0),
        (sum, 45.0),
        (torch.median, 4.0),
        (lambda values: values.max() - values.min(), 9.0),
        (lambda values: float(len(values)), 10.0),
        (Quantile(0.3), np.quantile(NUMBERS, 0.3)),
        (Mean(), 4.5),
        (functools.partial(torch.quantile, q=0.2), np.quantile(NUMBERS, 0.2)),
    ],
)
def test_a_value_for_each_sample_is_reduced_over_the_epoch(tmp_path, reduction, expected):
    """Each of the samples counts, over batches of unequal size, and the name stays as given."""
    metrics = validated(tmp_path, lambda m, b, i: m.log("loss", b[:, 0], reduce_fx=reduction))
    assert metrics == {"loss": pytest.approx(expected, rel=1e-15)}


@pytest.mark.parametrize(
    ("reduction", "expected"),
    [
        ("median", np.median(np.repeat([1.5, 5.5, 8.5], [4, 4, 2]))),
        ("p90", np.quantile(np.repeat([1.5, 5.5, 8.5], [4, 4, 2]), 0.9)),
        ("std", np.std(np.repeat([1.5, 5.5, 8.5], [4, 4, 2]), ddof=1)),
        ("count", 10.0),
        ("first", 1.5),
        (torch.amax, 8.5),
        (lambda values: len(values), 3.0),
    ],
)
def test_a_scalar_counts_with_its_batch_size(tmp_path, reduction, expected):
    """A scalar stands for as many equal samples as its batch has, as in Lightning's own mean."""
    metrics = validated(tmp_path, lambda m, b, i: m.log("loss", b[:, 0].mean(), reduce_fx=reduction))
    assert metrics == {"loss": pytest.approx(expected, rel=1e-15)}


def test_a_given_batch_size_counts_instead(tmp_path):
    """``batch_size`` is the weight of a scalar where it is given."""
    metrics = validated(
        tmp_path, lambda m, b, i: m.log("x", float(i), reduce_fx=["mean", "count"], batch_size=[1, 2, 5][i])
    )
    assert metrics == {"x_mean": 12 / 8, "x_count": 8.0}


def test_a_list_logs_one_name_for_each_reducer(tmp_path):
    """Names in a list stand behind the logged name; functions bring their own."""

    def spread(values):
        return values.max() - values.min()

    def step(module, batch, index):
        module.log("loss", batch[:, 0], reduce_fx=["mean", "p95", Quantile(0.5), spread, lambda v: v.sum()])
        module.log("one", batch[:, 0], reduce_fx=("max",))

    assert validated(tmp_path, step) == {
        "loss_mean": 4.5,
        "loss_p95": pytest.approx(8.55),
        "loss_p50": 4.5,
        "loss_spread": 9.0,
        "loss_lambda": 45.0,
        "one_max": 9.0,
    }


def test_a_reducer_of_ones_own_works_like_a_built_in(tmp_path):
    """Any object of a `Reducer` class can be passed, and made anew in each call."""

    class Range(Reducer):
        name = "range"
        weighted = False

        def summarize(self, samples):
            return np.array([samples.values.min(initial=np.inf), samples.values.max(initial=-np.inf)])

        def merge(self, left, right):
            return np.array([min(left[0], right[0]), max(left[1], right[1])])

        def result(self, state):
            return state[1] - state[0] if state[0] <= state[1] else np.nan

    assert validated(tmp_path, lambda m, b, i: m.log("x", b[:, 0], reduce_fx=Range())) == {"x": 9.0}


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64, torch.bool]
)
def test_any_dtype_is_accumulated_in_float64(tmp_path, dtype):
    """The mean of many values of a narrow type does not lose what the type cannot hold."""

    def step(module, batch, index):
        module.log("x", torch.ones(1000, dtype=dtype), reduce_fx=["mean", "sum", "median"])

    assert validated(tmp_path, step) == {"x_mean": 1.0, "x_sum": 3000.0, "x_median": 1.0}


def test_values_are_copied_and_leave_the_graph(tmp_path):
    """What the user does to a tensor after logging it changes nothing, and no graph is kept."""

    def step(module, batch, index):
        values = module.layer(batch).flatten()
        values = batch[:, 0].clone()
        module.log("x", values, reduce_fx="max")
        values.zero_()

    def train(module, batch, index):
        module.log("train", module.layer(batch).flatten(), reduce_fx="p50", on_step=False, on_epoch=True)

    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()])
    trainer.fit(LoggingModule(training_step=train, validation_step=step), loader(), loader())
    assert trainer.callback_metrics["x"] == 9.0
    assert not trainer.callback_metrics["train"].requires_grad


def test_each_epoch_begins_anew_and_the_sanity_check_leaves_nothing(tmp_path):
    """No value of one epoch, nor of the sanity check, is in the result of the next."""

    class Collect(Callback):
        seen = []

        def on_validation_end(self, trainer, module):
            if not trainer.sanity_checking:
                self.seen.append({k: v.item() for k, v in trainer.callback_metrics.items()})

    def step(module, batch, index):
        module.log("x", batch[:, 0] + 100 * module.current_epoch, reduce_fx=["max", "count"])

    collect = Collect()
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus(), collect], max_epochs=3)
    trainer.fit(LoggingModule(validation_step=step), loader(), loader())
    assert collect.seen == [{"x_max": 9.0 + 100 * epoch, "x_count": 10.0} for epoch in range(3)]


def test_in_training_steps_and_epochs_are_forked_like_lightnings_own(tmp_path):
    """``on_step`` gives the reduction of the step's own samples, ``on_epoch`` that of all."""

    class Steps(Callback):
        seen = []

        def on_train_batch_end(self, trainer, module, *args):
            self.seen.append(trainer.callback_metrics["x_step"].item())

    def step(module, batch, index):
        module.log("x", batch[:, 0], reduce_fx="median", on_step=True, on_epoch=True)
        module.log("only_step", batch[:, 0], reduce_fx="max")

    steps = Steps()
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus(), steps])
    trainer.fit(LoggingModule(training_step=step), loader())
    assert steps.seen == [1.5, 5.5, 8.5]
    metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
    assert metrics == {"x": 4.5, "x_step": 8.5, "x_epoch": 4.5, "only_step": 9.0}


def test_several_dataloaders_have_their_own_streams_and_suffixes(tmp_path):
    """Two validation dataloaders give two results under Lightning's names."""
    metrics = validated(
        tmp_path,
        lambda m, b, i: m.log("x", b[:, 0], reduce_fx="max"),
        loaders=[loader(10), loader(4)],
    )
    assert metrics == {"x/dataloader_idx_0": 9.0, "x/dataloader_idx_1": 3.0}


def test_without_the_suffix_two_dataloaders_may_not_share_a_name(tmp_path):
    """``add_dataloader_idx=False`` with one name for both is refused in Lightning's words."""
    with pytest.raises(MisconfigurationException, match="twice in `validation_step` with different arguments"):
        validated(
            tmp_path,
            lambda m, b, i: m.log("x", b[:, 0], reduce_fx="max", add_dataloader_idx=False),
            loaders=[loader(10), loader(4)],
        )


def test_a_batch_of_one_sample_is_a_sample_among_vectors(tmp_path):
    """The last batch of nine samples has one, and it counts one, whichever batch comes first."""
    metrics = validated(tmp_path, lambda m, b, i: m.log("x", b[:, 0], reduce_fx=["mean", "count"]), loaders=loader(9))
    assert metrics == {"x_mean": 4.0, "x_count": 9.0}


@pytest.mark.parametrize(("reduction", "expected"), [("mean", 10 / 4), ("sum", 10.0), ("min", 1.0), ("max", 4.0)])
def test_a_first_batch_of_one_sample_goes_on_as_a_vector(tmp_path, reduction, expected):
    """Lightning takes the first batch's one value itself; the vectors that follow join it."""
    batches = [torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0], [3.0, 0.0], [4.0, 0.0]])]
    loaders = DataLoader([(batch,) for batch in batches], batch_size=None)
    metrics = validated(tmp_path, lambda m, b, i: m.log("x", b[:, 0], reduce_fx=reduction), loaders=loaders)
    assert metrics == {"x": expected}


def test_empty_batches_count_nothing_and_an_empty_epoch_is_nan(tmp_path):
    """A batch without samples is no error; an epoch of them gives NaN, and a sum of 0 samples."""

    def step(module, batch, index):
        module.log("some", batch[: index % 2, 0], reduce_fx=["mean", "count"])
        module.log("none", batch[:0, 0], reduce_fx=["mean", "p50", "std", "first"])

    metrics = validated(tmp_path, step)
    assert (metrics.pop("some_mean"), metrics.pop("some_count")) == (4.0, 1.0)
    assert len(metrics) == 4
    assert all(np.isnan(value) for value in metrics.values())


def test_nan_is_left_out_with_one_warning_and_infinity_counts(tmp_path):
    """NaN values are not counted and said; infinities are values."""

    def step(module, batch, index):
        values = batch[:, 0].clone()
        values[0] = torch.nan
        module.log("x", values, reduce_fx=["mean", "median", "count", "min", "first", len])
        module.log("y", batch[:, 0] / (batch[:, 0] != 5), reduce_fx=["max", "mean", "median"])

    message = "self.log('x', …): 3 values of this epoch were NaN and are left out of x_mean, x_median, x_count"
    with pytest.warns(UserWarning, match=re.escape(message)):
        metrics = validated(tmp_path, step)
    kept = [1, 2, 3, 5, 6, 7, 9]
    assert metrics == {
        "x_mean": pytest.approx(np.mean(kept)),
        "x_median": 5.0,
        "x_count": 7.0,
        "x_min": 1.0,
        "x_first": 1.0,
        "x_len": 7.0,
        "y_max": np.inf,
        "y_mean": np.inf,
        "y_median": pytest.approx(np.median([0, 1, 2, 3, 4, np.inf, 6, 7, 8, 9])),
    }


def test_model_checkpoint_and_early_stopping_monitor_our_results(tmp_path):
    """The best epoch is chosen, and training stopped, by a quantile."""
    p95 = [5.0, 3.0, 4.0, 6.0, 7.0, 8.0]

    def step(module, batch, index):
        module.log("val/loss", batch[:, 0] * 0 + p95[module.current_epoch], reduce_fx=["mean", "p95"])

    checkpoint = ModelCheckpoint(tmp_path / "ckpt", monitor="val/loss_p95", filename="best")
    stopping = EarlyStopping("val/loss_p95", patience=2)
    trainer = quiet_trainer(
        tmp_path, callbacks=[TrackPlus(), checkpoint, stopping], max_epochs=6, enable_checkpointing=True
    )
    trainer.fit(LoggingModule(validation_step=step), loader(), loader())
    assert checkpoint.best_model_score == 3.0
    assert stopping.best_score == 3.0
    assert trainer.current_epoch == 4
    assert (tmp_path / "ckpt" / "best.ckpt").exists()


@pytest.mark.parametrize("bar", ["TQDMProgressBar", "RichProgressBar"])
def test_the_progress_bar_shows_our_results(tmp_path, bar, capsys, monkeypatch):
    """``prog_bar=True`` brings a reduction into both of Lightning's progress bars."""
    from tests.flavour.pytorch import callbacks

    monkeypatch.setenv("COLUMNS", "200")
    shown = []

    class Bar(getattr(callbacks, bar)):
        def get_metrics(self, trainer, module):
            metrics = super().get_metrics(trainer, module)
            shown.append(metrics)
            return metrics

    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus(), Bar()], enable_progress_bar=True)
    trainer.fit(
        LoggingModule(validation_step=lambda m, b, i: m.log("val", b[:, 0], reduce_fx="p95", prog_bar=True)),
        loader(),
        loader(),
    )
    assert shown[-1]["val"] == pytest.approx(8.55)
    assert "val" in "".join(capsys.readouterr())


def refused(tmp_path, step, error=MisconfigurationException):
    """Return the message of the error that a validation step raises, and check that it points at the step."""
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()])
    with pytest.raises(error) as caught:
        trainer.validate(LoggingModule(validation_step=step), loader(), verbose=False)
    assert any(entry.name == step.__name__ for entry in caught.traceback)
    return str(caught.value)


KNOWN = (
    "mean, sum, count, nan_count, inf_count, min, max, range, argmin, argmax, var, std, sem, cv, skew, kurtosis, rms,"
    " l1, l2, gmean, hmean, perplexity, logsumexp, logmeanexp, iqr, mad, trimmed_mean, winsorized_mean, mode,"
    " n_unique, histogram, first, last, delta, ema, ewm_std, median, running, since_logged, p0 … p100 (also p99.9),"
    " top5, bottom5"
)


@pytest.mark.parametrize(
    ("reduction", "message"),
    [
        ("medain", f"Unknown reduce_fx 'medain'; expected one of {KNOWN}. Did you mean 'median'?"),
        ("p101", "reduce_fx='p101': Quantile got q=1.01; expected a number from 0 to 1, for example 0.95."),
        ("ema(2)", "reduce_fx='ema(2)': "),
        ("ema(", f"Unknown reduce_fx 'ema('; expected one of {KNOWN}. Did you mean 'ema'?"),
        (
            "ema(0.1 0.2)",
            "reduce_fx='ema(0.1 0.2)' cannot be read; expected a name with numbers or names in brackets, such as"
            " 'ema(0.05)' or 'running(100, median)'.",
        ),
        (
            "running(10, medain)",
            f"Unknown reduce_fx 'medain'; expected one of {KNOWN.replace(' running, since_logged,', '')}."
            " Did you mean 'median'?",
        ),
        ("qqqq", f"Unknown reduce_fx 'qqqq'; expected one of {KNOWN}."),
        ("best8", f"Unknown reduce_fx 'best8'; expected one of {KNOWN}. Did you mean 'top8' or 'bottom8'?"),
        ("tpo8", f"Unknown reduce_fx 'tpo8'; expected one of {KNOWN}. Did you mean 'top8'?"),
        ("p-5", f"Unknown reduce_fx 'p-5'; expected one of {KNOWN}. Did you mean 'p5'?"),
        ("q0.95", f"Unknown reduce_fx 'q0.95'; expected one of {KNOWN}. Did you mean 'p95'?"),
        ("pct(95)", f"Unknown reduce_fx 'pct(95)'; expected one of {KNOWN}. Did you mean 'p95'?"),
        ("largest", f"Unknown reduce_fx 'largest'; expected one of {KNOWN}. Did you mean 'max'?"),
        (Quantile, "reduce_fx=Quantile is a class; expected an object, Quantile(…), or a name."),
        ("variance", f"Unknown reduce_fx 'variance'; expected one of {KNOWN}. Did you mean 'var'?"),
        ("top8.5", f"Unknown reduce_fx 'top8.5'; expected one of {KNOWN}."),
        (
            "p95, p99",
            "reduce_fx='p95, p99' is one string; expected a list for several reducers, reduce_fx=['p95', 'p99'].",
        ),
        (
            ["max mean"],
            "reduce_fx='max mean' is one string; expected a list for several reducers, reduce_fx=['max', 'mean'].",
        ),
        (
            "ema(0.1); running(5, max)",
            "reduce_fx='ema(0.1); running(5, max)' is one string; expected a list for several reducers,"
            " reduce_fx=['ema(0.1)', 'running(5, max)'].",
        ),
        (
            "running",
            "reduce_fx='running' does not fit running, which takes window, reducer, nan_policy (missing a required"
            " argument: 'window'); write its arguments in brackets, such as 'running(100)'.",
        ),
        (
            "std(3)",
            "reduce_fx='std(3)' does not fit std, which takes nan_policy (too many positional arguments); write its"
            " arguments in brackets, such as 'std()'.",
        ),
        (
            3,
            f"Unknown reduce_fx 3; expected one of {KNOWN}, a Reducer object, a function of a 1-D tensor,"
            " or a list of these.",
        ),
        (
            ["p50", Quantile(0.5)],
            "asks for p50, p50; expected at least one reducer, each with a name of its own."
            " A function written with `def` has its own name.",
        ),
        ([], "reduce_fx=[] asks for nothing; expected at least one reducer, each with a name of its own."),
    ],
)
def test_what_is_no_reducer_is_refused_at_the_users_line(tmp_path, reduction, message):
    """The error says what was given, what is known, and guesses what was meant."""
    assert message in refused(tmp_path, lambda m, b, i: m.log("x", 1.0, reduce_fx=reduction))


SHAPES = (
    "self.log('{}', …) got {} of shape {}; it takes a scalar, or one value for each sample in one dimension. Write"
    " `.mean()` if one number is meant, `.flatten()` if every number is a sample, `HeatMap(…)` around a matrix, or"
    " `Image(…)` around pixels."
)


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (lambda m, b, i: m.log("x", b[:, :1]), ("x", "a tensor", (4, 1))),
        (lambda m, b, i: m.log("x", b.numpy()), ("x", "an array", (4, 2))),
        (lambda m, b, i: m.log("x", b[None]), ("x", "a tensor", (1, 4, 2))),
        (lambda m, b, i: m.log("x", b[:0]), ("x", "a tensor", (0, 2))),
        (lambda m, b, i: m.log("x", b, reduce_fx="p95"), ("x", "a tensor", (4, 2))),
        (lambda m, b, i: m.log("x", b[:2], reduce_fx="p95", names=["a", "b"]), ("x", "a tensor", (2, 2))),
        (lambda m, b, i: m.log("x", b, reduce_fx="first8"), ("x", "a tensor", (4, 2))),
        (lambda m, b, i: m.log("x", {"y": {"z": b}}), ("x/y/z", "a tensor", (4, 2))),
        (lambda m, b, i: m.log_dict({"y": b}), ("y", "a tensor", (4, 2))),
        (lambda m, b, i: m.log("x", b[:1, :1] if i else b[:, 0]), ("x", "a tensor", (1, 1))),
        (lambda m, b, i: m.log("x", *((b[:1, :1],) if i else (b[:2],)), names=None if i else "ab"),
         ("x", "a tensor", (1, 1))),
    ],
    ids=["column", "array", "three", "empty", "reducer", "names", "selection", "dict", "log_dict", "samples", "map"],
)  # fmt: skip
def test_numbers_of_several_dimensions_are_refused_at_the_users_line(tmp_path, log, expected):
    """Nobody can tell what they mean: they may be samples, a matrix, or pixels."""
    assert refused(tmp_path, log, ValueError) == SHAPES.format(*expected)


def test_one_number_of_two_dimensions_is_lightnings(tmp_path):
    """As without us, as long as the name has had no more numbers."""
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()])
    trainer.fit(LoggingModule(training_step=lambda m, b, i: m.log("x", b[-1:, :1], on_epoch=True)), loader(9, 3))
    assert trainer.callback_metrics["x_epoch"] == 5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, 2.0], "got a list of numbers; give one tensor, torch.tensor(…), whose"),
        (((1, 2), [True]), "got a tuple of numbers; give one tensor, torch.tensor(…), whose"),
        (range(3), "got a range of numbers; give one tensor, torch.tensor(…), whose"),
        (
            [torch.ones(2), torch.ones(1)],
            "got a list of tensors; give one tensor, torch.cat(…) or torch.stack(…), whose",
        ),
    ],
)
def test_numbers_in_a_list_are_refused_at_the_users_line(tmp_path, values, message):
    """The error says that a tensor is taken; also inside a dict."""
    end = " elements are the values of samples, or log each under a name of its own."
    for value, name in ((values, "x"), ({"y": values}, "x/y")):
        given = refused(tmp_path, lambda m, b, i, value=value: m.log("x", value, reduce_fx="max"), ValueError)
        assert given == f"self.log({name!r}, …) {message}{end}"


def test_complex_values_are_refused(tmp_path):
    """A complex number has no order and no quantile."""
    message = "self.log('x', …) got complex values; log `.abs()`, or `.real` and `.imag`."
    for values in (torch.ones(3, dtype=torch.cfloat), torch.tensor(1j)):
        step = lambda m, b, i, values=values: m.log("x", values, reduce_fx="p95")  # noqa: E731
        assert refused(tmp_path, step, ValueError) == message


def test_a_metric_takes_no_reduction(tmp_path):
    """A torchmetrics metric reduces itself."""
    message = (
        "self.log('x', …) got the metric MeanMetric and reduce_fx='p95'; a metric reduces itself, so leave reduce_fx"
        " out."
    )
    assert refused(tmp_path, lambda m, b, i: m.log("x", MeanMetric(), reduce_fx="p95")) == message


def test_one_name_in_one_hook_has_one_reduction(tmp_path):
    """Two reductions under one name would be two curves in one."""

    def step(module, batch, index):
        module.log("x", 1.0, reduce_fx="p95")
        module.log("x", 1.0, reduce_fx="p50")

    def list_then_single(module, batch, index):
        module.log("x", 1.0, reduce_fx=["p95"])
        module.log("x", 1.0, reduce_fx="p95")

    assert refused(tmp_path, step) == (
        "You called `self.log(x, ...)` twice in one hook, with reduce_fx='p95' and 'p50'."
        " Ask for both in one list, or log under two names."
    )
    assert "with reduce_fx=['p95'] and 'p95'" in refused(tmp_path, list_then_single)


def test_other_arguments_in_a_later_call_are_refused_in_lightnings_words(tmp_path):
    """Lightning judges the other arguments, also of a name that we reduce."""

    def step(module, batch, index):
        module.log("x", 1.0, reduce_fx="p95", prog_bar=index > 0)

    assert "twice in `validation_step` with different arguments. This is not allowed" in refused(tmp_path, step)


def test_a_function_that_returns_no_number_is_named(tmp_path):
    """The error of a user's function says what it got and gave."""
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()])
    message = re.escape("reduce_fx=sort returned") + "(?s:.*)" + re.escape("for 10 values; expected one number")
    with pytest.raises(ValueError, match=message):
        trainer.validate(
            LoggingModule(validation_step=lambda m, b, i: m.log("x", b[:, 0], reduce_fx=torch.sort)), loader()
        )


def test_hooks_that_may_not_log_are_refused_in_lightnings_words(tmp_path):
    """In ``predict_step`` nothing can be logged, our reductions neither."""
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()])
    with pytest.raises(MisconfigurationException, match=r"You can't `self.log\(\)` inside `predict_step`"):
        trainer.predict(LoggingModule(predict_step=lambda m, b, i: m.log("x", b[:, 0], reduce_fx="p95")), loader())


def test_a_validation_before_a_fit_leaves_it_unharmed(tmp_path):
    """Tensors made in inference mode do not reach into training."""

    def step(module, batch, index):
        module.log("x", batch[:, 0], reduce_fx=["median", "std", "max"])

    module = LoggingModule(validation_step=step)
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()])
    trainer.validate(module, loader(), verbose=False)
    trainer.fit(module, loader(), loader())
    trainer.validate(module, loader(), verbose=False)
    assert trainer.callback_metrics["x_median"] == 4.5


def test_a_module_can_be_copied_and_pickled_in_mid_run(tmp_path):
    """A copy made in a hook, and one read from a pickle, have Lightning's own ``log`` and their own layers."""
    copies = []

    def step(module, batch, index):
        module.log("x", batch[:, 0], reduce_fx="max")
        if index == 1:
            hooks, module.hooks = module.hooks, {}
            copies.extend([copy.deepcopy(module), pickle.loads(pickle.dumps(module))])
            module.hooks = hooks

    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()])
    trainer.fit(LoggingModule(training_step=step), loader())
    assert trainer.callback_metrics["x"] == 9.0
    for made in copies:
        assert made.log.__func__ is LoggingModule.log
        assert made.log.__self__ is made


@pytest.mark.skipif(sys.platform == "win32", reason="torch.compile needs a C++ compiler")
def test_a_compiled_module_logs_as_an_uncompiled_one(tmp_path):
    """``torch.compile`` breaks its graph at ``self.log`` and goes on."""

    def step(module, batch, index):
        module.log("x", batch[:, 0], reduce_fx=["max", "count"], on_step=False, on_epoch=True)

    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()])
    trainer.fit(torch.compile(LoggingModule(training_step=step), backend="eager"), loader())
    assert trainer.callback_metrics["x_max"] == 9.0
    assert trainer.callback_metrics["x_count"] == 10.0


@pytest.mark.parametrize("reduction", ["mean", "max", ["mean"], "median"], ids=str)
def test_a_last_batch_without_a_dimension_is_a_sample_among_vectors(tmp_path, reduction):
    """``squeeze`` turns a batch of one sample into a scalar, which counts as one."""

    def step(module, batch, index):
        module.log("x", batch[:, 0].squeeze(), reduce_fx=reduction)

    assert list(validated(tmp_path, step, loaders=loader(9)).values()) == [8.0 if reduction == "max" else 4.0]


def test_a_plain_scalar_does_not_join_another_reduction(tmp_path):
    """A name that was logged with a reduction of ours is refused with Lightning's default."""

    def step(module, batch, index):
        module.log("x", 1.0, reduce_fx="p95")
        module.log("x", 1.0)

    assert "with reduce_fx='p95' and 'mean'" in refused(tmp_path, step)


def test_lightnings_functions_mean_the_same_alone_and_in_a_list(tmp_path):
    """``torch.mean`` is the weighted mean wherever it stands."""

    def step(module, batch, index):
        module.log("alone", batch[:, 0].mean(), reduce_fx=torch.mean)
        module.log("list", batch[:, 0].mean(), reduce_fx=[torch.mean, max])

    assert validated(tmp_path, step) == {"alone": 4.5, "list_mean": 4.5, "list_max": 8.5}


def test_a_function_is_called_once_an_epoch(tmp_path):
    """However many results are asked for, and by whom, each is computed once."""
    calls = []

    def counted(values):
        calls.append(len(values))
        return values.sum()

    validated(tmp_path, lambda m, b, i: m.log("x", b[:, 0], reduce_fx=[counted, "p50", "p95"], prog_bar=True))
    assert calls == [10]


@pytest.mark.parametrize(("first", "second"), [("mean", "p95"), ("mean", "max")])
def test_what_lightning_reduces_does_not_join_another_reduction(tmp_path, first, second):
    """A name that Lightning has begun with is refused with another reduction, in its words."""

    def step(module, batch, index):
        module.log("x", 1.0, reduce_fx=first)
        module.log("x", batch[:, 0], reduce_fx=second)

    assert "twice in `validation_step` with different arguments. This is not allowed" in refused(tmp_path, step)


def test_two_reducers_of_a_list_that_give_one_name_are_refused(tmp_path):
    """One of the results would be lost; where both mean the same there is no harm."""
    message = (
        "reduce_fx=['iqr', \"quantile(0.25, method='hist')\"]: iqr and p25 both give x_p25; log them under two names."
    )
    reductions = ["iqr", "quantile(0.25, method='hist')"]
    assert refused(tmp_path, lambda m, b, i: m.log("x", b[:, 0], reduce_fx=reductions)) == message
    metrics = validated(tmp_path, lambda m, b, i: m.log("x", b[:, 0], reduce_fx=["iqr", "p25", "top2", "top3"]))
    assert metrics["x_p25"] == np.quantile(NUMBERS, 0.25)
    assert (metrics["x_top2"], metrics["x_top3"]) == (8.0, 7.0)


def test_several_numbers_of_a_reducer_of_reducers_have_its_name(tmp_path):
    """A running IQR is beside that of the epoch."""
    metrics = validated(tmp_path, lambda m, b, i: m.log("x", b[:, 0], reduce_fx=["iqr", "running(2, iqr)"]))
    assert metrics["x_p25"] == np.quantile(NUMBERS, 0.25)
    assert metrics["x_running2_p25"] == np.quantile(NUMBERS[4:], 0.25)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("topk(2, steps=False)", {"x_top1", "x_top2"}),
        ("TopK(2, steps=True)", {"x_top1", "x_top2", "x_top1_step", "x_top2_step"}),
        ("Running(3, None)", {"x"}),
        ("running(3, 'MEDIAN')", {"x"}),
        ("p99.99999", {"x"}),
    ],
)
def test_names_with_arguments_are_read_as_pythons(tmp_path, text, names):
    """Literals are literals, and names know no case."""
    assert set(validated(tmp_path, lambda m, b, i: m.log("x", b[:, 0], reduce_fx=text))) == names


def test_a_percentile_of_many_digits_keeps_them(tmp_path):
    """It is not called as the largest value is."""
    metrics = validated(tmp_path, lambda m, b, i: m.log("x", b[:, 0], reduce_fx=["p99.99999", "p100"]))
    assert set(metrics) == {"x_p99.99999", "x_p100"}


def test_names_given_as_none_are_none_and_positional_options_stay(tmp_path):
    """``names=None`` is a call without it; what stands behind the value means what it means."""

    def step(module, batch, index):
        module.log("x", batch[:, 0].mean(), names=None)
        module.log("v", batch[0], True, names=["a", "b"])

    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()])
    trainer.validate(LoggingModule(validation_step=step), loader(), verbose=False)
    assert set(trainer.callback_metrics) == {"x", "v/a", "v/b"}
    assert set(trainer.progress_bar_metrics) == {"v/a", "v/b"}


def test_all_values_of_a_logged_step_count_since_the_last(tmp_path):
    """Two calls in one step are one window."""
    seen = []

    class Steps(Callback):
        def on_train_batch_end(self, trainer, module, *args):
            seen.append(trainer.callback_metrics["x"].item())

    def step(module, batch, index):
        module.log("x", 10.0 * index + 1, reduce_fx="since_logged")
        module.log("x", 10.0 * index + 3, reduce_fx="since_logged")

    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus(), Steps()])
    trainer.fit(LoggingModule(training_step=step), loader())
    assert seen == [2.0, 12.0, 22.0]
