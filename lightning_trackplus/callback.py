"""TrackPlus: attaches to a module and its loggers, says when epochs begin and end, and detaches."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any, get_args

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.rank_zero import WarningCache, rank_zero_warn
from typing_extensions import override

from lightning_trackplus.attachment import RunPositions, attach_loggers, put_first
from lightning_trackplus.interception import Door
from lightning_trackplus.lanes.batch_samples import BatchSamples
from lightning_trackplus.lanes.configured import ConfiguredReducers
from lightning_trackplus.lanes.streams import Streams
from lightning_trackplus.media.selection import Selection
from lightning_trackplus.reducers.names import Reduction
from lightning_trackplus.reducers.samples import NanPolicy
from lightning_trackplus.seam.fast_results import is_as_mirrored

warning_cache = WarningCache()


class TrackPlus(Callback):
    """Lets ``self.log`` take any reduction, a value for each sample, and media.

    While a Trainer runs, it stands in the ``log`` of the module and of the other callbacks. Calls that
    Lightning takes go to Lightning unchanged.

    Args:
        reducers: Reducers for logged names beside what the module asks for, which they leave as it is:
            names or reducers, one or a list, by the logged name. In the name, ``*`` and ``?`` stand for
            any characters and for any one; such a pattern means what is logged as values over an epoch. The
            result of ``"p95"`` shows as ``<name>_p95``, once an epoch; that of a series such as ``"ema"`` in
            training steps.
        nan_policy: What NaN does to reducers that are asked for by name: ``"omit"`` leaves it out and says
            so once, ``"propagate"`` makes the result NaN, ``"raise"`` raises ValueError where the result is
            asked for: at the end of the epoch, or in the step.
        samples: How many inputs of a batch's samples are logged, or which (``"sample8"``, ``"top8"``), by
            stage: ``"train"``, ``"val"``, ``"test"``. They show as ``<stage>/samples``, with the target and
            the prediction of each as its caption where a batch has targets and the step returns predictions,
            in a dict, as ``preds``; with scores as ``score``. They are images of shape ``(N, C, H, W)``,
            strings, or sounds of shape ``(N, C, T)`` of a module that has a ``sample_rate``.
        fast: Whether a call of ``self.log`` that Lightning has taken once goes past its checks from then on,
            straight to what it keeps. Results are the same; False leaves every call to Lightning.

    Raises:
        MisconfigurationException: If something in ``reducers`` is none, or in ``samples`` no selection.
        ValueError: If ``nan_policy`` is none of the three.

    Examples:
        >>> import lightning as L
        >>> from lightning_trackplus import TrackPlus, TrackPlusLogger
        >>> track = TrackPlus(reducers={"val/*": ["median", "p95"], "train/loss": "ema"})
        >>> trainer = L.Trainer(callbacks=[track], logger=TrackPlusLogger(), max_epochs=1)
    """

    def __init__(
        self,
        reducers: Mapping[str, Reduction] | None = None,
        nan_policy: NanPolicy = "omit",
        samples: Mapping[str, int | str | Selection] | None = None,
        *,
        fast: bool = True,
    ) -> None:
        if nan_policy not in get_args(NanPolicy):
            raise ValueError(f"TrackPlus got nan_policy={nan_policy!r}; give 'omit', 'propagate' or 'raise'.")
        self._configured = ConfiguredReducers(reducers or {})
        self._nan_policy = nan_policy
        self._samples = BatchSamples(samples or {})
        self._is_fast = fast
        self._streams = Streams()
        self._positions = RunPositions()
        self._door: Door | None = None
        self._trainer: Callable[[], pl.Trainer | None] = _no_trainer
        self._stage = ""
        self._is_alone = False

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Attach."""
        # The results of an epoch are there for the epoch-end hooks of all others.
        put_first(self, trainer)
        attach_loggers(trainer)
        self._is_alone = False
        self._stage = stage
        # Another Trainer begins with other steps, of which those of the last know nothing.
        self._streams.attach(pl_module, anew=self._trainer() is not trainer)
        self._trainer = weakref.ref(trainer)
        self._door = Door(
            pl_module,
            trainer,
            streams=self._streams,
            configured=self._configured,
            nan_policy=self._nan_policy,
            fast=self._is_fast and _fits_this_lightning(),
        )
        self._door.open()

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin a training."""
        self._positions.begin_training(trainer)
        if self._door is not None:
            self._door.begin_training()

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin an epoch of training."""
        self._positions.begin_epoch(trainer)
        if self._door is not None:
            self._door.begin_epoch()

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log what the training epoch has gathered."""
        self._end_epoch()

    @override
    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin a validation."""
        self._begin_evaluation()

    @override
    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Note which dataloader the batch is from."""
        self._begin_dataloader(dataloader_idx)

    @override
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Let what comes belong to no checkpoint that was saved."""
        self._positions.begin_batch(trainer)

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log samples of the batch."""
        self._samples.log(pl_module, "train", batch, outputs)

    @override
    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Log samples of the batch."""
        self._samples.log(pl_module, "val", batch, outputs)

    @override
    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Log samples of the batch."""
        self._samples.log(pl_module, "test", batch, outputs)

    @override
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log what the validation has gathered."""
        self._end_epoch()

    @override
    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin a test."""
        self._begin_evaluation()

    @override
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Deliver what Lightning has not asked for."""
        self._end_late()

    @override
    def on_test_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Note which dataloader the batch is from."""
        self._begin_dataloader(dataloader_idx)

    @override
    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log what the test has gathered."""
        self._end_epoch()

    @override
    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Deliver what Lightning has not asked for."""
        self._end_late()

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Deliver what Lightning has not asked for."""
        self._end_late()

    @override
    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say which configured names were never logged."""
        if unused := self._configured.unused():
            rank_zero_warn(
                f"TrackPlus(reducers=…): nothing was logged under {', '.join(map(repr, unused))}, so these reducers"
                " show nothing; the names are those given to self.log, without '_step', '_epoch' or the dataloader."
            )

    @override
    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Put into the checkpoint where the runs are."""
        self._positions.save(trainer, checkpoint)

    @override
    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Let the loggers go on where the checkpoint was."""
        self._positions.load(trainer, checkpoint)

    @override
    def state_dict(self) -> dict[str, Any]:
        """Return what training has logged; with several processes, each has to call it."""
        return self._streams.state_dict(alone=self._is_alone)

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint; an evaluation of it goes on with nothing."""
        if self._stage == "fit":
            self._streams.load_state_dict(state_dict)

    @override
    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Detach."""
        self._detach()

    @override
    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Detach: Lightning does not call ``teardown`` after an exception."""
        # Other processes may not have failed, and would not answer.
        self._is_alone = True
        self._detach()

    def _begin_evaluation(self) -> None:
        if self._door is not None:
            self._door.begin_evaluation()

    def _begin_dataloader(self, index: int) -> None:
        if self._door is not None:
            self._door.reducers.begin_dataloader(index)

    def _end_late(self) -> None:
        if self._door is not None:
            self._door.reducers.end_late()

    def _end_epoch(self) -> None:
        if self._door is not None:
            self._door.end_epoch()

    def _detach(self) -> None:
        if self._door is not None:
            self._door.close()
            self._door = None
            self._streams.detach()

    def __getstate__(self) -> dict[str, object]:
        """Leave behind what belongs to the run that is under way."""
        return {**self.__dict__, "_door": None, "_trainer": _no_trainer}


def _fits_this_lightning() -> bool:
    """Return whether the fast lane can be open; where it cannot, that is said once."""
    if is_as_mirrored():
        return True
    warning_cache.warn(
        "This version of Lightning keeps what is logged in another way than the fast lane of lightning-trackplus knows,"
        " so every call of self.log goes to Lightning itself: the results are the same, at Lightning's own cost."
    )
    return False


def _no_trainer() -> None:
    """Stand for a reference to the Trainer where there was none yet."""
