"""Checks of what is written in the notation of Weights & Biases, with messages that name the key."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

from lightning_trackplus.media.tensors import as_tensor

Number: TypeAlias = "float | Tensor"
"""A number, or a tensor of one, which may lie on a device."""

Labels: TypeAlias = Mapping[int, str]
"""The names of classes."""


def mapping(given: Any, where: str, wanted: str) -> Mapping[Any, Any]:
    """Return a dict.

    Raises:
        ValueError: If it is none.
    """
    if not isinstance(given, Mapping):
        raise wrong(given, where, wanted)
    return given


def number(given: Any, where: str, *, is_class: bool = False) -> Number:
    """Return a number as it is now; that of a tensor is copied where it lies.

    Raises:
        ValueError: If it is none.
    """
    if isinstance(given, np.ndarray) and given.size == 1:
        given = given.item()
    if isinstance(given, Tensor) and given.numel() == 1 and not (is_class and given.is_floating_point()):
        return given.detach().reshape(()).clone()
    if is_class:
        if not isinstance(given, Integral):
            raise wrong(given, where, "an integer")
        return int(given)
    if not isinstance(given, Real):
        raise wrong(given, where, "a number")
    return float(given)


def tensor(given: Any, where: str, wanted: str) -> Tensor:
    """Return a tensor or an array as a tensor.

    Raises:
        ValueError: If it is none.
    """
    if isinstance(given, Tensor):
        return given.detach()
    if isinstance(given, np.ndarray) and given.dtype.kind in "biuf":
        return as_tensor(given)
    raise wrong(given, where, wanted)


def labels(group: Mapping[str, Any], where: str) -> Labels:
    """Return the names of classes, none if there are none.

    Raises:
        ValueError: If they are no dict of integers to strings.
    """
    where = f"{where}['class_labels']"
    wanted = 'a dict of class ids to names, such as {0: "road", 1: "car"}'
    names = mapping(group.get("class_labels") or {}, where, wanted)
    for class_id, name in names.items():
        if not isinstance(class_id, Real) or not isinstance(name, str):
            raise wrong(f"{class_id!r}: {name!r}", where, wanted)
    return {int(class_id): name for class_id, name in names.items()}


def wrong(given: Any, where: str, wanted: str) -> ValueError:
    """Return the error that says that something is not in the notation."""
    described = f"a {type(given).__name__}"
    if given is None:
        described = "nothing"
    elif isinstance(given, Tensor | np.ndarray):
        described = f"{str(given.dtype).removeprefix('torch.')} of shape {tuple(given.shape)}"
    elif isinstance(given, str | Real):
        described = repr(given)
    return ValueError(f"Image got {described} as {where}; give {wanted}.")
