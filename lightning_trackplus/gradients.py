"""The gradients of a module and the norms of them, of all and of each layer."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from lightning_trackplus.name_patterns import matches

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
        """Return whether these are the gradients of exactly some parameters.

        Args:
            parameters: The parameters, in their order.
        """
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
