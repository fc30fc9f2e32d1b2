"""Histograms."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import Self, override

from lightning_trackplus.media.base import Media
from lightning_trackplus.media.histograms.bin_edges import checked_edges
from lightning_trackplus.media.histograms.binned import BinnedCounts
from lightning_trackplus.media.histograms.counts_on_device import CountsOnDevice
from lightning_trackplus.media.histograms.raw_values import RawValues, one_each
from lightning_trackplus.record import HistogramPayload
from lightning_trackplus.runtime.lists import is_list

Numbers: TypeAlias = "Tensor | NDArray[Any] | Sequence[Any]"
Distribution: TypeAlias = RawValues | CountsOnDevice | BinnedCounts

_MOST_BINS = 1_000_000


class Histogram(Media[Distribution]):
    """The distribution of numbers, as a CSV table and in TensorBoard's tabs of histograms and distributions.

    Numbers on a device are counted there. The counts are those of `numpy.histogram` for the numbers in
    float64. NaN and infinities are in none of the bins; a warning says how many there were.

    It is not `lightning_trackplus.reducers.Histogram`, which counts the values of a name over an epoch.

    Args:
        values: A tensor, an array or a list of real numbers of any shape and type, at least one, such as
            weights, gradients or activations; a list of tensors or arrays gives a histogram of each.
        bins: How many bins of one width, from the smallest to the largest number, 1 to 1,000,000; or
            where the bins begin and the last one ends, finite and rising, shape ``(N + 1,)``, on the host.
        caption: A line about the histogram, or a list with one for each.
        score: A number for the histogram, or one for each, shape ``(N,)``.

    Raises:
        TypeError: If the values are no numbers.
        ValueError: If they are complex, sparse or none at all, there cannot be so many bins, the edges
            do not rise, or there is another number of captions or scores than of histograms.

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
        super().__init__([RawValues(one, checked_bins) for one in one_each(values)], caption, score)

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
        """Return the histogram of numbers that have been counted.

        Args:
            counts: How many values lie in each bin, at least 0, shape ``(N,)``, on the host; NaN where
                that is not known.
            edges: Where the bins begin and the last one ends, finite and rising, shape ``(N + 1,)``, on
                the host.
            caption: A line about the histogram.
            below: How many values lie below the first edge.
            above: How many lie above the last edge.

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
                " above; give one count fewer than edges, and none below 0."
            )
        medium = cls.__new__(cls)
        Media.__init__(medium, [BinnedCounts(between, inside, below, above)], caption, None)
        return medium

    @property
    @override
    def nbytes(self) -> int:
        """Memory that numbers and counts hold, in bytes."""
        return sum(item.nbytes for item in self._items)

    @override
    def encode(self, name: str) -> HistogramPayload:
        """Return the histograms as numbers and as CSV.

        Args:
            name: The name they were logged under, for warnings.
        """
        counted = [item if isinstance(item, BinnedCounts) else item.binned() for item in self._items]
        _warn_of(sum(one.nan for one in counted), "are NaN and left out", name)
        _warn_of(sum(one.infinite for one in counted), "are infinite and lie outside of all bins", name)
        tables = tuple(one.table() for one in counted)
        return HistogramPayload(self._encoded([_csv(table) for table in tables], ".csv"), tables)

    @override
    def _snapshot_of(self, item: Distribution) -> Distribution:
        # What is counted is a copy already.
        return item.snapshot() if isinstance(item, RawValues) else item


def _checked_bins(bins: int | Numbers) -> int | NDArray[np.float64]:
    if isinstance(bins, np.ndarray | Tensor) or is_list(bins):
        return checked_edges(_on_host("bins", bins), owner="Histogram")
    if not isinstance(bins, int | np.integer) or isinstance(bins, bool) or not 1 <= bins <= _MOST_BINS:
        raise ValueError(
            f"Histogram got bins={bins!r}; give how many, from 1 to {_MOST_BINS:,}, or their edges, for example"
            " [0, 0.5, 1]."
        )
    return int(bins)


def _on_host(title: str, numbers: Numbers) -> NDArray[np.float64]:
    """Return a copy of numbers that have to be looked at now."""
    if isinstance(numbers, Tensor):
        if numbers.device.type != "cpu":
            raise ValueError(
                f"Histogram got {title} on {numbers.device}, for which training would have to wait; give {title} that"
                " are on the host."
            )
        numbers = numbers.detach().double().numpy()
    return np.array(numbers, dtype=np.float64)


def _warn_of(count: int, what: str, name: str) -> None:
    if count:
        warnings.warn(f"Histogram {name!r}: {count} values {what}.", stacklevel=2)


def _csv(table: NDArray[np.float64]) -> bytes:
    rows = [",".join(repr(number).removesuffix(".0") for number in row) for row in table.tolist()]
    return "\n".join(["low,high,count", *rows, ""]).encode()
