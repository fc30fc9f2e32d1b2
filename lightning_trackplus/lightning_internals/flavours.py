"""The two packages that Lightning is published as, ``lightning`` and ``pytorch-lightning``.

They hold the same modules under other names, with classes of their own, and ``lightning`` brings the other along. What
is used with a Trainer is looked up in the package of that Trainer.
"""

from __future__ import annotations

import functools
import importlib
import logging
import sys
import warnings
from typing import TYPE_CHECKING, Any

import lightning_utilities.core.rank_zero as rank_zero_module

if TYPE_CHECKING:
    import lightning.pytorch as pl

_OLDEST = (2, 4)


class Flavour:
    """One of the packages."""

    def __init__(self, pytorch: str, fabric: str) -> None:
        self.name = pytorch
        self._fabric = fabric

    @property
    def is_loaded(self) -> bool:
        """Whether somebody has imported the package, or its Fabric alone."""
        return self._fabric in sys.modules

    @functools.cached_property
    def version(self) -> tuple[int, int]:
        """Major and minor number of the version."""
        major, minor = self.pytorch().__version__.split(".")[:2]
        return int(major), int(minor)

    def pytorch(self, module: str = "") -> Any:
        """Return a module of the package that has the Trainer."""
        return importlib.import_module(f"{self.name}.{module}" if module else self.name)

    def fabric(self, module: str) -> Any:
        """Return a module of the package that has Fabric."""
        return importlib.import_module(f"{self._fabric}.{module}")

    @functools.cached_property
    def log(self) -> logging.Logger:
        """What this package itself logs to, once in all processes, such as which devices are used."""
        return logging.getLogger(f"{self.name}.utilities.rank_zero")

    def __repr__(self) -> str:
        return f"{self.name.removesuffix('.pytorch')} {self.pytorch().__version__}"


_ALL = (Flavour("lightning.pytorch", "lightning.fabric"), Flavour("pytorch_lightning", "lightning_fabric"))


@functools.cache
def installed_flavours() -> tuple[Flavour, ...]:
    """Return the packages that are installed; first the one that the user has imported, if it is one.

    Raises:
        ImportError: If there is none.
    """
    found = tuple(one for one in sorted(_ALL, key=lambda one: not one.is_loaded) if _loads(one))
    if not found:
        raise ImportError("lightning-trackplus needs Lightning; write `pip install lightning`.")
    return found


def flavour_of(trainer: pl.Trainer) -> Flavour:
    """Return the package that a Trainer comes from.

    Raises:
        TypeError: If it comes from neither.
    """
    return _flavour_of(type(trainer))  # type: ignore[arg-type]  # mypy takes a class of its own for none to hash


@functools.cache
def _flavour_of(kind: type) -> Flavour:
    for one in installed_flavours():
        if issubclass(kind, one.pytorch().Trainer):
            if one.version < _OLDEST:
                break
            return one
    raise TypeError(
        f"lightning-trackplus got a {kind.__module__}.{kind.__qualname__}; it needs a Trainer of lightning or"
        f" pytorch-lightning {'.'.join(map(str, _OLDEST))} or later."
    )


def class_of_all_flavours(module: str, name: str, home: str) -> type[Any]:
    """Return a class that is derived from the class of this name in each of the packages."""
    inside = module.removeprefix("fabric.")
    homes = [one.fabric(inside) if inside != module else one.pytorch(module) for one in installed_flavours()]
    return type(name, tuple(getattr(home, name) for home in homes), {"__module__": home})


def give_messages_to(pytorch: str) -> None:
    """Send Lightning's rank-zero messages to the logger of the package of a new Trainer.

    Both packages set the one variable of `lightning_utilities` when they are imported, and the last one wins. Where
    `installed_flavours` has imported one of them, the user has not chosen: this undoes a side effect of ours.
    """
    if _imported_here:
        rank_zero_module.log = next(one.log for one in _ALL if one.name == pytorch)


_imported_here: list[Flavour] = []


def _loads(one: Flavour) -> bool:
    """Import a package, and leave what both have in common as it was."""
    if one.name in sys.modules:
        return True
    # Each sets these for both; they stay those of the package that the user has imported.
    is_first = not any(other.is_loaded for other in _ALL)
    log, category = rank_zero_module.log, rank_zero_module.rank_zero_deprecation_category
    format_warning = warnings.formatwarning
    try:
        one.pytorch()
    except Exception:  # noqa: BLE001  one that is not there, or cannot be imported, has no Trainer
        return False
    finally:
        if not is_first:
            rank_zero_module.log, rank_zero_module.rank_zero_deprecation_category = log, category
            warnings.formatwarning = format_warning
    _imported_here.append(one)
    return True
