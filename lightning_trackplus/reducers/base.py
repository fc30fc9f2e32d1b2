"""The base class of reducers."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import re
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
from lightning_trackplus.record import Counts
from lightning_trackplus.reducers.pending_calls import Given
from lightning_trackplus.reducers.stream import Stream, Summary
from lightning_trackplus.reducers.types import MAX_KEPT, NanPolicy, Samples, Span, State
from lightning_trackplus.runtime.names import a_type
from lightning_trackplus.runtime.reduce_states import Compaction, all_reduce_states
from lightning_trackplus.runtime.warn import WarnOnce

_EXAMPLE = np.array([1.0, 2.0, 3.0, 4.0, 10.0])
_CODE = re.compile(r"``(.+?)``|`(.+?)`")

Result: TypeAlias = float | Mapping[str, float] | Counts
"""What a reducer returns: one number, several numbers by the suffix of each, or a histogram."""


class Reducer(LazyMetric):
    """Reduces a stream of weighted values to one number, or to a few.

    `summarize` turns a part of the stream into a state, an array of floats; `merge` joins two states; and `result`
    computes the result from a state. A stream can therefore be cut anywhere, over time and over processes, and each
    part is summarized where it is. In ``self.log(…, reduce_fx=…)`` a reducer only describes this and holds no values.

    A reducer is also a torchmetrics Metric with a stream of its own: `update`, `compute`, `reset`, `forward`.
    It merges the states of all processes, so its result equals that of a single process over all values.

    To write a reducer, subclass this with `name`, `summarize`, `merge` and `result`.

    Args:
        nan_policy: What happens to NaN: ``"omit"`` leaves it out, ``"propagate"`` makes the result NaN, ``"raise"``
            raises ValueError when the result is computed.

    Raises:
        ValueError: If ``nan_policy`` is not one of these.

    Examples:
        >>> import numpy as np
        >>> class LargestJump(Reducer):
        ...     name = "jump"
        ...     weighted = False
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
    """Whether the order of updates matters; torchmetrics' wrappers that merge states ask for it."""

    # Not annotated: TorchScript cannot read the annotation of an attribute that an object sets.
    weighted = True
    """Whether a logged scalar counts once for each sample of its batch; otherwise it counts once."""

    span: ClassVar[Span] = "epoch"
    """Which values count together."""

    counts_nan = False
    """Whether it counts NaN, so that NaN is not left out."""

    def __init__(self, *, nan_policy: NanPolicy = "omit") -> None:
        super().__init__()
        if nan_policy not in get_args(NanPolicy):
            raise ValueError(
                f"{type(self).__name__} got nan_policy={nan_policy!r}; expected 'omit', 'propagate' or 'raise'."
            )
        self.nan_policy = nan_policy
        self.updates = 0
        """The number of updates, which is the step of the next values."""
        self._result_dtype: torch.dtype | None = None
        self.warn_once = WarnOnce()
        """Shows each warning of this reducer once."""

    @functools.cached_property
    def stream(self) -> Stream:
        """The values from `update`."""
        # Created on first use: `summarize` may need attributes that a subclass sets after `super().__init__()`.
        return Stream([self])

    @property
    @abstractmethod
    def name(self) -> str:
        """The suffix of the logged name where several reducers are used, ``val/loss_<name>``.

        Set it as an attribute of the class; a class with arguments replaces it in its ``__init__``.
        """

    @property
    def state_key(self) -> Hashable:
        """Reducers of one stream with equal keys share one state; the `name` unless a class sets another."""
        return self.name

    @abstractmethod
    def summarize(self, samples: Samples) -> State:
        """Return the state of a part of the stream.

        Args:
            samples: The part. The state of no samples must change no other state in `merge`.
        """

    @abstractmethod
    def merge(self, left: State, right: State) -> State:
        """Return the state of two parts together, without changing either.

        Args:
            left: The state of the earlier part, or of the lower rank.
            right: The state of the other part.
        """

    @abstractmethod
    def result(self, state: State) -> Result:
        """Return a number, several numbers by name, or counts over bins; NaN if there were no values.

        Args:
            state: The state of the whole stream.
        """

    def count_kept(self, state: State) -> int:  # noqa: ARG002  for subclasses
        """Return how many single values a state keeps that `compact` can leave out.

        Args:
            state: The state of a part of the stream.
        """
        return 0

    def compact(self, state: State) -> State:
        """Return a smaller state, with a sketch in the place of single values, if there is one.

        Processes whose states keep more than 65,536 single values together send each other such states.

        Args:
            state: The state of a part of the stream.
        """
        return state

    @property
    @override
    def parts(self) -> list[Tensor]:
        """The torchmetrics state: one tensor of bytes, or none before the first update."""
        if not self.updates:
            return []
        (summary,) = self.stream.peek()
        return [_Part(self._state_kind, self.updates, id(self), summary).to_bytes()]

    @parts.setter
    def parts(self, parts: Sequence[Tensor]) -> None:
        found = [_Part.from_bytes(part) for part in parts]
        for part in found:
            if part.kind != self._state_kind:
                raise ValueError(
                    f"{type(self).__name__} got a state of kind {part.kind!r}; expected kind {self._state_kind!r}, the"
                    " state of a reducer of the same class with the same arguments."
                )
        self.updates = sum(part.updates for part in found)
        if "stream" in vars(self):
            self.stream.reset("epoch", "run", "log")
        if found:
            self.stream.restore(self.stream.merged([[part.summary] for part in found]))

    @override
    def update(self, value: Given, weight: Given = 1.0) -> None:
        """Add values.

        Args:
            value: A number, a tensor of any shape and device, an array, or a list of numbers.
            weight: The weight of each value, at least 0: a number, or a tensor that can be expanded to the
                shape of ``value``.

        Raises:
            ValueError: If a weight is below 0 or not finite, or the shapes do not fit.
        """
        self.stream.add(value, weight, step=self.updates)
        self.updates += 1

    @override
    def compute(self) -> Any:
        """Return the result of all values since the last reset, over all processes.

        Returns:
            A float64 tensor of one element (float32 on Apple's GPUs, or the type of `set_dtype`); a dict of such
            tensors for several numbers, and a dict with tensors of several elements for `Counts`.

        Raises:
            ValueError: If there was NaN and ``nan_policy="raise"``.
        """
        if not self.sync_on_compute:
            return self._compute(self.stream.summary())
        shared = all_reduce_states(
            lambda: {"": self.stream.summary()},
            lambda _, left, right: self.stream.merged([left, right]),
            self.process_group,
            lambda _, summaries: (self.stream.results(summaries), summaries[0].nan_count),
            Compaction(
                MAX_KEPT,
                lambda _, summaries: self.stream.count_kept(summaries),
                lambda _, summaries: self.stream.compact(summaries),
            ),
        )
        (result,), nan_count = shared[""]
        return self._shown(result, nan_count)

    @torch.jit.unused
    @override
    def forward(self, value: Given, weight: Given = 1.0) -> Any:
        """Add values and return the result of these values alone; with ``span="run"``, of all values so far.

        Args:
            value: As for `update`.
            weight: As for `update`.
        """
        self.update(value, weight)
        latest = self._compute(self.stream.latest())
        result_entries.set_step_value(self, latest)
        return latest

    @override
    def reset(self) -> None:
        """Forget all values."""
        super().reset()
        self.parts = []

    @override
    def set_dtype(self, dst_type: str | torch.dtype) -> Self:
        """Set the type of results; states stay in float64.

        Args:
            dst_type: The type, such as ``torch.float32``.
        """
        super().set_dtype(dst_type)
        self._result_dtype = self.dtype
        return self

    @override
    def merge_state(self, incoming_state: Metric | dict[str, Any]) -> None:
        """Add the values of another reducer of the same kind.

        Args:
            incoming_state: The other reducer, or its ``metric_state``; its values count as the earlier ones.

        Raises:
            ValueError: If it is neither, or the state is of another kind.
        """
        if isinstance(incoming_state, Reducer):
            incoming_state = incoming_state.metric_state
        if not isinstance(incoming_state, dict) or "parts" not in incoming_state:
            raise ValueError(
                f"{type(self).__name__}.merge_state got {a_type(incoming_state)}; expected a reducer of the"
                " same kind, or its metric_state."
            )
        merged = [*incoming_state["parts"], *self.parts]
        self._mark_updated()
        self.parts = merged

    def load_saved(self, updates: int, parts: Sequence[Sequence[Summary]]) -> None:
        """Replace its values by saved ones: the number of updates, and the summaries of parts of its stream."""
        self.reset()
        if updates:
            self._mark_updated()
            self.updates = updates
        if parts:
            self.stream.restore(self.stream.merged(parts))

    def without_values(self) -> Self:
        """Return a copy without values, for another process."""
        made = copy.copy(self)
        vars(made).pop("stream", None)
        made.updates, made.process_group = 0, None
        return made

    def __repr__(self) -> str:
        arguments = []
        for name, parameter in inspect.signature(type(self)).parameters.items():
            value = getattr(self, name, getattr(self, f"_{name}", parameter.default))
            if name != "name" and repr(value) != repr(parameter.default):
                arguments.append(f"{name}={getattr(value, '__name__', repr(value))}")
        return f"{type(self).__name__}({', '.join(arguments)})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        from lightning_trackplus.views import html  # noqa: PLC0415  only a notebook needs it

        summary = html.text((type(self).__doc__ or "").strip().partition("\n")[0])
        parts = [
            html.line(f"<code>{html.text(repr(self))}</code> <small>named {html.text(self.name)}</small>"),
            html.line(_CODE.sub(lambda found: f"<code>{found[1] or found[2]}</code>", summary)),
        ]
        samples = Samples(_EXAMPLE, np.ones_like(_EXAMPLE), np.arange(len(_EXAMPLE)))
        with contextlib.suppress(Exception):  # A user's function may not take these values.
            result = html.result(self.result(self.summarize(samples)))
            parts.append(html.line(f"of {', '.join(f'{value:g}' for value in _EXAMPLE)}: {result}"))
        return html.output(parts)

    # `==` of a Metric builds a composition, which is true whatever is compared.
    __eq__ = object.__eq__  # type: ignore[assignment]
    __hash__ = object.__hash__

    @property
    def _state_kind(self) -> str:
        return str(self.state_key).replace("\n", " ")

    def _mark_updated(self) -> None:
        """Let torchmetrics count an update, or it warns that there was none."""
        self.update(torch.empty(0))

    def _compute(self, summaries: Sequence[Summary]) -> Any:
        (result,) = self.stream.results(summaries)
        return self._shown(result, summaries[0].nan_count)

    def _shown(self, result: Any, nan_count: int) -> Any:
        if nan_count and self.nan_policy == "omit" and not self.counts_nan:
            self.warn_once(
                f"{type(self).__name__} leaves out NaN, {nan_count} values so far. Use nan_policy='propagate' for a"
                " result of NaN, or 'raise' for an error. This warning is shown once.",
                key="nan",
                on_each_rank=True,
                stacklevel=4,
            )
        return self._tensors(result)

    def _tensors(self, result: Any) -> Any:
        if isinstance(result, Counts):
            result = {name: getattr(result, name) for name in ("edges", "counts", "below", "above")}
        if isinstance(result, Mapping):
            return {name: self._tensors(part) for name, part in result.items()}
        dtype = self._result_dtype or (torch.float32 if self.device.type == "mps" else torch.float64)
        return torch.tensor(result, dtype=dtype, device=self.device)


class _Part(NamedTuple):
    """A summary as bytes, which casts to other types leave as they are.

    ``owner`` is the id of the reducer: a MetricCollection lets metrics with equal states share one.
    """

    kind: str
    updates: int
    owner: int
    summary: Summary

    @classmethod
    def from_bytes(cls, tensor: Tensor) -> _Part:
        head, _, state = bytes_of(tensor).partition(b"\n")
        kind, updates, owner, nan_count = head.decode().rsplit(" ", 3)
        return cls(kind, int(updates), int(owner), Summary(int(nan_count), np.frombuffer(state)))

    def to_bytes(self) -> Tensor:
        head = f"{self.kind} {self.updates} {self.owner} {self.summary.nan_count}\n".encode()
        # A user's own state may be of another type, such as integers.
        state = np.asarray(self.summary.state, dtype=np.float64)
        return torch.frombuffer(bytearray(head + state.tobytes()), dtype=torch.uint8)
