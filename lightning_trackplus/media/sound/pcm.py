"""Samples of any dtype as linear PCM of 16 bits, which every player knows.

A float in [-1, 1] becomes a whole number in [-32767, 32767], so that both ends lie as far from 0. An integer of
another width keeps its upper bits: full scale stays full scale, as libsndfile converts it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

INTEGERS = (torch.uint8, torch.int16, torch.int32)

_LOUDEST = 32767
_MIDDLE_OF_UINT8 = 128
# Small enough that what is computed in between stays in the processor's cache.
_BLOCK = 65536


class Pcm:
    """The samples of one sound, converted block by block.

    Args:
        samples: uint8 around 128, int16 or int32 of full scale, or any float in [-1, 1], on any
            device, shape ``(C, T)``.

    Attributes:
        clipped: How many samples lay outside [-1, 1], of the blocks up to now.
        missing: How many were NaN; they are silence.
    """

    def __init__(self, samples: Tensor) -> None:
        # numpy knows nothing of a sign that torch has put off.
        self._samples = samples.detach().cpu().resolve_neg()
        self.clipped = 0
        self.missing = 0

    def blocks(self) -> Iterator[NDArray[np.int16]]:
        """Yield the samples in order, as int16 of shape ``(t, C)``."""
        for start in range(0, self._samples.shape[1], _BLOCK):
            block = self._integers(self._samples[:, start : start + _BLOCK])
            yield np.ascontiguousarray(block.T, dtype=np.int16)

    def _integers(self, block: Tensor) -> NDArray[Any]:
        match block.dtype:
            case torch.int16:
                return block.numpy()
            case torch.int32:
                return block.numpy() >> 16
            case torch.uint8:
                return (block.numpy().astype(np.int16) - _MIDDLE_OF_UINT8) << 8
            case _:
                # numpy has no bfloat16 and no floats of 8 bits.
                return self._rounded(block.numpy() if block.dtype == torch.float64 else block.float().numpy())

    def _rounded(self, floats: NDArray[Any]) -> NDArray[Any]:
        scaled: NDArray[Any] = floats * floats.dtype.type(_LOUDEST)
        # A NaN is neither above nor below, and comes out of both as NaN.
        if not (scaled.min() >= -_LOUDEST and scaled.max() <= _LOUDEST):
            nan = np.isnan(scaled)
            scaled[nan] = 0
            self.missing += int(nan.sum())
            # What is rounded to the loudest value anyway is not clipped.
            self.clipped += int((np.abs(scaled) > _LOUDEST + 0.5).sum())
            np.clip(scaled, -_LOUDEST, _LOUDEST, out=scaled)
        np.rint(scaled, out=scaled)
        return scaled
