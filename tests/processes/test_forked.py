"""A training of two processes that LightningCLI forks, with callbacks and a logger from YAML."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.flavour.pytorch.cli import LightningCLI
from tests.flavour.pytorch.demos.boring_classes import BoringDataModule, BoringModel
from tests.support.csv_files import read_metrics
from tests.support.forking import Forked
from tests.support.programs import as_a_program

CONFIG = """
trainer:
  accelerator: cpu
  devices: 2
  strategy: ddp_fork
  max_epochs: 1
  limit_train_batches: 3
  limit_val_batches: 2
  num_sanity_val_steps: 0
  log_every_n_steps: 1
  enable_progress_bar: false
  enable_checkpointing: false
  logger:
    class_path: lightning_trackplus.TrackPlusLogger
    init_args: {save_dir: logs, name: run, version: 0}
  callbacks:
    - class_path: lightning_trackplus.TrackPlus
    - class_path: lightning_trackplus.callbacks.gradient_norms.GradientNorms
      init_args: {by_layer: ["lay*"], norm_type: 2}
    - class_path: lightning_trackplus.callbacks.gradient_norms.GradientNorms
      init_args: {by_layer: layer, norm_type: .inf, name: grad_max, every_step: true}
"""


class Model(BoringModel):
    def training_step(self, batch, batch_idx):
        return self.layer(batch).sum(dim=1).mean() * (1 + 2 * self.global_rank)

    def on_before_optimizer_step(self, optimizer):
        total, largest = (
            torch.nn.utils.clip_grad_norm_(self.parameters(), math.inf, norm_type=order).item()
            for order in (2.0, math.inf)
        )
        with Path(f"rank_{self.global_rank}.txt").open("a") as file:
            print(total, largest, file=file)

    def validation_step(self, batch, batch_idx):
        self.log("rank", torch.full((2,), float(self.global_rank)), reduce_fx=["max", "count"], sync_dist=True)


class Forking(LightningCLI):
    def before_fit(self):
        self.trainer.logger.log_metrics({"before": 1.0}, step=0)
        self.trainer.logger.experiment.flush()


def train(say, folder):
    """Start the training from its YAML."""
    with as_a_program("fit", "--config", "config.yaml", folder=folder):
        Forking(Model, BoringDataModule)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return the folder in which the training was, and the table that it wrote."""
    folder = tmp_path_factory.mktemp("forked")
    (folder / "config.yaml").write_text(CONFIG)
    assert Forked(train, folder).join() == 0
    return folder, read_metrics(folder / "logs/run/version_0")


def test_one_table_has_what_was_logged_before_and_after_the_fork(run):
    """What was logged before the fork and what the forked rank zero logs, of both processes, are in one file."""
    _, rows = run
    assert rows["before"].dropna().tolist() == [1.0]
    assert rows["rank_max"].dropna().tolist() == [1.0]
    assert rows["rank_count"].dropna().tolist() == [8.0]


def test_the_norms_are_those_of_averaged_gradients(run):
    """LightningCLI makes the callbacks; the norm is that of what both processes step with."""
    folder, rows = run
    first, second = (np.loadtxt(folder / f"rank_{rank}.txt") for rank in (0, 1))
    assert np.array_equal(first, second)
    totals, largest = first.T
    assert rows["grad_norm"].dropna().tolist() == pytest.approx(totals)
    assert rows["grad_norm/layer"].dropna().tolist() == pytest.approx(totals)
    assert rows["grad_max"].dropna().tolist() == pytest.approx(largest)
    assert rows["grad_max/layer"].dropna().tolist() == pytest.approx(largest)
