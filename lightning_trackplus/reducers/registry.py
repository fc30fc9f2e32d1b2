"""What may stand as ``reduce_fx``, and what it becomes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from lightning_trackplus.lightning_internals.classes import MisconfigurationException
from lightning_trackplus.reducers.base import Reducer
from lightning_trackplus.reducers.function import Function
from lightning_trackplus.reducers.names import ALIASES, PLAIN, known, named
from lightning_trackplus.reducers.running import Running
from lightning_trackplus.reducers.samples import NanPolicy
from lightning_trackplus.reducers.since_logged import SinceLogged
from lightning_trackplus.runtime.lists import is_list

__all__ = ["ALIASES", "REDUCERS", "OneReduction", "Reduction", "is_native", "reducers_of"]

OneReduction: TypeAlias = str | Reducer | Callable[[Tensor], Any]
# A callable stands last: jsonargparse writes a list of reducers into config.yaml as the first type that takes it, and
# from version 4.52 on it writes anything as a callable.
Reduction: TypeAlias = str | Reducer | Sequence[OneReduction] | Callable[[Tensor], Any]

REDUCERS: dict[str, Callable[..., Reducer]] = {**PLAIN, "running": Running, "since_logged": SinceLogged}
"""The reducers that have a name. It may have arguments, as in ``"ema(0.05)"``, which are those of the class."""

_FUNCTIONS: list[tuple[Callable[..., Any], str]] = [
    (torch.mean, "mean"),
    (torch.sum, "sum"),
    (sum, "sum"),
    (torch.min, "min"),
    (min, "min"),
    (torch.max, "max"),
    (max, "max"),
]
"""The functions that Lightning takes for its four reductions. In a list, since a function need not be hashable."""

_NATIVE = ("mean", "avg", "sum", "min", "max")


def is_native(reduction: object) -> bool:
    """Return whether Lightning itself takes a ``reduce_fx``."""
    if isinstance(reduction, str):
        return reduction.lower() in _NATIVE
    return any(reduction is function for function, _ in _FUNCTIONS)


def reducers_of(reduction: Reduction, nan_policy: NanPolicy = "omit") -> tuple[Reducer, ...]:
    """Return the reducers that a ``reduce_fx`` asks for.

    Raises:
        MisconfigurationException: If a name is unknown, two reducers of a list have the same name,
            the list is empty, or something in it is none of these.
    """
    several = reduction if is_list(reduction) else (reduction,)
    reducers = tuple(_reducer(one, nan_policy) for one in several)
    names = [reducer.name for reducer in reducers]
    if not reducers or len(set(names)) < len(names):
        raise MisconfigurationException(
            f"reduce_fx={reduction!r} asks for {', '.join(names) or 'nothing'}; a list needs at least one reducer, and"
            " each a name of its own. A function written with `def` has its own name."
        )
    return reducers


def _reducer(one: Any, nan_policy: NanPolicy) -> Reducer:
    match one:
        case str():
            return _named(one, nan_policy)
        case Reducer():
            return one
        case _ if is_native(one):
            return _named(next(name for function, name in _FUNCTIONS if one is function), nan_policy)
        case _ if callable(one) and not isinstance(one, type):
            return Function(one, nan_policy=nan_policy)
        case type() if issubclass(one, Reducer):
            raise MisconfigurationException(
                f"reduce_fx={one.__name__} is a class; give a reducer of it, {one.__name__}(…), or a name."
            )
        case _:
            raise MisconfigurationException(
                f"reduce_fx={one!r} is no reducer; give one of {known(REDUCERS)}, a Reducer object, a function of a 1-D"
                " tensor, or a list of these."
            )


# A reducer has seen nothing, so one object serves all streams.
@functools.lru_cache(maxsize=1024)
def _named(text: str, nan_policy: NanPolicy) -> Reducer:
    return named(text, REDUCERS, nan_policy)
