"""The values that ``reduce_fx`` accepts, and the reducers that they stand for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from lightning_trackplus.lightning_internals.shared_bases import MisconfigurationException
from lightning_trackplus.reducers.base import Reducer
from lightning_trackplus.reducers.function import Function
from lightning_trackplus.reducers.parsing import ALIASES, REDUCERS_OF_VALUES, known_names, reducer_by_name
from lightning_trackplus.reducers.running import Running, SinceLogged
from lightning_trackplus.reducers.types import NanPolicy
from lightning_trackplus.runtime.lists import is_list

__all__ = ["ALIASES", "REDUCERS", "OneReduction", "Reduction", "is_native", "reducers_of"]

OneReduction: TypeAlias = str | Reducer | Callable[[Tensor], Any]
# A callable stands last: jsonargparse writes a list of reducers into config.yaml as the first type that takes it, and
# from version 4.52 on it writes anything as a callable.
Reduction: TypeAlias = str | Reducer | Sequence[OneReduction] | Callable[[Tensor], Any]

REDUCERS: dict[str, Callable[..., Reducer]] = {
    **REDUCERS_OF_VALUES,
    "running": Running,
    "since_logged": SinceLogged,
}
"""All reducers by name. A name may have arguments, as in ``"ema(0.05)"``, which are those of the class."""

_FUNCTIONS: list[tuple[Callable[..., Any], str]] = [
    (torch.mean, "mean"),
    (torch.sum, "sum"),
    (sum, "sum"),
    (torch.min, "min"),
    (min, "min"),
    (torch.max, "max"),
    (max, "max"),
]
"""The functions that Lightning accepts for its four reductions. A list, since a function need not be hashable."""

_NATIVE = ("mean", "avg", "sum", "min", "max")


def is_native(reduction: object) -> bool:
    """Return whether Lightning itself accepts a ``reduce_fx``."""
    if isinstance(reduction, str):
        return reduction.lower() in _NATIVE
    return any(reduction is function for function, _ in _FUNCTIONS)


def reducers_of(reduction: Reduction, nan_policy: NanPolicy = "omit") -> tuple[Reducer, ...]:
    """Return the reducers of a ``reduce_fx``.

    Raises:
        MisconfigurationException: If it is not a reducer or a list of reducers, a name is unknown,
            two reducers of a list have the same name, or the list is empty.
    """
    several = reduction if is_list(reduction) else (reduction,)
    reducers = tuple(_reducer(one, nan_policy) for one in several)
    names = [reducer.name for reducer in reducers]
    if not reducers or len(set(names)) < len(names):
        raise MisconfigurationException(
            f"reduce_fx={reduction!r} asks for {', '.join(names) or 'nothing'}; expected at least one reducer, each"
            " with a name of its own. A function written with `def` has its own name."
        )
    return reducers


def _reducer(one: Any, nan_policy: NanPolicy) -> Reducer:
    match one:
        case str():
            return _cached_reducer(one, nan_policy)
        case Reducer():
            return one
        case _ if is_native(one):
            return _cached_reducer(next(name for function, name in _FUNCTIONS if one is function), nan_policy)
        case _ if callable(one) and not isinstance(one, type):
            return Function(one, nan_policy=nan_policy)
        case type() if issubclass(one, Reducer):
            raise MisconfigurationException(
                f"reduce_fx={one.__name__} is a class; expected an object, {one.__name__}(…), or a name."
            )
        case _:
            raise MisconfigurationException(
                f"Unknown reduce_fx {one!r}; expected one of {known_names(REDUCERS)}, a Reducer object, a function of a"
                " 1-D tensor, or a list of these."
            )


# A reducer holds no values in `self.log`, so one object serves all streams.
@functools.lru_cache(maxsize=1024)
def _cached_reducer(text: str, nan_policy: NanPolicy) -> Reducer:
    return reducer_by_name(text, REDUCERS, nan_policy)
