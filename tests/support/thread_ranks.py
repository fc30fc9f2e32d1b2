"""Many ranks in one process: each is a thread with gloo's own connections to the others.

torch's `MultiThreadedTestCase` gives each thread process groups of its own in the same way. Its own backend cannot send
from one rank to another, so gloo takes its place.
"""

from __future__ import annotations

import contextlib
import datetime
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from torch import distributed

PATIENCE = datetime.timedelta(seconds=60)


def in_threads(count: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Return what a function returns in each of several ranks.

    Args:
        count: The number of ranks.
        work: Is called with its rank and the arguments.
        arguments: What it is called with.
    """
    results: list[Any] = [None] * count
    errors: list[str] = []
    store = distributed.HashStore()

    def run(rank: int) -> None:
        try:
            distributed.init_process_group("gloo", store=store, rank=rank, world_size=count, timeout=PATIENCE)
            results[rank] = work(rank, *arguments)
            distributed.barrier()
            distributed.destroy_process_group()
        except BaseException:  # noqa: BLE001  the test shows it
            errors.append(traceback.format_exc())

    with _groups_of_threads():
        threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not errors, errors[0]
    return results


@contextlib.contextmanager
def _groups_of_threads() -> Iterator[None]:
    """Let each thread have process groups of its own."""
    inside = pytest.importorskip("torch.testing._internal.distributed.multi_threaded_pg")
    isolate = getattr(pytest.importorskip("torch._C._distributed_c10d"), "_set_thread_isolation_mode", None)
    # In torch 2.11, its own test class lacks what ending a group asks for.
    lacks_comms = hasattr(distributed.distributed_c10d._World, "comms") > hasattr(inside.ThreadLocalWorld, "comms")
    if isolate is None or lacks_comms:
        pytest.skip("this torch has no process groups of threads")
    inside._install_threaded_pg()
    isolate(True)
    try:
        yield
    finally:
        isolate(False)
        inside._uninstall_threaded_pg()
