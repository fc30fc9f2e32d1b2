"""What code written for W&B gives in place of plain values: wandb's own media, axes, and integers as pixels."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_trackplus.media.figure import is_figure, is_matplotlibs, pixels_of
from lightning_trackplus.runtime.warn import describe_error, warn


def is_wandbs(value: object, name: str) -> bool:
    """Return whether a value is of a class of wandb's."""
    # What has not been imported, nobody can have given.
    return isinstance(value, getattr(sys.modules.get("wandb"), name, ()))


def file_of(medium: Any) -> Any:
    """Return what the file of a medium of wandb's holds; anything else as it is.

    Returns:
        The path of the file; None if it is not there any more, which a warning says. W&B moves a file that it logs.
    """
    if not is_wandbs(medium, "Audio") and not is_wandbs(medium, "Video"):
        return medium
    return _attempt(lambda: Path(medium._path).resolve(strict=True))


def picture_of(image: Any) -> Any:
    """Return the picture that a figure or an image of wandb's is; anything else as it is.

    Returns:
        The picture; None where a figure cannot be drawn or a file is not there any more, which a warning says.
    """
    if isinstance(image, Tensor | np.ndarray):
        return image  # The commonest, at the least cost.
    if is_wandbs(image, "Image"):
        return _attempt(lambda: image.image)
    return _attempt(lambda: pixels_of(image)) if is_matplotlibs(image) else image


def _attempt(get: Callable[[], Any]) -> Any:
    try:
        return get()
    except Exception as error:  # noqa: BLE001  matplotlib and wandb may raise anything, and training has to go on
        warn(f"An item of a list is left out, training goes on. {describe_error(error)}")
        return None


def with_own_captions(column: Sequence[Any] | None, media: Sequence[Any]) -> Sequence[Any] | None:
    """Return captions, in which a medium of wandb's without one has its own.

    Args:
        column: A caption or None for each; None where nothing was given.
        media: The media, wandb's or others.
    """
    own = [
        medium._caption if any(is_wandbs(medium, name) for name in ("Image", "Audio", "Video")) else None
        for medium in media
    ]
    if not any(own):
        return column
    if column is None:
        return own
    return [mine if given is None else given for given, mine in zip(column, own, strict=True)]


def drawn_in(images: Sequence[Any], what: str) -> list[Mapping[str, Any] | None] | None:
    """Return the boxes or masks that wandb's images have themselves; None if there are none."""
    drawn = [getattr(image, f"_{what}") if is_wandbs(image, "Image") else None for image in images]
    return drawn if any(drawn) else None


def notation_of(group: Any) -> Any:
    """Return a group of boxes or a mask in the notation, also where it is an object of wandb's."""
    if isinstance(group, Mapping) or not type(group).__module__.startswith("wandb."):
        return group
    if not hasattr(group, "_val"):
        return {"path": group._path}
    is_mask = isinstance(group._val, Mapping)
    return dict(group._val) if is_mask else {"box_data": group._val, "class_labels": group._class_labels}


def classes_of(classes: Any) -> Any:
    """Return the classes of an image as a list of dicts, also where they are `wandb.Classes`."""
    return classes._class_set if is_wandbs(classes, "Classes") else classes


def figure_of(value: Any) -> Any:
    """Return the figure that something of matplotlib belongs to, as `wandb.Image` does; anything else as it is."""
    if isinstance(value, Tensor | np.ndarray):
        return value  # The commonest, at the least cost.
    if value is sys.modules.get("matplotlib.pyplot") and value is not None:
        return value.gcf()
    artist = getattr(sys.modules.get("matplotlib.artist"), "Artist", ())
    found = value
    while isinstance(found, artist) and not is_figure(found) and found.figure is not None:
        found = found.figure
    return found


def range_in(pixels: Any) -> tuple[float, float] | None:
    """Return the range that integers have, which W&B takes for bytes, of whatever width they are; None of others."""
    if isinstance(pixels, np.ndarray):
        is_wide = pixels.dtype.kind in "iu" and pixels.dtype != np.uint8
    else:
        is_wide = isinstance(pixels, Tensor) and not (
            pixels.dtype in (torch.uint8, torch.bool) or pixels.is_floating_point() or pixels.is_complex()
        )
    return (0.0, 255.0) if is_wide else None
