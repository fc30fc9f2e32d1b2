"""The arguments of a ``log`` call, as they were given."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, TypeAlias

import lightning.pytorch as pl

_SIGNATURE = inspect.signature(pl.LightningModule.log)
_PARAMETERS = list(_SIGNATURE.parameters.values())[1:]
_POSITIONS = {parameter.name: position for position, parameter in enumerate(_PARAMETERS)}
_DEFAULTS = {parameter.name: parameter.default for parameter in _PARAMETERS}


# No NamedTuple: each call of `self.log` makes one.
PlainCall: TypeAlias = tuple[Any, Any, Any, Mapping[str, Any]]
"""Name, value, batch size or None, and the other arguments that were given."""


def plain_call(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> PlainCall | None:
    """Return a call in which no more than name and value have no keyword; None for any other.

    Args:
        args: The positional arguments.
        kwargs: The others.

    Examples:
        >>> plain_call(("loss", 0.5), {"batch_size": 8, "on_epoch": True})
        ('loss', 0.5, 8, {'on_epoch': True})
    """
    if len(args) == 2 and "batch_size" not in kwargs:  # noqa: PLR2004  name and value; the commonest call
        return *args, None, kwargs
    if len(args) > 2:  # noqa: PLR2004
        return None
    options = dict(kwargs)
    name = args[0] if args else options.pop("name", None)
    value = args[1] if len(args) > 1 else options.pop("value", None)
    return name, value, options.pop("batch_size", None), options


def argument(args: tuple[Any, ...], kwargs: Mapping[str, Any], name: str) -> Any:
    """Return one argument, or its default.

    Args:
        args: The positional arguments.
        kwargs: The others.
        name: The parameter of `LightningModule.log`.
    """
    position = _POSITIONS[name]
    return args[position] if position < len(args) else kwargs.get(name, _DEFAULTS[name])


def bound(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[str, Any, dict[str, Any]]:
    """Return the name, the value, and all other arguments by name, with their defaults.

    Args:
        args: The positional arguments.
        kwargs: The others.

    Raises:
        TypeError: If `LightningModule.log` takes no such arguments.
    """
    call = _SIGNATURE.bind(None, *args, **kwargs)
    call.apply_defaults()
    _, name, value, *_ = call.args
    return name, value, dict(list(call.arguments.items())[3:])


def with_value(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], value: Any
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Return the arguments with another value.

    Args:
        args: The positional arguments.
        kwargs: The others.
        value: The other value.
    """
    if "value" in kwargs:
        return args, {**kwargs, "value": value}
    return (args[0], value, *args[2:]), kwargs
