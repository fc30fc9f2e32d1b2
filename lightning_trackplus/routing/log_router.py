"""Looks at the value of a ``self.log`` call and picks what handles it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Number
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from lightning_trackplus.lightning_internals import result_entries, trainer_state
from lightning_trackplus.lightning_internals.fast_path import FastPath, obstacle
from lightning_trackplus.lightning_internals.shared_bases import MisconfigurationException
from lightning_trackplus.media.base import Media
from lightning_trackplus.media.heat_map import HeatMap
from lightning_trackplus.media.infer_media import infer_media
from lightning_trackplus.media.selection import is_selection
from lightning_trackplus.reducers.base import Reducer
from lightning_trackplus.reducers.registry import is_native
from lightning_trackplus.reducers.types import NanPolicy
from lightning_trackplus.routing import rank_sync
from lightning_trackplus.routing.call_cache import CallCache
from lightning_trackplus.routing.configured_reducers import ConfiguredReducers
from lightning_trackplus.routing.log_call import LogCall, check_is_no_list
from lightning_trackplus.routing.logged_stream import LoggedStream
from lightning_trackplus.routing.media_handler import MediaHandler
from lightning_trackplus.routing.metric_results import MetricResults
from lightning_trackplus.routing.metrics_dispatch import MetricsDispatch
from lightning_trackplus.routing.module_log import ModuleLog
from lightning_trackplus.routing.reduction_handler import ReductionHandler
from lightning_trackplus.routing.stream_registry import StreamRegistry
from lightning_trackplus.runtime import distributed
from lightning_trackplus.runtime.warn import warn_once

if TYPE_CHECKING:
    import lightning.pytorch as pl

_NUMBER, _SAMPLES, _METRIC = "a number", "values for each sample", "a metric"
_NUMBERS = {_NUMBER, _SAMPLES, _METRIC}
# What a metric results in can be these as well.
_OF_METRICS = {_METRIC, "HeatMap", "Figure of matplotlib"}


class LogRouter:
    """Takes the ``log`` calls of one Trainer's run of a module.

    What Lightning can take goes to Lightning, unchanged. Media go to the `MediaHandler`; numbers with another
    reduction, or with a value for each sample, to the `ReductionHandler`.
    """

    def __init__(
        self,
        module: pl.LightningModule,
        trainer: pl.Trainer,
        *,
        streams: StreamRegistry,
        configured: ConfiguredReducers,
        nan_policy: NanPolicy,
        fast: bool,
    ) -> None:
        self._module = module
        self._trainer = trainer
        self._module_log = ModuleLog.of(module)
        self.media = MediaHandler(module, trainer)
        self.reducers = ReductionHandler(
            self._log_in_lightning,
            module,
            trainer,
            streams=streams,
            nan_policy=nan_policy,
            deliver=self.media.deliver,
        )
        self._metrics = MetricResults(self._log_in_lightning, module, trainer, self.media.deliver)
        self._fast: FastPath | None = None
        if fast and not trainer.barebones and _can_be_fast(trainer, self._module_log.native):
            self._fast = FastPath(trainer, MetricsDispatch(trainer))
        self.calls = CallCache(module, trainer, self._fast)
        self._configured = configured
        # What was logged under each name: numbers, values for each sample, a metric, or a kind of medium.
        self._kinds: dict[str, str] = {}
        # What has parts that are not synced.
        self._unsynced: set[tuple[str, str]] = set()
        self._module_log.add(trainer, self)

    def close(self) -> None:
        """Take no more calls."""
        self._module_log.remove(self._trainer)
        self.media.close()
        self._metrics.close()
        if self._fast is not None:
            self._fast.close()

    def begin_training(self) -> None:
        """Begin a training."""
        self.media.begin()

    def begin_epoch(self) -> None:
        """Begin an epoch of training, or continue it."""
        self._metrics.begin()
        self.reducers.begin_epoch()

    def begin_evaluation(self) -> None:
        """Begin a validation or a test."""
        self.calls.begin_evaluation()
        self._metrics.begin()
        self.media.begin()
        self.reducers.begin_evaluation()

    def end_epoch(self) -> None:
        """Log the results of the epoch that ends now, those of all processes together."""
        with distributed.alone(self._trainer.world_size == 1):
            merged, media = rank_sync.sync_epoch(self.reducers.ending(), self.media.ending())
        self.media.end_epoch(media)
        self.reducers.end_epoch(merged)

    def log(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Take a ``self.log`` call that was not seen before."""
        if self._trainer.barebones:
            self._module_log.native("", 0.0)  # Says, as always, that nothing is logged.
            return
        names = kwargs.pop("names", None)
        hook, position = trainer_state.hook_name(self._module), trainer_state.LoopPosition(self._trainer)
        try:
            call = LogCall.of(args, kwargs, hook, position)
        except TypeError:
            self._module_log.native(*args, **kwargs)  # Its error says it best.
            return
        self._log(call if names is None else call._replace(names=[str(name) for name in names]))

    def log_dict(self, values: dict[str, Any], kwargs: dict[str, Any]) -> None:
        """Take a ``self.log_dict`` call."""
        left = self.calls.try_replay_all(values, kwargs)
        if left is None or left:
            self._module_log.native_log_dict(values if left is None else left, **kwargs)
            self.calls.remember_all(values, kwargs)

    def _log_in_lightning(self, *args: Any, **kwargs: Any) -> None:
        """Call Lightning's own ``log`` for this Trainer."""
        with trainer_state.run_by(self._module, self._trainer):
            self._module_log.native(*args, **kwargs)

    def _log(self, call: LogCall) -> None:
        """Give a call to what handles its value."""
        name, value, names = call.name, call.value, call.names
        if isinstance(value, Tensor | np.ndarray) and value.ndim > 1:
            self._check_dimensions(call)
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            # torch has neither the other order of bytes nor strides below zero.
            value = torch.from_numpy(np.array(value, dtype=value.dtype.newbyteorder("=")))
            call = call.of_part(name, value)
        if isinstance(value, Mapping | MetricCollection):
            self._begin_parts(call, value)
            for part, one in value.items():
                self._log_part(call.of_part(f"{name}/{part}", one))
        elif isinstance(value, Metric) and not isinstance(value, Reducer):
            _check_metric(call)
            self._check_kind(call, _METRIC)
            is_native = self._metrics.log(call)
            self._show_nothing(name, value)
            if is_native:
                self.calls.remember(call, native=True)
        elif names is not None and not _is_matrix(call):
            _check_names(name, value, names)
            parts = dict(zip(names, value, strict=True))
            self._begin_parts(call, parts)
            for part, one in parts.items():
                self._log_part(call.of_part(f"{name}/{part}", one)._replace(names=None, is_element=True))
        elif (media := _media_of(call)) is not None:
            self._check_kind(call, media.media_type)
            self._show_nothing(name, media)
            logged = self.media.log(call, media)
            if logged is not None and media is value:
                self.calls.remember(call, media=logged)
        else:
            self._log_numbers(call)

    def _begin_parts(self, call: LogCall, parts: Mapping[Any, Any] | MetricCollection) -> None:
        """Say of a value with parts what is to be said of it once, and not of each part."""
        name, hook, arguments = call.name, call.hook, call.arguments
        self._show_nothing(name, parts)
        if hook is None or (hook, name) in self._unsynced or not distributed.is_distributed() or arguments["sync_dist"]:
            return
        self._unsynced.add((hook, name))
        _, on_epoch = trainer_state.check_levels(self._trainer, hook, arguments["on_step"], arguments["on_epoch"])
        numbers = [f"{name}/{part}" for part, one in parts.items() if isinstance(one, Number | Tensor | np.ndarray)]
        if on_epoch and numbers:
            result_entries.say_nothing_of_no_sync(numbers)
            result_entries.warn_of_no_sync(name)

    def _log_part(self, call: LogCall) -> None:
        """Log a part of a value, which may have been seen before under its name."""
        if call.names is not None or not self.calls.try_replay(call.args, call.kwargs):
            self._log(call)

    def _check_dimensions(self, call: LogCall) -> None:
        """Raise if a value has two dimensions or more, and nobody can tell what they mean."""
        value, earlier = call.value, self._kinds.get(_shown_name(call), _NUMBER)
        if _is_matrix(call) or (call.names is not None and value.ndim > 2):  # noqa: PLR2004  the names' error says more
            return
        # One number is Lightning's, but for the last batch of those that had more.
        if earlier not in (_NUMBER, _METRIC) or math.prod(value.shape) != 1:
            raise ValueError(
                f"self.log({call.name!r}, …) got {'a tensor' if isinstance(value, Tensor) else 'an array'} of shape"
                f" {tuple(value.shape)}; it takes a scalar, or one value for each sample in one dimension. Write"
                " `.mean()` if one number is meant, `.flatten()` if every number is a sample, `HeatMap(…)` around a"
                " matrix, or `Image(…)` around pixels."
            )

    def _check_kind(self, call: LogCall, kind: str) -> None:
        """Raise if a name, which is of one kind for the whole run, has another one."""
        if self._kinds.get(call.name) == kind or call.hook is None:
            return  # Outside of a hook nothing is logged.
        name = _shown_name(call)
        earlier = self._kinds.setdefault(name, kind)
        if earlier != kind and not ({earlier, kind} <= _NUMBERS or {earlier, kind} <= _OF_METRICS):
            raise ValueError(
                f"self.log({call.name!r}, …) got {kind} after {earlier}; a name is of one kind for the whole run. Log"
                " them under two names."
            )
        if kind == _SAMPLES:
            self._kinds[name] = kind

    def _log_numbers(self, call: LogCall) -> None:
        """Take a number or several, and remember where they went."""
        value = call.value
        if isinstance(value, Reducer):
            self._check_kind(call, _METRIC)
        elif isinstance(value, Number | Tensor):
            self._check_kind(call, _SAMPLES if isinstance(value, Tensor) and value.numel() > 1 else _NUMBER)
        is_native = not self._is_ours(call)
        logged: list[LoggedStream] = []
        if is_native:
            self._module_log.native(*call.args, **call.kwargs)
        else:
            logged += self.reducers.log(call)
        logged += self._log_configured(call)
        self.calls.remember(call, logged, native=is_native)

    def _log_configured(self, call: LogCall) -> list[LoggedStream]:
        """Take a call for the reducers that `TrackPlus` was given for its name."""
        if not self._configured or call.hook is None:
            return []
        # A pattern means what there are many values of in an epoch.
        in_full = call.is_element or not trainer_state.may_log_in_steps(self._trainer, call.hook)
        reductions = self._configured.of(call.name, in_full=in_full)
        if not reductions:
            return []
        if isinstance(call.value, Reducer):
            self._show_nothing(call.name, call.value)
            return []
        if isinstance(call.value, int | float | Tensor):
            return self.reducers.log_configured(reductions, call)
        return []

    def _show_nothing(self, name: str, what: object) -> None:
        """Warn once if reducers are configured for exactly this name and its value cannot be reduced."""
        if not self._configured.of(name, in_full=True):
            return
        if isinstance(what, Metric):
            reason = f"it is logged as the metric {type(what).__name__}, which reduces itself"
        elif isinstance(what, Media):
            reason = f"it is logged as the medium {type(what).__name__}, and reducers are for numbers"
        else:
            reason = f"it is logged as several values, under names of their own such as '{name}/…'"
        warn_once(f"TrackPlus(reducers=…) has reducers for {name!r}, which show nothing: {reason}.")

    def _is_ours(self, call: LogCall) -> bool:
        """Return whether a call is for our reducers; if not, Lightning also judges what nobody takes."""
        value, has_native_fx = call.value, is_native(call.reduce_fx)
        if isinstance(value, Tensor) and (value.numel() != 1 or not has_native_fx):
            _check_values(call.name, value)
            return True
        if not isinstance(value, Number | Tensor | Reducer):
            check_is_no_list(call.name, value)
            return False
        if isinstance(value, Reducer):
            _check_metric(call)
            return True
        return not has_native_fx or self.reducers.takes(call)


def _can_be_fast(trainer: pl.Trainer, log: Callable[..., None]) -> bool:
    """Return whether the fast path can be used; warn once where it cannot."""
    if (why := obstacle(trainer, log)) is not None:
        warn_once(
            f"TrackPlus does not use its fast path, since {why}. Every call of self.log takes Lightning's own path: the"
            " results are the same, at Lightning's own cost. TrackPlus(fast=False) does the same without this warning."
        )
    return why is None


def _is_matrix(call: LogCall) -> bool:
    """Return whether a value is to be a heat map: a matrix whose classes have names, and that no reducer gets."""
    if call.names is None or not isinstance(call.value, Tensor | np.ndarray):
        return False
    is_reduced = call.reduce_fx != "mean" and not is_selection(call.reduce_fx)
    return call.value.ndim == 2 and not is_reduced  # noqa: PLR2004  rows and columns


def _media_of(call: LogCall) -> Media[Any] | None:
    """Return the medium that is given, or that a value plainly is; None if Lightning or a reducer takes it."""
    value = call.value
    if isinstance(value, Media):
        return value
    if _is_matrix(call):
        return HeatMap(value, call.names)
    return None if isinstance(value, Number | Metric | Tensor) else infer_media(value)


def _shown_name(call: LogCall) -> str:
    """Return the name of a call with that of the dataloader."""
    return result_entries.full_name(call.name, call.dataloader)


def _check_metric(call: LogCall) -> None:
    if not is_native(call.reduce_fx):
        raise MisconfigurationException(
            f"self.log({call.name!r}, …) got the metric {type(call.value).__name__} and reduce_fx={call.reduce_fx!r};"
            " a metric reduces itself, so leave reduce_fx out."
        )


def _check_names(name: str, value: Any, names: Sequence[str]) -> None:
    if not isinstance(value, Tensor) or value.shape != (len(names),) or len(set(names)) < len(names):
        given = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"type {type(value).__name__}"
        raise ValueError(
            f"self.log({name!r}, …, names=…) got a value of {given} and the {len(names)} names"
            f" {', '.join(names)}; expected a tensor with one element for each name, and different names."
        )


def _check_values(name: str, value: Tensor) -> None:
    if value.is_complex():
        raise ValueError(f"self.log({name!r}, …) got complex values; log `.abs()`, or `.real` and `.imag`.")
