"""A function of all values."""

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
from lightning_trackplus.reducers.types import Floats, NanPolicy, Samples, State

_BYTES_PER_VALUE = 16


class Function(Reducer):
    """The result of a function of all values, ``f(x_1, …, x_N)``.

    Args:
        function: Takes the values, a float64 tensor on the CPU of shape ``(N,)``, N at least 1, in the
            order of the steps and, within a step, of the ranks; returns a number or a tensor of one
            element. Weights are ignored. Without values, the result is NaN and the function is not called.
        max_values: The largest number of values to store, 16 bytes for each. If there are more, those of
            the first steps are stored and used, and a warning is shown once.
        nan_policy: As for `Reducer`.

    Raises:
        ValueError: If ``max_values`` is not an integer of at least 1.

    Examples:
        >>> spread = Function(lambda x: x.max() - x.min())
        >>> spread.update(torch.tensor([3.0, 9.0, 5.0]))
        >>> spread.compute()
        tensor(6., dtype=torch.float64)
        >>> spread.name
        'lambda'
    """

    name = "function"
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
            raise ValueError(f"Function got max_values={max_values!r}; expected an integer of at least 1.")
        self.max_values = max_values
        self.name = _name_of(function)
        self._function = function

    @property
    @override
    def state_key(self) -> Hashable:
        return "values", self.max_values

    @override
    def summarize(self, samples: Samples) -> State:
        return self._limited(np.stack([samples.steps.astype(np.float64), samples.values]))

    @override
    def merge(self, left: State, right: State) -> State:
        return self._limited(np.concatenate([left.reshape(2, -1), right.reshape(2, -1)], axis=1))

    @override
    def result(self, state: State) -> float:
        """Return the result of the function; NaN, without a call, if there are no values.

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
                f"reduce_fx={self.name} returned {result!r} for {len(values)} values;"
                " expected one number or a tensor of one element."
            ) from error

    def _limited(self, columns: Floats) -> State:
        if columns.shape[1] <= self.max_values:
            return columns.reshape(-1)
        self.warn_once(
            f"reduce_fx={self.name} uses the first {self.max_values} values only, which take"
            f" {self.max_values * _BYTES_PER_VALUE / 1e6:.3g} MB. Use a reducer that does not store all values,"
            " such as 'p95' or a Reducer of your own, or raise the limit with Function(…, max_values=…).",
            on_each_rank=True,
        )
        # By steps: the first that were added could be all values of one rank and none of another.
        return _in_order(columns)[:, : self.max_values].reshape(-1)


def _in_order(columns: Floats) -> Floats:
    """Return a copy in the order of the steps, stable within a step."""
    return columns[:, columns[0].argsort(kind="stable")]


def _name_of(function: Callable[..., Any]) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__name__", type(function).__name__)
    return re.sub(r"\W+", "", name)
