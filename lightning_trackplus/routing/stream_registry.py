"""The streams of a run, and their place in its checkpoints."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from lightning_trackplus.reducers.base import Reducer
from lightning_trackplus.reducers.stream import Stream, Summary
from lightning_trackplus.routing.logged_stream import LoggedStream, StreamKey
from lightning_trackplus.runtime import distributed

if TYPE_CHECKING:
    import lightning.pytorch as pl

_NO_EPOCH = -1


class StreamRegistry:
    """Keeps the streams of training over checkpoints and runs of one Trainer, and all others for their epoch."""

    def __init__(self) -> None:
        self._logged: dict[StreamKey, LoggedStream] = {}
        self._reducers: dict[str, Reducer] = {}
        self._restored: list[dict[str, Any]] = []
        # What was saved of the last module's reducers, while there is none.
        self._restored_reducers: dict[str, dict[str, Any]] = {}

    def __contains__(self, key: StreamKey) -> bool:
        """Return whether there is a stream of this key."""
        return key in self._logged

    def __iter__(self) -> Iterator[LoggedStream]:
        """Iterate over the streams."""
        return iter(self._logged.values())

    def get(self, key: StreamKey) -> LoggedStream | None:
        """Return the stream of a key; None where there is none."""
        return self._logged.get(key)

    def add(self, logged: LoggedStream) -> None:
        """Add a stream, and what a checkpoint has of it."""
        self._logged[logged.key] = logged
        self._restore(logged)

    def attach(self, module: pl.LightningModule) -> None:
        """Begin a run; if it resumes from a checkpoint, `load_state_dict` follows."""
        self._reducers = {name: one for name, one in module.named_modules() if isinstance(one, Reducer)}
        # Only a run that resumes from a checkpoint continues an interrupted epoch.
        self._restored = [{**saved, "epoch": _NO_EPOCH} for saved in self._restored]
        self._restored_reducers = {}

    def detach(self) -> None:
        """Keep what goes into checkpoints, and nothing of the Trainer's."""
        mine = self._saved()
        self._restored, self._restored_reducers = mine["streams"], mine["reducers"]
        self._logged, self._reducers = {}, {}

    def begin_epoch(self, epoch: int) -> None:
        """Forget what training has logged in any epoch but the current one."""
        for logged in self:
            if logged.training and logged.epoch != epoch:
                logged.reset("epoch")
                logged.epoch = epoch

    def begin_evaluation(self) -> None:
        """Forget what an evaluation has logged that did not come to its end."""
        for logged in self:
            if not logged.training:
                logged.reset("epoch", "run", "log")

    def left_over(self, epoch: int) -> list[LoggedStream]:
        """Return the streams that a checkpoint has of an epoch and that were not logged again since."""
        return [
            logged
            for saved in self._restored
            if saved["epoch"] == epoch
            and saved["arguments"]["on_epoch"]
            and (logged := self._stream_of_checkpoint(saved)) is not None
        ]

    def state_dict(self, *, alone: bool) -> dict[str, Any]:
        """Return what training has logged, for a checkpoint."""
        processes = [self._saved()]
        if distributed.is_distributed() and not alone:
            processes = distributed.all_reduce_object(processes, operator.add)
        return {"processes": processes}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        # All processes load the same; each takes its own part, and those of processes that no longer exist.
        parts = state["processes"][distributed.rank() :: distributed.world_size()]
        self._restored = [saved for part in parts for saved in part["streams"]]
        for logged in self:
            if logged.training and logged.module_metric is None:
                logged.reset("epoch", "run", "log")
                self._restore(logged)
        for name, reducer in self._reducers.items():
            if saved := [part["reducers"][name] for part in parts if name in part["reducers"]]:
                reducer.load_saved([(one["updates"], _summaries(one)) for one in saved if _fits(one, reducer.stream)])

    def _saved(self) -> dict[str, Any]:
        streams = [_saved(one, self._name_of(one.module_metric)) for one in self if one.training]
        # Of a reducer whose epoch is over, only a series continues.
        over = [
            one.module_metric
            for one in self
            if one.module_metric is not None and one.module_metric.span == "epoch" and one.is_over
        ]
        reducers = {
            name: {**_stream(reducer.stream), "updates": reducer.updates}
            for name, reducer in self._reducers.items()
            if not any(reducer is one for one in over)
        }
        return {"streams": [*self._restored, *streams], "reducers": {**self._restored_reducers, **reducers}}

    def _name_of(self, reducer: Reducer | None) -> str | None:
        return next((name for name, one in self._reducers.items() if one is reducer), None)

    def _restore(self, logged: LoggedStream) -> None:
        """Give a stream its restored values."""
        found = [saved for saved in self._restored if saved["key"] == tuple(logged.key)]
        self._restored = [saved for saved in self._restored if saved["key"] != tuple(logged.key)]
        if logged.module_metric is not None:
            return  # The reducer has been given it.
        if any(not _fits(saved, logged.stream) for saved in found):
            names = [reducer.name for reducer in logged.stream.reducers]
            other = " with other parameters" if names == found[0]["reducers"] else ""
            warnings.warn(
                f"The checkpoint has values of self.log({logged.key.name!r}, …) for {', '.join(found[0]['reducers'])};"
                f" this run asks for {', '.join(names)}{other}, and starts from zero.",
                stacklevel=2,
            )
        elif found:
            _continue(logged, found)

    def _stream_of_checkpoint(self, saved: dict[str, Any]) -> LoggedStream | None:
        """Return a stream as a checkpoint has it."""
        module_metric, reduce_fx = self._reducers.get(saved["attribute"] or ""), saved["reduce_fx"]
        if module_metric is None and reduce_fx is None:
            warnings.warn(
                f"The checkpoint has values of self.log({saved['key'][1]!r}, …) of this epoch, with a reduce_fx that is"
                " no name; since nothing was logged under it again, its result is not shown.",
                stacklevel=2,
            )
            return None
        logged = LoggedStream(
            StreamKey(*saved["key"]),
            reduce_fx if module_metric is None else module_metric,
            {**saved["arguments"], "sync_dist_group": None},
            training=True,
            nan_policy=saved["nan_policy"],
            module_metric=module_metric,
        )
        logged.epoch = saved["epoch"]
        if module_metric is None:
            _continue(logged, [saved])
        return logged


def _saved(logged: LoggedStream, attribute: str | None) -> dict[str, Any]:
    """Return a stream as what every loader of checkpoints can read."""
    plain = logged.reduce_fx if isinstance(logged.reduce_fx, list) else [logged.reduce_fx]
    return {
        **(_stream(logged.stream) if logged.module_metric is None else _stream(Stream([]))),
        # A checkpoint holds Python's own types, and a name may be of a class of its own, such as an enum.
        "key": tuple(str.__str__(one) if isinstance(one, str) else one for one in logged.key),
        "epoch": logged.epoch,
        "reduce_fx": logged.reduce_fx if all(isinstance(one, str) for one in plain) else None,
        "attribute": attribute,
        "arguments": {name: value for name, value in logged.arguments.items() if name != "sync_dist_group"},
        "nan_policy": logged.nan_policy,
        "has_vectors": logged.has_vectors,
        "logged_at": logged.logged_at,
    }


def _stream(stream: Stream) -> dict[str, Any]:
    summaries = stream.summary()
    return {
        "reducers": [reducer.name for reducer in stream.reducers],
        "state_keys": [str(reducer.state_key) for reducer in stream.reducers],
        "nan_counts": [summary.nan_count for summary in summaries],
        "states": [torch.from_numpy(summary.state) for summary in summaries],
    }


def _fits(saved: dict[str, Any], stream: Stream) -> bool:
    """Return whether a stream can continue from what was saved."""
    now = [(one.name, str(one.state_key)) for one in stream.reducers]
    return list(zip(saved["reducers"], saved["state_keys"], strict=True)) == now


def _continue(logged: LoggedStream, found: Sequence[dict[str, Any]]) -> None:
    """Continue a stream from what was saved of it."""
    now = logged.stream.summary()
    logged.has_vectors |= any(saved["has_vectors"] for saved in found)
    logged.logged_at = found[0]["logged_at"]
    logged.stream.restore(logged.stream.merged([_summaries(saved) for saved in found]))
    if found[0]["epoch"] != logged.epoch:
        logged.stream.reset("epoch")
    logged.stream.restore(logged.stream.merged([logged.stream.summary(), now]))


def _summaries(saved: dict[str, Any]) -> list[Summary]:
    states = [state.cpu().numpy() for state in saved["states"]]
    return [Summary(count, state) for count, state in zip(saved["nan_counts"], states, strict=True)]
