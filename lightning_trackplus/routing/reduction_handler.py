"""The reducer lane: numbers with a reduction of ours, or with a value for each sample.

The values of an epoch are gathered in a stream. Lightning is given views of its results: so names,
``_step`` and ``_epoch``, dataloader suffixes, resets, ``callback_metrics`` and the progress bar are
Lightning's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lightning_trackplus.lightning_internals import result_entries, trainer_state
from lightning_trackplus.lightning_internals.classes import MisconfigurationException
from lightning_trackplus.media.base import Media
from lightning_trackplus.media.histogram import Histogram
from lightning_trackplus.record import Counts
from lightning_trackplus.reducers.base import Reducer
from lightning_trackplus.reducers.registry import OneReduction, Reduction, is_native, reducers_of
from lightning_trackplus.reducers.samples import NanPolicy
from lightning_trackplus.reducers.stream import Summary
from lightning_trackplus.routing import rank_sync
from lightning_trackplus.routing.logged_stream import Arguments, LoggedStream, StreamKey
from lightning_trackplus.routing.proxy_metrics import ProxyMetrics
from lightning_trackplus.routing.stream_registry import StreamRegistry
from lightning_trackplus.runtime import distributed

if TYPE_CHECKING:
    import lightning.pytorch as pl


class ReductionHandler:
    """Takes the ``log`` calls of one module that Lightning cannot reduce itself."""

    def __init__(
        self,
        native: Callable[..., None],
        module: pl.LightningModule,
        trainer: pl.Trainer,
        *,
        streams: StreamRegistry,
        nan_policy: NanPolicy,
        deliver: Callable[[str, Media[Any]], None],
    ) -> None:
        self._native = native
        self._module = module
        self._trainer = trainer
        self._streams = streams
        self._nan_policy = nan_policy
        self._deliver = deliver
        self.dataloaders = [0]
        """The evaluation dataloaders that had batches, in their order; the first, of which Lightning knows, always."""
        self._ending: list[LoggedStream] = []
        # What is asked of a name for the epoch, and as a series.
        self._asked: dict[StreamKey, tuple[list[OneReduction], list[OneReduction]]] = {}

    def takes(self, name: str, value: object, *, sync_dist: bool) -> bool:
        """Return whether this lane takes a value that Lightning could take as well.

        It does where the name was logged through it before, since the last batch of a split may have one
        sample; and for a vector that several processes sync, of which another may have more samples.
        """
        if isinstance(value, Tensor) and value.ndim == 1 and sync_dist and distributed.is_distributed():
            return True
        return self._key(name) in self._streams

    def log(self, name: str, value: float | Tensor | Reducer, arguments: Arguments) -> list[LoggedStream]:
        """Take one call.

        Args:
            name: The name.
            value: A scalar; a value for each sample, shape ``(N,)``; or a reducer that has been given its
                values.
            arguments: The other arguments of `LightningModule.log`, by name.

        Returns:
            Where the value went; nothing where the Trainer does not run the module.

        Raises:
            MisconfigurationException: As Lightning's ``log`` does; also if ``reduce_fx`` is no reducer.
        """
        hook = trainer_state.hook_name(self._module)
        if hook is None:
            self._native(name, 0.0)  # Says, as always, that the Trainer does not run this.
            return []
        reduce_fx, batch_size = arguments.pop("reduce_fx"), arguments.pop("batch_size")
        module_metric = value if isinstance(value, Reducer) else None
        reduce_fx = reduce_fx if module_metric is None else module_metric
        on_step, on_epoch = trainer_state.check_levels(self._trainer, hook, arguments["on_step"], arguments["on_epoch"])
        arguments.update(on_step=on_step, on_epoch=on_epoch)
        logged = self._logged(self._key(name), reduce_fx, arguments, module_metric=module_metric)
        self._take(logged, value, batch_size)
        return [logged]

    def log_configured(
        self, reductions: Sequence[OneReduction], name: str, value: float | Tensor, arguments: Arguments
    ) -> list[LoggedStream]:
        """Take a call for the reducers that `TrackPlus` was given for its name, which show beside it.

        Args:
            reductions: The reducers.
            name: The name.
            value: A scalar, or a value for each sample, shape ``(N,)``.
            arguments: The other arguments of `LightningModule.log`, by name.

        Returns:
            Where the value went.
        """
        key, batch_size = self._key(name), arguments.pop("batch_size")
        del arguments["reduce_fx"]
        if key not in self._asked:
            own = self._streams.get(key)
            asked = [one for one in reductions if own is None or own.shows_other_than(one)]
            series = [one for one in asked if self._is_series(key.hook, one)]
            self._asked[key] = [one for one in asked if one not in series], series
        taken = []
        for is_series, reduce_fx in zip((False, True), self._asked[key], strict=True):
            if reduce_fx:
                told = {**arguments, "on_step": is_series, "on_epoch": not is_series, "prog_bar": False}
                logged = self._logged(key._replace(source="steps" if is_series else "epoch"), reduce_fx, told)
                self._take(logged, value, batch_size)
                taken.append(logged)
        return taken

    def begin_epoch(self) -> None:
        """Begin an epoch of training, or go on with it."""
        self.compute_pending()
        self._streams.begin_epoch(self._trainer.current_epoch)

    def begin_evaluation(self) -> None:
        """Begin a validation or a test."""
        self.dataloaders = [0]
        self._streams.begin_evaluation()

    def begin_dataloader(self, index: int) -> None:
        """Note that a batch comes from an evaluation dataloader."""
        if index != self.dataloaders[-1]:
            self.dataloaders.append(index)

    def told(self) -> rank_sync.Told:
        """Return what this process has of the epoch that ends now, for the others."""
        self._ending = [one for one in self._streams if self._ends_now(one) and one.is_registered and one.on_epoch]
        if trainer_state.is_training(self._module):
            self._ending += self._streams.left_over(self._trainer.current_epoch)
        return rank_sync.local_state(self._ending)

    def end_epoch(self, everyone: Sequence[rank_sync.Told]) -> None:
        """Tell Lightning the results of the epoch that ends now."""
        merged = rank_sync.merged(self._ending, everyone, all_show=True)
        self._ending = []
        for dataloader in sorted({one.key.dataloader for one, _ in merged}, key=lambda index: index or 0):
            with result_entries.dataloader_results(self._trainer, dataloader, self.dataloaders):
                for logged, summaries in merged:
                    if logged.key.dataloader == dataloader:
                        self._show_epoch(logged, summaries)
        for logged in self._streams:
            if self._ends_now(logged) and logged.module_metric is None:
                self._reset(logged)

    def compute_pending(self) -> None:
        """Make the results of what an epoch-end hook has logged, when Lightning asks for the first, or at last."""
        if late := [one for one in self._streams if one.views.is_waiting]:
            is_synced = any(one.members for one in late)
            everyone = distributed.all_gather_object(rank_sync.local_state(late)) if is_synced else []
            for logged, summaries in rank_sync.merged(late, everyone, all_show=False):
                self._show_epoch(logged, summaries)
                if logged.module_metric is None:
                    self._reset(logged)

    def _show_epoch(self, logged: LoggedStream, summaries: list[Summary]) -> None:
        logged.warn_of_what_is_missing()
        results = logged.results(summaries)
        numbers = {name: results[name] for name in logged.names.numbers}
        if logged.is_registered:
            logged.views.show_epoch(numbers)
        else:
            self._show_unregistered(logged, numbers)
        if logged.module_metric is not None:
            # As Lightning does with a metric: hooks that end the epoch can still ask it.
            logged.views.once_reset(lambda: self._reset_attached(logged))
        self._deliver_counts(logged, results, "_epoch")

    def _show_unregistered(self, logged: LoggedStream, numbers: dict[str, float]) -> None:
        """Show the results of what was logged in another process, or before a checkpoint, and not in this epoch."""
        told = {**logged.arguments, "on_step": False, "on_epoch": True}
        shown = [(numbers, told)]
        if logged.on_step:
            # Lightning's two names of what is logged in steps as well; it writes one of them.
            quiet = {**told, "logger": False, "prog_bar": False}
            shown = [({f"{name}_epoch": number for name, number in numbers.items()}, told), (numbers, quiet)]
        for named, arguments in shown:
            views = ProxyMetrics(named, str(trainer_state.hook_name(self._module)), logged.key.dataloader, arguments)
            views.register(self._trainer, self._native)
            views.show_epoch(named)

    def _take(self, logged: LoggedStream, value: float | Tensor | Reducer, batch_size: int | None) -> None:
        if not isinstance(value, Reducer):
            place = trainer_state.LoopPosition(self._trainer)
            # What is logged at the end of epochs is a series of epochs.
            step = self._trainer.current_epoch if logged.is_epoch_end_hook else place.step
            logged.add(value, place, batch_size, step)
        if not logged.is_registered or logged.is_epoch_end_hook:
            logged.is_registered = True
            logged.views.register(self._trainer, self._native)
        if logged.is_epoch_end_hook:
            logged.views.wait_for(self.compute_pending)
            return
        is_logged = self._logs_now() if logged.training else logged.on_step
        # Values on a device are waited for only where Lightning would wait as well.
        on_device = isinstance(value, Tensor) and value.device.type != "cpu"
        if logged.on_step and (is_logged or not on_device or logged.arguments["prog_bar"]):
            results = logged.latest()
            logged.views.show_step({name: results[name] for name in logged.names.numbers})
            if is_logged:
                self._deliver_counts(logged, results, "_step")
        if is_logged:
            logged.has_been_logged(trainer_state.LoopPosition(self._trainer).step)

    def _logged(
        self, key: StreamKey, reduce_fx: Reduction, arguments: Arguments, *, module_metric: Reducer | None = None
    ) -> LoggedStream:
        """Return what was logged under a key before, which at first is what Lightning has of it, or nothing."""
        arguments = {**arguments, "logger": arguments["logger"] is not False}  # None is Lightning's default.
        if (known := self._streams.get(key)) is not None:
            known.check_call(reduce_fx, arguments)
            return known
        logged = LoggedStream(
            key,
            reduce_fx,
            arguments,
            training=trainer_state.is_training(self._module),
            nan_policy=self._nan_policy,
            module_metric=module_metric,
        )
        logged.epoch = self._trainer.current_epoch
        self._check_names(logged)
        if is_native(reduce_fx):
            suffix = key.dataloader if arguments["add_dataloader_idx"] else None
            (reducer,) = logged.stream.reducers
            earlier = result_entries.withdraw(self._trainer, key.hook, key.name, suffix, reducer.name)
            if earlier is not None:
                logged.stream.add(earlier[0], weight=earlier[1])
        self._streams.add(logged)
        return logged

    def _check_names(self, logged: LoggedStream) -> None:
        """Raise if the results have names of others; Lightning, which sees them at the end alone, cannot."""
        hook, name, dataloader, _ = logged.key
        for other in self._streams:
            same_place = other.key.dataloader == dataloader or not logged.arguments["add_dataloader_idx"]
            if other.key.hook == hook and same_place and (common := set(other.names.all) & set(logged.names.all)):
                if other.key.dataloader != dataloader:
                    raise MisconfigurationException(
                        f"You called `self.log({name}, ...)` twice in `{hook}` with different arguments. This is not"
                        " allowed"
                    )
                raise MisconfigurationException(
                    f"You called `self.log({name}, ...)` and `self.log({other.key.name}, ...)` in `{hook}`, and both"
                    f" give {', '.join(sorted(common))}; log under names that differ."
                )

    def _reset(self, logged: LoggedStream) -> None:
        logged.reset(*(("epoch",) if logged.training else ("epoch", "run", "log")))

    def _reset_attached(self, logged: LoggedStream) -> None:
        if logged.module_metric is not None and not (logged.training and logged.module_metric.span != "epoch"):
            logged.module_metric.reset()
        logged.is_registered = False

    def _key(self, name: str) -> StreamKey:
        return StreamKey(
            str(trainer_state.hook_name(self._module)), name, trainer_state.LoopPosition(self._trainer).dataloader
        )

    def _logs_now(self) -> bool:
        return trainer_state.is_training(self._module) and trainer_state.logs_this_step(self._trainer)

    def _ends_now(self, logged: LoggedStream) -> bool:
        # A validation may run inside a training epoch, and end before it.
        return logged.training == trainer_state.is_training(self._module)

    def _is_series(self, hook: str, reduction: OneReduction) -> bool:
        (reducer,) = reducers_of(reduction)
        return (
            trainer_state.is_training(self._module)
            and reducer.span != "epoch"
            and trainer_state.may_log_in_steps(self._trainer, hook)
        )

    def _deliver_counts(self, logged: LoggedStream, results: Mapping[str, Any], fork: str) -> None:
        """Give the loggers the results that are counts over bins."""
        if self._trainer.sanity_checking or not logged.arguments["logger"]:
            return
        for name, one in results.items():
            if isinstance(one, Counts):
                full_name = f"{name}{fork}" if logged.on_step and logged.on_epoch else name
                index = logged.key.dataloader if logged.arguments["add_dataloader_idx"] else None
                self._deliver(
                    result_entries.full_name(full_name, index),
                    Histogram.of_counts(one.counts, one.edges, below=one.below, above=one.above),
                )
