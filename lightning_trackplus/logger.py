"""TrackPlusLogger: Lightning's logger face over delivery."""

from __future__ import annotations

import inspect
import operator
import os
import threading
import time
import weakref
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import lightning.pytorch as pl
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.core.saving import save_hparams_to_yaml
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from typing_extensions import override

from lightning_trackplus import seam
from lightning_trackplus.delivery import DEFAULT_MAX_BYTES, Delivery
from lightning_trackplus.direct_calls import DirectCalls
from lightning_trackplus.flat_numbers import flat_numbers
from lightning_trackplus.media.media import Media
from lightning_trackplus.no_experiment import NoExperiment
from lightning_trackplus.queue_room import Overflow, check_queue
from lightning_trackplus.record import Record
from lightning_trackplus.run_directory import next_version
from lightning_trackplus.trainer_clock import TrainerClock
from lightning_trackplus.writers.names import WriterChoice, available, open_writer

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_loggers: weakref.WeakSet[TrackPlusLogger] = weakref.WeakSet()
_opening = threading.Lock()
_HYPERPARAMETERS_HAVE_STEPS = "step" in inspect.signature(TensorBoardLogger.log_hyperparams).parameters


class TrackPlusLogger(TensorBoardLogger, DirectCalls):
    """Writes TensorBoard events and CSV with media files into one run directory.

    It is a `TensorBoardLogger`: ``trainer.log_dir``, LightningCLI's config.yaml, hparams.yaml,
    checkpoints, versions and ``logger.experiment.add_…`` are as they are there. Files are written
    by a thread of their own, from the first record on, by rank zero alone; a file that cannot be
    written costs a warning and never the training.

    Args:
        save_dir: Where the runs lie, a local path. By default the Trainer's ``default_root_dir``, and
            the working directory where there is no Trainer.
        name: The folder of this experiment below ``save_dir``; ``""`` or None for none.
        version: The run's own folder, ``version_<N>`` for a number; by default the next number.
            A version that exists is continued.
        writers: Which formats to write: ``"tensorboard"``, ``"csv"``, and objects that are a `Writer`.
        prefix: Put before every name, with a dash.
        sub_dir: A folder below the run's own that takes events, CSV and media.
        log_graph: Write the module's graph for TensorBoard; needs ``example_input_array`` there.
        default_hp_metric: Write ``hp_metric = -1`` with hyper-parameters, as Lightning does by default.
        flush_secs: Seconds after which what was logged is in the files at the latest.
        media_overflow: What happens where media come faster than they are written: ``"block"``, training waits, or
            ``"drop"``, they are dropped and counted. Numbers are never dropped.
        max_queue_bytes: How much memory what waits to be written may hold, in bytes; with ``"drop"``, media and
            numbers may hold as much each. A medium larger than that waits alone.

    Raises:
        ValueError: If a writer is unknown, there is none, ``save_dir`` is a URL, or another option is none of these.

    Examples:
        >>> import lightning as L
        >>> from lightning_trackplus import TrackPlus, TrackPlusLogger
        >>> trainer = L.Trainer(callbacks=[TrackPlus()], logger=TrackPlusLogger(), max_epochs=1)
    """

    def __init__(
        self,
        save_dir: str | os.PathLike[str] | None = None,
        name: str | None = "lightning_logs",
        version: int | str | None = None,
        *,
        writers: Sequence[WriterChoice] = ("tensorboard", "csv"),
        prefix: str = "",
        sub_dir: str | os.PathLike[str] | None = None,
        log_graph: bool = False,
        default_hp_metric: bool = False,
        flush_secs: float = 1.0,
        media_overflow: Overflow = "block",
        max_queue_bytes: int = DEFAULT_MAX_BYTES,
    ) -> None:
        check_queue(flush_secs, media_overflow, max_queue_bytes)
        sub_dir = None if sub_dir is None else os.fspath(sub_dir)
        self._writer_choices = available(writers)
        if self._writes_tensorboard:
            super().__init__(".", name, version, log_graph, default_hp_metric, prefix, sub_dir)
        else:
            seam.init_without_tensorboard(self, name, version, prefix=prefix, sub_dir=sub_dir)
        self._given_save_dir = None if save_dir is None else _local(save_dir)
        self._save_dir = self._given_save_dir
        self._given_version = version
        self._next_version: int | None = None
        self._name_prefix = f"{prefix}{self.LOGGER_JOIN_CHAR}" if prefix else ""
        self._queue_options: dict[str, Any] = {
            "flush_secs": flush_secs,
            "overflow": media_overflow,
            "max_bytes": int(max_queue_bytes),
        }
        self._clock = TrainerClock()
        self._delivery: Delivery | None = None
        self._summary_writer: SummaryWriter | None = None
        self._started = False
        self._wrote_hparams = False
        _loggers.add(self)

    @property
    @override
    def save_dir(self) -> str:
        """Where the runs lie."""
        return self._save_dir or os.getcwd()

    @property
    @override
    def root_dir(self) -> str:
        """Where the runs of this experiment lie, ``save_dir/name``."""
        return os.path.join(self.save_dir, self.name)

    @property
    @override
    def version(self) -> int | str:
        """The run's number, or the name of its folder if it was given one."""
        if self._given_version is not None:
            return self._given_version
        if self._next_version is None:
            self._next_version = next_version(Path(self.root_dir))
        return self._next_version

    @property
    @rank_zero_experiment
    @override
    def experiment(self) -> SummaryWriter:
        """A SummaryWriter; what its ``add_…`` methods write goes to TensorBoard alone."""
        if self._summary_writer is None:
            self._summary_writer = self._open_experiment()
        return self._summary_writer

    @property
    def keeps_media_files(self) -> bool:
        """Whether media are files in the run directory."""
        return "csv" in self._writer_choices

    @property
    def queue_options(self) -> Mapping[str, Any]:
        """The options of the delivery: ``flush_secs``, ``overflow`` and ``max_bytes``."""
        return self._queue_options

    def attach(self, trainer: pl.Trainer) -> None:
        """Learn whose run this is: its ``default_root_dir``, and its step and epoch from now on.

        `TrackPlus` calls this; without it, a callback that the package adds to the Trainer.

        Args:
            trainer: The Trainer that has this logger.
        """
        self._clock.follow(trainer)
        if self._given_save_dir is not None or self._is_in_use():
            return
        root = _local(trainer.default_root_dir)
        if root != self._save_dir:
            self._save_dir = root
            self._next_version = None

    @override
    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log numbers.

        Args:
            metrics: Numbers or tensors of one element by name; a dict in it is flattened, ``outer/inner``.
            step: The global step; by default a metric called ``step``, else the Trainer's step.

        Raises:
            ValueError: If a value is no number.
        """
        numbers = dict(flat_numbers(metrics))
        current_step, _ = self._clock.now()
        step = int(numbers.pop("step", current_step)) if step is None else operator.index(step)
        epoch = numbers.get("epoch", self._clock.epoch_of_numbers())
        self._clock.set(step, epoch)
        values = {self._name_prefix + name: number for name, number in numbers.items()}
        self._open_delivery().put(Record(step, epoch, time.time(), values))

    @override
    @rank_zero_only
    def log_media(self, key: str, media: Media[Any], step: int | None = None) -> None:
        if not hasattr(media, "snapshot"):
            raise TypeError(
                f"log_media got a {type(media).__name__} for {key!r}; give a medium, such as Image(…), Audio(…) or"
                " Text(…)."
            )
        current_step, epoch = self._clock.now()
        step = current_step if step is None else operator.index(step)
        name, delivery = self._name_prefix + key, self._open_delivery()
        if delivery.admits(name, media):
            delivery.put(Record(step, epoch, time.time(), {name: media.snapshot()}), is_media=True)

    @override
    @rank_zero_only
    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, metrics: dict[str, Any] | None = None, step: int | None = None
    ) -> None:
        """Keep hyper-parameters for hparams.yaml, and show them beside metrics in TensorBoard's HParams tab.

        Args:
            params: The hyper-parameters.
            metrics: What to show beside them.
            step: The global step of the metrics; Lightning 2.4 takes 0 for TensorBoard.
        """
        if self._writes_tensorboard:
            super().log_hyperparams(params, metrics, **({"step": step} if _HYPERPARAMETERS_HAVE_STEPS else {}))
            return
        super().log_hyperparams(params, {})
        if metrics:
            self.log_metrics(metrics if isinstance(metrics, dict) else {"hp_metric": metrics}, step)

    @override
    @rank_zero_only
    def save(self) -> None:
        """Write hparams.yaml, once the run directory is there; what was logged is written without this."""
        if self._wrote_hparams or not os.path.isdir(self.log_dir):
            return
        file = os.path.join(self.log_dir, self.NAME_HPARAMS_FILE)
        if not os.path.isfile(file):
            save_hparams_to_yaml(file, self.hparams)
        self._wrote_hparams = True

    @override
    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what waits and close the files; what is logged later continues them.

        Args:
            status: How the run ended; the same is done for all.
        """
        delivery, self._delivery = self._delivery, None
        if delivery is not None:
            delivery.close()
        self.save()

    @override
    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_delivery": None, "_summary_writer": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        _loggers.add(self)

    @property
    def _writes_tensorboard(self) -> bool:
        return "tensorboard" in self._writer_choices

    def _is_in_use(self) -> bool:
        """Return whether the run directory is settled: we wrote there, or LightningCLI wrote its config.yaml."""
        return self._started or (self._next_version is not None and os.path.isdir(self.log_dir))

    def _open_delivery(self) -> Delivery:
        """Return the delivery, which is opened for the first record."""
        delivery = self._delivery
        # A forked process has inherited the delivery, but not its thread.
        if delivery is not None and delivery.is_of_this_process():
            return delivery
        with _opening:
            if self._delivery is None or not self._delivery.is_of_this_process():
                self._delivery = self._new_delivery()
            return self._delivery

    def _new_delivery(self) -> Delivery:
        self._started = True
        self._save_dir = self.save_dir
        directory = Path(self.log_dir)
        delivery = Delivery([open_writer(choice, directory) for choice in self._writer_choices], **self._queue_options)
        # A logger that nobody finalizes is written out when it goes.
        weakref.finalize(self, delivery.close)
        return delivery

    def _open_experiment(self) -> SummaryWriter:
        if not self._writes_tensorboard:
            return cast("SummaryWriter", NoExperiment())
        # Imported here, since it needs tensorboard.
        from lightning_trackplus.experiment import DeliveredSummaryWriter  # noqa: PLC0415

        return DeliveredSummaryWriter(lambda: self.log_dir, self._open_delivery, self._flush)

    def _flush(self) -> None:
        if self._delivery is not None:
            self._delivery.flush()


def loggers_exist() -> bool:
    """Return whether there is a TrackPlusLogger in this process."""
    return bool(_loggers)


def _local(path: str | os.PathLike[str]) -> str:
    text = os.fspath(path)
    if "://" in text:
        raise ValueError(f"TrackPlusLogger got the URL {text!r} to save to; give a local path as save_dir.")
    return os.path.expandvars(os.path.expanduser(text))
