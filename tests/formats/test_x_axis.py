"""Names over epochs or over a logged scalar, as real Trainers write them and TensorBoard and CSV readers find them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lightning_trackplus import TrackPlus, TrackPlusLogger
from lightning_trackplus.cli import main
from lightning_trackplus.reading.verify import differences
from tests.flavour.pytorch.callbacks import ModelCheckpoint
from tests.run.test_resume import in_fast_loader, in_slow_loader, in_table
from tests.support.csv_files import read_metrics
from tests.support.training import LoggingModule, goes_on_exactly, loader, quiet_trainer

EPOCHS, STEPS = 3, 5
STEP_OF_EPOCH = [4, 9, 14]


class Module(LoggingModule):
    """Logs in training a loss and how many samples it has seen, and in validation a loss in both ways."""

    def training_step(self, batch, batch_idx):
        self.log("loss", float(self.global_step))
        self.log("seen", 4.0 * (self.global_step + 1))
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", float(self.global_step + batch_idx), on_step=True, on_epoch=True)
        self.log("val/tail", batch[0][:, 0] + self.global_step, reduce_fx="p95")


def fit(root, x_axis, *, version="auto", ckpt_path=None, **options):
    """Train, and return the run directory."""
    logger_options = {name: options.pop(name) for name in ("prefix", "writers") if name in options}
    logger = TrackPlusLogger(root, name="", version=version, x_axis=x_axis, **logger_options)
    saving = ModelCheckpoint(filename="{step}", save_top_k=-1, every_n_train_steps=1)
    options = {"max_epochs": EPOCHS, "num_sanity_val_steps": 0, "enable_checkpointing": True, **options}
    trainer = quiet_trainer(root, callbacks=[TrackPlus(), saving], logger=logger, **options)
    trainer.fit(Module(), loader(4 * STEPS), loader(8), ckpt_path=ckpt_path)
    return Path(logger.log_dir)


def steps(points):
    return [step for step, _ in points]


def numbers(points):
    return [value for _, value in points]


@pytest.mark.parametrize(
    ("axis", "places", "prefix"),
    [("epoch", [0, 1, 2], ""), ("seen", [20, 40, 60], ""), ("seen", [20, 40, 60], "mine")],
    ids=["epoch", "logged scalar", "logged scalar with prefix"],
)
def test_chosen_names_stand_over_their_axis(tmp_path, capsys, axis, places, prefix):
    """In TensorBoard; the CSV has both, the other names stay over steps, and batches over batches."""
    run = fit(tmp_path, {"val/*": axis}, prefix=prefix)

    table, events = in_table(run), in_slow_loader(run)
    p = f"{prefix}-" if prefix else ""
    for name in (f"{p}val/loss_epoch", f"{p}val/tail"):
        assert steps(table[name]) == STEP_OF_EPOCH
        assert steps(events[name]) == places
        assert numbers(events[name]) == pytest.approx(numbers(table[name]))
    assert events[f"{p}loss"] == table[f"{p}loss"] == [(step, float(step)) for step in range(STEPS * EPOCHS)]
    batches = in_slow_loader(run / "validation_batches")
    assert steps(batches[f"{p}val/loss_step"]) == steps(table[f"{p}val/loss_step"]) == list(range(2 * EPOCHS))
    rows = read_metrics(run).dropna(subset=[f"{p}val/loss_epoch"])
    assert rows["epoch"].to_list() == [0, 1, 2]
    assert rows[f"{p}seen"].to_list() == [20, 40, 60]
    assert differences(run) == []
    assert main(["verify", str(run)]) == 0
    assert re.fullmatch(r".*\d+ values in both, no differences\n", capsys.readouterr().out, re.DOTALL)


def test_the_fast_loader_finds_them_at_their_places(tmp_path):
    """As TensorBoard's data server serves them, by default."""
    run = fit(tmp_path, {"val/*": "epoch"})
    found = in_fast_loader(tmp_path, lambda runs: len(runs.get(run.name, {}).get("val/loss_epoch", ())) == EPOCHS)
    assert steps(found[run.name]["val/loss_epoch"]) == [0, 1, 2]
    assert steps(found[run.name]["val/loss_step"]) == list(range(2 * EPOCHS))
    assert steps(found[run.name]["loss"]) == list(range(STEPS * EPOCHS))


@pytest.mark.parametrize("prefix", ["", "mine"])
def test_all_names_may_have_another_axis(tmp_path, prefix):
    """The epoch itself stays over steps, so that each value has its step in TensorBoard too."""
    run = fit(tmp_path, {"*": "epoch"}, prefix=prefix, max_epochs=2)
    p = f"{prefix}-" if prefix else ""
    assert set(steps(in_slow_loader(run)[f"{p}loss"])) == {0, 1}
    axes = json.loads((run / "x_axis.json").read_text())
    assert f"{p}epoch" not in axes
    assert axes[f"{p}loss"] == "epoch"
    assert differences(run) == []


@goes_on_exactly
@pytest.mark.parametrize(
    ("axis", "name"),
    [("epoch", "step=3"), ("seen", "step=3"), ("seen", "step=5"), ("epoch", "step=7"), ("epoch", "step=10")],
)
def test_after_a_resume_they_go_on(tmp_path, axis, name):
    """From any checkpoint the run becomes what it was, in both formats, and the backup has the rest."""
    run = fit(tmp_path, {"val/*": axis})
    table, events = (run / "metrics.csv").read_text(), in_slow_loader(run)
    assert fit(tmp_path, {"val/*": axis}, ckpt_path=run / f"checkpoints/{name}.ckpt") == run
    assert (run / "metrics.csv").read_text() == table
    assert in_slow_loader(run) == events
    assert differences(run) == []


@goes_on_exactly
def test_a_name_keeps_its_axis_where_the_next_session_says_another(tmp_path):
    """One curve has one axis: what the run has holds, and both formats agree."""
    run = fit(tmp_path, {"val/*": "epoch"}, max_epochs=2)
    fit(tmp_path, None, ckpt_path=run / "checkpoints/step=10.ckpt")
    assert differences(run) == []
    assert len(in_slow_loader(run)["val/loss_epoch"]) == len(in_table(run)["val/loss_epoch"]) == EPOCHS


def test_without_tensorboard_there_is_nothing_to_place(tmp_path):
    """The CSV alone is as it always is."""
    run = fit(tmp_path, {"val/*": "epoch"}, writers=("csv",))
    assert steps(in_table(run)["val/loss_epoch"]) == STEP_OF_EPOCH
    assert not list(run.glob("events*"))
