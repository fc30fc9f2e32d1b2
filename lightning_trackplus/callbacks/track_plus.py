"""The callback `TrackPlus`: attaches to a module and its loggers, passes on the Trainer's hooks, and detaches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast, get_args

from lightning_utilities.core.rank_zero import rank_zero_warn
from typing_extensions import override

from lightning_trackplus.callbacks.attach_loggers import AttachLoggers, Attachment, TrainerRun, part_of
from lightning_trackplus.callbacks.batch_samples import BatchSamples
from lightning_trackplus.lightning_internals import trainer_state
from lightning_trackplus.lightning_internals.shared_bases import MisconfigurationException
from lightning_trackplus.logger.track_plus_logger import loggers_want_callback, trackplus_loggers
from lightning_trackplus.media.selection import Selection
from lightning_trackplus.reducers.registry import Reduction
from lightning_trackplus.reducers.types import NanPolicy
from lightning_trackplus.routing.configured_reducers import ConfiguredReducers
from lightning_trackplus.routing.log_router import LogRouter
from lightning_trackplus.routing.stream_registry import StreamRegistry
from lightning_trackplus.runtime import distributed

if TYPE_CHECKING:
    import lightning.pytorch as pl
    from lightning.pytorch.callbacks import Callback


class TrackPlus(AttachLoggers):
    """Lets ``self.log`` take any reduction, a value for each sample, and media.

    While a Trainer runs, it receives the ``log`` calls of the module and of the other callbacks. Calls that Lightning
    accepts go to Lightning unchanged.

    Args:
        reducers: Reducers for logged names, in addition to what the module asks for: by the logged name, one reducer
            or a list, each by its name or as a `Reducer`. In the logged name, ``*`` stands for any characters and
            ``?`` for any one. A pattern applies to names that are logged many times per epoch, not to values that are
            logged once at its end. The result of ``"p95"`` is ``<name>_p95``, once an epoch; that of a series such as
            ``"ema"`` is logged in training steps.
        nan_policy: What NaN does to reducers that are given by name: ``"omit"`` leaves it out and warns once,
            ``"propagate"`` makes the result NaN, ``"raise"`` raises ValueError when the result is computed, at the end
            of the epoch or in the step.
        samples: How many samples of the module's inputs are logged, or which (``"sample8"``, ``"top8"``), by stage:
            ``"train"``, ``"val"``, ``"test"``. They are logged as ``<stage>/samples``: images of shape
            ``(N, C, H, W)``, strings, or audio of shape ``(N, C, T)`` if the module has a ``sample_rate``. The caption
            has the target, if the batch has one, and the prediction, if the step returns a dict with ``preds``.
            ``"top8"`` selects by the entry ``score`` of this dict.
        fast: Whether a ``self.log`` call like an earlier one skips Lightning's checks and updates its results directly.
            Results are the same. False passes every call to Lightning.

    Raises:
        MisconfigurationException: If a value of ``reducers`` is not a reducer, or one of ``samples`` not a selection.
        ValueError: If ``nan_policy`` is not one of the three.

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
            raise ValueError(f"TrackPlus got nan_policy={nan_policy!r}; expected 'omit', 'propagate' or 'raise'.")
        super().__init__()
        self._configured = ConfiguredReducers(reducers or {})
        self._nan_policy = nan_policy
        self._samples = BatchSamples(samples or {})
        self._is_fast = fast

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Attach.

        Raises:
            MisconfigurationException: If the Trainer has a second one.
        """
        if any(
            isinstance(callback, TrackPlus) and callback is not self for callback in trainer_state.callbacks_of(trainer)
        ):
            raise MisconfigurationException("The Trainer has two TrackPlus callbacks; expected one.")
        # The epoch-end hooks of all other callbacks find the results of the epoch.
        put_first(self, trainer)
        super().setup(trainer, pl_module, stage)
        tracked = self._tracked(trainer)
        tracked.is_alone = False
        run = tracked.current_run
        run.streams.attach(pl_module)
        run.router = LogRouter(
            pl_module,
            trainer,
            streams=run.streams,
            configured=self._configured,
            nan_policy=self._nan_policy,
            fast=self._is_fast,
        )

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin a training."""
        super().on_train_start(trainer, pl_module)
        if (router := self._router(trainer)) is not None:
            router.begin_training()

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin an epoch of training."""
        super().on_train_epoch_start(trainer, pl_module)
        if (router := self._router(trainer)) is not None:
            router.begin_epoch()

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the results of the training epoch."""
        self._end_epoch(trainer)

    @override
    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin a validation."""
        self._begin_evaluation(trainer)

    @override
    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Note which dataloader the batch is from."""
        self._begin_dataloader(trainer, dataloader_idx)

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
        """Log the results of the validation."""
        self._end_epoch(trainer)

    @override
    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin a test."""
        self._begin_evaluation(trainer)

    @override
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Deliver the results that Lightning has not asked for."""
        self._compute_pending(trainer)

    @override
    def on_test_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Note which dataloader the batch is from."""
        self._begin_dataloader(trainer, dataloader_idx)

    @override
    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the results of the test."""
        self._end_epoch(trainer)

    @override
    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Deliver the results that Lightning has not asked for, and say which configured names were never logged."""
        self._compute_pending(trainer)
        self._warn_of_unused(of_tests=True)

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Deliver the results that Lightning has not asked for."""
        self._compute_pending(trainer)

    @override
    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say which configured names were never logged."""
        self._warn_of_unused(of_tests=False)

    @override
    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Put the positions of the runs and the streams of training into a checkpoint; all processes must call it."""
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        tracked = self._tracked(trainer)
        with distributed.alone(tracked.is_alone or trainer.world_size == 1):
            part_of(checkpoint)["logged"] = tracked.streams.state_dict()

    @override
    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Continue the loggers' runs and the streams of training where the checkpoint was saved."""
        super().on_load_checkpoint(trainer, pl_module, checkpoint)
        logged = part_of(dict(checkpoint)).get("logged")
        # An evaluation of a checkpoint starts from zero.
        if logged is not None and trainer.state.fn == "fit":
            with distributed.alone(trainer.world_size == 1):
                self._tracked(trainer).streams.load_state_dict(logged)

    @override
    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Detach: Lightning does not call ``teardown`` after an exception."""
        # Other processes may not have failed, and would not answer.
        self._tracked(trainer).is_alone = True
        super().on_exception(trainer, pl_module, exception)

    def _begin_evaluation(self, trainer: pl.Trainer) -> None:
        if (router := self._router(trainer)) is not None:
            router.begin_evaluation()

    def _begin_dataloader(self, trainer: pl.Trainer, index: int) -> None:
        if (router := self._router(trainer)) is not None:
            router.reducers.begin_dataloader(index)

    def _warn_of_unused(self, *, of_tests: bool) -> None:
        """Warn of configured names that were never logged: those of tests, which a fit cannot know, or the others."""
        unused = [pattern for pattern in self._configured.unused() if pattern.startswith("test") == of_tests]
        if unused:
            rank_zero_warn(
                f"TrackPlus(reducers=…): nothing was logged under {', '.join(map(repr, unused))}, so these reducers"
                " show nothing; the names are those given to self.log, without '_step', '_epoch' or the dataloader."
            )

    def _compute_pending(self, trainer: pl.Trainer) -> None:
        if (router := self._router(trainer)) is not None:
            router.reducers.compute_pending()

    def _end_epoch(self, trainer: pl.Trainer) -> None:
        if (router := self._router(trainer)) is not None:
            router.end_epoch()

    def _router(self, trainer: pl.Trainer) -> LogRouter | None:
        """Return the router of the innermost run of a Trainer; None where none is running."""
        tracked = self._tracked(trainer)
        return tracked.current_run.router if tracked.runs else None

    def _tracked(self, trainer: pl.Trainer) -> _Tracked:
        return cast("_Tracked", self._attachment(trainer))

    @override
    def _make_attachment(self) -> Attachment:
        return _Tracked()


class _TrackedRun(TrainerRun):
    """A run with its streams and, once it is set up, its router."""

    def __init__(self, streams: StreamRegistry) -> None:
        super().__init__()
        self.streams = streams
        self.router: LogRouter | None = None

    @override
    def close(self) -> None:
        if self.router is not None:
            self.router.close()
            self.streams.detach()


class _Tracked(Attachment):
    """What `TrackPlus` keeps of one Trainer.

    Attributes:
        streams: What the Trainer's runs have logged in training, which goes into its checkpoints.
        is_alone: Whether other processes may not answer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.streams = StreamRegistry()
        self.is_alone = False

    @override
    def begin_run(self) -> None:
        # A run within another run of the same Trainer has nothing in common with it.
        self.runs.append(_TrackedRun(StreamRegistry() if self.runs else self.streams))

    @property
    def current_run(self) -> _TrackedRun:
        """The innermost run."""
        return cast("_TrackedRun", self.runs[-1])


class AddTrackPlus(AttachLoggers):
    """Gives a Trainer a `TrackPlus` if it has a `TrackPlusLogger` and no `TrackPlus`.

    The package adds one to each Trainer while there is a `TrackPlusLogger`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._is_wanted = loggers_want_callback()

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Give it one, unless the loggers want none; then attach the loggers alone."""
        loggers = trackplus_loggers(trainer)
        callbacks = trainer_state.callbacks_of(trainer)
        if self not in callbacks or any(isinstance(one, TrackPlus) for one in callbacks):
            return
        # In a `fast_dev_run` Lightning has taken away the loggers that the Trainer was made with.
        has_lost_loggers = trainer_state.is_fast_dev_run(trainer) and bool(trainer.loggers)
        if any(logger.adds_callback for logger in loggers) or (has_lost_loggers and self._is_wanted):
            TrackPlus().setup(trainer, pl_module, stage)
        elif loggers:
            put_first(self, trainer)
            super().setup(trainer, pl_module, stage)


def put_first(callback: Callback, trainer: pl.Trainer) -> None:
    """Put a callback before all others of a Trainer, in the place of one that the package has added."""
    others = [
        one for one in trainer_state.callbacks_of(trainer) if one is not callback and not isinstance(one, AddTrackPlus)
    ]
    trainer.callbacks = [callback, *others]  # type: ignore[attr-defined]
