"""What the contract harness has to know of a reducer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lightning_trackplus.reducers.base import Reducer

Values = np.ndarray
Expected = float | dict[str, float]


@dataclass(frozen=True)
class Case:
    """A reducer and what it should give.

    Attributes:
        make: Builds it.
        oracle: What it gives for values and their weights, float64 arrays of one length, at least 1;
            by numpy, scipy or pandas, or by hand.
        rtol: The largest relative error against the oracle.
        atol: The largest absolute error against it.
        empty: What it gives where nothing was seen.
        ordered: Whether the order of the values matters to it, so that parts may not be exchanged.
        positive: Whether it is only defined for values above 0.
        uses_weights: Whether the weights matter to it.
    """

    make: Callable[[], Reducer]
    oracle: Callable[[Values, Values], Expected]
    rtol: float = 0.0
    atol: float = 0.0
    empty: Expected = math.nan
    ordered: bool = False
    positive: bool = False
    uses_weights: bool = True

    def __str__(self) -> str:
        return self.make().name
