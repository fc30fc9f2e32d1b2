"""The package of Lightning that the tests use: ``lightning``, or ``pytorch_lightning`` where TRACKPLUS_FLAVOUR says so.

``tests.flavour.pytorch.callbacks`` is ``lightning.pytorch.callbacks`` or ``pytorch_lightning.callbacks``: the same
module, under a name that does not depend on it.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Sequence
from types import ModuleType

FLAVOUR = os.environ.get("TRACKPLUS_FLAVOUR", "lightning")
PYTORCH, FABRIC = {
    "lightning": ("lightning.pytorch", "lightning.fabric"),
    "pytorch_lightning": ("pytorch_lightning", "lightning_fabric"),
}[FLAVOUR]
_NAMES = {f"{__name__}.pytorch": PYTORCH, f"{__name__}.fabric": FABRIC}


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a module under its name below this package, and loads it under its own."""

    def find_spec(
        self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return None if _own_name(name) is None else importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = importlib.import_module(str(_own_name(spec.name)))
        # The import system writes this one's spec into the module.
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = module.__spec__.loader_state


def _own_name(name: str) -> str | None:
    """Return the name of a module in Lightning's package; None if it is none of these."""
    for prefix, own in _NAMES.items():
        if name == prefix or name.startswith(f"{prefix}."):
            return own + name[len(prefix) :]
    return None


sys.meta_path.insert(0, _Finder())
pytorch = importlib.import_module(f"{__name__}.pytorch")
fabric = importlib.import_module(f"{__name__}.fabric")

Callback, LightningDataModule, LightningModule, Trainer = (
    pytorch.Callback, pytorch.LightningDataModule, pytorch.LightningModule, pytorch.Trainer,
)  # fmt: skip
Fabric = importlib.import_module(f"{__name__}.fabric.fabric").Fabric
seed_everything = pytorch.seed_everything
__version__ = pytorch.__version__
