"""Arrays and tensors of media: checked, copied to the host, and as numbers."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def as_tensor(array: np.ndarray[Any, Any]) -> Tensor:
    """Return an array as a tensor, in the memory of the array wherever torch can use that.

    Torch cannot use memory that runs backwards or in odd steps, that is read-only, or whose bytes stand in
    an order other than the machine's. It has no floats of more than 64 bits: they are rounded.

    Args:
        array: An array of numbers, any shape.

    Raises:
        TypeError: If torch has no such dtype.

    Examples:
        >>> as_tensor(np.arange(3)[::-1])
        tensor([2, 1, 0])
    """
    dtype = np.dtype(np.float64) if array.dtype.kind == "f" and array.itemsize > 8 else array.dtype.newbyteorder("=")
    has_usable_steps = all(step >= 0 and step % array.itemsize == 0 for step in array.strides)
    is_usable = dtype == array.dtype and array.flags.writeable and has_usable_steps
    return torch.from_numpy(array if is_usable else array.astype(dtype, order="C"))


def readable(numbers: Tensor | np.ndarray[Any, Any], owner: str) -> Tensor | None:
    """Return a tensor or an array as a dense tensor that has no graph, in its own memory wherever that goes.

    Returns:
        The tensor, or None where torch has no such dtype.

    Raises:
        ValueError: If the tensor is sparse, nested, quantized, or has no memory.
    """
    if isinstance(numbers, np.ndarray):
        return as_tensor(numbers) if numbers.dtype.kind in "biuf" else None
    if numbers.is_nested:
        raise ValueError(f"{owner} got a nested tensor; give a list of its tensors, tensor.unbind().")
    if numbers.is_quantized:
        raise ValueError(f"{owner} got a quantized tensor; give its numbers, tensor.dequantize().")
    if numbers.layout is not torch.strided:
        raise ValueError(f"{owner} got a sparse tensor; give a dense one, tensor.to_dense().")
    if numbers.is_meta:
        raise ValueError(f"{owner} got a tensor on the device 'meta', which holds no values; give one that does.")
    return numbers.detach() if numbers.requires_grad else numbers


def is_float(dtype: torch.dtype) -> bool:
    """Return whether tensors of a dtype hold floats that torch can compute with: of some it knows the name alone.

    Args:
        dtype: The dtype.
    """
    return dtype.is_floating_point and has_numbers(dtype)


@functools.cache
def has_numbers(dtype: torch.dtype) -> bool:
    """Return whether torch can turn a dtype into another: it has dtypes of which it knows the name alone.

    Args:
        dtype: The dtype.
    """
    try:
        torch.empty(1, dtype=dtype).to(torch.float32)
    except (NotImplementedError, RuntimeError):
        return False
    return True


# numpy has not all dtypes of torch, and copies bits as well.
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def clone_to_host(tensor: Tensor) -> Tensor:
    """Return a copy of a tensor on its device; waits for none.

    Torch shares the copying of a large tensor on the host out to its threads. Where these compete for
    the processor with those that load data, the last of them is waited for, for milliseconds.

    Examples:
        >>> clone_to_host(torch.arange(3))
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
    takes several times as long as to copy (`benchmarks/copies.py`). Nothing is written to this block, so that it takes
    no memory itself.
    """
    np.empty(32 * 2**20 - 2**16, np.uint8)


def real_numbers(values: Any, owner: str) -> Tensor:
    """Return real numbers as a dense tensor that has no graph, in their own memory wherever that goes.

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
