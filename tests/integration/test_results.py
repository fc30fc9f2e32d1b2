"""What a run shows of its results: where, when, under which names, and nothing of what was broken off."""

from __future__ import annotations

import math
import re
import sys
import warnings

import numpy as np
import pandas
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray
from torch.utils.data import DataLoader

import tests.flavour as L
from lightning_trackplus import TrackPlus, TrackPlusLogger
from lightning_trackplus.reducers import Count, Histogram, Max, Mean, Min, NanCount, Quantile, TopK
from tests.flavour.fabric.utilities.exceptions import MisconfigurationException
from tests.flavour.pytorch.callbacks import EarlyStopping, LearningRateFinder
from tests.flavour.pytorch.tuner import Tuner
from tests.support.recording import Rows, Shown, numbers
from tests.support.training import LoggingModule, goes_on_exactly, loader, quiet_trainer

NUMBERS = np.arange(10.0)
QUARTILES = {"x_iqr": 4.5, "x_p25": 2.25, "x_p75": 6.75}


def validated(tmp_path, step, *, loaders=None, nan_policy="omit", **options):
    """Return ``callback_metrics`` after a validation whose step is the function."""
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus(nan_policy=nan_policy)], **options)
    trainer.validate(LoggingModule(validation_step=step), loaders or loader(), verbose=False)
    return numbers(trainer.callback_metrics)


def fitted(tmp_path, *, callbacks=None, module=None, loaders=None, **given):
    """Train with hooks and options of the Trainer; return the Trainer and its rows."""
    rows = Rows()
    hooks = {name: given.pop(name) for name in list(given) if name.endswith(("_step", "_epoch_end"))}
    callbacks = [TrackPlus()] if callbacks is None else callbacks
    trainer = quiet_trainer(tmp_path, callbacks=callbacks, **{"logger": rows, **given})
    trainer.fit(
        LoggingModule(**hooks) if module is None else module, loader(), loader() if loaders is None else loaders
    )
    return trainer, rows


# Several numbers of one reducer


@pytest.mark.parametrize(
    ("reduction", "expected"),
    [
        ("top3", {"x_top1": 9.0, "x_top2": 8.0, "x_top3": 7.0}),
        ("bottom2", {"x_bottom1": 0.0, "x_bottom2": 1.0}),
        ("iqr", QUARTILES),
        (["iqr", "max", "top1"], {**QUARTILES, "x_max": 9.0, "x_top1": 9.0}),
        (["top2", "bottom1"], {"x_top1": 9.0, "x_top2": 8.0, "x_bottom1": 0.0}),
        (["iqr", "p25"], QUARTILES),
        (TopK(1, steps=True), {"x_top1": 9.0, "x_top1_step": 2.0}),
    ],
)
def test_several_numbers_have_a_name_each_alone_and_in_a_list(tmp_path, reduction, expected):
    """The names stand behind the logged one, whether the reducer is alone or not."""
    assert validated(tmp_path, lambda m, b, i: m.log("x", b[:, 0], reduce_fx=reduction)) == expected


def test_fewer_values_than_asked_for_are_nan(tmp_path):
    """``top5`` of three values shows three, and NaN for the others."""
    metrics = validated(tmp_path, lambda m, b, i: m.log("x", b[:, 0], reduce_fx="top5"), loaders=loader(3))
    assert list(metrics) == [f"x_top{rank}" for rank in range(1, 6)]
    assert list(metrics.values()) == pytest.approx([2, 1, 0, math.nan, math.nan], nan_ok=True)


def test_several_numbers_in_training_fork_and_reach_the_progress_bar(tmp_path):
    """Each of the names gets Lightning's ``_step`` and ``_epoch``."""
    step = lambda m, b, i: m.log("x", b[:, 0], reduce_fx="top2", on_epoch=True, on_step=True, prog_bar=True)  # noqa: E731
    trainer, rows = fitted(tmp_path, training_step=step)
    assert rows.series("x_top2_step") == {0: 2.0, 1: 6.0, 2: 8.0}
    assert rows.series("x_top1_epoch") == {2: 9.0}
    assert {"x_top1_step", "x_top2_step", "x_top1_epoch", "x_top2_epoch"} <= set(trainer.progress_bar_metrics)


def test_several_numbers_of_several_dataloaders(tmp_path):
    """The dataloader stands behind the name of the number."""
    loaders = [loader(10), loader(4)]
    metrics = validated(tmp_path, lambda m, b, i: m.log("x", b[:, 0], reduce_fx="top1"), loaders=loaders)
    assert metrics == {"x_top1/dataloader_idx_0": 9.0, "x_top1/dataloader_idx_1": 3.0}


# Histograms


def media_of(logger):
    """Return the rows of ``media.csv``, and the tables they point at."""
    media = pandas.read_csv(f"{logger.log_dir}/media.csv")
    return media, [pandas.read_csv(f"{logger.log_dir}/{file}") for file in media["file"]]


@pytest.mark.parametrize(("reduction", "name"), [("histogram", "x"), (["histogram", "max"], "x_histogram")])
def test_a_histogram_reaches_both_files_and_no_metrics(tmp_path, reduction, name):
    """By name, TensorBoard's bins hold each value; it is a medium, and no number of that name is there."""
    logger = TrackPlusLogger(tmp_path)
    step = lambda m, b, i: m.log("x", b[:, 0] + m.current_epoch, reduce_fx=reduction)  # noqa: E731
    trainer, _ = fitted(tmp_path, validation_step=step, logger=logger, max_epochs=2)
    media, tables = media_of(logger)
    assert list(media["name"]) == [name] * 2
    assert list(media["kind"]) == ["histogram"] * 2
    assert list(media["step"]) == [2, 5]
    for epoch, table in enumerate(tables):
        values = NUMBERS + epoch
        inside = [(values >= low) & (values < high) for low, high in zip(table["low"], table["high"], strict=True)]
        assert list(table["count"]) == [one.sum() for one in inside]
        assert table["count"].sum() == 10
    assert set(trainer.callback_metrics) == ({"x_max"} if isinstance(reduction, list) else set())
    events = EventAccumulator(logger.log_dir, size_guidance={"tensors": 0})
    events.Reload()
    assert [event.step for event in events.Tensors(name)] == [2, 5]
    drawn = make_ndarray(events.Tensors(name)[1].tensor_proto)
    assert drawn[:, 2].sum() == 10
    assert events.SummaryMetadata(name).plugin_data.plugin_name == "histograms"


def test_a_histogram_in_training_forks_like_a_number(tmp_path):
    """Steps that Lightning logs have the histogram of their samples, the epoch that of all."""
    logger = TrackPlusLogger(tmp_path)
    step = lambda m, b, i: m.log("x", b[:, 0], reduce_fx=Histogram(2, 0.0, 8.0), on_step=True, on_epoch=True)  # noqa: E731
    fitted(tmp_path, training_step=step, logger=logger, log_every_n_steps=2)
    media, tables = media_of(logger)
    counts = {
        (name, at): list(one["count"]) for name, at, one in zip(media["name"], media["step"], tables, strict=True)
    }
    # Above 8.0 lies the 9, in a row of its own.
    assert counts == {("x_step", 1): [0, 4], ("x_epoch", 2): [4, 5, 1]}


def test_a_histogram_of_several_dataloaders_and_of_nan(tmp_path):
    """The suffix is Lightning's; NaN is in no bin."""
    logger = TrackPlusLogger(tmp_path)

    def step(module, batch, index):
        values = torch.where(batch[:, 0] == 1, torch.nan, batch[:, 0])
        module.log("x", values, reduce_fx=Histogram([0.0, 5.0, 10.0]))

    with pytest.warns(UserWarning, match="1 values of this epoch were NaN"):
        validated(tmp_path, step, loaders=[loader(10), loader(4)], logger=logger)
    media, tables = media_of(logger)
    assert list(media["name"]) == ["x/dataloader_idx_0", "x/dataloader_idx_1"]
    assert [list(table["count"]) for table in tables] == [[4, 5], [3, 0]]


def test_a_histogram_without_a_logger_for_media_warns_and_goes_on(tmp_path):
    """A Trainer without TrackPlusLogger says that nothing is written, and shows the numbers of the list."""
    step = lambda m, b, i: m.log("x", b[:, 0], reduce_fx=["histogram", "max"])  # noqa: E731
    with pytest.warns(UserWarning, match="no logger of this Trainer takes media"):
        assert validated(tmp_path, step) == {"x_max": 9.0}


def test_a_histogram_of_the_sanity_check_is_not_written(tmp_path):
    """Only epochs leave something in the files."""
    logger = TrackPlusLogger(tmp_path)
    step = lambda m, b, i: m.log("x", b[:, 0], reduce_fx="histogram")  # noqa: E731
    fitted(tmp_path, validation_step=step, logger=logger, num_sanity_val_steps=2)
    assert len(media_of(logger)[0]) == 1


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("hook", ["on_validation_epoch_end", "on_train_epoch_end"])
def test_a_histogram_in_an_epoch_end_hook(tmp_path, hook, several):
    """What an epoch-end hook logs with ``histogram``, alone or beside others, is written for its epoch."""
    logger, histogram = TrackPlusLogger(tmp_path), Histogram([0.0, 2.0, 4.0])

    def log(module, batch, index):
        values = torch.arange(4.0) + 2 * module.current_epoch
        module.log("x", values, reduce_fx=[histogram, "max"] if several else histogram)

    fitted(tmp_path, **{hook: log}, logger=logger, num_sanity_val_steps=0, max_epochs=2)
    media, tables = media_of(logger)
    assert list(media["step"]) == [2, 5]
    # In the second epoch, 5 lies above all bins, and 4 in the last of them.
    assert [list(table["count"]) for table in tables] == [[2, 2], [0, 3, 1]]


# One name for each element


def test_names_log_each_element_as_a_call_of_its_own_would(tmp_path):
    """``names`` is short for one call for each element, with all other arguments alike."""
    classes = ["cat", "dog", "emu"]

    def short(module, batch, index):
        values = torch.stack([batch[:, 0].mean(), batch[:, 0].max(), batch[:, 1].min()])
        module.log("val/acc", values, names=classes)
        module.log(name="val/top", value=values, names=tuple(classes), reduce_fx="max", prog_bar=True)
        module.log("val/all", values, names=range(3), reduce_fx=["min", "p50"])

    def long(module, batch, index):
        values = torch.stack([batch[:, 0].mean(), batch[:, 0].max(), batch[:, 1].min()])
        for one, value in zip(classes, values, strict=True):
            module.log(f"val/acc/{one}", value)
            module.log(f"val/top/{one}", value, reduce_fx="max", prog_bar=True)
        for one, value in enumerate(values):
            module.log(f"val/all/{one}", value, reduce_fx=["min", "p50"])

    metrics = validated(tmp_path, short)
    assert metrics == validated(tmp_path, long)
    assert len(metrics) == 12


@pytest.mark.parametrize("options", [{}, {"on_step": True, "on_epoch": True}, {"reduce_fx": "p50", "on_epoch": True}])
def test_names_in_training(tmp_path, options):
    """In steps and epochs the names fork like any other."""
    short = lambda m, b, i: m.log("x", b.mean(dim=0), names=["a", "b"], **options)  # noqa: E731

    def long(module, batch, index):
        module.log("x/a", batch[:, 0].mean(), **options)
        module.log("x/b", batch[:, 1].mean(), **options)

    seen = [fitted(tmp_path, training_step=step)[1].rows for step in (short, long)]
    assert seen[0] == seen[1]
    assert seen[0]


@pytest.mark.parametrize(
    ("value", "names", "given"),
    [
        (torch.ones(2), ["a", "b", "c"], "shape (2,) and the 3 names a, b, c"),
        (torch.ones(2, 3, 1), ["a", "b", "c"], "shape (2, 3, 1) and the 3 names a, b, c"),
        (torch.tensor(1.0), ["a"], "shape () and the 1 names a"),
        (torch.ones(2), ["a", "a"], "shape (2,) and the 2 names a, a"),
        ([1.0, 2.0], ["a", "b"], "type list and the 2 names a, b"),
        (1.0, ["a"], "type float and the 1 names a"),
    ],
)
def test_names_that_do_not_fit_are_refused_word_for_word(tmp_path, value, names, given):
    """The message says what was given and what to give."""
    with pytest.raises(ValueError) as caught:
        validated(tmp_path, lambda m, b, i: m.log("val/acc", value, names=names))
    assert str(caught.value) == (
        f"self.log('val/acc', …, names=…) got a value of {given};"
        " expected a tensor with one element for each name, and different names."
    )


def test_names_reach_reducers_that_are_configured_for_them(tmp_path):
    """An element gets the reducers of its name in full, and not those of a pattern."""
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus(reducers={"acc/*": "max", "acc/b": "min"})])
    step = lambda m, b, i: m.log("acc", b[0], names=["a", "b"])  # noqa: E731
    trainer.validate(LoggingModule(validation_step=step), loader(), verbose=False)
    assert {"acc/a", "acc/b", "acc/b_min"} == set(trainer.callback_metrics)


# NaN and infinity


def with_nan(module, batch, index):
    """Log NaN among the values of the second batch."""
    values = batch[:, 0].clone()
    values[0] = torch.nan if index == 1 else values[0]
    module.log("x", values, reduce_fx=["mean", "max", "top2", NanCount()])


def test_nan_is_omitted_with_one_warning_however_many_epochs(tmp_path):
    """By default NaN is left out, and said once a name."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _, rows = fitted(tmp_path, validation_step=with_nan, max_epochs=3)
    assert len([one for one in caught if "were NaN and are left out" in str(one.message)]) == 1
    kept = np.delete(NUMBERS, 4)
    assert rows.series("x_mean") == pytest.approx(dict.fromkeys((2, 5, 8), kept.mean()))
    assert rows.series("x_nan_count") == dict.fromkeys((2, 5, 8), 1.0)


def test_nan_propagates_through_the_policy_of_trackplus(tmp_path):
    """Each number of a reducer is NaN, without a warning; in an epoch without NaN it is a number."""

    def step(module, batch, index):
        spoiled = index == 1 and module.current_epoch == 0
        module.log(
            "x", torch.where(batch[:, 0] == 4, torch.nan if spoiled else 4, batch[:, 0]), reduce_fx=["mean", "top2"]
        )

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _, rows = fitted(tmp_path, callbacks=[TrackPlus(nan_policy="propagate")], validation_step=step, max_epochs=2)
    assert not [one for one in caught if "NaN" in str(one.message)]
    for name, expected in {"x_mean": 4.5, "x_top1": 9.0, "x_top2": 8.0}.items():
        assert list(rows.series(name).values()) == pytest.approx([math.nan, expected], nan_ok=True)


@pytest.mark.parametrize("reduction", ["mean", "max", "sum", "min"])
def test_lightnings_reductions_of_vectors_follow_the_policy_too(tmp_path, reduction):
    """What looks like Lightning's own reduction of a vector has the policy of the others."""
    step = lambda m, b, i: m.log("x", torch.where(b[:, 0] == 4, torch.nan, b[:, 0]), reduce_fx=reduction)  # noqa: E731
    assert math.isnan(validated(tmp_path, step, nan_policy="propagate")["x"])
    assert not math.isnan(validated(tmp_path, step)["x"])


def test_early_stopping_stops_on_nan_that_propagates(tmp_path):
    """``check_finite`` sees the NaN of one sample, and the training ends in that epoch."""

    def step(module, batch, index):
        module.log("loss", torch.where(batch[:, 0] == 4, torch.nan, 1.0) if module.current_epoch == 1 else batch[:, 0])

    for policy, ended in (("propagate", 2), ("omit", 4)):
        callbacks = [TrackPlus(nan_policy=policy), EarlyStopping("loss", check_finite=True, patience=10)]
        trainer, _ = fitted(tmp_path, callbacks=callbacks, validation_step=step, max_epochs=4)
        assert trainer.current_epoch == ended


@pytest.mark.parametrize("where", ["validation_step", "training_step"])
def test_the_policy_raise_stops_at_the_end_of_the_epoch(tmp_path, where):
    """The error names the call; the Trainer can be used again."""
    step = lambda m, b, i: m.log("x", torch.where(b[:, 0] == 4, torch.nan, b[:, 0]), reduce_fx="p95", on_epoch=True)  # noqa: E731
    message = re.escape(
        "self.log('x', …): p95 got 1 values that are NaN, and nan_policy='raise'. Find where they come from, or"
        " leave them out with nan_policy='omit'."
    )
    with pytest.raises(ValueError, match=message):
        fitted(tmp_path, callbacks=[TrackPlus(nan_policy="raise")], num_sanity_val_steps=0, **{where: step})


def test_objects_have_a_policy_of_their_own(tmp_path):
    """In one list, each reducer does with NaN what it was made for."""

    def step(module, batch, index):
        values = torch.where(batch[:, 0] == 4, torch.nan, batch[:, 0])
        module.log("x", values, reduce_fx=[Mean(nan_policy="propagate"), Max(), "count"])

    metrics = validated(tmp_path, step)
    assert math.isnan(metrics["x_mean"])
    assert (metrics["x_max"], metrics["x_count"]) == (9.0, 9.0)
    with pytest.raises(ValueError, match="max got 1 values that are NaN"):
        validated(
            tmp_path,
            lambda m, b, i: m.log(
                "x", torch.where(b[:, 0] == 4, torch.nan, b[:, 0]), reduce_fx=Max(nan_policy="raise")
            ),
        )


def test_the_warning_names_those_that_leave_nan_out_alone(tmp_path):
    """A result that NaN does reach is not among those that it is said to be left out of."""

    def step(module, batch, index):
        values = torch.where(batch[:, 0] == 4, torch.nan, batch[:, 0])
        module.log("x", values, reduce_fx=[Mean(nan_policy="propagate"), Max(), NanCount()])

    with pytest.warns(UserWarning, match="left out of") as caught:
        validated(tmp_path, step)
    (message,) = [str(one.message) for one in caught if "left out of" in str(one.message)]
    assert "left out of x_max. This" in message


def test_a_name_by_which_nan_is_counted(tmp_path):
    """``nan_count`` and ``inf_count`` are names like others, alone and in a list."""

    def step(module, batch, index):
        values = torch.tensor([1.0, torch.nan, torch.inf, -torch.inf])
        module.log("x", values, reduce_fx=["nan_count", "inf_count"])
        module.log("y", values, reduce_fx="nan_count")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert validated(tmp_path, step) == {"x_nan_count": 3.0, "x_inf_count": 6.0, "y": 3.0}


@pytest.mark.parametrize("sign", [1, -1])
def test_infinities_are_values(tmp_path, sign):
    """Results with infinities are numpy's."""
    values = np.where(NUMBERS == 5, sign * np.inf, NUMBERS)
    step = lambda m, b, i: m.log(  # noqa: E731
        "x",
        torch.where(b[:, 0] == 5, sign * torch.inf, b[:, 0]),
        reduce_fx=["mean", "sum", "min", "max", "median", "range"],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        metrics = validated(tmp_path, step)
    assert metrics == {
        "x_mean": values.mean(), "x_sum": values.sum(), "x_min": values.min(), "x_max": values.max(),
        "x_median": np.median(values), "x_range": np.ptp(values),
    }  # fmt: skip


def test_infinities_of_both_signs_have_no_mean(tmp_path):
    """∞ - ∞ is NaN, and numpy's warning of it stays out of the run."""
    step = lambda m, b, i: m.log("x", torch.tensor([torch.inf, -torch.inf, 1.0]), reduce_fx=["mean", "sum", "median"])  # noqa: E731
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        metrics = validated(tmp_path, step)
    assert metrics == pytest.approx({"x_mean": math.nan, "x_sum": math.nan, "x_median": 1.0}, nan_ok=True)


# Equal to what Lightning shows of its own reductions

ALL_HOOKS = (
    "on_train_start", "on_train_epoch_start", "on_train_batch_end", "on_train_epoch_end", "on_train_end",
    "on_validation_start", "on_validation_batch_end", "on_validation_epoch_end", "on_validation_end",
    "on_test_batch_end", "on_test_epoch_end", "on_test_end",
)  # fmt: skip
LOG_OPTIONS = [
    {},
    {"on_step": True},
    {"on_step": True, "on_epoch": True, "prog_bar": True},
    {"on_step": False, "on_epoch": True},
    {"logger": False, "prog_bar": True},
    {"prog_bar": True, "sync_dist": True, "rank_zero_only": False},
]
PAIRS = [(Max(), "max"), (Min(), "min"), (Mean(), "mean")]


def same(ours, native):
    """Check that two runs have shown the same, key by key."""
    assert len(ours) == len(native)
    for one, other in zip(ours, native, strict=True):
        assert one.keys() == other.keys()
        for kind in one:
            assert one[kind] == pytest.approx(other[kind], rel=1e-6, nan_ok=True)


def in_each_way(module, name, value, which):
    """Log a value with each reduction and all options, with our reducers or with Lightning's."""
    for pair in PAIRS:
        for number, options in enumerate(LOG_OPTIONS):
            module.log(f"{name}/{pair[1]}/{number}", value, reduce_fx=pair[which], **options)


@pytest.mark.parametrize("entry", ["validate", "test"])
@pytest.mark.parametrize("count", [1, 3])
def test_an_evaluation_returns_and_shows_what_lightning_would(tmp_path, count, entry):
    """Returned list, rows and all collections of metrics are equal, with one and with three dataloaders."""
    seen = []
    for which, attached in enumerate(([TrackPlus()], [])):
        step = lambda m, b, i, which=which: in_each_way(m, "x", b[:, 0].mean() + i, which)  # noqa: E731
        # Results of several dataloaders are made together, when all have come to their end.
        hooks = ALL_HOOKS if count == 1 else [hook for hook in ALL_HOOKS if not hook.endswith("_batch_end")]
        rows, shown = Rows(), Shown(*hooks)
        trainer = quiet_trainer(tmp_path, callbacks=[*attached, shown], logger=rows)
        loaders = [loader(10), loader(7), loader(3)][:count]
        results = getattr(trainer, entry)(
            LoggingModule(**{f"{entry.replace('validate', 'validation')}_step": step}), loaders
        )
        seen.append((results, rows.rows, shown.seen))
    (ours, our_rows, our_shown), (native, native_rows, native_shown) = seen
    assert ours
    same(ours, native)
    same(our_rows, native_rows)
    same(our_shown, native_shown)


@pytest.mark.parametrize("trainer_options", [{}, {"log_every_n_steps": 2}, {"val_check_interval": 1}], ids=str)
def test_a_fit_shows_what_lightning_would(tmp_path, trainer_options):
    """In each hook of a fit with validation, all collections of metrics and the rows are equal."""
    seen = []
    for which, attached in enumerate(([TrackPlus()], [])):

        def step(module, batch, index, which=which):
            in_each_way(module, "x", batch[:, 0].mean() + index + 10 * module.current_epoch, which)

        def validate(module, batch, index, which=which):
            in_each_way(module, "v", batch[:, 0].mean() + index + 10 * module.current_epoch, which)

        shown = Shown(*ALL_HOOKS)
        _, rows = fitted(
            tmp_path, callbacks=[*attached, shown], training_step=step, validation_step=validate, max_epochs=2,
            **trainer_options,
        )  # fmt: skip
        seen.append((rows.rows, shown.seen))
    (our_rows, our_shown), (native_rows, native_shown) = seen
    same(our_rows, native_rows)
    same(our_shown, native_shown)
    assert len(our_shown[-1]["callback_metrics"]) > 2 * len(PAIRS) * len(LOG_OPTIONS)


class ByDataloader(L.LightningModule):
    """A module whose validation step is given the dataloader's index."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.step(self, batch[0], dataloader_idx)


def of_three_dataloaders(tmp_path, step):
    """Return what a validation of three dataloaders returns and shows."""
    seen = []
    for attached, reduction in (([TrackPlus()], Max()), ([], "max")):
        trainer = quiet_trainer(tmp_path, callbacks=attached)
        module = ByDataloader(lambda m, b, d, r=reduction: step(m, b, d, r))
        results = trainer.validate(module, [loader(10), loader(7), loader(3)], verbose=False)
        seen.append((results, numbers(trainer.callback_metrics), numbers(trainer.logged_metrics)))
    return seen


def test_names_of_ones_own_for_each_dataloader(tmp_path):
    """``add_dataloader_idx=False`` with different names is equal to Lightning's in the returned list as well."""

    def step(module, batch, dataloader, reduction):
        module.log(f"x{dataloader}", batch[:, 0].mean(), reduce_fx=reduction, add_dataloader_idx=False)
        module.log(f"y{dataloader}", batch[:, 0].mean(), reduce_fx=reduction)

    ours, native = of_three_dataloaders(tmp_path, step)
    assert ours == native
    assert len(ours[1]) == 6


def test_a_result_of_one_dataloader_alone(tmp_path):
    """A name that one of several dataloaders logs is in the results of that one."""

    def step(module, batch, dataloader, reduction):
        if dataloader == 1:
            module.log("x", batch[:, 0].mean(), reduce_fx=reduction)

    ours, native = of_three_dataloaders(tmp_path, step)
    assert ours == native
    assert ours[0] == [{}, {"x/dataloader_idx_1": 5.0}, {}]


@pytest.mark.parametrize("counts", [(10, 0), (0, 10), (10, 0, 3), (0, 0, 3)])
def test_a_dataloader_without_batches_leaves_the_results_of_the_others_where_lightning_puts_them(tmp_path, counts):
    """What Lightning and what we reduce stand together in the returned list, with an empty dataloader anywhere."""
    seen = []
    for attached, reduction in (([TrackPlus()], Max()), ([], "max")):

        def step(module, batch, dataloader, reduction=reduction):
            module.log("ours", batch[:, 0].mean(), reduce_fx=reduction)
            module.log("native", batch[:, 0].mean())

        trainer = quiet_trainer(tmp_path, callbacks=attached)
        seen.append(trainer.validate(ByDataloader(step), [loader(count) for count in counts], verbose=False))
    assert seen[0] == seen[1]


def test_two_calls_whose_names_fall_together_are_refused(tmp_path):
    """``x_p95`` cannot show a value of its own and that of a list; one of them would be lost in silence."""

    def step(module, batch, index):
        module.log("x_p95", batch[:, 0], reduce_fx="max")
        module.log("x", batch[:, 0], reduce_fx=["p95"])

    with pytest.raises(MisconfigurationException, match="x_p95"):
        validated(tmp_path, step)


@pytest.mark.parametrize("hook", ["on_validation_epoch_end", "on_train_epoch_end"])
@pytest.mark.parametrize("options", [{}, {"prog_bar": True}, {"logger": False}], ids=str)
def test_what_an_epoch_end_hook_logs_is_shown_as_lightning_would(tmp_path, hook, options):
    """In an epoch-end hook there is one value, and all collections and rows are equal to Lightning's."""
    seen = []
    for attached, reduction in (([TrackPlus()], Max()), ([], "max")):
        log = lambda m, b, i, r=reduction: m.log("x", 3.0 + m.current_epoch, reduce_fx=r, **options)  # noqa: E731
        shown = Shown(*ALL_HOOKS)
        _, rows = fitted(tmp_path, callbacks=[*attached, shown], max_epochs=2, **{hook: log})
        seen.append((rows.rows, shown.seen))
    (our_rows, our_shown), (native_rows, native_shown) = seen
    same(our_rows, native_rows)
    same(our_shown, native_shown)


@pytest.mark.parametrize("hook", ["on_validation_epoch_end", "on_train_epoch_end"])
def test_an_epoch_end_hook_may_log_several_names(tmp_path, hook):
    """Each name shows its own value, in the metrics and in the rows, whichever Lightning asks for first."""

    def log(module, batch, index):
        for name, value in {"a": 1.0, "b": 2.0, "c": 3.0}.items():
            module.log(name, value + module.current_epoch, reduce_fx="p50")

    trainer, rows = fitted(tmp_path, max_epochs=2, **{hook: log})
    assert {name: rows.series(name) for name in "abc"} == {
        "a": {2: 1.0, 5: 2.0}, "b": {2: 2.0, 5: 3.0}, "c": {2: 3.0, 5: 4.0},
    }  # fmt: skip
    assert numbers(trainer.callback_metrics) == {"a": 2.0, "b": 3.0, "c": 4.0}


@pytest.mark.parametrize("hook", ["on_validation_epoch_end", "on_train_epoch_end"])
def test_an_epoch_end_hook_may_log_vectors_and_lists(tmp_path, hook):
    """All values of the hook's calls in one epoch count, and the next epoch begins anew."""

    def log(module, batch, index):
        module.log("x", torch.arange(5.0) + module.current_epoch, reduce_fx=["median", "top2"])
        for value in (1.0, 2.0, 6.0):
            module.log("y", value + module.current_epoch, reduce_fx=Mean())

    _, rows = fitted(tmp_path, max_epochs=2, **{hook: log})
    assert rows.series("x_median") == {2: 2.0, 5: 3.0}
    assert rows.series("x_top2") == {2: 3.0, 5: 4.0}
    assert rows.series("y") == {2: 3.0, 5: 4.0}


def test_the_same_name_in_two_hooks_is_shown_as_lightning_would(tmp_path):
    """Lightning keeps a value for each hook and shows one; so it is with ours."""
    seen = []
    for attached, reduction in (([TrackPlus()], Max()), ([], "max")):

        class Other(L.Callback):
            def on_validation_batch_end(self, trainer, module, outputs, batch, index, dataloader_idx=0, r=reduction):
                self.log("x", 100.0 + index, reduce_fx=r)

            def on_train_batch_end(self, trainer, module, outputs, batch, index, r=reduction):
                self.log("t", 100.0 + index, reduce_fx=r, on_step=False, on_epoch=True)

        step = lambda m, b, i, r=reduction: m.log("x", float(i), reduce_fx=r)  # noqa: E731
        train = lambda m, b, i, r=reduction: m.log("t", float(i), reduce_fx=r, on_step=False, on_epoch=True)  # noqa: E731
        shown = Shown(*ALL_HOOKS)
        _, rows = fitted(
            tmp_path, callbacks=[*attached, Other(), shown], validation_step=step, training_step=train, max_epochs=2
        )
        seen.append((rows.rows, shown.seen))
    same(seen[0][0], seen[1][0])
    same(seen[0][1], seen[1][1])


# Who sees the results, and when


@pytest.mark.parametrize("position", ["before", "behind"])
def test_other_callbacks_see_our_results_in_their_epoch_end_hooks(tmp_path, position):
    """It plays no part where in the list of callbacks TrackPlus stands."""
    shown = Shown("on_validation_epoch_end", "on_train_epoch_end")
    callbacks = [shown, TrackPlus()] if position == "before" else [TrackPlus(), shown]
    fitted(
        tmp_path, callbacks=callbacks, num_sanity_val_steps=0, max_epochs=2,
        validation_step=lambda m, b, i: m.log("v", b[:, 0] + m.current_epoch, reduce_fx="p50"),
        training_step=lambda m, b, i: m.log(
            "t", b[:, 0] + m.current_epoch, reduce_fx="p50", on_step=False, on_epoch=True
        ),
    )  # fmt: skip
    assert shown.of("v") == [4.5, 4.5, 5.5, 5.5]
    assert [one["callback_metrics"].get("t") for one in shown.seen[1::2]] == [4.5, 5.5]


def test_the_modules_own_epoch_end_hooks_see_our_results(tmp_path):
    """The module's hook runs after those of the callbacks."""
    seen = []
    fitted(
        tmp_path, num_sanity_val_steps=0,
        validation_step=lambda m, b, i: m.log("v", b[:, 0], reduce_fx="p50"),
        on_validation_epoch_end=lambda m, b, i: seen.append(m.trainer.callback_metrics["v"].item()),
    )  # fmt: skip
    assert seen == [4.5]


# Every way to run


def test_the_sanity_check_leaves_nothing(tmp_path):
    """Neither a row, nor a metric, nor a value of it reaches the first epoch."""
    shown = Shown("on_train_start")
    step = lambda m, b, i: m.log("x", b[:, 0] + 100 * m.trainer.sanity_checking, reduce_fx=["max", "count"])  # noqa: E731
    _, rows = fitted(tmp_path, callbacks=[TrackPlus(), shown], validation_step=step, num_sanity_val_steps=-1)
    assert shown.seen == [{kind: {} for kind in Shown.kinds}]
    assert rows.series("x_max") == {2: 9.0}
    assert rows.series("x_count") == {2: 10.0}


def test_one_trainer_validates_fits_tests_and_fits_again(tmp_path):
    """With one callback object, each of the runs shows its own values alone."""
    log = lambda m, b, i: m.log("x", b[:, 0] + m.current_epoch, reduce_fx=["max", "count"])  # noqa: E731

    def train(m, b, i):
        return m.log("t", b[:, 0] + m.current_epoch, reduce_fx=["max", "count"], on_step=False, on_epoch=True)

    module, rows = LoggingModule(validation_step=log, test_step=log, training_step=train), Rows()
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=rows, max_epochs=1)
    assert trainer.validate(module, loader(6), verbose=False) == [{"x_max": 5.0, "x_count": 6.0}]
    trainer.fit(module, loader(), loader())
    assert trainer.test(module, loader(3), verbose=False) == [{"x_max": 3.0, "x_count": 3.0}]
    trainer.fit_loop.max_epochs = 3
    trainer.fit(module, loader(), loader())
    assert rows.series("t_max") == {2: 9.0, 5: 10.0, 8: 11.0}
    assert rows.series("t_count") == dict.fromkeys((2, 5, 8), 10.0)
    assert numbers(trainer.callback_metrics) == {"x_max": 11.0, "x_count": 10.0, "t_max": 11.0, "t_count": 10.0}


def test_without_validation_batches_nothing_is_shown(tmp_path):
    """``limit_val_batches=0`` leaves no name."""
    step = lambda m, b, i: m.log("x", b[:, 0], reduce_fx="max")  # noqa: E731
    trainer, rows = fitted(tmp_path, validation_step=step, limit_val_batches=0)
    assert rows.names() == set()
    assert trainer.callback_metrics == {}


@pytest.mark.parametrize(
    ("options", "count"),
    [({"limit_train_batches": 2}, 8.0), ({"limit_train_batches": 1}, 4.0), ({"max_steps": 2}, 8.0)],
)
def test_a_shortened_epoch_has_the_batches_it_ran(tmp_path, options, count):
    """The values of the batches that were run are those of the epoch."""
    train = lambda m, b, i: m.log("t", b[:, 0], reduce_fx=["max", "count"], on_step=False, on_epoch=True)  # noqa: E731
    trainer, _ = fitted(tmp_path, training_step=train, **options)
    assert numbers(trainer.callback_metrics) == {"t_max": count - 1, "t_count": count}


def test_validation_inside_a_training_epoch(tmp_path):
    """Four validations an epoch show themselves alone, and the training epoch goes on through all of them."""
    seen = Shown("on_validation_end")
    validations = []

    def validate(module, batch, index):
        validations.append(None)
        module.log("v", batch[:, 0] + len(validations), reduce_fx="max")
        module.log("n", batch[:, 0], reduce_fx="count")

    def train(module, batch, index):
        module.log(
            "t",
            batch[:, 0] + 20 * module.current_epoch,
            reduce_fx=["min", "max", "count"],
            on_step=False,
            on_epoch=True,
        )
        module.log("s", float(index), reduce_fx=["p50"], on_step=True, on_epoch=True)

    rows = Rows()
    trainer = quiet_trainer(
        tmp_path,
        callbacks=[TrackPlus(), seen],
        logger=rows,
        max_epochs=2,
        val_check_interval=0.25,
        num_sanity_val_steps=0,
    )
    trainer.fit(LoggingModule(training_step=train, validation_step=validate), loader(32), loader(4))
    assert list(rows.series("v")) == [1, 3, 5, 7, 9, 11, 13, 15]
    assert list(rows.series("v").values()) == [3.0 + number for number in range(1, 9)]
    assert set(rows.series("n").values()) == {4.0}
    assert rows.series("t_min") == {7: 0.0, 15: 20.0}
    assert rows.series("t_max") == {7: 31.0, 15: 51.0}
    assert rows.series("t_count") == {7: 32.0, 15: 32.0}
    assert rows.series("s_p50_epoch") == {7: 3.5, 15: 3.5}
    assert list(rows.series("s_p50_step").values()) == [*map(float, range(8))] * 2
    assert seen.of("v") == list(rows.series("v").values())


def test_manual_optimisation(tmp_path):
    """Epoch results and steps are those of an automatic run."""

    class Manual(LoggingModule):
        def __init__(self, **hooks):
            super().__init__(**hooks)
            self.automatic_optimization = False

        def training_step(self, batch, batch_idx):
            super().training_step(batch, batch_idx)
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(self.layer(batch[0]).pow(2).mean())
            optimizer.step()

    def step(m, b, i):
        return m.log("x", b[:, 0] + m.current_epoch, reduce_fx=["p50", "count"], on_step=True, on_epoch=True)

    rows = [fitted(tmp_path, module=kind(training_step=step), max_epochs=2)[1] for kind in (Manual, LoggingModule)]
    assert rows[0].rows == rows[1].rows
    assert rows[0].series("x_p50_epoch") == {2: 4.5, 5: 5.5}


def test_overfit_batches(tmp_path):
    """Training and validation see the one batch each."""
    log = lambda name: lambda m, b, i: m.log(name, b[:, 0], reduce_fx=["max", "count"], on_step=False, on_epoch=True)  # noqa: E731
    trainer, _ = fitted(tmp_path, training_step=log("t"), validation_step=log("v"), overfit_batches=1, max_epochs=2)
    assert numbers(trainer.callback_metrics) == {"t_max": 3.0, "t_count": 4.0, "v_max": 3.0, "v_count": 4.0}


def test_fast_dev_run(tmp_path):
    """One batch of each is reduced, and the metrics are there."""

    def log(name):
        return lambda m, b, i: m.log(name, b[:, 0], reduce_fx=["max", "histogram"], on_step=False, on_epoch=True)

    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], fast_dev_run=True)
    trainer.fit(LoggingModule(training_step=log("t"), validation_step=log("v")), loader(), loader())
    assert numbers(trainer.callback_metrics) == {"t_max": 3.0, "v_max": 3.0}


def test_barebones(tmp_path):
    """A barebones run ignores all our forms of logging with Lightning's one warning."""

    def step(module, batch, index):
        module.log("a", batch[:, 0], reduce_fx=["p95", "histogram"])
        module.log("b", batch[0], names=["x", "y"])
        module.log("c", batch[0, 0], reduce_fx="ema")
        module.log("d", 1.0)

    track = TrackPlus(reducers={"*": "p50"})
    trainer = L.Trainer(barebones=True, accelerator="cpu", devices=1, max_epochs=2, callbacks=[track])
    with pytest.warns(UserWarning, match=r"`Trainer\(barebones=True\)` is configured"):
        trainer.fit(LoggingModule(training_step=step), loader())
    assert trainer.callback_metrics == {}


@pytest.mark.skipif(sys.platform == "win32", reason="torch.compile needs a C++ compiler")
def test_a_compiled_module_logs_series_lists_and_names(tmp_path):
    """``torch.compile`` with the eager backend changes no row."""

    def step(module, batch, index):
        module.log("x", batch[:, 0], reduce_fx=["p50", "ema(0.5)"], on_step=True, on_epoch=True)
        module.log("y", batch.mean(dim=0), names=["a", "b"], reduce_fx="max")

    modules = [torch.compile(LoggingModule(training_step=step), backend="eager"), LoggingModule(training_step=step)]
    compiled, eager = (fitted(tmp_path, module=module, max_epochs=2)[1].rows for module in modules)
    assert compiled == eager
    assert len(eager) == 8


# What was broken off


class Searched(LoggingModule):
    """A module whose learning rate and batch size can be searched for."""

    def __init__(self, **hooks):
        super().__init__(**hooks)
        self.lr = 0.01
        self.batch_size = 4

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)

    def train_dataloader(self):
        return loader(32, self.batch_size)

    def val_dataloader(self):
        return loader(4)


def search_step(searching):
    """Return a step that logs other values while a search runs."""

    def step(module, batch, index):
        values = batch[:, 0] + 1000 * searching[0]
        module.log("t", values, reduce_fx=["max", "count"], on_step=False, on_epoch=True)
        module.log("e", values.mean(), reduce_fx=["ema(0.5)", "running(100, max)", "since_logged(max)"], batch_size=1)

    return step


def without_search(tmp_path):
    """Return the rows of a fit before which nothing was searched for."""
    rows = Rows()
    quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=rows).fit(Searched(training_step=search_step([False])))
    return rows.rows


@pytest.mark.parametrize("steps", [5, 12])
def test_a_learning_rate_search_before_the_fit_leaves_nothing(tmp_path, steps):
    """Nothing of the batches that the search ran is in the epoch, nor in a series."""
    searching, rows = [True], Rows()
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=rows)
    module = Searched(training_step=search_step(searching))
    Tuner(trainer).lr_find(module, num_training=steps, update_attr=False)
    searching[0] = False
    rows.rows.clear()
    trainer.fit(module)
    same([{"row": row} for row in rows.rows], [{"row": row} for row in without_search(tmp_path)])


@goes_on_exactly
def test_a_learning_rate_search_at_the_start_of_the_fit_leaves_nothing(tmp_path):
    """The same with Lightning's callback, which searches inside the fit."""
    searching, rows = [True], Rows()

    class Finder(LearningRateFinder):
        def lr_find(self, trainer, module):
            super().lr_find(trainer, module)
            searching[0] = False
            rows.rows.clear()

    finder = Finder(num_training_steps=5, update_attr=False)
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus(), finder], logger=rows)
    trainer.fit(Searched(training_step=search_step(searching)))
    same([{"row": row} for row in rows.rows], [{"row": row} for row in without_search(tmp_path)])


def test_a_batch_size_search_leaves_nothing(tmp_path):
    """The trials of the batch size are no part of the fit that follows."""
    searching, rows = [True], Rows()
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=rows)
    module = Searched(training_step=search_step(searching))
    Tuner(trainer).scale_batch_size(module, max_trials=2, steps_per_trial=2, init_val=2)
    searching[0], module.batch_size = False, 4
    rows.rows.clear()
    trainer.fit(module)
    same([{"row": row} for row in rows.rows], [{"row": row} for row in without_search(tmp_path)])


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()], ids=["exception", "interrupt"])
@pytest.mark.parametrize("where", ["training_step", "validation_step"])
@pytest.mark.parametrize("kept", ["callback and Trainer", "callback", "module"])
def test_after_a_broken_epoch_a_new_fit_shows_nothing_of_it(tmp_path, kept, where, error):
    """With the same callback, and even the same Trainer, an epoch that is run anew has its own values alone."""
    broken = [True]

    def step(hook, name):
        def log(module, batch, index):
            values = batch[:, 0] + 1000 * broken[0]
            module.log(name, values, reduce_fx=["max", "count"], on_step=False, on_epoch=True)
            if broken[0] and hook == where and index == 1:
                raise error

        return log

    track, rows = TrackPlus(), Rows()
    module = LoggingModule(training_step=step("training_step", "t"), validation_step=step("validation_step", "v"))
    options = {"logger": rows, "num_sanity_val_steps": 0}
    trainer = quiet_trainer(tmp_path, callbacks=[track], **options)
    with pytest.raises((RuntimeError, KeyboardInterrupt, SystemExit)):
        trainer.fit(module, loader(), loader())
    broken[0] = False
    rows.rows.clear()
    if kept != "callback and Trainer":
        trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus() if kept == "module" else track], **options)
    trainer.fit(module, loader(), loader())
    shown = numbers(trainer.callback_metrics)
    assert shown == {"v_max": 9.0, "v_count": 10.0, "t_max": 9.0, "t_count": 10.0}


# The call itself


class Text:
    """A batch whose size nobody can tell."""

    def __init__(self, value):
        self.value = value


class Opaque(L.LightningModule):
    """A module with such batches."""

    def __init__(self, log):
        super().__init__()
        self.log_value = log

    def validation_step(self, batch, batch_idx):
        self.log_value(self, batch.value)


def opaque(tmp_path, log):
    """Return ``callback_metrics`` of a validation over batches without a size."""
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()])
    trainer.validate(Opaque(log), DataLoader([Text(1.0), Text(4.0)], batch_size=None), verbose=False)
    return numbers(trainer.callback_metrics)


@pytest.mark.parametrize("reduction", ["p50", Mean(), ["std", "max"], Count()], ids=str)
def test_a_batch_whose_size_cannot_be_inferred_is_refused_in_lightnings_words(tmp_path, reduction):
    """Where the batch size counts and none is given, the error is that of Lightning's mean."""
    with pytest.raises(MisconfigurationException, match="We could not infer the batch_size from the batch"):
        opaque(tmp_path, lambda m, value: m.log("x", value, reduce_fx=reduction))


def test_where_no_size_is_needed_none_is_asked_for(tmp_path):
    """Values for each sample, reducers without weights and a given size need none."""

    def log(module, value):
        module.log("vector", torch.tensor([value, value + 1]), reduce_fx=["mean", "p50"])
        module.log("max", value, reduce_fx=[Max(), "first", "top1"])
        module.log("given", value, reduce_fx="mean", batch_size=3)
        module.log("ours", value, reduce_fx=Mean(), batch_size=3)

    metrics = opaque(tmp_path, log)
    assert metrics == {
        "vector_mean": 3.0, "vector_p50": 3.0, "max_max": 4.0, "max_first": 1.0, "max_top1": 4.0,
        "given": 2.5, "ours": 2.5,
    }  # fmt: skip


@pytest.mark.parametrize("convert", [int, float, np.int64, torch.tensor], ids=["int", "float", "numpy", "tensor"])
def test_a_batch_size_that_changes_counts_call_by_call(tmp_path, convert):
    """The weights are those given in each call, of whatever type Lightning's mean takes; none counts as nothing."""
    sizes = [3, 1, 6]
    values = np.repeat([0.0, 1.0, 2.0], sizes)

    def step(module, batch, index):
        module.log("x", float(index), reduce_fx=["mean", "p50", "count", "std"], batch_size=convert(sizes[index]))
        module.log("native", float(index), batch_size=convert(sizes[index]))

    assert validated(tmp_path, step) == pytest.approx({
        "x_mean": values.mean(), "x_p50": np.median(values), "x_count": 10.0, "x_std": values.std(ddof=1),
        "native": values.mean(),
    })  # fmt: skip


def test_a_batch_size_of_none_leaves_the_value_out(tmp_path):
    """A scalar that stands for no sample is none."""

    def step(module, batch, index):
        value, size = [(torch.inf, 0), (7.0, 3), (9.0, 1)][index]
        module.log("x", value, reduce_fx=["p0", "p100", "mean", "count", "n_unique", "mode", "rms"], batch_size=size)

    assert validated(tmp_path, step) == pytest.approx({
        "x_p0": 7.0, "x_p100": 9.0, "x_mean": 7.5, "x_count": 4.0, "x_n_unique": 2.0, "x_mode": 7.0,
        "x_rms": np.sqrt(np.mean(np.square([7.0, 7, 7, 9]))),
    })  # fmt: skip


def test_log_dict_passes_our_reductions_to_each(tmp_path):
    """Each entry is a call of its own."""

    def step(module, batch, index):
        module.log_dict({"a": batch[:, 0], "b": batch[:, 1]}, reduce_fx=["p50", "max"], prog_bar=True)
        module.log_dict({"c": batch[:, 0].mean(), "d": batch[0, 0]}, reduce_fx="p100")

    assert validated(tmp_path, step) == {
        "a_p50": 4.5, "a_max": 9.0, "b_p50": -4.5, "b_max": 0.0, "c": 8.5, "d": 8.0,
    }  # fmt: skip


@pytest.mark.parametrize("reduction", ["p50", ["p50"], "mean", Mean()], ids=str)
def test_positional_and_keyword_calls_are_one(tmp_path, reduction):
    """However the arguments are given, and changing from call to call, the stream is the same."""

    def step(module, batch, index):
        values = batch[:, 0].mean()
        match index:
            case 0:
                module.log("x", values, False, None, None, None, reduction)
            case 1:
                module.log("x", value=values, reduce_fx=reduction)
            case _:
                module.log(reduce_fx=reduction, value=values, name="x")
                module.log(reduce_fx=reduction, value=values, name="x", prog_bar=False)

    values = np.repeat([1.5, 5.5, 8.5], [4, 4, 4])
    (result,) = validated(tmp_path, step).values()
    assert result == pytest.approx(np.median(values) if "p50" in str(reduction) else values.mean())


@pytest.mark.parametrize("reduction", [Max(), "max"])
@pytest.mark.parametrize(
    "defaults", [{"logger": True}, {"on_step": False}, {"on_epoch": True}, {"sync_dist": False}], ids=str
)
def test_an_argument_may_be_given_as_what_it_is_without(tmp_path, reduction, defaults):
    """A later call that spells out a default is the same call, as in Lightning."""

    def step(module, batch, index):
        module.log("x", float(index), reduce_fx=reduction, **(defaults if index else {}))

    assert validated(tmp_path, step) == {"x": 2.0}


def test_positional_arguments_are_lightnings(tmp_path):
    """``prog_bar``, ``logger``, ``on_step``, ``on_epoch`` and ``reduce_fx`` stand where they stand in Lightning."""
    seen = []
    for attached, reduction in (([TrackPlus()], Max()), ([], "max")):
        shown = Shown("on_validation_end")
        step = lambda m, b, i, r=reduction: m.log("x", b[:, 0].mean(), True, False, False, True, r)  # noqa: E731
        _, rows = fitted(tmp_path, callbacks=[*attached, shown], validation_step=step, num_sanity_val_steps=0)
        seen.append((rows.rows, shown.seen))
    assert seen[0] == seen[1]
    assert seen[0][1][0]["callback_metrics"] == seen[0][1][0]["progress_bar_metrics"] == {"x": 8.5}
    assert seen[0][0] == []


@pytest.mark.parametrize(
    "value", [3, 3.0, True, np.float32(3), np.int64(3), torch.tensor(3), torch.tensor([3.0])], ids=repr
)
def test_every_kind_of_scalar_is_taken(tmp_path, value):
    """What Lightning takes as a scalar is one for our reductions as well, in every batch of several epochs."""
    step = lambda m, b, i: m.log("x", value, reduce_fx=["p50", "count"])  # noqa: E731
    _, rows = fitted(tmp_path, validation_step=step, max_epochs=2)
    assert rows.series("x_p50") == dict.fromkeys((2, 5), float(value))
    assert rows.series("x_count") == {2: 10.0, 5: 10.0}


@pytest.mark.parametrize("reduction", ["p50", ["max", "count"], Quantile(0.5)], ids=str)
def test_a_name_that_is_not_logged_in_an_epoch_is_not_shown_in_it(tmp_path, reduction):
    """A value that is logged in the second epoch alone is in no row of another."""

    def step(module, batch, index):
        if module.current_epoch == 1:
            module.log("x", batch[:, 0], reduce_fx=reduction)

    _, rows = fitted(tmp_path, validation_step=step, max_epochs=3)
    names = rows.names()
    assert names
    for name in names:
        assert list(rows.series(name)) == [5]


def test_a_call_may_come_in_some_batches_alone(tmp_path):
    """A value is logged in every other batch, and the others do not count."""

    def step(module, batch, index):
        if index % 2 == 0:
            module.log("x", batch[:, 0].mean(), reduce_fx=["count", "max"])

    assert validated(tmp_path, step) == {"x_count": 6.0, "x_max": 8.5}
