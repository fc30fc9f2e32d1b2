"""The door: reads one ``self.log`` call and sends it down its lane."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from numbers import Number
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torchmetrics import Metric

from lightning_trackplus import seam
from lightning_trackplus.media.media import Media
from lightning_trackplus.media_lane import MediaLane
from lightning_trackplus.reducer_lane import ReducerLane
from lightning_trackplus.reducers.names import is_native

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
    """

    def __init__(self, module: pl.LightningModule, trainer: pl.Trainer) -> None:
        self._module = module
        self._trainer = trainer
        self._native: Callable[..., None] = module.log
        self._was_own_attribute = "log" in vars(module)
        self.media = MediaLane(module, trainer)
        self.reducers = ReducerLane(self._native, module, trainer)

    def open(self) -> None:
        """Take the place of ``log`` in the module and in the Trainer's callbacks."""
        self._place(self)

    def close(self) -> None:
        """Give ``log`` back."""
        self._place(self._native)
        if not self._was_own_attribute:
            del self._module.log

    # Lightning's own `log` cannot be traced by torch.compile either.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Take a ``self.log`` call; the arguments are those of `LightningModule.log`."""
        if (lane := self._lane(args, kwargs)) is None:
            self._native(*args, **kwargs)
            return
        call = _SIGNATURE.bind(self._module, *args, **kwargs)
        call.apply_defaults()
        _, name, value, *_ = call.args
        if self._trainer.barebones:
            self._native(name, 0.0)  # Says, as always, that nothing is logged.
            return
        lane(name, value, dict(list(call.arguments.items())[3:]))

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Leave no trace in a pickle or a copy of the module: there, ``log`` is Lightning's."""
        return getattr, (self._module, "log")

    def _place(self, log: Callable[..., None]) -> None:
        self._module.log = log  # type: ignore[method-assign]
        seam.set_callbacks_log(self._trainer, log)

    def _lane(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[str, Any, dict[str, Any]], None] | None:
        """Return the lane of a call; None for Lightning's own, which also judges what nobody takes."""
        wanted = ("name", "value", "reduce_fx", "sync_dist")
        name, value, reduce_fx, sync_dist = (_argument(args, kwargs, parameter) for parameter in wanted)
        if isinstance(value, Media):
            return self.media.log
        if isinstance(value, Tensor) and value.numel() != 1:
            _check_values(name, value)
            return self.reducers.log
        if not isinstance(value, Number | Tensor | Metric):
            return None
        if is_native(reduce_fx):
            takes = isinstance(value, Number | Tensor) and self.reducers.takes(name, value, sync_dist=bool(sync_dist))
            return self.reducers.log if takes else None
        if isinstance(value, Metric):
            raise MisconfigurationException(
                f"self.log({name!r}, …) got the metric {type(value).__name__} and reduce_fx={reduce_fx!r};"
                " a metric reduces itself, so leave reduce_fx out."
            )
        if isinstance(value, Tensor):
            _check_values(name, value)
        return self.reducers.log


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
