"""The ``config.yaml`` that LightningCLI saves into a run directory."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

from lightning_trackplus.lightning_internals import trainer_state
from lightning_trackplus.lightning_internals.flavours import flavour_of

if TYPE_CHECKING:
    import lightning.pytorch as pl


def save_beside(trainer: pl.Trainer, directory: str) -> None:
    """Let LightningCLI save its config beside that of an earlier session, as ``config_1.yaml``, instead of refusing."""
    get_filesystem = flavour_of(trainer).fabric("utilities.cloud_io").get_filesystem
    for callback in trainer_state.callbacks_of(trainer):
        # By name, so that LightningCLI is not loaded where nobody uses it.
        is_cli = any(kind.__name__ == "SaveConfigCallback" for kind in type(callback).__mro__)
        if not is_cli or callback.already_saved or callback.overwrite:
            continue
        filesystem, (stem, suffix) = get_filesystem(directory), os.path.splitext(callback.config_filename)
        for number in itertools.count(1):
            if not filesystem.isfile(os.path.join(directory, callback.config_filename)):
                break
            callback.config_filename = f"{stem}_{number}{suffix}"
