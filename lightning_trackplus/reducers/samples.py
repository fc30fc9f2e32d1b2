"""What a reducer sees of a stream, and what it remembers of it."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

State: TypeAlias = Floats
"""What a reducer remembers of a stream: numbers of its own choice, in an array of one dimension."""

NanPolicy: TypeAlias = Literal["omit", "propagate", "raise"]
"""What NaN among the values does: it is left out, makes the result NaN, or raises. The term is scipy's."""

Number = TypeVar("Number", np.int64, np.float64)

Span: TypeAlias = Literal["epoch", "run", "log"]
"""Which values count together: those of an epoch, of the run so far, or since metrics were last logged."""


class Samples(NamedTuple):
    """A part of a stream. The arrays have the shape ``(N,)``; N may be 0.

    Attributes:
        values: The values, float64; infinite ones among them, but no NaN.
        weights: What each counts, float64, above 0.
        steps: The step at which each was logged, int64, never falling.
        nan_count: How many values were NaN and are not in ``values``.
    """

    values: Floats
    weights: Floats
    steps: NDArray[np.int64]
    nan_count: int = 0


def unbroadcast(numbers: NDArray[Number]) -> NDArray[Number]:
    """Return numbers, but only one if all are the same place in memory, as where numpy broadcasts one.

    Args:
        numbers: The numbers, in one dimension.
    """
    return numbers[:1] if numbers.strides == (0,) else numbers
