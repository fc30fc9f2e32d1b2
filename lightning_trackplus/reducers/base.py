"""What a reducer is."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from typing_extensions import Self, override

from lightning_trackplus.lightning_internals import result_entries
from lightning_trackplus.lightning_internals.lazy_metric import LazyMetric, bytes_of
from lightning_trackplus.reducers.pending_calls import Given
from lightning_trackplus.reducers.samples import Counts, NanPolicy, Samples, Span, State
from lightning_trackplus.reducers.stream import Stream, Summary
from lightning_trackplus.runtime import distributed
from lightning_trackplus.runtime.warn import WarnOnce

Result: TypeAlias = float | Mapping[str, float] | Counts
"""What a reducer returns: a number, several by what stands behind the logged name of each, or a histogram."""


class Reducer(LazyMetric):
    """How a stream of weighted values becomes one number, or a few.

    To ``self.log(…, reduce_fx=…)`` a reducer is a description that has seen nothing: what it needs to
    remember of a stream is a state, an array of its own choice. So a stream of any length can be cut
    into parts, over time and over processes, and each part summarized where it is.

    It is a torchmetrics Metric as well, with a stream of its own: `update`, `compute`, `reset`,
    `forward`. Between processes it merges states, and so gives what one process would have given.

    Subclass it for a reducer of your own, with `name`, `summarize`, `merge` and `result`.

    Args:
        nan_policy: What NaN among the values does: ``"omit"`` leaves it out, ``"propagate"`` makes the
            result NaN, ``"raise"`` raises ValueError when the result is asked for.

    Raises:
        ValueError: If ``nan_policy`` is none of these.

    Examples:
        >>> import numpy as np
        >>> class LargestJump(Reducer):
        ...     weighted = False
        ...
        ...     @property
        ...     def name(self):
        ...         return "jump"
        ...
        ...     def summarize(self, samples):
        ...         if not len(samples.values):
        ...             return np.array([])
        ...         jumps = np.abs(np.diff(samples.values))
        ...         return np.array([samples.values[0], samples.values[-1], jumps.max(initial=0)])
        ...
        ...     def merge(self, left, right):
        ...         if not len(left) or not len(right):
        ...             return left if len(left) else right
        ...         between = abs(right[0] - left[1])
        ...         return np.array([left[0], right[1], max(left[2], right[2], between)])
        ...
        ...     def result(self, state):
        ...         return state[2] if len(state) else np.nan
        >>> jump = LargestJump()
        >>> jump.update(torch.tensor([1.0, 2.0, 9.0, 8.0]))
        >>> jump.compute()
        tensor(7., dtype=torch.float64)
    """

    is_differentiable = False

    full_state_update = False
    """Whether the order of updates matters, for those of torchmetrics' wrappers that join states in another one."""

    # Without an annotation, which TorchScript could not read where an object has its own.
    weighted = True
    """Whether a scalar that is logged counts as often as its batch has samples; if not, it counts once."""

    span: ClassVar[Span] = "epoch"
    """Which values count together."""

    counts_nan = False
    """Whether NaN is what it counts, so that none is left out."""

    def __init__(self, *, nan_policy: NanPolicy = "omit") -> None:
        super().__init__()
        if nan_policy not in get_args(NanPolicy):
            raise ValueError(
                f"{type(self).__name__} got nan_policy={nan_policy!r}; give 'omit', 'propagate' or 'raise'."
            )
        self.nan_policy = nan_policy
        self.updates = 0
        """How often it was updated, which is the step of its next values."""
        self._dtype_of_results: torch.dtype | None = None
        self.warn_once = WarnOnce()
        """Its warnings, each of which is shown once."""

    @functools.cached_property
    def stream(self) -> Stream:
        """What it has seen by itself, through `update`."""
        # It asks for states, so that a subclass must have set what it needs for them.
        return Stream([self])

    @property
    @abstractmethod
    def name(self) -> str:
        """What stands behind the logged name where several reducers are asked for: ``val/loss_<name>``."""

    @property
    def state_key(self) -> Hashable:
        """Reducers of one stream with equal keys have equal states of it, which are kept once."""
        return self.name

    @abstractmethod
    def summarize(self, samples: Samples) -> State:
        """Return the state of a part of the stream.

        Args:
            samples: The part; of no samples, the state is one that changes no other by `merge`.
        """

    @abstractmethod
    def merge(self, left: State, right: State) -> State:
        """Return the state of two parts together, and change neither.

        Args:
            left: The state of the part that comes first, or of the lower rank.
            right: The state of the other part.
        """

    @abstractmethod
    def result(self, state: State) -> Result:
        """Return the number, NaN where nothing was seen; or several, by their names; or counts over bins.

        Args:
            state: The state of the whole stream.
        """

    @property
    @override
    def parts(self) -> list[Tensor]:
        """What it has seen, as a state of torchmetrics: a tensor of bytes, or none where it has seen nothing."""
        if not self.updates:
            return []
        (summary,) = self.stream.glance()
        return [Part(kind_of(self.state_key), self.updates, id(self), summary).tensor()]

    @parts.setter
    def parts(self, parts: Sequence[Tensor]) -> None:
        found = [Part.of(part) for part in parts]
        for part in found:
            if part.kind != (kind := kind_of(self.state_key)):
                raise ValueError(
                    f"{type(self).__name__} got a state of the kind {part.kind!r} where its own is {kind!r}; states are"
                    " those of reducers of one kind with the same parameters."
                )
        self.updates = sum(part.updates for part in found)
        if "stream" in vars(self):
            self.stream.reset("epoch", "run", "log")
        if found:
            self.stream.restore(self.stream.merged([[part.summary] for part in found]))

    @override
    def update(self, value: Given, weight: Given = 1.0) -> None:
        """Take values.

        Args:
            value: A number, a tensor of any shape and device, an array, or a list of numbers.
            weight: What each counts, at least 0: a number, or a tensor that can be expanded to the
                shape of ``value``.

        Raises:
            ValueError: If a weight is below 0 or not finite, or the shapes do not fit.
        """
        self.stream.add(value, weight, step=self.updates)
        self.updates += 1

    @override
    def compute(self) -> Any:
        """Return the result of all values since the last reset, of all processes if there are several.

        Returns:
            A float64 tensor of one element (float32 on Apple's GPUs, and the type of `set_dtype`); a dict of these
            if the reducer gives several numbers, and of longer ones if it gives `Counts`.

        Raises:
            ValueError: If there was NaN and ``nan_policy="raise"``.
        """
        summaries = self.stream.summary()
        if self.sync_on_compute and distributed.is_distributed():
            summaries = self.stream.merged(distributed.all_gather_object(summaries, self.process_group))
        (result,) = self.stream.results(summaries)
        self._warn_of_nan(summaries[0].nan_count)
        return self._tensors(result)

    @torch.jit.unused
    @override
    def forward(self, value: Given, weight: Given = 1.0) -> Any:
        """Take values and return the result of these alone; for ``span="run"``, of all so far.

        Args:
            value: As for `update`.
            weight: As for `update`.
        """
        self.update(value, weight)
        summaries = self.stream.latest()
        (result,) = self.stream.results(summaries)
        self._warn_of_nan(summaries[0].nan_count)
        latest = self._tensors(result)
        result_entries.set_step_value(self, latest)
        return latest

    @override
    def reset(self) -> None:
        """Forget all values."""
        super().reset()
        self.parts = []

    @override
    def set_dtype(self, dst_type: str | torch.dtype) -> Self:
        """Set the type of results; what was seen is kept in float64.

        Args:
            dst_type: The type, such as ``torch.float32``.
        """
        super().set_dtype(dst_type)
        self._dtype_of_results = self.dtype
        return self

    @override
    def merge_state(self, incoming_state: Metric | dict[str, Any]) -> None:
        """Add what another reducer of this kind has seen.

        Args:
            incoming_state: The other reducer, or its ``metric_state``; its values count as the earlier ones.

        Raises:
            ValueError: If it is neither, or the state is of another kind.
        """
        if isinstance(incoming_state, Reducer):
            incoming_state = incoming_state.metric_state
        if not isinstance(incoming_state, dict) or "parts" not in incoming_state:
            raise ValueError(
                f"{type(self).__name__}.merge_state got a {type(incoming_state).__name__}; give a reducer of the same"
                " kind, or its metric_state."
            )
        merged = [*incoming_state["parts"], *self.parts]
        self.update(torch.empty(0))  # So that torchmetrics knows of values.
        self.parts = merged

    def load_saved(self, parts: Sequence[tuple[int, Sequence[Summary]]]) -> None:
        """Go on from what was saved of it, in place of what it has seen.

        Args:
            parts: How often it was updated, and what its stream remembers, of each process.
        """
        self.reset()
        if parts:
            self.update(torch.empty(0))  # So that torchmetrics knows of values.
            self.updates = max(updates for updates, _ in parts)
            self.stream.restore(self.stream.merged([summaries for _, summaries in parts]))

    # A Metric builds a composition of `==`, which is true whatever it compares.
    __eq__ = object.__eq__  # type: ignore[assignment]
    __hash__ = object.__hash__

    def _warn_of_nan(self, nan_count: int) -> None:
        """Say once that values are left out, as torchmetrics does."""
        if nan_count and self.nan_policy == "omit" and not self.counts_nan:
            self.warn_once(
                f"{type(self).__name__} leaves out values that are NaN, so far {nan_count}. With nan_policy='propagate'"
                " the result is NaN, with 'raise' it is an error. This is said once.",
                key="nan",
                on_each_rank=True,
                stacklevel=4,
            )

    def _tensors(self, result: Any) -> Any:
        if isinstance(result, Counts):
            result = result._asdict()
        if isinstance(result, Mapping):
            return {name: self._tensors(part) for name, part in result.items()}
        dtype = self._dtype_of_results or (torch.float32 if self.device.type == "mps" else torch.float64)
        return torch.tensor(result, dtype=dtype, device=self.device)


class Part(NamedTuple):
    """A part of what a reducer has seen.

    Attributes:
        kind: What kind of state it is, the text of a reducer's ``state_key``.
        updates: How many updates it is of.
        owner: The number of the reducer, of which no two have the same. A MetricCollection takes metrics with equal
            states for one, and asks for the state with each update.
        summary: What is remembered of them.

    Examples:
        >>> part = Part("mean", 2, 0, Summary(0, np.array([1.5, 2.0])))
        >>> Part.of(part.tensor()).updates
        2
    """

    kind: str
    updates: int
    owner: int
    summary: Summary

    @classmethod
    def of(cls, tensor: Tensor) -> Part:
        """Return what a tensor of `tensor` holds.

        Args:
            tensor: The tensor.
        """
        head, _, state = bytes_of(tensor).partition(b"\n")
        kind, updates, owner, nan_count = head.decode().rsplit(" ", 3)
        return cls(kind, int(updates), int(owner), Summary(int(nan_count), np.frombuffer(state)))

    def tensor(self) -> Tensor:
        """Return it as bytes, which casts to other types leave as they are."""
        head = f"{self.kind} {self.updates} {self.owner} {self.summary.nan_count}\n".encode()
        return torch.frombuffer(bytearray(head + self.summary.state.tobytes()), dtype=torch.uint8)


def kind_of(state_key: object) -> str:
    """Return what kind of state a reducer has, in one line.

    Args:
        state_key: Its ``state_key``.
    """
    return str(state_key).replace("\n", " ")
