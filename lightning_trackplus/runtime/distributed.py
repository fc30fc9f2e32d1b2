"""The processes of a run: how many there are, and what they send to each other."""

from __future__ import annotations

import contextlib
import io
import pickle
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")

Group: TypeAlias = Any
"""A `torch.distributed.ProcessGroup`, or None for all; torch builds without distributed have no such name."""


_is_alone = ContextVar("is_alone", default=False)


@contextlib.contextmanager
def alone(is_alone: bool) -> Iterator[None]:
    """Exchange nothing with other processes, as if there were none, if this process is alone."""
    token = _is_alone.set(is_alone)
    try:
        yield
    finally:
        _is_alone.reset(token)


def is_distributed() -> bool:
    """Return whether there is more than one process, and this one is not `alone`."""
    if _is_alone.get():
        return False
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def world_size() -> int:
    """Return the number of processes."""
    return distributed.get_world_size() if is_distributed() else 1


def rank() -> int:
    """Return the rank of this process."""
    return distributed.get_rank() if is_distributed() else 0


def group_ranks(group: Group) -> Sequence[int]:
    """Return the ranks of a group, all processes if None; none if this process is not among them."""
    if group is None:
        return range(world_size())
    if group is distributed.GroupMember.NON_GROUP_MEMBER:
        return ()
    return short(distributed.get_process_group_ranks(group))


def short(ranks: Sequence[int]) -> Sequence[int]:
    """Return ranks at equal distances as a `range`, which takes a few bytes whatever their number; others as a tuple.

    Examples:
        >>> short([1, 3, 5]), short([0, 1, 3])
        (range(1, 6, 2), (0, 1, 3))
    """
    distance = ranks[1] - ranks[0] if len(ranks) > 1 else 1
    regular = range(ranks[0], ranks[-1] + (1 if distance > 0 else -1), distance) if distance else ()
    return regular if list(regular) == list(ranks) else tuple(ranks)


def least(number: int, group: Group) -> int:
    """Return the least number that a process of a group gives."""
    return -greatest([-number], group)[0]


def greatest(numbers: Sequence[int], group: Group) -> list[int]:
    """Return the greatest of each number that the processes of a group give."""
    found = torch.tensor(numbers, device=_device(group))
    distributed.all_reduce(found, op=distributed.ReduceOp.MAX, group=group)
    return found.tolist()


def group_name(group: Group) -> str:
    """Return the name of a group, which is the same in all of its processes."""
    found: Any = distributed.group.WORLD if group is None else group
    return str(found.group_name)


def gather_objects(mine: T, senders: Sequence[int]) -> dict[int, T]:
    """Return on rank zero what some processes give; nothing on all others.

    Args:
        mine: What this process gives, if it is a sender; it has to be picklable.
        senders: The ranks, of which all processes know.
    """
    if own := rank():
        if own in senders:
            exchange(pickled(mine), 0, None, receives=False)
        return {}
    found = {sender: exchange(None, sender, None, receives=True) for sender in senders if sender}
    loaded = {sender: pickle.loads(data) for sender, data in found.items() if data is not None}  # noqa: S301  likewise
    return {sender: loaded.get(sender, mine) for sender in senders}


def _device(group: Group) -> str:
    """Return the device of the tensors that a group sends: the CPU where it can."""
    devices = [one.partition(":")[0] for one in distributed.get_backend_config(group).split(",")]
    return "cpu" if "cpu" in devices else devices[0]


def exchange(data: bytes | None, peer: int, group: Group, *, receives: bool) -> bytes | None:
    """Send bytes to another process and receive its bytes at the same time; first how many there are."""
    device = _device(group)
    length = None if data is None else torch.tensor([len(data)], device=device)
    count = torch.zeros(1, dtype=torch.int64, device=device) if receives else None
    _transfer(length, count, peer, group)
    message = None if data is None else torch.frombuffer(bytearray(data), dtype=torch.uint8).to(device)
    room = None if count is None else torch.empty(int(count.item()), dtype=torch.uint8, device=device)
    _transfer(message, room, peer, group)
    return None if room is None else room.cpu().numpy().tobytes()


def _transfer(outgoing: Tensor | None, incoming: Tensor | None, peer: int, group: Group) -> None:
    operations = []
    if outgoing is not None:
        operations.append(distributed.P2POp(distributed.isend, outgoing, peer, group))
    if incoming is not None:
        operations.append(distributed.P2POp(distributed.irecv, incoming, peer, group))
    for work in distributed.batch_isend_irecv(operations):
        work.wait()


class _HostPickler(pickle.Pickler):
    """Pickles tensors as if they lay on the host, since other processes have other devices."""

    def reducer_override(self, value: Any) -> Any:
        on_device = isinstance(value, Tensor) and value.device.type != "cpu"
        return value.cpu().__reduce_ex__(pickle.HIGHEST_PROTOCOL) if on_device else NotImplemented


def pickled(value: object) -> bytes:
    """Return the bytes of an object for another process, its tensors as if they were on the host."""
    file = io.BytesIO()
    _HostPickler(file, pickle.HIGHEST_PROTOCOL).dump(value)
    return file.getvalue()
