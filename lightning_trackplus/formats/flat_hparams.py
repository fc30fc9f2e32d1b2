"""Hyper-parameters, flattened for TensorBoard's HParams tab."""

from __future__ import annotations

import math
import os
import re
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from enum import Enum
from types import SimpleNamespace
from typing import Any, TypeAlias

from lightning_trackplus.formats.layout import escaped
from lightning_trackplus.runtime.names import a_type

HparamValue: TypeAlias = bool | int | float | str
"""A value in the HParams tab."""

_MAX_ELEMENTS = 100
_LONGEST_TEXT = 1000
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def flatten_hparams(params: Any) -> dict[str, HparamValue]:
    """Flatten hyper-parameters into values that TensorBoard's HParams tab can show.

    Mappings, namespaces, dataclasses, OmegaConf configs and lists of these are flattened, to names such as
    ``outer/inner`` and ``list/0/inner``. Numbers, bools and strings stay. Everything else becomes text: None is
    ``"None"``, a list ``"[1, 2]"``, enums, classes and functions are their names. NaN and infinity are ``"nan"`` and
    ``"inf"``, since the tab hides the numbers.

    Args:
        params: A mapping, a namespace, a dataclass, an OmegaConf config, or None for no hyper-parameters.

    Returns:
        The hyper-parameters by full name, in their order.

    Raises:
        TypeError: If ``params`` is anything else.

    Examples:
        >>> flatten_hparams({"model": {"lr": 0.1, "sizes": [8, 4]}, "seed": None, "amp": True})
        {'model/lr': 0.1, 'model/sizes': '[8, 4]', 'seed': 'None', 'amp': True}
    """
    params = _plain_config({} if params is None else params)
    parts = _parts(params)
    if parts is None or isinstance(params, list):
        raise TypeError(
            f"flatten_hparams got {a_type(params)}; expected a dict, an argparse.Namespace, a dataclass or an"
            " OmegaConf config."
        )
    return {_text(name): value for key, part in parts.items() for name, value in _flat(str(key), part)}


def check_hparam_metrics(modes: Mapping[str, Any]) -> None:
    """Raise `ValueError` unless ``modes`` maps each name to ``"min"`` or ``"max"``."""
    if not isinstance(modes, Mapping) or not all(mode in ("min", "max") for mode in modes.values()):
        raise ValueError(
            f'hparam_metrics={modes!r}; expected "min" or "max" for each name, for example {{"val/loss": "min"}}.'
        )


def _flat(name: str, value: Any) -> Iterator[tuple[str, HparamValue]]:
    value = _plain_config(value)
    parts = _parts(value)
    if not parts:
        yield name, "{}" if parts is not None else _shown(value)
        return
    for key, part in parts.items():
        yield from _flat(f"{name}/{key}", part)


def _parts(value: Any) -> Mapping[Any, Any] | None:
    """Return the parts of a value that is flattened; None for one that is not."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, Namespace | SimpleNamespace):
        return vars(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name, None) for field in fields(value)}
    if isinstance(value, list | tuple) and value and all(_parts(item) is not None for item in value):
        return dict(enumerate(value))
    return None


def _plain_config(value: Any) -> Any:
    """Return an OmegaConf config as dicts and lists, without interpolation if a value is missing."""
    if not type(value).__module__.startswith("omegaconf."):
        return value
    # It is imported already, since this is one of its objects.
    omegaconf = sys.modules["omegaconf"]
    if not omegaconf.OmegaConf.is_config(value):
        return value
    try:
        return omegaconf.OmegaConf.to_container(value, resolve=True)
    except omegaconf.errors.OmegaConfBaseException:
        return omegaconf.OmegaConf.to_container(value)


def _shown(value: Any) -> HparamValue:
    plain = _plain(value)
    if isinstance(plain, float | int):
        try:
            return plain if math.isfinite(plain) else str(plain)
        except OverflowError:  # An integer that no float can hold.
            return _text(str(plain))
    return _text(plain if isinstance(plain, str) else str(plain))


def _plain(value: Any) -> Any:
    """Return a value as one of Python's own types, items of lists as well."""
    if isinstance(value, Enum):
        return value.name
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        module = getattr(value, "__module__", None) or "builtins"
        return value.__qualname__ if module == "builtins" else f"{module}.{value.__qualname__}"
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value)
    if isinstance(value, AbstractSet):
        return sorted((_plain(item) for item in value), key=str)
    return _array(value) if hasattr(value, "tolist") and hasattr(value, "shape") else _described(value)


def _array(value: Any) -> Any:
    """Return the numbers of a tensor or an array; the type and shape of a large one."""
    shape = tuple(value.shape)
    if math.prod(shape) > _MAX_ELEMENTS:
        return f"{type(value).__name__} of shape {shape}"
    try:
        numbers = value.tolist()
    except (RuntimeError, NotImplementedError, TypeError, ValueError):  # It has no data, such as a meta tensor.
        return f"{type(value).__name__} of shape {shape}"
    return numbers[0] if math.prod(shape) == 1 and isinstance(numbers, list) and len(shape) == 1 else numbers


def _described(value: Any) -> str:
    """Return ``str`` of an object, without the address, which differs from run to run."""
    try:
        return _ADDRESS.sub("", " ".join(str(value).split()))
    except Exception:  # noqa: BLE001  a class of the user may raise anything, and training has to go on
        return type(value).__name__


def _text(text: str) -> str:
    """Return text as valid UTF-8 that fits into a cell."""
    return escaped(text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "…")
