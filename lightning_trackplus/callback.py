"""TrackPlus: attaches to a module and its loggers, says when epochs begin and end, and detaches."""

from __future__ import annotations

import lightning.pytorch as pl
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback
from typing_extensions import override

from lightning_trackplus.attachment import attach_loggers
from lightning_trackplus.interception import Door


class TrackPlus(Callback):
    """Lets ``self.log`` take any reduction, a value for each sample, and media.

    While a Trainer runs, it stands in the ``log`` of the module and of the other callbacks. Calls that
    Lightning takes go to Lightning unchanged.

    Raises:
        MisconfigurationException: When the Trainer starts, if it has two of them.

    Examples:
        >>> import lightning as L
        >>> from lightning_trackplus import TrackPlus, TrackPlusLogger
        >>> trainer = L.Trainer(callbacks=[TrackPlus()], logger=TrackPlusLogger(), max_epochs=1)
    """

    def __init__(self) -> None:
        self._door: Door | None = None

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Attach."""
        callbacks = trainer.callbacks  # type: ignore[attr-defined]  # Lightning sets it elsewhere
        count = sum(isinstance(callback, TrackPlus) for callback in callbacks)
        if count > 1:
            raise MisconfigurationException(
                f"The Trainer has {count} TrackPlus callbacks and needs one; take the others out. With LightningCLI,"
                " look into trainer.callbacks of the YAML, trainer_defaults, and the module's configure_callbacks."
            )
        attach_loggers(trainer)
        self._door = Door(pl_module, trainer)
        self._door.open()

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to keep media for the end of the training epoch."""
        self._begin_epoch()

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Deliver the media kept in the training epoch."""
        self._end_epoch()

    @override
    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to keep media for the end of the validation."""
        self._begin_epoch()

    @override
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Deliver the media kept in the validation."""
        self._end_epoch()

    @override
    def on_test_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to keep media for the end of the test."""
        self._begin_epoch()

    @override
    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Deliver the media kept in the test."""
        self._end_epoch()

    @override
    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Detach."""
        self._detach()

    @override
    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Detach: Lightning does not call ``teardown`` after an exception."""
        self._detach()

    def _begin_epoch(self) -> None:
        if self._door is not None:
            self._door.media.begin_epoch()

    def _end_epoch(self) -> None:
        if self._door is not None:
            self._door.media.end_epoch()

    def _detach(self) -> None:
        if self._door is not None:
            self._door.close()
            self._door = None

    def __getstate__(self) -> dict[str, object]:
        """Leave the door behind: it belongs to the run that is under way."""
        return {**self.__dict__, "_door": None}
