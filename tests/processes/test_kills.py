"""SIGKILL at random moments: what is left is whole, and the run goes on; `benchmarks/kills.py` kills more."""

from __future__ import annotations

import random
import time
import zipfile

import pandas
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_trackplus import Image, TrackPlus, TrackPlusLogger
from lightning_trackplus.reading.verify import differences
from tests.flavour.pytorch.callbacks import ModelCheckpoint
from tests.support.csv_files import read_metrics
from tests.support.forking import Forked
from tests.support.killing import Campaign
from tests.support.training import LoggingModule, goes_on_exactly, loader, quiet_trainer

STEPS, EVERY = 90, 10


@pytest.mark.parametrize("seed", range(2))
def test_a_killed_process_leaves_whole_files_and_a_run_that_goes_on(tmp_path, seed):
    """Both formats hold all that was logged up to near the kill, and what went on in the run holds it still.

    The process adds a column every few records and writes media; three are killed in one run, also while they write.
    """
    campaign = Campaign(tmp_path)
    campaign.kill(3, seed, longest=0.1)
    assert campaign.counts["kills"] == 3


def train(say, root, checkpoint):
    """Train and validate, with a checkpoint every ten steps; say when each is there."""

    def step(module, batch, index):
        number = module.global_step
        module.log("x", float(number))
        module.log("late" if number >= STEPS // 2 else "early", number / 3)
        if index % 5 == 0:
            module.log("picture", Image(batch.new_full((3, 8, 8), number / STEPS)))
        say(number)
        time.sleep(0.004)

    def validation_step(module, batch, index):
        module.log("val/x", batch[0, 0], on_epoch=True)

    callbacks = [TrackPlus(), ModelCheckpoint(every_n_train_steps=EVERY, save_top_k=-1, save_on_train_epoch_end=False)]
    logger = TrackPlusLogger(root, version="auto", flush_secs=0.03)
    options = {"max_steps": STEPS, "max_epochs": None, "enable_checkpointing": True, "val_check_interval": 15}
    trainer = quiet_trainer(root, callbacks=callbacks, logger=logger, num_sanity_val_steps=0, **options)
    module = LoggingModule(training_step=step, validation_step=validation_step)
    trainer.fit(module, loader(120), loader(8), ckpt_path=checkpoint)


@goes_on_exactly
def test_a_killed_training_goes_on_from_its_last_checkpoint(tmp_path):
    """Three trainings are killed and go on: no step is there twice, only the last ones before a kill are missing."""
    chance = random.Random(0)
    run = tmp_path / "lightning_logs/version_0"
    resumed = set()
    for last in (22, 45, 68, None):
        checkpoint = newest(run / "checkpoints")
        resumed |= {int(checkpoint.rpartition("=")[2].removesuffix(".ckpt"))} if checkpoint else set()
        process = Forked(train, tmp_path, checkpoint)
        if last is not None:
            while process.hear() < last:
                pass
            time.sleep(chance.uniform(0, 0.05))
            process.kill()
        assert process.join() == (0 if last is None else -9)
    assert [path.name for path in run.parent.iterdir()] == ["version_0"]
    table = read_metrics(run)
    events = EventAccumulator(str(run), size_guidance={"scalars": 0}).Reload()
    rows = table[table["x"].notna()]
    steps = rows["step"].tolist()
    assert steps == rows["x"].tolist() == sorted(set(steps))
    assert [(event.step, event.value) for event in events.Scalars("x")] == [(step, step) for step in steps]
    # What was logged before a checkpoint may not have been in the files when the process was killed.
    missing = set(range(STEPS)) - set(steps)
    assert len(resumed) == 3
    assert all(step + 1 in missing | resumed for step in missing)
    assert steps[-1] == STEPS - 1
    assert STEPS // 15 - 3 <= table["val/x"].notna().sum() == len(events.Scalars("val/x")) <= STEPS // 15
    assert rows["late"].notna().tolist() == [step >= STEPS // 2 for step in steps]
    assert pandas.read_csv(run / "media.csv")["step"].is_unique
    assert differences(run) == []


def newest(folder):
    """Return the newest checkpoint that is whole."""
    for path in sorted(folder.glob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns, reverse=True):
        if zipfile.is_zipfile(path):
            torch.load(path, weights_only=False)
            return str(path)
    return None
