"""TrackPlusLogger: Lightning's logger face over delivery."""

from __future__ import annotations

import operator
import os
import threading
import time
import weakref
from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import lightning.pytorch as pl
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.core.saving import save_hparams_to_yaml
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_only, rank_zero_warn
from torch import Tensor
from typing_extensions import override

from lightning_trackplus import seam
from lightning_trackplus.deliveries import Deliveries
from lightning_trackplus.delivery import DEFAULT_MAX_BYTES
from lightning_trackplus.direct_calls import DirectCalls
from lightning_trackplus.flat_numbers import flat_numbers
from lightning_trackplus.hparams import Shown, check_hparam_metrics, flat_hparams
from lightning_trackplus.late_numbers import on_their_way
from lightning_trackplus.media.media import Media
from lightning_trackplus.monitors import monitored
from lightning_trackplus.no_experiment import NoExperiment
from lightning_trackplus.queue_room import Overflow, check_queue
from lightning_trackplus.record import Record
from lightning_trackplus.run.batch_steps import BatchSteps
from lightning_trackplus.run.claim import RunClaim, local_or_url
from lightning_trackplus.run.lock import parents
from lightning_trackplus.run.output import RunOutput
from lightning_trackplus.run.resumed import Resumed
from lightning_trackplus.run.rewinding import complete_rewind, rewind
from lightning_trackplus.trainer_clock import TrainerClock
from lightning_trackplus.writers.name_axes import check_x_axis, prefixed_axes
from lightning_trackplus.writers.names import WriterChoice, available
from lightning_trackplus.writers.run_summary import Mode, RunSummary

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_loggers: weakref.WeakSet[TrackPlusLogger] = weakref.WeakSet()
_opening = threading.Lock()


class TrackPlusLogger(TensorBoardLogger, DirectCalls):
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
        prefix: Put before every name, with a dash.
        sub_dir: A folder below the run's own that takes events, CSV and media.
        log_graph: Write the module's graph for TensorBoard; needs ``example_input_array`` there.
        default_hp_metric: Write ``hp_metric = -1`` with hyper-parameters, as Lightning does by default.
        x_axis: Over what chosen names stand in TensorBoard instead of the global step, by name: ``"epoch"``, or the
            name of a logged scalar, rounded to a whole number. In the name, ``*`` and ``?`` stand for any characters
            and for any one. ``metrics.csv`` always has both.
        hparam_metrics: What stands beside the hyper-parameters in TensorBoard's HParams tab: the best values so far
            of these names, the lowest (``"min"``) or the highest (``"max"``).
        flush_secs: Seconds after which what was logged is in the files at the latest.
        media_overflow: What happens where media come faster than they are written: ``"block"``, training waits, or
            ``"drop"``, they are dropped and counted. Numbers are never dropped.
        max_queue_bytes: How much memory what waits to be written may hold, in bytes; with ``"drop"``, media and
            numbers may hold as much each. A medium larger than that waits alone.

    Raises:
        ValueError: If a writer is unknown, there is none, ``save_dir`` is a URL, or another option is none of these.
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
        flush_secs: float = 1.0,
        media_overflow: Overflow = "block",
        max_queue_bytes: int = DEFAULT_MAX_BYTES,
    ) -> None:
        check_queue(flush_secs, media_overflow, max_queue_bytes)
        check_x_axis(x_axis or {})
        check_hparam_metrics(hparam_metrics or {})
        sub_dir = None if sub_dir is None else os.fspath(sub_dir)
        self._writer_choices = available(writers)
        if self._writes_tensorboard:
            super().__init__(".", name, version, log_graph, default_hp_metric, prefix, sub_dir)
        else:
            seam.init_without_tensorboard(self, name, version, prefix=prefix, sub_dir=sub_dir)
        self._claim = RunClaim(None if save_dir is None else local_or_url(save_dir), self.name, version, sub_dir)
        self._x_axis = dict(x_axis or {})
        self._has_default_hp_metric = default_hp_metric
        self._name_prefix = f"{prefix}{self.LOGGER_JOIN_CHAR}" if prefix else ""
        self._queue_options: dict[str, Any] = {
            "flush_secs": flush_secs,
            "overflow": media_overflow,
            "max_bytes": int(max_queue_bytes),
        }
        self._hparam_metrics = {self._name_prefix + name: mode for name, mode in (hparam_metrics or {}).items()}
        self._modes = self._hparam_metrics
        self._shown_hparams: dict[str, Shown] = {}
        self._clock = TrainerClock()
        self._batch_steps = BatchSteps()
        self._resumed: Resumed | None = None
        self._output: RunOutput | None = None
        self._flushes_next = False
        self._end_with_logger: weakref.finalize[Any, Any] | None = None
        # It goes on where it was when the run's files are opened again.
        self._summary: RunSummary | None = None
        # The process that writes; those that it forks or spawns do not, unless a Trainer runs there.
        self._owner: int | None = None
        self._summary_writer: SummaryWriter | None = None
        self._wrote_hparams = self._failed_hparams = False
        _loggers.add(self)

    @property
    @override
    def save_dir(self) -> str:
        """Where the runs lie."""
        return self._claim.save_dir

    @property
    @override
    def root_dir(self) -> str:
        """Where the runs of this experiment lie, ``save_dir/name``."""
        return os.path.join(self.save_dir, self.name)

    @property
    @override
    def version(self) -> int | str:
        """The run's number, or the name of its folder if it was given one."""
        return self._claim.version

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
        """Learn whose run this is: where it lies, and its step and epoch from now on.

        `TrackPlus` calls this in all processes; without it, a callback that the package adds to the Trainer.

        Args:
            trainer: The Trainer that has this logger.

        Raises:
            RunInUseError: If a living process writes to the run that was asked for.
        """
        self._clock.follow(trainer)
        self._claim.share(trainer)
        self._owner = os.getpid()
        self._modes = {**monitored(trainer, self._name_prefix), **self._hparam_metrics}
        if self._output is not None:
            self._output.set_modes(self._modes)

    def before_checkpoint(self) -> None:
        """Bring what is logged up to a checkpoint into the files at once: a run that is resumed from it has that.

        Lightning hands over the numbers of the checkpoint's step after the checkpoint.
        """
        self._flushes_next = self._output is not None

    @rank_zero_only
    def rewind(self, step: int) -> None:
        """Move what the run has from a step on into a backup in its directory: it is logged anew.

        `TrackPlus` calls this where a training is resumed; without it, a callback that the package adds.

        Args:
            step: The first global step that is logged from now on.
        """
        directory = self._claim.take()
        self._close_output(None)
        self._summary, self._batch_steps = None, BatchSteps()
        try:
            backup = rewind(directory, step)
        except OSError as error:
            rank_zero_warn(f"What {directory} has from step {step} on could not be moved to a backup: {error}")
            return
        self._resumed = Resumed(directory, step)
        if backup is not None:
            rank_zero_info(f"What {directory} had from step {step} on is in {backup} now: the run goes on from there.")

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
        numbers = flat_numbers(metrics)
        if step is None:
            current_step, _ = self._clock.now()
            step = int(numbers.pop("step", current_step))
        epoch, waiting_step = numbers.get("epoch"), None
        epoch = float(epoch) if isinstance(epoch, Tensor) else epoch
        if epoch is None:
            epoch, waiting_step = self._clock.of_numbers()
        step = operator.index(step)
        if prefix := self._name_prefix:
            numbers = {prefix + name: number for name, number in numbers.items()}
        if counts_batches := waiting_step is not None:
            self._open_delivery()  # It reads which batches a continued run has.
            step = self._batch_steps.next(numbers, step)
        elif self._resumed is not None:
            numbers = self._resumed.without_what_was_logged(step, numbers)
        self._clock.set(step, epoch)
        if numbers:
            record = Record(
                step,
                epoch,
                time.time(),
                on_their_way(numbers),
                only_numbers=True,
                counts_batches=counts_batches,
                waiting_step=waiting_step,
            )
            delivery = self._open_delivery()
            delivery.put(record)
            if self._flushes_next:
                self._flushes_next = False
                delivery.flush_soon()

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
        self._open_delivery().put_medium(self._name_prefix + key, media, step, epoch, time.time())

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
        super().log_hyperparams(params, {})  # Without metrics it writes nothing, and keeps them for hparams.yaml.
        self._shown_hparams = {**self._shown_hparams, **flat_hparams(params)}
        if self._output is not None:
            self._output.set_hparams(self._shown_hparams)
        if metrics is None and self._has_default_hp_metric:
            metrics = {"hp_metric": -1}
        if metrics is not None:
            self.log_metrics(metrics if isinstance(metrics, dict) else {"hp_metric": metrics}, step)

    @override
    @rank_zero_only
    def save(self) -> None:
        """Write hparams.yaml, once there is something in the run directory; what was logged is written without this."""
        # The Trainer asks after each record; to look at the folder each time would take longer than to log.
        if self._wrote_hparams or (self._output is not None and not self._output.deliveries.has_flushed()):
            return
        directory = self._claim.directory
        if not directory.is_dir() or not any(directory.iterdir()):
            return
        file = directory / self.NAME_HPARAMS_FILE
        self._wrote_hparams, self._failed_hparams = True, False
        try:
            if not file.is_file():
                save_hparams_to_yaml(file, self.hparams)
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
            self._close_output(status)
            self._wrote_hparams = self._wrote_hparams and not self._failed_hparams
            self.save()
        finally:
            if self._owner not in parents():
                self._claim.release()

    def _close_output(self, status: str | None) -> None:
        output, self._output = self._output, None
        if self._end_with_logger is not None:
            self._end_with_logger.detach()
            self._end_with_logger = None
        if output is not None:
            output.close(status)

    @override
    def __getstate__(self) -> dict[str, Any]:
        left_behind = ("_output", "_summary_writer", "_summary", "_end_with_logger")
        return {**self.__dict__, **dict.fromkeys(left_behind)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        _loggers.add(self)

    @property
    def _writes_tensorboard(self) -> bool:
        return "tensorboard" in self._writer_choices

    def _open_delivery(self) -> Deliveries:
        """Return what takes the records, which is opened for the first one."""
        output = self._output
        # A forked process has inherited the deliveries, but not their threads.
        if output is not None and output.deliveries.is_of_this_process():
            return output.deliveries
        with _opening:
            if self._output is None or not self._output.deliveries.is_of_this_process():
                self._output = self._new_output()
            return self._output.deliveries

    def _new_output(self) -> RunOutput:
        if self._owner in parents():
            rank_zero_warn(
                "Something was logged in a process that the one which writes the run has begun, such as a worker of a"
                " DataLoader. It is not written: log in the process that trains."
            )
            directory = self._claim.directory
            return RunOutput(RunSummary(directory), directory, (), x_axis={}, hparam_metrics={}, queue_options={})
        directory = self._claim.take()
        self._owner = os.getpid()
        complete_rewind(directory)
        self._batch_steps.go_on(directory)
        self._summary = self._summary or RunSummary(directory)
        output = RunOutput(
            self._summary,
            directory,
            self._writer_choices,
            x_axis=prefixed_axes(self._x_axis, self._name_prefix),
            hparam_metrics=self._hparam_metrics,
            queue_options=self._queue_options,
        )
        output.set_hparams(self._shown_hparams)
        output.set_modes(self._modes)
        # A logger that nobody finalizes is written out when it goes.
        self._end_with_logger = weakref.finalize(self, _end, output, self._claim)
        return output

    def _open_experiment(self) -> SummaryWriter:
        if not self._writes_tensorboard:
            return cast("SummaryWriter", NoExperiment())
        # Imported here, since it needs tensorboard.
        from lightning_trackplus.experiment import DeliveredSummaryWriter  # noqa: PLC0415

        return DeliveredSummaryWriter(lambda: str(self._claim.directory), self._open_delivery, self._flush)

    def _flush(self) -> None:
        if self._output is not None:
            self._output.deliveries.flush()


def loggers_exist() -> bool:
    """Return whether there is a TrackPlusLogger in this process."""
    return bool(_loggers)


def _end(output: RunOutput, claim: RunClaim) -> None:
    # A process that was forked from the one that writes ends as well, and leaves to that what is its.
    if not output.deliveries.is_of_this_process():
        return
    if output.deliveries.is_current_thread():
        # The garbage collector runs on any thread, and one of these cannot wait for its own end.
        threading.Thread(target=_end, args=(output, claim)).start()
        return
    output.close()
    claim.release()
