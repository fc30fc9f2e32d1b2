"""What a reducer is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple, TypeAlias

from torch import Tensor

State: TypeAlias = tuple[Tensor, ...]


class Samples(NamedTuple):
    """A part of a stream; all three have the shape ``(N,)``, N may be 0.

    Attributes:
        values: The values, float64 (float32 on devices that have no float64). Never NaN.
        weights: What each counts, same dtype. A value of weight 0 was not there.
        steps: The number of the ``log`` call in its epoch, int64, never falling.
    """

    values: Tensor
    weights: Tensor
    steps: Tensor


class Reducer(ABC):
    """How a stream of weighted values becomes one number.

    A reducer is immutable and has seen nothing: what it needs to remember of a stream is a state, a
    tuple of tensors of its own choice. So a stream of any length can be cut into parts, over time
    and over processes, and each part summarized where it is.

    Subclass it for a reducer of your own and pass an object of it as ``reduce_fx``.

    Examples:
        >>> import torch
        >>> class Range(Reducer):
        ...     weighted = False
        ...
        ...     @property
        ...     def name(self):
        ...         return "range"
        ...
        ...     def summarize(self, samples):
        ...         present = samples.weights > 0
        ...         low = torch.where(present, samples.values, torch.inf).min()
        ...         high = torch.where(present, samples.values, -torch.inf).max()
        ...         return low, high
        ...
        ...     def merge(self, left, right):
        ...         return torch.minimum(left[0], right[0]), torch.maximum(left[1], right[1])
        ...
        ...     def result(self, state):
        ...         return torch.where(state[0] <= state[1], state[1] - state[0], torch.nan)
        >>> samples = Samples(torch.tensor([3.0, 9.0]), torch.ones(2), torch.arange(2))
        >>> Range().result(Range().summarize(samples))
        tensor(6.)
    """

    weighted: ClassVar[bool] = True
    """Whether the result depends on the weights; where it does, a scalar counts with its batch size."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What stands behind the logged name where several reducers are asked for: ``val/loss_<name>``."""

    @abstractmethod
    def summarize(self, samples: Samples) -> State:
        """Return the state of a part of the stream, on the device of the samples.

        Args:
            samples: The part; it has at least one element, though that may have weight 0.
        """

    @abstractmethod
    def merge(self, left: State, right: State) -> State:
        """Return the state of two parts together.

        Args:
            left: The state of the part that comes first, or of the lower rank.
            right: The state of the other part.
        """

    @abstractmethod
    def result(self, state: State) -> Tensor:
        """Return the number, as a tensor of one element; NaN where nothing was seen.

        Args:
            state: The state of the whole stream.
        """
