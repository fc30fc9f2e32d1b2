"""Connects TrackPlusLoggers with their Trainer."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from lightning_trackplus.formats.layout import FORMAT
from lightning_trackplus.lightning_internals import trainer_state
from lightning_trackplus.lightning_internals.flavours import flavour_of
from lightning_trackplus.lightning_internals.running_trainers import failed_run_id, run_id
from lightning_trackplus.lightning_internals.shared_bases import Callback
from lightning_trackplus.logger.track_plus_logger import trackplus_loggers

if TYPE_CHECKING:
    import lightning.pytorch as pl

CHECKPOINT_KEY = "lightning_trackplus"
"""The key under which a checkpoint holds the state of this package."""


class RunPositions:
    """Continues the runs of a Trainer's loggers where a checkpoint was saved.

    All that a run logs until the next batch or epoch of training begins belongs to a checkpoint.
    """

    def __init__(self) -> None:
        self._has_saved = False
        self._is_resuming = False

    def save(self, trainer: pl.Trainer) -> dict[str, Any]:
        """Return where the runs are, by run, for a checkpoint that is being saved."""
        runs = dict(filter(None, [logger.before_checkpoint() for logger in trackplus_loggers(trainer)]))
        self._has_saved |= bool(runs)
        return runs

    def load(self, trainer: pl.Trainer, runs: dict[str, Any]) -> None:
        """Move what the runs have beyond a checkpoint into a backup.

        That is done before anything is logged. If the checkpoint has no position, `begin_training` does it, once the
        Trainer knows its step.
        """
        for logger in trackplus_loggers(trainer):
            self._is_resuming |= bool(logger.rewind(runs))

    def begin_training(self, trainer: pl.Trainer) -> None:
        """Where a training is resumed from a checkpoint that does not say what belongs to it, go back to its step."""
        self._has_saved = True  # A checkpoint may have been saved in an earlier run, with other callbacks.
        if trainer.ckpt_path is not None:
            for logger in trackplus_loggers(trainer):
                logger.rewind_to_step(trainer_state.first_step(trainer))

    def begin_epoch(self, trainer: pl.Trainer) -> None:
        """End what belongs to the saved checkpoints."""
        if self._has_saved:
            self._has_saved = False
            for logger in trackplus_loggers(trainer):
                logger.begin_batch()

    def begin_batch(self, trainer: pl.Trainer) -> None:
        """End what belongs to the saved checkpoints, and what a resumed run logs a second time."""
        if self._has_saved:
            self.begin_epoch(trainer)
        if self._is_resuming:
            self._is_resuming = False
            for logger in trackplus_loggers(trainer):
                logger.end_resuming()


class TrainerRun:
    """One run of a Trainer, such as a ``fit``."""

    def __init__(self) -> None:
        self.id = run_id()

    def close(self) -> None:
        """Undo what was done to the module and the Trainer for this run."""


class Attachment:
    """What a callback keeps of one Trainer.

    Attributes:
        positions: Where the runs of the loggers are.
        runs: The runs of the Trainer; one can begin within another, as a test in ``on_train_end``.
    """

    def __init__(self) -> None:
        self.positions = RunPositions()
        self.runs: list[TrainerRun] = []

    def begin_run(self) -> None:
        """Begin a run of the Trainer."""
        self.runs.append(TrainerRun())


class AttachLoggers(Callback):
    """Connects TrackPlusLoggers to a Trainer, and continues their runs from its checkpoints.

    One object can serve several Trainers, including nested ones.
    """

    attaches_loggers = True
    """A logger looks for this attribute."""

    def __init__(self) -> None:
        self._attachments: weakref.WeakKeyDictionary[pl.Trainer, Attachment] = weakref.WeakKeyDictionary()

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Attach.

        Raises:
            TypeError: If the Trainer is of none of the packages that are supported.
        """
        flavour_of(trainer)
        self._attachment(trainer).begin_run()
        for logger in trackplus_loggers(trainer):
            logger.attach(trainer)

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Continue at the Trainer's step if the checkpoint has no exact position."""
        self._attachment(trainer).positions.begin_training(trainer)

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End what belongs to the saved checkpoints."""
        self._attachment(trainer).positions.begin_epoch(trainer)

    @override
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """End what belongs to the saved checkpoints."""
        self._attachment(trainer).positions.begin_batch(trainer)

    @override
    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Put into a checkpoint where the runs are."""
        if runs := self._attachment(trainer).positions.save(trainer):
            part_of(checkpoint)["runs"] = runs

    @override
    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """In a resumed training, continue the runs where the checkpoint was saved.

        Raises:
            ValueError: If it was saved by a later version, in a format that this one does not know.
        """
        found = part_of(dict(checkpoint))
        if found["format"] != FORMAT:
            raise ValueError(
                "The checkpoint was saved by a later version of lightning-trackplus, in the format"
                f" {found['format']!r}; this version knows the format {FORMAT}. Update lightning-trackplus."
            )
        if trainer.state.fn == "fit":
            self._attachment(trainer).positions.load(trainer, found.get("runs", {}))

    @override
    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Detach."""
        self._end(trainer)

    @override
    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Detach: Lightning does not call ``teardown`` after an exception."""
        # A run that failed before its setup was not attached.
        if (runs := self._attachment(trainer).runs) and runs[-1].id == failed_run_id(exception):
            self._end(trainer)

    def _end(self, trainer: pl.Trainer) -> None:
        if runs := self._attachment(trainer).runs:
            runs.pop().close()
            for logger in trackplus_loggers(trainer):
                logger.detach(trainer)

    def _attachment(self, trainer: pl.Trainer) -> Attachment:
        return self._attachments.setdefault(trainer, self._make_attachment())

    def _make_attachment(self) -> Attachment:
        return Attachment()

    def __getstate__(self) -> dict[str, Any]:
        """Leave behind what belongs to Trainers of this process."""
        return {**self.__dict__, "_attachments": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _attachments=weakref.WeakKeyDictionary())


def part_of(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return this package's part of a checkpoint, which at first says its format alone."""
    part: dict[str, Any] = checkpoint.setdefault(CHECKPOINT_KEY, {"format": FORMAT})
    return part
