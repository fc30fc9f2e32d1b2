"""Hyper-parameters and best values of real Trainers' runs, as TensorBoard's HParams tab shows them."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_trackplus import TrackPlus, TrackPlusLogger
from lightning_trackplus.reading.verify import differences
from tests.flavour.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from tests.formats.test_flat_hparams import LOADERS, Tab, row
from tests.support.forking import Forked
from tests.support.training import LoggingModule, goes_on_exactly, loader, quiet_trainer

MODES = {"val/loss": "min", "val/acc": "max"}
LOSSES = [0.5, 0.25, 0.75]
BEST = {"best/val/loss": (0.25, 9), "best/val/acc": (0.75, 9)}


class Net(LoggingModule):
    """Has hyper-parameters of many kinds, and logs losses that are given.

    Args:
        fails: What to call when the first epoch is over.
        params: The hyper-parameters.
    """

    def __init__(self, fails=None, **params) -> None:
        super().__init__()
        self.fails = fails
        self.save_hyperparameters(ignore=["fails"])

    def on_train_epoch_start(self):
        if self.current_epoch == 2 and self.fails is not None:
            self.logger.experiment.flush()
            self.fails()

    def validation_step(self, batch, batch_idx):
        loss = LOSSES[self.current_epoch]
        self.log("val/loss", loss)
        self.log("val/acc", 1 - loss)


def fit(root, version, *callbacks, fails=None, params=None, ckpt_path=None, **options):
    """Train three epochs, and return the run directory."""
    logger_options = {"hparam_metrics": MODES, **options.pop("logger", {})}
    logger = TrackPlusLogger(root, name="", version=version, **logger_options)
    options = {"max_epochs": 3, "num_sanity_val_steps": 0, **options}
    trainer = quiet_trainer(root, callbacks=[TrackPlus(), *callbacks], logger=logger, **options)
    module = Net(fails, **({"lr": 0.1} if params is None else params))
    trainer.fit(module, loader(20), loader(8), ckpt_path=ckpt_path)
    return Path(logger.log_dir)


def fail():
    raise RuntimeError("on purpose")


def interrupt():
    raise KeyboardInterrupt


def fit_and_be_killed(say, root):
    """Train in a process that is killed in its third epoch."""
    fit(root, "killed", fails=lambda: os.kill(os.getpid(), signal.SIGKILL))


NESTED = {
    "model": {"sizes": [8, 4], "act": None, "norm": True},
    "steps": [{"lr": 0.1}, {"lr": 0.2}],
    "name": "net",
    "limit": float("inf"),
}
FLAT = {
    "model/sizes": "[8, 4]",
    "model/act": "None",
    "model/norm": True,
    "steps/0/lr": 0.1,
    "steps/1/lr": 0.2,
    "name": "net",
    "limit": "inf",
}


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """Runs that ended in all ways; the folder, and the rows that the tab has to show."""
    omega_conf = pytest.importorskip("omegaconf").OmegaConf
    root = tmp_path_factory.mktemp("ended")
    config = omega_conf.create({"lr": 0.1, "twice": "${.lr}", "list": [1, None]})
    fit(root, "nested", params=NESTED)
    fit(root, "config", params={"config": config})
    with pytest.raises(RuntimeError, match="on purpose"):
        fit(root, "failed", fails=fail)
    with pytest.raises(BaseException) as caught:
        fit(root, "interrupted", fails=interrupt)
    assert caught.type in (KeyboardInterrupt, SystemExit)
    assert Forked(fit_and_be_killed, root).join() == -signal.SIGKILL
    flat_config = {"config/lr": 0.1, "config/twice": 0.1, "config/list": "[1, None]"}
    rows = dict(
        [
            row("nested", FLAT, "STATUS_SUCCESS", **BEST),
            row("config", flat_config, "STATUS_SUCCESS", **BEST),
            row("failed", {"lr": 0.1}, "STATUS_FAILURE", **BEST),
            row("interrupted", {"lr": 0.1}, "STATUS_FAILURE", **BEST),
            row("killed", {"lr": 0.1}, "STATUS_UNKNOWN", **BEST),
        ]
    )
    return root, rows


@LOADERS
def test_the_tab_has_the_best_values_however_a_run_ended(ended, options):
    """With all hyper-parameters, and how it ended."""
    root, rows = ended
    with Tab(root, *options, prefix="best/") as tab:
        assert tab.wait_for(rows) == rows
        assert tab.columns() == ({name for one in rows.values() for name in one["hparams"]}, set(BEST))
        assert tab.runs() == set(rows)


def test_nothing_is_made_up(ended):
    """No run has a ``hp_metric``, and both formats of each run agree."""
    root, _ = ended
    for run in (path for path in root.iterdir() if path.is_dir()):
        assert differences(run) == []
        assert "hp_metric" not in (run / "metrics.csv").read_text()
        tags = EventAccumulator(str(run)).Reload().Tags()["scalars"]
        assert {"val/loss", "best/val/loss"} <= set(tags)
        assert "hp_metric" not in tags


def test_hparams_yaml_has_them_as_they_were_given(ended):
    """Nested, with None and lists."""
    root, _ = ended
    assert yaml.safe_load((root / "nested/hparams.yaml").read_text()) == NESTED
    assert yaml.safe_load((root / "config/hparams.yaml").read_text())["config"]["list"] == [1, None]


@goes_on_exactly
def test_a_resumed_run_has_the_status_of_its_last_end_and_the_best_of_what_stayed(tmp_path):
    """A best value that lay beyond the checkpoint is taken back, and found again."""
    saving = ModelCheckpoint(filename="{step}", save_top_k=-1, save_on_train_epoch_end=True)
    with pytest.raises(RuntimeError, match="on purpose"):
        fit(tmp_path, 0, saving, fails=fail, enable_checkpointing=True)
    checkpoint = tmp_path / "version_0/checkpoints/step=5.ckpt"
    run = fit(tmp_path, "auto", ckpt_path=checkpoint, max_epochs=2, limit_val_batches=0)
    best = EventAccumulator(str(run)).Reload()
    assert {(event.step, event.value) for event in best.Scalars("best/val/loss")} == {(4, 0.5)}

    fit(tmp_path, "auto", ckpt_path=checkpoint, params={"lr": 0.2})

    rows = dict([row("version_0", {"lr": 0.2}, "STATUS_SUCCESS", **BEST)])
    with Tab(tmp_path, prefix="best/") as tab:
        assert tab.wait_for(rows) == rows
    assert json.loads((run / "summary.json").read_text())["val/loss"]["best_step"] == 9


def test_with_a_prefix_the_names_have_it(tmp_path):
    """In the tab as in the run; ``hparam_metrics`` has the names as they are logged."""
    fit(tmp_path, 0, logger={"prefix": "mine"})
    values = {name.replace("best/", "best/mine-"): value for name, value in BEST.items()}
    rows = dict([row("version_0", {"lr": 0.1}, "STATUS_SUCCESS", **values)])
    with Tab(tmp_path, prefix="best/") as tab:
        assert tab.wait_for(rows) == rows


@pytest.mark.parametrize("prefix", ["", "mine"])
@pytest.mark.parametrize(
    "callback",
    [
        ModelCheckpoint(monitor="val/acc", mode="max"),
        EarlyStopping(monitor="val/acc", mode="max", patience=9),
    ],
    ids=["ModelCheckpoint", "EarlyStopping"],
)
def test_the_summary_takes_the_modes_of_callbacks(tmp_path, callback, prefix):
    """The highest accuracy is the best where a callback says so; of the loss, nobody has said what is good."""
    run = fit(tmp_path, 0, callback, enable_checkpointing=True, logger={"prefix": prefix, "hparam_metrics": None})
    summary = json.loads((run / "summary.json").read_text())
    p = f"{prefix}-" if prefix else ""
    at_best = {"epoch": 1, f"{p}val/acc": 0.75, f"{p}val/loss": 0.25}
    best = {"best": 0.75, "best_step": 9, "mode": "max", "at_best": at_best}
    assert summary[f"{p}val/acc"] == {"last": 0.25, "last_step": 14, **best}
    extremes = {"min": 0.25, "min_step": 9, "max": 0.75, "max_step": 14}
    assert summary[f"{p}val/loss"] == {"last": 0.75, "last_step": 14, **extremes}
    assert not any(tag.startswith("best/") for tag in EventAccumulator(str(run)).Reload().Tags()["scalars"])


def test_a_module_without_hyperparameters_has_no_row(tmp_path):
    """And nothing that would be one is written."""
    run = fit(tmp_path, 0, params={})
    assert not list(run.rglob("*.hparams"))
    assert "best/val/loss" in EventAccumulator(str(run)).Reload().Tags()["scalars"]
