"""Histograms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lightning_trackplus.bin_edges import checked_edges
from lightning_trackplus.media.media import Media
from lightning_trackplus.record import Histograms

Numbers: TypeAlias = "Tensor | NDArray[Any] | Sequence[float]"
Table: TypeAlias = NDArray[np.float64]


class Histogram(Media[Table]):
    """Counts over bins, written as a CSV table and shown in TensorBoard's tabs of histograms and distributions.

    Args:
        counts: How many values lie in each bin, at least 0, shape ``(N,)``; NaN where that is not known.
        edges: Where the bins begin and the last one ends, finite and rising, shape ``(N + 1,)``.
        caption: A line about the histogram.
        below: How many values lie below the first edge.
        above: How many lie above the last edge.

    Raises:
        ValueError: If the edges do not rise or are not finite, a count is below 0, or there is not one
            for each bin.

    Examples:
        >>> Histogram([3, 1], edges=[0.0, 0.5, 1.0])
        <Histogram: 1 item>
    """

    def __init__(
        self,
        counts: Numbers,
        edges: Numbers,
        caption: str | None = None,
        *,
        below: float = 0.0,
        above: float = 0.0,
    ) -> None:
        between = checked_edges(_array(edges), owner="Histogram")
        inside = _array(counts)
        if inside.shape != (len(between) - 1,) or (np.array([below, *inside, above]) < 0).any():
            raise ValueError(
                f"Histogram got {len(between)} edges and counts of shape {inside.shape}, {below!r} below and {above!r}"
                " above; give one count fewer than edges, and none below 0."
            )
        super().__init__([_table(inside, between, below, above)], caption, None)

    @property
    def nbytes(self) -> int:
        """Memory that the tables hold, in bytes."""
        return sum(table.nbytes for table in self._items)

    def encode(self, name: str) -> Histograms:  # noqa: ARG002  a histogram gives no reason for a warning
        """Return the histograms as numbers and as CSV.

        Args:
            name: The name they were logged under.
        """
        return Histograms(self._encoded([_csv(table) for table in self._items], ".csv"), self._items)

    def _snapshot_of(self, item: Table) -> Table:
        return item  # It is a copy already.


def _array(numbers: Numbers) -> NDArray[np.float64]:
    numbers = numbers.detach().cpu().double().numpy() if isinstance(numbers, Tensor) else numbers
    return np.asarray(numbers, dtype=np.float64)


def _table(counts: Table, edges: Table, below: float, above: float) -> Table:
    """Return rows of low, high and count; what lies outside has a row where there is any."""
    table = np.stack([edges[:-1], edges[1:], counts], axis=1)
    outside = np.array([[-np.inf, edges[0], below], [edges[-1], np.inf, above]])
    return np.concatenate([outside[:1][outside[:1, 2] != 0], table, outside[1:][outside[1:, 2] != 0]])


def _csv(table: Table) -> bytes:
    rows = [",".join(repr(number).removesuffix(".0") for number in row) for row in table.tolist()]
    return "\n".join(["low,high,count", *rows, ""]).encode()
