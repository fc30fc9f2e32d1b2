"""Collective communication helpers: Python objects, merged or sent between the processes of a run."""

from __future__ import annotations

import functools
import io
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")

Group: TypeAlias = Any
"""A `torch.distributed.ProcessGroup`, or None for all; torch builds without distributed have no such name."""

_DEVICES = {"gloo": "cpu", "nccl": "cuda"}
"""The device of a backend's tensors. Between processes of other backends, torch itself sends objects."""


def is_distributed() -> bool:
    """Return whether there is more than one process."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def world_size() -> int:
    """Return the number of processes."""
    return distributed.get_world_size() if is_distributed() else 1


def rank() -> int:
    """Return the rank of this process."""
    return distributed.get_rank() if is_distributed() else 0


def group_ranks(group: Group) -> Sequence[int]:
    """Return the ranks of a group, all processes if None; none if this process is not among them.

    Ranks at equal distances are a `range`, which takes a few bytes whatever their number.
    """
    if group is None:
        return range(world_size())
    if group is distributed.GroupMember.NON_GROUP_MEMBER:
        return ()
    ranks = tuple(distributed.get_process_group_ranks(group))
    distance = ranks[1] - ranks[0] if len(ranks) > 1 else 1
    regular = range(ranks[0], ranks[-1] + (1 if distance > 0 else -1), distance) if distance else ()
    return regular if tuple(regular) == ranks else ranks


def any_rank(flag: bool) -> bool:
    """Return whether any process gives True; one collective of eight bytes."""
    found = torch.tensor(int(flag), device=_DEVICES.get(distributed.get_backend()))
    distributed.all_reduce(found, op=distributed.ReduceOp.MAX)
    return bool(found.item())


class Exchange(NamedTuple):
    """What a process does in one round of `all_reduce_object`.

    Attributes:
        peer: The other process.
        sends: Whether this process sends what it has.
        receives: Whether it receives what the other has.
        replaces: Whether that is the final object, instead of one to merge.
    """

    peer: int
    sends: bool
    receives: bool
    replaces: bool = False


def exchanges(rank: int, size: int) -> Iterator[Exchange]:
    """Yield the rounds in which a process takes part: recursive doubling, as MPI implementations have it.

    In each round, neighbouring blocks of ranks merge, so that the order of ranks is kept and all processes merge the
    same parts in the same order. Where the number of processes is not a power of two, the first ones begin in pairs.

    Source: R. Thakur, R. Rabenseifner and W. Gropp, "Optimization of Collective Communication Operations in MPICH",
    2005.

    Examples:
        >>> [one.peer for one in exchanges(0, 8)]
        [1, 2, 4]
    """
    power = 1 << (size.bit_length() - 1)
    in_pairs = 2 * (size - power)
    if rank < in_pairs and rank % 2 == 0:
        yield Exchange(rank + 1, sends=True, receives=False)
        yield Exchange(rank + 1, sends=False, receives=True, replaces=True)
        return
    if rank < in_pairs:
        yield Exchange(rank - 1, sends=False, receives=True)
    position = rank // 2 if rank < in_pairs else rank - in_pairs // 2
    for distance in (1 << bit for bit in range(power.bit_length() - 1)):
        other = position ^ distance
        yield Exchange(2 * other + 1 if 2 * other < in_pairs else other + in_pairs // 2, sends=True, receives=True)
    if rank < in_pairs:
        yield Exchange(rank - 1, sends=True, receives=False)


class _Failure(NamedTuple):
    """What takes the place of an object in the remaining rounds after a process could not send or merge it."""

    error: Exception


def all_reduce_object(mine: T, merge: Callable[[T, T], T], group: Group = None) -> T:
    """Return what the processes of a group give, merged in the order of their ranks.

    Each process receives at most as many objects as the number of processes has binary digits.

    Args:
        mine: What this process gives; it has to be picklable. The others have its tensors on the host.
        merge: Merges the objects of lower and of higher ranks.
        group: The group; all processes if None.

    Raises:
        Exception: What a process has raised when it sent or merged objects; all processes raise it, so that none waits
            for another.
    """
    own, size = distributed.get_rank(group), distributed.get_world_size(group)
    device = _DEVICES.get(distributed.get_backend(group))
    if device is None:
        everyone: list[T] = [mine] * size
        distributed.all_gather_object(everyone, mine, group=group)
        return functools.reduce(merge, everyone)
    state: T | _Failure = mine
    for round_ in exchanges(own, size):
        peer = round_.peer if group is None else distributed.get_global_rank(group, round_.peer)
        outgoing, state = _outgoing(state) if round_.sends else (None, state)
        received = _exchange(outgoing, peer, device, group, receives=round_.receives)
        if received is not None:
            state = _merged(state, received, merge, round_, is_first=own < round_.peer)
    if isinstance(state, _Failure):
        raise state.error
    return state


def _outgoing(state: T | _Failure) -> tuple[bytes, T | _Failure]:
    """Return the bytes of a state and the state; a failure in its place if it cannot be pickled."""
    try:
        return pickled(state), state
    except Exception as error:  # noqa: BLE001  pickle raises what the object raises
        failure = _failure(error)
        return pickled(failure), failure


def _merged(
    state: T | _Failure, received: bytes, merge: Callable[[T, T], T], round_: Exchange, *, is_first: bool
) -> T | _Failure:
    """Return the state of a process with what it has received; a failure if that cannot be merged."""
    if isinstance(state, _Failure) and not round_.replaces:
        return state
    try:
        theirs: T | _Failure = pickle.loads(received)  # noqa: S301  from a process of this run
        if isinstance(theirs, _Failure) or isinstance(state, _Failure) or round_.replaces:
            return theirs
        return merge(state, theirs) if is_first else merge(theirs, state)
    except Exception as error:  # noqa: BLE001  `merge` and pickle raise what the objects raise
        return _failure(error)


def _failure(error: Exception) -> _Failure:
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  of this process
    except Exception:  # noqa: BLE001  an exception need not be picklable
        return _Failure(RuntimeError(f"{type(error).__name__}: {error}"))
    return _Failure(error)


def gather_objects(mine: T, senders: Sequence[int]) -> dict[int, T]:
    """Return on rank zero what some processes give; nothing on all others.

    Args:
        mine: What this process gives, if it is a sender; it has to be picklable.
        senders: The ranks, of which all processes know.
    """
    device, own = _DEVICES.get(distributed.get_backend()), distributed.get_rank()
    if device is None:
        everyone: list[Any] | None = [None] * distributed.get_world_size() if own == 0 else None
        distributed.gather_object(mine if own in senders else None, everyone)
        return {} if everyone is None else {sender: everyone[sender] for sender in senders}
    if own and own in senders:
        _exchange(pickled(mine), 0, device, None, receives=False)
    if own:
        return {}
    found = {sender: _exchange(None, sender, device, None, receives=True) for sender in senders if sender}
    loaded = {sender: pickle.loads(data) for sender, data in found.items() if data is not None}  # noqa: S301  likewise
    return {sender: loaded.get(sender, mine) for sender in senders}


def _exchange(data: bytes | None, peer: int, device: str, group: Group, *, receives: bool) -> bytes | None:
    """Send bytes to another process and receive its bytes at the same time; first how many there are."""
    length = None if data is None else torch.tensor([len(data)], device=device)
    count = torch.zeros(1, dtype=torch.int64, device=device) if receives else None
    _transfer(length, count, peer, group)
    message = None if data is None else torch.frombuffer(bytearray(data), dtype=torch.uint8).to(device)
    room = None if count is None else torch.empty(int(count.item()), dtype=torch.uint8, device=device)
    _transfer(message, room, peer, group)
    return None if room is None else room.cpu().numpy().tobytes()


def _transfer(outgoing: Tensor | None, incoming: Tensor | None, peer: int, group: Group) -> None:
    # With NCCL, a batch of these needs a communicator that exists already, since not all ranks take part in each: a
    # collective of all, such as `any_rank` or one of Lightning's own, has come before.
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
