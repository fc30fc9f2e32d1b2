"""Calls that were seen before, and are taken again at little cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from lightning_trackplus.lightning_internals import result_entries, trainer_state
from lightning_trackplus.lightning_internals.entry_sites import EntrySite
from lightning_trackplus.lightning_internals.fast_path import FastPath
from lightning_trackplus.routing.log_call import plain_call
from lightning_trackplus.routing.logged_stream import LoggedStream

if TYPE_CHECKING:
    import lightning.pytorch as pl

_NUMBERS = (float, int)
_MOST_GROUPS = 100


class _CachedCall(NamedTuple):
    """What a call led to.

    Attributes:
        options: Its arguments other than name, value and ``batch_size``, as they were given.
        logged: Where its values went.
        entry: What takes the value for Lightning; None if Lightning had no part in it.
    """

    options: dict[str, Any]
    logged: Sequence[LoggedStream]
    entry: EntrySite | None


class _CachedDict(NamedTuple):
    """What a ``log_dict`` call led to.

    Attributes:
        options: Its arguments other than the values, as they were given.
        entries: What takes each value for Lightning.
    """

    options: dict[str, Any]
    entries: Sequence[EntrySite]


class CallCache:
    """Remembers, for each hook, name and dataloader, where the value of a ``log`` call went.

    A call with the same options leads to the same place, without any of it being looked at again.

    Args:
        module: The module.
        trainer: The Trainer that runs it.
        fast: Takes values for Lightning; None where Lightning is to take them all itself.
    """

    def __init__(self, module: pl.LightningModule, trainer: pl.Trainer, fast: FastPath | None) -> None:
        self._module = module
        self._trainer = trainer
        self._fast = fast
        self._places: dict[str | None, trainer_state.LoopPosition] = {}
        self._calls: dict[tuple[str | None, str, int | None], _CachedCall] = {}
        self._groups: dict[tuple[str | None, int | None, tuple[str, ...]], _CachedDict] = {}

    def begin_evaluation(self) -> None:
        """Forget what was logged in an evaluation of another loop, as where somebody runs a loop by hand."""
        if any(trainer_state.is_of_evaluation(hook) and not place.is_present for hook, place in self._places.items()):
            self._places, self._calls, self._groups = {}, {}, {}

    def try_replay(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Take a call if one like it was seen before in this epoch.

        Returns:
            Whether it was taken.
        """
        hook = trainer_state.hook_name(self._module)
        place = self._places.get(hook)
        if place is None or (call := plain_call(args, kwargs)) is None:
            return False
        name, value, batch_size, options = call
        cached = self._calls.get((hook, name, place.dataloader))
        if cached is None or options != cached.options:
            return False
        logged = cached.logged
        if logged:
            is_tensor = isinstance(value, Tensor)
            if is_tensor:
                # Lightning takes no vector.
                if value.ndim > (cached.entry is None) or value.is_complex():
                    return False
            elif type(value) not in _NUMBERS:
                return False
            for one in logged:
                if not one.is_registered:
                    return False  # A new epoch, of which Lightning has to be told.
        if cached.entry is not None and not cached.entry.add(value, batch_size):
            return False
        if logged:
            number = value.item() if is_tensor and value.is_cpu and not value.ndim else value
            for one in logged:
                one.add_again(number, place, batch_size)
        return True

    def try_replay_all(self, values: Mapping[str, Any], kwargs: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Take a ``log_dict`` call if one with the same names was seen before in this epoch.

        Returns:
            The values that were not taken; None if no such call is known.
        """
        hook = trainer_state.hook_name(self._module)
        place = self._places.get(hook)
        group = None if place is None else self._groups.get((hook, place.dataloader, tuple(values)))
        if group is None or kwargs != group.options:
            return None
        size = kwargs.get("batch_size")
        left: dict[str, Any] = {}
        for entry, (name, value) in zip(group.entries, values.items(), strict=True):
            # All that follow are left too: if Lightning refuses one, it takes none after it.
            if left or not entry.add(value, size):
                left[name] = value
        return left

    def remember_all(self, values: Mapping[str, Any], kwargs: Mapping[str, Any]) -> None:
        """Remember where the values of a ``log_dict`` call went, if all went to Lightning alone."""
        hook = trainer_state.hook_name(self._module)
        if (place := self._places.get(hook)) is None:
            return
        found = [self._calls.get((hook, name, place.dataloader)) for name in values]
        entries = [one.entry for one in found if one is not None and one.entry is not None and not one.logged]
        if len(entries) == len(values):
            if len(self._groups) >= _MOST_GROUPS:
                self._groups.clear()
            self._groups[hook, place.dataloader, tuple(values)] = _CachedDict(dict(kwargs), entries)

    def remember(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], logged: Sequence[LoggedStream], *, native: bool
    ) -> None:
        """Remember where the value of a call went."""
        if (call := plain_call(args, kwargs)) is None or not all(one.is_plain for one in logged):
            return
        hook, (name, value, batch_size, options) = trainer_state.hook_name(self._module), call
        place = self._places[hook] = trainer_state.LoopPosition(self._trainer)
        entry = None
        if native:
            if hook is None or (batch_size is not None and self._fetches_batches()):
                return  # Lightning asks with each call whether there is a batch size.
            entry = self._entry_site(hook, name, value, place, options)
            if entry is None:
                return
        elif not logged:
            return
        self._calls[hook, name, place.dataloader] = _CachedCall(dict(options), logged, entry)

    def _fetches_batches(self) -> bool:
        return self._trainer.training and trainer_state.fetches_batches(self._trainer, self._module.training_step)

    def _entry_site(
        self, hook: str, name: str, value: Any, place: trainer_state.LoopPosition, options: Mapping[str, Any]
    ) -> EntrySite | None:
        if self._fast is None or (options.get("logger") and not self._trainer.loggers):
            return None  # Lightning has a warning to give with each call.
        dataloader = place.dataloader if options.get("add_dataloader_idx", True) else None
        key = result_entries.entry_key(hook, name, dataloader)
        return self._fast.site(hook, key, taken=value, device=self._module.device)
