"""The door: reads one ``self.log`` call and sends it down its lane."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from numbers import Number
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import WarningCache
from torch import Tensor
from torchmetrics import Metric

from lightning_trackplus import seam
from lightning_trackplus.call_sites import CallSites
from lightning_trackplus.configured import ConfiguredReducers
from lightning_trackplus.logged import Logged
from lightning_trackplus.media.media import Media
from lightning_trackplus.media_lane import MediaLane
from lightning_trackplus.reducer_lane import ReducerLane
from lightning_trackplus.reducers.names import is_native
from lightning_trackplus.reducers.reducer import Reducer
from lightning_trackplus.reducers.samples import NanPolicy
from lightning_trackplus.streams import Streams

warning_cache = WarningCache()

_SIGNATURE = inspect.signature(pl.LightningModule.log)
_PARAMETERS = list(_SIGNATURE.parameters.values())[1:]
_POSITIONS = {parameter.name: position for position, parameter in enumerate(_PARAMETERS)}
_DEFAULTS = {parameter.name: parameter.default for parameter in _PARAMETERS}


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
    """

    def __init__(
        self,
        module: pl.LightningModule,
        trainer: pl.Trainer,
        *,
        streams: Streams,
        configured: ConfiguredReducers,
        nan_policy: NanPolicy,
    ) -> None:
        self._module = module
        self._trainer = trainer
        self._native: Callable[..., None] = module.log
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
        self._sites = CallSites(module, trainer)
        self._configured = configured

    def open(self) -> None:
        """Take the place of ``log`` in the module and in the Trainer's callbacks."""
        self._place(self)

    def close(self) -> None:
        """Give ``log`` back."""
        self._place(self._native)
        if not self._was_own_attribute:
            del self._module.log

    def begin_epoch(self) -> None:
        """Begin an epoch of training, or go on with it."""
        self.media.begin_epoch()
        self.reducers.begin_epoch()

    def begin_evaluation(self) -> None:
        """Begin a validation or a test."""
        self.media.begin_epoch()
        self.reducers.begin_evaluation()

    def end_epoch(self) -> None:
        """Log what was gathered in the epoch that ends now."""
        self.media.end_epoch()
        self.reducers.end_epoch()

    # Lightning's own `log` cannot be traced by torch.compile either.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Take a ``self.log`` call.

        Args:
            args: As for `LightningModule.log`.
            kwargs: As for `LightningModule.log`; also ``names``, for a value of shape ``(len(names),)``:
                each element is logged by itself, as ``<name>/<its name>``.
        """
        if (site := self._sites.take(args, kwargs)) is not None:
            if site.is_native:
                self._native(*args, **kwargs)
        elif (names := kwargs.pop("names", None)) is not None:
            self._log_each(list(names), *args, **kwargs)
        elif self._trainer.barebones:
            self._native("", 0.0)  # Says, as always, that nothing is logged.
        else:
            self._log(args, kwargs)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Leave no trace in a pickle or a copy of the module: there, ``log`` is Lightning's."""
        return getattr, (self._module, "log")

    def _place(self, log: Callable[..., None]) -> None:
        self._module.log = log  # type: ignore[method-assign]
        seam.set_callbacks_log(self._trainer, log)

    def _log_each(self, names: list[str], name: str, value: Any, *others: Any, **options: Any) -> None:
        """Log each element of a vector under its own name."""
        if not isinstance(value, Tensor) or value.shape != (len(names),) or len(set(names)) < len(names):
            given = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"type {type(value).__name__}"
            raise ValueError(
                f"self.log({name!r}, …, names=…) got a value of {given} and the {len(names)} names"
                f" {', '.join(map(str, names))}; give a tensor with one element for each name, and each a name of its"
                " own."
            )
        for one, element in zip(names, value, strict=True):
            self(f"{name}/{one}", element, *others, **options)

    def _log(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Take a call, and remember where its value went."""
        name, value = _argument(args, kwargs, "name"), _argument(args, kwargs, "value")
        if isinstance(value, Media):
            self.media.log(*_bound(args, kwargs))
            return
        is_native = not self._is_ours(args, kwargs)
        logged: list[Logged] = []
        if is_native:
            self._native(*args, **kwargs)
        else:
            logged += self.reducers.log(*_bound(args, kwargs))
        if self._configured.of(name):
            logged += self._log_configured(*_bound(args, kwargs))
        self._sites.remember(args, kwargs, logged, native=is_native)

    def _log_configured(self, name: str, value: Any, arguments: dict[str, Any]) -> list[Logged]:
        if isinstance(value, int | float | Tensor) and seam.hook_name(self._module) is not None:
            return self.reducers.log_configured(name, value, arguments)
        if isinstance(value, Metric):
            warning_cache.warn(
                f"TrackPlus(reducers=…) has reducers for {name!r}, which is logged as the metric"
                f" {type(value).__name__}; a metric reduces itself, so they show nothing of it."
            )
        return []

    def _is_ours(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Return whether a call is for our reducers; if not, Lightning also judges what nobody takes."""
        wanted = ("name", "value", "reduce_fx", "sync_dist")
        name, value, reduce_fx, sync_dist = (_argument(args, kwargs, parameter) for parameter in wanted)
        if isinstance(value, Tensor) and (value.numel() != 1 or not is_native(reduce_fx)):
            _check_values(name, value)
            return True
        if not isinstance(value, Number | Tensor | Metric):
            return False
        if isinstance(value, Metric):
            if not is_native(reduce_fx):
                raise MisconfigurationException(
                    f"self.log({name!r}, …) got the metric {type(value).__name__} and reduce_fx={reduce_fx!r};"
                    " a metric reduces itself, so leave reduce_fx out."
                )
            return isinstance(value, Reducer)
        return not is_native(reduce_fx) or self.reducers.takes(name, value, sync_dist=bool(sync_dist))


def _bound(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, Any, dict[str, Any]]:
    """Return the name, the value, and all other arguments by name."""
    call = _SIGNATURE.bind(None, *args, **kwargs)
    call.apply_defaults()
    _, name, value, *_ = call.args
    return name, value, dict(list(call.arguments.items())[3:])


def _argument(args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> Any:
    position = _POSITIONS[name]
    return args[position] if position < len(args) else kwargs.get(name, _DEFAULTS[name])


def _check_values(name: str, value: Tensor) -> None:
    if value.ndim != 1 and value.numel() != 1:
        raise ValueError(
            f"self.log({name!r}, …) got a tensor of shape {tuple(value.shape)}; it takes a scalar, or one value for"
            " each sample in a tensor of one dimension. Write `.flatten()` if every number is a sample, `.mean()` if"
            " one number is meant, or log it as an Image."
        )
    if value.is_complex():
        raise ValueError(f"self.log({name!r}, …) got complex values; log `.abs()`, or `.real` and `.imag`.")
