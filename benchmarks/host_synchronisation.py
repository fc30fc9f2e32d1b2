"""That values on a GPU are taken without waiting for it.

Where there is a CUDA device, torch is told to raise at any wait, while ten thousand scalars and a thousand vectors are
logged into streams of all reducers. Elsewhere the values are fake tensors on a fake device, which have no numbers that
could be waited for: whatever asks for one raises::

    python -m benchmarks.host_synchronisation
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from lightning_trackplus.reducers.pending_calls import PendingCalls, call_of
from lightning_trackplus.reducers.registry import reducers_of
from lightning_trackplus.reducers.stream import Stream

REDUCERS = ["mean", "std", "min", "max", "median", "p95", "p99", "histogram", "top5", "ema", "running(100)", "first"]


@contextlib.contextmanager
def no_waiting() -> Iterator[str]:
    """Let any wait for the device raise; yield how."""
    if not torch.cuda.is_available():
        with FakeTensorMode():
            yield "FakeTensorMode"
        return
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield f"set_sync_debug_mode on {torch.cuda.get_device_name()}"
    finally:
        torch.cuda.set_sync_debug_mode("default")


def main() -> None:
    """Log, and say what would have raised and did not."""
    if torch.cuda.is_available():
        stream = Stream(reducers_of(REDUCERS))
        scalar, vector = torch.rand((), device="cuda"), torch.rand(64, device="cuda")
        with no_waiting() as how:
            for step in range(10_000):
                stream.add(scalar, step=step)
                if step % 10 == 0:
                    stream.add(vector, step=step)
        results = stream.results(stream.summary())
        print(f"{how}: 11,000 calls with {len(REDUCERS)} reducers waited for nothing; the mean is {results[0]}")
        return
    with no_waiting() as how:
        scalar, vector = torch.empty((), device="cuda"), torch.empty(64, device="cuda")
        calls = [call_of(value, 1.0, 1, step) for step in range(1_000) for value in (scalar, vector)]
        PendingCalls(calls)
        waits = 0
        try:
            scalar.item()
        except RuntimeError:
            waits = 1
    print(f"{how}: 2,000 calls were taken and sent to the host as one; to ask for a number raises: {bool(waits)}")


if __name__ == "__main__":
    main()
