"""`TrackPlusLogger`, Lightning's Logger interface to a run directory."""

from __future__ import annotations

import operator
import os
import shlex
import time
import weakref
from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from lightning_utilities.core.rank_zero import rank_zero_info, rank_zero_only, rank_zero_warn
from torch import Tensor
from typing_extensions import override

from lightning_trackplus.delivery.async_writer import DEFAULT_MAX_BYTES, Overflow, check_queue
from lightning_trackplus.formats.flat_hparams import check_hparam_metrics, flatten_hparams
from lightning_trackplus.formats.layout import RUN_FILE
from lightning_trackplus.formats.summary import Mode
from lightning_trackplus.formats.x_axis import check_x_axis, prefixed_axes
from lightning_trackplus.lightning_internals import lightning_loggers
from lightning_trackplus.lightning_internals.flavours import installed_flavours
from lightning_trackplus.logger.flatten_metrics import flatten_metrics
from lightning_trackplus.logger.media_methods import MediaMethods
from lightning_trackplus.logger.null_experiment import NullExperiment
from lightning_trackplus.logger.trainer_hooks import StepTracker, TrainerHooks
from lightning_trackplus.media.base import Media
from lightning_trackplus.record import Record
from lightning_trackplus.run.allocation import RunAllocation, local_or_url
from lightning_trackplus.run.run_writer import RunWriter
from lightning_trackplus.run.writer_set import OutputOptions
from lightning_trackplus.runtime.device_transfer import start_host_copy
from lightning_trackplus.runtime.names import a_type
from lightning_trackplus.runtime.warn import WarnOnce
from lightning_trackplus.writers.charts import Charts, check_charts, prefixed_charts
from lightning_trackplus.writers.registry import WriterChoice, available

if TYPE_CHECKING:
    import lightning.pytorch as pl
    from lightning.fabric.loggers.logger import rank_zero_experiment
    from lightning.pytorch.loggers import TensorBoardLogger
    from torch.utils.tensorboard import SummaryWriter

else:
    _flavour = installed_flavours()[0]
    TensorBoardLogger = _flavour.pytorch("loggers").TensorBoardLogger
    rank_zero_experiment = _flavour.fabric("loggers.logger").rank_zero_experiment

_loggers: weakref.WeakSet[TrackPlusLogger] = weakref.WeakSet()


class TrackPlusLogger(TensorBoardLogger, MediaMethods, TrainerHooks):
    """Writes numbers and media into one run directory, as TensorBoard events and as CSV with media files.

    It is a `TensorBoardLogger`: ``trainer.log_dir``, LightningCLI's ``config.yaml``, ``hparams.yaml``, checkpoints,
    versions and ``logger.experiment.add_…`` work as they do there. Rank zero writes the files, on a separate thread,
    from the first record on. A file that cannot be written causes a warning and never stops the training.

    Args:
        save_dir: The directory of all runs: a path, or a URL that fsspec supports, such as ``"s3://bucket/logs"``.
            The default is the Trainer's ``default_root_dir``, or the working directory without a Trainer.
        name: The folder of this experiment below ``save_dir``; ``""`` or None for no folder.
        version: The folder of the run; a number N means ``version_<N>``. The default is the next number. An existing
            version is continued. ``"auto"`` is the run of the checkpoint in ``fit(ckpt_path=…)``, otherwise the run
            of the scheduler's job (SLURM, torchelastic), otherwise the next number.
        writers: The formats to write: ``"tensorboard"``, ``"csv"``, and `Writer` objects.
        prefix: Text in front of every name except ``epoch``, joined with a dash.
        sub_dir: A folder below the run's own folder for events, CSV and media.
        log_graph: Write the module's graph for TensorBoard; the module needs ``example_input_array``.
        default_hp_metric: Write ``hp_metric = -1`` with the hyper-parameters, which is Lightning's default.
        x_axis: The X axis in TensorBoard of selected names: ``"epoch"``, or the name of a logged scalar, which is
            rounded to an integer. In the names, ``*`` matches any characters and ``?`` any single one.
            ``metrics.csv`` always has the global step too.
        hparam_metrics: Names whose best values appear in TensorBoard's HParams tab; the best is the lowest (``"min"``)
            or the highest (``"max"``).
        charts: Charts of several curves for TensorBoard's Custom Scalars tab, by title: a list of names, in which ``*``
            matches any characters and ``?`` any single one, or ``{"band": [lower, middle, upper]}``, a curve within a
            band. The part of the title before its first slash is the chart's group.
        draw_captions: Whether images in TensorBoard have their captions and scores below them. If False, or if a
            caption is not shown in full, captions are in the Text tab. Media files are always as they were logged.
        flush_secs: The longest time in seconds until a logged value is in the files.
        media_overflow: What to do if media are logged faster than they are written: ``"block"`` makes training wait,
            ``"drop"`` drops media and counts them. Numbers are never dropped.
        max_queue_bytes: The memory limit of the queue, in bytes. The default is 256 MiB. With ``"drop"``, media and
            numbers each have this limit. A single medium above the limit waits alone in the queue.
        add_callback: Whether a Trainer with this logger and without a `TrackPlus` gets one. If False, ``self.log``
            stays Lightning's own.

    Raises:
        ValueError: If a writer is unknown, the list of writers is empty, the URL has an unknown protocol, or another
            option has an invalid value.
        RunInUseError: When the run starts or the first record is logged, if another process is writing to this run.

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
        x_axis: Mapping[str, str] | None = None,
        hparam_metrics: Mapping[str, Mode] | None = None,
        charts: Charts | None = None,
        draw_captions: bool = True,
        flush_secs: float = 1.0,
        media_overflow: Overflow = "block",
        max_queue_bytes: int = DEFAULT_MAX_BYTES,
        add_callback: bool = True,
    ) -> None:
        check_queue(flush_secs, media_overflow, max_queue_bytes)
        check_x_axis(x_axis or {})
        check_hparam_metrics(hparam_metrics or {})
        check_charts({} if charts is None else charts)
        sub_dir = None if sub_dir is None else os.fspath(sub_dir)
        self._writer_choices = available(writers)
        if self._writes_tensorboard:
            super().__init__(".", name, version, log_graph, default_hp_metric, prefix, sub_dir)
        else:
            lightning_loggers.init_without_tensorboard(self, name, version, prefix=prefix, sub_dir=sub_dir)
        self._has_default_hp_metric = default_hp_metric
        self._name_prefix = f"{prefix}{self.LOGGER_JOIN_CHAR}" if prefix else ""
        options = OutputOptions(
            self._writer_choices,
            x_axis=prefixed_axes(x_axis or {}, self._name_prefix),
            hparam_metrics={self._name_prefix + name: mode for name, mode in (hparam_metrics or {}).items()},
            charts=prefixed_charts(charts or {}, self._name_prefix),
            draw_captions=draw_captions,
            queue={"flush_secs": flush_secs, "overflow": media_overflow, "max_bytes": int(max_queue_bytes)},
        )
        directory = None if save_dir is None else local_or_url(save_dir)
        self._run = RunWriter(RunAllocation(directory, self.name, version, sub_dir), options)
        self._steps = StepTracker()
        self.adds_callback = add_callback
        self._summary_writer: SummaryWriter | None = None
        self._wrote_hparams = self._failed_hparams = False
        self._once = WarnOnce()
        _loggers.add(self)

    @property
    @override
    def save_dir(self) -> str:
        """The directory of all runs."""
        return self._run.allocation.save_dir

    @property
    @override
    def root_dir(self) -> str:
        """The directory of this experiment's runs, ``save_dir/name``."""
        return os.path.join(self.save_dir, self.name)

    @property
    @override
    def version(self) -> int | str:
        """The run's number, or the name of its folder if the version is a string."""
        return self._run.allocation.version

    @property
    @rank_zero_experiment
    @override
    def experiment(self) -> SummaryWriter:
        """A SummaryWriter; its ``add_…`` methods write to TensorBoard only."""
        self._check_callback()
        if self._summary_writer is None:
            self._summary_writer = self._make_experiment()
        return self._summary_writer

    @property
    def keeps_media_files(self) -> bool:
        """Whether media are written as files into the run directory."""
        return "csv" in self._writer_choices

    @property
    def queue_options(self) -> Mapping[str, Any]:
        """The options of the queue: ``flush_secs``, ``overflow`` and ``max_bytes``."""
        return self._run.options.queue

    @override
    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log numbers.

        Args:
            metrics: Numbers by name; tensors and arrays need one element. Nested dicts are flattened to
                ``outer/inner``.
            step: The global step. The default is a metric called ``step``, otherwise the Trainer's step; without a
                Trainer, as in Fabric, the last step of the run plus one.

        Raises:
            ValueError: If a value is not a number.

        Examples:
            >>> from lightning_trackplus.testing import CapturingLogger
            >>> logger = CapturingLogger()
            >>> logger.log_metrics({"train/loss": 0.5, "val": {"acc": 0.9}}, step=3)
            >>> logger.values("val/acc")
            [0.9]
        """
        numbers = flatten_metrics(metrics)
        if step is None:
            given = numbers.pop("step", None)
            step = self._steps.next_step(self._run.last_step) if given is None else int(given)
        epoch, batch = numbers.get("epoch"), None
        epoch = float(epoch.item()) if isinstance(epoch, Tensor) else epoch
        if epoch is None:
            epoch, batch = self._steps.epoch_or_batch()
        step = int(step)  # A metric called `step` is a float in Lightning 2.4.
        if prefix := self._name_prefix:
            # The epoch belongs to the record itself.
            numbers = {name if name == "epoch" else prefix + name: number for name, number in numbers.items()}
        if batch is not None:
            numbers = self._run.new_numbers(None, numbers)
            step = self._run.batch_step(numbers, step)
        else:
            numbers = self._run.new_numbers(step, numbers)
        self._steps.set(step, epoch)
        if numbers:
            record = Record(step, epoch, time.time(), start_host_copy(numbers), only_numbers=True, batch=batch)
            self._run.put_numbers(record)

    @override
    @rank_zero_only
    def log_media(self, key: str, media: Media[Any], step: int | None = None) -> None:
        if not hasattr(media, "snapshot"):
            raise TypeError(
                f"log_media got {a_type(media)} for {key!r}; expected a medium such as Image(…), Audio(…) or Text(…)."
            )
        current_step, epoch = self._steps.now()
        step = current_step if step is None else operator.index(step)
        self._run.put_medium(self._name_prefix + key, media, step, epoch)

    @override
    @rank_zero_only
    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, metrics: dict[str, Any] | None = None, step: int | None = None
    ) -> None:
        """Log hyper-parameters to ``hparams.yaml`` and to TensorBoard's HParams tab.

        Args:
            params: The hyper-parameters.
            metrics: Metrics to log with them.
            step: The global step of the metrics; Lightning 2.4 uses 0 in TensorBoard.

        Examples:
            >>> from lightning_trackplus.testing import CapturingLogger
            >>> logger = CapturingLogger()
            >>> logger.log_hyperparams({"lr": 0.1, "layers": 3})
            >>> logger.hparams
            {'lr': 0.1, 'layers': 3}
        """
        params = lightning_loggers.without_cli_keys(params)
        super().log_hyperparams(params, {})  # Without metrics it writes nothing and only stores them.
        self._run.add_hparams(flatten_hparams(params))
        if metrics is None and self._has_default_hp_metric:
            metrics = {"hp_metric": -1}
        if metrics is not None:
            self.log_metrics(metrics if isinstance(metrics, dict) else {"hp_metric": metrics}, step)

    @rank_zero_only
    def flush(self) -> None:
        """Wait until all writers have written everything that was logged."""
        self._run.flush()

    @override
    @rank_zero_only
    def save(self) -> None:
        """Write ``hparams.yaml`` if there are hyper-parameters or other files of the run.

        Numbers and media do not need this call; `flush` waits until they are written.
        """
        # The Trainer calls this after each record, and looking at the folder would take longer than logging.
        if self._wrote_hparams or not (self.hparams or self._run.has_files()):
            return
        directory = self._run.allocation.open_directory() if self.hparams else self._run.allocation.directory
        if not self.hparams and (not directory.is_dir() or not any(directory.iterdir())):
            return
        file = directory / self.NAME_HPARAMS_FILE
        self._wrote_hparams, self._failed_hparams = True, False
        try:
            if not file.is_file():
                directory.mkdir(parents=True, exist_ok=True)
                lightning_loggers.save_hparams(file, self.hparams)
        except OSError as error:
            self._failed_hparams = True
            rank_zero_warn(
                f"Could not write {file}; training continues. It is tried again at the end of the run: {error}"
            )

    @override
    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write everything and close the files; values logged later are appended.

        Args:
            status: How the run ended, such as ``"success"``, for TensorBoard's HParams tab.
        """
        try:
            self._run.close(status)
            self._wrote_hparams = self._wrote_hparams and not self._failed_hparams
            self.save()
            self._show_directory()
        finally:
            self._run.release()

    def _show_directory(self) -> None:
        """Log once where the run is saved and how to view it, unless the run is empty."""
        directory = self._run.allocation.directory
        if not directory.is_dir():
            return
        # The learning rate finder, which disables the loggers, leaves only these files.
        if {path.name for path in directory.iterdir()} <= {RUN_FILE, self.NAME_HPARAMS_FILE}:
            return
        if not self._once.is_first("directory"):
            return
        command = f"tensorboard --logdir {shlex.quote(self.root_dir)}"
        if not self._writes_tensorboard:
            command = f"lightning_trackplus.read_run({self.log_dir!r})"
        rank_zero_info(f"The run is saved in {self.log_dir}. View it with: {command}")

    @override
    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_summary_writer": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        _loggers.add(self)

    @property
    def _writes_tensorboard(self) -> bool:
        return "tensorboard" in self._writer_choices

    def _make_experiment(self) -> SummaryWriter:
        if not self._writes_tensorboard:
            return cast("SummaryWriter", NullExperiment(self._run.flush))
        # This import needs tensorboard.
        from lightning_trackplus.logger.experiment import DeliveredSummaryWriter  # noqa: PLC0415

        return DeliveredSummaryWriter(self._run)


# Only one of the two classes can be a real base, since both constructors would run.
for _other in installed_flavours()[1:]:
    _other.pytorch("loggers").TensorBoardLogger.register(TrackPlusLogger)


def loggers_exist() -> bool:
    """Return whether this process has a TrackPlusLogger."""
    return bool(_loggers)


def loggers_want_callback() -> bool:
    """Return whether a TrackPlusLogger of this process adds a `TrackPlus`."""
    return any(logger.adds_callback for logger in _loggers)


def trackplus_loggers(trainer: pl.Trainer) -> list[TrackPlusLogger]:
    """Return the TrackPlusLoggers of a Trainer."""
    return [logger for logger in trainer.loggers if isinstance(logger, TrackPlusLogger)]
