"""What the end of an epoch costs one of many ranks: time, memory and bytes received, by the number of ranks.

    python benchmarks/ranks.py [--names 50] [--values 100000] [--json FILE]

One process does what each rank does: in every round it pickles what it has, unpickles what a partner has, and merges
both. The partner's state is that of other values. No network takes part: bytes are those that a rank would receive.
"""

from __future__ import annotations

import argparse
import json
import pickle
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np

from lightning_trackplus.routing.log_call import bound
from lightning_trackplus.routing.logged_stream import LoggedStream, StreamKey
from lightning_trackplus.routing.rank_sync import StreamSync
from lightning_trackplus.runtime.distributed import exchanges

RANKS = (2, 8, 64, 1024)


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


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--names", type=int, default=50)
    parser.add_argument("--values", type=int, default=100_000, help="logged by each rank under each name")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    print(f"{options.names} names x [mean, p95], {options.values:,} values a rank and name")
    print(f"{'ranks':>6} {'CPU s':>7} {'MB more':>8} {'MB sent once':>13} {'MB received':>12} {'ratio':>6}")
    for ranks in RANKS:
        own, partner = (StreamSync(streams(options.names, options.values, ranks, seed)) for seed in range(2))
        sent = pickle.dumps(partner.local_state(), pickle.HIGHEST_PROTOCOL)
        size, received = len(sent), 0
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begin = time.process_time()
        state = own.local_state()
        for exchange in exchanges(0, ranks):
            pickle.dumps(state, pickle.HIGHEST_PROTOCOL)
            theirs = pickle.loads(sent)
            received += len(sent) if exchange.receives else 0
            state = own.merge(state, theirs)
            # From now on the partner has merged as much as this rank.
            begin_of_partner = time.process_time()
            sent = pickle.dumps(state, pickle.HIGHEST_PROTOCOL)
            begin += time.process_time() - begin_of_partner
        own.merged(state, shows_all=True)
        seconds = time.process_time() - begin
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
        print(
            f"{ranks:6} {seconds:7.3f} {memory / 1024:8.1f} {size / 1e6:13.2f} {received / 1e6:12.2f}"
            f" {received / size:6.2f}",
            flush=True,
        )
        rows.append({
            "algorithm": "recursive doubling", "ranks": ranks, "seconds": seconds, "memory": memory * 1024,
            "sent_once": size, "received": received,
        })  # fmt: skip
    if options.json is not None:
        options.json.write_text(json.dumps({"names": options.names, "values": options.values, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
