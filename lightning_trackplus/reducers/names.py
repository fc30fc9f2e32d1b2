"""What may stand as ``reduce_fx``, and what it becomes."""

from __future__ import annotations

import ast
import difflib
import functools
import re
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor

from lightning_trackplus.reducers.arg_extremes import ArgMax, ArgMin
from lightning_trackplus.reducers.ema import EMA, EWMStd
from lightning_trackplus.reducers.extremes import Max, Min, Range
from lightning_trackplus.reducers.frequency import Mode, NUnique
from lightning_trackplus.reducers.function import Function
from lightning_trackplus.reducers.histogram import Histogram
from lightning_trackplus.reducers.log_sums import LogMeanExp, LogSumExp
from lightning_trackplus.reducers.means import GeometricMean, HarmonicMean, Mean, Perplexity
from lightning_trackplus.reducers.moments import CV, SEM, Kurtosis, Skew, Std, Variance
from lightning_trackplus.reducers.norms import L1, L2, RMS
from lightning_trackplus.reducers.order import Delta, First, Last
from lightning_trackplus.reducers.quantile import IQR, Quantile
from lightning_trackplus.reducers.reducer import Reducer
from lightning_trackplus.reducers.robust import MAD, TrimmedMean, WinsorizedMean
from lightning_trackplus.reducers.running import Running
from lightning_trackplus.reducers.samples import NanPolicy
from lightning_trackplus.reducers.since_logged import SinceLogged
from lightning_trackplus.reducers.sums import Count, InfCount, NanCount, Sum
from lightning_trackplus.reducers.top import BottomK, TopK

OneReduction: TypeAlias = str | Reducer | Callable[[Tensor], Any]
Reduction: TypeAlias = OneReduction | list[OneReduction] | tuple[OneReduction, ...]

REDUCERS: dict[str, Callable[..., Reducer]] = {
    "mean": Mean,
    "sum": Sum,
    "count": Count,
    "nan_count": NanCount,
    "inf_count": InfCount,
    "min": Min,
    "max": Max,
    "range": Range,
    "argmin": ArgMin,
    "argmax": ArgMax,
    "var": Variance,
    "std": Std,
    "sem": SEM,
    "cv": CV,
    "skew": Skew,
    "kurtosis": Kurtosis,
    "rms": RMS,
    "l1": L1,
    "l2": L2,
    "gmean": GeometricMean,
    "hmean": HarmonicMean,
    "perplexity": Perplexity,
    "logsumexp": LogSumExp,
    "logmeanexp": LogMeanExp,
    "median": functools.partial(Quantile, 0.5, name="median"),
    "quantile": Quantile,
    "iqr": IQR,
    "mad": MAD,
    "trimmed_mean": TrimmedMean,
    "winsorized_mean": WinsorizedMean,
    "mode": Mode,
    "n_unique": NUnique,
    "histogram": Histogram,
    "topk": TopK,
    "bottomk": BottomK,
    "first": First,
    "last": Last,
    "delta": Delta,
    "ema": EMA,
    "ewm_std": EWMStd,
    "running": Running,
    "since_logged": SinceLogged,
}
"""The reducers that have a name. It may have arguments, as in ``"ema(0.05)"``, which are those of the class."""

ALIASES = {
    "avg": "mean",
    "n": "count",
    "ptp": "range",
    "kurt": "kurtosis",
    "norm": "l2",
    "exp_mean": "perplexity",
}
"""Other names of some of them."""

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
_NUMBERED: list[tuple[re.Pattern[str], Callable[..., Any]]] = [
    (re.compile(r"p(\d+(?:\.\d+)?)"), lambda percent, **policy: Quantile(float(percent) / 100, **policy)),
    (re.compile(r"top(\d+)"), lambda k, **policy: TopK(int(k), **policy)),
    (re.compile(r"bottom(\d+)"), lambda k, **policy: BottomK(int(k), **policy)),
]
"""The names that end in a number, and what it is given to."""

_CALL = re.compile(r"(\w+)\s*(?:\((.*)\))?")

_KNOWN = (
    ", ".join(name for name in REDUCERS if name not in ("topk", "bottomk", "quantile"))
    + ", p0 … p100 (also p99.9), top5, bottom5"
)


def is_native(reduction: object) -> bool:
    """Return whether Lightning itself takes a ``reduce_fx``.

    Args:
        reduction: What was given.
    """
    if isinstance(reduction, str):
        return reduction.lower() in _NATIVE
    return any(reduction is function for function, _ in _FUNCTIONS)


def reducers_of(reduction: Reduction, nan_policy: NanPolicy = "omit") -> tuple[Reducer, ...]:
    """Return the reducers that a ``reduce_fx`` asks for.

    Args:
        reduction: A name, a reducer, a callable, or a list or tuple of these.
        nan_policy: The policy of those that are not given as a reducer with one of its own.

    Raises:
        MisconfigurationException: If a name is unknown, two reducers of a list have the same name,
            the list is empty, or something in it is none of these.
    """
    several = reduction if isinstance(reduction, list | tuple) else (reduction,)
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
        case _:
            raise MisconfigurationException(
                f"reduce_fx={one!r} is no reducer; give one of {_KNOWN}, a Reducer object, a function of a 1-D tensor,"
                " or a list of these."
            )


# A reducer has seen nothing, so one object serves all streams.
@functools.lru_cache(maxsize=1024)
def _named(text: str, nan_policy: NanPolicy) -> Reducer:
    lower = text.strip().lower()
    for pattern, numbered in _NUMBERED:
        if match := pattern.fullmatch(lower):
            return _built(text, numbered, match[1], nan_policy=nan_policy)
    if (call := _CALL.fullmatch(lower)) and ALIASES.get(call[1], call[1]) in REDUCERS:
        values, options = _arguments(text, call[2] or "")
        return _built(text, REDUCERS[ALIASES.get(call[1], call[1])], *values, **{"nan_policy": nan_policy, **options})
    close = difflib.get_close_matches(lower, [*REDUCERS, *ALIASES, "p50", "p95", "p99", "top5"], n=1)
    guess = f" Did you mean {close[0]!r}?" if close else ""
    raise MisconfigurationException(f"reduce_fx={text!r} is no reducer; give one of {_KNOWN}.{guess}")


def _arguments(text: str, arguments: str) -> tuple[list[Any], dict[str, Any]]:
    """Return the positional and the named arguments in a call such as ``running(100, median)``."""
    try:
        call = ast.parse(f"f({arguments})", mode="eval").body
        positional, named = getattr(call, "args", []), getattr(call, "keywords", [])
        return [_argument(one) for one in positional], {str(one.arg): _argument(one.value) for one in named}
    except (SyntaxError, ValueError) as error:
        raise MisconfigurationException(
            f"reduce_fx={text!r} cannot be read; write a name with numbers or names in brackets, such as 'ema(0.05)' or"
            " 'running(100, median)'."
        ) from error


def _argument(one: ast.expr) -> Any:
    """Return a literal; the name of another reducer needs no quotes."""
    return ast.unparse(one) if isinstance(one, ast.Name | ast.Call) else ast.literal_eval(one)


def _built(text: str, make: Callable[..., Reducer], *values: Any, **options: Any) -> Reducer:
    try:
        return make(*values, **options)
    except (TypeError, ValueError) as error:
        raise MisconfigurationException(f"reduce_fx={text!r}: {error}") from error
