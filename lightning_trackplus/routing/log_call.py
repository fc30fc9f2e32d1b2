"""A ``log`` call, as it was given."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Number
from typing import Any, NamedTuple, TypeAlias

from torch import Tensor

from lightning_trackplus.lightning_internals.flavours import installed_flavours
from lightning_trackplus.runtime.lists import is_list


def _signature() -> inspect.Signature:
    """Return the signature of `LightningModule.log`, that of Lightning 2.6 where somebody's wrapper hides it."""
    found = inspect.signature(installed_flavours()[0].pytorch().LightningModule.log)
    if "value" in found.parameters:
        return found
    required = dict.fromkeys(("self", "name", "value"), inspect.Parameter.empty)
    options = {
        "prog_bar": False,
        "logger": None,
        "on_step": None,
        "on_epoch": None,
        "reduce_fx": "mean",
        "enable_graph": False,
        "sync_dist": False,
        "sync_dist_group": None,
        "add_dataloader_idx": True,
        "batch_size": None,
        "metric_attribute": None,
        "rank_zero_only": False,
    }
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Signature(
        [inspect.Parameter(name, kind, default=default) for name, default in (required | options).items()]
    )


_SIGNATURE = _signature()
_PARAMETERS = list(_SIGNATURE.parameters.values())[1:]
_POSITIONS = {parameter.name: position for position, parameter in enumerate(_PARAMETERS)}
_DEFAULTS = {parameter.name: parameter.default for parameter in _PARAMETERS}


# No NamedTuple: each call of `self.log` makes one.
PlainCall: TypeAlias = tuple[Any, Any, Any, Mapping[str, Any]]
"""Name, value, batch size or None, and the other arguments that were given."""


def plain_call(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> PlainCall | None:
    """Return a call in which no more than name and value have no keyword; None for any other.

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


def check_is_no_list(name: str, value: object) -> None:
    """Raise an error where numbers are given in a list, which Lightning refuses without a word about tensors.

    Raises:
        ValueError: If it is a list, or what stands for one, of numbers or tensors.
    """
    flat = list(_flat(value)) if is_list(value) else []
    if not flat or not all(isinstance(one, Tensor | Number) for one in flat):
        return
    are_tensors = any(isinstance(one, Tensor) for one in flat)
    what, how = ("tensors", "torch.cat(…) or torch.stack(…)") if are_tensors else ("numbers", "torch.tensor(…)")
    raise ValueError(
        f"self.log({name!r}, …) got a {type(value).__name__} of {what}; give one tensor, {how}, whose elements are the"
        " values of samples, or log each under a name of its own."
    )


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    for one in values:
        yield from _flat(one) if is_list(one) else (one,)


class LogCall(NamedTuple):
    """A call that has to be looked at.

    Attributes:
        args: The positional arguments of `LightningModule.log`.
        kwargs: The others.
        names: Names for the elements or the classes of the value, which are ours.
        is_element: Whether the value is an element of one that had names.

    Examples:
        >>> call = LogCall(("loss", 0.5), {"on_epoch": True})
        >>> call.name, call.value, call.reduce_fx
        ('loss', 0.5, 'mean')
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    names: Sequence[str] | None = None
    is_element: bool = False

    @property
    def name(self) -> str:
        """The name."""
        return self.argument("name")  # type: ignore[no-any-return]  # whatever it is

    @property
    def value(self) -> Any:
        """The value."""
        return self.argument("value")

    @property
    def reduce_fx(self) -> Any:
        """The reduction; several are a list."""
        reduce_fx = self.argument("reduce_fx")
        return list(reduce_fx) if is_list(reduce_fx) else reduce_fx

    def argument(self, parameter: str) -> Any:
        """Return one argument, or its default."""
        position = _POSITIONS[parameter]
        return self.args[position] if position < len(self.args) else self.kwargs.get(parameter, _DEFAULTS[parameter])

    def bound(self) -> tuple[str, Any, dict[str, Any]]:
        """Return the name, the value, and all other arguments by name, with their defaults.

        Raises:
            TypeError: If `LightningModule.log` takes no such arguments.
        """
        call = _SIGNATURE.bind(None, *self.args, **self.kwargs)
        call.apply_defaults()
        _, name, value, *_ = call.args
        return name, value, {**dict(list(call.arguments.items())[3:]), "reduce_fx": self.reduce_fx}

    def of_part(self, name: str, value: Any) -> LogCall:
        """Return the same call of another value under another name."""
        others = {key: one for key, one in self.kwargs.items() if key not in ("name", "value")}
        return LogCall((name, value, *self.args[2:]), others, self.names)
