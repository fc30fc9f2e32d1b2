"""Heat maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from lightning_trackplus.media.base import Media
from lightning_trackplus.media.images.captions import captioned
from lightning_trackplus.media.images.file_formats import png
from lightning_trackplus.media.images.heat_map_drawing import drawn
from lightning_trackplus.media.tensors import real_numbers, snapshot_tensor
from lightning_trackplus.record import ImagePayload
from lightning_trackplus.runtime.lists import is_list

OneMatrix: TypeAlias = "Tensor | NDArray[Any] | Sequence[Any]"
Normalization: TypeAlias = Literal["true", "pred", "all"]

_MOST_CELLS = 2**26


class Matrix(NamedTuple):
    """One matrix of a batch.

    Attributes:
        cells: Real numbers, shape ``(rows, columns)``.
        names: The names of rows and columns.
        normalize: The sums by which cells are divided.
    """

    cells: Tensor
    names: tuple[str, ...] | None
    normalize: Normalization | None


class HeatMap(Media[Matrix]):
    """A matrix as a picture, such as a confusion matrix or an attention map, or a batch of them.

    Colours range from the smallest to the largest number. Numbers are written into the cells if they fit, for at most
    51 rows and columns. The picture is as wide as TensorBoard's card, on which all numbers and names of ten classes can
    be read. If it has to be wider, it also has a colour scale. NaN is drawn grey, and counted in a warning.

    Args:
        matrix: A tensor, an array or nested lists of real numbers of any type, shape ``(rows, columns)``, a
            batch ``(N, rows, columns)``, or a list of tensors or arrays of these.
        class_names: One name for each class; then rows are true classes and columns predicted ones, as in the
            confusion matrices of torchmetrics and scikit-learn.
        caption: A line about the map, or a list with one for each.
        score: A number for the map, or one for each, shape ``(N,)``.
        normalize: ``"true"`` divides each cell by the sum of its row, ``"pred"`` by that of its column,
            ``"all"`` by that of all, as scikit-learn does; a cell whose sum is 0 becomes 0.

    Raises:
        TypeError: If the matrix is not made of numbers, or ``class_names`` is a string.
        ValueError: If the shape is not one of these, is empty, or has more than 67,108,864 cells, the numbers are
            complex or sparse, there is not one name for each row and column, ``normalize`` is not one of
            these, or there is not one caption or score for each map.

    Examples:
        >>> HeatMap([[8, 2], [1, 9]], class_names=["cat", "dog"], normalize="true")
        <HeatMap: 1 item>
    """

    def __init__(
        self,
        matrix: OneMatrix | Sequence[OneMatrix],
        class_names: Sequence[str] | None = None,
        caption: str | Sequence[str] | None = None,
        score: float | Sequence[float] | Tensor | None = None,
        *,
        normalize: Normalization | None = None,
    ) -> None:
        if normalize is not None and normalize not in get_args(Normalization):
            raise ValueError(f'HeatMap got normalize={normalize!r}; expected "true", "pred", "all" or None.')
        if isinstance(class_names, str):
            raise TypeError(f"HeatMap got class_names={class_names!r}; expected a list of names.")
        names = None if class_names is None else tuple(map(str, class_names))
        are_several = is_list(matrix) and any(isinstance(one, Tensor | np.ndarray) for one in matrix)
        cells = [cells for one in (matrix if are_several else [matrix]) for cells in _split(one)]
        super().__init__([Matrix(_checked(one, names), names, normalize) for one in cells], caption, score)

    @property
    @override
    def nbytes(self) -> int:
        """Memory of the numbers in bytes."""
        return sum(matrix.cells.nbytes for matrix in self._items)

    @override
    def encode(self, name: str) -> ImagePayload:
        """Return the maps as PNG."""
        matrices = [_normalized(matrix.cells.cpu().double().numpy(), matrix.normalize) for matrix in self._items]
        self._warn(name, sum(int(np.isnan(matrix).sum()) for matrix in matrices), "cells are NaN and drawn grey")
        infinite = sum(int(np.isinf(matrix).sum()) for matrix in matrices)
        self._warn(name, infinite, "cells are infinite and drawn in the last colours of the scale")
        pictures = [drawn(matrix, item.names) for matrix, item in zip(matrices, self._items, strict=True)]
        _, height, width = pictures[0].shape
        items = self._encoded([png(picture) for picture in pictures], ".png")
        return ImagePayload(items, width, height, captioned(items, pictures))

    @override
    def snapshot_item(self, item: Matrix) -> Matrix:
        return item._replace(cells=snapshot_tensor(item.cells))


def _split(matrix: Any) -> Sequence[Tensor]:
    """Return the matrices in numbers of any shape that `HeatMap` takes."""
    numbers = real_numbers(matrix, "HeatMap")
    if numbers.ndim not in (2, 3) or not numbers.numel():
        raise ValueError(
            f"HeatMap got numbers of shape {tuple(numbers.shape)}; expected (rows, columns), or a batch of these with"
            " the batch first. No dimension is 0."
        )
    return [numbers] if numbers.ndim == 2 else numbers.unbind()


def _checked(cells: Tensor, names: tuple[str, ...] | None) -> Tensor:
    shape = tuple(cells.shape)
    if cells.numel() > _MOST_CELLS:
        raise ValueError(f"HeatMap got a matrix of shape {shape}; expected at most {_MOST_CELLS:,} cells.")
    if names is not None and shape != (len(names), len(names)):
        raise ValueError(
            f"HeatMap got {len(names)} class names and a matrix of shape {shape}; expected a name for each row, which"
            " is also that of the column."
        )
    return cells


def _normalized(matrix: NDArray[np.float64], normalize: Normalization | None) -> NDArray[np.float64]:
    if normalize is None:
        return matrix
    axis = {"true": 1, "pred": 0, "all": None}[normalize]
    # The share of an infinite cell is NaN, which a warning of ours counts.
    with np.errstate(invalid="ignore"):
        sums = matrix.sum(axis=axis, keepdims=True)
        shares: NDArray[np.float64] = np.divide(matrix, sums, out=np.zeros_like(matrix), where=sums != 0)
    return shares
