"""A typed ``self.log``: Lightning's own annotation rejects media."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from torch import Tensor
from torchmetrics import Metric

from lightning_trackplus.media.base import Media
from lightning_trackplus.media.selection import Selection
from lightning_trackplus.reducers.registry import OneReduction

if TYPE_CHECKING:
    import lightning.pytorch as pl

Loggable: TypeAlias = "float | Tensor | np.ndarray[Any, Any] | Metric | Media[Any] | str | Mapping[str, Loggable]"
"""What ``self.log`` takes while `TrackPlus` is attached."""


def log(
    module: pl.LightningModule,
    name: str,
    value: Loggable,
    *,
    reduce_fx: OneReduction | Selection | Sequence[OneReduction | Selection] = "mean",
    names: Sequence[str] | None = None,
    **options: Any,
) -> None:
    """Log a value; ``self.log(name, value, …)`` with types for all that it takes.

    Args:
        module: The module, in one of its hooks.
        name: The name.
        value: A number, a value for each sample, a metric, a medium, or what plainly is one.
        reduce_fx: Reducers for numbers, selections for media.
        names: A name for each element of a vector.
        options: As for `LightningModule.log`.

    Examples:
        >>> import lightning as L
        >>> from lightning_trackplus import Image, log
        >>> class Module(L.LightningModule):
        ...     def validation_step(self, batch, batch_idx):
        ...         log(self, "val/hard", Image(batch, score=batch.std((1, 2, 3))), reduce_fx="top8")
    """
    given = {} if names is None else {"names": names}
    module.log(name, value, reduce_fx=reduce_fx, **given, **options)  # type: ignore[arg-type]
