"""The arguments of WandbLogger's methods and the objects of wandb, converted to those of our media.

wandb itself is never imported: an object can only be wandb's if the user has imported it.
"""

from __future__ import annotations

import itertools
import reprlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor

from lightning_trackplus.media.figure import is_figure, is_matplotlibs, pixels_of
from lightning_trackplus.media.images.file_formats import ImageFormat, VideoFormat
from lightning_trackplus.media.table import Table
from lightning_trackplus.media.table_cells import columns_of_data_frame, is_data_frame
from lightning_trackplus.runtime.lists import is_list
from lightning_trackplus.runtime.warn import describe_error, warn

T = TypeVar("T")
OneEach: TypeAlias = "Sequence[T] | None"
"""A list with an entry for each item, or None."""

Drawn: TypeAlias = "Mapping[str, Any] | None"
"""The boxes or masks of one image, by the name of their group."""

_IMAGE_FORMATS: Mapping[str | None, ImageFormat] = {
    None: "png",
    "png": "png",
    "webp": "webp",
    "jpg": "jpeg",
    "jpeg": "jpeg",
}
_VIDEO_FORMATS: Mapping[str | None, VideoFormat] = {None: "webp", "webp": "webp", "gif": "gif"}
_FILM_FORMATS = ("mp4", "webm", "ogg")


def check_list(title: str, values: object, **columns: OneEach[Any]) -> None:
    """Raise WandbLogger's errors unless the values are a list and each column has as many entries."""
    if not isinstance(values, list):
        raise TypeError(f'Expected a list as "{title}", found {type(values)}')
    for name, column in columns.items():
        if column is not None and len(column) != len(values):
            raise ValueError(f"Expected {len(values)} items but only found {len(column)} for {name}")


def one_each(column: OneEach[T], values: Sequence[Any]) -> Sequence[T | None]:
    """Return a column, or as many None as there are values."""
    return [None] * len(values) if column is None else column


def take(column: Any, indices: Sequence[int]) -> Any:
    """Return selected entries of a column; None and whole columns are returned unchanged."""
    return column if column is None or len(column) == len(indices) else [column[index] for index in indices]


def captions_of(column: OneEach[Any], media: Sequence[Any]) -> list[str] | None:
    """Return captions as strings; an object of wandb without a caption in the column has its own."""
    kinds = ("Image", "Audio", "Video")
    own = [medium._caption if any(_is_wandbs(medium, kind) for kind in kinds) else None for medium in media]
    if column is None and not any(own):
        return None
    captions = [mine if given is None else given for given, mine in zip(one_each(column, media), own, strict=True)]
    return ["" if caption is None else str(caption) for caption in captions]


def warn_of_unused(**columns: OneEach[Any]) -> None:
    """Warn of arguments of log_image that have no effect here."""
    for name, column in columns.items():
        if column is not None and any(entry is not None for entry in column):
            rank_zero_warn(f"log_image ignores {name}, an argument of WandbLogger's log_image; leave it out.")


def image_formats(wanted: Sequence[str | None]) -> list[ImageFormat]:
    """Return the formats of image files; BMP becomes PNG with a warning, and an unknown format is an error."""
    for one in dict.fromkeys(wanted):
        if one == "bmp":
            rank_zero_warn("log_image got file_type='bmp' and writes PNG, which has the same pixels in less space.")
        elif one not in _IMAGE_FORMATS:
            raise ValueError(f'log_image got file_type={one!r}; expected "png", "webp", "jpg" or "jpeg".')
    return [_IMAGE_FORMATS.get(one, "png") for one in wanted]


def video_formats(wanted: Sequence[str | None], are_files: Sequence[bool]) -> list[VideoFormat]:
    """Return the formats of video files; frames as a film become WebP with a warning, and others are an error."""
    for one, is_file in dict.fromkeys(zip(wanted, are_files, strict=True)):
        if one in _FILM_FORMATS:
            if is_file:
                continue
            rank_zero_warn(
                f"log_video got format={one!r} and writes animated WebP, which is shown wherever images are. Pass"
                ' "webp" or "gif" to avoid this warning.'
            )
        elif one not in _VIDEO_FORMATS:
            raise ValueError(f'log_video got format={one!r}; expected "webp" or "gif".')
    return [_VIDEO_FORMATS.get(one, "webp") for one in wanted]


def boxes_or_masks(
    what: str, given: OneEach[Drawn], classes: OneEach[Any], images: Sequence[Any]
) -> Sequence[Drawn] | None:
    """Return the boxes or masks of images, those given or else wandb's own, with class names from ``classes``.

    Raises:
        ValueError: If the classes of an image are not a list of dicts with an id and a name.
    """
    drawn = given or [getattr(image, f"_{what}") if _is_wandbs(image, "Image") else None for image in images]
    if not given and not any(drawn):
        return None
    plain = [
        {name: _as_dict(group) for name, group in groups.items()} if isinstance(groups, Mapping) else groups
        for groups in drawn
    ]
    return [_with_classes(groups, named) for groups, named in zip(plain, one_each(classes, plain), strict=True)]


def _with_classes(groups: Drawn, classes: Any) -> Drawn:
    classes = classes._class_set if _is_wandbs(classes, "Classes") else classes
    if not groups or not classes:
        return groups
    try:
        labels = {one["id"]: one["name"] for one in classes}
    except (TypeError, KeyError) as error:
        raise ValueError(
            f"log_image got {reprlib.repr(classes)} as the classes of an image; expected a list of dicts for each"
            ' image, such as [{"id": 1, "name": "car"}].'
        ) from error
    return {
        name: {"class_labels": labels, **group} if isinstance(group, Mapping) else group
        for name, group in groups.items()
    }


def _as_dict(group: Any) -> Any:
    """Return an object of wandb that holds boxes or a mask as a dict; anything else unchanged."""
    if isinstance(group, Mapping) or not type(group).__module__.startswith("wandb."):
        return group
    if not hasattr(group, "_val"):
        return {"path": group._path}
    is_mask = isinstance(group._val, Mapping)
    return dict(group._val) if is_mask else {"box_data": group._val, "class_labels": group._class_labels}


def table_of(call: str, columns: Sequence[str] | None, data: Any, dataframe: Any) -> Table:
    """Return the table of WandbLogger's arguments.

    Raises:
        TypeError: If the arguments are not a table.
        ValueError: If rows and columns do not match.
    """
    frame = data if dataframe is None else dataframe
    if is_data_frame(frame):
        found = columns_of_data_frame(frame)
        return Table(dict(zip(_unique([name for name, _ in found]), [cells for _, cells in found], strict=True)))
    if dataframe is not None:
        return Table(dataframe)
    rows = data
    if rows is None and is_list(columns):
        rows = []
        rank_zero_warn(
            f"{call} got columns without data and logs a table without rows. Log text with log_media(key, Text(…))."
        )
    are_texts = isinstance(rows, str) or (isinstance(rows, list) and any(isinstance(row, str) for row in rows))
    if rows is not None and not are_texts and not isinstance(columns, str):
        return Table(rows, columns if columns is None or isinstance(rows, Mapping) else _unique(columns))
    wrong = columns if data is None or isinstance(columns, str) else data
    given = "nothing" if wrong is None else reprlib.repr(wrong)
    raise TypeError(
        f"{call} got {given}; expected a table: columns=[…] and data=[[…], …], or dataframe=…. Log Markdown with"
        " log_media(key, Text(…))."
    )


def _unique(names: Sequence[object]) -> list[str]:
    """Return column names, with a number behind repeated ones, as pandas does when it reads a CSV."""
    unique: list[str] = []
    for name in map(str, names):
        numbered = itertools.chain([name], (f"{name}.{number}" for number in itertools.count(1)))
        unique.append(next(one for one in numbered if one not in unique))
    return unique


def file_of(medium: Any) -> Any:
    """Return the path of wandb's audio or video; None with a warning if W&B moved the file; others unchanged."""
    if not _is_wandbs(medium, "Audio") and not _is_wandbs(medium, "Video"):
        return medium
    return _attempt(lambda: Path(medium._path).resolve(strict=True))


def image_of(image: Any) -> Any:
    """Return the pixels of a figure or of wandb's image; None with a warning if that fails; others unchanged."""
    if isinstance(image, Tensor | np.ndarray):
        return image  # The most common case first.
    if _is_wandbs(image, "Image"):
        return _attempt(lambda: image.image)
    return _attempt(lambda: pixels_of(image)) if is_matplotlibs(image) else image


def figure_of(value: Any) -> Any:
    """Return the figure of pyplot, axes or another object of matplotlib, as `wandb.Image` does; others unchanged."""
    if isinstance(value, Tensor | np.ndarray):
        return value  # The most common case first.
    if value is sys.modules.get("matplotlib.pyplot") and value is not None:
        return value.gcf()
    artist = getattr(sys.modules.get("matplotlib.artist"), "Artist", ())
    found = value
    while isinstance(found, artist) and not is_figure(found) and found.figure is not None:
        found = found.figure
    return found


def byte_range(pixels: Any) -> tuple[float, float] | None:
    """Return (0, 255) for integers wider than a byte, as W&B reads them; otherwise None."""
    if isinstance(pixels, np.ndarray):
        is_wide = pixels.dtype.kind in "iu" and pixels.dtype != np.uint8
    else:
        is_wide = isinstance(pixels, Tensor) and not (
            pixels.dtype in (torch.uint8, torch.bool) or pixels.is_floating_point() or pixels.is_complex()
        )
    return (0.0, 255.0) if is_wide else None


def _is_wandbs(value: object, name: str) -> bool:
    return isinstance(value, getattr(sys.modules.get("wandb"), name, ()))


def _attempt(get: Callable[[], Any]) -> Any:
    try:
        return get()
    except Exception as error:  # noqa: BLE001  matplotlib and wandb may raise anything
        warn(f"Skipped an item of a list; training continues. {describe_error(error)}")
        return None
