"""Which writer gives media to which logger of other packages."""

from __future__ import annotations

import importlib
import operator
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

from lightning_trackplus.writers.protocol import Writer

MediaWriterFactory: TypeAlias = Callable[[Any], Writer]

_factories: dict[type | str, MediaWriterFactory] = {}


def register_media_writer(logger_class: type | str, factory: MediaWriterFactory) -> None:
    """Send the media of ``self.log`` to loggers of this class, with a writer that you provide.

    When a Trainer that has `TrackPlus` and such a logger logs its first medium, the factory is called with the logger,
    on the training thread. The writer then gets every medium, one for each record, on a thread of its own. An error in
    either is a warning. Subclasses count; a logger that is an instance of several registered classes gets the writer
    of the most derived one. If a class is registered again, the new factory replaces the old one. A
    `TrackPlusLogger` takes media itself and needs no factory.

    Args:
        logger_class: The class of the logger; or its import path, ``"package.module.Class"``, so that the package is
            not imported before somebody uses its logger.
        factory: Takes the logger and returns its `Writer`.

    Raises:
        TypeError: If ``logger_class`` is neither a class nor an import path, or the factory cannot be called.

    Examples:
        >>> from lightning.pytorch.loggers import Logger
        >>> from lightning_trackplus import register_media_writer
        >>> class NotebookLogger(Logger):
        ...     name, version = "notebook", 0
        ...
        ...     def log_metrics(self, metrics, step=None):
        ...         print(step, metrics)
        ...
        ...     def log_hyperparams(self, params): ...
        >>> class NotebookWriter:
        ...     def __init__(self, logger): ...
        ...
        ...     def write(self, record):
        ...         for name, media in record.values.items():
        ...             print(record.step, name, media.kind, len(media.items))
        ...
        ...     def flush(self): ...
        ...
        ...     def close(self): ...
        >>> register_media_writer(NotebookLogger, NotebookWriter)
    """
    if not (isinstance(logger_class, type) or (isinstance(logger_class, str) and "." in logger_class)):
        raise TypeError(
            f"register_media_writer got {logger_class!r} as the logger class; expected a class, or its import path,"
            ' such as "lightning.pytorch.loggers.CSVLogger".'
        )
    if not callable(factory):
        raise TypeError(
            f"register_media_writer got {factory!r} as the factory; expected a function or a class that takes the"
            " logger and returns an object with write, flush and close."
        )
    # Removed first, so that the latest comes last also where a path and a class mean the same.
    _factories.pop(logger_class, None)
    _factories[logger_class] = factory


def writer_for(logger: Any) -> Writer | None:
    """Return the writer that was registered for a logger; None if there is none.

    Raises:
        Exception: What the factory raises.
    """
    factories = {_loaded_class(logger_class): factory for logger_class, factory in _factories.items()}
    factory = next((factories[one] for one in type(logger).__mro__ if one in factories), None)
    if factory is None:
        return None
    writer = factory(logger)
    if not isinstance(writer, Writer):
        raise TypeError(f"its media writer is {writer!r}; expected an object with write, flush and close")
    return writer


def _loaded_class(logger_class: type | str) -> Any:
    """Return a class by its import path; None if its module was not imported, so that no logger can be one."""
    if not isinstance(logger_class, str):
        return logger_class
    module, _, name = logger_class.rpartition(".")
    return getattr(sys.modules.get(module), name, None)


def _imported_when_used(module: str, name: str) -> MediaWriterFactory:
    """Return the factory of a writer in this package whose module is imported for its first logger."""

    def open_writer(logger: Any) -> Writer:
        factory: MediaWriterFactory = operator.attrgetter(name)(importlib.import_module(f"{__package__}.{module}"))
        return factory(logger)

    return open_writer


for _logger, _module, _writer in [
    ("TensorBoardLogger", "tensorboard_logger", "TensorBoardLoggerWriter"),
    ("CSVLogger", "csv_logger", "MediaFilesWriter.of"),
    ("WandbLogger", "wandb", "WandbWriter"),
    ("MLFlowLogger", "mlflow", "MLFlowWriter"),
    ("CometLogger", "comet", "CometWriter"),
]:
    for _package in ("lightning.pytorch", "pytorch_lightning"):
        register_media_writer(f"{_package}.loggers.{_logger}", _imported_when_used(_module, _writer))
