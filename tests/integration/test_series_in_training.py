"""Series over the steps of a training: means that decay, windows, and what came since the last logged step."""

from __future__ import annotations

import numpy as np
import pandas
import pytest
import torch

import tests.flavour as L
from lightning_trackplus import TrackPlus, TrackPlusLogger
from lightning_trackplus.reducers import EMA, Running, SinceLogged
from tests.flavour.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from tests.support.csv_files import read_metrics
from tests.support.recording import Rows, Shown, numbers
from tests.support.training import LoggingModule, goes_on_exactly, loader, quiet_trainer

BATCHES, EPOCHS, SIZE = 10, 3, 4
# The last batch of an epoch has half as many samples.
SIZES = np.tile([SIZE] * (BATCHES - 1) + [SIZE // 2], EPOCHS)
VALUES = np.random.default_rng(7).normal(size=BATCHES * EPOCHS).astype(np.float32).astype(np.float64)


def train_loader():
    """Return the batches of an epoch."""
    return loader(BATCHES * SIZE - SIZE // 2, SIZE)


class Manual(LoggingModule):
    """Two optimizers that are stepped by hand, in every batch."""

    def __init__(self, **hooks):
        super().__init__(**hooks)
        self.automatic_optimization = False
        self.other = torch.nn.Linear(2, 1)

    def configure_optimizers(self):
        return [torch.optim.SGD(layer.parameters(), lr=0.01) for layer in (self.layer, self.other)]

    def training_step(self, batch, batch_idx):
        for optimizer, layer in zip(self.optimizers(), (self.layer, self.other), strict=True):
            optimizer.zero_grad()
            self.manual_backward(layer(batch[0]).pow(2).mean())
            optimizer.step()
        super().training_step(batch, batch_idx)


def run(tmp_path, step, *, module=LoggingModule, callbacks=(), **options):
    """Train over several epochs; return the rows and the Trainer."""
    rows = Rows()
    defaults = {"max_epochs": EPOCHS, "logger": rows, "limit_val_batches": 0}
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus(), *callbacks], **{**defaults, **options})
    trainer.fit(module(training_step=step), train_loader(), loader())
    return rows, trainer


def value(module, index):
    """Return the value of a batch."""
    return torch.tensor(VALUES[BATCHES * module.current_epoch + index])


def steps_of_batches(accumulate):
    """Return the optimizer step of each batch; the last batch of an epoch always steps."""
    steps_an_epoch = -(-BATCHES // accumulate)
    return np.concatenate([np.arange(BATCHES) // accumulate + epoch * steps_an_epoch for epoch in range(EPOCHS)])


def step_means(accumulate):
    """Return the mean over the samples of each optimizer step."""
    frame = pandas.DataFrame({"step": steps_of_batches(accumulate), "x": VALUES * SIZES, "n": SIZES})
    sums = frame.groupby("step").sum()
    return sums["x"] / sums["n"]


def rolling_median(accumulate, window):
    """Return the weighted median of the last optimizer steps' batches, for each step."""
    steps = steps_of_batches(accumulate)
    return pandas.Series([
        np.median(np.repeat(VALUES, SIZES)[np.isin(np.repeat(steps, SIZES), np.arange(now - window + 1, now + 1))])
        for now in range(steps[-1] + 1)
    ])  # fmt: skip


def rolling_mean(accumulate, window):
    """Return the mean over the samples of the last optimizer steps, for each step."""
    frame = pandas.DataFrame({"step": steps_of_batches(accumulate), "x": VALUES * SIZES, "n": SIZES})
    sums = frame.groupby("step").sum().rolling(window, min_periods=1).sum()
    return sums["x"] / sums["n"]


ORACLES = {
    "ema(0.3)": lambda accumulate: step_means(accumulate).ewm(alpha=0.3).mean(),
    "ewm_std(0.3)": lambda accumulate: step_means(accumulate).ewm(alpha=0.3).std(),
    "running(5)": lambda accumulate: rolling_mean(accumulate, 5),
    "running(5, median)": lambda accumulate: rolling_median(accumulate, 5),
}
OPTIMISATIONS = [(LoggingModule, 1), (LoggingModule, 4), (Manual, 1)]


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize(("module", "accumulate"), OPTIMISATIONS)
def test_series_are_those_of_pandas_over_optimizer_steps(tmp_path, module, accumulate, every):
    """Over epochs, the rows hold the series at the steps in which Lightning logs, whatever lies between these."""

    def step(module, batch, index):
        for reduction in ORACLES:
            module.log(reduction, value(module, index), reduce_fx=reduction)
        module.log("plain", float(index))

    options = {"accumulate_grad_batches": accumulate} if accumulate > 1 else {}
    rows, trainer = run(tmp_path, step, module=module, log_every_n_steps=every, **options)
    for reduction, oracle in ORACLES.items():
        expected, shown = oracle(accumulate), rows.series(reduction)
        assert list(shown) == list(rows.series("plain"))
        assert len(shown) == len(expected) // every
        np.testing.assert_allclose(list(shown.values()), expected[list(shown)], rtol=1e-10, atol=1e-12)
        assert trainer.callback_metrics[reduction].item() == pytest.approx(expected.iloc[-1], rel=1e-10)


@pytest.mark.parametrize("every", [1, 3, 7])
@pytest.mark.parametrize(("module", "accumulate"), OPTIMISATIONS)
def test_since_logged_takes_exactly_the_batches_since_the_last_row(tmp_path, module, accumulate, every):
    """Each batch is in one row and no other, also where epochs end in between."""
    reductions = {"since_logged": np.mean, "since_logged(max)": np.max}

    def step(module, batch, index):
        for reduction in reductions:
            module.log(reduction, value(module, index), reduce_fx=reduction)

    options = {"accumulate_grad_batches": accumulate} if accumulate > 1 else {}
    rows, _ = run(tmp_path, step, module=module, log_every_n_steps=every, **options)
    steps = np.repeat(steps_of_batches(accumulate), SIZES)
    for reduction, reduce in reductions.items():
        last, shown = -1, rows.series(reduction)
        assert shown
        for now, one in shown.items():
            since = np.repeat(VALUES, SIZES)[(steps > last) & (steps <= now)]
            assert one == pytest.approx(reduce(since), rel=1e-12)
            last = now


def test_several_series_in_a_list_and_as_objects(tmp_path):
    """A list gives each its name, and objects do what their names do."""

    def step(module, batch, index):
        one = value(module, index)
        module.log("x", one, reduce_fx=["ema(0.3)", "ewm_std(0.3)", "running(5)", "running(3, max)", "since_logged"])
        module.log("y", one, reduce_fx=[EMA(0.3), Running(5), Running(3, "max"), SinceLogged()])

    rows, _ = run(tmp_path, step, max_epochs=1)
    for suffix in ("ema0.3", "running5", "running3_max", "since_logged"):
        assert rows.series(f"x_{suffix}") == rows.series(f"y_{suffix}")
        assert len(rows.series(f"x_{suffix}")) == BATCHES
    expected = pandas.Series(VALUES[:BATCHES]).rolling(3, min_periods=1).max()
    assert list(rows.series("x_running3_max").values()) == list(expected)
    assert "x_ewm_std0.3" in rows.names()


def test_series_of_one_kind_in_a_list(tmp_path):
    """Two means that decay at different rates have a name each, and so have two windows."""

    def step(module, batch, index):
        module.log("x", value(module, index), reduce_fx=["ema", "ema(0.3)", "running(2)", "running(5)"], batch_size=1)

    rows, _ = run(tmp_path, step)
    series = pandas.Series(VALUES)
    expected = {
        "x_ema": series.ewm(alpha=0.1).mean(), "x_ema0.3": series.ewm(alpha=0.3).mean(),
        "x_running2": series.rolling(2, min_periods=1).mean(), "x_running5": series.rolling(5, min_periods=1).mean(),
    }  # fmt: skip
    assert rows.names() == set(expected)
    for name, one in expected.items():
        np.testing.assert_allclose(list(rows.series(name).values()), one, rtol=1e-10, atol=1e-12)


def test_a_series_in_the_epoch_end_hook_of_training_goes_on_over_epochs(tmp_path):
    """A value that is logged once an epoch is smoothed over the epochs."""
    rows, module = (
        Rows(),
        LoggingModule(on_train_epoch_end=lambda m, b, i: m.log("x", float(m.current_epoch), reduce_fx="running(2)")),
    )
    quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=rows, max_epochs=4).fit(module, loader())
    assert list(rows.series("x").values()) == [0.0, 0.5, 1.5, 2.5]


def test_a_series_beside_reductions_of_the_step(tmp_path):
    """In a list, an epoch reducer shows its step alone, and a series all of them."""

    def step(module, batch, index):
        module.log("x", value(module, index), reduce_fx=["max", "ema(0.3)"])

    rows, _ = run(tmp_path, step)
    assert list(rows.series("x_max").values()) == list(VALUES)
    np.testing.assert_allclose(list(rows.series("x_ema0.3").values()), pandas.Series(VALUES).ewm(alpha=0.3).mean())


def test_in_validation_a_series_begins_anew_in_each_epoch(tmp_path):
    """Nothing of an earlier evaluation, nor of the sanity check, is in it; a training series goes on beside it."""

    def validate(module, batch, index):
        one = torch.tensor(float(index + 10 * module.current_epoch + 100 * module.trainer.sanity_checking))
        module.log("v", one, reduce_fx=["ema(0.3)", "running(2)", "since_logged"], batch_size=1)

    rows = Rows()
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], max_epochs=EPOCHS, logger=rows, val_check_interval=5)
    module = LoggingModule(
        training_step=lambda m, b, i: m.log("x", value(m, i), reduce_fx="ema(0.3)"), validation_step=validate
    )
    trainer.fit(module, train_loader(), loader(20))
    seen = pandas.Series(np.arange(5.0))
    ends = [step for step in range(BATCHES * EPOCHS) if step % 5 == 4]
    epochs = [10 * (end // BATCHES) for end in ends]
    assert list(rows.series("v_ema0.3")) == ends
    ema = seen.ewm(alpha=0.3).mean().iloc[-1]
    assert list(rows.series("v_ema0.3").values()) == pytest.approx([ema + one for one in epochs])
    assert list(rows.series("v_running2").values()) == [3.5 + one for one in epochs]
    assert list(rows.series("v_since_logged").values()) == [2.0 + one for one in epochs]
    np.testing.assert_allclose(list(rows.series("x").values()), pandas.Series(VALUES).ewm(alpha=0.3).mean())


def test_a_series_on_the_progress_bar_moves_in_each_batch(tmp_path):
    """``prog_bar=True`` shows it in steps that are not logged, too."""

    def step(module, batch, index):
        module.log("x", value(module, index), reduce_fx="ema(0.3)", prog_bar=True)
        module.log("since", value(module, index), reduce_fx="since_logged", prog_bar=True)

    shown = Shown("on_train_batch_end")
    run(tmp_path, step, callbacks=[shown], log_every_n_steps=7)
    expected = pandas.Series(VALUES).ewm(alpha=0.3).mean()
    np.testing.assert_allclose(shown.of("x", "progress_bar_metrics"), expected, rtol=1e-6)
    means = [
        np.average(VALUES[now - now % 7 : now + 1], weights=SIZES[now - now % 7 : now + 1])
        for now in range(len(VALUES))
    ]  # fmt: skip
    np.testing.assert_allclose(shown.of("since", "progress_bar_metrics"), means, rtol=1e-6)


@pytest.mark.parametrize("reduction", ["ema(0.3)", "running(5)", "running(5, median)", "since_logged"])
def test_forks_show_the_series_in_steps_and_where_it_stands_at_the_epochs_end(tmp_path, reduction):
    """With ``on_step`` and ``on_epoch`` Lightning's two names hold the same series, at different steps."""

    def step(module, batch, index):
        module.log("x", value(module, index), reduce_fx=reduction, on_step=True, on_epoch=True)
        module.log("alone", value(module, index), reduce_fx=reduction, on_step=False, on_epoch=True)

    rows, trainer = run(tmp_path, step)
    ends = [BATCHES * epoch + BATCHES - 1 for epoch in range(EPOCHS)]
    steps = list(ORACLES[reduction](1)) if reduction in ORACLES else list(VALUES)
    assert list(rows.series("x_step").values()) == pytest.approx(steps, rel=1e-10)
    assert list(rows.series("x_epoch")) == list(rows.series("alone")) == ends
    if reduction != "since_logged":
        assert list(rows.series("x_epoch").values()) == pytest.approx([steps[end] for end in ends], rel=1e-10)
        assert rows.series("x_epoch") == pytest.approx(rows.series("alone"), rel=1e-14)
    assert "x" not in rows.names()
    assert trainer.callback_metrics["x"] == trainer.callback_metrics["x_epoch"]


def test_vectors_count_sample_by_sample(tmp_path):
    """Of a value for each sample, a step is the mean of its samples, and a window holds each of them."""

    def step(module, batch, index):
        module.log(
            "x", batch[:, 0], reduce_fx=["ema(0.3)", "running(2, max)", "running(2, count)", "since_logged(p50)"]
        )

    rows, _ = run(tmp_path, step, max_epochs=1, log_every_n_steps=2)
    batches = np.split(np.arange(38.0), range(4, 38, 4))
    ema = pandas.Series([batch.mean() for batch in batches]).ewm(alpha=0.3).mean()
    for now in (1, 3, 5, 7, 9):
        pair = np.concatenate(batches[now - 1 : now + 1])
        assert rows.series("x_ema0.3")[now] == pytest.approx(ema[now])
        assert rows.series("x_running2_max")[now] == pair.max()
        assert rows.series("x_running2_count")[now] == len(pair)
        assert rows.series("x_since_logged_p50")[now] == np.median(pair)


def test_a_step_without_a_value_ages_what_came_before(tmp_path):
    """A value that is logged in every third step alone is a series with gaps, as in pandas."""

    def step(module, batch, index):
        if index % 3 == 0:
            module.log("x", value(module, index), reduce_fx=["ema(0.3)", "running(2)"], batch_size=1)
            module.log("plain", float(index))

    rows, _ = run(tmp_path, step, max_epochs=1)
    series = pandas.Series(np.where(np.arange(BATCHES) % 3 == 0, VALUES[:BATCHES], np.nan))
    # Lightning shows what was logged last in the steps between.
    assert list(rows.series("x_ema0.3")) == list(rows.series("plain"))
    seen = {name: [rows.series(name)[step] for step in (0, 3, 6, 9)] for name in ("x_ema0.3", "x_running2")}
    np.testing.assert_allclose(seen["x_ema0.3"], series.ewm(alpha=0.3, ignore_na=False).mean()[::3], rtol=1e-10)
    np.testing.assert_allclose(seen["x_running2"], series.dropna().rolling(2, min_periods=1).mean(), rtol=1e-10)


def test_two_callers_have_a_series_each(tmp_path):
    """A training step and a hook of a callback may both log a series, under names of their own."""

    class Other(L.Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, index):
            self.log("y", -value(module, index), reduce_fx="ema(0.3)")

    def step(module, batch, index):
        module.log("x", value(module, index), reduce_fx="ema(0.3)")

    rows, _ = run(tmp_path, step, callbacks=[Other()])
    expected = pandas.Series(VALUES).ewm(alpha=0.3).mean()
    np.testing.assert_allclose(list(rows.series("x").values()), expected, rtol=1e-10)
    assert rows.series("y") == {step: -one for step, one in rows.series("x").items()}


def test_checkpoints_and_early_stopping_follow_a_smoothed_loss(tmp_path):
    """Both callbacks see the series under its name, as it stands when they look."""
    falling = [5.0, 4.0, 3.0, 6.0, 7.0, 8.0]

    def step(module, batch, index):
        module.log("train/loss", falling[module.current_epoch] + index / 100, reduce_fx="running(3)", batch_size=1)

    checkpoint = ModelCheckpoint(tmp_path / "best", monitor="train/loss", save_on_train_epoch_end=True)
    stopping = EarlyStopping("train/loss", patience=2, check_on_train_epoch_end=True)
    _, trainer = run(
        tmp_path, step, callbacks=[checkpoint, stopping], max_epochs=6, enable_checkpointing=True, log_every_n_steps=4
    )
    assert trainer.current_epoch == 5
    assert checkpoint.best_model_score.item() == pytest.approx(3.08)
    assert stopping.best_score.item() == pytest.approx(3.08)


def test_series_come_back_from_the_files(tmp_path):
    """The rows of ``metrics.csv`` are those of the run."""

    def step(module, batch, index):
        module.log("x", value(module, index), reduce_fx=["ema(0.3)", "since_logged"])

    logger = TrackPlusLogger(tmp_path)
    run(tmp_path, step, logger=logger, log_every_n_steps=3, accumulate_grad_batches=2)
    table = read_metrics(logger.log_dir).set_index("step")
    expected = step_means(2).ewm(alpha=0.3).mean()
    assert list(table.index) == [2, 5, 8, 11, 14]
    np.testing.assert_allclose(table["x_ema0.3"], expected[list(table.index)], rtol=1e-10)
    steps = np.repeat(steps_of_batches(2), SIZES)
    means = [np.repeat(VALUES, SIZES)[(steps > end - 3) & (steps <= end)].mean() for end in table.index]
    np.testing.assert_allclose(table["x_since_logged"], means, rtol=1e-10)


def test_a_second_fit_goes_on_with_the_series(tmp_path):
    """With ``max_epochs`` raised, training continues, and so does what it has logged."""

    def step(module, batch, index):
        module.log("x", value(module, index), reduce_fx=["ema(0.3)", "running(15)"])

    rows = Rows()
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=rows, max_epochs=1)
    module = LoggingModule(training_step=step)
    trainer.fit(module, train_loader())
    trainer.fit_loop.max_epochs = EPOCHS
    trainer.fit(module, train_loader())
    np.testing.assert_allclose(
        list(rows.series("x_ema0.3").values()), pandas.Series(VALUES).ewm(alpha=0.3).mean(), rtol=1e-10
    )
    np.testing.assert_allclose(list(rows.series("x_running15").values()), rolling_mean(1, 15), rtol=1e-10)


@goes_on_exactly
@pytest.mark.parametrize("kept", ["in a checkpoint of an epoch's end", "in a checkpoint within an epoch"])
def test_a_resumed_run_goes_on_with_the_series(tmp_path, kept):
    """Training that is cut at a checkpoint and taken up by a new Trainer logs what one run would have logged."""

    def step(module, batch, index):
        # The loader of a resumed epoch begins anew, so that its batches have other sizes.
        module.log("x", value(module, index), reduce_fx=["ema(0.3)", "running(15)"], batch_size=1)

    checkpoint = ModelCheckpoint(
        tmp_path / "kept", save_top_k=-1, filename="{step}",
        every_n_train_steps=BATCHES if "end" in kept else 4, save_on_train_epoch_end=False,
    )  # fmt: skip
    whole, _ = run(tmp_path, step, callbacks=[checkpoint], enable_checkpointing=True)
    cut = BATCHES if "end" in kept else 14 // 4 * 4
    resumed = Rows()
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=resumed, max_epochs=EPOCHS)
    module = LoggingModule(training_step=step)
    trainer.fit(module, train_loader(), ckpt_path=tmp_path / "kept" / f"step={cut}.ckpt")
    assert list(resumed.series("x_ema0.3")) == list(range(cut, BATCHES * EPOCHS))
    for name in ("x_ema0.3", "x_running15"):
        assert resumed.series(name) == pytest.approx({s: one for s, one in whole.series(name).items() if s >= cut})


def test_results_are_numbers_without_a_graph(tmp_path):
    """A value that still hangs on its graph is logged as a number."""

    def step(module, batch, index):
        module.log("x", module.layer(batch).pow(2).mean(), reduce_fx="ema(0.3)")

    _, trainer = run(tmp_path, step, max_epochs=1)
    assert not trainer.callback_metrics["x"].requires_grad
    assert np.isfinite(numbers(trainer.callback_metrics)["x"])
