"""Real Trainers whose runs lie at fsspec URLs: all of a run is there after it, and goes on from there."""

from __future__ import annotations

import pandas
import pytest
import torch
import yaml

from lightning_trackplus import Image, TrackPlus, TrackPlusLogger
from lightning_trackplus.reading.verify import differences
from tests.flavour.pytorch.callbacks import ModelCheckpoint
from tests.remote.test_remote_run import _own_stores as own_stores
from tests.remote.test_remote_run import content
from tests.run.test_resume import in_slow_loader, in_table
from tests.support.training import LoggingModule, goes_on_exactly, loader, quiet_trainer

__all__ = ["own_stores"]

PROTOCOLS = pytest.mark.parametrize("protocol", ["memory", "objects", "refusing"])
PARTS = {"events", "metrics", "media", "summary", "hparams", "checkpoints", "run", "validation_batches"}


class Module(LoggingModule):
    """Logs numbers and pictures, and has a hyper-parameter."""

    def __init__(self, lr=0.1) -> None:
        super().__init__()
        self.save_hyperparameters()

    def training_step(self, batch, batch_idx):
        self.log("loss", float(10 * self.current_epoch + batch_idx))
        self.log("picture", Image(torch.full((3, 2, 2), batch_idx / 10)))
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        self.log("val", float(self.global_step + batch_idx), on_step=True, on_epoch=True)

    def test_step(self, batch, batch_idx):
        self.log("test", batch[0][:, 0], reduce_fx="max")


def trainer_at(root, *, by="save_dir", version="auto", **options):
    """Return a Trainer whose runs lie at a URL: that of its logger, or its own."""
    logger = TrackPlusLogger(root if by == "save_dir" else None, name="logs", version=version)
    saving = ModelCheckpoint(filename="{step}", save_top_k=-1, every_n_train_steps=2)
    options = {"max_epochs": 2, "num_sanity_val_steps": 0, "enable_checkpointing": True, **options}
    return quiet_trainer(root, callbacks=[TrackPlus(), saving], logger=logger, **options)


def brought(url, folder):
    """Copy what lies at a URL into a folder, and return that."""
    for relative, data in content(url).items():
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


@PROTOCOLS
@pytest.mark.parametrize("by", ["save_dir", "default_root_dir"])
def test_after_a_fit_all_of_the_run_is_there(tmp_path, protocol, by):
    """Events, tables, media, hyper-parameters and checkpoints, in one folder; a test then goes on in it."""
    root = f"{protocol}://{tmp_path}/there"
    trainer = trainer_at(root, by=by)
    trainer.fit(Module(), loader(20), loader(8))
    url = trainer.log_dir
    assert url == f"{root}/logs/version_0"
    assert {name.split("/")[0].split(".")[0] for name in content(url)} == PARTS
    assert len([name for name in content(url) if name.endswith(".ckpt")]) == 5

    trainer.test(Module(), loader(8), verbose=False)

    run = brought(url, tmp_path / "brought")
    assert in_table(run)["test"] == [(10, 7.0)]
    assert [step for step, _ in in_table(run)["loss"]] == list(range(10))
    assert [step for step, _ in in_slow_loader(run)["loss"]] == list(range(10))
    assert yaml.safe_load((run / "hparams.yaml").read_text()) == {"lr": 0.1}
    index = pandas.read_csv(run / "media.csv")
    assert all((run / file).read_bytes().startswith(b"\x89PNG") for file in index["file"])
    assert index["step"].to_list() == list(range(10))
    assert differences(run) == []
    assert {name.split("/")[0] for name in content(f"{root}/logs")} == {"version_0"}


@goes_on_exactly
@PROTOCOLS
def test_a_run_is_resumed_from_a_checkpoint_there(tmp_path, protocol):
    """With ``version="auto"`` it goes on in its folder, and what lay beyond is in the backup there."""
    root = f"{protocol}://{tmp_path}/there"
    first = trainer_at(root)
    first.fit(Module(), loader(20), loader(8))
    url = first.log_dir
    table = content(url)["metrics.csv"]

    second = trainer_at(root)
    second.fit(Module(), loader(20), loader(8), ckpt_path=f"{url}/checkpoints/step=4.ckpt")

    assert second.log_dir == url
    first.logger.finalize("success")
    assert content(url)["metrics.csv"] == table
    run = brought(url, tmp_path / "brought")
    assert differences(run) == []
    assert [step for step, _ in in_table(run / "backup/1")["loss"]] == list(range(4, 10))
    assert trainer_at(root).logger.version == 1
