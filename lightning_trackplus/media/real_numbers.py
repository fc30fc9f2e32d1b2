"""Real numbers in any form."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lightning_trackplus.media.arrays import is_float, readable


def real_numbers(values: Any, owner: str) -> Tensor:
    """Return real numbers as a dense tensor that has no graph, in their own memory wherever that goes.

    Args:
        values: A tensor, an array, a number, or nested lists of numbers.
        owner: The medium they were given to, for messages.

    Raises:
        TypeError: If they are no numbers.
        ValueError: If they are complex, or a tensor is not dense.
    """
    given = values if isinstance(values, Tensor) else _array(values, owner)
    numbers = readable(given, owner)
    if numbers is None or numbers.is_complex() or (numbers.is_floating_point() and not is_float(numbers.dtype)):
        raise ValueError(f"{owner} got numbers of {given.dtype}; give real ones, for example their absolute values.")
    return numbers.resolve_neg()


def _array(values: Any, owner: str) -> NDArray[Any]:
    try:
        numbers = np.asarray(values)
    except ValueError:  # The rows of a list have several lengths.
        numbers = np.asarray(None)
    if numbers.dtype.kind not in "biufc":
        raise TypeError(
            f"{owner} got a {type(values).__name__} that holds no array of numbers; give a tensor, an array, a list of"
            " numbers, or a list of tensors or arrays."
        )
    return numbers
