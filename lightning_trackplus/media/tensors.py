"""Arrays and tensors of media: checked, copied, and as numbers."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_trackplus.runtime.names import a_type


def as_tensor(array: np.ndarray[Any, Any]) -> Tensor:
    """Return an array as a tensor, in the memory of the array wherever torch can use that.

    Torch cannot share memory with negative or unaligned strides, read-only memory, or a foreign byte order: these are
    copied. Floats of more than 64 bits are rounded, since torch has none.

    Examples:
        >>> as_tensor(np.arange(3)[::-1])
        tensor([2, 1, 0])
    """
    dtype = np.dtype(np.float64) if array.dtype.kind == "f" and array.itemsize > 8 else array.dtype.newbyteorder("=")
    has_usable_steps = all(step >= 0 and step % array.itemsize == 0 for step in array.strides)
    is_usable = dtype == array.dtype and array.flags.writeable and has_usable_steps
    return torch.from_numpy(array if is_usable else array.astype(dtype, order="C"))


def readable(numbers: Tensor | np.ndarray[Any, Any], owner: str) -> Tensor | None:
    """Return a dense tensor without a graph, in the same memory if possible; None if torch lacks the array's dtype."""
    if isinstance(numbers, np.ndarray):
        return as_tensor(numbers) if numbers.dtype.kind in "biuf" else None
    if numbers.is_nested:
        raise ValueError(f"{owner} got a nested tensor; expected a list of its tensors, tensor.unbind().")
    if numbers.is_quantized:
        raise ValueError(f"{owner} got a quantized tensor; expected its numbers, tensor.dequantize().")
    if numbers.layout is not torch.strided:
        raise ValueError(f"{owner} got a sparse tensor; expected a dense one, tensor.to_dense().")
    if numbers.is_meta:
        raise ValueError(f"{owner} got a tensor on the device 'meta', which holds no values; expected one that does.")
    return numbers.detach() if numbers.requires_grad else numbers


def is_float(dtype: torch.dtype) -> bool:
    """Return whether tensors of a dtype hold floats that torch can compute with: it has some dtypes only by name."""
    return dtype.is_floating_point and has_numbers(dtype)


@functools.cache
def has_numbers(dtype: torch.dtype) -> bool:
    """Return whether torch can convert a dtype: it has some dtypes only by name."""
    try:
        torch.empty(1, dtype=dtype).to(torch.float32)
    except (NotImplementedError, RuntimeError):
        return False
    return True


# numpy lacks some dtypes of torch, so that their bits are copied as integers.
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_OF_NUMPY = (torch.float32, torch.uint8, torch.float64, torch.float16, torch.bool)


def snapshot_tensor(tensor: Tensor) -> Tensor:
    """Return a copy of a tensor on its device, without waiting for it.

    On the host, numpy copies: torch would use several threads for a large tensor, and wait for the last of them for
    milliseconds if they compete for the processor with data loading.

    Examples:
        >>> snapshot_tensor(torch.arange(3))
        tensor([0, 1, 2])
    """
    dtype = tensor.dtype
    bits = dtype if dtype in _OF_NUMPY else _BITS.get(dtype.itemsize)
    if not tensor.is_cpu or bits is None or tensor.is_neg() or tensor.is_conj():
        return tensor.clone()
    _keep_freed_memory()
    # Each call of torch counts: in the midst of a training, its code is in no cache of the processor. The order of the
    # memory is the fastest.
    if bits is dtype:
        return torch.from_numpy(tensor.numpy(force=True).copy(order="K"))
    return torch.from_numpy(tensor.view(bits).numpy().copy(order="K")).view(dtype)


@functools.cache
def _keep_freed_memory() -> None:
    """Let the allocator keep up to 64 MiB that were freed, for the next copies.

    The C library of Linux gives freed memory back to the system beyond twice the largest block, of up to 32 MiB, that
    was ever freed, and asks for larger blocks one by one. Each page of a copy then is a fresh one, and to get those
    takes several times as long as to copy (`benchmarks/copies.py`). Nothing is written to this block, so that it takes
    no memory itself.
    """
    np.empty(32 * 2**20 - 2**16, np.uint8)


def real_numbers(values: Any, owner: str) -> Tensor:
    """Return real numbers as a dense tensor without a graph, in the same memory if possible."""
    given = values if isinstance(values, Tensor) else _array(values, owner)
    numbers = readable(given, owner)
    if numbers is None or numbers.is_complex() or (numbers.is_floating_point() and not is_float(numbers.dtype)):
        raise ValueError(
            f"{owner} got numbers of {given.dtype}; expected real ones, for example their absolute values."
        )
    return numbers.resolve_neg()


def _array(values: Any, owner: str) -> NDArray[Any]:
    try:
        numbers = np.asarray(values)
    except ValueError:  # The rows of a list have several lengths.
        numbers = np.asarray(None)
    if numbers.dtype.kind not in "biufc":
        raise TypeError(
            f"{owner} got {a_type(values)} that holds no array of numbers; expected a tensor, an array, a"
            " list of numbers, or a list of tensors or arrays."
        )
    return numbers
