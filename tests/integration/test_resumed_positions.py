"""A run that goes on from a checkpoint is what it would have been: the hooks of a save, the ways of logging."""

from __future__ import annotations

import copy
import csv
import json
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from lightning_trackplus import TrackPlus, TrackPlusLogger, read_run
from lightning_trackplus.reading.verify import differences
from tests.flavour.pytorch.callbacks import Callback, OnExceptionCheckpoint
from tests.support.training import LoggingModule, goes_on_exactly, loader, quiet_trainer

EPOCHS, BATCHES = 3, 4


class EveryWay(LoggingModule):
    """Logs what follows from the epoch and the batch alone, in every way in which a value can be logged.

    Args:
        optimizers: How many optimizers step in each batch; with two, by hand.
    """

    def __init__(self, optimizers: int = 1) -> None:
        super().__init__()
        self.optimizers_count = optimizers
        self.automatic_optimization = optimizers == 1

    def configure_optimizers(self):
        return [super(EveryWay, self).configure_optimizers() for _ in range(self.optimizers_count)]

    def training_step(self, batch, batch_idx):
        place = float(10 * self.current_epoch + batch_idx)
        self.log("train", place)
        self.log("values", torch.arange(place, place + 3), reduce_fx=["median", "count"], on_step=False, on_epoch=True)
        if batch_idx == 1:
            self.logger.log_metrics({"hand/train": place}, step=self.global_step)
            self.logger.experiment.add_scalar("own/train", place, self.global_step)
            self.logger.log_text("text", ["word"], [[str(place)]], step=self.global_step)
        loss = super().training_step(batch, batch_idx)
        if not self.automatic_optimization:
            for optimizer in self.optimizers():
                optimizer.zero_grad()
                self.manual_backward(self.layer(batch[0]).pow(2).mean())
                optimizer.step()
        return loss

    def validation_step(self, batch, batch_idx):
        place = float(100 * self.current_epoch + batch_idx)
        self.log("val", place, on_step=True, on_epoch=True)

    def on_validation_epoch_end(self):
        iou = self.current_epoch / 8
        self.logger.log_metrics({"hand/iou": iou}, step=self.global_step)
        self.logger.log_metrics({"hand/by_epoch": iou}, step=self.current_epoch)
        self.logger.experiment.add_scalar("own/iou", iou, self.global_step)
        self.logger.experiment.add_scalars("pair", {"a": iou, "b": -iou}, self.current_epoch)
        self.logger.log_image("image", [torch.full((3, 2, 2), iou)], step=self.global_step)

    def on_train_epoch_start(self):
        self.logger.log_metrics({"hand/start": float(self.current_epoch)}, step=self.global_step)

    def on_train_epoch_end(self):
        self.log("end", float(self.current_epoch))


class SaveIn(Callback):
    """Saves a checkpoint in each call of a hook, numbered from 0."""

    def __init__(self, hook: str, folder: Path) -> None:
        self.folder, self.count = folder, 0
        setattr(self, hook, self._save)

    def _save(self, trainer, *args):
        if not trainer.sanity_checking:
            trainer.save_checkpoint(self.folder / f"{self.count}.ckpt")
            self.count += 1


def fit(root, *callbacks, module=None, ckpt_path=None, track=True, epochs=EPOCHS, x_axis=None, **options):
    """Train in the one run of a root, and return its directory."""
    logger = TrackPlusLogger(root, name="", version="run", x_axis=x_axis, add_callback=track)
    callbacks = [*([TrackPlus()] if track else []), *callbacks]
    trainer = quiet_trainer(
        root, callbacks=callbacks, logger=logger, max_epochs=epochs, num_sanity_val_steps=0, **options
    )
    trainer.fit(module or EveryWay(), loader(4 * BATCHES), loader(8), ckpt_path=ckpt_path)
    return Path(logger.log_dir)


def everything(run):
    """Return all numbers of a run by name, in the CSV and in TensorBoard, and its media by step."""
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = {name: [(row["step"], row[name]) for row in rows if row[name]] for name in rows[0] if name != "step"}
    curves = {}
    for folder in sorted({path.parent for path in run.rglob("*tfevents*")}):
        found = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
        for tag in found.Tags()["scalars"]:
            if tag != "epoch":
                curves[folder.relative_to(run).as_posix(), tag] = [(one.step, one.value) for one in found.Scalars(tag)]
    with (run / "media.csv").open(newline="") as file:
        media = [(row["name"], row["step"], (run / row["file"]).read_bytes()) for row in csv.DictReader(file)]
    del columns["epoch"]
    return columns, curves, media


def unlike(run):
    """Return the differences between both formats; TensorBoard's own events have no place in the CSV."""
    return [one for one in differences(run) if not one.name.startswith("own/")]


HOOKS = {
    "on_train_batch_end": [11, 5, 0],
    "on_train_epoch_end": [2, 0],
    "on_validation_start": [1],
    "on_validation_epoch_end": [1],
    "on_validation_end": [2, 0],
}


@goes_on_exactly
@pytest.mark.parametrize("kind", ["plain", "accumulating", "two optimizers", "validating in mid-epoch"])
@pytest.mark.parametrize("hook", HOOKS)
def test_a_run_that_goes_on_is_what_it_would_have_been(tmp_path, hook, kind):
    """Numbers, media and TensorBoard's own events of each name are those of the run that was never broken off."""
    options = {
        "accumulating": {"accumulate_grad_batches": 2},
        "validating in mid-epoch": {"val_check_interval": 2},
    }.get(kind, {})
    optimizers = 2 if kind == "two optimizers" else 1
    run = fit(tmp_path, SaveIn(hook, tmp_path), module=EveryWay(optimizers), **options)
    whole = everything(run)

    for number in HOOKS[hook]:
        fit(tmp_path, module=EveryWay(optimizers), ckpt_path=tmp_path / f"{number}.ckpt", **options)
        for now, before in zip(everything(run), whole, strict=True):
            assert now == before
        assert unlike(run) == []


class NamesThatOccurOnce(LoggingModule):
    """Logs a thousand names in its first step, and then names of their own in each batch; one is an axis."""

    def training_step(self, batch, batch_idx):
        place = 10 * self.current_epoch + batch_idx
        if place == 0:
            self.logger.log_metrics({f"name {number}": 0.5 for number in range(1100)}, step=0)
            self.logger.log_metrics({"name 0": 0.25}, step=0)
        self.log_dict({"loss": place / 8, "samples": float(64 * place)})
        # What `self.log` was given comes again with each later batch of the epoch.
        self.logger.log_metrics({f"a=b&{place}, %": float(place)}, step=self.global_step)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        place = 10 * self.current_epoch + batch_idx
        self.log("val", float(place), on_step=True, on_epoch=True)
        self.log(f"val {place}", float("nan"), on_step=True, on_epoch=True)


@goes_on_exactly
@pytest.mark.parametrize(("hook", "number"), [("on_train_batch_end", 5), ("on_validation_end", 0)])
def test_names_that_occur_once_go_on_like_others(tmp_path, hook, number):
    """They share a column in the file; readers, verify, the summary, axes and resumes have each of them."""
    axis = {"loss": "samples"}
    run = fit(tmp_path, SaveIn(hook, tmp_path), module=NamesThatOccurOnce(), x_axis=axis)
    assert unlike(run) == []
    whole = read_run(run).metrics
    assert {f"a=b&{10 * epoch + batch}, %" for epoch in range(EPOCHS) for batch in range(BATCHES)} < {*whole.columns}
    with (run / "metrics.csv").open() as file:
        assert len(file.readline().split(",")) == 1103
    summary = json.loads((run / "summary.json").read_text())
    assert set(summary) == {*whole.columns} - {"step", "epoch"}

    fit(tmp_path, module=NamesThatOccurOnce(), ckpt_path=tmp_path / f"{number}.ckpt", x_axis=axis)

    assert (run / "backup" / "1" / "metrics.csv").is_file()
    assert unlike(run) == []
    for frames in ("pandas", "polars"):
        found = read_run(run, frames=frames).metrics
        assert list(found.columns) == list(whole.columns)
        np.testing.assert_array_equal(found.to_numpy().astype(float), whole.to_numpy())
    assert json.loads((run / "summary.json").read_text()) == summary


@goes_on_exactly
@pytest.mark.parametrize("track", [True, False])
def test_steps_that_a_person_chose_stay_with_the_checkpoint(tmp_path, track):
    """Results at ``global_step`` are before the checkpoint, though that is the step of the next batch."""

    class Hand(LoggingModule):
        def on_validation_epoch_end(self):
            self.logger.log_metrics({"val/iou": self.current_epoch / 8}, step=self.global_step)

    saving = SaveIn("on_train_epoch_end", tmp_path)
    run = fit(tmp_path, saving, module=Hand(), track=track)
    fit(tmp_path, module=Hand(), ckpt_path=tmp_path / "2.ckpt", epochs=EPOCHS + 1, track=track)

    with (run / "metrics.csv").open(newline="") as file:
        rows = [(int(row["step"]), float(row["val/iou"])) for row in csv.DictReader(file) if row["val/iou"]]
    assert rows == [(4, 0.0), (8, 0.125), (12, 0.25), (16, 0.375)]
    assert unlike(run) == []


@goes_on_exactly
@pytest.mark.parametrize("axis", ["samples", "epoch"])
def test_a_metric_called_step_takes_no_history_away(tmp_path, axis):
    """``self.log("step", …)`` counts samples or epochs; what goes is what came after the checkpoint."""

    class Counting(LoggingModule):
        def training_step(self, batch, batch_idx):
            count = float(64 * (self.global_step + 1)) if axis == "samples" else float(self.current_epoch)
            self.log("loss", 10.0 * self.current_epoch + batch_idx)
            self.log("step", count)
            return super().training_step(batch, batch_idx)

    run = fit(tmp_path, SaveIn("on_train_epoch_end", tmp_path), module=Counting())
    with (run / "metrics.csv").open(newline="") as file:
        whole = [(row["step"], row["loss"]) for row in csv.DictReader(file)]
    assert len(whole) == EPOCHS * BATCHES

    fit(tmp_path, module=Counting(), ckpt_path=tmp_path / "0.ckpt")

    with (run / "metrics.csv").open(newline="") as file:
        assert [(row["step"], row["loss"]) for row in csv.DictReader(file)] == whole
    assert unlike(run) == []


@goes_on_exactly
def test_a_checkpoint_that_an_exception_leaves_has_all_that_was_logged(tmp_path):
    """TrackPlus is detached when ``OnExceptionCheckpoint`` saves, and the checkpoint still says where the run is."""

    class Stop(Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            if trainer.current_epoch == 1 and batch_idx == 2:
                raise KeyError

    whole = everything(fit(tmp_path / "whole"))
    with pytest.raises(KeyError):
        fit(tmp_path, Stop(), OnExceptionCheckpoint(tmp_path, "last"), enable_checkpointing=True)
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert checkpoint["lightning_trackplus"]["format"] == 1

    run = fit(tmp_path, ckpt_path=tmp_path / "last.ckpt")

    # Lightning counts the batch that was broken off, so that later steps are one more.
    for now, before in zip(everything(run)[:2], whole[:2], strict=True):
        assert {name: [value for _, value in points] for name, points in now.items()} == {
            name: [value for _, value in points] for name, points in before.items()
        }
    assert not (run / "backup").exists()


@goes_on_exactly
def test_a_checkpoint_of_another_branch_goes_back_to_where_the_branches_part(tmp_path):
    """What the checkpoint had seen is in the backup; a warning says so once, with the backup's path."""
    run = fit(tmp_path, SaveIn("on_train_epoch_end", tmp_path / "first"))
    fit(tmp_path, ckpt_path=tmp_path / "first" / "0.ckpt")
    with pytest.warns(UserWarning, match="another branch") as caught:
        fit(tmp_path, ckpt_path=tmp_path / "first" / "1.ckpt")

    (said,) = (str(one.message) for one in caught if "another branch" in str(one.message))
    assert str(run / "backup" / "2") in said
    columns, _, _ = everything(run)
    # The first epoch is of both branches, the second of none any more, the third is new.
    assert [step for step, _ in columns["train"]] == ["0", "1", "2", "3", "8", "9", "10", "11"]
    assert unlike(run) == []


@goes_on_exactly
def test_a_checkpoint_that_the_run_does_not_know_of_is_not_of_another_branch_later(tmp_path):
    """A process that is killed right after a save has noted half of that: each resume from there is exact."""
    whole = everything(fit(tmp_path / "whole"))
    run = fit(tmp_path, SaveIn("on_train_epoch_end", tmp_path), epochs=EPOCHS - 1)
    *lines, last, end = (run / "run.jsonl").read_text().splitlines(keepends=True)
    assert "saved" in json.loads(last)
    assert "ended" in json.loads(end)
    (run / "run.jsonl").write_text("".join(lines) + last[:9])

    for _ in range(2):
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*another branch")
            fit(tmp_path, ckpt_path=tmp_path / f"{EPOCHS - 2}.ckpt")
        for now, before in zip(everything(run), whole, strict=True):
            assert now == before
        assert unlike(run) == []
    assert [path.name for path in (run / "backup").iterdir()] == ["1"]


@goes_on_exactly
def test_a_checkpoint_that_knows_no_position_falls_back_to_steps(tmp_path):
    """As one that Lightning saved without this package, or of another run; that is said once."""
    run = fit(
        tmp_path,
        SaveIn("on_train_epoch_end", tmp_path),
        module=LoggingModule(training_step=lambda m, b, i: m.log("loss", float(m.global_step))),
    )
    checkpoint = torch.load(tmp_path / "0.ckpt", weights_only=True)
    del checkpoint["lightning_trackplus"]
    torch.save(checkpoint, tmp_path / "plain.ckpt")
    with pytest.warns(UserWarning, match="does not say what of .* belongs to it") as caught:
        fit(
            tmp_path,
            ckpt_path=tmp_path / "plain.ckpt",
            module=LoggingModule(training_step=lambda m, b, i: m.log("loss", float(m.global_step))),
        )
    assert sum("does not say what" in str(one.message) for one in caught) == 1
    with (run / "metrics.csv").open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == [str(step) for step in range(EPOCHS * BATCHES)]
    assert unlike(run) == []


def test_a_checkpoint_of_a_later_format_is_refused(tmp_path):
    """And so is a run of a later format, for training and for reading, with a sentence that says what to do."""
    run = fit(tmp_path, SaveIn("on_train_epoch_end", tmp_path))
    checkpoint = torch.load(tmp_path / "0.ckpt", weights_only=True)
    checkpoint["lightning_trackplus"]["format"] = 2
    torch.save(checkpoint, tmp_path / "later.ckpt")
    with pytest.raises(ValueError, match=r"The checkpoint was saved by a later version .* format 2; .* format 1\."):
        fit(tmp_path, ckpt_path=tmp_path / "later.ckpt")

    lines = (run / "run.jsonl").read_text().splitlines()
    (run / "run.jsonl").write_text("\n".join([json.dumps({**json.loads(lines[0]), "format": 2}), *lines[1:]]) + "\n")
    for use in (lambda: fit(tmp_path), lambda: differences(run)):
        with pytest.raises(
            ValueError, match=r"was written by a later version of lightning-trackplus, in the format 2;"
        ):
            use()


def numbers(run, name):
    """Return steps and values of a name, as csv.DictReader finds them."""
    with (run / "metrics.csv").open(newline="") as file:
        return [(int(row["step"]), float(row[name])) for row in csv.DictReader(file) if row.get(name)]


def losses(**hooks):
    return LoggingModule(training_step=lambda m, b, i: m.log("loss", float(m.global_step)), **hooks)


@goes_on_exactly
def test_event_files_of_others_stay_as_they_are(tmp_path):
    """A person's SummaryWriter and a TensorBoardLogger below the run are none of its, nor is a run in a ``sub_dir``."""
    run = fit(tmp_path, SaveIn("on_train_epoch_end", tmp_path), module=losses())
    with SummaryWriter(str(run / "mine")) as mine:
        mine.add_scalar("x", 1.0, 99)
    with SummaryWriter(str(run / "run" / "below")) as mine:
        mine.add_scalar("x", 1.0, 99)
    below = TrackPlusLogger(tmp_path, name="", version="run", sub_dir="sub")
    below.log_metrics({"x": 1.0}, step=99)
    below.finalize("success")
    others = {path: path.read_bytes() for part in ("mine", "run", "sub") for path in (run / part).rglob("*events*")}
    assert len(others) == 3

    fit(tmp_path, module=losses(), ckpt_path=tmp_path / "0.ckpt")

    assert {path: path.read_bytes() for path in others} == others
    assert numbers(run, "loss") == [(step, float(step)) for step in range(EPOCHS * BATCHES)]


@goes_on_exactly
def test_what_is_logged_before_the_training_begins_stays(tmp_path):
    """A resumed process that logs in ``on_fit_start`` has that in the run, behind what belongs to the checkpoint."""

    class Restarts(Callback):
        def on_fit_start(self, trainer, module):
            trainer.logger.log_metrics({"restarts": 1.0}, step=0)

    run = fit(tmp_path, SaveIn("on_train_epoch_end", tmp_path), module=losses())
    fit(tmp_path, Restarts(), module=losses(), ckpt_path=tmp_path / "0.ckpt")

    assert numbers(run, "restarts") == [(0, 1.0)]
    assert numbers(run, "loss") == [(step, float(step)) for step in range(EPOCHS * BATCHES)]


@goes_on_exactly
def test_a_value_with_the_name_and_the_step_of_an_older_one_is_new(tmp_path):
    """What is left out after a resume is what the run logged behind the save, as often as it did."""
    hooks = {"on_validation_epoch_end": lambda m, b, i: m.logger.log_metrics({"hand": float(m.current_epoch)}, step=0)}
    run = fit(tmp_path, SaveIn("on_train_batch_end", tmp_path), module=losses(**hooks))
    fit(tmp_path, module=losses(**hooks), ckpt_path=tmp_path / "5.ckpt")
    assert numbers(run, "hand") == [(0, 0.0), (0, 1.0), (0, 2.0)]


@goes_on_exactly
def test_a_resume_that_trains_nothing_keeps_what_comes_then(tmp_path):
    """A test behind it has its results, also under the name and step of the last ones."""
    run = fit(tmp_path, SaveIn("on_train_epoch_end", tmp_path), module=losses())
    logger = TrackPlusLogger(tmp_path, name="", version="run")
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=logger, max_epochs=EPOCHS)
    module = losses(test_step=lambda m, b, i: m.log("acc", 0.5))
    trainer.fit(module, loader(4 * BATCHES), loader(8), ckpt_path=tmp_path / "2.ckpt")
    for _ in range(2):
        trainer.test(module, loader(4), verbose=False)
    assert [value for _, value in numbers(run, "acc")] == [0.5, 0.5]


@goes_on_exactly
@pytest.mark.parametrize("damage", ["torn", "identity", "removed table"])
def test_a_damaged_run_goes_on_without_doubles(tmp_path, damage):
    """A torn line, a lost identity, a table that somebody removed: nothing is there twice, later resumes are exact."""
    run = fit(tmp_path, SaveIn("on_train_epoch_end", tmp_path / "a"), module=losses())
    journal = run / "run.jsonl"
    if damage == "torn":
        journal.write_bytes(journal.read_bytes() + b'{"saved":9')
    elif damage == "identity":
        journal.write_text("\n".join(["{", *journal.read_text().splitlines()[1:], ""]))
    else:
        (run / "metrics.csv").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        fit(
            tmp_path, SaveIn("on_train_epoch_end", tmp_path / "b"), module=losses(), ckpt_path=tmp_path / "a" / "1.ckpt"
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*(does not say|another branch).*")
        fit(tmp_path, module=losses(), ckpt_path=tmp_path / "b" / "0.ckpt", epochs=EPOCHS + 1)

    found = numbers(run, "loss")
    assert len(set(found)) == len(found)
    assert found[-1] == (15, 15.0)
    if damage != "removed table":
        assert found == [(step, float(step)) for step in range(16)]
        assert unlike(run) == []


def test_a_checkpoint_is_saved_though_the_run_directory_is_gone(tmp_path):
    """After a training, nothing has to be written for that."""
    logger = TrackPlusLogger(tmp_path / "logs")
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=logger)
    trainer.fit(losses(), loader(4))
    shutil.rmtree(tmp_path / "logs")
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    assert (tmp_path / "end.ckpt").is_file()


@goes_on_exactly
def test_a_checkpoint_that_was_saved_after_the_training_is_found_again_and_again(tmp_path):
    """It is of no other branch, also when the run went on from it before."""
    logger = TrackPlusLogger(tmp_path, name="", version="run")
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=logger)
    trainer.fit(losses(), loader(4 * BATCHES), loader(8))
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*(does not say|another branch).*")
        for _ in range(2):
            run = fit(tmp_path, module=losses(), ckpt_path=tmp_path / "end.ckpt", epochs=2)
            assert numbers(run, "loss") == [(step, float(step)) for step in range(2 * BATCHES)]


def test_copies_of_a_logger_have_runs_of_their_own(tmp_path):
    """As for the folds of a cross-validation."""
    template = TrackPlusLogger(tmp_path)
    for _ in range(3):
        logger = copy.deepcopy(template)
        logger.log_metrics({"loss": 1.0}, step=0)
        logger.finalize("success")
    assert sorted(path.name for path in (tmp_path / "lightning_logs").iterdir()) == [f"version_{n}" for n in range(3)]


def test_a_copy_takes_no_run_that_another_copy_started_in_a_child_process(tmp_path):
    """As for trials that train in processes of their own, where one then logs before its Trainer starts them."""
    template = TrackPlusLogger(tmp_path)
    first, second = copy.deepcopy(template), copy.deepcopy(template)
    if (child := os.fork()) == 0:
        first.log_metrics({"loss": 1.0}, step=0)
        first.finalize("success")
        os._exit(0)
    os.waitpid(child, 0)
    second.log_metrics({"loss": 2.0}, step=0)
    second.finalize("success")
    assert [logger.version for logger in (first, second)] == [0, 1]


def test_a_row_has_one_epoch(tmp_path):
    """Where names come at one step in several epochs, each epoch has a row."""
    logger = TrackPlusLogger(tmp_path, name="", version="run", x_axis={"best*": "epoch"})
    for epoch in range(3):
        logger.log_metrics({f"best{epoch}": 0.5, "epoch": epoch}, step=0)
    logger.finalize("success")
    run = Path(logger.log_dir)
    assert [line.split(",")[:2] for line in (run / "metrics.csv").read_text().splitlines()[1:]] == [
        ["0", "0"],
        ["0", "1"],
        ["0", "2"],
    ]
    assert differences(run) == []


def test_a_step_beyond_all_events_is_a_difference(tmp_path):
    """TensorBoard has no place for it; the CSV has."""
    logger = TrackPlusLogger(tmp_path, name="", version="run")
    logger.log_metrics({"x": 1.0}, step=1)
    with pytest.warns(UserWarning, match="Value out of range"):
        logger.log_metrics({"x": 2.0}, step=2**63)
        logger.finalize("success")
    assert [str(one) for one in differences(logger.log_dir)] == [f"x at {2**63 - 1}: 2.0 in the CSV only"]
