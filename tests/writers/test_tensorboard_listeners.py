"""Tools that listen to TensorBoard: the real ones, offline, in processes of their own, of which they replace parts."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_trackplus import Text, TrackPlus, TrackPlusLogger
from tests.support.forking import Forked
from tests.support.training import LoggingModule, loader, quiet_trainer

PATIENCE = 60.0
# Else another process reports, every five seconds.
CLEARML = "sdk.development { report_use_subprocess: false, worker.report_event_flush_threshold: 1 }"


def train(listen):
    """Train and test in a run to which something was logged before someone listens."""
    logger = TrackPlusLogger(".", "", "run")
    logger.log_metrics({"train/early": 1.0}, 0)
    logger.flush()
    listen()
    logger.log_hyperparams({"lr": 0.5})

    def end(module, batch, index):
        module.log("val/text", Text("a"))
        logger.experiment.add_scalar("direct/x", 3.0, module.current_epoch)

    module = LoggingModule(
        training_step=lambda m, b, i: m.log_dict({"train/a": b[0, 0], "train/b": float(i)}),
        validation_step=lambda m, b, i: m.log("val/c", float(i), on_step=True, on_epoch=True),
        on_train_epoch_end=end,
        test_step=lambda m, b, i: m.log("test/d", float(i)),
    )
    trainer = quiet_trainer(Path.cwd(), callbacks=[TrackPlus()], logger=logger, max_epochs=3, num_sanity_val_steps=0)
    trainer.fit(module, loader(), loader())
    trainer.test(module, loader(), verbose=False)


def points(folder):
    """Return what TensorBoard's reader finds in the event files of a folder: numbers by tag and step."""
    events = EventAccumulator(folder, size_guidance={"scalars": 0}).Reload()
    tags = set(events.Tags()["scalars"]) - {"epoch", "train/early"}
    return {(tag, event.step): pytest.approx(event.value, rel=1e-7) for tag in tags for event in events.Scalars(tag)}


def listened_by_wandb(say):
    """Say the rows of the history of a W&B run."""
    import wandb

    from tests.support.wandb_run import history

    def listen():
        # Without it, W&B waits for the folders of further runs, to guess it.
        wandb.tensorboard.patch(root_logdir=str(Path.cwd()))
        wandb.init(mode="offline", project="tests", sync_tensorboard=True)

    train(listen)
    first = Path(wandb.run.dir)
    wandb.finish()
    # Another run of W&B, to which the same run goes on.
    wandb.init(mode="offline", project="tests", sync_tensorboard=True)
    logger = TrackPlusLogger(".", "", "run")
    logger.log_metrics({"train/later": 2.0}, 100)
    logger.finalize("success")
    second = Path(wandb.run.dir)
    wandb.finish()
    say([history(first), history(second)])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks processes")
@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="needs wandb")
def test_wandb_has_each_number_once():
    """W&B reads the event files of the run and of those below, from the moment on at which it listens."""
    process = Forked(listened_by_wandb)
    runs = process.hear()
    assert process.join() == 0
    first, second = (
        [(name.removeprefix("run/"), row["global_step"], row[name]) for row in rows for name in row if "/" in name]
        for rows in runs
    )
    expected = points("run")
    assert expected.pop(("train/later", 100)) == 2.0
    assert {(tag, step): value for tag, step, value in first if tag != "epoch"} == expected
    assert len([tag for tag, *_ in first if tag != "epoch"]) == len(expected)
    # It reads by whole seconds, so that it may have what came before as well.
    assert ("train/later", 100, 2) in second


def listened_by_clearml(say):
    """Say the points that a ClearML task reports."""
    Path("clearml.conf").write_text(CLEARML)
    os.environ.update(CLEARML_CONFIG_FILE=str(Path.cwd() / "clearml.conf"), CLEARML_CACHE_DIR=str(Path.cwd() / "cache"))
    from clearml import Task

    tasks = []

    def listen():
        Task.set_offline(True)
        quiet = dict.fromkeys(("auto_connect_arg_parser", "auto_connect_streams", "auto_resource_monitoring"), False)
        tasks.append(Task.init("tests", "run", auto_connect_frameworks={"tensorboard": True}, **quiet))

    train(listen)
    tasks[0].get_logger().flush()
    folder = Path(tasks[0].get_offline_mode_folder())
    found, deadline = [], time.monotonic() + PATIENCE
    # Another thread writes the file.
    while not any(variant == "d" for _, variant, *_ in found) and time.monotonic() < deadline:
        time.sleep(0.1)
        lines = [line for path in folder.glob("metrics.jsonl") for line in path.read_text().splitlines()]
        with contextlib.suppress(ValueError):
            events = [event for line in lines for event in json.loads(line)]
            found = [tuple(event.get(key) for key in ("metric", "variant", "iter", "value")) for event in events]
    say((found, tasks[0].get_parameters()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks processes")
@pytest.mark.skipif(importlib.util.find_spec("clearml") is None, reason="needs clearml")
def test_clearml_has_each_number_once():
    """ClearML is handed the events as they are written, and those of ``logger.experiment`` as they are added."""
    process = Forked(listened_by_clearml)
    rows, params = process.hear()
    assert process.join() == 0
    assert params == {"TB_hparams/lr": "0.5"}
    found = [(f"{metric}/{variant}", step, value) for metric, variant, step, value in rows if value is not None]
    found = [point for point in found if point[0] != "epoch/epoch"]
    assert {(tag, step): value for tag, step, value in found} == {**points("run"), **points("run/validation_batches")}
    assert len(found) == len(points("run")) + len(points("run/validation_batches"))
    assert len([step for *name, step, value in rows if name == ["val", "text"]]) == 3
