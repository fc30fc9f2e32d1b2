"""Any function of all values."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from lightning_trackplus.reducers.base import Reducer
from lightning_trackplus.reducers.samples import Floats, NanPolicy, Samples, State

_BYTES_PER_VALUE = 16


class Function(Reducer):
    """What a function makes of all values, ``f(x_1, …, x_N)``.

    Args:
        function: Takes the values, a float64 tensor on the CPU of shape ``(N,)``, N at least 1, in the
            order of the steps and, in a step, of the ranks; returns a number or a tensor of one
            element. Weights play no part. Where nothing was seen the result is NaN, without a call.
        max_values: How many values are kept at most, 16 bytes for each. Of more than these, those of
            the first steps are kept, a warning says so once, and the result is of those alone.
        nan_policy: As for `Reducer`.

    Raises:
        ValueError: If ``max_values`` is no whole number or below 1.

    Examples:
        >>> spread = Function(lambda x: x.max() - x.min())
        >>> spread.update(torch.tensor([3.0, 9.0, 5.0]))
        >>> spread.compute()
        tensor(6., dtype=torch.float64)
        >>> spread.name
        'lambda'
    """

    weighted = False
    full_state_update = True

    def __init__(
        self,
        function: Callable[[Tensor], Any],
        max_values: int = 10_000_000,
        *,
        nan_policy: NanPolicy = "omit",
    ) -> None:
        super().__init__(nan_policy=nan_policy)
        if not isinstance(max_values, int) or isinstance(max_values, bool) or max_values < 1:
            raise ValueError(f"Function got max_values={max_values!r}; give a whole number, at least 1.")
        self.max_values = max_values
        self._function = function

    @property
    @override
    def name(self) -> str:
        return _name_of(self._function)

    @property
    @override
    def state_key(self) -> Hashable:
        return "values", self.max_values

    @override
    def summarize(self, samples: Samples) -> State:
        return self._kept(np.stack([samples.steps.astype(np.float64), samples.values]))

    @override
    def merge(self, left: State, right: State) -> State:
        return self._kept(np.concatenate([left.reshape(2, -1), right.reshape(2, -1)], axis=1))

    @override
    def result(self, state: State) -> float:
        """Return what the function returns; NaN, without a call, where nothing was seen.

        Raises:
            ValueError: If the function returns anything but one number.
        """
        if not len(state):
            return math.nan
        values = _in_order(state.reshape(2, -1))[1]
        result = self._function(torch.from_numpy(values))
        try:
            return float(torch.as_tensor(result, dtype=torch.float64, device="cpu").detach().reshape(()))
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"reduce_fx={self.name} was given {len(values)} values and returned {result!r};"
                " a reduction returns one number or a tensor of one element."
            ) from error

    def _kept(self, columns: Floats) -> State:
        if columns.shape[1] > self.max_values:
            self.warn_once(
                f"reduce_fx={self.name}: {self.max_values} values are kept, in"
                f" {self.max_values * _BYTES_PER_VALUE / 1e6:.3g} MB, and no more: what comes after them is left out"
                " of the result. Use a reducer that needs not keep them, such as 'p95' or a Reducer of your own,"
                " or give Function(…, max_values=…) more.",
                on_each_rank=True,
            )
            # Not the first that came: that would be all values of one rank and none of another.
            columns = _in_order(columns)[:, : self.max_values]
        return columns.reshape(-1)


def _in_order(columns: Floats) -> Floats:
    """Return a copy in the order of the steps, and in a step as before."""
    return columns[:, columns[0].argsort(kind="stable")]


def _name_of(function: Callable[..., Any]) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__name__", type(function).__name__)
    return re.sub(r"\W+", "", name)
