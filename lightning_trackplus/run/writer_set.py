"""What a run directory is written by: the writers, and the threads on which they work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lightning_trackplus.delivery.async_writer import AsyncWriter
from lightning_trackplus.delivery.fan_out import joined
from lightning_trackplus.formats.hparams import HparamValue
from lightning_trackplus.formats.layout import MEDIA_INDEX
from lightning_trackplus.run.file_split import event_files_of
from lightning_trackplus.run.journal import Extent
from lightning_trackplus.writers.best_values import MetricModes, Mode
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
        writers: The writers that were asked for.
        x_axis: Over what chosen names stand in TensorBoard.
        hparam_metrics: Which names stand in the HParams tab, and whether the lowest or the highest value is the best.
        charts: The charts of the Custom Scalars tab.
        queue: The options of each delivery: ``flush_secs``, ``overflow`` and ``max_bytes``.
    """

    writers: Sequence[WriterChoice]
    x_axis: Mapping[str, str]
    hparam_metrics: Mapping[str, Mode]
    charts: Charts
    queue: Mapping[str, Any]


class WriterSet:
    """Opens the writers of a run. Ours share one thread; each that was given has one of its own.

    Attributes:
        deliveries: Takes the records.
    """

    def __init__(self, summary: RunSummary, directory: Path, options: OutputOptions) -> None:
        self._session: HParamsWriter | None = None
        self._summary = summary
        names = [choice for choice in options.writers if isinstance(choice, str)]
        ours: list[Writer] = [open_writer(name, directory, options.x_axis) for name in names]
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
        given = [[choice] for choice in options.writers if not isinstance(choice, str)]
        deliveries = [AsyncWriter(some, **options.queue) for some in [ours, *given] if some]
        self._of_ours = deliveries[0] if ours else None
        self.deliveries = joined(deliveries)

    def note_extent(self, note: Callable[[Extent], None], *, seals: bool) -> None:
        """Say how much the run has, on the delivery thread and once all that was handed over before is in the files."""
        if self._of_ours is not None:
            self._of_ours.call(lambda: note(self._extent(seals=seals)))

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

    def close(self, status: str | None = None) -> None:
        """Write what waits and close the files.

        Args:
            status: How the run ended, as Lightning says it; None where that is not known.
        """
        if self._session is not None:
            self._session.status = status
        self.deliveries.close()
