"""A ``log`` call, as it was given."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Number
from typing import Any, NamedTuple, TypeAlias

from torch import Tensor
from typing_extensions import Self

from lightning_trackplus.lightning_internals.flavours import installed_flavours
from lightning_trackplus.lightning_internals.trainer_state import LoopPosition
from lightning_trackplus.runtime.lists import is_list
from lightning_trackplus.runtime.names import a_type


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
_DEFAULTS = {parameter.name: parameter.default for parameter in list(_SIGNATURE.parameters.values())[1:]}


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
        f"self.log({name!r}, …) got {a_type(value)} of {what}; give one tensor, {how}, whose elements are the"
        " values of samples, or log each under a name of its own."
    )


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    for one in values:
        yield from _flat(one) if is_list(one) else (one,)


Arguments: TypeAlias = dict[str, Any]
"""Arguments of `LightningModule.log` by name, with its defaults."""


class LogCall(NamedTuple):
    """A ``log`` call with its arguments by name.

    Attributes:
        name: The name.
        value: The value.
        reduce_fx: The reduction; several are a list.
        arguments: All other arguments of `LightningModule.log`, with its defaults.
        args: The positional arguments, as they were given.
        kwargs: The keyword arguments, as they were given.
        hook: The hook that logs; None outside of one.
        position: Where the Trainer is.
        names: Names for the elements or the classes of the value, an argument of ours.
        is_element: Whether the value is an element of one that had names.
    """

    name: str
    value: Any
    reduce_fx: Any
    arguments: Arguments
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    hook: str | None
    position: LoopPosition
    names: Sequence[str] | None = None
    is_element: bool = False

    @classmethod
    def of(cls, args: tuple[Any, ...], kwargs: Mapping[str, Any], hook: str | None, position: LoopPosition) -> Self:
        """Return a call.

        Raises:
            TypeError: If `LightningModule.log` takes no such arguments.
        """
        arguments = bound(args, kwargs)
        name, value, reduce_fx = arguments.pop("name"), arguments.pop("value"), arguments.pop("reduce_fx")
        reduce_fx = list(reduce_fx) if is_list(reduce_fx) else reduce_fx
        return cls(name, value, reduce_fx, arguments, args, kwargs, hook, position)

    @property
    def dataloader(self) -> int | None:
        """The dataloader that is part of the name; None where there is none."""
        return self.position.dataloader if self.arguments["add_dataloader_idx"] else None

    def of_part(self, name: str, value: Any) -> Self:
        """Return the same call of another value under another name."""
        others = {key: one for key, one in self.kwargs.items() if key not in ("name", "value")}
        return self._replace(name=name, value=value, args=(name, value, *self.args[2:]), kwargs=others)


def bound(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Arguments:
    """Return all arguments of a call by name.

    Raises:
        TypeError: If `LightningModule.log` takes no such arguments.

    Examples:
        >>> bound(("loss", 0.5), {"batch_size": 8})["batch_size"]
        8
    """
    given = dict(zip(_DEFAULTS, args, strict=False))
    arguments = {**_DEFAULTS, **given, **kwargs}
    is_missing = arguments["name"] is inspect.Parameter.empty or arguments["value"] is inspect.Parameter.empty
    if is_missing or len(arguments) > len(_DEFAULTS) or len(given) < len(args) or given.keys() & kwargs.keys():
        _SIGNATURE.bind(None, *args, **kwargs)  # It raises, and says why.
    return arguments
