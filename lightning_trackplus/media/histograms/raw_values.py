"""Numbers of which a histogram is to be made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_trackplus.media.histograms.binned import BinnedCounts
from lightning_trackplus.media.histograms.counts_on_device import CountsOnDevice
from lightning_trackplus.media.histograms.counts_on_host import counted_on_host
from lightning_trackplus.media.tensors import clone_to_host, real_numbers
from lightning_trackplus.runtime.lists import is_list

# Apple's GPUs have no float64, and share their memory with the host.
_COUNTED_ON_HOST = ("cpu", "mps")
# For more numbers torch takes several threads, which get in the way of training: the GRAIN_SIZE of its TensorIterator.
_MOST_OF_ONE_THREAD = 32767


@dataclass(frozen=True)
class RawValues:
    """Numbers and the bins over which they are to be counted.

    Attributes:
        numbers: Real numbers of any shape, at least one.
        bins: How many bins of one width, from the smallest to the largest finite number; or their edges.
    """

    numbers: Tensor
    bins: int | NDArray[np.float64]

    @property
    def nbytes(self) -> int:
        """Memory that the numbers hold, in bytes."""
        return self.numbers.nbytes

    def snapshot(self) -> RawValues | CountsOnDevice:
        """Return a copy; of numbers on a device their counts, so that only these leave it."""
        if self.numbers.device.type not in _COUNTED_ON_HOST:
            return CountsOnDevice.of(self.numbers, self.bins)
        return RawValues(clone_to_host(self.numbers), self.bins)

    def binned(self) -> BinnedCounts:
        """Return the counts."""
        return counted_on_host(_as_array(self.numbers.cpu()), self.bins)


def one_each(values: Tensor | NDArray[Any] | Sequence[Any]) -> list[Tensor]:
    """Return the tensors of which each has a histogram.

    Raises:
        TypeError: If the values are no numbers.
        ValueError: If they are complex, sparse, or none at all.
    """
    if not is_list(values) or not any(isinstance(one, Tensor | np.ndarray) for one in values):
        return [_checked(values)]
    if all(isinstance(one, Tensor) and one.ndim == 0 for one in values):
        return [_checked(torch.stack([one.detach() for one in values]))]
    return [_checked(one) for one in values]


def _checked(values: Any) -> Tensor:
    numbers = real_numbers(values, "Histogram")
    if not numbers.numel():
        raise ValueError(f"Histogram got numbers of shape {tuple(numbers.shape)}; give at least one.")
    return numbers


def _as_array(numbers: Tensor) -> NDArray[Any]:
    if not numbers.is_floating_point() or numbers.dtype.itemsize > 2:
        return numbers.numpy()
    return np.concatenate([part.float().numpy() for part in torch.split(numbers.reshape(-1), _MOST_OF_ONE_THREAD)])
