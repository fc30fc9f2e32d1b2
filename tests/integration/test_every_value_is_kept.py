"""Each value that was logged is in metrics.csv and in TensorBoard, however often its name comes at a step."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas
import polars
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_trackplus import TrackPlus, TrackPlusLogger, read_run
from lightning_trackplus.reading.verify import compare, differences
from tests.flavour.fabric import Fabric
from tests.flavour.pytorch.callbacks import DeviceStatsMonitor
from tests.flavour.pytorch.loggers import CSVLogger
from tests.support.csv_files import read_metrics
from tests.support.training import LoggingModule, loader, quiet_trainer


def column(directory, name):
    """Return steps and values of a name as csv.DictReader finds them, in the order of the rows."""
    with Path(directory, "metrics.csv").open(newline="") as file:
        return [(int(row["step"]), float(row[name])) for row in csv.DictReader(file) if row.get(name)]


def curve(directory, name, below=""):
    """Return steps and values of a tag as TensorBoard's loader in Python finds them."""
    found = EventAccumulator(str(Path(directory, below)), size_guidance={"scalars": 0}).Reload()
    return [(one.step, one.value) for one in found.Scalars(name)]


def logged(tmp_path, *, loggers=None, **hooks):
    """Return a Trainer with our logger and a module that runs some hooks."""
    options = hooks.pop("options", {})
    logger = TrackPlusLogger(tmp_path / "ours")
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=[logger, *(loggers or ())], **options)
    return logger, trainer, LoggingModule(**hooks)


def test_a_test_that_runs_again_and_again_keeps_each_result(tmp_path):
    """Three tests of one Trainer at one step are three rows, as in CSVLogger, and three points in TensorBoard."""
    theirs = CSVLogger(str(tmp_path / "theirs"))
    logger, trainer, module = logged(tmp_path, loggers=[theirs], test_step=lambda m, b, i: m.log("acc", m.acc))
    for module.acc in (0.25, 0.5, 0.75):
        trainer.test(module, loader(4), verbose=False)

    assert column(logger.log_dir, "acc") == column(theirs.log_dir, "acc") == [(0, 0.25), (0, 0.5), (0, 0.75)]
    assert curve(logger.log_dir, "acc") == [(0, 0.25), (0, 0.5), (0, 0.75)]
    assert differences(logger.log_dir) == []
    assert read_run(logger.log_dir).metrics["acc"].to_list() == [0.25, 0.5, 0.75]


def test_validations_between_optimizer_steps_keep_each_result(tmp_path):
    """With gradients that accumulate, several validations have one global step."""
    results = iter(np.arange(8) / 8)
    logger, trainer, module = logged(
        tmp_path,
        on_validation_epoch_end=lambda m, b, i: m.log("val", float(next(results))),
        options={"accumulate_grad_batches": 8, "val_check_interval": 3, "num_sanity_val_steps": 0},
    )
    trainer.fit(module, loader(36), loader(4))

    assert [value for _, value in column(logger.log_dir, "val")] == [0.0, 0.125, 0.25]
    assert column(logger.log_dir, "val") == curve(logger.log_dir, "val")
    assert differences(logger.log_dir) == []


def test_a_name_of_training_and_validation_keeps_both(tmp_path):
    """Also with ``on_step=True`` in both: batches of the validation are a run below the run in TensorBoard."""

    def training_step(module, batch, index):
        module.log("loss", 100.0 + module.global_step)

    def validation_step(module, batch, index):
        module.log("loss", float(index), on_step=True, on_epoch=True)

    logger, trainer, module = logged(
        tmp_path,
        training_step=training_step,
        validation_step=validation_step,
        test_step=validation_step,
        options={"max_epochs": 3, "num_sanity_val_steps": 0},
    )
    trainer.fit(module, loader(8), loader(8))
    trainer.test(module, loader(8), verbose=False)

    run = Path(logger.log_dir)
    assert column(run, "loss") == [(step, 100.0 + step) for step in range(6)]
    assert curve(run, "loss") == column(run, "loss")
    # Of each epoch two batches; a test counts on behind the validations.
    validation = curve(run, "loss_step", "validation_batches")
    assert [value for _, value in validation] == [0.0, 1.0] * 3
    assert [step for step, _ in validation] == list(range(6))
    test = curve(run, "loss_step", "test_batches")
    assert [value for _, value in test] == [0.0, 1.0]
    assert column(run, "loss_step") == [*validation, *test]
    for folder in ("validation_batches", "test_batches"):
        assert len(list((run / folder).glob("*tfevents*"))) == 1
    assert differences(run) == []


def test_one_tag_for_steps_of_training_and_of_batches_is_no_difference(tmp_path):
    """The suffix that Lightning adds does not tell them apart where training has ``on_epoch=True`` too."""

    def step(module, batch, index):
        module.log("loss", module.global_step + index / 8, on_step=True, on_epoch=True)

    logger, trainer, module = logged(
        tmp_path, training_step=step, validation_step=step, options={"max_epochs": 2, "num_sanity_val_steps": 0}
    )
    trainer.fit(module, loader(8), loader(8))

    run = Path(logger.log_dir)
    assert len(list(run.glob("*tfevents*"))) == 1
    assert [step for step, _ in curve(run, "loss_step")] == [0, 1, 2, 3]
    assert [step for step, _ in curve(run, "loss_step", "validation_batches")] == [0, 1, 2, 3]
    frame = read_metrics(run)
    # Rows of batches have no epoch.
    assert frame[frame["epoch"].isna()]["step"].to_list() == [0, 1, 2, 3]
    assert differences(run) == []


def test_an_evaluation_script_that_runs_again_keeps_the_values_of_the_first(tmp_path):
    """With the same version, another logger writes behind what there is."""
    for acc in (0.5, 0.75):
        logger = TrackPlusLogger(tmp_path, version=0)
        trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=logger)
        trainer.test(LoggingModule(test_step=lambda m, b, i, acc=acc: m.log("acc", acc)), loader(4), verbose=False)

    assert column(logger.log_dir, "acc") == curve(logger.log_dir, "acc") == [(0, 0.5), (0, 0.75)]
    assert differences(logger.log_dir) == []


def test_device_statistics_of_validations_are_kept(tmp_path):
    """`DeviceStatsMonitor` logs each batch of a validation with the global step, which stands still meanwhile."""
    pytest.importorskip("psutil")
    logger = TrackPlusLogger(tmp_path / "ours")
    callbacks = [TrackPlus(), DeviceStatsMonitor(cpu_stats=True)]
    trainer = quiet_trainer(tmp_path, callbacks=callbacks, logger=logger, num_sanity_val_steps=0)
    trainer.fit(LoggingModule(), loader(8), loader(12))

    name = "DeviceStatsMonitor.on_validation_batch_start/cpu_percent"
    assert len(column(logger.log_dir, name)) == 3
    assert len(curve(logger.log_dir, name)) == 3
    assert differences(logger.log_dir) == []


def test_without_a_step_and_a_trainer_steps_count_up(tmp_path):
    """By one from the last step of the run, over flushes and further loggers of the same run."""
    for part in range(3):
        logger = TrackPlusLogger(tmp_path, version=0)
        logger.log_metrics({"a": 3.0 * part})
        logger.flush()
        logger.log_metrics({"a": 3.0 * part + 1})
        logger.log_metrics({"b": 3.0 * part + 2})
        logger.finalize("success")

    assert column(logger.log_dir, "a") == [(0, 0.0), (1, 1.0), (3, 3.0), (4, 4.0), (6, 6.0), (7, 7.0)]
    assert column(logger.log_dir, "b") == [(2, 2.0), (5, 5.0), (8, 8.0)]
    assert differences(logger.log_dir) == []


def test_steps_count_on_behind_one_that_was_given(tmp_path):
    """A step that was given is the last one."""
    logger = TrackPlusLogger(tmp_path, writers=["tensorboard"])
    logger.log_metrics({"a": 1.0}, step=41)
    logger.log_metrics({"a": 2.0})
    logger.finalize("success")
    logger = TrackPlusLogger(tmp_path, version=0, writers=["tensorboard"])
    logger.log_metrics({"a": 3.0})
    logger.finalize("success")
    assert curve(logger.log_dir, "a") == [(41, 1.0), (42, 2.0), (43, 3.0)]


def test_fabric_logs_with_and_without_steps(tmp_path):
    """``Fabric(loggers=[TrackPlusLogger()])``: ``fabric.log`` and ``log_dict`` are in both formats."""
    logger = TrackPlusLogger(tmp_path)
    fabric = Fabric(accelerator="cpu", devices=1, loggers=[logger])
    fabric.launch()
    for loss in (0.5, 0.25):
        fabric.log("loss", torch.tensor(loss))
    fabric.log_dict({"loss": 0.125, "acc": 1.0}, step=7)
    logger.finalize("success")

    assert column(logger.log_dir, "loss") == curve(logger.log_dir, "loss") == [(0, 0.5), (1, 0.25), (7, 0.125)]
    assert differences(logger.log_dir) == []


@pytest.mark.parametrize("frames", [pandas, polars])
def test_every_reader_finds_repeated_rows(frames, tmp_path):
    """The file and ``read_run`` have a row for each time that a name came; summary.json has the last and extremes."""
    logger = TrackPlusLogger(tmp_path)
    for loss in (0.5, 0.125, 0.25):
        logger.log_metrics({"loss": loss}, step=3)
    logger.log_metrics({"acc": 1.0}, step=3)
    logger.finalize("success")

    for frame in (
        frames.read_csv(Path(logger.log_dir, "metrics.csv")),
        read_run(logger.log_dir, frames=frames.__name__).metrics,
    ):
        assert frame["step"].to_list() == [3, 3, 3]
        assert frame["loss"].to_list() == [0.5, 0.125, 0.25]
        assert frame["acc"].to_list()[-1] == 1.0
    assert compare(logger.log_dir).values == 4
    summary = pandas.read_json(Path(logger.log_dir, "summary.json"))
    assert summary["loss"]["last"] == 0.25
    assert summary["loss"]["min"] == 0.125
