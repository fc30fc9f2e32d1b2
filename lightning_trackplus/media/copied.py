"""A copy of a tensor that the calling thread makes alone."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

# numpy has not all dtypes of torch, and copies bits as well.
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def copied(tensor: Tensor) -> Tensor:
    """Return a copy of a tensor on its device; waits for none.

    Torch shares the copying of a large tensor on the host out to its threads. Where these compete for
    the processor with those that load data, the last of them is waited for, for milliseconds.

    Args:
        tensor: The tensor, without a gradient.

    Examples:
        >>> copied(torch.arange(3))
        tensor([0, 1, 2])
    """
    bits = _BITS.get(tensor.dtype.itemsize)
    if tensor.device.type != "cpu" or bits is None or tensor.is_neg() or tensor.is_conj():
        return tensor.clone()
    _keep_freed_memory()
    # In the order in which it lies in memory, which is the fastest.
    return torch.from_numpy(tensor.view(bits).numpy().copy(order="K")).view(tensor.dtype)


@functools.cache
def _keep_freed_memory() -> None:
    """Let the allocator keep up to 64 MiB that were freed, for the next copies.

    The C library of Linux gives freed memory back to the system beyond twice the largest block, of up to 32 MiB, that
    was ever freed, and asks for larger blocks one by one. Each page of a copy then is a fresh one, and to get those
    takes several times as long as to copy. Nothing is written to this block, so that it takes no memory itself.
    """
    np.empty(32 * 2**20 - 2**16, np.uint8)
