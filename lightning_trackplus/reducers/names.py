"""What may stand as ``reduce_fx``, and what it becomes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor

from lightning_trackplus.reducers.extremes import Max, Min
from lightning_trackplus.reducers.function import Function
from lightning_trackplus.reducers.order import First, Last
from lightning_trackplus.reducers.quantile import Quantile
from lightning_trackplus.reducers.reducer import Reducer
from lightning_trackplus.reducers.sums import Count, Mean, Sum
from lightning_trackplus.reducers.variance import Std, Variance

OneReduction: TypeAlias = str | Reducer | Callable[[Tensor], Any]
Reduction: TypeAlias = OneReduction | list[OneReduction] | tuple[OneReduction, ...]

REDUCERS: dict[str, Reducer] = {
    "mean": Mean(),
    "avg": Mean(),
    "sum": Sum(),
    "min": Min(),
    "max": Max(),
    "median": Quantile(0.5, name="median"),
    "std": Std(),
    "var": Variance(),
    "first": First(),
    "last": Last(),
    "count": Count(),
}
"""The reducers that have a name; ``"p0"`` … ``"p100"`` are `Quantile`."""

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
_PERCENTILE = re.compile(r"p(\d+(?:\.\d+)?)")


def is_native(reduction: object) -> bool:
    """Return whether Lightning itself takes a ``reduce_fx``.

    Args:
        reduction: What was given.
    """
    if isinstance(reduction, str):
        return reduction.lower() in _NATIVE
    return any(reduction is function for function, _ in _FUNCTIONS)


def reducers_of(reduction: Reduction) -> tuple[Reducer, ...]:
    """Return the reducers that a ``reduce_fx`` asks for.

    Args:
        reduction: A name, a reducer, a callable, or a list or tuple of these.

    Raises:
        MisconfigurationException: If a name is unknown, two reducers of a list have the same name,
            the list is empty, or something in it is none of these.
    """
    several = reduction if isinstance(reduction, list | tuple) else (reduction,)
    reducers = tuple(_reducer(one) for one in several)
    names = [reducer.name for reducer in reducers]
    if not reducers or len(set(names)) < len(names):
        raise MisconfigurationException(
            f"reduce_fx={reduction!r} asks for {', '.join(names) or 'nothing'}; a list needs at least one reducer, and"
            " each a name of its own. A function written with `def` has its own name."
        )
    return reducers


def _reducer(one: Any) -> Reducer:
    match one:
        case str():
            return _named(one)
        case Reducer():
            return one
        case _ if is_native(one):
            return REDUCERS[next(name for function, name in _FUNCTIONS if one is function)]
        case _ if callable(one) and not isinstance(one, type):
            return Function(one)
        case _:
            raise MisconfigurationException(
                f"reduce_fx={one!r} is no reducer; give one of {_KNOWN}, a Reducer object, a function of a 1-D tensor,"
                " or a list of these."
            )


def _named(name: str) -> Reducer:
    lower = name.lower()
    if lower in REDUCERS:
        return REDUCERS[lower]
    if (percentile := _PERCENTILE.fullmatch(lower)) and float(percentile[1]) <= 100:  # noqa: PLR2004  percent
        return Quantile(float(percentile[1]) / 100, name=lower)
    close = difflib.get_close_matches(lower, [*REDUCERS, "p50", "p95", "p99"], n=1)
    guess = f" Did you mean {close[0]!r}?" if close else ""
    raise MisconfigurationException(f"reduce_fx={name!r} is no reducer; give one of {_KNOWN}.{guess}")


_KNOWN = ", ".join(REDUCERS) + ", p0 … p100 (also p99.9)"
