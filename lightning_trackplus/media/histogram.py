"""Histograms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import Self, override

from lightning_trackplus.media.base import Media
from lightning_trackplus.media.histogram_counts import checked_edges, count_on_device, count_on_host, unpack
from lightning_trackplus.media.tensors import real_numbers, snapshot_tensor
from lightning_trackplus.record import Counts, HistogramPayload
from lightning_trackplus.runtime.lists import is_list

Numbers: TypeAlias = "Tensor | NDArray[Any] | Sequence[Any]"

_MOST_BINS = 1_000_000
# Apple's GPUs have no float64, and share their memory with the host.
_COUNTED_ON_HOST = ("cpu", "mps")
# For more numbers torch uses several threads, which slow training down: the GRAIN_SIZE of its TensorIterator.
_MOST_OF_ONE_THREAD = 32767


class RawValues(NamedTuple):
    """Real numbers, at least one, and the bins over which they are to be counted: how many, or their edges."""

    numbers: Tensor
    bins: int | NDArray[np.float64]

    @property
    def nbytes(self) -> int:
        """Memory of the numbers in bytes."""
        return self.numbers.nbytes


Distribution: TypeAlias = RawValues | Tensor | Counts
"""Numbers, their counts on a device as `count_on_device` packs them, or their counts."""


class Histogram(Media[Distribution]):
    """The distribution of numbers, as a CSV table and in TensorBoard's tabs of histograms and distributions.

    Numbers on a device are counted there. The counts are those of `numpy.histogram` for the numbers in
    float64. NaN and infinities are in none of the bins, and counted in a warning.

    It is not `lightning_trackplus.reducers.Histogram`, which counts the values of a name over an epoch.

    Args:
        values: A tensor, an array or a list of real numbers of any shape and type, at least one, such as
            weights, gradients or activations; a list of tensors or arrays gives a histogram of each.
        bins: The number of bins of equal width from the smallest to the largest number, 1 to 1,000,000; or the
            edges of the bins, finite and rising, shape ``(N + 1,)``, on the host.
        caption: A line about the histogram, or a list with one for each.
        score: A number for the histogram, or one for each, shape ``(N,)``.

    Raises:
        TypeError: If the values are not numbers.
        ValueError: If they are complex, sparse or empty, the number of bins is out of range, the edges do not
            rise, or there is not one caption or score for each histogram.

    Examples:
        >>> import torch
        >>> Histogram(torch.randn(64, 128), bins=32)
        <Histogram: 1 item>
        >>> Histogram([torch.randn(9), torch.arange(3)], bins=[0, 1, 2], caption=["logits", "classes"])
        <Histogram: 2 items>
    """

    def __init__(
        self,
        values: Numbers,
        bins: int | Numbers = 64,
        caption: str | Sequence[str] | None = None,
        score: float | Sequence[float] | Tensor | None = None,
    ) -> None:
        checked_bins = _checked_bins(bins)
        super().__init__([RawValues(one, checked_bins) for one in _one_each(values)], caption, score)

    @classmethod
    def of_counts(
        cls,
        counts: Numbers,
        edges: Numbers,
        caption: str | None = None,
        *,
        below: float = 0.0,
        above: float = 0.0,
    ) -> Self:
        """Return the histogram of values that are counted already.

        Args:
            counts: The values in each bin, at least 0, shape ``(N,)``, on the host; NaN if unknown.
            edges: The edges of the bins, finite and rising, shape ``(N + 1,)``, on the host.
            caption: A line about the histogram.
            below: The values below the first edge.
            above: The values above the last edge.

        Raises:
            ValueError: If the edges do not rise or are not finite, a count is below 0, there is not one
                for each bin, or a tensor is on a device.

        Examples:
            >>> Histogram.of_counts([3, 1], edges=[0.0, 0.5, 1.0])
            <Histogram: 1 item>
        """
        between = checked_edges(_on_host("edges", edges), owner="Histogram")
        inside = _on_host("counts", counts)
        if inside.shape != (len(between) - 1,) or (np.array([below, *inside, above]) < 0).any():
            raise ValueError(
                f"Histogram got {len(between)} edges and counts of shape {inside.shape}, {below!r} below and {above!r}"
                " above; expected one count fewer than edges, and none below 0."
            )
        medium = cls.__new__(cls)
        Media.__init__(medium, [Counts(between, inside, below, above)], caption, None)
        return medium

    @property
    @override
    def nbytes(self) -> int:
        """Memory of numbers and counts in bytes."""
        return sum(item.nbytes for item in self._items)

    @override
    def encode(self, name: str) -> HistogramPayload:
        """Return the histograms as numbers and as CSV."""
        counts = tuple(map(_counts_of, self._items))
        self._warn(name, sum(one.nan for one in counts), "values are NaN and left out")
        self._warn(name, sum(one.infinite for one in counts), "values are infinite and lie outside of all bins")
        return HistogramPayload(self._encoded([one.csv() for one in counts], ".csv"), counts)

    @override
    def snapshot_item(self, item: Distribution) -> Distribution:
        if not isinstance(item, RawValues):
            return item  # What is counted is a copy already.
        if item.numbers.device.type not in _COUNTED_ON_HOST:
            return count_on_device(*item)  # So that only counts leave the device.
        return item._replace(numbers=snapshot_tensor(item.numbers))


def _counts_of(item: Distribution) -> Counts:
    match item:
        case RawValues():
            return count_on_host(_as_array(item.numbers.cpu()), item.bins)
        case Tensor():
            return unpack(item)
        case _:
            return item


def _checked_bins(bins: int | Numbers) -> int | NDArray[np.float64]:
    if isinstance(bins, np.ndarray | Tensor) or is_list(bins):
        return checked_edges(_on_host("bins", bins), owner="Histogram")
    if not isinstance(bins, int | np.integer) or isinstance(bins, bool) or not 1 <= bins <= _MOST_BINS:
        raise ValueError(
            f"Histogram got bins={bins!r}; expected how many, from 1 to {_MOST_BINS:,}, or their edges, for example"
            " [0, 0.5, 1]."
        )
    return int(bins)


def _on_host(title: str, numbers: Numbers) -> NDArray[np.float64]:
    """Return a copy of numbers that are checked at once."""
    if isinstance(numbers, Tensor):
        if numbers.device.type != "cpu":
            raise ValueError(
                f"Histogram got {title} on {numbers.device}, for which training would have to wait; expected {title}"
                " that are on the host."
            )
        numbers = numbers.detach().double().numpy()
    return np.array(numbers, dtype=np.float64)


def _one_each(values: Numbers) -> list[Tensor]:
    """Return the tensors of which each has a histogram."""
    if not is_list(values) or not any(isinstance(one, Tensor | np.ndarray) for one in values):
        return [_checked(values)]
    if all(isinstance(one, Tensor) and one.ndim == 0 for one in values):
        return [_checked(torch.stack([one.detach() for one in values]))]
    return [_checked(one) for one in values]


def _checked(values: Any) -> Tensor:
    numbers = real_numbers(values, "Histogram")
    if not numbers.numel():
        raise ValueError(f"Histogram got numbers of shape {tuple(numbers.shape)}; expected at least one.")
    return numbers


def _as_array(numbers: Tensor) -> NDArray[Any]:
    if not numbers.is_floating_point() or numbers.dtype.itemsize > 2:
        return numbers.numpy()
    return np.concatenate([part.float().numpy() for part in torch.split(numbers.reshape(-1), _MOST_OF_ONE_THREAD)])
