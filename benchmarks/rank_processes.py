"""What real processes over gloo receive at the end of an epoch, and what they save in the middle of one.

    python -m benchmarks.rank_processes [--json FILE]

For 2, 4 and 8 processes, of the one with most:

- bytes received for 50 names x ``[mean, p95]``, as a multiple of the states of one process: with 100,000 values of each
  name in each process, of which there are sketches, and with 6,000, all of which are kept;
- the size of these streams in a checkpoint;
- bytes sent by all processes for eight selected images of 3 x 224 x 224, as a multiple of their own size;
- collectives, and bytes sent, at the end of an epoch in which nothing was logged.
"""

from __future__ import annotations

import argparse
import json
import pickle
import socket
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist
from torch.multiprocessing.spawn import start_processes

from benchmarks.ranks import streams
from lightning_trackplus import Image
from lightning_trackplus.media.selected_items import SelectedItems, SelectionKey
from lightning_trackplus.media.selection import selection_of
from lightning_trackplus.routing.rank_sync import StreamSync, sync_epoch
from lightning_trackplus.routing.stream_registry import StreamRegistry
from lightning_trackplus.runtime import distributed

COUNTS = (2, 4, 8)


class Traffic:
    """Counts the bytes that this process sends and receives."""

    def __init__(self) -> None:
        self.sent, self.received, self.collectives = 0, 0, 0
        exchange, all_reduce = distributed.exchange, dist.all_reduce

        def counted(data: bytes | None, *arguments: Any, **options: Any) -> bytes | None:
            received = exchange(data, *arguments, **options)
            self.sent += len(data or b"")
            self.received += len(received or b"")
            self.collectives += 1
            return received

        def reduced(*arguments: Any, **options: Any) -> Any:
            self.collectives += 1
            return all_reduce(*arguments, **options)

        distributed.exchange, dist.all_reduce = counted, reduced

    def of(self, function: Any, *arguments: Any) -> dict[str, int]:
        """Return what a call sends and receives."""
        self.sent, self.received, self.collectives = 0, 0, 0
        function(*arguments)
        return {"sent": self.sent, "received": self.received, "collectives": self.collectives}


def measure(rank: int, count: int, port: int, folder: str) -> None:
    """Measure as one of several processes, and leave the figures."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=count)
    traffic, figures = Traffic(), {}
    for name, values in (("sketches", 100_000), ("exact", 6_000)):
        mine = streams(50, values, count, rank)
        one = len(pickle.dumps(StreamSync(mine).local_state()))
        registry = StreamRegistry()
        for logged in mine:
            logged.training = True
            registry.add(logged)
        saved = pickle.dumps(registry.state_dict())
        figures[name] = {"one": one, "checkpoint": len(saved), **traffic.of(sync_epoch, mine, {})}
    kept = SelectedItems(selection_of("top8"), rank)
    images = torch.randint(0, 256, (16, 3, 224, 224), dtype=torch.uint8)
    kept.add(Image(images, score=torch.rand(16, generator=torch.Generator().manual_seed(rank))))
    figures["media"] = traffic.of(sync_epoch, [], {SelectionKey("evaluation", "hard"): kept})
    figures["nothing"] = traffic.of(sync_epoch, [], {})
    Path(folder, f"{count}-{rank}.json").write_text(json.dumps(figures))
    dist.barrier()
    dist.destroy_process_group()


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args()
    rows = []
    print(f"{'processes':>9} {'sketches':>9} {'exact':>6} {'checkpoint MB':>14} {'media':>6} {'nothing logged':>24}")
    for count in COUNTS:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with tempfile.TemporaryDirectory() as folder:
            start_processes(measure, (count, port, folder), nprocs=count, start_method="fork")
            ranks = [json.loads(Path(folder, f"{count}-{rank}.json").read_text()) for rank in range(count)]
        row = {
            "processes": count,
            **{
                name: max(rank[name]["received"] / rank[name]["one"] for rank in ranks)
                for name in ("sketches", "exact")
            },
            "checkpoint": ranks[0]["sketches"]["checkpoint"],
            "checkpoint_exact": ranks[0]["exact"]["checkpoint"],
            "media": sum(rank["media"]["sent"] for rank in ranks) / (8 * 3 * 224 * 224),
            "nothing_collectives": ranks[0]["nothing"]["collectives"],
            "nothing_sent": sum(rank["nothing"]["sent"] for rank in ranks),
        }
        rows.append(row)
        print(
            f"{count:9} {row['sketches']:9.2f} {row['exact']:6.2f} {row['checkpoint'] / 1e6:7.2f}"
            f" {row['checkpoint_exact'] / 1e6:6.2f} {row['media']:6.2f}"
            f" {row['nothing_collectives']:10} collective",
            flush=True,
        )
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
