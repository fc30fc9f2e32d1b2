"""What Lightning shows of a run, kept in the order in which it showed it."""

from __future__ import annotations

import copy
from typing import Any

import tests.flavour as L
from tests.flavour.pytorch.loggers import Logger


class Rows(Logger):
    """A logger that keeps each row it is handed."""

    name = "rows"
    version = 0

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, Any]] = []

    def log_metrics(self, metrics, step=None):
        self.rows.append({**metrics, "step": step})

    def log_hyperparams(self, *args, **kwargs):
        pass

    def series(self, name):
        """Return the values of a name, by step."""
        return {row["step"]: row[name] for row in self.rows if name in row}

    def names(self):
        """Return the names of all values."""
        return {name for row in self.rows for name in row} - {"step", "epoch"}


class Shown(L.Callback):
    """Keeps the three collections of metrics after some hooks."""

    kinds = ("callback_metrics", "logged_metrics", "progress_bar_metrics")

    def __init__(self, *hooks: str) -> None:
        self.seen: list[dict[str, dict[str, float]]] = []
        for hook in hooks:
            setattr(self, hook, self._keep)

    def _keep(self, trainer, *args):
        self.seen.append({kind: numbers(getattr(trainer, kind)) for kind in self.kinds})

    def of(self, name, kind="callback_metrics"):
        """Return the values of a name, one for each time it was seen."""
        return [copy.copy(one[kind][name]) for one in self.seen if name in one[kind]]


def numbers(metrics):
    """Return metrics as Python's numbers."""
    return {name: value if isinstance(value, float | int) else value.item() for name, value in metrics.items()}
