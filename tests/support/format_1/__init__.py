"""A run of the format 1 of run directories, as the version that introduced it wrote it, and the training it is of."""

from __future__ import annotations

from pathlib import Path

import torch

from lightning_trackplus import TrackPlus, TrackPlusLogger
from tests.flavour.pytorch.callbacks import Callback
from tests.support.training import LoggingModule, loader, quiet_trainer

RUN = Path(__file__).parent / "run"


class Save(Callback):
    """Saves a checkpoint at the end of the first epoch."""

    def on_train_epoch_end(self, trainer, module):
        if trainer.current_epoch == 0:
            trainer.save_checkpoint(Path(trainer.log_dir, "checkpoints", "first.ckpt"))


def fit(root, epochs, **options):
    """Train in the run of a root."""
    module = LoggingModule(
        training_step=lambda m, b, i: m.log("loss", m.global_step / 8),
        validation_step=lambda m, b, i: m.log("val", m.current_epoch + i / 8, on_step=True, on_epoch=True),
        on_validation_epoch_end=lambda m, b, i: m.logger.log_image(
            "image", [torch.full((3, 2, 2), m.current_epoch / 4)], step=m.global_step, caption=["a, b"]
        ),
    )
    logger = TrackPlusLogger(root, name="", version="run")
    trainer = quiet_trainer(
        root, callbacks=[TrackPlus(), Save()], logger=logger, max_epochs=epochs, num_sanity_val_steps=0
    )
    trainer.fit(module, loader(8), loader(8), **options)
