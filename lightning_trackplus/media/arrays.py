"""Tensors and arrays of numpy, as tensors whose numbers can be read."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
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

    Args:
        numbers: What the user gave.
        owner: The medium it was given to, for messages.

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
