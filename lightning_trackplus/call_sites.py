"""Calls that were seen before, and are taken again at little cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import lightning.pytorch as pl
from torch import Tensor

from lightning_trackplus import seam
from lightning_trackplus.logged import Logged

_NUMBERS = (float, int)


class _Site(NamedTuple):
    """What a call led to.

    Attributes:
        options: Its arguments other than name, value and ``batch_size``, as they were given.
        logged: Where its values went.
        is_native: Whether Lightning took it too.
    """

    options: dict[str, Any]
    logged: Sequence[Logged]
    is_native: bool


class CallSites:
    """Remembers, for each hook, name and dataloader, where the value of a ``log`` call went.

    A call with the same options leads to the same place, without any of it being looked at again. Only
    calls whose results are wanted at the end of an epoch alone are remembered.

    Args:
        module: The module.
        trainer: The Trainer that runs it.
    """

    def __init__(self, module: pl.LightningModule, trainer: pl.Trainer) -> None:
        self._module = module
        self._trainer = trainer
        self._places: dict[str | None, seam.Place] = {}
        self._sites: dict[tuple[str | None, str, int | None], _Site] = {}

    def take(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Site | None:
        """Take a call if one like it was seen before in this epoch.

        Args:
            args: The positional arguments of the call.
            kwargs: The others.

        Returns:
            Where its value went; None if it was not taken.
        """
        hook = seam.hook_name(self._module)
        place = self._places.get(hook)
        if place is None or (call := _read(args, kwargs)) is None:
            return None
        name, value, batch_size, options = call
        site = self._sites.get((hook, name, place.dataloader))
        if site is None or options != site.options:
            return None
        is_tensor = isinstance(value, Tensor)
        if (value.ndim or value.is_complex()) if is_tensor else type(value) not in _NUMBERS:
            return None
        for logged in site.logged:
            if not logged.is_registered:
                return None  # A new epoch, of which Lightning has to be told.
        if is_tensor and value.is_cpu:
            value = value.item()
        for logged in site.logged:
            logged.add_again(value, place, batch_size)
        return site

    def remember(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], logged: Sequence[Logged], *, native: bool
    ) -> None:
        """Remember where the value of a call went.

        Args:
            args: The positional arguments of the call.
            kwargs: The others.
            logged: Where the value went.
            native: Whether Lightning took it too.
        """
        if (call := _read(args, kwargs)) is not None and logged and all(one.is_plain for one in logged):
            hook, (name, _, _, options) = seam.hook_name(self._module), call
            place = self._places[hook] = seam.Place(self._trainer)
            self._sites[hook, name, place.dataloader] = _Site(options, logged, native)


def _read(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, Any, int | None, dict[str, Any]] | None:
    """Return name, value, batch size and the other options; None if more than name and value have no keyword."""
    if len(args) == 2 and "batch_size" not in kwargs:  # noqa: PLR2004  name and value; the commonest call
        return *args, None, kwargs
    if len(args) > 2:  # noqa: PLR2004
        return None
    options = dict(kwargs)
    name = args[0] if args else options.pop("name", "")
    value = args[1] if len(args) > 1 else options.pop("value", None)
    return name, value, options.pop("batch_size", None), options
