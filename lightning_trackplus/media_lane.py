"""The media lane: from ``self.log(name, Image(…))`` to the loggers."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from lightning_trackplus import seam
from lightning_trackplus.attachment import trackplus_loggers
from lightning_trackplus.media.media import Media
from lightning_trackplus.media.selection import FirstItems


class MediaLane:
    """Takes the ``log`` calls of one module that log a medium.

    In training a medium goes to the loggers in the steps in which Lightning logs. In evaluation, or
    with ``on_epoch=True``, the first items are kept until the end of the epoch. What an epoch-end
    hook logs goes to the loggers at once.

    Args:
        module: The module.
        trainer: The Trainer that runs it.
    """

    def __init__(self, module: pl.LightningModule, trainer: pl.Trainer) -> None:
        self._module = module
        self._trainer = trainer
        self._kept: dict[tuple[bool, str], FirstItems] = {}
        self._warned_of_no_logger = False

    def log(self, name: str, media: Media[Any], arguments: dict[str, Any]) -> None:
        """Take one call.

        Args:
            name: The name.
            media: The medium.
            arguments: The other arguments of `LightningModule.log`, by name.

        Raises:
            MisconfigurationException: If the hook may not log, or an argument has no meaning for media.
            ValueError: If another kind of medium was logged under this name in this epoch.
        """
        hook = seam.hook_name(self._module)
        if hook is None:
            raise MisconfigurationException(
                "You are trying to `self.log()` but it is not managed by the `Trainer` control flow"
            )
        on_step, on_epoch = seam.check_levels(hook, arguments["on_step"], arguments["on_epoch"])
        if not on_step and not on_epoch:
            raise MisconfigurationException("`self.log(on_step=False, on_epoch=False)` is not useful.")
        _check_arguments(name, arguments)
        if on_step and not self._trainer.training:
            raise MisconfigurationException(
                f"self.log({name!r}, {media!r}, on_step=True) in `{hook}`: in evaluation the first items of a medium"
                " are kept for the end of the epoch; leave on_step out."
            )
        if self._trainer.sanity_checking or arguments["logger"] is False:
            return
        name = self._full_name(name, arguments)
        if on_step and seam.logs_this_step(self._trainer):
            self.deliver(f"{name}_step" if on_epoch else name, media)
        if on_epoch:
            name = f"{name}_epoch" if on_step else name
            if hook.endswith("_epoch_end"):
                self.deliver(name, media)
            else:
                # A validation may run inside a training epoch, and end before it.
                self._kept.setdefault((self._trainer.training, name), FirstItems()).add(name, media)

    def deliver(self, name: str, media: Media[Any]) -> None:
        """Give a medium to the loggers now.

        Args:
            name: The name in full.
            media: The medium.
        """
        loggers = trackplus_loggers(self._trainer)
        for logger in loggers:
            logger.log_media(name, media)
        if not loggers and not seam.is_fast_dev_run(self._trainer) and not self._warned_of_no_logger:
            self._warned_of_no_logger = True
            rank_zero_warn(
                f"self.log({name!r}, {media!r}): no logger of this Trainer takes media, so they are not written."
                " Give it one that does: Trainer(logger=TrackPlusLogger())."
            )

    def begin_epoch(self) -> None:
        """Forget what was kept by a loop that did not come to its end, such as a learning-rate search."""
        self._kept = {key: kept for key, kept in self._kept.items() if key[0] != self._trainer.training}

    def end_epoch(self) -> None:
        """Deliver what was kept in the epoch that ends now."""
        ending = [key for key in self._kept if key[0] == self._trainer.training]
        for key in ending:
            self.deliver(key[1], self._kept.pop(key).result())

    def _full_name(self, name: str, arguments: dict[str, Any]) -> str:
        index = seam.Place(self._trainer).dataloader
        # As Lightning writes it for numbers.
        return name if index is None or not arguments["add_dataloader_idx"] else f"{name}/dataloader_idx_{index}"


def _check_arguments(name: str, arguments: dict[str, Any]) -> None:
    if arguments["reduce_fx"] != "mean":
        raise MisconfigurationException(
            f"self.log({name!r}, …, reduce_fx={arguments['reduce_fx']!r}) got a medium, which has no reduction;"
            " leave reduce_fx out."
        )
    if arguments["prog_bar"]:
        raise MisconfigurationException(
            f"self.log({name!r}, …, prog_bar=True) got a medium, which no progress bar can show; leave prog_bar out."
        )
