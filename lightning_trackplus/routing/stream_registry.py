"""The streams of a run, and their place in its checkpoints.

A checkpoint has each stream once, merged over the processes that share it, as if one process had seen all values. After
a resume, the first of these processes continues it and the others start empty, so that their common result is that of
all values. A series also has a value in each step, which is that of one process. So of a series a checkpoint has two
parts: that of rank zero, whose steps are written, and that of all others. What is not synced is saved from rank zero.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from lightning_trackplus.reducers.base import Reducer
from lightning_trackplus.reducers.registry import Reduction, reducers_of
from lightning_trackplus.reducers.stream import Stream, Summary
from lightning_trackplus.reducers.types import MAX_KEPT
from lightning_trackplus.routing.logged_stream import LoggedStream, StreamKey
from lightning_trackplus.runtime import distributed
from lightning_trackplus.runtime.reduce_states import Compaction, all_reduce_states

if TYPE_CHECKING:
    import lightning.pytorch as pl

_NO_EPOCH = -1
_NO_OPTIONS = {"metric_attribute": None, "sync_dist_group": None}


class StreamRegistry:
    """Keeps the streams of training over checkpoints and runs of one Trainer, and all others for their epoch."""

    def __init__(self) -> None:
        self._logged: dict[StreamKey, LoggedStream] = {}
        self._reducers: dict[str, Reducer] = {}
        self._restored: list[_Saved] = []
        # What was saved of the last module's reducers, while there is none.
        self._restored_reducers: list[_Saved] = []

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
        self._restored_reducers = []

    def detach(self) -> None:
        """Keep what goes into checkpoints, and nothing of the Trainer's."""
        self._restored, self._restored_reducers = self._saved_streams(), self._saved_reducers()
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
        found: dict[tuple[Any, ...], list[_Saved]] = {}
        for saved in self._restored:
            if saved["epoch"] == epoch and saved["arguments"]["on_epoch"]:
                found.setdefault(saved["key"], []).append(saved)
        return [logged for several in found.values() if (logged := self._stream_of_checkpoint(several)) is not None]

    def state_dict(self) -> dict[str, Any]:
        """Return what training has logged, for a checkpoint; all processes have to call it together."""

        def mine() -> dict[tuple[Any, ...], _Saved]:
            found: dict[tuple[Any, ...], _Saved] = {}
            for kind, several in (("streams", self._saved_streams()), ("reducers", self._saved_reducers())):
                for saved in several:
                    if saved["group"] is not None or distributed.rank() == 0:
                        key = kind, *_identity(saved)
                        found[key] = self._merged(key, found[key], saved) if key in found else saved
            return found

        compaction: Compaction[tuple[Any, ...], _Saved] = Compaction(MAX_KEPT, self._count_kept, self._compact)
        merged: dict[tuple[Any, ...], _Saved] = all_reduce_states(mine, self._merged, compaction=compaction)
        found: dict[str, list[_Saved]] = {"streams": [], "reducers": []}
        for (kind, *_), saved in sorted(merged.items(), key=lambda item: item[1]["rank"]):
            found[kind].append(saved)
        return found

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        # All processes load the same; one of them takes the values, also if there are fewer than there were.
        everything = {
            kind: [
                saved if is_mine else {**saved, "parts": []}
                for saved in several
                if (is_mine := saved["rank"] % distributed.world_size() == distributed.rank()) or saved["group"] == []
            ]
            for kind, several in state.items()
        }
        self._restored = everything["streams"]
        for logged in self:
            if logged.training and logged.module_metric is None:
                logged.reset("epoch", "run", "log")
                self._restore(logged)
        for name, reducer in self._reducers.items():
            of_name = [one for one in everything["reducers"] if one["key"] == (name,) and _fits(one, reducer.stream)]
            updates = max((one["updates"] for one in of_name), default=0)
            reducer.load_saved(updates, [part for one in of_name for part in _summaries(one)])

    def _saved_streams(self) -> list[_Saved]:
        return [*self._restored, *(_saved(one, self._name_of(one.module_metric)) for one in self if one.training)]

    def _saved_reducers(self) -> list[_Saved]:
        # Of a reducer whose epoch is over, only a series continues.
        over = [
            one.module_metric
            for one in self
            if one.module_metric is not None and one.module_metric.span == "epoch" and one.is_over
        ]
        return self._restored_reducers + [
            {
                **_stream(reducer.stream),
                "key": (name,),
                "epoch": _NO_EPOCH,
                "group": _group(distributed.group_ranks(reducer.process_group)) if reducer.sync_on_compute else None,
                "updates": reducer.updates,
            }
            for name, reducer in self._reducers.items()
            if reducer.updates and not any(reducer is one for one in over)
        ]

    def _merged(self, _: Hashable, left: _Saved, right: _Saved) -> _Saved:
        """Return what two groups of processes have of a stream; in parts where this process has no reducers for it."""
        parts = [*left["parts"], *right["parts"]]
        if (stream := self._stream_like(left)) is not None and parts:
            parts = [_part(stream.merged([_summaries_of(part) for part in parts]))]
        largest: dict[str, Any] = {
            name: max(left[name], right[name]) for name in ("has_vectors", "updates") if name in left
        }
        return {**left, **largest, "rank": min(left["rank"], right["rank"]), "parts": parts}

    def _count_kept(self, _: Hashable, saved: _Saved) -> int:
        stream = self._stream_like(saved)
        return 0 if stream is None else sum(map(stream.count_kept, _summaries(saved)))

    def _compact(self, _: Hashable, saved: _Saved) -> _Saved:
        stream = self._stream_like(saved)
        if stream is None:
            return saved
        return {**saved, "parts": [_part(stream.compact(summaries)) for summaries in _summaries(saved)]}

    def _stream_like(self, saved: _Saved) -> Stream | None:
        """Return a stream with the reducers of a saved one; None if this process does not know them."""
        is_logged, key = "arguments" in saved, saved["key"]
        known = self._logged.get(StreamKey(*key)) if is_logged else self._reducers.get(key[0])
        if known is not None and _fits(saved, known.stream):
            return known.stream
        if saved["reducers"] and saved.get("reduce_fx") is None:
            return None
        return Stream(reducers_of(saved["reduce_fx"], saved["nan_policy"]) if saved["reducers"] else [])

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

    def _stream_of_checkpoint(self, several: Sequence[_Saved]) -> LoggedStream | None:
        """Return a stream as a checkpoint has it, in several parts."""
        saved = several[0]
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
            {**saved["arguments"], **_NO_OPTIONS},
            training=True,
            nan_policy=saved["nan_policy"],
            module_metric=module_metric,
        )
        logged.epoch = saved["epoch"]
        if saved["group"]:
            # The group itself is not in a checkpoint; if there are fewer processes now, this one has all of it.
            fits = max(saved["group"]) < distributed.world_size()
            logged.members = distributed.short(saved["group"]) if fits else ()
        if module_metric is None and (fitting := [one for one in several if _fits(one, logged.stream)]):
            _continue(logged, fitting)
        return logged


_Saved: TypeAlias = dict[str, Any]
"""A stream as every loader of checkpoints can read it."""


def _saved(logged: LoggedStream, attribute: str | None) -> _Saved:
    # A checkpoint holds Python's own types: no enum as the name of a reducer, and no True of numpy.
    options = {name: bool(value) for name, value in logged.arguments.items() if name not in _NO_OPTIONS}
    return {
        **_stream(logged.stream if logged.module_metric is None else Stream([])),
        "key": tuple(logged.key),
        "epoch": logged.epoch,
        "group": _group(logged.members) if logged.is_synced else None,
        "reduce_fx": _names_of(logged.reduce_fx),
        "attribute": attribute,
        "arguments": options,
        "nan_policy": logged.nan_policy,
        "has_vectors": logged.has_vectors,
        "logged_at": logged.logged_at,
    }


def _names_of(reduce_fx: Reduction) -> str | list[str] | None:
    """Return the names by which reducers were asked for; None if one was given as an object."""
    if not isinstance(reduce_fx, list):
        return str.__str__(reduce_fx) if isinstance(reduce_fx, str) else None
    names = [str.__str__(one) for one in reduce_fx if isinstance(one, str)]
    return names if len(names) == len(reduce_fx) else None


def _stream(stream: Stream) -> _Saved:
    return {
        "rank": distributed.rank(),
        "is_series": any(reducer.span != "epoch" for reducer in stream.reducers),
        "reducers": [reducer.name for reducer in stream.reducers],
        "state_keys": [str(reducer.state_key) for reducer in stream.reducers],
        # What is logged later is the same to the last bit, saved or not.
        "parts": [_part(stream.peek())],
    }


def _group(members: Sequence[int]) -> list[int] | None:
    """Return the ranks that share a stream: none if all of them do, however many there are; None if they do not."""
    if not distributed.is_distributed() or len(members) == distributed.world_size():
        return []
    return list(members) or None


def _identity(saved: _Saved) -> tuple[Hashable, ...]:
    """Return what two saved streams have in common if they are parts of one; of a series, rank zero's is apart."""
    group = None if saved["group"] is None else tuple(saved["group"])
    apart = saved["is_series"] and saved["rank"] == 0
    return saved["key"], saved["epoch"], group, tuple(saved["reducers"]), tuple(saved["state_keys"]), apart


def _fits(saved: _Saved, stream: Stream) -> bool:
    """Return whether a stream can continue from what was saved."""
    now = [(one.name, str(one.state_key)) for one in stream.reducers]
    return list(zip(saved["reducers"], saved["state_keys"], strict=True)) == now


def _continue(logged: LoggedStream, found: Sequence[_Saved]) -> None:
    """Continue a stream from what was saved of it."""
    now = logged.stream.summary()
    logged.has_vectors |= any(saved["has_vectors"] for saved in found)
    logged.logged_at = found[0]["logged_at"]
    parts = []
    for saved in found:
        if saved["parts"]:
            logged.stream.restore(logged.stream.merged(_summaries(saved)))
            if saved["epoch"] != logged.epoch:
                logged.stream.reset("epoch")
            parts.append(logged.stream.summary())
    logged.stream.restore(logged.stream.merged([*parts, now]))


def _part(summaries: Sequence[Summary]) -> dict[str, Any]:
    return {
        "nan_counts": [summary.nan_count for summary in summaries],
        # A user's own state may be of another type, or a reversed view, of which torch makes no tensor.
        "states": [torch.from_numpy(np.require(summary.state, np.float64, ["C", "W"])) for summary in summaries],
    }


def _summaries(saved: _Saved) -> list[list[Summary]]:
    return [_summaries_of(part) for part in saved["parts"]]


def _summaries_of(part: dict[str, Any]) -> list[Summary]:
    states = [state.cpu().numpy() for state in part["states"]]
    return [Summary(count, state) for count, state in zip(part["nan_counts"], states, strict=True)]
