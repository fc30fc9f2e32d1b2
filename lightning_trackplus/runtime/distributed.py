"""Collective communication helpers."""

from __future__ import annotations

import io
import pickle
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed

T = TypeVar("T")

Group: TypeAlias = Any
"""A `torch.distributed.ProcessGroup`, or None for all; torch builds without distributed have no such name."""

_DEVICES = {"gloo": "cpu", "nccl": "cuda"}
"""The device of a backend's tensors; for other backends, torch knows it."""
_ROOM = 65_536
_HEAD = 8


def is_distributed() -> bool:
    """Return whether there is more than one process."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def all_gather_object(mine: T, group: Group = None) -> list[T]:
    """Return the objects of all processes of a group, in the order of their ranks; None is the group of all.

    It takes one collective, and a second one if an object is larger than 64 KiB. Tensors arrive on the host.
    """
    device = _DEVICES.get(distributed.get_backend(group))
    if device is None:
        everyone: list[T] = [mine] * distributed.get_world_size(group)
        distributed.all_gather_object(everyone, mine, group=group)
        return everyone
    payload = _pickled(mine)
    message = np.frombuffer(len(payload).to_bytes(_HEAD, "little") + payload, dtype=np.uint8)
    firsts = _all_gathered(message[:_ROOM], _ROOM, device, group)
    sizes = [int.from_bytes(first[:_HEAD].tobytes(), "little") for first in firsts]
    rest = max(sizes) + _HEAD - _ROOM
    seconds = _all_gathered(message[_ROOM:], rest, device, group) if rest > 0 else [message[:0]] * len(sizes)
    messages = [np.concatenate(parts) for parts in zip(firsts, seconds, strict=True)]
    return [pickle.loads(one[_HEAD : _HEAD + size].tobytes()) for one, size in zip(messages, sizes, strict=True)]  # noqa: S301  from a process of this run


class _HostPickler(pickle.Pickler):
    """Pickles tensors as if they lay on the host, since other processes have other devices."""

    def reducer_override(self, value: Any) -> Any:
        on_device = isinstance(value, torch.Tensor) and value.device.type != "cpu"
        return value.cpu().__reduce_ex__(pickle.HIGHEST_PROTOCOL) if on_device else NotImplemented


def _pickled(value: object) -> bytes:
    file = io.BytesIO()
    _HostPickler(file, pickle.HIGHEST_PROTOCOL).dump(value)
    return file.getvalue()


def _all_gathered(message: NDArray[np.uint8], size: int, device: str, group: Group) -> list[NDArray[np.uint8]]:
    """Return the messages of all processes, each padded to one size."""
    mine = torch.zeros(size, dtype=torch.uint8)
    mine[: len(message)] = torch.from_numpy(message.copy())
    mine = mine.to(device)
    everyone = [torch.empty_like(mine) for _ in range(distributed.get_world_size(group))]
    distributed.all_gather(everyone, mine, group=group)
    return [one.cpu().numpy() for one in everyone]


def group_ranks(group: Group) -> tuple[int, ...]:
    """Return the ranks of a group, where None is the group of all; none if this process is not in it."""
    if group is None:
        return tuple(range(world_size()))
    return (
        () if group is distributed.GroupMember.NON_GROUP_MEMBER else tuple(distributed.get_process_group_ranks(group))
    )


def world_size() -> int:
    """Return the number of processes."""
    return distributed.get_world_size() if is_distributed() else 1


def rank() -> int:
    """Return the rank of this process."""
    return distributed.get_rank() if is_distributed() else 0
