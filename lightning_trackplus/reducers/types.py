"""The types that reducers take and return."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

State: TypeAlias = Floats
"""The state of a reducer: numbers of its own choice, in a one-dimensional array."""

NanPolicy: TypeAlias = Literal["omit", "propagate", "raise"]
"""What happens to NaN: it is left out, makes the result NaN, or raises. The term is scipy's."""

MAX_KEPT = 65_536
"""How many values a state keeps one by one; above that it is a sketch."""

Number = TypeVar("Number", np.int64, np.float64)

Span: TypeAlias = Literal["epoch", "run", "log"]
"""Which values count together: those of an epoch, of the run so far, or since metrics were last logged."""


class Samples(NamedTuple):
    """A part of a stream. The arrays have the shape ``(N,)``; N may be 0.

    Attributes:
        values: The values, float64; they may be infinite, but not NaN.
        weights: The weight of each value, float64, above 0.
        steps: The step of each value, int64, never decreasing.
        nan_count: The number of NaN, which are not in ``values``.
    """

    values: Floats
    weights: Floats
    steps: NDArray[np.int64]
    nan_count: int = 0


def unbroadcast(numbers: NDArray[Number]) -> NDArray[Number]:
    """Return one element of a row that numpy broadcast from it, and any other row as it is."""
    return numbers[:1] if numbers.strides == (0,) else numbers
