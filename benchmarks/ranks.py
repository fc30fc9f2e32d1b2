"""What the end of an epoch costs one of many ranks: CPU time, memory and bytes received, by the number of ranks.

    python -m benchmarks.ranks [--names 50] [--values 100000] [--json FILE]

One process does what a rank does: it pickles what the rank sends, unpickles what it receives, and merges both. What it
receives was made beforehand, of other values. Of all ranks it is the one that receives most. No network takes part, nor
the first rounds, in which ranks with many values add up how many they have.

Three algorithms are compared. The package has the first one.

- recursive halving and doubling: two neighbouring blocks of ranks divide their names between them, until each rank has
  merged its share; then the ranks share the results.
- recursive doubling: in each round, a rank exchanges all it has with another one.
- reduce-scatter by name: each rank receives its share of the names from each other rank; then the ranks share the
  results.
"""

from __future__ import annotations

import argparse
import json
import pickle
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lightning_trackplus.routing.log_call import bound
from lightning_trackplus.routing.logged_stream import LoggedStream, StreamKey
from lightning_trackplus.routing.rank_sync import StreamSync
from lightning_trackplus.runtime.reduce_states import rounds, share_of

RANKS = (2, 8, 64, 1024)
States = dict[Any, Any]


def streams(names: int, values: int, ranks: int, seed: int) -> list[LoggedStream]:
    """Return what one rank has logged: some names with ``[mean, p95]``."""
    random = np.random.default_rng(seed)
    arguments = {**bound(("x", 0.0), {"sync_dist": True}), "on_step": False, "on_epoch": True}
    for name in ("name", "value", "reduce_fx", "batch_size"):
        del arguments[name]
    found = []
    for number in range(names):
        key = StreamKey("validation_step", f"name {number}", None)
        logged = LoggedStream(key, ["mean", "p95"], arguments, training=False, nan_policy="omit")
        logged.members = range(ranks)
        for part in np.array_split(random.random(values), max(values // 50_000, 1)):
            logged.stream.add(part)
        logged.stream.summary()
        found.append(logged)
    return found


class Message(NamedTuple):
    """What a rank sends in a round, which of its states it keeps, and what it receives, pickled."""

    sent: States
    kept: States
    received: bytes


Round = Callable[[States], Message] | None
Algorithm = Callable[[list[States], int], Iterator[Round]]
"""Yields the rounds of a rank, with None where it has merged its share.

It gets what 1, 2, 4, … ranks have together, the results of all, and the number of ranks.
"""


def pickled(states: States) -> bytes:
    """Return the bytes of states."""
    return pickle.dumps(states, pickle.HIGHEST_PROTOCOL)


def halving(merged: list[States], ranks: int) -> Iterator[Round]:
    """Recursive halving, then recursive doubling."""
    bits = ranks.bit_length() - 1
    shares = {key: share_of(key) for key in merged[0]}
    load = Counter(share & ((1 << bit) - 1) for share in shares.values() for bit in range(1, bits + 1))
    busiest = max(load, key=lambda rank: sum(load[rank & ((1 << bit) - 1)] for bit in range(1, bits + 1)))
    merging, sharing = rounds(busiest, ranks)
    for number, one in enumerate(merging):

        def halved(states: States, number: int = number, one: Any = one) -> Message:
            kept = {key: state for key, state in states.items() if not one.is_sent(key)}
            sent = {key: state for key, state in states.items() if key not in kept}
            return Message(sent, kept, pickled({key: merged[number][key] for key in kept}))

        yield halved
    yield None
    for number in reversed(range(len(sharing))):
        mask, peer = (2 << number) - 1, busiest ^ (1 << number)
        theirs = pickled({key: merged[-1][key] for key, share in shares.items() if not (share ^ peer) & mask})
        yield lambda states, theirs=theirs: Message(states, states, theirs)


def doubling(merged: list[States], ranks: int) -> Iterator[Round]:
    """Recursive doubling."""
    for theirs in merged[: ranks.bit_length() - 1]:
        data = pickled(theirs)
        yield lambda states, data=data: Message(states, states, data)
    yield None


def by_name(merged: list[States], ranks: int) -> Iterator[Round]:
    """Reduce-scatter by name, then all-gather."""
    owners = {key: share_of(key) % ranks for key in merged[0]}
    busiest = Counter(owners.values()).most_common(1)[0][0]
    own = {key: state for key, state in merged[0].items() if owners[key] == busiest}
    data = pickled(own)
    for other in range(1, ranks):

        def message(states: States, other: int = other) -> Message:
            sent = {key: state for key, state in states.items() if owners[key] == (busiest + other) % ranks}
            return Message(sent, {key: state for key, state in states.items() if key not in sent}, data)

        yield message
    yield None
    rest = pickled({key: state for key, state in merged[-1].items() if owners[key] != busiest})
    yield lambda states: Message(states, states, rest)


ALGORITHMS: dict[str, Algorithm] = {
    "recursive halving and doubling": halving,
    "recursive doubling": doubling,
    "reduce-scatter by name": by_name,
}


def local_state(sync: StreamSync, total: int) -> States:
    """Return what a rank sends if all ranks together have so many values of each name."""
    compaction, states = sync.compaction, sync.local_state()
    if total <= compaction.limit:
        return states
    return {key: compaction.compact(key, state) for key, state in states.items()}


def merged_of(sync: StreamSync, key: Any, left: Any, right: Any, total: int) -> Any:
    """Return what a rank merges of a name."""
    state = sync.merge(key, left, right)
    return state if total <= sync.compaction.limit else sync.compaction.compact(key, state)


def take_part(
    sync: StreamSync, algorithm: Algorithm, merged: list[States], ranks: int, total: int
) -> tuple[float, int]:
    """Do what a rank does; return the CPU time and the bytes that it receives."""
    seconds, size, begin = 0.0, 0, time.process_time()
    states = local_state(sync, total)
    for message in algorithm(merged, ranks):
        if message is None:
            states = {key: sync.finish(key, state) for key, state in states.items()}
            continue
        seconds += time.process_time() - begin
        sent, kept, received = message(states)  # As if by another rank.
        begin = time.process_time()
        pickled(sent)
        theirs = pickle.loads(received)
        size += len(received)
        common = {key: merged_of(sync, key, kept[key], theirs[key], total) for key in kept.keys() & theirs.keys()}
        states = {**kept, **theirs, **common}
    assert len(states) == len(merged[0])
    sync.merged(states, shows_all=True)
    return seconds + time.process_time() - begin, size


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--names", type=int, default=50)
    parser.add_argument("--values", type=int, default=100_000, help="logged by each rank under each name")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    print(f"{options.names} names x [mean, p95], {options.values:,} values a rank and name")
    print(f"{'':31} {'ranks':>6} {'CPU s':>7} {'MB more':>8} {'MB sent once':>13} {'MB received':>12} {'ratio':>6}")
    for ranks in RANKS:
        own, other = (StreamSync(streams(options.names, options.values, ranks, seed)) for seed in range(2))
        total = ranks * options.values
        merged = [local_state(other, total)]
        sent_once = len(pickled(local_state(own, total)))
        for _ in range(ranks.bit_length() - 1):
            merged.append({key: merged_of(other, key, state, state, total) for key, state in merged[-1].items()})
        merged.append({key: other.finish(key, state) for key, state in merged[-1].items()})
        for name, algorithm in ALGORITHMS.items():
            seconds, received = min(take_part(own, algorithm, merged, ranks, total) for _ in range(3))
            tracemalloc.start()
            take_part(own, algorithm, merged, ranks, total)
            memory = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            rows.append({
                "algorithm": name, "ranks": ranks, "seconds": seconds, "memory": memory, "sent_once": sent_once,
                "received": received,
            })  # fmt: skip
            print(
                f"{name:31} {ranks:6} {seconds:7.3f} {memory / 1e6:8.1f} {sent_once / 1e6:13.2f}"
                f" {received / 1e6:12.2f} {received / sent_once:6.2f}",
                flush=True,
            )
    if options.json is not None:
        options.json.write_text(json.dumps({"names": options.names, "values": options.values, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
