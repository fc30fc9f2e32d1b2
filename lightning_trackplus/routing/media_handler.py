"""The media lane: from ``self.log(name, Image(…))`` to the loggers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lightning_trackplus.lightning_internals import result_entries, trainer_state
from lightning_trackplus.lightning_internals.classes import MisconfigurationException
from lightning_trackplus.media.base import Media
from lightning_trackplus.media.selected_items import SelectedItems, SelectionKey, shown
from lightning_trackplus.media.selection import First, Selection, selection_of
from lightning_trackplus.routing import media_sync
from lightning_trackplus.routing.media_fan_out import MediaFanOut
from lightning_trackplus.runtime import distributed
from lightning_trackplus.runtime.lists import is_list
from lightning_trackplus.runtime.warn import describe_error, warn, warn_once

if TYPE_CHECKING:
    import lightning.pytorch as pl


class MediaHandler:
    """Takes the ``log`` calls of one module that log a medium.

    In training a medium goes to the loggers in the steps in which Lightning logs; with a selection, what
    it has kept since the last such step. In evaluation, or with ``on_epoch=True``, items are kept until
    the end of the epoch, those of all processes together. What an epoch-end hook logs goes to the loggers
    at once.
    """

    def __init__(self, module: pl.LightningModule, trainer: pl.Trainer) -> None:
        self._module = module
        self._trainer = trainer
        self._loggers = MediaFanOut(trainer)
        self._kept: dict[SelectionKey, SelectedItems] = {}

    def log(self, name: str, media: Media[Any], arguments: dict[str, Any]) -> None:
        """Take one call.

        Raises:
            MisconfigurationException: If the hook may not log, or an argument has no meaning for media.
            ValueError: If another kind of medium was logged under this name in this epoch.
        """
        hook = trainer_state.hook_name(self._module)
        if hook is None:
            raise MisconfigurationException(
                "You are trying to `self.log()` but it is not managed by the `Trainer` control flow"
            )
        on_step, on_epoch = trainer_state.check_levels(self._trainer, hook, arguments["on_step"], arguments["on_epoch"])
        if not on_step and not on_epoch:
            raise MisconfigurationException("`self.log(on_step=False, on_epoch=False)` is not useful.")
        if on_step and not trainer_state.is_training(self._module):
            raise MisconfigurationException(
                f"self.log({name!r}, {media!r}, on_step=True) in `{hook}`: in evaluation items of a medium"
                " are kept for the end of the epoch; leave on_step out."
            )
        selections = _selections(name, media, arguments["reduce_fx"])
        if arguments["prog_bar"]:
            warn_once(f"self.log({name!r}, …, prog_bar=True): a progress bar shows no media, only numbers.")
        if self._trainer.sanity_checking or arguments["logger"] is False:
            return
        name = self._full_name(name, arguments)
        if on_step:
            self._take_step(f"{name}_step" if on_epoch else name, media, selections)
        if on_epoch:
            self._take_epoch(f"{name}_epoch" if on_step else name, media, selections, hook)

    def deliver(self, name: str, media: Media[Any]) -> None:
        """Give a medium to the loggers now."""
        self._loggers.deliver(name, media)

    def begin(self) -> None:
        """Forget what a loop has left that did not come to its end, such as a learning-rate search."""
        begun = {self._span, "step"} if trainer_state.is_training(self._module) else {self._span}
        self._kept = {shelf: kept for shelf, kept in self._kept.items() if shelf.span not in begun}

    def told(self) -> media_sync.Told:
        """Return what is kept of the epoch that ends now, for the other processes."""
        return media_sync.local_state({shelf: kept for shelf, kept in self._kept.items() if shelf.span == self._span})

    def end_epoch(self, everyone: Sequence[media_sync.Told]) -> None:
        """Deliver what was kept in the epoch that ends now."""
        for shelf, media in media_sync.gather_selected(self._kept, everyone).items():
            self.deliver(shelf.name, media)
        self._kept = {shelf: kept for shelf, kept in self._kept.items() if shelf.span != self._span}

    def close(self) -> None:
        """Write what waits for loggers that are not ours."""
        self._loggers.close()

    def _take_step(self, name: str, media: Media[Any], selections: dict[str, Selection]) -> None:
        is_logged = trainer_state.logs_this_step(self._trainer)
        if is_logged and not selections:
            self.deliver(name, media)
        for suffix, selection in selections.items():
            shelf = SelectionKey("step", name + suffix)
            self._shelve(shelf, media, selection)
            if is_logged:
                self._deliver_now(shelf)

    def _take_epoch(self, name: str, media: Media[Any], selections: dict[str, Selection], hook: str) -> None:
        at_end = hook.endswith("_epoch_end")
        if at_end and not selections:
            self.deliver(name, media)
            return
        for suffix, selection in (selections or {"": First()}).items():
            shelf = SelectionKey("now" if at_end else self._span, name + suffix)
            self._shelve(shelf, media, selection)
            if at_end:
                self._deliver_now(shelf)

    def _deliver_now(self, shelf: SelectionKey) -> None:
        """Deliver what this process has kept together, and keep it no longer."""
        kept = self._kept.pop(shelf)
        if places := kept.places():
            self.deliver(shelf.name, kept.batch(shown(places, by_score=kept.selection.needs_scores)))

    def _shelve(self, shelf: SelectionKey, media: Media[Any], selection: Selection) -> None:
        kept = self._kept.get(shelf)
        if kept is None:
            kept = self._kept[shelf] = SelectedItems(selection, distributed.rank())
        if kept.kind not in (None, media.kind):
            raise ValueError(
                f"self.log({shelf.name!r}, …) got {media.kind} after {kept.kind} in one epoch; log them under two"
                " names."
            )
        if repr(kept.selection) != repr(selection):
            raise MisconfigurationException(
                f"You called `self.log({shelf.name}, ...)` twice with reduce_fx={kept.selection!r} and {selection!r}."
                " Ask for both in one list, or log under two names."
            )
        try:
            kept.add(media)
        except Exception as error:  # noqa: BLE001  whatever it is, training has to go on
            warn(f"Keeping a batch of {shelf.name!r} failed, training goes on. {describe_error(error)}")

    @property
    def _span(self) -> str:
        # A validation may run inside a training epoch, and end before it.
        return "train" if trainer_state.is_training(self._module) else "evaluation"

    def _full_name(self, name: str, arguments: dict[str, Any]) -> str:
        index = trainer_state.LoopPosition(self._trainer).dataloader if arguments["add_dataloader_idx"] else None
        return result_entries.full_name(name, index)


def _selections(name: str, media: Media[Any], reduce_fx: Any) -> dict[str, Selection]:
    """Return the selections by what they put behind the name; none where nothing was asked for."""
    if reduce_fx == "mean":  # Lightning's default.
        return {}
    are_several = is_list(reduce_fx)
    selections = [selection_of(one) for one in (reduce_fx if are_several else [reduce_fx])]
    if media.scores is None and (of_scores := [one.name for one in selections if one.needs_scores]):
        raise MisconfigurationException(
            f"self.log({name!r}, {media!r}, reduce_fx={reduce_fx!r}): {', '.join(of_scores)} selects by score; give one"
            f" for each item, {type(media).__name__}(…, score=loss_per_sample)."
        )
    return {f"_{one.name}" if are_several else "": one for one in selections}
