"""What Lightning hands to a logger, as plain numbers by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

_NUMBERS = {float, int}


def flatten_metrics(metrics: Mapping[str, Any]) -> dict[str, float | Tensor]:
    """Return each number by its name; a dict in it is flattened, ``outer/inner``.

    What lies on a CUDA device stays there, since to ask for it would wait for the device.

    Raises:
        ValueError: If a value is no number, in Lightning's words.

    Examples:
        >>> import torch
        >>> flatten_metrics({"loss": torch.tensor(0.5), "acc": {"top1": 1, "top5": True}})
        {'loss': 0.5, 'acc/top1': 1, 'acc/top5': 1.0}
    """
    # What Lightning hands over are plain numbers.
    if _NUMBERS.issuperset(map(type, metrics.values())):
        return dict(metrics)
    return dict(_flattened(metrics, ""))


def _flattened(metrics: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float | Tensor]]:
    for name, value in metrics.items():
        if isinstance(value, Tensor) and value.is_cuda and value.numel() == 1 and not value.is_complex():
            yield prefix + name, value
        elif isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{name}/")
        else:
            yield prefix + name, _number(value)


def _number(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    try:
        # Tensors and arrays give their number so, without a warning of a graph or of dimensions.
        number = value.item() if hasattr(value, "item") else value
        return number if type(number) is int else float(number)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"\n you tried to log {value} which is currently not supported. Try a dict or a scalar/tensor."
        ) from error
