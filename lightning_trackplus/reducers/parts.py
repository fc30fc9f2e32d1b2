"""What a reducer has seen, as a tensor of bytes that torchmetrics can keep and join."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lightning_trackplus.reducers.stream import Summary
from lightning_trackplus.seam.lazy_metric import bytes_of


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
