"""TrackPlusLogger: Lightning's logger face over delivery."""

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

from lightning_trackplus.delivery.async_writer import DEFAULT_MAX_BYTES
from lightning_trackplus.delivery.byte_budget import Overflow, check_queue
from lightning_trackplus.formats.hparams import check_hparam_metrics, flatten_hparams
from lightning_trackplus.formats.layout import RUN_FILE
from lightning_trackplus.lightning_internals import lightning_loggers, trainer_state
from lightning_trackplus.lightning_internals.flavours import installed_flavours
from lightning_trackplus.lightning_internals.running_trainers import current_run
from lightning_trackplus.logger.flatten_metrics import flatten_metrics
from lightning_trackplus.logger.media_methods import MediaMethods
from lightning_trackplus.logger.null_experiment import NullExperiment
from lightning_trackplus.logger.step_tracker import StepTracker
from lightning_trackplus.media.base import Media
from lightning_trackplus.record import Record
from lightning_trackplus.run.allocation import RunAllocation, local_or_url
from lightning_trackplus.run.journal import Way
from lightning_trackplus.run.run_writer import RunWriter
from lightning_trackplus.run.writer_set import OutputOptions
from lightning_trackplus.runtime.device_transfer import start_host_copy
from lightning_trackplus.writers.charts import Charts, check_charts, prefixed_charts
from lightning_trackplus.writers.directions import Mode, monitored_modes
from lightning_trackplus.writers.registry import WriterChoice, available
from lightning_trackplus.writers.x_axis import check_x_axis, prefixed_axes

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


class TrackPlusLogger(TensorBoardLogger, MediaMethods):
    """Writes TensorBoard events and CSV with media files into one run directory.

    It is a `TensorBoardLogger`: ``trainer.log_dir``, LightningCLI's config.yaml, hparams.yaml,
    checkpoints, versions and ``logger.experiment.add_…`` are as they are there. Files are written
    by a thread of their own, from the first record on, by rank zero alone; a file that cannot be
    written costs a warning and never the training.

    Args:
        save_dir: Where the runs lie, a path or a URL that fsspec knows, such as ``"s3://bucket/logs"``. By default
            the Trainer's ``default_root_dir``, and the working directory where there is no Trainer.
        name: The folder of this experiment below ``save_dir``; ``""`` or None for none.
        version: The run's own folder, ``version_<N>`` for a number; by default the next number. A version that
            exists is continued. ``"auto"`` is the run that the checkpoint of ``fit(ckpt_path=…)`` came from, else
            that of the scheduler's job (SLURM, torchelastic), else the next number.
        writers: Which formats to write: ``"tensorboard"``, ``"csv"``, and objects that are a `Writer`.
        prefix: Put before every name but ``epoch``, with a dash.
        sub_dir: A folder below the run's own that takes events, CSV and media.
        log_graph: Write the module's graph for TensorBoard; needs ``example_input_array`` there.
        default_hp_metric: Write ``hp_metric = -1`` with hyper-parameters, as Lightning does by default.
        x_axis: Over what chosen names stand in TensorBoard instead of the global step, by name: ``"epoch"``, or the
            name of a logged scalar, rounded to a whole number. In the name, ``*`` and ``?`` stand for any characters
            and for any one. ``metrics.csv`` always has both.
        hparam_metrics: What stands beside the hyper-parameters in TensorBoard's HParams tab: the best values so far
            of these names, the lowest (``"min"``) or the highest (``"max"``).
        charts: Charts of several curves for TensorBoard's Custom Scalars tab, by title: a list of names, in which ``*``
            and ``?`` stand for any characters and for any one, or ``{"band": [lower, middle, upper]}``, a curve within
            a band. What stands before a slash in the title is the group of the chart.
        flush_secs: Seconds after which what was logged is in the files at the latest.
        media_overflow: What happens where media come faster than they are written: ``"block"``, training waits, or
            ``"drop"``, they are dropped and counted. Numbers are never dropped.
        max_queue_bytes: How much memory what waits to be written may hold, in bytes; with ``"drop"``, media and
            numbers may hold as much each. A medium larger than that waits alone.
        add_callback: Whether a Trainer that has this logger and no `TrackPlus` gets one. False leaves its module alone:
            ``self.log`` is then Lightning's own.

    Raises:
        ValueError: If a writer is unknown, there is none, the URL has a protocol that nobody knows, or another option
            is none of these.
        RunInUseError: From a Trainer's run or the first record, if a living process writes to this run.

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
            queue={"flush_secs": flush_secs, "overflow": media_overflow, "max_bytes": int(max_queue_bytes)},
        )
        directory = None if save_dir is None else local_or_url(save_dir)
        self._run = RunWriter(RunAllocation(directory, self.name, version, sub_dir), options)
        self._clock = StepTracker()
        self.adds_callback = add_callback
        """Whether a Trainer that has no `TrackPlus` gets one."""
        self._has_looked_for_callback = False
        self._summary_writer: SummaryWriter | None = None
        self._wrote_hparams = self._failed_hparams = self._has_said_where = False
        _loggers.add(self)

    @property
    @override
    def save_dir(self) -> str:
        """Where the runs lie."""
        return self._run.allocation.save_dir

    @property
    @override
    def root_dir(self) -> str:
        """Where the runs of this experiment lie, ``save_dir/name``."""
        return os.path.join(self.save_dir, self.name)

    @property
    @override
    def version(self) -> int | str:
        """The run's number, or the name of its folder if it was given one."""
        return self._run.allocation.version

    @property
    @rank_zero_experiment
    @override
    def experiment(self) -> SummaryWriter:
        """A SummaryWriter; what its ``add_…`` methods write goes to TensorBoard alone."""
        self._look_for_callback()
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
        return self._run.options.queue

    def attach(self, trainer: pl.Trainer) -> None:
        """Learn whose run this is: where it lies, and its step and epoch from now on.

        `TrackPlus` calls this in all processes; without it, a callback that the package adds to the Trainer.

        Args:
            trainer: The Trainer that has this logger.

        Raises:
            RunInUseError: If a living process writes to the run that was asked for.
        """
        self._clock.follow(trainer)
        self._run.attach(trainer, monitored_modes(trainer, self._name_prefix))

    def detach(self, trainer: pl.Trainer) -> None:
        """Where a Trainer's run ends within that of another, go on with the other's step and epoch.

        Args:
            trainer: The Trainer.
        """
        self._clock.leave(trainer)

    @rank_zero_only
    def add_metric_modes(self, modes: Mapping[str, Mode]) -> None:
        """Learn which values of a metric are the best ones, for ``summary.json``; `TrackPlus` calls this.

        Args:
            modes: Whether the lowest (``"min"``) or the highest (``"max"``) value is the best, by the name of the
                metric, without ``_step``, ``_epoch`` and the dataloader.
        """
        self._run.add_metric_modes({self._name_prefix + name: mode for name, mode in modes.items()})

    @rank_zero_only
    def before_checkpoint(self) -> tuple[str, Way] | None:
        """Return what a checkpoint that is being saved has to carry, so that the run can go on from it.

        `TrackPlus` calls this, and the four methods below; without it, a callback that the package adds.

        Returns:
            Which run this is, and the way to the checkpoint; None where nothing is written.
        """
        return self._run.save()

    @rank_zero_only
    def begin_batch(self) -> None:
        """Let what is logged from now on belong to no checkpoint that was saved."""
        self._run.begin_batch()

    @rank_zero_only
    def end_resuming(self) -> None:
        """Take all that is logged from now on; before, what a resumed run has already is left out."""
        self._run.end_resuming()

    @rank_zero_only
    def rewind(self, ways: Mapping[str, Way]) -> bool:
        """Go on from a checkpoint: what the run has beyond it moves into a backup in its directory.

        Args:
            ways: What the checkpoint carries, by run.

        Returns:
            Whether the checkpoint says where this run was; None in processes that write nothing.
        """
        return self._run.rewind(ways)

    @rank_zero_only
    def rewind_to_step(self, step: int) -> None:
        """Go on at a step, where `rewind` was not told where the run was.

        Args:
            step: The first global step that is logged from now on.
        """
        self._run.rewind_to_step(step)

    @override
    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log numbers.

        Args:
            metrics: Numbers, tensors and arrays of one element by name; a dict in it is flattened, ``outer/inner``.
            step: The global step; by default a metric called ``step``, else the Trainer's step. Without a Trainer, as
                in Fabric, one more than the last step of the run.

        Raises:
            ValueError: If a value is no number.
        """
        numbers = flatten_metrics(metrics)
        if step is None:
            given = numbers.pop("step", None)
            step = self._clock.next_step(self._run.last_step) if given is None else int(given)
        epoch, batch = numbers.get("epoch"), None
        epoch = float(epoch.item()) if isinstance(epoch, Tensor) else epoch
        if epoch is None:
            epoch, batch = self._clock.of_numbers()
        # A metric called `step` is a float in Lightning 2.4.
        step = int(step)
        if prefix := self._name_prefix:
            # The epoch is the Trainer's; every record has it.
            numbers = {name if name == "epoch" else prefix + name: number for name, number in numbers.items()}
        if batch is not None:
            numbers = self._run.without_batches_that_were_logged(numbers)
            step = self._run.batch_step(numbers, step)
        else:
            numbers = self._run.without_what_was_logged(step, numbers)
        self._clock.set(step, epoch)
        if numbers:
            record = Record(step, epoch, time.time(), start_host_copy(numbers), only_numbers=True, batch=batch)
            self._run.put_numbers(record)

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
        self._run.put_medium(self._name_prefix + key, media, step, epoch)

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
        params = lightning_loggers.without_cli_keys(params)
        super().log_hyperparams(params, {})  # Without metrics it writes nothing, and keeps them for hparams.yaml.
        self._run.add_hparams(flatten_hparams(params))
        if metrics is None and self._has_default_hp_metric:
            metrics = {"hp_metric": -1}
        if metrics is not None:
            self.log_metrics(metrics if isinstance(metrics, dict) else {"hp_metric": metrics}, step)

    @rank_zero_only
    def flush(self) -> None:
        """Wait until everything that was logged is in the files, of all writers."""
        self._run.flush()

    @override
    @rank_zero_only
    def save(self) -> None:
        """Write hparams.yaml, if there are hyper-parameters or something in the run directory.

        What was logged is written without this; `flush` waits for it.
        """
        # The Trainer asks after each record; to look at the folder each time would take longer than to log.
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
                f"{file} could not be written, training goes on. At the end of the run it is tried again: {error}"
            )

    @override
    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what waits and close the files; what is logged later continues them.

        Args:
            status: How the run ended, such as ``"success"``; TensorBoard's HParams tab shows it.
        """
        try:
            self._run.close(status)
            self._wrote_hparams = self._wrote_hparams and not self._failed_hparams
            self.save()
            self._say_where_it_is()
        finally:
            self._run.release()

    def _say_where_it_is(self) -> None:
        """Say, once, where the run lies and what shows it, if there is anything."""
        directory = self._run.allocation.directory
        if self._has_said_where or not directory.is_dir():
            return
        # A search for a learning rate, with these loggers put aside, leaves no more than this.
        if {path.name for path in directory.iterdir()} <= {RUN_FILE, self.NAME_HPARAMS_FILE}:
            return
        self._has_said_where = True
        command = f"tensorboard --logdir {shlex.quote(self.root_dir)}"
        if not self._writes_tensorboard:
            command = f"lightning_trackplus.read_run({self.log_dir!r})"
        rank_zero_info(f"The run lies in {self.log_dir}. To look at it: {command}")

    @override
    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_summary_writer": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        _loggers.add(self)

    def _look_for_callback(self) -> None:
        """Say once where a Trainer has nothing that attaches this logger; each run asks for the experiment first."""
        if self._has_looked_for_callback or (run := current_run()) is None:
            return
        self._has_looked_for_callback = True
        if self.adds_callback and not any(
            hasattr(one, "attaches_loggers") for one in trainer_state.callbacks_of(run.trainer)
        ):
            rank_zero_warn(
                "The Trainer has a TrackPlusLogger and no TrackPlus, which reducers, values for each sample and media"
                " need. Write Trainer(callbacks=[TrackPlus()], logger=TrackPlusLogger()). It is added by itself where"
                " the package is installed with its entry points, and the logger is made before the Trainer."
            )

    @property
    def _writes_tensorboard(self) -> bool:
        return "tensorboard" in self._writer_choices

    def _open_experiment(self) -> SummaryWriter:
        if not self._writes_tensorboard:
            return cast("SummaryWriter", NullExperiment(self._run.flush))
        # Imported here, since it needs tensorboard.
        from lightning_trackplus.logger.experiment import DeliveredSummaryWriter  # noqa: PLC0415

        run = self._run
        return DeliveredSummaryWriter(lambda: str(run.allocation.directory), run.put_event, run.flush)


# It has one real base, since the constructors of two would get in each other's way.
for _other in installed_flavours()[1:]:
    _other.pytorch("loggers").TensorBoardLogger.register(TrackPlusLogger)


def loggers_exist() -> bool:
    """Return whether there is a TrackPlusLogger in this process."""
    return bool(_loggers)


def loggers_want_callback() -> bool:
    """Return whether one of them is to bring a `TrackPlus` with it."""
    return any(logger.adds_callback for logger in _loggers)


def trackplus_loggers(trainer: pl.Trainer) -> list[TrackPlusLogger]:
    """Return the TrackPlusLoggers of a Trainer."""
    return [logger for logger in trainer.loggers if isinstance(logger, TrackPlusLogger)]
