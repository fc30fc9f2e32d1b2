"""A scale of colours that rises evenly for the eye, also in grey and for the colour-blind.

It is *viridis* by Nathaniel J. Smith, Stéfan van der Walt and Eric Firing, which they have put into the public domain
(CC0), https://bids.github.io/colormap/; here every eighth of its colours, and between them straight lines.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_EVERY_EIGHTH = np.frombuffer(
    bytes.fromhex(
        "440154470d6048186a482374472d7b4536814240863f49893b528b375a8d33638d2f6a8e2c728e297a8e26818e23898e"
        "21908c1f988b1f9f8821a68528ae8031b57b3ebc744cc26c5dc9636ece5882d34c96d83fabdc32c0df24d5e21aeae51a"
        "fde725"
    ),
    np.uint8,
).reshape(-1, 3)
_LAST = 255


def _between() -> NDArray[np.uint8]:
    places = np.linspace(0, _LAST, len(_EVERY_EIGHTH))
    channels = [np.interp(range(_LAST + 1), places, channel) for channel in _EVERY_EIGHTH.T]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8)


_COLOURS = _between()


def viridis(heights: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return colours, from dark violet to bright yellow.

    Args:
        heights: How high each stands on the scale, in [0, 1], any shape ``(...)``.

    Returns:
        Red, green and blue, shape ``(..., 3)``.

    Examples:
        >>> viridis(np.array([0.0, 1.0])).tolist()
        [[68, 1, 84], [253, 231, 37]]
    """
    return _COLOURS[np.rint(heights * _LAST).astype(np.uint8)]
