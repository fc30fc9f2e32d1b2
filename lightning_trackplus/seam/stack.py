"""The one place that looks for a caller on the stack."""

from __future__ import annotations

import os
import sys
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple

from lightning.pytorch import Trainer

if TYPE_CHECKING:
    import lightning.pytorch as pl


class Run(NamedTuple):
    """A Trainer's run that is under way.

    Attributes:
        trainer: The Trainer.
        checkpoint: The checkpoint that it resumes from, a path.
    """

    trainer: pl.Trainer
    checkpoint: str | os.PathLike[str] | None


def current_run() -> Run | None:
    """Return the innermost run of a Trainer that this thread is in.

    Mirrors ``Trainer._run`` in ``trainer/trainer.py``. A logger is asked for its version before any hook has told it of
    a Trainer, and ``Trainer._run`` keeps the checkpoint's path for itself until after the setup hooks, so that there is
    no other way to know either. It takes some microseconds, and is asked until a run has its directory, not with each
    call. The function is known by its name, since a decorator may stand in its place in the class.
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "_run":
            names = frame.f_locals
            if isinstance(names.get("self"), Trainer) and "ckpt_path" in names:
                return Run(names["self"], names["ckpt_path"])
        frame = frame.f_back
    return None
