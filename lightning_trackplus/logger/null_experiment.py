"""``logger.experiment`` of a logger without TensorBoard; this module does not need tensorboard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning_trackplus.runtime.warn import WarnOnce

NO_LOG = (
    "logger.experiment is not a W&B run and has no log(). Log numbers with self.log or logger.log_metrics({…}), and"
    " media with self.log(name, Image(…)) or logger.log_image(name, […])."
)


class NullExperiment:
    """Ignores every call except ``flush`` and ``close``, with one warning for each method."""

    def __init__(self, flush: Callable[[], None]) -> None:
        self.flush = self.close = flush
        self._warn_once = WarnOnce()

    def __getattr__(self, method: str) -> Callable[..., None]:
        if method.startswith("_"):
            raise AttributeError(method)
        if method == "log":
            raise AttributeError(NO_LOG)

        def ignore(*_: Any, **__: Any) -> None:
            self._warn_once(
                f"Ignored a call of logger.experiment.{method}, since this TrackPlusLogger does not write"
                ' TensorBoard events. Install tensorboard and include "tensorboard" in writers.'
            )

        return ignore
