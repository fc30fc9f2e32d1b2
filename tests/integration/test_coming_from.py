"""What the pages for users of TensorBoardLogger and WandbLogger claim, beyond the code that they run."""

from __future__ import annotations

import pytest
import torch

from lightning_trackplus import TrackPlus, TrackPlusLogger, read_run
from tests.flavour.fabric.utilities.exceptions import MisconfigurationException
from tests.flavour.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from tests.flavour.pytorch.loggers import TensorBoardLogger
from tests.support.training import LoggingModule, loader, quiet_trainer


def log_list(module, batch, _):
    module.log("val/loss", batch[:, 0], reduce_fx=["mean", "p95"])


class Scheduled(LoggingModule):
    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "val/loss"}}


@pytest.mark.parametrize(
    ("module", "callbacks", "error"),
    [
        (LoggingModule, lambda root: [ModelCheckpoint(root, monitor="val/loss")], MisconfigurationException),
        (LoggingModule, lambda _: [EarlyStopping("val/loss")], RuntimeError),
        (Scheduled, lambda _: [], MisconfigurationException),
    ],
    ids=["checkpoint", "early stopping", "scheduler"],
)
def test_a_monitor_of_the_name_without_suffix_raises_an_error_that_lists_the_names(tmp_path, module, callbacks, error):
    callbacks = [TrackPlus(), *callbacks(tmp_path)]
    saves = any(isinstance(one, ModelCheckpoint) for one in callbacks)
    trainer = quiet_trainer(tmp_path, callbacks=callbacks, enable_checkpointing=saves)
    with pytest.raises(error, match=r"val/loss_mean.*val/loss_p95"):
        trainer.fit(module(validation_step=log_list), loader(), loader())


@pytest.mark.parametrize(
    ("reduction", "names"),
    [
        ({}, {"val/loss"}),
        ({"reduce_fx": "p95"}, {"val/loss"}),
        ({"reduce_fx": ["mean", "p95"]}, {"val/loss_mean", "val/loss_p95"}),
        ({"reduce_fx": ["p95"]}, {"val/loss_p95"}),
    ],
    ids=["none", "one", "a list", "a list of one"],
)
def test_only_a_list_renames_a_metric(tmp_path, reduction, names):
    def log(module, batch, _):
        module.log("val/loss", batch[:, 0], **reduction)

    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()])
    trainer.validate(LoggingModule(validation_step=log), loader(), verbose=False)
    assert trainer.callback_metrics.keys() == names


def test_lightning_alone_raises_an_error_for_a_vector(tmp_path):
    module = LoggingModule(validation_step=lambda module, batch, _: module.log("val/loss", batch[:, 0]))
    with pytest.raises(ValueError, match="single element"):
        quiet_trainer(tmp_path).validate(module, loader(), verbose=False)


@pytest.mark.parametrize("option", ["max_queue", "comment", "purge_step", "filename_suffix", "project", "id"])
def test_options_that_the_pages_call_missing_are_missing(option):
    with pytest.raises(TypeError, match=option):
        TrackPlusLogger(**{option: 1})


@pytest.mark.parametrize("method", ["use_artifact", "download_artifact"])
def test_methods_that_the_pages_call_missing_are_missing(method):
    assert not hasattr(TrackPlusLogger, method)


def test_a_run_of_tensor_board_logger_that_is_continued_has_only_new_numbers_in_the_csv(tmp_path):
    module = LoggingModule(training_step=lambda module, *_: module.log("loss", 1.0))
    old = TensorBoardLogger(tmp_path, name="a")
    quiet_trainer(tmp_path, logger=old).fit(module, loader())
    assert read_run(old.log_dir).metrics["loss"].tolist() == [1.0] * 3
    new = TrackPlusLogger(tmp_path, name="a", version=old.version)
    new.log_metrics({"loss": 2.0}, step=3)
    new.finalize("success")
    assert new.log_dir == old.log_dir
    assert read_run(new.log_dir).metrics["loss"].tolist() == [2.0]


def test_a_checkpoint_can_be_loaded_without_the_package(tmp_path):
    """Lightning alone continues at the checkpoint."""
    module = LoggingModule(
        training_step=lambda module, batch, _: module.log("loss", batch[:, 0], reduce_fx="p95", on_epoch=True)
    )
    quiet_trainer(
        tmp_path, callbacks=[TrackPlus(), ModelCheckpoint(tmp_path, filename="a")], enable_checkpointing=True
    ).fit(module, loader())
    plain = quiet_trainer(tmp_path, max_epochs=2)
    plain.fit(LoggingModule(), loader(), ckpt_path=tmp_path / "a.ckpt")
    assert (plain.current_epoch, plain.global_step) == (2, 6)


def test_a_wandb_image_is_for_log_image_and_not_for_self_log(tmp_path):
    wandb = pytest.importorskip("wandb")
    image = wandb.Image(torch.rand(8, 8, 3).numpy(), caption="a")
    module = LoggingModule(validation_step=lambda module, *_: module.log("val/image", image))
    logger = TrackPlusLogger(tmp_path)
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=logger)
    with pytest.raises(ValueError, match="`Image` values cannot be logged"):
        trainer.validate(module, loader(), verbose=False)
    logger.log_image("val/image", [image], step=0)
    logger.finalize("success")
    assert [(one.kind, one.caption) for one in read_run(logger.log_dir).media] == [("image", "a")]
