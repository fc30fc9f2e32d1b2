"""Norms of the gradients, of all and of each layer, logged before they are clipped."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.optim import Optimizer
from typing_extensions import override

from lightning_trackplus.lightning_internals import result_entries, trainer_state
from lightning_trackplus.lightning_internals.shared_bases import Callback, MisconfigurationException
from lightning_trackplus.runtime.names import matches

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
        >>> from lightning_trackplus.callbacks.gradient_norms import GradientNorms
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
            raise ValueError(f"GradientNorms got norm_type={norm_type!r}; expected a number above 0, or infinity.")
        self._patterns = [by_layer] if isinstance(by_layer, str) else list(by_layer or ())
        self._name = name
        self._every_step = every_step
        self._begin()

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Start again."""
        self._begin()

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check the strategy and the patterns."""
        if trainer_state.has_parts_of_gradients(trainer):
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
        if not (self._every_step or trainer_state.logs_this_step(trainer)):
            return
        gradients = self._gradients_of(trainer, pl_module, optimizer)
        if gradients is not None:
            values = gradients.norms(self._norm_type, _scale(trainer, optimizer))
            norms = dict(zip(gradients.names, values, strict=True))
            # In manual optimization, the training step logs before and after.
            with trainer_state.logging_within(trainer, _HOOK, again=bool(self._of_this_batch)):
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
        if stale and trainer_state.logs_this_step(trainer):
            results = result_entries.results_of(trainer)
            for name in stale:
                # A module's own `log` may have left it out.
                if (entry := results.get(result_entries.entry_key(_HOOK, name, None))) is not None:
                    result_entries.mark_unset(entry)
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
    """Return the loss scale if the optimizer unscales gradients itself, as fused ones do; otherwise None."""
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    if scaler is None or not getattr(optimizer, "_step_supports_amp_scaling", False):
        return None
    # `get_scale` would wait for the device.
    scale: Tensor = scaler.scale(torch.ones((), device=trainer.strategy.root_device))
    return scale


_HALVES = (torch.float16, torch.bfloat16)


class Gradients:
    """The gradients of some parameters, arranged once for norms that are computed again and again.

    Args:
        name: The name of their norm.
        parameters: The parameters, each with a gradient of at least one element.
        layers: The parameters of each layer, by its name; the norm of those that are among ``parameters`` is named
            ``<name>/<its name>``.

    Attributes:
        names: The names of the norms: that of all gradients, then those of the layers that have some.

    Examples:
        >>> weight, bias = (torch.zeros(n, requires_grad=True) for n in (2, 1))
        >>> weight.grad, bias.grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
        >>> gradients = Gradients("norm", [weight, bias], {"layer": [bias]})
        >>> dict(zip(gradients.names, gradients.norms(2.0)))
        {'norm': tensor(5.), 'norm/layer': tensor(4.)}
    """

    def __init__(self, name: str, parameters: Sequence[Tensor], layers: Mapping[str, Sequence[Tensor]]) -> None:
        self._parameters = parameters
        groups: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
        for parameter, gradient in zip(parameters, _numbers(parameters), strict=True):
            groups.setdefault((gradient.device, gradient.dtype), []).append(parameter)
        self._groups = [(group, torch.float32 if dtype in _HALVES else None) for (_, dtype), group in groups.items()]
        # To the host nothing can be sent without waiting for it.
        self._device = min((device for device, _ in groups), key=lambda device: device.type == "cpu")
        places = {id(one): place for place, one in enumerate(itertools.chain(*groups.values()))}
        rows = {layer: [places[id(one)] for one in own if id(one) in places] for layer, own in layers.items()}
        rows = {f"{name}/{layer}": row for layer, row in rows.items() if row}
        self.names = [name, *rows]
        self._rows = _padded(list(rows.values()), len(parameters), self._device) if rows else None

    def are_of(self, parameters: Sequence[Tensor]) -> bool:
        """Return whether these are the gradients of exactly some parameters."""
        return len(parameters) == len(self._parameters) and all(map(operator.is_, parameters, self._parameters))

    @torch.no_grad()
    def norms(self, norm_type: float, scale: Tensor | None = None) -> list[Tensor]:
        """Return the norms, without waiting for the device.

        Args:
            norm_type: The norm's order, above 0.
            scale: What the gradients are multiplied with, a scalar; None if they are as they should be.

        Returns:
            For each of ``names`` a scalar, on the device of the first gradient that is not on the host.
        """
        sent = [torch.stack(_norm_of_each(group, norm_type, dtype)) for group, dtype in self._groups]
        sent = [norms.to(self._device, non_blocking=True) for norms in sent]
        norms = torch.cat([*sent, sent[0].new_zeros(1)])
        if scale is not None:
            norms = norms / scale.to(self._device, non_blocking=True)
        # The norm of norms, as in `clip_grad_norm_`; a layer's row ends in the places of the zero.
        total = torch.linalg.vector_norm(norms.narrow(0, 0, len(self._parameters)), norm_type)
        if self._rows is None:
            return [total]
        return [total, *torch.linalg.vector_norm(norms.take(self._rows), norm_type, dim=1).unbind()]


def layers_of(module: torch.nn.Module, patterns: Sequence[str]) -> dict[str, list[Tensor]]:
    """Return the parameters of each layer whose name fits one of some patterns.

    Args:
        module: The module; it is none of its own layers.
        patterns: Patterns of names; of each, a module that has no parameters by itself is left out where the
            pattern also fits modules below it that have some.

    Returns:
        All parameters below each layer, by its name.

    Examples:
        >>> block = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())
        >>> module = torch.nn.ModuleDict({"encoder": block, "head": torch.nn.Linear(2, 1)})
        >>> list(layers_of(module, ["*"])), list(layers_of(module, ["encoder"]))
        (['encoder.0', 'head'], ['encoder'])
    """
    # What torch.compile has wrapped comes after its wrapper, and is what has parameters by itself.
    named = {_plain(name): one for name, one in module.named_modules(remove_duplicate=False) if name}
    layers: dict[str, list[Tensor]] = {}
    for pattern in patterns:
        below = {name: list(one.parameters()) for name, one in named.items() if matches(name, pattern)}
        fitting = {name: parameters for name, parameters in below.items() if parameters}
        above = {name[:end] for name in fitting for end, character in enumerate(name) if character == "."}
        layers |= {name: fitting[name] for name in fitting if name not in above or _has_parameters(named[name])}
    return layers


def _has_parameters(module: torch.nn.Module) -> bool:
    """Return whether a module has parameters by itself."""
    return next(module.parameters(recurse=False), None) is not None


def _plain(name: str) -> str:
    """Return a module's name as it is without torch.compile."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def _norm_of_each(parameters: Sequence[Tensor], norm_type: float, dtype: torch.dtype | None) -> list[Tensor]:
    """Return the norms of some gradients, in the given type, or in their own where it is None."""
    gradients = list(_numbers(parameters))
    if dtype is None:
        return list(torch._foreach_norm(gradients, norm_type))
    return list(torch._foreach_norm(gradients, norm_type, dtype=dtype))


def _numbers(parameters: Sequence[Tensor]) -> Iterator[Tensor]:
    """Give the numbers of each parameter's gradient that can be other than zero."""
    for parameter in parameters:
        gradient = parameter.grad
        assert gradient is not None  # noqa: S101  the parameters are those that have one
        if gradient.is_sparse:
            gradient = gradient.coalesce().values()  # Numbers at one index have to be added up.
            gradient = gradient if gradient.numel() else gradient.new_zeros(1)
        yield gradient


def _padded(rows: Sequence[Sequence[int]], blank: int, device: torch.device) -> Tensor:
    """Return rows of places as one matrix, in which the shorter ones end in a blank place."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[blank] * (width - len(row))] for row in rows]).to(device, non_blocking=True)
