"""Numbers with a reduction that Lightning does not have, or with a value for each sample.

The values of an epoch are collected in a stream. Lightning gets a proxy metric for each result, so that names,
``_step`` and ``_epoch``, dataloader suffixes, resets, ``callback_metrics`` and the progress bar are Lightning's own
work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from lightning_trackplus.lightning_internals import result_entries, trainer_state
from lightning_trackplus.lightning_internals.shared_bases import MisconfigurationException
from lightning_trackplus.media.base import Media
from lightning_trackplus.media.histogram import Histogram
from lightning_trackplus.record import Counts
from lightning_trackplus.reducers.base import Reducer
from lightning_trackplus.reducers.registry import OneReduction, Reduction, is_native, reducers_of
from lightning_trackplus.reducers.types import NanPolicy
from lightning_trackplus.routing import rank_sync
from lightning_trackplus.routing.log_call import Arguments, LogCall
from lightning_trackplus.routing.logged_stream import LoggedStream, StreamKey
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
        # What is asked of a name for the epoch, and as a series.
        self._asked: dict[StreamKey, tuple[list[OneReduction], list[OneReduction]]] = {}

    def takes(self, call: LogCall) -> bool:
        """Return whether this handler takes a value that Lightning could reduce as well.

        It does where it took the name before, since the last batch of a split may have one sample; and it takes a
        vector that several processes sync, since another process may have more samples.
        """
        if isinstance(call.value, Tensor) and call.value.ndim == 1 and call.arguments["sync_dist"]:
            return distributed.is_distributed() or _key(call) in self._streams
        return _key(call) in self._streams

    def log(self, call: LogCall) -> list[LoggedStream]:
        """Take a call with a scalar, a vector of shape ``(N,)``, or a reducer that the module updates.

        Returns:
            Where the value went; nothing where the Trainer does not run the module.

        Raises:
            MisconfigurationException: As Lightning's ``log`` does; also for an unknown ``reduce_fx``.
        """
        if call.hook is None:
            self._native(call.name, 0.0)  # Raises that the Trainer does not run the module.
            return []
        module_metric = call.value if isinstance(call.value, Reducer) else None
        reduce_fx = call.reduce_fx if module_metric is None else module_metric
        wanted = call.arguments["on_step"], call.arguments["on_epoch"]
        on_step, on_epoch = trainer_state.check_levels(self._trainer, call.hook, *wanted)
        levels = {"on_step": on_step, "on_epoch": on_epoch}
        logged = self._logged(_key(call), reduce_fx, call, levels, module_metric)
        self._take(logged, call)
        return [logged]

    def log_configured(self, reductions: Sequence[OneReduction], call: LogCall) -> list[LoggedStream]:
        """Take a call for the reducers that `TrackPlus` has for its name; return where the value went."""
        key = _key(call)
        if key not in self._asked:
            own = self._streams.get(key)
            asked = [one for one in reductions if own is None or own.shows_other_than(one)]
            series = [one for one in asked if self._is_series(key.hook, one)]
            self._asked[key] = [one for one in asked if one not in series], series
        streams = []
        for is_series, reduce_fx in zip((False, True), self._asked[key], strict=True):
            if reduce_fx:
                source: Literal["steps", "epoch"] = "steps" if is_series else "epoch"
                options = {"on_step": is_series, "on_epoch": not is_series, "prog_bar": False}
                logged = self._logged(key._replace(source=source), reduce_fx, call, options)
                self._take(logged, call)
                streams.append(logged)
        return streams

    def begin_epoch(self) -> None:
        """Begin an epoch of training, or continue it."""
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

    def ending(self) -> list[LoggedStream]:
        """Return the streams of this process whose epoch ends now."""
        streams = [one for one in self._streams if self._ends_now(one) and one.is_registered and one.on_epoch]
        if trainer_state.is_training(self._module):
            streams += self._streams.left_over(self._trainer.current_epoch)
        return streams

    def end_epoch(self, merged: rank_sync.Merged) -> None:
        """Show Lightning the results of the epoch that ends now."""
        for dataloader in sorted({one.key.dataloader for one, _ in merged}, key=lambda index: index or 0):
            with result_entries.dataloader_results(self._trainer, dataloader, self.dataloaders):
                for logged, results in merged:
                    if logged.key.dataloader == dataloader:
                        self._show_epoch(logged, results)
        for logged in self._streams:
            if self._ends_now(logged) and logged.module_metric is None:
                self._reset(logged)

    def compute_pending(self) -> None:
        """Compute the results of what an epoch-end hook has logged, when Lightning asks for the first, or at last."""
        if late := [one for one in self._streams if one.proxies.is_waiting]:
            with distributed.alone(self._trainer.world_size == 1):
                merged = rank_sync.sync_streams(late)
            for logged, results in merged:
                self._show_epoch(logged, results)
                if logged.module_metric is None:
                    self._reset(logged)

    def _show_epoch(self, logged: LoggedStream, results: Mapping[str, Any]) -> None:
        logged.warn_of_what_is_missing()
        numbers = {name: results[name] for name in logged.names.numbers}
        if logged.is_registered:
            logged.proxies.show_epoch(numbers)
        else:
            self._show_unregistered(logged, numbers)
        if logged.module_metric is not None:
            # As Lightning does with a metric: hooks that end the epoch can still ask it.
            logged.proxies.once_reset(lambda: self._reset_attached(logged))
        self._deliver_counts(logged, results, "_epoch")

    def _show_unregistered(self, logged: LoggedStream, numbers: dict[str, float]) -> None:
        """Show the results of what was logged in another process, or before a checkpoint, and not in this epoch."""
        arguments = {**logged.arguments, "on_step": False, "on_epoch": True}
        shown = [(numbers, arguments)]
        if logged.on_step:
            # Lightning's two names of what is logged in steps as well; it writes one of them.
            quiet = {**arguments, "logger": False, "prog_bar": False}
            shown = [({f"{name}_epoch": number for name, number in numbers.items()}, arguments), (numbers, quiet)]
        for named, options in shown:
            proxies = ProxyMetrics(named, str(trainer_state.hook_name(self._module)), logged.key.dataloader, options)
            proxies.register(self._trainer, self._native)
            proxies.show_epoch(named)

    def _take(self, logged: LoggedStream, call: LogCall) -> None:
        value = call.value
        if not isinstance(value, Reducer):
            # What is logged at the end of epochs is a series of epochs.
            step = self._trainer.current_epoch if logged.is_epoch_end_hook else call.position.step
            logged.add(value, call.position, call.arguments["batch_size"], step)
        if not logged.is_registered or logged.is_epoch_end_hook:
            logged.is_registered = True
            logged.proxies.register(self._trainer, self._native)
        if logged.is_epoch_end_hook:
            logged.proxies.wait_for(self.compute_pending)
            return
        is_logged = trainer_state.logs_this_step(self._trainer) if logged.training else logged.on_step
        # Values on a device are waited for only where Lightning would wait as well.
        on_device = isinstance(value, Tensor) and value.device.type != "cpu"
        if logged.on_step and (is_logged or not on_device or logged.arguments["prog_bar"]):
            results = logged.latest()
            logged.proxies.show_step({name: results[name] for name in logged.names.numbers})
            if is_logged:
                self._deliver_counts(logged, results, "_step")
        if is_logged:
            logged.has_been_logged(call.position.step)

    def _logged(
        self,
        key: StreamKey,
        reduce_fx: Reduction,
        call: LogCall,
        options: Mapping[str, bool],
        module_metric: Reducer | None = None,
    ) -> LoggedStream:
        """Return the stream of a key; a new one starts with what Lightning has accumulated under its name."""
        arguments: Arguments = {**call.arguments, **options, "logger": call.arguments["logger"] is not False}
        del arguments["batch_size"]
        if (known := self._streams.get(key)) is not None:
            known.check_call(reduce_fx, arguments)
            return known
        logged = LoggedStream(
            key,
            reduce_fx,
            arguments,
            training=not trainer_state.is_of_evaluation(call.hook),
            nan_policy=self._nan_policy,
            module_metric=module_metric,
        )
        logged.epoch = self._trainer.current_epoch
        self._check_names(logged)
        if is_native(reduce_fx):
            (reducer,) = logged.stream.reducers
            earlier = result_entries.withdraw(self._trainer, key.hook, call.name, call.dataloader, reducer.name)
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


def _key(call: LogCall) -> StreamKey:
    # A name may be of a class of its own, such as an enum, which other processes and checkpoints need not know.
    return StreamKey(str(call.hook), str.__str__(call.name), call.position.dataloader)
