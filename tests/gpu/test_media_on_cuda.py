"""That media on CUDA are selected and copied without waiting for the device, and are what they are on the CPU.

python -m unittest -v tests.gpu.test_media_on_cuda
"""

from __future__ import annotations

import io
import unittest

import numpy as np
import PIL.Image
import torch

from lightning_trackplus.media.histogram import Histogram
from lightning_trackplus.media.image import Image
from lightning_trackplus.media.selected_items import SelectedItems, in_shown_order
from lightning_trackplus.media.selection import Bottom, First, Last, Sample, Selection, Top

SELECTIONS = [First(5), Last(5), Sample(5), Top(5), Bottom(5)]


@unittest.skipUnless(torch.cuda.is_available(), "there is no CUDA device")
class MediaOnCuda(unittest.TestCase):
    """Batches of images that lie on a device."""

    def _pictures(self, selection: Selection, batches: torch.Tensor, scores: torch.Tensor, *, strict: bool) -> list:
        kept = SelectedItems(selection)
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error" if strict else "default")
        try:
            for batch, score in zip(batches, scores, strict=True):
                kept.add(Image(batch, caption=[str(index) for index in range(len(batch))], score=score))
        finally:
            torch.cuda.set_sync_debug_mode("default")
        media = kept.batch(in_shown_order(kept.places(), by_score=selection.needs_scores))
        payload = media.encode("x")
        return [(np.asarray(PIL.Image.open(io.BytesIO(one.data))).tolist(), one.caption) for one in payload.items]

    def test_selections_wait_for_nothing_and_keep_the_same_items(self):
        """Thirty batches are looked at while torch raises at any wait; the items are those of the CPU."""
        batches = (torch.rand(30, 16, 3, 8, 8) * 255).to(torch.uint8)
        scores = torch.rand(30, 16)
        for selection in SELECTIONS:
            with self.subTest(repr(selection)):
                on_device = self._pictures(selection, batches.cuda(), scores.cuda(), strict=True)
                self.assertEqual(on_device, self._pictures(selection, batches, scores, strict=False))

    def test_the_range_of_floats_is_that_of_the_batch(self):
        """It is found on the device, and waits for nothing."""
        shades = torch.tensor([[1.0, 255.0, torch.inf], [0.5, 1.0, torch.nan]])
        batches = shades[..., None, None, None].expand(-1, -1, 1, 8, 8)
        scores = torch.tensor([[2.0, 0, 0], [1, 0, 0]])
        for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.float64):
            with self.subTest(str(dtype)):
                found = self._pictures(Top(2), batches.to("cuda", dtype), scores.cuda(), strict=True)
                self.assertEqual([np.max(picture) for picture, _ in found], [1, 128])

    def test_items_are_those_of_the_call(self):
        """What later work on the device makes of an image is not what is kept of it."""
        kept, image = SelectedItems(Last(3)), torch.zeros(1, 8, 8, dtype=torch.uint8, device="cuda")
        for shade in range(100):
            image.fill_(shade)
            kept.add(Image(image))
        payload = kept.batch(in_shown_order(kept.places(), by_score=False)).encode("x")
        shades = [np.asarray(PIL.Image.open(io.BytesIO(one.data))).max() for one in payload.items]
        self.assertEqual(shades, [97, 98, 99])

    def test_memory_is_that_of_the_items(self):
        """However many batches were looked at, the device holds what is kept of them."""
        kept = SelectedItems(Top(8))
        batch = torch.rand(64, 3, 64, 64, device="cuda")
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        for _ in range(50):
            kept.add(Image(batch, score=torch.rand(64, device="cuda")))
        kept.places()
        self.assertLess(torch.cuda.memory_allocated() - before, 10 * batch[0].nbytes)

    def test_a_histogram_is_counted_on_its_device(self):
        """Counts are numpy's, and taking them waits for nothing."""
        values = torch.randn(1_000_000, device="cuda")
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            histogram = Histogram(values, bins=64).snapshot()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        counted = histogram.encode("x").bins[0].rows()
        host = values.cpu().numpy()
        counts, edges = np.histogram(host, bins=64, range=(host.min(), host.max()))
        self.assertEqual(counted[:, 2].sum(), 1_000_000)
        self.assertLess(np.abs(counted[:, 2] - counts).max(), 50)
        np.testing.assert_allclose(counted[:, 0], edges[:-1], rtol=1e-5, atol=1e-6)


if __name__ == "__main__":
    unittest.main()
