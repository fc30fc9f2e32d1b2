"""What is logged under one name: the stream of its values, and the options of its results."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from torch import Tensor

from lightning_trackplus.lightning_internals import result_entries, trainer_state
from lightning_trackplus.lightning_internals.shared_bases import MisconfigurationException
from lightning_trackplus.record import Counts
from lightning_trackplus.reducers.base import Reducer
from lightning_trackplus.reducers.pending_calls import Snapshot
from lightning_trackplus.reducers.registry import OneReduction, Reduction, reducers_of
from lightning_trackplus.reducers.stream import Stream, StreamReducer, Summary
from lightning_trackplus.reducers.types import NanPolicy, Span
from lightning_trackplus.routing.log_call import Arguments
from lightning_trackplus.routing.proxy_metrics import ProxyMetrics, is_epoch_end_hook
from lightning_trackplus.runtime import distributed
from lightning_trackplus.runtime.lists import is_list
from lightning_trackplus.runtime.warn import WarnOnce


class StreamKey(NamedTuple):
    """What tells one stream from another.

    Attributes:
        hook: The hook that logs it.
        name: The name it is logged under.
        dataloader: Which of several evaluation dataloaders it belongs to; None where there is one.
        source: Whether the module asked for the reduction, or `TrackPlus` for the epoch or for the steps.
    """

    hook: str
    name: str
    dataloader: int | None
    source: Literal["module", "epoch", "steps"] = "module"


class LoggedStream:
    """A stream of logged values, with the options of its ``log`` call.

    Args:
        key: What tells the stream from others.
        reduce_fx: The reduction that is asked for.
        arguments: The other arguments of the first call; with ``on_step`` and ``on_epoch`` decided.
        training: Whether it is filled in training.
        nan_policy: The policy of reducers that are asked for by name.
        module_metric: A reducer that the module updates by itself, if the stream is that one's.
    """

    def __init__(
        self,
        key: StreamKey,
        reduce_fx: Reduction,
        arguments: Arguments,
        *,
        training: bool,
        nan_policy: NanPolicy,
        module_metric: Reducer | None = None,
    ) -> None:
        self.key = key
        self.reduce_fx = reduce_fx
        self.arguments = arguments
        self.training = training
        self.module_metric = module_metric
        self.stream = Stream(reducers_of(reduce_fx, nan_policy)) if module_metric is None else module_metric.stream
        self.epoch = -1
        self.has_vectors = False
        self.logged_at: int | None = None
        self.is_registered = False
        self.nan_policy = nan_policy
        self._is_weighted = any(reducer.weighted for reducer in self.stream.reducers)
        self._spans = {reducer.span for reducer in self.stream.reducers}
        # What is wanted of single steps alone is not kept for the epoch.
        self._keeps = self.on_epoch or self._spans != {"epoch"}
        of_several = is_list(reduce_fx) or key.source != "module"
        self.names = ResultNames(key.name, reduce_fx, self.stream.reducers, of_several=of_several)
        self.proxies = ProxyMetrics(self.names.numbers, key.hook, key.dataloader, arguments)
        # A reducer that is used as a metric warns as well.
        self._warn_once = WarnOnce() if module_metric is None else module_metric.warn_once

    @property
    def on_step(self) -> bool:
        """Whether its results are wanted in steps."""
        return bool(self.arguments["on_step"])

    @property
    def on_epoch(self) -> bool:
        """Whether its results are wanted at the end of the epoch."""
        return bool(self.arguments["on_epoch"])

    @property
    def is_plain(self) -> bool:
        """Whether a call does no more than to add its values."""
        return not (
            self.on_step or self.is_epoch_end_hook or self.module_metric is not None or self._spans != {"epoch"}
        )

    @property
    def is_over(self) -> bool:
        """Whether the epoch of a reducer of the module is over, and Lightning is about to reset it."""
        return self.proxies.awaits_reset or (self.is_epoch_end_hook and self.is_registered)

    @property
    def is_epoch_end_hook(self) -> bool:
        """Whether an epoch-end hook logs it, so that Lightning asks for it at once."""
        return is_epoch_end_hook(self.key.hook)

    @functools.cached_property
    def members(self) -> Sequence[int]:
        """The ranks whose values count together; this process alone where there is no rank."""
        return distributed.group_ranks(self.group) if distributed.is_distributed() and self.is_synced else ()

    @property
    def is_synced(self) -> bool:
        """Whether several processes share it, or would if there were several."""
        if self.module_metric is not None:
            return bool(self.module_metric.sync_on_compute)
        return bool(self.arguments["sync_dist"]) and not self.arguments["rank_zero_only"]

    @property
    def group(self) -> Any:
        """The process group of the `members`; None for all processes."""
        return self.arguments["sync_dist_group"] if self.module_metric is None else self.module_metric.process_group

    @functools.cached_property
    def request(self) -> bytes | None:
        """What another process needs to make it too; None if that cannot be pickled."""
        # The values that count are those of a synced stream, also of a reducer that syncs itself.
        arguments = {**self.arguments, "sync_dist_group": None, "sync_dist": True}
        try:
            reduce_fx = self.reduce_fx if self.module_metric is None else self.module_metric.without_values()
            return pickle.dumps((reduce_fx, arguments, {"training": self.training, "nan_policy": self.nan_policy}))
        except Exception:  # noqa: BLE001  pickle raises what the object raises
            return None

    @classmethod
    def requested(cls, key: StreamKey, request: bytes) -> LoggedStream:
        """Return the stream of another process, without its values."""
        reduce_fx, arguments, options = pickle.loads(request)  # noqa: S301  from a process of this run
        return cls(key, reduce_fx, arguments, **options)

    def shows_other_than(self, reduction: OneReduction) -> bool:
        """Return whether a reduction has a result that this does not show."""
        other = LoggedStream(self.key, [reduction], self.arguments, training=self.training, nan_policy=self.nan_policy)
        return not set(other.names.all) <= set(self.names.all)

    def check_call(self, reduce_fx: Reduction, arguments: Arguments) -> None:
        """Raise if a later call differs from the first; a function may be a new one with the same name.

        Raises:
            MisconfigurationException: If it differs.
        """
        # Of two reducers that are updated by themselves, one cannot stand for the other.
        if self.module_metric is not None and reduce_fx is not self.module_metric:
            raise MisconfigurationException(
                f"You called `self.log({self.key.name}, ...)` twice in one hook, with a reducer of its own and with"
                f" {reduce_fx!r}. Keep one reducer as an attribute of the module and update it, or give it as reduce_fx"
                " and log the values."
            )
        if self.module_metric is None and not _same(reduce_fx, self.reduce_fx):
            raise MisconfigurationException(
                f"You called `self.log({self.key.name}, ...)` twice in one hook, with reduce_fx={self.reduce_fx!r} and"
                f" {reduce_fx!r}. Ask for both in one list, or log under two names."
            )
        if arguments != self.arguments:
            raise MisconfigurationException(
                f"You called `self.log({self.key.name}, ...)` twice in `{self.key.hook}` with different arguments."
                " This is not allowed"
            )

    def add(
        self, value: float | Tensor, position: trainer_state.LoopPosition, batch_size: int | None, step: int
    ) -> None:
        """Take the values of one call.

        Args:
            value: A scalar, or a value for each sample, shape ``(N,)``.
            position: Where the Trainer is.
            batch_size: The batch size that was given.
            step: When it is.
        """
        # One value is a batch of one sample if other calls had vectors, and a scalar if not.
        self.has_vectors |= isinstance(value, Tensor) and value.ndim == 1 and len(value) != 1
        if self.logged_at is not None and step > self.logged_at:
            self.stream.reset("log")
            self.logged_at = None
        self.stream.add(value, repeat=self._repeat(position, batch_size), step=step, keep=self._keeps)

    def add_again(self, value: Snapshot, position: trainer_state.LoopPosition, batch_size: int | None) -> None:
        """Take a copy of the values of a call where `is_plain`, at little cost."""
        if not isinstance(value, float) and len(value) != 1:
            self.has_vectors = True
        self.stream.add_snapshot(value, self._repeat(position, batch_size), position.step)

    def latest(self) -> dict[str, Any]:
        """Return the results of the last call by their names."""
        return self.names.named(self._made(lambda: self.stream.results(self.stream.latest())))

    def results(self, summaries: Sequence[Summary]) -> dict[str, Any]:
        """Return the results of an epoch by their names.

        Raises:
            ValueError: If there was NaN and a reducer's policy is to raise.
        """
        return self.names.named(self._made(lambda: self.stream.results(summaries)))

    def has_been_logged(self, step: int) -> None:
        """Reset span="log" reducers when the next step logs."""
        if self.module_metric is not None:
            # Its next values come before the next call.
            self.stream.reset("log")
        self.logged_at = step if "log" in self._spans else None

    def reset(self, *spans: Span) -> None:
        """Forget the values of some spans, and register the results with Lightning again."""
        self.stream.reset(*spans)
        self.is_registered = False

    def warn_of_what_is_missing(self) -> None:
        """Say, once for each, that other processes are not in the results, or that NaN is not."""
        syncs_itself = self.module_metric is not None and self.is_synced
        if distributed.is_distributed() and not self.arguments["sync_dist"] and not syncs_itself:
            # Lightning says this of its own reductions, and takes ours for a metric that syncs itself.
            result_entries.warn_of_no_sync(self.key.name)
        # Of a span longer than the epoch there are more.
        nan_count = min(summary.nan_count for summary in self.stream.summary())
        if nan_count and (omitting := self.names.omitting_nan()):
            # Each process says it, since each has its own values.
            self._warn_once(
                f"self.log({self.key.name!r}, …): {nan_count} values of this epoch were NaN and are left out of"
                f" {', '.join(omitting)}. This warning is shown once.",
                key="nan",
                on_each_rank=True,
            )

    def _repeat(self, position: trainer_state.LoopPosition, batch_size: int | None) -> int:
        """Return for how many samples a value stands."""
        return position.batch_size(batch_size) if self._is_weighted and not self.has_vectors else 1

    def _made(self, make: Callable[[], list[Any]]) -> list[Any]:
        try:
            return make()
        except ValueError as error:
            raise ValueError(f"self.log({self.key.name!r}, …): {error}") from error


def _same(one: Reduction, other: Reduction) -> bool:
    if one is other or (isinstance(one, str) and one == other):
        return True
    names = [[reducer.name for reducer in reducers_of(reduction)] for reduction in (one, other)]
    return names[0] == names[1] and is_list(one) == is_list(other)


class ResultNames:
    """Gives each result of some reducers its name.

    Attributes:
        all: All names.
        numbers: Those of numbers, which Lightning can show.

    Raises:
        MisconfigurationException: If two reducers give one name and need not mean the same by it.

    Examples:
        >>> from lightning_trackplus.reducers.registry import reducers_of
        >>> asked = ["mean", "topk(2)"]
        >>> ResultNames("loss", asked, reducers_of(asked), of_several=True).all
        ['loss_mean', 'loss_top1', 'loss_top2']
    """

    def __init__(self, name: str, reduce_fx: Reduction, reducers: Sequence[StreamReducer], *, of_several: bool) -> None:
        self._name = name
        self._reduce_fx = reduce_fx
        self._reducers = reducers
        self._of_several = of_several
        # What the names are shows in the results of nothing.
        stream = Stream(reducers)
        self._nothing = stream.results(stream.summary())
        named = self.named(self._nothing)
        self.all = list(named)
        self._check()
        self.numbers = [name for name, result in named.items() if not isinstance(result, Counts)]

    def named(self, results: Sequence[Any]) -> dict[str, Any]:
        """Return results by their names."""
        named: dict[str, Any] = {}
        for reducer, result in zip(self._reducers, results, strict=True):
            if isinstance(result, Mapping):
                named.update({f"{self._name}_{part}": number for part, number in result.items()})
            else:
                named[f"{self._name}_{reducer.name}" if self._of_several else self._name] = result
        return named

    def omitting_nan(self) -> list[str]:
        """Return the names of the results that leave NaN out, and do not count it."""
        omitting = [
            result if reducer.nan_policy == "omit" and not reducer.counts_nan else None
            for reducer, result in zip(self._reducers, self._nothing, strict=True)
        ]
        return [name for name, result in self.named(omitting).items() if result is not None]

    def _check(self) -> None:
        given: dict[str, StreamReducer] = {}
        for reducer, result in zip(self._reducers, self._nothing, strict=True):
            for part in result if isinstance(result, Mapping) else [reducer.name]:
                other = given.setdefault(part, reducer)
                if type(other) is not type(reducer) and other.state_key != reducer.state_key:
                    raise MisconfigurationException(
                        f"reduce_fx={self._reduce_fx!r}: {other.name} and {reducer.name} both give"
                        f" {self._name}_{part}; log them under two names."
                    )
