"""The names of reducers in ``reduce_fx``, such as ``"p95"``, ``"ema(0.05)"`` or ``"running(100, median)"``."""

from __future__ import annotations

import ast
import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lightning_trackplus.lightning_internals.shared_bases import MisconfigurationException
from lightning_trackplus.reducers.base import Reducer
from lightning_trackplus.reducers.ema import EMA, EWMStd
from lightning_trackplus.reducers.first_last import Delta, First, Last
from lightning_trackplus.reducers.frequency import Mode, NUnique
from lightning_trackplus.reducers.histogram import Histogram
from lightning_trackplus.reducers.log_sums import LogMeanExp, LogSumExp
from lightning_trackplus.reducers.mean import GeometricMean, HarmonicMean, Mean, Perplexity
from lightning_trackplus.reducers.min_max import ArgMax, ArgMin, Max, Min, Range
from lightning_trackplus.reducers.moments import CV, SEM, Kurtosis, Skew, Std, Variance
from lightning_trackplus.reducers.norms import L1, L2, RMS
from lightning_trackplus.reducers.quantile import IQR, Quantile
from lightning_trackplus.reducers.robust import MAD, TrimmedMean, WinsorizedMean
from lightning_trackplus.reducers.sum import Count, InfCount, NanCount, Sum
from lightning_trackplus.reducers.top_k import BottomK, TopK
from lightning_trackplus.reducers.types import NanPolicy
from lightning_trackplus.runtime.names import as_list, did_you_mean

_CLASSES: tuple[type[Any], ...] = (
    *(Mean, Sum, Count, NanCount, InfCount, Min, Max, Range, ArgMin, ArgMax),
    *(Variance, Std, SEM, CV, Skew, Kurtosis, RMS, L1, L2),
    *(GeometricMean, HarmonicMean, Perplexity, LogSumExp, LogMeanExp),
    *(Quantile, IQR, MAD, TrimmedMean, WinsorizedMean, Mode, NUnique, Histogram),
    *(TopK, BottomK, First, Last, Delta, EMA, EWMStd),
)

REDUCERS_OF_VALUES: dict[str, Callable[..., Reducer]] = {
    **{one.name: one for one in _CLASSES},
    "median": functools.partial(Quantile, 0.5, name="median"),
}
"""The reducers by the names of their classes, without those that wrap another reducer."""

ALIASES = {
    "avg": "mean",
    "n": "count",
    "ptp": "range",
    "kurt": "kurtosis",
    "norm": "l2",
    "exp_mean": "perplexity",
}
"""Other names of some of them."""

_NUMBERED: list[tuple[re.Pattern[str], Callable[..., Any]]] = [
    (re.compile(r"p(\d+(?:\.\d+)?)"), lambda percent, **policy: Quantile(float(percent) / 100, **policy)),
    (re.compile(r"top(\d+)"), lambda k, **policy: TopK(int(k), **policy)),
    (re.compile(r"bottom(\d+)"), lambda k, **policy: BottomK(int(k), **policy)),
]
"""The names that end in an argument."""

_EXAMPLES = {
    "running": "running(100)",
    "since_logged": "since_logged(max)",
    "quantile": "quantile(0.95)",
    "ema": "ema(0.1)",
    "ewm_std": "ewm_std(0.1)",
    "trimmed_mean": "trimmed_mean(0.2)",
    "winsorized_mean": "winsorized_mean(0.2)",
    "histogram": "histogram(20, 0, 1)",
    "topk": "topk(5)",
    "bottomk": "bottomk(5)",
}
"""Examples of names with arguments, for messages."""

_CALL = re.compile(r"(\w+)\s*(?:\((.*)\))?")


def known_names(table: Iterable[str]) -> str:
    """Return the names of a table as messages list them."""
    listed = ", ".join(name for name in table if name not in ("topk", "bottomk", "quantile"))
    return f"{listed}, p0 … p100 (also p99.9), top5, bottom5"


def reducer_by_name(text: str, table: Mapping[str, Callable[..., Reducer]], nan_policy: NanPolicy) -> Reducer:
    """Return the reducer of a name in a table; ``nan_policy`` is for names that do not set their own.

    Raises:
        MisconfigurationException: If the name is unknown, or the arguments do not fit.
    """
    if several := as_list(text, lambda one: _is_name(one, table)):
        raise MisconfigurationException(
            f"reduce_fx={text!r} is one string; expected a list for several reducers, reduce_fx={several!r}."
        )
    lower = text.strip().lower()
    for pattern, make in _NUMBERED:
        if match := pattern.fullmatch(lower):
            return _build(text, make, match[1], nan_policy=nan_policy)
    if (call := _CALL.fullmatch(text.strip())) and (name := _resolve_alias(call[1])) in table:
        values, options = _arguments(text, call[2] or "")
        return _build(text, table[name], *values, **{"nan_policy": nan_policy, **options})
    guess = did_you_mean(lower, [*table, *ALIASES], numbered=("p", "top", "bottom"))
    raise MisconfigurationException(f"Unknown reduce_fx {text!r}; expected one of {known_names(table)}.{guess}")


def _is_name(text: str, table: Mapping[str, Callable[..., Reducer]]) -> bool:
    call = _CALL.fullmatch(text)
    is_numbered = any(pattern.fullmatch(text.lower()) for pattern, _ in _NUMBERED)
    return is_numbered or (call is not None and _resolve_alias(call[1]) in table)


def _resolve_alias(name: str) -> str:
    return ALIASES.get(name.lower(), name.lower())


def _arguments(text: str, arguments: str) -> tuple[list[Any], dict[str, Any]]:
    """Return the positional and the named arguments of a call such as ``running(100, median)``."""
    try:
        call = ast.parse(f"f({arguments})", mode="eval").body
        positional, named = getattr(call, "args", []), getattr(call, "keywords", [])
        return [_argument(one) for one in positional], {str(one.arg): _argument(one.value) for one in named}
    except (SyntaxError, ValueError) as error:
        raise MisconfigurationException(
            f"reduce_fx={text!r} cannot be read; expected a name with numbers or names in brackets, such as"
            " 'ema(0.05)' or 'running(100, median)'."
        ) from error


def _argument(one: ast.expr) -> Any:
    """Return a literal; the name of another reducer needs no quotes."""
    return ast.unparse(one) if isinstance(one, ast.Name | ast.Call) else ast.literal_eval(one)


def _build(text: str, make: Callable[..., Reducer], *values: Any, **options: Any) -> Reducer:
    signature = inspect.signature(make)
    try:
        signature.bind(*values, **options)
    except TypeError as error:
        name = _resolve_alias(text.strip().partition("(")[0])
        raise MisconfigurationException(
            f"reduce_fx={text!r} does not fit {name}, which takes {', '.join(signature.parameters)} ({error}); write"
            f" its arguments in brackets, such as {_EXAMPLES.get(name, f'{name}()')!r}."
        ) from error
    try:
        return make(*values, **options)
    except (TypeError, ValueError) as error:
        raise MisconfigurationException(f"reduce_fx={text!r}: {error}") from error
