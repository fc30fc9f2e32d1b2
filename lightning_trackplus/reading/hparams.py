"""The hyper-parameters of a run, as its directory has them."""

from __future__ import annotations

import contextlib
import warnings
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from lightning_trackplus.formats.flat_hparams import HparamValue, flatten_hparams
from lightning_trackplus.formats.layout import HPARAMS_FILE

_SEED = "seed_everything"


def read_hparams(directory: Path) -> dict[str, HparamValue]:
    """Return the hyper-parameters by their full names, and LightningCLI's ``seed_everything``."""
    seed = _yaml(directory / "config.yaml").get(_SEED)
    return {**({} if seed is None else {_SEED: seed}), **_yaml(directory / HPARAMS_FILE)}


def _simple(name: str, arguments: list[Any]) -> Any:
    """Return the number of numpy, the path or the shape of the tensor that Python makes of arguments.

    Of any other object, these are the arguments.
    """
    match arguments:
        case [{"args": [str(dtype), *_]}, bytes(data)] if name.endswith(".multiarray.scalar"):
            with contextlib.suppress(TypeError, ValueError, IndexError):  # A damaged file, or a type that is no number.
                return np.frombuffer(data, dtype)[0].item()
        case [_, int(), [*shape], *_] if name == "torch._utils._rebuild_tensor_v2":
            # Its bytes have an address, which differs from run to run.
            return f"Tensor of shape {tuple(shape)}"
        case _ if name.startswith("pathlib."):
            return PurePosixPath(*map(str, arguments)).as_posix()
    return arguments


def _yaml(path: Path) -> dict[str, HparamValue]:
    """Return the contents of a YAML file, flattened; Python objects are not created, and are shown by name."""
    if not path.is_file():
        return {}
    import yaml  # noqa: PLC0415  Lightning brings it

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # it ships no types
        pass

    def named(loader: Any, suffix: str, node: Any) -> Any:
        name = suffix.rpartition(":")[2]
        if isinstance(node, yaml.MappingNode):
            return loader.construct_mapping(node, deep=True)
        if isinstance(node, yaml.SequenceNode):
            return _simple(name, loader.construct_sequence(node, deep=True))
        return loader.construct_scalar(node) or name

    Loader.add_multi_constructor("", named)
    try:
        with path.open("rb") as file:
            return flatten_hparams(yaml.load(file, Loader))  # noqa: S506  it is derived from SafeLoader
    except Exception as error:  # noqa: BLE001  PyYAML's constructors raise anything for a value unlike its tag
        warnings.warn(f"{path} cannot be read, and is left out: {error}", stacklevel=2)
        return {}
