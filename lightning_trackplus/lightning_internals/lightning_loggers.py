"""Lightning's own loggers, and the hyper-parameters that they write."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_trackplus.lightning_internals.flavours import flavour_of, installed_flavours

if TYPE_CHECKING:
    import lightning.pytorch as pl
    from lightning.pytorch.loggers import TensorBoardLogger


def real_loggers(trainer: pl.Trainer) -> list[Any]:
    """Return the loggers of a Trainer, without the DummyLogger that takes their place in a search."""
    dummy = flavour_of(trainer).pytorch("loggers.logger").DummyLogger
    return [logger for logger in trainer.loggers if not isinstance(logger, dummy)]


def without_cli_keys(params: Any) -> Any:
    """Return hyper-parameters without what LightningCLI keeps among them for itself.

    Mirrors ``_given_hyperparameters_context`` in ``core/mixins/hparams_mixin.py``, and ``instantiate_module`` in
    ``cli.py``.
    """
    if not isinstance(params, dict):
        return params
    return {name: value for name, value in params.items() if name not in {"_instantiator", "_class_path"}}


def prefixed(logger: Any, name: str) -> str:
    """Return a name as one of Lightning's loggers writes it for a number: behind the prefix it was given.

    Mirrors ``_add_prefix`` in ``fabric/utilities/logger.py``, and ``log_metrics`` of the loggers, which call it.
    """
    comet = next((kind for kind in type(logger).__mro__ if kind.__name__ == "CometLogger"), None)
    # Since Lightning 2.5.1, comet_ml adds the prefix, in `__internal_api__log_metrics__`.
    is_comets_own = comet is not None and not hasattr(sys.modules[comet.__module__], "_add_prefix")
    join = "_" if is_comets_own else logger.LOGGER_JOIN_CHAR
    return f"{logger._prefix}{join}{name}" if logger._prefix else name


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
