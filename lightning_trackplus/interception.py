"""The door: reads one ``self.log`` call and sends it down its lane."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from numbers import Number
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import WarningCache
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from lightning_trackplus import processes, seam
from lightning_trackplus.lanes.call_sites import CallSites
from lightning_trackplus.lanes.configured import ConfiguredReducers
from lightning_trackplus.lanes.hand_over import HandOver
from lightning_trackplus.lanes.log_call import LogCall, check_is_no_list
from lightning_trackplus.lanes.logged import Logged
from lightning_trackplus.lanes.media_lane import MediaLane
from lightning_trackplus.lanes.metric_results import MetricResults
from lightning_trackplus.lanes.reducer_lane import ReducerLane
from lightning_trackplus.lanes.streams import Streams
from lightning_trackplus.media.media import Media
from lightning_trackplus.media.plain import media_of
from lightning_trackplus.media.selection import is_selection
from lightning_trackplus.reducers.names import is_native
from lightning_trackplus.reducers.reducer import Reducer
from lightning_trackplus.reducers.samples import NanPolicy
from lightning_trackplus.seam.fast_results import FastResults

warning_cache = WarningCache()


class Door:
    """Stands in a module's ``log`` while `TrackPlus` is attached.

    What Lightning takes goes to Lightning, untouched. What it has no place for goes to one of two
    lanes: media, and numbers with a reduction of ours or a value for each sample.

    Args:
        module: The module; its callbacks log through the same door.
        trainer: The Trainer that runs it.
        streams: Where the streams of logged values are kept.
        configured: The reducers that names get beside what the module asks for.
        nan_policy: The policy of reducers that are asked for by name.
        fast: Whether calls that Lightning has taken once are taken for it from then on.
    """

    def __init__(
        self,
        module: pl.LightningModule,
        trainer: pl.Trainer,
        *,
        streams: Streams,
        configured: ConfiguredReducers,
        nan_policy: NanPolicy,
        fast: bool,
    ) -> None:
        self._module = module
        self._trainer = trainer
        self._native: Callable[..., None] = module.log
        self._native_log_dict: Callable[..., None] = module.log_dict
        self._log_dict: _LogDict | None = None
        self._is_open = False
        self._was_own_attribute = "log" in vars(module)
        self.media = MediaLane(module, trainer)
        self.reducers = ReducerLane(
            self._native,
            module,
            trainer,
            streams=streams,
            configured=configured,
            nan_policy=nan_policy,
            deliver=self.media.deliver,
        )
        self._metrics = MetricResults(self._native, module, trainer, self.media.deliver)
        self._fast: FastResults | None = None
        self._is_fast = fast and _is_lightnings(self._native) and not trainer.barebones
        self._sites = CallSites(module, trainer, None)
        self._configured = configured

    def open(self) -> None:
        """Take the place of ``log`` in the module and in the Trainer's callbacks."""
        if self._is_fast:
            self._fast = FastResults(self._trainer, HandOver(self._trainer))
            self._sites = CallSites(self._module, self._trainer, self._fast)
        self._module.log = self  # type: ignore[method-assign]
        seam.set_callbacks_log(self._trainer, self)
        self._is_open = True
        if self._is_fast and _is_lightnings(self._module.log_dict):
            self._module.log_dict = self._log_dict = _LogDict(self, self._module)  # type: ignore[method-assign]

    def close(self) -> None:
        """Give ``log`` back; what somebody has put around it meanwhile stays, and leads to Lightning's own."""
        self.media.close()
        self._metrics.close()
        if self._fast is not None:
            self._fast.close()
            self._fast = None
        self._is_open = False
        self._sites = CallSites(self._module, self._trainer, None)
        seam.set_callbacks_log(self._trainer, self._native)
        own = vars(self._module)
        if own.get("log") is self:
            del self._module.log
            if self._was_own_attribute:
                self._module.log = self._native
        if self._log_dict is not None and own.get("log_dict") is self._log_dict:
            del self._module.log_dict

    def begin_training(self) -> None:
        """Begin a training."""
        self.media.begin()

    def begin_epoch(self) -> None:
        """Begin an epoch of training, or go on with it."""
        self._metrics.begin()
        self.reducers.begin_epoch()

    def begin_evaluation(self) -> None:
        """Begin a validation or a test."""
        self._metrics.begin()
        self.media.begin()
        self.reducers.begin_evaluation()

    def end_epoch(self) -> None:
        """Log what was gathered in the epoch that ends now."""
        told = self.media.told(), self.reducers.told()
        # One exchange for all that was logged.
        everyone = processes.gathered(told) if processes.are_several() else [told]
        self.media.end_epoch([media for media, _ in everyone])
        self.reducers.end_epoch([streams for _, streams in everyone])

    # Lightning's own `log` cannot be traced by torch.compile either.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Take a ``self.log`` call.

        Args:
            args: As for `LightningModule.log`.
            kwargs: As for `LightningModule.log`; also ``names``, for a value of shape ``(len(names),)``:
                each element is logged by itself, as ``<name>/<its name>``. For a metric, and for a matrix,
                they are the names of its classes.
        """
        if self._sites.take(args, kwargs):
            return
        if not self._is_open:
            self._native(*args, **kwargs)
        elif self._trainer.barebones:
            self._native("", 0.0)  # Says, as always, that nothing is logged.
        else:
            names = kwargs.pop("names", None)
            self._log(LogCall(args, kwargs, None if names is None else [str(name) for name in names]))

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def log_dict(self, *args: Any, **kwargs: Any) -> None:
        """Take a ``self.log_dict`` call.

        Args:
            args: As for `LightningModule.log_dict`.
            kwargs: As for `LightningModule.log_dict`.
        """
        if len(args) != 1 or type(args[0]) is not dict:
            self._native_log_dict(*args, **kwargs)
            return
        (values,) = args
        left = self._sites.take_all(values, kwargs)
        if left is None or left:
            self._native_log_dict(values if left is None else left, **kwargs)
            self._sites.remember_all(values, kwargs)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Leave no trace in a pickle or a copy of the module: there, ``log`` is Lightning's."""
        return getattr, (self._module, "log")

    def _log(self, call: LogCall) -> None:
        """Send a call down its lane."""
        name, value, names = call.name, call.value, call.names
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            # torch has neither the other order of bytes nor strides below zero.
            value = torch.from_numpy(np.array(value, dtype=value.dtype.newbyteorder("=")))
            call = call.of_part(name, value)
        if isinstance(value, Mapping | MetricCollection):
            for part, one in value.items():
                self._log_part(call.of_part(f"{name}/{part}", one))
        elif isinstance(value, Metric) and not isinstance(value, Reducer):
            _check_metric(call)
            is_native = self._metrics.log(*call.bound(), names)
            self._log_configured(call)
            if is_native:
                self._sites.remember(call.args, call.kwargs, [], native=True)
        elif names is not None and not _is_matrix(value):
            _check_names(name, value, names)
            for part, one in zip(names, value, strict=True):
                self._log_part(call.of_part(f"{name}/{part}", one)._replace(names=None))
        elif (media := self._media_of(call)) is not None:
            self.media.log(name, media, call.bound()[2])
        else:
            self._log_numbers(call)

    def _log_part(self, call: LogCall) -> None:
        """Log a part of a value, which may have been seen before under its name."""
        if call.names is not None or not self._sites.take(call.args, call.kwargs):
            self._log(call)

    def _media_of(self, call: LogCall) -> Media[Any] | None:
        """Return the medium that is given, or that a value plainly is; None if Lightning or a reducer takes it."""
        value = call.value
        if isinstance(value, Media):
            return value
        if isinstance(value, Number | Metric) or (isinstance(value, Tensor) and not _is_matrix(value)):
            return None
        if isinstance(value, Tensor) and call.reduce_fx != "mean" and not is_selection(call.reduce_fx):
            return None  # A reducer says what is wrong.
        return media_of(value, call.names)

    def _log_numbers(self, call: LogCall) -> None:
        """Take a number or several, and remember where they went."""
        is_native = not self._is_ours(call)
        logged: list[Logged] = []
        if is_native:
            self._native(*call.args, **call.kwargs)
        else:
            logged += self.reducers.log(*call.bound())
        logged += self._log_configured(call)
        self._sites.remember(call.args, call.kwargs, logged, native=is_native)

    def _log_configured(self, call: LogCall) -> list[Logged]:
        """Take a call for the reducers that `TrackPlus` was given for its name."""
        if not self._configured.of(call.name):
            return []
        if isinstance(call.value, int | float | Tensor) and seam.hook_name(self._module) is not None:
            return self.reducers.log_configured(*call.bound())
        if isinstance(call.value, Metric):
            warning_cache.warn(
                f"TrackPlus(reducers=…) has reducers for {call.name!r}, which is logged as the metric"
                f" {type(call.value).__name__}; a metric reduces itself, so they show nothing of it."
            )
        return []

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
        return not has_native_fx or self.reducers.takes(call.name, value, sync_dist=bool(call.argument("sync_dist")))


class _LogDict:
    """A module's ``log_dict``, which leaves no trace in a pickle or a copy of the module.

    Args:
        door: What takes the calls.
        module: The module.
    """

    def __init__(self, door: Door, module: pl.LightningModule) -> None:
        self._door = door
        self._module = module

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        self._door.log_dict(*args, **kwargs)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return getattr, (self._module, "log_dict")


def _is_lightnings(method: Callable[..., None]) -> bool:
    """Return whether a method of a module is Lightning's own, and none that somebody has put in its place."""
    function = getattr(method, "__func__", None)
    return inspect.isfunction(function) and inspect.getfile(function) == inspect.getfile(pl.LightningModule)


def _is_matrix(value: object) -> bool:
    return isinstance(value, Tensor) and value.ndim == 2 and value.numel() != 1  # noqa: PLR2004  rows and columns


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
            f" {', '.join(names)}; give a tensor with one element for each name, and each a name of its own."
        )


def _check_values(name: str, value: Tensor) -> None:
    if value.ndim != 1 and value.numel() != 1:
        raise ValueError(
            f"self.log({name!r}, …) got a tensor of shape {tuple(value.shape)}; it takes a scalar, or one value for"
            " each sample in a tensor of one dimension. Write `.flatten()` if every number is a sample, `.mean()` if"
            " one number is meant, or log it as an Image."
        )
    if value.is_complex():
        raise ValueError(f"self.log({name!r}, …) got complex values; log `.abs()`, or `.real` and `.imag`.")
