"""Gives media to the loggers of a Trainer."""

from __future__ import annotations

import operator
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lightning_utilities.core.rank_zero import rank_zero_only

from lightning_trackplus.delivery.async_writer import AsyncWriter
from lightning_trackplus.delivery.fan_out import FanOut, SharedEncoding
from lightning_trackplus.formats.layout import is_url
from lightning_trackplus.lightning_internals import lightning_loggers, trainer_state
from lightning_trackplus.logger.track_plus_logger import TrackPlusLogger
from lightning_trackplus.media.base import Media
from lightning_trackplus.record import Record
from lightning_trackplus.runtime.warn import WarnOnce, describe_error
from lightning_trackplus.writers.foreign.csv_logger import MediaFilesWriter
from lightning_trackplus.writers.foreign.registry import writer_for
from lightning_trackplus.writers.protocol import Writer

if TYPE_CHECKING:
    import lightning.pytorch as pl
    from lightning.pytorch.loggers import Logger


class MediaDispatch:
    """Gives media to all loggers of a Trainer, on rank zero.

    A `TrackPlusLogger` takes a medium itself. Each other logger that has a writer gets an `AsyncWriter`, so a service
    that is slow or down delays and loses only its own media. A medium is copied once and encoded once for all loggers.
    The media of a logger without a writer are kept as files in the run directory, unless another logger keeps files.
    """

    def __init__(self, trainer: pl.Trainer) -> None:
        self._trainer = trainer
        self._served: list[Logger] = []
        self._writer = FanOut([])
        self._warn = WarnOnce()

    @rank_zero_only
    def deliver(self, name: str, media: Media[Any], step: int | None = None) -> None:
        """Give a medium to the loggers, which write it on other threads."""
        if trainer_state.is_fast_dev_run(self._trainer):
            return
        if not self._trainer.loggers:
            self._warn(
                f"self.log({name!r}, {media!r}): no logger of this Trainer takes media, so they are not written."
                " Give it one that does: Trainer(logger=TrackPlusLogger())."
            )
        step = trainer_state.logged_step(self._trainer) if step is None else operator.index(step)
        try:
            # A learning-rate search replaces them with a DummyLogger.
            match lightning_loggers.real_loggers(self._trainer):
                case []:
                    pass
                case [TrackPlusLogger() as logger]:
                    logger.log_media(name, media, step)
                case loggers:
                    self._share(loggers, name, SharedEncoding(media), step)
        except Exception as error:  # noqa: BLE001  other loggers may raise anything, and training must continue
            self._warn(f"Giving {name!r} to the loggers failed, training continues. {describe_error(error)}")

    @rank_zero_only
    def close(self) -> None:
        """Write all media that are waiting for other loggers. A later `deliver` opens their writers again."""
        writer, self._writer, self._served = self._writer, FanOut([]), []
        writer.close()

    def _share(self, loggers: list[Logger], name: str, media: SharedEncoding, step: int) -> None:
        if loggers != self._served:
            self._open(loggers)
        for logger in loggers:
            if isinstance(logger, TrackPlusLogger):
                # It asks for a snapshot, which is the shared one.
                logger.log_media(name, cast("Media[Any]", media), step)
        self._writer.write(Record(step, self._trainer.current_epoch, time.time(), {name: media}, is_media=True))

    def _open(self, loggers: list[Logger]) -> None:
        self.close()
        ours = [logger for logger in loggers if isinstance(logger, TrackPlusLogger)]
        # The queue options of our logger hold for all.
        options = ours[0].queue_options if ours else {}
        self._writer = FanOut([AsyncWriter(writer, **options) for writer in self._writers(loggers)])
        self._served = loggers

    def _writers(self, loggers: Sequence[Logger]) -> Iterator[Writer]:
        """Yield the writers of other loggers, and one that writes files if a logger has no writer."""
        ours = [logger for logger in loggers if isinstance(logger, TrackPlusLogger)]
        folders = [Path(logger.log_dir).resolve() for logger in ours if logger.keeps_media_files]
        left_out: list[str] = []
        for logger in loggers:
            writer, reason = (None, "") if logger in ours else _opened(logger)
            if isinstance(writer, MediaFilesWriter):
                # A CSVLogger may share the run directory of another logger, which already writes these files.
                if writer.directory in folders:
                    continue
                folders.append(writer.directory)
            if writer is not None:
                yield writer
            elif logger not in ours:
                left_out.append(f"{type(logger).__name__} cannot take media{reason}, so they are kept as files")
        if left_out and not folders:
            folders = [self._run_directory(loggers[0])]
            yield MediaFilesWriter(folders[0])
        for what in left_out:
            self._warn(f"{what} in {folders[0]}.")

    def _run_directory(self, logger: Logger) -> Path:
        """Return the folder of this run as `ModelCheckpoint` finds it, or a local one if that is a URL."""
        # All processes would have to read `trainer.log_dir` together.
        default, version = self._trainer.default_root_dir, logger.version
        version = f"version_{version}" if isinstance(version, int) else version
        composed = [logger.save_dir or default, logger.name, version]
        candidates = [logger.log_dir or os.path.join(*[str(part) for part in composed if part]), default, os.getcwd()]
        return Path(next(folder for folder in map(os.fspath, candidates) if not is_url(folder)))


def _opened(logger: Logger) -> tuple[Writer | None, str]:
    """Return the writer of a logger, or the reason why it has none."""
    try:
        return writer_for(logger), ""
    except Exception as error:  # noqa: BLE001  other loggers may raise anything, and training must continue
        return None, f" ({type(error).__name__}: {error})"
