"""Where only ``pytorch-lightning`` is installed, and not ``lightning``, which holds the same modules under other names.

This package says ``lightning.pytorch`` and ``lightning.fabric``. Where there is no ``lightning``, these are found in
``pytorch_lightning`` and ``lightning_fabric``: each name is the one module, so that the classes are the user's own.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType

_PACKAGE = "lightning"
_NAMES = {"lightning.pytorch": "pytorch_lightning", "lightning.fabric": "lightning_fabric"}


def find_standalone() -> None:
    """Let ``lightning.pytorch`` and ``lightning.fabric`` be found where only their standalone packages are."""
    if importlib.util.find_spec(_PACKAGE) is None and importlib.util.find_spec("pytorch_lightning") is not None:
        # First, since the finder of files would load the same modules a second time.
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a module under its name in ``lightning``, and loads it under its own."""

    def find_spec(
        self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name == _PACKAGE or _own_name(name) is not None:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        own = _own_name(spec.name)
        if own is None:
            return None  # The package around the two is an empty one.
        module = importlib.import_module(own)
        # The import system writes this one's spec into the module.
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        if spec is not None and spec.loader_state is not None:
            module.__spec__ = spec.loader_state


def _own_name(name: str) -> str | None:
    """Return the name of a module in its standalone package; None if it is in neither."""
    for prefix, own in _NAMES.items():
        if name == prefix or name.startswith(f"{prefix}."):
            return own + name[len(prefix) :]
    return None
