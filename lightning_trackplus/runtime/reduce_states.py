"""All-reduce of Python objects by key: each process gives states, and gets those of all processes merged."""

from __future__ import annotations

import functools
import pickle
import zlib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from torch import distributed as c10d

from lightning_trackplus.runtime import distributed
from lightning_trackplus.runtime.distributed import Group

T = TypeVar("T")
R = TypeVar("R")
K = TypeVar("K", bound=Hashable)


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
    if not distributed.is_distributed() or not distributed.group_ranks(group):
        return {key: finish(key, state) for key, state in make().items()}
    mine, counts = _counted(_attempt(lambda: dict(make())), compaction)
    # With NCCL, this also makes the communicator of all processes, which the rounds need.
    something, most = distributed.greatest([int(bool(mine)), max(counts.values(), default=0)], group)
    if not something:
        return {}
    if compaction is not None and most * c10d.get_world_size(group) > compaction.limit:
        totals = _reduced(counts, lambda _, left, right: left + right, group, lambda _, total: total)
        above = {key for key, total in totals.items() if total > compaction.limit}
        mine, merge = _compacted(mine, merge, above, compaction)
    finished = _reduced(mine, merge, group, finish)
    # In the order of this process; then what only others have, in an order that is the same in all.
    keys = [] if isinstance(mine, _Failure) else list(mine)
    return {key: finished[key] for key in [*keys, *sorted(finished.keys() - set(keys), key=share_of)]}


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
    merging, sharing = rounds(c10d.get_rank(group), c10d.get_world_size(group))
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
    peer = one.peer if group is None else c10d.get_global_rank(group, one.peer)
    received = distributed.exchange(outgoing, peer, group, receives=one.receives)
    if received is None:
        return states
    return _merged(states, received, merge, is_first=c10d.get_rank(group) < one.peer)


def _divided(states: dict[K, T] | _Failure, one: Round) -> tuple[bytes | None, dict[K, T] | _Failure]:
    """Return the bytes that a process sends in a round, and the states that it keeps."""
    if not one.sends:
        return None, states
    if not isinstance(states, _Failure):
        sent = {key: state for key, state in states.items() if one.is_sent(key)}
        data = _attempt(lambda: distributed.pickled(sent))
        if not isinstance(data, _Failure):
            return data, states if one.keeps else {key: state for key, state in states.items() if key not in sent}
        states = data
    return distributed.pickled(states), states


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
