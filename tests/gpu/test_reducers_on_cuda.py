"""That reducers take values on CUDA without waiting for the device, and give what the CPU gives.

python -m unittest -v tests.gpu.test_reducers_on_cuda
"""

from __future__ import annotations

import unittest

import torch

from lightning_trackplus.reducers.registry import reducers_of
from lightning_trackplus.reducers.stream import Stream

REDUCERS = ["mean", "std", "min", "max", "median", "p95", "p99", "top5", "ema", "running(100)", "first", "last"]


@unittest.skipUnless(torch.cuda.is_available(), "there is no CUDA device")
class ReducersOnCuda(unittest.TestCase):
    """Streams that are filled from a device."""

    def test_updates_wait_for_nothing(self):
        """Ten thousand scalars and a thousand vectors are taken while torch raises at any wait."""
        stream, host = Stream(reducers_of(REDUCERS)), Stream(reducers_of(REDUCERS))
        scalars = torch.rand(10_000, dtype=torch.float64)
        vectors = torch.rand(1_000, 64, dtype=torch.float64)
        on_device, vectors_on_device = scalars.cuda(), vectors.cuda()
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            for step in range(10_000):
                stream.add(on_device[step], step=step)
                if step % 10 == 0:
                    stream.add(vectors_on_device[step // 10], step=step)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        for step in range(10_000):
            host.add(scalars[step], step=step)
            if step % 10 == 0:
                host.add(vectors[step // 10], step=step)
        self.assertEqual(stream.results(stream.summary()), host.results(host.summary()))

    def test_values_are_those_of_the_call(self):
        """What later work on the device makes of a tensor is not what was logged."""
        stream = Stream(reducers_of(["sum"]))
        value = torch.zeros(1000, device="cuda")
        for step in range(100):
            value.fill_(step)
            stream.add(value, step=step)
        self.assertEqual(stream.results(stream.summary()), [1000.0 * sum(range(100))])

    def test_a_metric_moves_with_its_module(self):
        """A reducer that is an attribute answers on the module's device, with what it saw on both."""
        module = torch.nn.Module()
        (module.p50,) = reducers_of("p50")
        module.p50.update(torch.tensor([1.0, 2.0]))
        module.cuda()
        module.p50.update(torch.tensor([3.0], device="cuda"))
        result = module.p50.compute()
        self.assertEqual((result.item(), result.device.type, result.dtype), (2.0, "cuda", torch.float64))


if __name__ == "__main__":
    unittest.main()
