"""The Trainer as it is now: its hook, its loop and its steps, and what its callbacks log with."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lightning_trackplus.lightning_internals.entry_sites import plain_batch_size
from lightning_trackplus.lightning_internals.flavours import flavour_of

if TYPE_CHECKING:
    import lightning.pytorch as pl

_EVALUATION = ("validation", "test", "on_validation", "on_test")
_TRANSFER_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


def has_parts_of_gradients(trainer: pl.Trainer) -> bool:
    """Return whether no process has the gradients as a whole, under the strategy of a Trainer."""
    home = flavour_of(trainer).pytorch("strategies")
    return isinstance(trainer.strategy, home.DeepSpeedStrategy | home.FSDPStrategy | home.ModelParallelStrategy)


def launches_processes(trainer: pl.Trainer) -> bool:
    """Return whether each run of a Trainer starts processes of its own, as with ``ddp_spawn`` and ``ddp_fork``.

    Mirrors ``_MultiProcessingLauncher`` in ``strategies/launchers/multiprocessing.py``.
    """
    home = flavour_of(trainer).pytorch("strategies.launchers.multiprocessing")
    return isinstance(trainer.strategy.launcher, home._MultiProcessingLauncher)


def hook_name(module: pl.LightningModule) -> str | None:
    """Return the hook that the Trainer runs now, such as ``validation_step``; None outside of one.

    Mirrors ``trainer/call.py``, ``_call_lightning_module_hook``, which sets it.
    """
    return module._current_fx_name


def is_training(module: pl.LightningModule) -> bool:
    """Return whether the hook that runs now is one of training; the Trainer does not say so where somebody runs a loop.

    Mirrors the names of hooks in ``_FxValidator.functions`` in ``logger_connector/fx_validator.py``.
    """
    return not is_of_evaluation(hook_name(module))


def is_of_evaluation(hook: str | None) -> bool:
    """Return whether a hook is one of validation or test."""
    return str(hook).startswith(_EVALUATION)


def _validator(trainer: pl.Trainer) -> Any:
    """Return Lightning's class that knows what hooks may log."""
    return flavour_of(trainer).pytorch("trainer.connectors.logger_connector.fx_validator")._FxValidator


def may_log_in_steps(trainer: pl.Trainer, hook: str) -> bool:
    """Return whether a hook may log with ``on_step=True``.

    Mirrors ``_FxValidator.check_logging_levels`` in ``logger_connector/fx_validator.py``.
    """
    allowed = _validator(trainer).functions.get(hook)
    return allowed is not None and True in allowed["allowed_on_step"]


class LoopPosition:
    """Where the Trainer is: its active loop, looked up once, since that takes long.

    Mirrors ``Trainer._results`` and ``Trainer._active_loop`` in ``trainer/trainer.py``. Of one run, each hook
    belongs to one loop.
    """

    def __init__(self, trainer: pl.Trainer) -> None:
        self.is_training = trainer.training
        self._trainer = trainer
        self._results = trainer._results
        loop = trainer._active_loop
        self._training = trainer.fit_loop.epoch_loop
        self._progress = getattr(loop, "batch_progress", None)  # The fitting loop has it further down.

    @property
    def is_present(self) -> bool:
        """Whether the Trainer is in the same loop as it was then."""
        return self._results is self._trainer._results and self.is_training == self._trainer.training

    @property
    def dataloader(self) -> int | None:
        """Which of several evaluation dataloaders runs now; None where there is one.

        Mirrors ``_ResultCollection.log`` in ``logger_connector/result.py``.
        """
        return None if self._results is None else self._results.dataloader_idx

    @property
    def step(self) -> int:
        """The step on the loggers' axis in training, and the index of the batch in an evaluation.

        Mirrors ``_LoggerConnector.log_metrics``, and ``_EvaluationLoop._evaluation_step``, which counts batches.
        """
        if self.is_training or self._progress is None:
            return self._training._batches_that_stepped
        return max(int(self._progress.current.ready) - 1, 0)

    def batch_size(self, given: int | None) -> int:
        """Return what a scalar logged now counts: the given batch size, else that of the current batch.

        Mirrors ``_ResultCollection._extract_batch_size`` in ``logger_connector/result.py``, which keeps
        the size it found for the rest of the batch.

        Raises:
            MisconfigurationException: Lightning's own, if the batch does not tell its size.
        """
        results = self._results
        if given is not None or results is None or results.batch is None:
            return 1 if given is None else given
        if results.batch_size is None:
            results.batch_size = plain_batch_size(results.batch) or self._extract_batch_size(results.batch)
        return results.batch_size

    def _extract_batch_size(self, batch: Any) -> int:
        size: int = flavour_of(self._trainer).pytorch("utilities.data").extract_batch_size(batch)
        return size


def check_levels(trainer: pl.Trainer, hook: str, on_step: bool | None, on_epoch: bool | None) -> tuple[bool, bool]:
    """Return ``on_step`` and ``on_epoch`` with the hook's defaults filled in.

    Mirrors ``LightningModule.log`` in ``core/module.py``.

    Raises:
        MisconfigurationException: Lightning's own, if the hook may not log at all or not so.
    """
    levels: tuple[bool, bool] = _validator(trainer).check_logging_and_get_default_levels(
        hook, on_step=on_step, on_epoch=on_epoch
    )
    return levels


def fetches_batches(trainer: pl.Trainer, step: Callable[..., Any]) -> bool:
    """Return whether a step takes the batches from Lightning's iterator itself.

    Mirrors ``_verify_dataloader_iter`` … in ``loops/fetchers.py``, which asks the same function.
    """
    asks = flavour_of(trainer).pytorch("utilities.signature_utils").is_param_in_hook_signature
    return bool(asks(step, "dataloader_iter", explicit=True))


def logs_this_step(trainer: pl.Trainer) -> bool:
    """Return whether Lightning hands the metrics of the current training batch to the loggers.

    Mirrors ``_LoggerConnector.update_train_step_metrics`` in ``logger_connector/logger_connector.py``.
    """
    if trainer.fit_loop._should_accumulate() and trainer.lightning_module.automatic_optimization:
        return False
    return trainer._logger_connector.should_update_logs or is_fast_dev_run(trainer)


def first_step(trainer: pl.Trainer) -> int:
    """Return the step under which the first training batch is going to be logged; for ``on_train_start``.

    Mirrors ``_TrainingEpochLoop.reset`` in ``loops/training_epoch_loop.py``, which counts the last batch of a
    checkpoint that was saved before it was counted, and ``advance``, which leaves the training out where a validation
    is to be done or skipped first: ``on_advance_end`` counts that as a batch. Lightning 2.4 does the latter alone.
    """
    loop = trainer.fit_loop.epoch_loop
    step = loop._batches_that_stepped
    if not loop.restarting:
        return step
    if not getattr(loop, "restarted_on_last", True):
        return step if loop._should_accumulate() else step + 1
    progress = loop.batch_progress.current
    # `reset` takes back a batch that was begun and not completed.
    ready, progress.ready = progress.ready, progress.completed
    try:
        assert trainer.fit_loop._data_fetcher is not None  # noqa: S101  it is there before training starts
        begins_with_validation = loop._should_check_val_fx(trainer.fit_loop._data_fetcher)
        return step + 1 if begins_with_validation and not loop._should_accumulate() else step
    finally:
        progress.ready = ready


def trainer_of(module: pl.LightningModule) -> Any:
    """Return the Trainer that runs a module now, to which its ``log`` goes; None where there is none.

    Mirrors ``LightningModule.log`` in ``core/module.py``.
    """
    return module._trainer


@contextlib.contextmanager
def run_by(module: pl.LightningModule, trainer: pl.Trainer) -> Iterator[None]:
    """Let a module be run by a Trainer, where one that ran within it has left itself.

    Mirrors ``_call_and_handle_interrupt`` and ``Trainer._run``, which set it and do not set it back.
    """
    present, module._trainer = module._trainer, trainer
    try:
        yield
    finally:
        module._trainer = present


class _Hooks:
    """Stands for the hook that has logged last, and equals each of several."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, names: Iterable[str | None]) -> None:
        self.names = set(names)

    def __eq__(self, other: object) -> bool:
        return other in self.names


@contextlib.contextmanager
def logging_within(trainer: pl.Trainer, hook: str, *, again: bool) -> Iterator[None]:
    """Let a hook log within another one, such as ``training_step``, so that neither loses what it has logged.

    Mirrors ``_LoggerConnector.should_reset_tensors`` in ``logger_connector/logger_connector.py``: in the first batch of
    an epoch, Lightning resets the values of a hook that logs where another one has logged last.

    Args:
        trainer: The Trainer.
        hook: The hook that logs now.
        again: Whether it has logged in this batch.
    """
    connector: Any = trainer._logger_connector
    if not connector._first_loop_iter:
        yield
        return
    last = connector._current_fx
    hooks = _Hooks({*(last.names if isinstance(last, _Hooks) else {last}), hook})
    if again:
        connector._current_fx = hooks
    yield
    connector._current_fx = hooks


def callbacks_of(trainer: pl.Trainer) -> list[Any]:
    """Return the callbacks of a Trainer, an attribute that it sets elsewhere."""
    callbacks: list[Any] = vars(trainer)["callbacks"]
    return callbacks


def set_callbacks_log(trainer: pl.Trainer, log: Callable[..., None]) -> list[Any]:
    """Set what the callbacks' own ``log`` is, which Lightning has set to the module's before any hook ran.

    Mirrors ``_CallbackConnector._attach_model_logging_functions`` in ``connectors/callback_connector.py``.

    Returns:
        The callbacks.
    """
    for callback in callbacks_of(trainer):
        callback.log = log
    return callbacks_of(trainer)


def restore_log(callbacks: Sequence[Any], log: Callable[..., None], native: Callable[..., None]) -> None:
    """Set the ``log`` of callbacks that have this one to Lightning's own."""
    for callback in callbacks:
        if vars(callback).get("log") is log:
            callback.log = native


def is_fast_dev_run(trainer: pl.Trainer) -> bool:
    """Return whether the Trainer runs a few batches alone, with all loggers off; an attribute it sets late."""
    return bool(vars(trainer).get("fast_dev_run"))


def hands_over_a_batch(trainer: pl.Trainer) -> bool:
    """Return whether a Trainer is giving the loggers what a batch of an evaluation has logged.

    Mirrors ``_EvaluationLoop._evaluation_step`` in ``loops/evaluation_loop.py``, which does so between two batches,
    when it has counted the first as completed. Of a module's hooks, only those that transfer a batch run there.
    """
    if trainer._logger_connector._first_loop_iter is None or not trainer.evaluating:
        return False
    progress = trainer._evaluation_loop.batch_progress.current
    return progress.ready == progress.completed > 0 and hook_name(trainer.lightning_module) not in _TRANSFER_HOOKS


def training_step(trainer: pl.Trainer) -> int:
    """Return the step of training on the loggers' axis.

    Mirrors ``_LoggerConnector.log_metrics`` in ``logger_connector/logger_connector.py``.
    """
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def logged_step(trainer: pl.Trainer) -> int:
    """Return the step under which Lightning hands the metrics of now to the loggers.

    Mirrors ``_LoggerConnector.log_metrics``, and ``_FitLoop.on_advance_end`` in ``loops/fit_loop.py``,
    which takes one off for what a training epoch logs at its end.
    """
    step = trainer.fit_loop.epoch_loop._batches_that_stepped
    # The cheaper question first: this is asked with each medium.
    at_training_epoch_end = trainer._logger_connector._first_loop_iter is None and trainer.training
    return step - 1 if at_training_epoch_end and step > 0 else step
