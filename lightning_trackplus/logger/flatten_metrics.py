"""Metrics as numbers by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

_NUMBERS = {float, int}


def flatten_metrics(metrics: Mapping[str, Any]) -> dict[str, float | Tensor]:
    """Return each number by its name, with nested dicts as ``outer/inner``; CUDA tensors stay on the device.

    Examples:
        >>> import torch
        >>> flatten_metrics({"loss": torch.tensor(0.5), "acc": {"top1": 1, "top5": True}})
        {'loss': 0.5, 'acc/top1': 1, 'acc/top5': 1.0}
    """
    if _NUMBERS.issuperset(map(type, metrics.values())):
        return dict(metrics)
    return dict(_flattened(metrics, ""))


def _flattened(metrics: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float | Tensor]]:
    for name, value in metrics.items():
        if isinstance(value, Tensor) and value.is_cuda and value.numel() == 1 and not value.is_complex():
            yield prefix + name, value  # Reading it here would wait for the device.
        elif isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{name}/")
        else:
            yield prefix + name, _number(value)


def _number(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    try:
        # `item` also reads tensors that require a gradient and arrays with dimensions, without a warning.
        number = value.item() if hasattr(value, "item") else value
        return number if type(number) is int else float(number)
    except (TypeError, ValueError, RuntimeError) as error:
        # The message is Lightning's.
        raise ValueError(
            f"\n you tried to log {value} which is currently not supported. Try a dict or a scalar/tensor."
        ) from error
