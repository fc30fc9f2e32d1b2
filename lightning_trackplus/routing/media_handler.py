"""Media: from ``self.log(name, Image(…))`` to the loggers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from lightning_trackplus.lightning_internals import result_entries, trainer_state
from lightning_trackplus.lightning_internals.shared_bases import MisconfigurationException
from lightning_trackplus.media.base import Media
from lightning_trackplus.media.selected_items import SelectedItems, SelectionKey, in_shown_order
from lightning_trackplus.media.selection import First, Selection, selection_of
from lightning_trackplus.routing.log_call import LogCall
from lightning_trackplus.routing.media_dispatch import MediaDispatch
from lightning_trackplus.runtime.lists import is_list
from lightning_trackplus.runtime.warn import describe_error, warn, warn_once

if TYPE_CHECKING:
    import lightning.pytorch as pl


class LoggedMedia(NamedTuple):
    """What a checked ``log`` call does with a medium, and does again with the next one like it.

    Attributes:
        handler: Takes the media.
        media_type: The type of medium that the call had.
        selections: The selections that were asked for, by the suffix of their name; none where none was.
        in_step: The name under which a medium is logged in the step; None where it is not.
        in_epoch: The name under which items are kept for the end of the epoch; None where they are not.
        span: What items are kept for: ``"train"`` or ``"evaluation"``; ``"now"`` in a hook that ends an epoch.
    """

    handler: MediaHandler
    media_type: str
    selections: Mapping[str, Selection]
    in_step: str | None
    in_epoch: str | None
    span: str

    def add(self, value: object) -> bool:
        """Take the value of a further call; return False where it has to be checked first."""
        if not isinstance(value, Media) or value.media_type != self.media_type:
            return False
        if value.scores is None and any(selection.needs_scores for selection in self.selections.values()):
            return False
        self.handler.add(self, value)
        return True


class MediaHandler:
    """Takes the ``log`` calls of one module that log a medium.

    In training a medium goes to the loggers in the steps in which Lightning logs; with a selection, what the selection
    has kept since the last such step. In evaluation, or with ``on_epoch=True``, items are kept until the end of the
    epoch, those of all processes together. What an epoch-end hook logs goes to the loggers at once.
    """

    def __init__(self, module: pl.LightningModule, trainer: pl.Trainer) -> None:
        self._module = module
        self._trainer = trainer
        self._loggers = MediaDispatch(trainer)
        self._kept: dict[SelectionKey, SelectedItems] = {}

    def log(self, call: LogCall, media: Media[Any]) -> LoggedMedia | None:
        """Take one call; return what takes further ones like it, None where nothing was logged.

        Raises:
            MisconfigurationException: If the hook may not log, or an argument has no meaning for media.
            ValueError: If another kind of medium was logged under this name in this epoch.
        """
        hook, arguments = call.hook, call.arguments
        if hook is None:
            raise MisconfigurationException(
                "You are trying to `self.log()` but it is not managed by the `Trainer` control flow"
            )
        on_step, on_epoch = trainer_state.check_levels(self._trainer, hook, arguments["on_step"], arguments["on_epoch"])
        if not on_step and not on_epoch:
            raise MisconfigurationException("`self.log(on_step=False, on_epoch=False)` is not useful.")
        if on_step and trainer_state.is_of_evaluation(hook):
            raise MisconfigurationException(
                f"self.log({call.name!r}, {media!r}, on_step=True) in `{hook}`: in evaluation items of a medium"
                " are kept for the end of the epoch; leave on_step out."
            )
        selections = _selections(call.name, media, call.reduce_fx)
        if arguments["prog_bar"]:
            warn_once(f"self.log({call.name!r}, …, prog_bar=True): a progress bar shows no media, only numbers.")
        if arguments["logger"] is False:
            return None
        name = result_entries.full_name(call.name, call.dataloader)
        logged = LoggedMedia(
            self,
            media.media_type,
            selections,
            (f"{name}_step" if on_epoch else name) if on_step else None,
            (f"{name}_epoch" if on_step else name) if on_epoch else None,
            "now" if hook.endswith("_epoch_end") else _span(hook),
        )
        self.add(logged, media)
        return logged

    def add(self, logged: LoggedMedia, media: Media[Any]) -> None:
        """Deliver a medium, or keep what the selections want of it."""
        if self._trainer.sanity_checking:
            return
        if logged.in_step is not None:
            is_logged = trainer_state.logs_this_step(self._trainer)
            if is_logged and not logged.selections:
                self.deliver(logged.in_step, media)
            for suffix, selection in logged.selections.items():
                self._keep(SelectionKey("step", logged.in_step + suffix), media, selection, is_complete=is_logged)
        if logged.in_epoch is not None:
            is_complete = logged.span == "now"
            if is_complete and not logged.selections:
                self.deliver(logged.in_epoch, media)
                return
            for suffix, selection in (logged.selections or {"": First()}).items():
                key = SelectionKey(logged.span, logged.in_epoch + suffix)
                self._keep(key, media, selection, is_complete=is_complete)

    def deliver(self, name: str, media: Media[Any]) -> None:
        """Give a medium to the loggers now."""
        self._loggers.deliver(name, media)

    def begin(self) -> None:
        """Forget what a loop has left that did not come to its end, such as a learning-rate search."""
        span = _span(trainer_state.hook_name(self._module))
        begun = {span, "step"} if span == "train" else {span}
        self._kept = {key: kept for key, kept in self._kept.items() if key.span not in begun}

    def ending(self) -> dict[SelectionKey, SelectedItems]:
        """Return what this process has kept of the epoch that ends now."""
        span = _span(trainer_state.hook_name(self._module))
        return {key: kept for key, kept in self._kept.items() if key.span == span}

    def end_epoch(self, media: Mapping[SelectionKey, Media[Any]]) -> None:
        """Deliver what all processes have kept of the epoch that ends now, and keep it no longer."""
        for key, one in media.items():
            self.deliver(key.name, one)
        for key in self.ending():
            del self._kept[key]

    def close(self) -> None:
        """Write what waits for loggers that are not ours."""
        self._loggers.close()

    def _keep(self, key: SelectionKey, media: Media[Any], selection: Selection, *, is_complete: bool) -> None:
        """Keep what a selection wants of a medium; deliver what it has kept where that is complete."""
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = SelectedItems(selection, self._trainer.global_rank)
        if kept.media_type not in (None, media.media_type):
            raise ValueError(
                f"self.log({key.name!r}, …) got {media.media_type} after {kept.media_type} in one epoch; log them under"
                " two names."
            )
        if kept.selection is not selection and repr(kept.selection) != repr(selection):
            raise MisconfigurationException(
                f"You called `self.log({key.name}, ...)` twice with reduce_fx={kept.selection!r} and {selection!r}."
                " Ask for both in one list, or log under two names."
            )
        try:
            kept.add(media)
        except Exception as error:  # noqa: BLE001  whatever it is, training has to go on
            warn(f"Keeping a batch of {key.name!r} failed, training continues. {describe_error(error)}")
        if is_complete and (places := self._kept.pop(key).places()):
            self.deliver(key.name, kept.batch(in_shown_order(places, by_score=selection.needs_scores)))


def _span(hook: str | None) -> str:
    # A validation may run inside a training epoch, and end before it.
    return "evaluation" if trainer_state.is_of_evaluation(hook) else "train"


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
