"""Finds the running Trainer on the call stack."""

from __future__ import annotations

import os
import sys
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple

from lightning_trackplus.lightning_internals.flavours import installed_flavours

if TYPE_CHECKING:
    import lightning.pytorch as pl


class RunningTrainer(NamedTuple):
    """A Trainer's run that is under way.

    Attributes:
        trainer: The Trainer.
        checkpoint: The checkpoint that it resumes from, a path.
    """

    trainer: pl.Trainer
    checkpoint: str | os.PathLike[str] | None


def current_run() -> RunningTrainer | None:
    """Return the innermost run of a Trainer that this thread is in.

    Mirrors ``Trainer._run`` in ``trainer/trainer.py``. A logger is asked for its version before any hook has told it of
    a Trainer, and ``Trainer._run`` keeps the checkpoint's path for itself until after the setup hooks, so that there is
    no other way to know either. It takes some microseconds, and is asked until a run has its directory, not with each
    call. The function is known by its name and its module, since a decorator may stand in its place in the class, and
    a Trainer of the user's may have a ``_run`` of its own, which calls it.
    """
    frame = _run_frame()
    return None if frame is None else RunningTrainer(frame.f_locals["self"], frame.f_locals["ckpt_path"])


def run_id() -> int | None:
    """Return an id of the innermost Trainer run on this thread's stack.

    A Trainer can run within a run of its own, and its hooks do not say which of them begins or ends.
    """
    frame = _run_frame()
    return None if frame is None else id(frame)


def failed_run_id(exception: BaseException) -> int | None:
    """Return what `run_id` has returned in the run that an exception has ended, for ``on_exception``.

    Mirrors ``_call_and_handle_interrupt`` in ``trainer/call.py``, which catches it outside of ``Trainer._run``.
    """
    traceback = exception.__traceback__
    while traceback is not None and not _is_run(traceback.tb_frame):
        traceback = traceback.tb_next
    return None if traceback is None else id(traceback.tb_frame)


def _run_frame() -> FrameType | None:
    frame: FrameType | None = sys._getframe()
    while frame is not None and not _is_run(frame):
        frame = frame.f_back
    return frame


def _is_run(frame: FrameType) -> bool:
    if frame.f_code.co_name != "_run":
        return False
    homes = {f"{one.name}.trainer.trainer" for one in installed_flavours()}
    return frame.f_globals.get("__name__") in homes
