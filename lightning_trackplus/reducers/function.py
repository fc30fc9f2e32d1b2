"""Any function of all values."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from lightning_trackplus.reducers.reducer import Reducer, Samples, State


class Function(Reducer):
    """What a function makes of all values of the epoch, which are kept for it.

    Args:
        function: Takes the values, shape ``(N,)``, N at least 1, in the order of the steps and, in a
            step, of the ranks; returns a number or a tensor of one element. Weights play no part.

    Examples:
        >>> Function(lambda x: x.max() - x.min()).name
        'lambda'
    """

    weighted = False

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        self._function = function

    @property
    @override
    def name(self) -> str:
        return _name_of(self._function)

    @override
    def summarize(self, samples: Samples) -> State:
        return tuple(samples)

    @override
    def merge(self, left: State, right: State) -> State:
        return tuple(torch.cat(parts) for parts in zip(left, right, strict=True))

    @override
    def result(self, state: State) -> Tensor:
        """Return what the function returns; NaN, without a call, where nothing was seen.

        Raises:
            ValueError: If the function returns anything but one number.
        """
        values, weights, steps = state
        order = steps.argsort(stable=True)
        values = values[order][weights[order] > 0]
        if not len(values):
            return values.new_tensor(torch.nan)
        result = self._function(values)
        try:
            return torch.as_tensor(result, dtype=values.dtype, device=values.device).reshape(())
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"reduce_fx={self.name} was given {len(values)} values and returned {result!r};"
                " a reduction returns one number or a tensor of one element."
            ) from error


def _name_of(function: Callable[..., Any]) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__name__", type(function).__name__)
    return re.sub(r"\W+", "", name)
