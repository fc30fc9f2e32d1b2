"""The results of metrics that Lightning refuses, as numbers under names of their own."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias

from torch import Tensor

if TYPE_CHECKING:
    import lightning.pytorch as pl

Split: TypeAlias = "Callable[[str, Any, bool, Callable[[str], str]], Mapping[str, Tensor] | None]"


class ResultParts:
    """Replaces ``_ResultCollection.valid_items``, so that a metric whose result is not a number is several numbers.

    So names, ``_step`` and ``_epoch``, dataloader suffixes, ``callback_metrics`` and the progress bar are Lightning's
    own work, and a metric is computed when Lightning asks for it.

    Args:
        trainer: The Trainer, in a loop.
        split: Returns the numbers of a result by the name of each, None where Lightning can take the result itself. It
            is asked with the key of the entry, the result, whether it is that of a step, and what gives the name in
            full of a part.
    """

    def __init__(self, trainer: pl.Trainer, split: Split) -> None:
        results: Any = trainer._results
        self._results = results
        self._connector = trainer._logger_connector
        self._split = split
        self._watched: set[str] = set()
        self._native = results.valid_items
        # A run of the Trainer within another run of it leaves that one's in place.
        self._replaced = vars(results).get("valid_items")
        results.valid_items = self

    def watch(self, key: str) -> None:
        """Split what an entry results in."""
        self._watched.add(key)

    def close(self) -> None:
        """Give Lightning its own back."""
        del self._results.valid_items
        if self._replaced is not None:
            self._results.valid_items = self._replaced

    def __call__(self) -> Iterator[tuple[str, Any]]:
        """Yield the entries that have something to show, with their keys."""
        on_step = self._connector._first_loop_iter is not None
        for key, entry in self._native():
            if key not in self._watched:
                yield key, entry
            elif (value := _value(entry, on_step)) is not None:
                numbers = self._split(key, value, on_step, partial(self._full_name, entry, on_step))
                if numbers is None:
                    yield key, entry
                else:
                    yield from ((key, _part(entry, name, number)) for name, number in numbers.items())

    def _full_name(self, entry: Any, on_step: bool, part: str) -> str:
        _, full_name = self._results._forked_name(_part(entry, part, None), on_step)
        return str(full_name)


def _value(entry: Any, on_step: bool) -> Any:
    """Return what an entry shows; mirrors ``_ResultCollection._get_cache``."""
    if on_step:
        return entry._forward_cache if entry.meta.on_step else None
    if not entry.meta.on_epoch:
        return None
    if entry._computed is None:
        entry.compute()
    return entry._computed


def _part(entry: Any, name: str, number: Tensor | None) -> SimpleNamespace:
    """Return what Lightning reads of an entry."""
    meta = copy.copy(entry.meta)
    meta.name = name
    return SimpleNamespace(meta=meta, is_tensor=False, _forward_cache=number, _computed=number)


def keep_step_value(metric: Any, _args: Any, output: Any) -> None:
    """Set what a metric that wraps another has returned as its step's value; a hook of ``torch.nn.Module``.

    Mirrors ``Metric.forward`` of torchmetrics, which ``ClasswiseWrapper`` and others do not call. A single number
    stays as they leave it.
    """
    if not (isinstance(output, Tensor) and output.numel() == 1):
        metric._forward_cache = output
