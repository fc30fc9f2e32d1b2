"""Masks, in the notation of Weights & Biases."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
from torch import Tensor

from lightning_trackplus.media.images.wandb_format import Labels, labels, mapping, tensor, wrong

_GROUPS = 'a dict such as {"predictions": {"mask_data": …, "class_labels": {…}}}'


class Mask(NamedTuple):
    """The class of each pixel.

    Attributes:
        name: What it is, such as a prediction.
        classes: Numbers or bools, shape ``(H, W)``; as large as the image, or to be stretched over it.
        labels: The names of classes.
    """

    name: str
    classes: Tensor
    labels: Labels


def masks_of_image(given: Any, where: str) -> tuple[Mask, ...]:
    """Return the masks of one image; those of paths are read.

    Raises:
        ValueError: If they are not in the notation.
        FileNotFoundError: If a path leads nowhere.
    """
    groups = mapping(given, where, _GROUPS)
    return tuple(_mask(str(name), group, f"{where}[{name!r}]") for name, group in groups.items())


def _mask(name: str, given: Any, where: str) -> Mask:
    mask = mapping(given, where, 'a dict such as {"mask_data": …, "class_labels": {…}}')
    key = "path" if "path" in mask else "mask_data"
    where_data, wanted = f"{where}[{key!r}]", "the class of each pixel, shape (H, W)"
    data = _read(mask["path"], where_data) if key == "path" else mask.get(key)
    classes = tensor(data, where_data, wanted)
    if classes.is_complex() or classes.ndim != 2 or not classes.numel():
        raise wrong(classes, where_data, wanted)
    return Mask(name, classes, labels(mask, where))


def _read(path: Any, where: str) -> np.ndarray[Any, Any]:
    if not isinstance(path, str | os.PathLike):
        raise wrong(path, where, "the path of an image file")
    with PIL.Image.open(Path(path)) as opened:
        return np.array(opened)
