"""LightningCLI: callback and logger from YAML, as a person starts it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.flavour import PYTORCH
from tests.flavour.pytorch.cli import LightningCLI
from tests.flavour.pytorch.demos.boring_classes import BoringDataModule, BoringModel
from tests.support.csv_files import read_metrics
from tests.support.programs import as_a_program

CONFIG = f"""
seed_everything: 1
trainer:
  accelerator: cpu
  devices: 1
  max_epochs: 1
  enable_progress_bar: false
  logger:
    class_path: lightning_trackplus.TrackPlusLogger
    init_args:
      writers: [csv, tensorboard]
      flush_secs: 0.5
      draw_captions: false
      charts:
        loss: [train/loss, val/loss_mean]
        spread: {{band: [val/loss_p5, val/loss_median, val/loss_p95]}}
  callbacks:
    - class_path: lightning_trackplus.TrackPlus
    - class_path: {PYTORCH}.callbacks.ModelCheckpoint
      init_args:
        monitor: val/loss_p95
"""


class Model(BoringModel):
    def __init__(self, width: int = 3):
        super().__init__()
        self.save_hyperparameters()

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.layer(batch).pow(2).sum(dim=1), reduce_fx=["mean", "p95"])


class Plain(Model):
    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.layer(batch).pow(2).sum())


@pytest.fixture
def command(tmp_path):
    """Return a function that starts LightningCLI with arguments."""
    (tmp_path / "config.yaml").write_text(CONFIG)

    def run(*arguments: str, model: type[BoringModel] = Model) -> None:
        with as_a_program(*arguments, folder=tmp_path):
            LightningCLI(model, BoringDataModule)

    return run


@pytest.fixture
def said(command, capsys):
    """Return a function that starts LightningCLI with arguments that make it say something and end, and returns it."""

    def run(*arguments: str) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            command(*arguments)
        assert not ended.value.code
        return capsys.readouterr().out

    return run


def test_two_runs_into_one_root_have_two_whole_run_directories(command, tmp_path):
    """Each run has its config, hyper-parameters, numbers, events and checkpoints in a folder of its own."""
    for _ in range(2):
        command(
            "fit", "--config", "config.yaml", "--trainer.default_root_dir", "root", "--trainer.limit_val_batches", "2"
        )
    runs = sorted((tmp_path / "root/lightning_logs").iterdir())
    assert [run.name for run in runs] == ["version_0", "version_1"]
    for run in runs:
        assert {path.name.split(".")[0] for path in run.iterdir()} == {
            "config", "hparams", "metrics", "summary", "events", "checkpoints", "run",
        }  # fmt: skip
        config = yaml.safe_load((run / "config.yaml").read_text())
        assert config["trainer"]["logger"]["init_args"]["flush_secs"] == 0.5
        assert (run / "events.out.tfevents.0.charts").is_file()
        assert yaml.safe_load((run / "hparams.yaml").read_text()) == {"width": 3}
        assert "val/loss_p95" in read_metrics(run)
        assert len(list((run / "checkpoints").iterdir())) == 1


def test_print_config_shows_every_option_and_can_be_run(command, said, tmp_path):
    """What ``--print_config`` prints names all options of logger and callback, and is itself a config."""
    printed = said("fit", "--config", "config.yaml", "--print_config")
    trainer = yaml.safe_load(printed)["trainer"]
    assert trainer["logger"]["init_args"] == {
        "save_dir": None,
        "name": "lightning_logs",
        "version": None,
        "writers": ["csv", "tensorboard"],
        "prefix": "",
        "sub_dir": None,
        "log_graph": False,
        "default_hp_metric": False,
        "x_axis": None,
        "hparam_metrics": None,
        "charts": {
            "loss": ["train/loss", "val/loss_mean"],
            "spread": {"band": ["val/loss_p5", "val/loss_median", "val/loss_p95"]},
        },
        "draw_captions": False,
        "flush_secs": 0.5,
        "media_overflow": "block",
        "max_queue_bytes": 268435456,
        "add_callback": True,
    }
    assert trainer["callbacks"][0] == {
        "class_path": "lightning_trackplus.TrackPlus",
        "init_args": {"reducers": None, "nan_policy": "omit", "samples": None, "fast": True},
    }
    (tmp_path / "printed.yaml").write_text(printed)
    command("fit", "--config", "printed.yaml", "--trainer.fast_dev_run", "1")


def test_help_describes_the_options_with_their_types(said):
    """``--trainer.logger.help`` gives types, defaults and the docstring's words."""
    text = " ".join(said("fit", "--trainer.logger.help", "lightning_trackplus.TrackPlusLogger").split())
    assert "--trainer.logger.save_dir SAVE_DIR" in text
    assert "The directory of all runs: a path, or a URL" in text
    assert "--trainer.logger.flush_secs FLUSH_SECS" in text
    assert "type: float, default: 1.0" in text
    assert "The formats to write" in text


def test_options_can_be_given_on_the_command_line(command, tmp_path):
    """``--trainer.logger TrackPlusLogger`` with its options needs no YAML."""
    command(
        "fit",
        "--trainer.max_epochs=1", "--trainer.limit_val_batches=1", "--trainer.accelerator=cpu",
        "--trainer.logger=lightning_trackplus.TrackPlusLogger", "--trainer.logger.save_dir=here",
        "--trainer.logger.version=mine", "--trainer.logger.writers=[csv]",
        "--trainer.callbacks+=lightning_trackplus.TrackPlus",
    )  # fmt: skip
    run = tmp_path / "here/lightning_logs/mine"
    assert (run / "metrics.csv").is_file()
    assert not list(run.glob("events*"))


def test_without_the_callback_the_run_still_lies_in_one_directory(command, tmp_path):
    """The logger alone, started by LightningCLI, keeps config, numbers and checkpoints together."""
    config = yaml.safe_load(CONFIG)
    config["trainer"]["callbacks"] = []
    config["trainer"]["logger"]["init_args"]["add_callback"] = False
    Path(tmp_path, "config.yaml").write_text(yaml.safe_dump(config))
    command("fit", "--config", "config.yaml", "--trainer.limit_val_batches", "1", model=Plain)
    (run,) = (tmp_path / "lightning_logs").iterdir()
    assert {"config.yaml", "metrics.csv", "hparams.yaml", "checkpoints"} <= {path.name for path in run.iterdir()}
