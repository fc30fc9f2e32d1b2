"""Calls that are not yet summarized, and their samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_trackplus.reducers.types import Floats, Number, Samples, unbroadcast
from lightning_trackplus.runtime.device_transfer import HostCopy
from lightning_trackplus.runtime.names import a_type

Snapshot: TypeAlias = float | Floats | Tensor
"""A copy of values: a number, or one-dimensional; an array on the host, or a tensor on a device."""

_NUMPY_DTYPES = {torch.float64, torch.float32, torch.float16, torch.int64, torch.int32}

Given: TypeAlias = "float | Tensor | np.ndarray[Any, Any] | Sequence[Any]"
"""The values that a reducer accepts."""


class Call(NamedTuple):
    """The values of one call, or of several: then ``repeat`` and ``step`` are arrays as long as the value."""

    value: Snapshot
    weight: float | Floats
    repeat: int | NDArray[np.int64]
    step: int | NDArray[np.int64]


def call_of(value: Given, weight: Given, repeat: int, step: int) -> Call:
    """Return a call with a copy of its values, without waiting for a device; weights on a device are waited for."""
    if not isinstance(value, Tensor | float | int):
        value = _tensor(value)
    if isinstance(weight, int | float) and 0 <= weight < np.inf:
        return Call(snapshot(value), float(weight), repeat, step)
    return Call(snapshot(value), _checked_weights(value, weight), repeat, step)


def snapshot(value: float | Tensor) -> Snapshot:
    """Return a copy of real values, without waiting for a device."""
    if not isinstance(value, Tensor):
        return float(value)
    # Each call of torch counts: within a training, its code is in no cache of the processor.
    if value.is_cpu and value.dtype in _NUMPY_DTYPES:
        if not value.ndim:
            return float(value.item())
        # For a few values, this takes a third of the time of torch's operations. With `force`, torch applies a minus
        # sign that it has put off, as in `.conj().imag`, and leaves the graph.
        numbers = value.numpy(force=True).astype(np.float64).reshape(-1)
        return numbers if len(numbers) != 1 else float(numbers[0])
    if value.is_complex():
        raise ValueError("A reducer got complex values; expected real numbers, such as `.abs()`, `.real` or `.imag`.")
    if not value.is_cpu:
        return value.detach().reshape(-1).clone()
    return float(value.item()) if value.numel() == 1 else _floats(value.reshape(-1))  # Converted, and so copied.


class PendingCalls:
    """Some calls, whose values are being copied to the host, those of each device and dtype in one piece."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self._calls = calls
        tensors: dict[str, list[Tensor]] = {}
        for call in calls:
            if isinstance(call.value, Tensor):
                tensors.setdefault(_source(call.value), []).append(call.value)
        self._copies = {source: HostCopy(torch.cat(several)) for source, several in tensors.items()}

    def has_arrived(self) -> bool:
        """Return whether all values are on the host, without waiting."""
        return all(copied.has_arrived() for copied in self._copies.values())

    def samples(self) -> tuple[Samples, Samples]:
        """Return the samples with their weights, and the same with weights multiplied by ``repeat``; waits for them."""
        sizes = [1 if isinstance(call.value, float) else len(call.value) for call in self._calls]
        values, weights = self._values(sizes), self._weights(sizes)
        steps = _expand([call.step for call in self._calls], sizes)
        repeat = _expand([call.repeat for call in self._calls], sizes)
        is_nan = np.isnan(values)
        # Values of weight 0 are left out, NaN or not.
        nan_count = int(np.count_nonzero(weights[is_nan])) if is_nan.any() else 0
        if nan_count or not unbroadcast(weights).all():
            present = ~is_nan & (weights > 0)
            values, weights = values[present], weights[present]
            steps, repeat = steps[present], repeat[present]
        once = Samples(values, weights, steps, nan_count)
        return once, _repeated(once, repeat)

    def _values(self, sizes: list[int]) -> Floats:
        numbers = [call.value for call in self._calls if isinstance(call.value, float)]
        if len(numbers) == len(self._calls):
            return np.array(numbers, dtype=np.float64)
        if not self._copies:
            values = [call.value for call in self._calls]
            return np.concatenate(list(map(np.atleast_1d, values)) if numbers else values)
        merged = np.empty(sum(sizes))
        sources = np.repeat([_source(call.value) for call in self._calls], sizes)
        merged[sources == "number"] = numbers
        arrays = [call.value for call in self._calls if isinstance(call.value, np.ndarray)]
        merged[sources == "host"] = np.concatenate([np.empty(0), *arrays])
        for source, copied in self._copies.items():
            merged[sources == source] = _floats(copied.wait())
        return merged

    def _weights(self, sizes: list[int]) -> Floats:
        numbers = [call.weight for call in self._calls if isinstance(call.weight, float)]
        if len(numbers) == len(self._calls):
            return _repeat(np.array(numbers, dtype=np.float64), sizes)
        each = [np.broadcast_to(call.weight, (size,)) for call, size in zip(self._calls, sizes, strict=True)]
        return np.concatenate(each)


def _repeated(samples: Samples, repeat: NDArray[np.int64]) -> Samples:
    """Return samples with their weights multiplied by ``repeat``, without those where it is 0."""
    if (unbroadcast(repeat) == 1).all():
        return samples
    some = repeat > 0
    if some.all():
        return samples._replace(weights=samples.weights * repeat)
    values, weights, steps = samples.values[some], samples.weights[some] * repeat[some], samples.steps[some]
    return samples._replace(values=values, weights=weights, steps=steps)


def _expand(each: list[int | NDArray[np.int64]], sizes: list[int]) -> NDArray[np.int64]:
    """Return an attribute of calls for each of their values."""
    first = each[0] if len(each) == 1 else None
    if isinstance(first, np.ndarray):
        return first
    if all(isinstance(one, int) for one in each):
        return _repeat(np.array(each, dtype=np.int64), sizes)
    return np.concatenate([np.broadcast_to(one, (size,)) for one, size in zip(each, sizes, strict=True)])


def _repeat(numbers: NDArray[Number], sizes: list[int]) -> NDArray[Number]:
    """Return ``np.repeat``; of a single number a view that needs no memory."""
    return np.broadcast_to(numbers, sizes) if len(sizes) == 1 else np.repeat(numbers, sizes)


def _tensor(value: Any) -> Tensor:
    array = np.asarray(value)
    if array.dtype.kind not in "biufc":
        raise TypeError(
            f"A reducer got {a_type(value)}, {value!r}; expected a number, a tensor, or an array of numbers."
        )
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))


def _floats(values: Tensor) -> Floats:
    # numpy has no bfloat16.
    return values.to(torch.float64).numpy(force=True)


def _checked_weights(value: float | Tensor, weight: Given) -> Floats:
    shape = value.shape if isinstance(value, Tensor) else ()
    weights = torch.as_tensor(weight).to("cpu", torch.float64)
    try:
        weights = weights.expand(shape)
    except RuntimeError as error:
        raise ValueError(
            f"A reducer got values of shape {tuple(shape)} and weights of shape {tuple(weights.shape)}; expected one"
            " weight for each value, or a single number."
        ) from error
    if not bool(((weights >= 0) & (weights < torch.inf)).all()):
        raise ValueError(f"A reducer got the weights {weight!r}; expected finite numbers of at least 0.")
    return weights.reshape(-1).numpy(force=True).copy()


def _source(value: Snapshot) -> str:
    if isinstance(value, float):
        return "number"
    # By dtype: torch would concatenate long integers and half floats as half floats.
    return "host" if isinstance(value, np.ndarray) else f"{value.device} {value.dtype}"
