"""Norms of the gradients, of all and of each layer, logged before they are clipped."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.optim import Optimizer
from typing_extensions import override

from lightning_trackplus import seam
from lightning_trackplus.gradients import Gradients, layers_of
from lightning_trackplus.seam.classes import Callback, MisconfigurationException

if TYPE_CHECKING:
    import lightning.pytorch as pl

_HOOK = "on_before_optimizer_step"


class GradientNorms(Callback):
    """Logs the norm of all gradients, and those of layers, before they are clipped.

    ``grad_norm`` is what `torch.nn.utils.clip_grad_norm_` returns for the optimizer's parameters: the norm of the
    norms of their gradients. It is that of the optimizer's step: accumulated, averaged over processes, unscaled where
    precision is mixed, and before clipping and the module's own ``on_before_optimizer_step``. Of gradients in half
    precision it is computed in float32, where `clip_grad_norm_` rounds to their precision. Parameters without a
    gradient play no part, and where there are none with one, nothing is logged.

    It takes a few kernels, whatever the number of parameters, and nothing waits for the device, except where a
    gradient is sparse. With a ``norm_type`` other than 1, 2 and infinity, torch has a kernel for each gradient.

    In a training with several optimizers the names begin with ``grad_norm/optimizer_0`` and so on.

    Args:
        by_layer: Which modules get a norm of their own, as ``grad_norm/<name of the module>``: a pattern of their
            names, or several, in which ``*`` and ``?`` stand for any characters and for any one. The norm is that of
            all parameters below the module. A module that has none by itself is left out where the pattern also
            fits modules below it: ``"*"`` gives each layer and ``"encoder"`` the whole encoder. A parameter that
            several layers share counts in each.
        norm_type: The norm's order p, above 0; infinity for the largest absolute value.
        name: The name to log under.
        every_step: Whether the norms are computed in each step of the optimizer, for reducers and for other callbacks;
            else in those alone that Lightning hands to the loggers, each ``log_every_n_steps``.

    Raises:
        ValueError: If ``norm_type`` is not above 0.
        MisconfigurationException: When training starts, if no module with parameters fits a pattern, or the strategy
            is DeepSpeed, FSDP or ModelParallel, where no process has the gradients as a whole.

    Examples:
        >>> import lightning as L
        >>> from lightning_trackplus.gradient_norms import GradientNorms
        >>> trainer = L.Trainer(callbacks=[GradientNorms(by_layer="*")], gradient_clip_val=1.0, logger=False)
    """

    def __init__(
        self,
        by_layer: str | list[str] | None = None,
        norm_type: float = 2.0,
        name: str = "grad_norm",
        every_step: bool = False,
    ) -> None:
        self._norm_type = float(norm_type)
        if not self._norm_type > 0:
            raise ValueError(f"GradientNorms got norm_type={norm_type!r}; give a number above 0, or infinity.")
        self._patterns = [by_layer] if isinstance(by_layer, str) else list(by_layer or ())
        self._name = name
        self._every_step = every_step
        self._begin()

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Begin anew."""
        self._begin()

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check the strategy and the patterns."""
        if seam.has_parts_of_gradients(trainer):
            raise MisconfigurationException(
                f"GradientNorms was given to a Trainer with {type(trainer.strategy).__name__}, under which no process"
                " has the gradients as a whole; use DDPStrategy, or leave GradientNorms out."
            )
        for pattern in self._patterns:
            if not layers_of(pl_module, [pattern]):
                known = ", ".join(repr(name) for name in itertools.islice(layers_of(pl_module, ["*"]), 10))
                raise MisconfigurationException(
                    f"GradientNorms(by_layer=…) got the pattern {pattern!r}, which no module with parameters fits;"
                    f" '*' stands for any characters and '?' for any one. Layers are {known}."
                )

    @override
    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Log the norms of the optimizer's gradients."""
        if not (self._every_step or seam.logs_this_step(trainer)):
            return
        gradients = self._gradients_of(trainer, pl_module, optimizer)
        if gradients is not None:
            values = gradients.norms(self._norm_type, _scale(trainer, optimizer))
            norms = dict(zip(gradients.names, values, strict=True))
            pl_module.log_dict(norms, on_step=True, on_epoch=False, batch_size=1)
            self._logged.update(norms)
            self._of_this_batch.update(norms)

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Keep norms of earlier steps from the loggers, which Lightning would hand them again."""
        stale = self._logged - self._of_this_batch
        self._of_this_batch.clear()
        if stale and seam.logs_this_step(trainer):
            results = seam.results_of(trainer)
            for name in stale:
                # A module's own `log` may have left it out.
                if (entry := results.get(seam.entry_key(_HOOK, name, None))) is not None:
                    seam.hide(entry)
            self._logged -= stale

    @override
    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Let go of the parameters."""
        self._begin()

    def _begin(self) -> None:
        self._gradients: dict[str, Gradients] = {}
        self._logged: set[str] = set()
        self._of_this_batch: set[str] = set()

    def _gradients_of(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> Gradients | None:
        """Return an optimizer's gradients, as they were arranged before if it is the same parameters that have some."""
        several = len(trainer.optimizers) > 1
        name = f"{self._name}/optimizer_{trainer.optimizers.index(optimizer)}" if several else self._name
        # The parameters of which Lightning clips the gradients.
        every = trainer.precision_plugin.main_params(optimizer)
        parameters = [one for one in every if one.grad is not None and one.numel()]
        known = self._gradients.get(name)
        if parameters and (known is None or not known.are_of(parameters)):
            known = self._gradients[name] = Gradients(name, parameters, layers_of(pl_module, self._patterns))
        return known if parameters else None


def _scale(trainer: pl.Trainer, optimizer: Optimizer) -> Tensor | None:
    """Return what gradients are multiplied with that a fused optimizer unscales by itself, later; None for others."""
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    if scaler is None or not getattr(optimizer, "_step_supports_amp_scaling", False):
        return None
    # `get_scale` would wait for the device.
    scale: Tensor = scaler.scale(torch.ones((), device=trainer.strategy.root_device))
    return scale
