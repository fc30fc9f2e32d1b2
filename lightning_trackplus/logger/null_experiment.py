"""What ``logger.experiment`` is where no TensorBoard events are written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning_trackplus.runtime.warn import WarnOnce

NO_LOG = (
    "logger.experiment is no run of W&B here, and has no log(): log numbers by self.log or"
    " logger.log_metrics({…}), and media by self.log(name, Image(…)) or logger.log_image(name, […])."
)


class NullExperiment:
    """Ignores every call but ``flush`` and ``close``, and says so once for each method."""

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
                f"logger.experiment.{method} was called, but this TrackPlusLogger writes no TensorBoard events:"
                ' the call is ignored. Install tensorboard and leave "tensorboard" among the writers.'
            )

        return ignore
