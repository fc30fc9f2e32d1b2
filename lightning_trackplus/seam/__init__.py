"""Every private name of Lightning and torchmetrics that this package touches, one small function each.

Each function says which line of Lightning it mirrors, and has a contract test in
``tests/seam/test_contract.py`` that fails first when Lightning moves. No file outside of this folder names these.

The lines are those of Lightning 2.6.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning_utilities.core.rank_zero import rank_zero_warn

from lightning_trackplus.seam.classes import PossibleUserWarning
from lightning_trackplus.seam.flavours import flavour_of, installed_flavours
from lightning_trackplus.seam.number_site import plain_batch_size

if TYPE_CHECKING:
    import lightning.pytorch as pl
    from lightning.pytorch.loggers import TensorBoardLogger
    from torchmetrics import Metric


_EVALUATION = ("validation", "test", "on_validation", "on_test")
_TRANSFER_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


def has_parts_of_gradients(trainer: pl.Trainer) -> bool:
    """Return whether no process has the gradients as a whole, under the strategy of a Trainer."""
    home = flavour_of(trainer).pytorch("strategies")
    return isinstance(trainer.strategy, home.DeepSpeedStrategy | home.FSDPStrategy | home.ModelParallelStrategy)


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


class Place:
    """Where the Trainer is: its active loop, asked once, since the Trainer takes long to answer.

    Mirrors ``Trainer._results`` and ``Trainer._active_loop`` in ``trainer/trainer.py``. Of one run, each hook
    belongs to one loop.

    Args:
        trainer: The Trainer.
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


def withdraw(
    trainer: pl.Trainer, hook: str, name: str, dataloader_idx: int | None, reduction: str
) -> tuple[torch.Tensor, float] | None:
    """Take what Lightning has accumulated under a name out of its results: the local value and its weight.

    Returns None where Lightning has nothing of this epoch, or has it with another reduction. Mirrors the key and
    the states of ``_ResultCollection.log`` and ``_ResultMetric`` in ``logger_connector/result.py``.
    """
    results, key = trainer._results, entry_key(hook, name, dataloader_idx)
    metric = None if results is None else results.get(key)
    if results is None or metric is None or not metric.is_tensor or metric.meta.reduce_fx.__name__ != reduction:
        return None
    del results[key]
    if metric.has_reset or not metric.update_called:
        return None
    if metric.meta.is_mean_reduction:
        return metric.value / metric.cumulated_batch_size, float(metric.cumulated_batch_size)
    return metric.value, 1.0


def set_step_value(metric: Metric, value: torch.Tensor) -> None:
    """Set the value that Lightning takes for the step when the metric is logged with ``on_step=True``.

    Mirrors ``_ResultMetric.update`` in ``logger_connector/result.py``, which reads it.
    """
    metric._forward_cache = value  # type: ignore[assignment]  # torchmetrics leaves it without a type


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


def give_back_log(callbacks: Sequence[Any], log: Callable[..., None], native: Callable[..., None]) -> None:
    """Set the ``log`` of callbacks that have this one to Lightning's own."""
    for callback in callbacks:
        if vars(callback).get("log") is log:
            callback.log = native


def real_loggers(trainer: pl.Trainer) -> list[Any]:
    """Return the loggers of a Trainer, without the DummyLogger that takes their place in a search."""
    dummy = flavour_of(trainer).pytorch("loggers.logger").DummyLogger
    return [logger for logger in trainer.loggers if not isinstance(logger, dummy)]


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


@contextlib.contextmanager
def dataloader_results(trainer: pl.Trainer, index: int | None, seen: Sequence[int]) -> Iterator[None]:
    """Let what is logged in an epoch-end hook count as a result of one of several dataloaders.

    Mirrors ``_EvaluationLoop.run`` and ``_store_dataloader_outputs`` in ``loops/evaluation_loop.py``: Lightning stores
    the results of a dataloader when the next one begins, before any epoch-end hook.

    Args:
        trainer: The Trainer.
        index: Which dataloader; None where there is one, of which Lightning stores the results itself.
        seen: The dataloaders that had batches, in their order, after the first, which Lightning always stores.
    """
    if index is None:
        yield
        return
    results, stored = trainer._results, trainer._evaluation_loop._logged_outputs
    assert results is not None  # noqa: S101  an evaluation always has them
    results.dataloader_idx = index
    try:
        yield
        outputs = trainer._logger_connector.update_eval_epoch_metrics()
    finally:
        results.dataloader_idx = None
    if index in seen:
        stored[seen.index(index)].update(outputs)
    elif outputs:
        stored.append(outputs)  # Other processes had batches of it.


def results_of(trainer: pl.Trainer) -> Any:
    """Return what Lightning keeps of all that is logged in the active loop.

    Mirrors ``Trainer._results`` in ``trainer/trainer.py``.
    """
    return trainer._results


def entry_key(hook: str, name: str, dataloader_idx: int | None) -> str:
    """Return under which key the results have a name that was logged in a hook.

    Mirrors ``_ResultCollection.log`` in ``logger_connector/result.py``.
    """
    return f"{hook}.{name}" if dataloader_idx is None else f"{hook}.{name}.{dataloader_idx}"


def full_name(name: str, dataloader_idx: int | None) -> str:
    """Return the name under which a result of one of several dataloaders is shown.

    Mirrors ``_ResultCollection._forked_name`` in ``logger_connector/result.py``.
    """
    return name if dataloader_idx is None else f"{name}/dataloader_idx_{dataloader_idx}"


def hide(entry: Any) -> None:
    """Let Lightning pass over an entry of its results until it is shown.

    Mirrors ``_ResultMetric.reset`` and ``_ResultCollection.valid_items`` in ``logger_connector/result.py``.
    """
    entry.has_reset = True


def show(entry: Any, *, step_value: torch.Tensor | None = None, result: torch.Tensor | None = None) -> None:
    """Let Lightning take a value for the step, or the result of the epoch, from an entry; else it asks its metric.

    Mirrors ``_ResultCollection.update_metrics`` and ``_get_cache``, and ``_ResultMetric.update`` in
    ``logger_connector/result.py``.
    """
    entry._forward_cache = step_value
    entry._computed = result
    entry.has_reset = False


def without_cli_keys(params: Any) -> Any:
    """Return hyper-parameters without what LightningCLI keeps among them for itself.

    Mirrors ``_given_hyperparameters_context`` in ``core/mixins/hparams_mixin.py``, and ``instantiate_module`` in
    ``cli.py``.
    """
    if not isinstance(params, dict):
        return params
    return {name: value for name, value in params.items() if name not in {"_instantiator", "_class_path"}}


def warn_of_no_sync(name: str) -> None:
    """Say, once and on rank zero, that an epoch's result is that of each process alone, as Lightning says it.

    Mirrors ``_ResultCollection._get_cache`` in ``logger_connector/result.py``.
    """
    if not any(_no_sync(name) in cache for cache in _warning_caches()):
        say_nothing_of_no_sync([name])
        rank_zero_warn(_no_sync(name), category=PossibleUserWarning)


def say_nothing_of_no_sync(names: Iterable[str]) -> None:
    """Let Lightning not say it of some names.

    Mirrors ``_ResultCollection._get_cache`` in ``logger_connector/result.py``.
    """
    said = {_no_sync(name) for name in names}
    for cache in _warning_caches():
        cache.update(said)


def _warning_caches() -> list[Any]:
    homes = [one.pytorch("trainer.connectors.logger_connector.result") for one in installed_flavours()]
    return [home.warning_cache for home in homes]


def _no_sync(name: str) -> str:
    return (
        f"It is recommended to use `self.log({name!r}, ..., sync_dist=True)` when logging on epoch level in distributed"
        " setting to accumulate the metric across devices."
    )


def prefixed(logger: Any, name: str) -> str:
    """Return a name as one of Lightning's loggers writes it for a number: behind the prefix it was given.

    Mirrors ``_add_prefix`` in ``fabric/utilities/logger.py``, and ``log_metrics`` of the loggers, which call it.
    """
    return f"{logger._prefix}{logger.LOGGER_JOIN_CHAR}{name}" if logger._prefix else name


def save_hparams(file: Path, hparams: Any) -> None:
    """Write hyper-parameters as Lightning's loggers do.

    Mirrors ``TensorBoardLogger.save`` in ``pytorch/loggers/tensorboard.py``.
    """
    installed_flavours()[0].pytorch("core.saving").save_hparams_to_yaml(file, hparams)


def init_without_tensorboard(
    logger: TensorBoardLogger, name: str | None, version: int | str | None, *, prefix: str, sub_dir: str | None
) -> None:
    """Give a TensorBoardLogger the attributes of its constructor, which refuses to run without tensorboard.

    Mirrors both ``TensorBoardLogger.__init__``, in ``fabric/loggers/tensorboard.py`` and in
    ``pytorch/loggers/tensorboard.py``.
    """
    logger._root_dir = ""
    logger._name = name or ""
    logger._version = version
    logger._sub_dir = sub_dir
    logger._default_hp_metric = False
    logger._prefix = prefix
    logger._fs = installed_flavours()[0].fabric("utilities.cloud_io").get_filesystem("")
    logger._experiment = None
    logger._kwargs = {}
    logger._log_graph = False
    logger.hparams = {}
