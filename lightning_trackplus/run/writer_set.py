"""The writers of a run, and the threads on which they write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lightning_trackplus.delivery.async_writer import AsyncWriter
from lightning_trackplus.delivery.fan_out import FanOut
from lightning_trackplus.formats.flat_hparams import HparamValue
from lightning_trackplus.formats.layout import MEDIA_INDEX
from lightning_trackplus.formats.summary import Mode
from lightning_trackplus.run.file_split import event_files_of
from lightning_trackplus.run.journal import Extent
from lightning_trackplus.runtime import forks
from lightning_trackplus.writers.best_values import MetricModes
from lightning_trackplus.writers.charts import Charts, ChartsWriter
from lightning_trackplus.writers.csv import CSVWriter
from lightning_trackplus.writers.protocol import Writer
from lightning_trackplus.writers.registry import WriterChoice, open_writer
from lightning_trackplus.writers.run_summary import RunSummary

if TYPE_CHECKING:
    from lightning_trackplus.writers.hparams import HParamsWriter


class OutputOptions(NamedTuple):
    """How a run is written.

    Attributes:
        writers: The writers of the run.
        x_axis: X axis in TensorBoard for selected names.
        hparam_metrics: Names in the HParams tab, and whether the lowest or the highest value of each is the best.
        charts: The charts of TensorBoard's Custom Scalars tab.
        draw_captions: Whether images in TensorBoard have their captions and scores below them.
        queue: The options of each `AsyncWriter`: ``flush_secs``, ``overflow`` and ``max_bytes``.
    """

    writers: Sequence[WriterChoice]
    x_axis: Mapping[str, str]
    hparam_metrics: Mapping[str, Mode]
    charts: Charts
    draw_captions: bool
    queue: Mapping[str, Any]


class WriterSet:
    """Opens the writers of a run: the package's own on one thread, each of the user's on a thread of its own.

    Attributes:
        writer: Writes to all of them.
    """

    def __init__(self, summary: RunSummary, directory: Path, options: OutputOptions) -> None:
        self._session: HParamsWriter | None = None
        self._summary = summary
        names = [choice for choice in options.writers if isinstance(choice, str)]
        captions = options.draw_captions
        ours: list[Writer] = [open_writer(name, directory, options.x_axis, draw_captions=captions) for name in names]
        if "tensorboard" in names:
            # Imported here, since they need tensorboard.
            from lightning_trackplus.writers.hparams import BestMetrics, HParamsWriter  # noqa: PLC0415

            events = ours[names.index("tensorboard")]
            self._session = HParamsWriter(directory, {})
            best = [BestMetrics(summary, options.hparam_metrics, events)] if options.hparam_metrics else []
            charts = [ChartsWriter(directory, options.charts)] if options.charts else []
            ours = [*charts, self._session, *best, *ours]
        # The summary reads what is there before the others add to it.
        ours = [self._summary, *ours] if ours else []
        self._directory = directory
        self._csv = next((writer for writer in ours if isinstance(writer, CSVWriter)), None)
        self._ours = AsyncWriter(FanOut(ours), **options.queue) if ours else None
        given = [choice for choice in options.writers if not isinstance(choice, str)]
        self._threads = [self._ours] if self._ours is not None else []
        self._threads += [AsyncWriter(choice, **options.queue) for choice in given]
        # A fan-out of one would cost a tenth of a call of `log_metrics`.
        self.writer: AsyncWriter | FanOut = self._threads[0] if len(self._threads) == 1 else FanOut(self._threads)
        self._fork = forks.count

    def note_extent(self, note: Callable[[Extent], None], *, seals: bool) -> None:
        """Note how much the run has, once all records until now are in the files; does not wait for that."""
        if self._ours is not None:
            self._ours.call(lambda: note(self._extent(seals=seals)))

    def _extent(self, *, seals: bool) -> Extent:
        if self._csv is not None and seals:
            self._csv.seal()
        rows = 0 if self._csv is None else self._csv.row_count()
        files = [self._directory / MEDIA_INDEX, *event_files_of(self._directory)]
        sizes = {path.relative_to(self._directory).as_posix(): path.stat().st_size for path in files if path.is_file()}
        return Extent(rows, sizes)

    def set_hparams(self, params: Mapping[str, HparamValue]) -> None:
        """Set the hyper-parameters of the HParams tab."""
        if self._session is not None:
            self._session.params = params

    def set_modes(self, modes: MetricModes) -> None:
        """Set which values are the best ones in ``summary.json``."""
        self._summary.set_modes(modes)

    def flush_soon(self) -> None:
        """Start to bring all records into the files; does not wait."""
        for one in self._threads:
            one.flush_soon()

    def has_flushed(self) -> bool:
        """Return whether any record is in the files."""
        return any(one.has_flushed() for one in self._threads)

    def is_current_thread(self) -> bool:
        """Return whether the caller runs on a thread that writes."""
        return any(one.is_current_thread() for one in self._threads)

    def is_of_this_process(self) -> bool:
        """Return whether the threads run in this process, and not in the one that it was forked from."""
        return self._fork == forks.count

    def close(self, status: str | None = None) -> None:
        """Write what waits and close the files; ``status`` is Lightning's for the end of the run, if it is known."""
        if self._session is not None:
            self._session.status = status
        self.writer.close()
