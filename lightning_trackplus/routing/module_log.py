"""Stands in a module's ``log`` and passes each call to the router of the Trainer that runs the module."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import torch

from lightning_trackplus.lightning_internals import trainer_state
from lightning_trackplus.lightning_internals.fast_path import is_lightnings

if TYPE_CHECKING:
    import lightning.pytorch as pl

    from lightning_trackplus.routing.call_cache import CallCache


class Router(Protocol):
    """Takes the calls of one run of a Trainer."""

    calls: CallCache
    """Takes a call like one before it."""

    def log(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Take any other call."""

    def log_dict(self, values: dict[str, Any], kwargs: dict[str, Any]) -> None:
        """Take a call of ``log_dict``."""


class ModuleLog:
    """Stands in a module's ``log`` and ``log_dict`` while a Trainer runs it to which `TrackPlus` is attached.

    Trainers can run one module within each other. Each call goes to the router of the Trainer that runs the module at
    that moment, and to Lightning's own ``log`` where that Trainer has none.
    """

    def __init__(self, module: pl.LightningModule) -> None:
        own = vars(module)
        self.module = module
        self.native: Callable[..., None] = module.log
        self.native_log_dict: Callable[..., None] = module.log_dict
        # What was put into the module itself, and not its class, comes back there.
        self._replaced = {name: own[name] for name in ("log", "log_dict") if name in own}
        self._log_dict = _ModuleLogDict(self) if is_lightnings(module.log_dict) else None
        self._routers: dict[pl.Trainer, list[Router]] = {}
        self._callbacks: dict[Router, list[Any]] = {}

    @classmethod
    def of(cls, module: pl.LightningModule) -> ModuleLog:
        """Return the `ModuleLog` of a module; install one if there is none."""
        router = vars(module).get("log")
        if not isinstance(router, ModuleLog):
            router = cls(module)
            module.log = router  # type: ignore[method-assign]
            if router._log_dict is not None:
                module.log_dict = router._log_dict  # type: ignore[method-assign]
        return router

    def add(self, trainer: pl.Trainer, router: Router) -> None:
        """Pass the calls of a Trainer and of its callbacks to a router."""
        self._routers.setdefault(trainer, []).append(router)
        self._callbacks[router] = list(trainer_state.set_callbacks_log(trainer, self))

    def remove(self, trainer: pl.Trainer) -> None:
        """Undo the last `add` of a Trainer; with the last router, leave the module.

        A wrapper that somebody has put around ``log`` meanwhile stays, and calls Lightning's own.
        """
        callbacks = self._callbacks.pop(self._routers[trainer].pop())
        # The callbacks of other runs keep it. The rest may hold their Trainer, as progress bars do.
        kept = {id(one) for others in self._callbacks.values() for one in others}
        trainer_state.restore_log([one for one in callbacks if id(one) not in kept], self, self.native)
        if not self._routers[trainer]:
            del self._routers[trainer]
        if not self._routers:
            own = vars(self.module)
            for name, mine in (("log", self), ("log_dict", self._log_dict)):
                if mine is not None and own.get(name) is mine:
                    own.pop(name)
                    own.update({name: self._replaced[name]} if name in self._replaced else {})

    # Lightning's own `log` cannot be traced by torch.compile either.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Take a ``self.log`` call.

        Args:
            args: As for `LightningModule.log`.
            kwargs: As for `LightningModule.log`; also ``names``, for a value of shape ``(len(names),)``:
                each element is logged by itself, as ``<name>/<its name>``. For a metric, and for a matrix,
                they are the names of its classes.
        """
        routers = self._routers.get(trainer_state.trainer_of(self.module))
        if routers is None:
            self.native(*args, **kwargs)
        elif not routers[-1].calls.try_replay(args, kwargs):
            routers[-1].log(args, kwargs)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def log_dict(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Take a ``self.log_dict`` call."""
        routers = self._routers.get(trainer_state.trainer_of(self.module))
        if routers is None or len(args) != 1 or type(args[0]) is not dict:
            self.native_log_dict(*args, **kwargs)
        else:
            routers[-1].log_dict(args[0], kwargs)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Leave no trace in a pickle or a copy of the module: there, ``log`` is what stood there before."""
        return (_same, (self._replaced["log"],)) if "log" in self._replaced else (getattr, (self.module, "log"))


def _same(log: Callable[..., None]) -> Callable[..., None]:
    return log


class _ModuleLogDict:
    """A module's ``log_dict``, which leaves no trace in a pickle or a copy of the module."""

    def __init__(self, router: ModuleLog) -> None:
        self.router = router

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        self.router.log_dict(args, kwargs)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return getattr, (self.router.module, "log_dict")
