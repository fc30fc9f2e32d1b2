"""Calls that left values, and the samples they hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_trackplus.reducers.samples import Floats, Number, Samples, unbroadcast
from lightning_trackplus.runtime.device_transfer import HostCopy

_Value: TypeAlias = float | Floats | Tensor

Given: TypeAlias = "float | Tensor | np.ndarray[Any, Any] | Sequence[Any]"
"""What a reducer is given."""


class Call(NamedTuple):
    """What one call left.

    Attributes:
        value: A number, an array on the host, or a tensor on a device, these in one dimension.
        weight: What each value counts.
        repeat: For how many samples a value stands.
        step: When it was. Like the repeat, an array as long as the value where one call stands for many.
    """

    value: _Value
    weight: float | Floats
    repeat: int | NDArray[np.int64]
    step: int | NDArray[np.int64]


def call_of(value: Given, weight: Given, repeat: int, step: int) -> Call:
    """Return a call, with a copy of the values that no later change reaches; waits for no device.

    Args:
        value: A number, a tensor of any shape, or what ``numpy.asarray`` makes real numbers of.
        weight: What each value counts, at least 0: a number, or a tensor that can be expanded to the
            shape of the value; a tensor on a device is waited for.
        repeat: For how many samples a value stands.
        step: When it was.

    Raises:
        ValueError: If a weight is below 0 or not finite, the shapes do not fit, or a value is complex.
    """
    if not isinstance(value, Tensor | float | int):
        value = _tensor(value)
    if isinstance(weight, int | float) and 0 <= weight < np.inf:
        return Call(_snapshot(value), float(weight), repeat, step)
    return Call(_snapshot(value), _checked_weights(value, weight), repeat, step)


def _tensor(value: Any) -> Tensor:
    """Return an array, or a list of numbers, as a tensor."""
    array = np.asarray(value)
    if array.dtype.kind not in "biufc":
        raise TypeError(f"A reducer got a {type(value).__name__}, {value!r}; give a number, a tensor, or an array.")
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))


def size_of(call: Call) -> int:
    """Return how many values a call left."""
    return 1 if isinstance(call.value, float) else len(call.value)


class Batch:
    """Some calls, whose values are on their way to the host, those of each device and dtype in one piece."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self._calls = calls
        tensors: dict[str, list[Tensor]] = {}
        for call in calls:
            if isinstance(call.value, Tensor):
                tensors.setdefault(_home(call.value), []).append(call.value)
        self._copies = {home: HostCopy(torch.cat(several)) for home, several in tensors.items()}

    def has_arrived(self) -> bool:
        """Return whether all values are on the host; does not wait."""
        return all(copied.has_arrived() for copied in self._copies.values())

    def samples(self) -> tuple[Samples, Samples]:
        """Return the samples in the calls; waits until they have arrived.

        Returns:
            The samples with their weights, and the same where each value also counts for as many samples
            as it stands for.
        """
        sizes = [size_of(call) for call in self._calls]
        values = self._values(sizes)
        steps = _expand([call.step for call in self._calls], sizes)
        weights = self._weights(sizes)
        repeat = _expand([call.repeat for call in self._calls], sizes)
        missing = np.isnan(values)
        # What has no weight is left out, NaN or not.
        nan_count = int(np.count_nonzero(weights[missing])) if missing.any() else 0
        if nan_count or not unbroadcast(weights).all():
            present = ~missing & (weights > 0)
            values, weights = values[present], weights[present]
            steps, repeat = steps[present], repeat[present]
        once = Samples(values, weights, steps, nan_count)
        return once, _copied(once, repeat)

    def _values(self, sizes: list[int]) -> Floats:
        if len(self._calls) == 1 and isinstance(self._calls[0].value, np.ndarray):
            return self._calls[0].value
        numbers = [call.value for call in self._calls if isinstance(call.value, float)]
        if len(numbers) == len(self._calls):
            return np.array(numbers, dtype=np.float64)
        if not self._copies:
            return np.concatenate([np.atleast_1d(call.value) for call in self._calls])
        values = np.empty(sum(sizes))
        # Where each value comes from: a number, an array on the host, or a piece from a device.
        homes = np.repeat([_home(call.value) for call in self._calls], sizes)
        values[homes == "number"] = numbers
        arrays = [call.value for call in self._calls if isinstance(call.value, np.ndarray)]
        values[homes == "host"] = np.concatenate([np.empty(0), *arrays])
        for home, copied in self._copies.items():
            values[homes == home] = _floats(copied.wait())
        return values

    def _weights(self, sizes: list[int]) -> Floats:
        numbers = [call.weight for call in self._calls if isinstance(call.weight, float)]
        if len(numbers) == len(self._calls):
            return _repeated(np.array(numbers, dtype=np.float64), sizes)
        each = [np.broadcast_to(call.weight, (size,)) for call, size in zip(self._calls, sizes, strict=True)]
        return np.concatenate(each)


def _copied(samples: Samples, repeat: NDArray[np.int64]) -> Samples:
    """Return samples of which each counts for as many; those that stand for none are left out."""
    if (unbroadcast(repeat) == 1).all():
        return samples
    some = repeat > 0
    if some.all():
        return samples._replace(weights=samples.weights * repeat)
    values, weights, steps = samples.values[some], samples.weights[some] * repeat[some], samples.steps[some]
    return samples._replace(values=values, weights=weights, steps=steps)


def _expand(each: list[int | NDArray[np.int64]], sizes: list[int]) -> NDArray[np.int64]:
    """Return what calls say once, or of each of their values, for each value."""
    first = each[0] if len(each) == 1 else None
    if isinstance(first, np.ndarray):
        return first
    if all(isinstance(one, int) for one in each):
        return _repeated(np.array(each, dtype=np.int64), sizes)
    return np.concatenate([np.broadcast_to(one, (size,)) for one, size in zip(each, sizes, strict=True)])


def _snapshot(value: float | Tensor) -> _Value:
    if not isinstance(value, Tensor):
        return float(value)
    if value.is_complex():
        raise ValueError("A reducer got complex values; give it `.abs()`, or `.real` and `.imag`.")
    value = value.detach()
    if value.device.type != "cpu":
        return value.reshape(-1).clone()
    if value.numel() == 1:
        return float(value.item())
    return _floats(value.reshape(-1).clone())


def _floats(values: Tensor) -> Floats:
    # numpy has no bfloat16.
    return values.to(torch.float64).numpy()


def _checked_weights(value: float | Tensor, weight: Given) -> Floats:
    shape = value.shape if isinstance(value, Tensor) else ()
    weights = torch.as_tensor(weight).detach().to("cpu", torch.float64)
    try:
        weights = weights.expand(shape)
    except RuntimeError as error:
        raise ValueError(
            f"A reducer got values of shape {tuple(shape)} and weights of shape {tuple(weights.shape)}; give one"
            " weight for each value, or a single number."
        ) from error
    if not bool(((weights >= 0) & (weights < torch.inf)).all()):
        raise ValueError(f"A reducer got the weights {weight!r}; a weight is a finite number, at least 0.")
    return weights.reshape(-1).numpy().copy()


def _repeated(numbers: NDArray[Number], sizes: list[int]) -> NDArray[Number]:
    """Return numbers, each so many times; of a single one without room for each."""
    return np.broadcast_to(numbers, sizes) if len(sizes) == 1 else np.repeat(numbers, sizes)


def _home(value: _Value) -> str:
    if isinstance(value, float):
        return "number"
    # By dtypes, since torch joins long integers and halves to halves.
    return "host" if isinstance(value, np.ndarray) else f"{value.device} {value.dtype}"
