"""Calls like an earlier one, which need no further checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from lightning_trackplus.lightning_internals import result_entries, trainer_state
from lightning_trackplus.lightning_internals.entry_sites import EntrySite
from lightning_trackplus.lightning_internals.fast_path import FastPath
from lightning_trackplus.reducers.pending_calls import snapshot
from lightning_trackplus.routing.log_call import LogCall, plain_call
from lightning_trackplus.routing.logged_stream import LoggedStream
from lightning_trackplus.routing.media_handler import LoggedMedia

if TYPE_CHECKING:
    import lightning.pytorch as pl

_NUMBERS = (float, int)
_MOST_GROUPS = 100


class _CachedCall(NamedTuple):
    """What a call led to.

    Attributes:
        options: Its arguments other than name, value and ``batch_size``, as they were given.
        streams: Where its numbers went.
        entry: What takes the value for Lightning; None if Lightning had no part in it.
        media: What takes the value if it is a medium.
    """

    options: dict[str, Any]
    streams: Sequence[LoggedStream]
    entry: EntrySite | None
    media: LoggedMedia | None


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

    A call with the same options leads to the same position, without any of it being looked at again.

    Args:
        module: The module.
        trainer: The Trainer that runs it.
        fast: Takes values for Lightning; None where Lightning is to take them all itself.
    """

    def __init__(self, module: pl.LightningModule, trainer: pl.Trainer, fast: FastPath | None) -> None:
        self._module = module
        self._trainer = trainer
        self._fast = fast
        self._positions: dict[str | None, trainer_state.LoopPosition] = {}
        self._calls: dict[tuple[str | None, str, int | None], _CachedCall] = {}
        self._groups: dict[tuple[str | None, int | None, tuple[str, ...]], _CachedDict] = {}

    def begin_evaluation(self) -> None:
        """Forget what was logged in an evaluation of another loop, as where somebody runs a loop by hand."""
        if any(
            trainer_state.is_of_evaluation(hook) and not position.is_present
            for hook, position in self._positions.items()
        ):
            self._positions, self._calls, self._groups = {}, {}, {}

    def try_replay(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Take a call if one like it was seen before in this epoch.

        Returns:
            Whether it was taken.
        """
        hook = trainer_state.hook_name(self._module)
        position = self._positions.get(hook)
        if position is None or (call := plain_call(args, kwargs)) is None:
            return False
        name, value, batch_size, options = call
        cached = self._calls.get((hook, name, position.dataloader))
        if cached is None or options != cached.options:
            return False
        if cached.media is not None:
            return cached.media.add(value)
        logged = cached.streams
        if logged:
            if isinstance(value, Tensor):
                # Lightning takes no vector.
                if value.ndim > (cached.entry is None) or value.is_complex():
                    return False
            elif type(value) not in _NUMBERS:
                return False
            for one in logged:
                if not one.is_registered:
                    return False  # In a new epoch, Lightning has to see the first call.
        if cached.entry is not None and not cached.entry.add(value, batch_size):
            return False
        if logged:
            taken = snapshot(value)
            for one in logged:
                one.add_again(taken, position, batch_size)
        return True

    def try_replay_all(self, values: Mapping[str, Any], kwargs: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Take a ``log_dict`` call if one with the same names was seen before in this epoch.

        Returns:
            The values that were not taken; None if no such call is known.
        """
        hook = trainer_state.hook_name(self._module)
        position = self._positions.get(hook)
        group = None if position is None else self._groups.get((hook, position.dataloader, tuple(values)))
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
        if (position := self._positions.get(hook)) is None:
            return
        found = [self._calls.get((hook, name, position.dataloader)) for name in values]
        entries = [one.entry for one in found if one is not None and one.entry is not None and not one.streams]
        if len(entries) == len(values):
            if len(self._groups) >= _MOST_GROUPS:
                self._groups.clear()
            self._groups[hook, position.dataloader, tuple(values)] = _CachedDict(_copied(kwargs), entries)

    def remember(
        self,
        call: LogCall,
        streams: Sequence[LoggedStream] = (),
        *,
        native: bool = False,
        media: LoggedMedia | None = None,
    ) -> None:
        """Remember where the value of a call went.

        Args:
            call: The call.
            streams: The streams that took it.
            native: Whether Lightning took it too.
            media: What took it as a medium.
        """
        if (plain := plain_call(call.args, call.kwargs)) is None or not all(one.is_plain for one in streams):
            return
        name, value, batch_size, options = plain
        entry = None
        if native:
            if call.hook is None or (batch_size is not None and self._fetches_batches()):
                return  # Lightning asks with each call whether there is a batch size.
            entry = self._entry_site(call.hook, value, call)
            if entry is None:
                return
        elif not streams and media is None:
            return
        position = self._positions[call.hook] = call.position
        self._calls[call.hook, name, position.dataloader] = _CachedCall(_copied(options), streams, entry, media)

    def _fetches_batches(self) -> bool:
        return self._trainer.training and trainer_state.fetches_batches(self._trainer, self._module.training_step)

    def _entry_site(self, hook: str, value: Any, call: LogCall) -> EntrySite | None:
        if self._fast is None or (call.arguments["logger"] and not self._trainer.loggers):
            return None  # Lightning has a warning to give with each call.
        key = result_entries.entry_key(hook, call.name, call.dataloader)
        return self._fast.site(hook, key, taken=value, device=self._module.device)


def _copied(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options that do not change when the caller changes a list among them."""
    return {name: value.copy() if type(value) is list else value for name, value in options.items()}
