"""Every private name of Lightning and torchmetrics that this package touches, one small function each.

Each function says which line of Lightning it mirrors, and has a contract test in
``tests/test_seam.py`` that fails first when Lightning moves. No other file names these.

The links are to Lightning 2.6.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from lightning.fabric.utilities.cloud_io import get_filesystem
from lightning.pytorch.trainer.connectors.logger_connector.fx_validator import _FxValidator
from lightning.pytorch.utilities.data import extract_batch_size

if TYPE_CHECKING:
    import lightning.pytorch as pl
    from lightning.pytorch.loggers import TensorBoardLogger
    from torchmetrics import Metric


def hook_name(module: pl.LightningModule) -> str | None:
    """Return the hook that the Trainer runs now, such as ``validation_step``; None outside of one.

    Mirrors ``trainer/call.py``, ``_call_lightning_module_hook``, which sets it.
    """
    return module._current_fx_name


def dataloader_index(trainer: pl.Trainer) -> int | None:
    """Return which of several evaluation dataloaders runs now; None where there is one.

    Mirrors ``_ResultCollection.log`` in ``logger_connector/result.py``.
    """
    results = trainer._results
    return None if results is None else results.dataloader_idx


def check_levels(hook: str, on_step: bool | None, on_epoch: bool | None) -> tuple[bool, bool]:
    """Return ``on_step`` and ``on_epoch`` with the hook's defaults filled in.

    Mirrors ``LightningModule.log`` in ``core/module.py``.

    Raises:
        MisconfigurationException: Lightning's own, if the hook may not log at all or not so.
    """
    return _FxValidator.check_logging_and_get_default_levels(hook, on_step=on_step, on_epoch=on_epoch)


def batch_size(trainer: pl.Trainer, given: int | None) -> int:
    """Return what a scalar logged now counts: the given batch size, else that of the current batch.

    Mirrors ``_ResultCollection._extract_batch_size`` in ``logger_connector/result.py``, which keeps
    the size it found for the rest of the batch.

    Raises:
        MisconfigurationException: Lightning's own, if the batch does not tell its size.
    """
    results = trainer._results
    if given is not None or results is None or results.batch is None:
        return 1 if given is None else given
    if results.batch_size is None:
        results.batch_size = extract_batch_size(results.batch)
    return results.batch_size


def withdraw(
    trainer: pl.Trainer, hook: str, name: str, dataloader_idx: int | None, reduction: str
) -> tuple[torch.Tensor, float] | None:
    """Take what Lightning has accumulated under a name out of its results: the local value and its weight.

    Returns None where Lightning has nothing of this epoch, or has it with another reduction. Mirrors the key and
    the states of ``_ResultCollection.log`` and ``_ResultMetric`` in ``logger_connector/result.py``.
    """
    results = trainer._results
    key = f"{hook}.{name}" if dataloader_idx is None else f"{hook}.{name}.{dataloader_idx}"
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


def set_callbacks_log(trainer: pl.Trainer, log: Callable[..., None]) -> None:
    """Set what the callbacks' own ``log`` is, which Lightning has set to the module's before any hook ran.

    Mirrors ``_CallbackConnector._attach_model_logging_functions`` in ``connectors/callback_connector.py``.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # Lightning sets it elsewhere
        callback.log = log


def is_fast_dev_run(trainer: pl.Trainer) -> bool:
    """Return whether the Trainer runs a few batches alone, with all loggers off; an attribute it sets late."""
    return bool(vars(trainer).get("fast_dev_run"))


def logged_step(trainer: pl.Trainer) -> int:
    """Return the step under which Lightning hands the metrics of now to the loggers.

    Mirrors ``_LoggerConnector.log_metrics``, and ``_FitLoop.on_advance_end`` in ``loops/fit_loop.py``,
    which takes one off for what a training epoch logs at its end.
    """
    step = trainer.fit_loop.epoch_loop._batches_that_stepped
    at_training_epoch_end = trainer.training and trainer._logger_connector._first_loop_iter is None
    return step - 1 if at_training_epoch_end and step > 0 else step


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
    logger._fs = get_filesystem("")
    logger._experiment = None
    logger._kwargs = {}
    logger._log_graph = False
    logger.hparams = {}
