"""Whether the lowest or the highest value of a name is its best, as far as anybody has said."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from lightning_trackplus.lightning_internals import trainer_state

if TYPE_CHECKING:
    import lightning.pytorch as pl

Mode: TypeAlias = Literal["min", "max"]
"""Whether the lowest or the highest value of a name is its best."""

_FORKED = re.compile(r"(.*?)(_step|_epoch)?(/dataloader_idx_\d+)?", re.DOTALL)


class Directions(NamedTuple):
    """What is known of the names of a run; of all others, no value is the best.

    Attributes:
        metrics: Of names that were logged as metrics which know it.
        monitored: Of names that callbacks monitor, or that were chosen for the HParams tab.

    Examples:
        >>> directions = Directions({"val/acc": "max"}, {"val/loss": "min"})
        >>> directions.mode("val/acc_epoch"), directions.mode("lr")
        ('max', None)
        >>> directions.watched()
        {'val/loss': 'min', 'val/loss_epoch': 'min'}
    """

    metrics: Mapping[str, Mode] = {}
    monitored: Mapping[str, Mode] = {}

    def mode(self, name: str) -> Mode | None:
        """Return the mode of a name, or of what Lightning has made it of, with ``_step`` or ``_epoch``."""
        if not (self.metrics or self.monitored):
            return None
        stem, _, dataloader = _parts(name)
        for one in (name, stem + dataloader):
            if mode := self.monitored.get(one):
                return mode
        return self.metrics.get(name) or self.metrics.get(stem)

    def watched(self) -> dict[str, Mode]:
        """Return the names that are monitored, also as Lightning writes them where steps are logged as well."""
        watched = dict(self.monitored)
        for name, mode in self.monitored.items():
            stem, fork, dataloader = _parts(name)
            if not fork:
                watched.setdefault(f"{stem}_epoch{dataloader}", mode)
        return watched


def _parts(name: str) -> tuple[str, str, str]:
    stem, fork, dataloader = _FORKED.fullmatch(name).groups("")  # type: ignore[union-attr]  # it matches anything
    return stem, fork, dataloader


def monitored_modes(trainer: pl.Trainer, prefix: str) -> dict[str, Mode]:
    """Return whether the lowest or the highest value is the best one, for the names that callbacks monitor."""
    modes: dict[str, Mode] = {}
    for callback in trainer_state.callbacks_of(trainer):
        monitor, mode = getattr(callback, "monitor", None), getattr(callback, "mode", None)
        if isinstance(monitor, str) and mode in ("min", "max"):
            modes.setdefault(prefix + monitor, mode)
    return modes
