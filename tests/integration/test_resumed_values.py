"""A training that goes on from a checkpoint shows what it would have shown without a break."""

from __future__ import annotations

import enum
import shutil
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_trackplus import TrackPlus, TrackPlusLogger
from lightning_trackplus.reducers.histogram import Histogram
from lightning_trackplus.reducers.running import SinceLogged
from lightning_trackplus.reducers.sum import Count
from tests.flavour.pytorch.callbacks import Callback, OnExceptionCheckpoint
from tests.support.forking import two_ranks
from tests.support.recording import Rows, numbers
from tests.support.resuming import BATCHES, EPOCHS, Save, every_step, in_two_processes, train, values
from tests.support.training import LoggingModule, goes_on_exactly, loader, quiet_trainer

pytestmark = goes_on_exactly


class Name(str, enum.Enum):
    """The names of reducers, as in a configuration."""

    P95 = "p95"


GROUPS = {
    "what an epoch shows": ("epoch_", "scalar_", "function", "local_", "plain"),
    "series": ("series_",),
    "what came since metrics were logged": ("since_",),
    "what is logged at the epoch's begin alone": ("begin_",),
    "a reducer of the module": ("own_p95",),
    "a reducer of the module that knows of steps": ("own_ema", "own_last", "own_running"),
}
SAVED = ["step=1", "step=2", "step=3", "step=5", "step=8", "on_train_epoch_end-6"]


def assert_goes_on(whole, rows, group, *, without=()):
    """Assert that the rows are the last ones of the whole, for some names."""
    rest = whole[len(whole) - len(rows) :]
    prefixes = tuple(prefix for prefix in GROUPS[group] if prefix not in without)
    assert rows
    assert [row["step"] for row in rows] == [row["step"] for row in rest]
    for row, wanted in zip(rows, rest, strict=True):
        some, all_of_them = (
            {name: value for name, value in one.items() if name.startswith(prefixes)} for one in (row, wanted)
        )
        assert some == pytest.approx(all_of_them, rel=1e-9, abs=1e-12, nan_ok=True)
    assert any(name.startswith(GROUPS[group]) for row in rest for name in row)


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    """Train in one process; return the folder of the checkpoints and the rows, and add those of resumed ones."""
    root = tmp_path_factory.mktemp("one_process")
    rows = {"whole": train(root, every_step(root), Save("on_train_epoch_end"), enable_checkpointing=True)[1]}
    for name in SAVED:
        _, rows[name] = train(root, ckpt_path=root / f"{name}.ckpt")
    return root, rows


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory, one_process):
    """Do the same in two processes, and from a checkpoint of one; return the folder and what each saw."""
    root = tmp_path_factory.mktemp("two_processes")
    shutil.copy(one_process[0] / "step=4.ckpt", root / "of_one_process.ckpt")
    ranks = two_ranks(in_two_processes, root)
    reports = [dict(rank.rest()) for rank in ranks]
    assert [rank.join() for rank in ranks] == [0, 0]
    return root, reports


@pytest.mark.parametrize("name", SAVED)
@pytest.mark.parametrize("group", GROUPS)
def test_one_process_goes_on(one_process, name, group):
    """In mid-epoch and at its end, in a step that is logged and in one that is not."""
    assert_goes_on(one_process[1]["whole"], one_process[1][name], group)


@pytest.mark.parametrize("name", ["step=1", "step=4", "step=9", "on_train_epoch_end-6"])
@pytest.mark.parametrize("group", GROUPS)
def test_two_processes_go_on(two_processes, name, group):
    """Both with the common results, and rank zero with its own; those of the other start from zero."""
    zero, one = two_processes[1]
    assert_goes_on(zero["whole"], zero[name], group)
    if group != "what came since metrics were logged":
        assert_goes_on(one["whole"], one[name], group, without=("local_",))


def test_what_is_not_synced_starts_from_zero_on_other_ranks(two_processes):
    """A checkpoint has it of rank zero, the only one whose results are written."""
    for rank, begin in ((0, 0), (1, 4)):
        (row,) = [row for row in two_processes[1][rank]["step=4"] if "local_std" in row and row["epoch"] == 0]
        x = np.concatenate([values(0, index, rank) for index in range(begin, BATCHES)])
        assert row["local_std"] == pytest.approx(x.std(ddof=1))


def of_the_epoch(*spans):
    """Return the values of the first epoch that some spans of batches of the ranks have, in their order."""
    parts = [(index, rank) for rank, span in enumerate(spans) for index in range(*span)]
    return np.concatenate([values(0, *part) for part in sorted(parts)])


def assert_has(row, x):
    """Assert that a row has the results of values."""
    assert row["epoch_count"] == len(x)
    assert row["epoch_mean"] == pytest.approx(x.mean())
    assert row["epoch_std"] == pytest.approx(x.std(ddof=1))
    assert row["epoch_median"] == pytest.approx(np.median(x))
    assert row["own_p95"] == pytest.approx(np.quantile(x, 0.95))
    assert row["function"] == pytest.approx(x @ np.arange(1, len(x) + 1))


def test_one_process_goes_on_for_two(two_processes):
    """What the other had logged until then is in the results of the epoch."""
    root, _ = two_processes
    _, rows = train(root, ckpt_path=root / "step=4.ckpt")
    (row,) = [row for row in rows if "epoch_count" in row and row["epoch"] == 0]
    assert_has(row, of_the_epoch((0, BATCHES), (0, 4)))


def test_two_processes_go_on_for_one(two_processes):
    """The first goes on with what there is, the other begins."""
    for report in two_processes[1]:
        (row,) = [row for row in report["of_one_process"] if "epoch_count" in row and row["epoch"] == 0]
        assert_has(row, of_the_epoch((0, BATCHES), (4, BATCHES)))


def test_a_second_break_is_no_other_than_the_first(tmp_path, one_process):
    """A checkpoint of a resumed run has what the first one had, and what came since."""
    root, rows = one_process
    train(tmp_path, every_step(tmp_path), ckpt_path=root / "step=2.ckpt", enable_checkpointing=True)
    _, resumed = train(tmp_path, ckpt_path=tmp_path / "step=4.ckpt")
    assert_goes_on(rows["whole"], resumed, "what an epoch shows")
    assert_goes_on(rows["whole"], resumed, "series")


def fit(root, *callbacks, trainer=None, track=None, ckpt_path=None, module=None, **options):
    """Train a module that counts, and validate it if it can be; return the rows."""
    if trainer is None:
        track = TrackPlus() if track is None else track
        options = {"num_sanity_val_steps": 0, "enable_checkpointing": True, **options}
        trainer = quiet_trainer(root, callbacks=[track, *callbacks], logger=Rows(), **options)
    trainer.fit(module or LoggingModule(training_step=count), loader(12, 2), loader(6, 2), ckpt_path=ckpt_path)
    return [numbers(row) for row in trainer.logger.rows]


def count(module, batch, index):
    """Log how many samples there were, and a series."""
    module.log("count", batch[:, 0], reduce_fx="count", on_step=False, on_epoch=True)
    module.log("series", float(index), reduce_fx="ema", on_epoch=True)


def counts(rows):
    """Return the counts of the epochs of training."""
    return [row["count"] for row in rows if "count" in row]


class Fail(Callback):
    """Raises in a hook of the fourth batch, as long as it is told to.

    Args:
        hook: The hook.
    """

    def __init__(self, hook: str) -> None:
        self.is_on = True
        setattr(self, hook, self.fail)

    def fail(self, trainer, *_):
        if self.is_on and trainer.fit_loop.epoch_loop.batch_idx == 3:
            raise RuntimeError("on purpose")


class TestWhereCheckpointsAreSaved:
    """Each batch counts once, in the epoch that shows it."""

    @pytest.mark.parametrize(("interval", "name"), [(3, "on_validation_end-3"), (None, "on_validation_end-6")])
    def test_in_a_validation_inside_of_an_epoch(self, tmp_path, interval, name):
        """After half of it, or after its last batch, where only its end is still to come."""
        whole = fit(tmp_path, Save("on_validation_end"), max_epochs=2, val_check_interval=interval)
        resumed = fit(tmp_path, ckpt_path=tmp_path / f"{name}.ckpt", max_epochs=2, val_check_interval=interval)
        assert counts(whole) == [12, 12]
        assert counts(resumed) == [12, 12]

    @pytest.mark.parametrize("hook", ["on_train_batch_end", "on_train_epoch_end"])
    def test_after_the_last_batch_of_an_epoch(self, tmp_path, hook):
        """Lightning goes on with the next epoch, and does not end this one once more."""
        fit(tmp_path, Save(hook), max_epochs=1)
        assert counts(fit(tmp_path, ckpt_path=tmp_path / f"{hook}-6.ckpt", max_epochs=2)) == [12]

    def test_after_the_fit(self, tmp_path):
        """More epochs begin at nothing, and a series goes on."""
        trainer, whole = train(tmp_path, max_epochs=EPOCHS + 1)
        trainer, _ = train(tmp_path)
        trainer.save_checkpoint(tmp_path / "end.ckpt")
        _, rows = train(tmp_path, ckpt_path=tmp_path / "end.ckpt", max_epochs=EPOCHS + 1)
        assert_goes_on(whole, rows, "what an epoch shows")
        assert_goes_on(whole, rows, "series")

    def test_after_an_exception(self, tmp_path):
        """The batch that failed is trained again, and counts once."""
        with pytest.raises(RuntimeError, match="on purpose"):
            fit(tmp_path, Fail("on_train_batch_start"), OnExceptionCheckpoint(tmp_path))
        assert counts(fit(tmp_path, ckpt_path=tmp_path / "on_exception.ckpt", max_epochs=1)) == [12]


class TestRunsThatDoNotGoOn:
    """What an earlier run has left is not taken for a part of this one."""

    def test_an_epoch_that_failed_and_is_begun_anew(self, tmp_path):
        """Without a checkpoint Lightning begins the epoch again, with the same Trainer."""
        fail = Fail("on_train_batch_start")
        options = {"enable_checkpointing": True, "max_epochs": 1, "logger": Rows()}
        trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus(), fail], **options)
        with pytest.raises(RuntimeError, match="on purpose"):
            fit(tmp_path, trainer=trainer)
        fail.is_on = False
        assert counts(fit(tmp_path, trainer=trainer)) == [12]

    def test_another_trainer_after_one_that_failed(self, tmp_path):
        """It begins at nothing, though the callback is the same."""
        track = TrackPlus()
        with pytest.raises(RuntimeError, match="on purpose"):
            fit(tmp_path, Fail("on_train_batch_start"), track=track)
        assert counts(fit(tmp_path, track=track, max_epochs=1)) == [12]

    def test_another_trainer_after_one_that_has_ended(self, tmp_path):
        """Its series is its own, as in the folds of a cross-validation."""
        track = TrackPlus()
        module = LoggingModule(
            training_step=lambda module, _, index: module.log("series", index + 100.0, reduce_fx="ema", on_epoch=True)
        )
        fit(tmp_path, track=track, max_epochs=1)
        second, alone = (fit(tmp_path, track=one, module=module, max_epochs=1) for one in (track, TrackPlus()))
        assert second == alone

    def test_a_checkpoint_that_is_validated(self, tmp_path):
        """Training that was saved in mid-epoch is no part of one that begins."""
        fit(tmp_path, Save("on_train_batch_end"), max_epochs=1)
        seen = {"validation_step": lambda module, batch, _: module.log("v", batch[:, 0], reduce_fx="count")}
        module = LoggingModule(training_step=count, **seen)
        trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=Rows(), max_epochs=1)
        trainer.validate(module, loader(6, 2), ckpt_path=tmp_path / "on_train_batch_end-4.ckpt", verbose=False)
        assert trainer.callback_metrics["v"] == 6
        assert counts(fit(tmp_path, trainer=trainer, module=module)) == [12]

    def test_a_module_that_goes_on_itself(self, tmp_path):
        """Its reducers still have the values that the checkpoint has as well; they count once."""

        class Counts(LoggingModule):
            def __init__(self) -> None:
                super().__init__()
                self.count = Count()

            def training_step(self, batch, batch_idx):
                self.count.update(batch[0][:, 0])
                self.log("count", self.count, on_step=False, on_epoch=True)
                return super().training_step(batch, batch_idx)

        module = Counts()
        with pytest.raises(RuntimeError, match="on purpose"):
            fit(tmp_path, Fail("on_train_batch_start"), OnExceptionCheckpoint(tmp_path), module=module)
        rows = fit(tmp_path, ckpt_path=tmp_path / "on_exception.ckpt", module=module, max_epochs=1)
        assert counts(rows) == [12]

    def test_the_reducers_of_another_module(self, tmp_path):
        """What the module of a run that failed has counted is in no checkpoint of the next run."""

        class Counting(LoggingModule):
            def __init__(self, breaks=False):
                super().__init__()
                self.m, self.breaks = Count(), breaks

            def training_step(self, batch, batch_idx):
                if self.breaks and batch_idx == 2:
                    raise RuntimeError("on purpose")
                self.m.update(1.0)
                self.log("m", self.m, on_step=False, on_epoch=True)
                return super().training_step(batch, batch_idx)

        track = TrackPlus()
        with pytest.raises(RuntimeError, match="on purpose"):
            quiet_trainer(tmp_path, callbacks=[track]).fit(Counting(breaks=True), loader(16))
        save = Save("on_train_epoch_end")
        quiet_trainer(tmp_path, callbacks=[track, save], enable_checkpointing=True).fit(Counting(), loader(16))
        (path,) = tmp_path.glob("*.ckpt")
        trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], max_epochs=2)
        trainer.fit(Counting(), loader(16), ckpt_path=path)
        assert trainer.callback_metrics["m"] == 4


class TestCheckpoints:
    """What a checkpoint has of us, and what is made of it."""

    def test_they_can_be_read_without_trust(self, one_process):
        """All is of tensors and Python's own types."""
        root, _ = one_process
        saved = torch.load(root / "step=4.ckpt", weights_only=True)["lightning_trackplus"]["logged"]
        assert {"epoch", "series", "own_p95"} <= {one["key"][1] for one in saved["streams"]}

    def test_those_of_two_processes_have_each_stream_once(self, two_processes):
        """Of series, the part of rank zero is apart, since its steps go on."""
        saved = torch.load(two_processes[0] / "step=4.ckpt", weights_only=True)["lightning_trackplus"]["logged"]
        parts = Counter(one["key"][1] for one in saved["streams"] for _ in one["parts"])
        own = Counter(one["key"][0] for one in saved["reducers"] for _ in one["parts"])
        assert parts.items() >= {"epoch": 1, "scalar": 1, "function": 1, "local": 1, "series": 2, "since": 1}.items()
        assert own == {"p95": 1, "last": 1, "ema": 2, "running": 2}

    @pytest.mark.parametrize(
        "options",
        [
            {"reduce_fx": Name.P95},
            {"reduce_fx": [Name.P95, "max"]},
            {"reduce_fx": "p95", "prog_bar": np.True_},
        ],
        ids=["enum", "enums", "numpy"],
    )
    def test_arguments_of_other_types_go_on(self, tmp_path, options):
        """A checkpoint has them as Python's own, and shows what is not logged again."""

        def step(module, batch, index):
            if index == 0:
                module.log("x", batch[:, 0], on_step=False, on_epoch=True, **options)

        rows = [fit(tmp_path, Save("on_train_batch_end"), module=LoggingModule(training_step=step), max_epochs=1)]
        path = tmp_path / "on_train_batch_end-4.ckpt"
        assert torch.load(path, weights_only=True)["lightning_trackplus"]["logged"]["streams"]
        rows.append(fit(tmp_path, ckpt_path=path, module=LoggingModule(training_step=step), max_epochs=1))
        assert rows[0][-1] == rows[1][-1]

    def test_saving_them_changes_no_later_result(self, tmp_path):
        """Not in the last bit, of which sums in another order would be another."""

        def step(module, batch, index):
            x = (batch.abs().flatten() + 0.1) * np.pi * (index + 1)
            options = {"on_step": False, "on_epoch": True}
            module.log("x", x, reduce_fx=["mean", "std", "skew", "kurtosis", "ema", "logsumexp", "gmean"], **options)

        module = LoggingModule(training_step=step)
        saved, unsaved = (fit(tmp_path, *save, module=module, max_epochs=1) for save in ([every_step(tmp_path)], []))
        assert saved == unsaved

    def test_one_without_ours_loads(self, tmp_path):
        """It goes on as if nothing had been logged."""
        options = {"callbacks": [Save("on_train_batch_end")], "max_epochs": 1}
        quiet_trainer(tmp_path, **options).fit(LoggingModule(), loader(12, 2))
        rows = fit(tmp_path, ckpt_path=tmp_path / "on_train_batch_end-4.ckpt", max_epochs=1)
        assert counts(rows) == [4]

    def test_one_with_ours_loads_without_us(self, tmp_path):
        """Lightning says what is missing, and trains."""
        fit(tmp_path, Save("on_train_batch_end"), max_epochs=1)
        trainer = quiet_trainer(tmp_path, max_epochs=1)
        with pytest.warns(UserWarning, match="callbacks used to create the checkpoint need to be provided"):
            trainer.fit(LoggingModule(), loader(12, 2), ckpt_path=tmp_path / "on_train_batch_end-4.ckpt")
        assert trainer.global_step == 6

    @pytest.mark.parametrize(
        ("before", "now", "said"),
        [
            ("count", "sum", ("count", "sum")),
            (["count", "sum"], ["count", "max"], ("count, sum", "count, max")),
            ("ema(0.1)", "ema(0.2)", None),
            (Histogram(5, 0.0, 12.0), Histogram(7, 0.0, 12.0), None),
        ],
        ids=["another", "one of two", "another alpha", "other bins"],
    )
    def test_other_reducers_begin_anew(self, tmp_path, before, now, said):
        """A warning says so; with the same name and other arguments as well."""

        def module(reduction):
            options = {"on_step": False, "on_epoch": True, "reduce_fx": reduction}
            return LoggingModule(training_step=lambda module, batch, _: module.log("x", batch[:, 0], **options))

        fit(tmp_path, Save("on_train_batch_end"), module=module(before), max_epochs=1)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            saved = tmp_path / "on_train_batch_end-4.ckpt"
            fit(tmp_path, ckpt_path=saved, module=module(now), max_epochs=1)
        texts = [str(one.message) for one in caught if "self.log('x', …)" in str(one.message)]
        assert len(texts) == 1
        if said:
            assert texts[0] == (
                f"The checkpoint has values of self.log('x', …) for {said[0]}; this run asks for {said[1]}, and starts"
                " from zero."
            )

    def test_a_histogram_goes_on(self, tmp_path):
        """Its counts are those of the whole epoch."""
        options = {"on_step": False, "on_epoch": True, "reduce_fx": Histogram([0.0, 2.0, 5.0])}
        module = LoggingModule(training_step=lambda module, _, index: module.log("x", float(index), **options))
        fit(tmp_path, Save("on_train_batch_end"), module=module, max_epochs=1)
        logger = TrackPlusLogger(tmp_path / "resumed")
        trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=logger, max_epochs=1)
        trainer.fit(module, loader(12, 2), ckpt_path=tmp_path / "on_train_batch_end-4.ckpt")
        (table,) = [path for path in Path(logger.log_dir).rglob("*.csv") if path.parent != Path(logger.log_dir)]
        assert table.read_text().split() == ["low,high,count", "0,2,4", "2,5,8"]

    def test_a_value_alone_is_a_sample_among_vectors(self, tmp_path):
        """If the first batch after the break has one value, it does not count with the size of the batch."""

        def step(module, batch, index):
            module.log("count", batch[: 1 if index == 4 else 2, 0], reduce_fx="count", on_step=False, on_epoch=True)

        module = LoggingModule(training_step=step)
        assert counts(fit(tmp_path, Save("on_train_batch_end"), module=module, max_epochs=1)) == [11]
        rows = fit(tmp_path, ckpt_path=tmp_path / "on_train_batch_end-4.ckpt", module=module, max_epochs=1)
        assert counts(rows) == [11]


class Own(LoggingModule):
    """Has reducers that it logs in steps, or at the end of an epoch alone."""

    def __init__(self) -> None:
        super().__init__()
        self.late, self.since = Count(), SinceLogged(Count())

    def training_step(self, batch, batch_idx):
        for reducer in (self.late, self.since):
            reducer.update(batch[0][:, 0])
        self.log("since", self.since)
        return super().training_step(batch, batch_idx)

    def on_train_epoch_end(self):
        self.log("late", self.late)


def test_a_reducer_of_the_module_that_is_logged_at_the_epochs_end_goes_on(tmp_path):
    """It is updated in steps, and what it had seen until the checkpoint counts."""
    whole = fit(tmp_path, Save("on_train_batch_end"), module=Own(), max_epochs=1)
    resumed = fit(tmp_path, ckpt_path=tmp_path / "on_train_batch_end-4.ckpt", module=Own(), max_epochs=1)
    assert [rows[-1]["late"] for rows in (whole, resumed)] == [12, 12]


def test_a_reducer_of_the_module_forgets_what_was_logged(tmp_path):
    """With ``SinceLogged`` each row has what came after the one before."""
    rows = fit(tmp_path, module=Own(), max_epochs=1, log_every_n_steps=2)
    assert [row["since"] for row in rows if "since" in row] == [4, 4, 4]
