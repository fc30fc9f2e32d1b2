"""The entries of Lightning's results, and the warnings that belong to them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from lightning_utilities.core.rank_zero import rank_zero_warn

from lightning_trackplus.lightning_internals.flavours import installed_flavours
from lightning_trackplus.lightning_internals.shared_bases import PossibleUserWarning

if TYPE_CHECKING:
    import lightning.pytorch as pl
    from torchmetrics import Metric


def withdraw(
    trainer: pl.Trainer, hook: str, name: str, dataloader_idx: int | None, reduction: str
) -> tuple[torch.Tensor, float] | None:
    """Take what Lightning has accumulated under a name out of its results: the local value and its weight.

    Returns None where Lightning has nothing of this epoch, or has it with another reduction. Mirrors the key and
    the states of ``_ResultCollection.log`` and ``_ResultMetric`` in ``logger_connector/result.py``.
    """
    results, key = trainer._results, entry_key(hook, name, dataloader_idx)
    metric = None if results is None else results.get(key)
    if results is None or metric is None or not metric.is_tensor or metric.meta.reduce_fx.__name__ != reduction:
        return None
    del results[key]
    if metric.has_reset or not metric.update_called:
        return None
    if metric.meta.is_mean_reduction:
        return metric.value / metric.cumulated_batch_size, float(metric.cumulated_batch_size)
    return metric.value, 1.0


def set_step_value(metric: Metric, value: torch.Tensor) -> None:
    """Set the value that Lightning takes for the step when the metric is logged with ``on_step=True``.

    Mirrors ``_ResultMetric.update`` in ``logger_connector/result.py``, which reads it.
    """
    metric._forward_cache = value  # type: ignore[assignment]  # torchmetrics leaves it without a type


@contextlib.contextmanager
def dataloader_results(trainer: pl.Trainer, index: int | None, seen: Sequence[int]) -> Iterator[None]:
    """Let what is logged in an epoch-end hook count as a result of one of several dataloaders.

    Mirrors ``_EvaluationLoop.run`` and ``_store_dataloader_outputs`` in ``loops/evaluation_loop.py``: Lightning stores
    the results of a dataloader when the next one begins, before any epoch-end hook.

    Args:
        trainer: The Trainer.
        index: Which dataloader; None where there is one, of which Lightning stores the results itself.
        seen: The dataloaders that had batches, in their order, after the first, which Lightning always stores.
    """
    if index is None:
        yield
        return
    results, stored = trainer._results, trainer._evaluation_loop._logged_outputs
    assert results is not None  # noqa: S101  an evaluation always has them
    results.dataloader_idx = index
    try:
        yield
        outputs = trainer._logger_connector.update_eval_epoch_metrics()
    finally:
        results.dataloader_idx = None
    if index in seen:
        stored[seen.index(index)].update(outputs)
    elif outputs:
        stored.append(outputs)  # Other processes had batches of it.


def results_of(trainer: pl.Trainer) -> Any:
    """Return what Lightning keeps of all that is logged in the active loop.

    Mirrors ``Trainer._results`` in ``trainer/trainer.py``.
    """
    return trainer._results


def entry_key(hook: str, name: str, dataloader_idx: int | None) -> str:
    """Return under which key the results have a name that was logged in a hook.

    Mirrors ``_ResultCollection.log`` in ``logger_connector/result.py``.
    """
    return f"{hook}.{name}" if dataloader_idx is None else f"{hook}.{name}.{dataloader_idx}"


def full_name(name: str, dataloader_idx: int | None) -> str:
    """Return the name under which a result of one of several dataloaders is shown.

    Mirrors ``_ResultCollection._forked_name`` in ``logger_connector/result.py``.
    """
    return name if dataloader_idx is None else f"{name}/dataloader_idx_{dataloader_idx}"


def mark_unset(entry: Any) -> None:
    """Let Lightning pass over an entry of its results until it is shown.

    Mirrors ``_ResultMetric.reset`` and ``_ResultCollection.valid_items`` in ``logger_connector/result.py``.
    """
    entry.has_reset = True


def set_entry(entry: Any, *, step_value: torch.Tensor | None = None, result: torch.Tensor | None = None) -> None:
    """Let Lightning take a value for the step, or the result of the epoch, from an entry; else it asks its metric.

    Mirrors ``_ResultCollection.update_metrics`` and ``_get_cache``, and ``_ResultMetric.update`` in
    ``logger_connector/result.py``.
    """
    entry._forward_cache = step_value
    entry._computed = result
    entry.has_reset = False


def warn_of_no_sync(name: str) -> None:
    """Warn, on rank zero and in Lightning's words, that an epoch's result is that of each process alone.

    Whether this was shown is looked up and noted where Lightning does, so that either of the two shows it.

    Mirrors ``_ResultCollection._get_cache`` in ``logger_connector/result.py``.
    """
    if not any(_no_sync(name) in cache for cache in _warning_caches()):
        say_nothing_of_no_sync([name])
        rank_zero_warn(_no_sync(name), category=PossibleUserWarning)


def say_nothing_of_no_sync(names: Iterable[str]) -> None:
    """Let Lightning not say it of some names.

    Mirrors ``_ResultCollection._get_cache`` in ``logger_connector/result.py``.
    """
    said = {_no_sync(name) for name in names}
    for cache in _warning_caches():
        cache.update(said)


def _warning_caches() -> list[Any]:
    homes = [one.pytorch("trainer.connectors.logger_connector.result") for one in installed_flavours()]
    return [home.warning_cache for home in homes]


def _no_sync(name: str) -> str:
    return (
        f"It is recommended to use `self.log({name!r}, ..., sync_dist=True)` when logging on epoch level in distributed"
        " setting to accumulate the metric across devices."
    )
