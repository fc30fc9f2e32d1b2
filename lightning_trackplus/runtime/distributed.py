"""Collective communication helpers: Python objects, merged or sent between the processes of a run."""

from __future__ import annotations

import contextlib
import functools
import io
import pickle
import zlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

import torch
from torch import Tensor, distributed

T = TypeVar("T")
R = TypeVar("R")
K = TypeVar("K", bound=Hashable)

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


class Round(NamedTuple):
    """What a process does in one round of `all_reduce_states`.

    Attributes:
        peer: The other process.
        sends: Whether this process sends states.
        receives: Whether it receives states, and merges them with its own.
        keeps: Whether it keeps what it sends.
        bit: Sends the keys whose `share_of` has another bit here than ``position``; all of them if None.
        position: The place of this process among those that halve the keys.
    """

    peer: int
    sends: bool
    receives: bool
    keeps: bool
    bit: int | None = None
    position: int = 0

    def is_sent(self, key: Hashable) -> bool:
        """Return whether the state of a key is sent."""
        return self.sends and (self.bit is None or bool((share_of(key) ^ self.position) >> self.bit & 1))


def rounds(rank: int, size: int) -> tuple[list[Round], list[Round]]:
    """Return the rounds in which a process merges, and those in which it shares what is merged.

    While they merge, two neighbouring blocks of ranks divide the keys that they have between them (recursive halving),
    until each key is in one process, merged in the order of the ranks. Then the processes share what they have
    (recursive doubling). Where their number is not a power of two, the first ones begin and end in pairs.

    Source: R. Thakur, R. Rabenseifner and W. Gropp, "Optimization of Collective Communication Operations in MPICH",
    2005, with keys in the place of a vector's elements.

    Examples:
        >>> [[one.peer for one in some] for some in rounds(0, 8)]
        [[1, 2, 4], [4, 2, 1]]
    """
    bits = size.bit_length() - 1
    in_pairs = 2 * (size - (1 << bits))
    if rank < in_pairs and rank % 2 == 0:
        first = Round(rank + 1, sends=True, receives=False, keeps=False)
        return [first], [Round(rank + 1, sends=False, receives=True, keeps=True)]
    position = rank // 2 if rank < in_pairs else rank - in_pairs // 2
    others = [position ^ (1 << bit) for bit in range(bits)]
    peers = [2 * other + 1 if 2 * other < in_pairs else other + in_pairs // 2 for other in others]
    merging = [
        Round(peer, sends=True, receives=True, keeps=False, bit=bit, position=position)
        for bit, peer in enumerate(peers)
    ]
    sharing = [Round(peer, sends=True, receives=True, keeps=True) for peer in reversed(peers)]
    if rank < in_pairs:
        merging.insert(0, Round(rank - 1, sends=False, receives=True, keeps=True))
        sharing.append(Round(rank - 1, sends=True, receives=False, keeps=True))
    return merging, sharing


def share_of(key: Hashable) -> int:
    """Return a number by which processes divide their keys: equal for equal keys, in each process.

    A key consists of strings and numbers, and of tuples of these.

    Examples:
        >>> share_of(("loss", None)) == share_of(("loss", None))
        True
    """
    return zlib.crc32(_text(key).encode("utf-8", "surrogatepass"))


def _text(key: Hashable) -> str:
    if isinstance(key, tuple):
        return "\n".join(map(_text, key))
    # A string may be of a class of its own, such as an enum.
    return str.__str__(key) if isinstance(key, str) else repr(key)


@dataclass(frozen=True)
class Compaction(Generic[K, T]):
    """Makes the states of a key smaller where the processes have more values together than a merged state keeps.

    Attributes:
        limit: How many values of a key a merged state keeps.
        count: Returns how many values a state keeps.
        compact: Returns a state without its values, or as it is if that is smaller.
    """

    limit: int
    count: Callable[[K, T], int]
    compact: Callable[[K, T], T]


def all_reduce_states(
    make: Callable[[], Mapping[K, T]],
    merge: Callable[[K, T, T], T],
    group: Group = None,
    finish: Callable[[K, T], R] = lambda _, state: state,  # type: ignore[assignment,return-value]
    compaction: Compaction[K, T] | None = None,
) -> dict[K, R]:
    """Return what the processes of a group give by key, merged in the order of their ranks.

    One collective of 16 bytes comes first; if no process gives anything, it is all. What a process then receives is
    about as much as it gives, and what all of them share in the end.

    Args:
        make: Returns what this process gives; the keys are as for `share_of`, and the values have to be picklable. The
            others have their tensors on the host.
        merge: Merges what lower and what higher ranks have of a key.
        group: The group; all processes if None.
        finish: Returns what all processes get of a key, from its merged state; one process calls it for each key.
        compaction: How to make states smaller. The processes add up their numbers of values first, unless all have few.

    Raises:
        Exception: What a function or a pickler has raised in a process; all processes raise it, so that none waits for
            another.
    """
    if not is_distributed() or not group_ranks(group):
        return {key: finish(key, state) for key, state in make().items()}
    mine, counts = _counted(_attempt(lambda: dict(make())), compaction)
    # With NCCL, this also makes the communicator of all processes, which the rounds need.
    something, most = _greatest([int(bool(mine)), max(counts.values(), default=0)], group)
    if not something:
        return {}
    if compaction is not None and most * distributed.get_world_size(group) > compaction.limit:
        totals = _reduced(counts, lambda _, left, right: left + right, group, lambda _, total: total)
        above = {key for key, total in totals.items() if total > compaction.limit}
        mine, merge = _compacted(mine, merge, above, compaction)
    finished = _reduced(mine, merge, group, finish)
    # In the order of this process; then what only others have, in an order that is the same in all.
    keys = [] if isinstance(mine, _Failure) else list(mine)
    return {key: finished[key] for key in [*keys, *sorted(finished.keys() - set(keys), key=share_of)]}


def least(number: int, group: Group) -> int:
    """Return the least number that a process of a group gives."""
    return -_greatest([-number], group)[0]


def _greatest(numbers: Sequence[int], group: Group) -> list[int]:
    """Return the greatest of each number that the processes of a group give."""
    found = torch.tensor(numbers, device=_device(group))
    distributed.all_reduce(found, op=distributed.ReduceOp.MAX, group=group)
    return found.tolist()


def group_name(group: Group) -> str:
    """Return the name of a group, which is the same in all of its processes."""
    found: Any = distributed.group.WORLD if group is None else group
    return str(found.group_name)


class _Failure(NamedTuple):
    """What takes the place of a process's states if its own code has raised."""

    error: Exception


def _attempt(make: Callable[[], T]) -> T | _Failure:
    """Return what a function returns, or a failure that other processes can raise too."""
    try:
        return make()
    except Exception as error:  # noqa: BLE001  the user's own code can raise anything
        try:
            pickle.loads(pickle.dumps(error))  # noqa: S301  of this process
        except Exception:  # noqa: BLE001  an exception need not be picklable
            return _Failure(RuntimeError(f"{type(error).__name__}: {error}"))
        return _Failure(error)


def _reduced(
    states: dict[K, T] | _Failure, merge: Callable[[K, T, T], T], group: Group, finish: Callable[[K, T], R]
) -> dict[K, R]:
    """Return what all processes have together, in any order."""
    merging, sharing = rounds(distributed.get_rank(group), distributed.get_world_size(group))
    for one in merging:
        states = _exchanged(states, one, merge, group)
    finished = states if isinstance(states, _Failure) else _attempt(functools.partial(_finished, states, finish))
    for one in sharing:
        finished = _exchanged(finished, one, _no_merge, group)
    if isinstance(finished, _Failure):
        raise finished.error
    return finished


def _counted(
    states: dict[K, T] | _Failure, compaction: Compaction[K, T] | None
) -> tuple[dict[K, T] | _Failure, dict[K, int]]:
    """Return states with the numbers of values that they keep, or the failure to count them."""
    if compaction is None or isinstance(states, _Failure):
        return states, {}
    # Integers, as in all other processes: a tensor of the user's own floats would be of another type.
    counts = _attempt(lambda: {key: int(compaction.count(key, state)) for key, state in states.items()})
    return (counts, {}) if isinstance(counts, _Failure) else (states, {key: one for key, one in counts.items() if one})


def _compacted(
    states: dict[K, T] | _Failure, merge: Callable[[K, T, T], T], keys: set[K], compaction: Compaction[K, T]
) -> tuple[dict[K, T] | _Failure, Callable[[K, T, T], T]]:
    """Return states without the values of some keys, and a function that merges such states."""

    def compact(key: K, state: T) -> T:
        return compaction.compact(key, state) if key in keys else state

    def merged(key: K, left: T, right: T) -> T:
        return compact(key, merge(key, left, right))

    if isinstance(states, _Failure):
        return states, merged
    return _attempt(lambda: {key: compact(key, state) for key, state in states.items()}), merged


def _finished(states: Mapping[K, T], finish: Callable[[K, T], R]) -> dict[K, R]:
    return {key: finish(key, state) for key, state in states.items()}


def _no_merge(key: K, *_: T) -> T:
    raise AssertionError(f"{key} was merged in two processes")


def _exchanged(
    states: dict[K, T] | _Failure, one: Round, merge: Callable[[K, T, T], T], group: Group
) -> dict[K, T] | _Failure:
    """Return the states of a process after a round."""
    outgoing, states = _divided(states, one)
    peer = one.peer if group is None else distributed.get_global_rank(group, one.peer)
    received = _exchange(outgoing, peer, group, receives=one.receives)
    if received is None:
        return states
    return _merged(states, received, merge, is_first=distributed.get_rank(group) < one.peer)


def _divided(states: dict[K, T] | _Failure, one: Round) -> tuple[bytes | None, dict[K, T] | _Failure]:
    """Return the bytes that a process sends in a round, and the states that it keeps."""
    if not one.sends:
        return None, states
    if not isinstance(states, _Failure):
        sent = {key: state for key, state in states.items() if one.is_sent(key)}
        data = _attempt(lambda: pickled(sent))
        if not isinstance(data, _Failure):
            return data, states if one.keeps else {key: state for key, state in states.items() if key not in sent}
        states = data
    return pickled(states), states


def _merged(
    states: dict[K, T] | _Failure, received: bytes, merge: Callable[[K, T, T], T], *, is_first: bool
) -> dict[K, T] | _Failure:
    """Return the states of a process with what it has received."""

    def both() -> dict[K, T] | _Failure:
        theirs: dict[K, T] | _Failure = pickle.loads(received)  # noqa: S301  from a process of this run
        if isinstance(states, _Failure) or isinstance(theirs, _Failure):
            return states if isinstance(states, _Failure) else theirs
        left, right = (states, theirs) if is_first else (theirs, states)
        common = {key: merge(key, left[key], right[key]) for key in left.keys() & right.keys()}
        return {**left, **right, **common}

    return _attempt(both)


def gather_objects(mine: T, senders: Sequence[int]) -> dict[int, T]:
    """Return on rank zero what some processes give; nothing on all others.

    Args:
        mine: What this process gives, if it is a sender; it has to be picklable.
        senders: The ranks, of which all processes know.
    """
    if own := rank():
        if own in senders:
            _exchange(pickled(mine), 0, None, receives=False)
        return {}
    found = {sender: _exchange(None, sender, None, receives=True) for sender in senders if sender}
    loaded = {sender: pickle.loads(data) for sender, data in found.items() if data is not None}  # noqa: S301  likewise
    return {sender: loaded.get(sender, mine) for sender in senders}


def _device(group: Group) -> str:
    """Return the device of the tensors that a group sends: the CPU where it can."""
    devices = [one.partition(":")[0] for one in distributed.get_backend_config(group).split(",")]
    return "cpu" if "cpu" in devices else devices[0]


def _exchange(data: bytes | None, peer: int, group: Group, *, receives: bool) -> bytes | None:
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
