"""The arguments of WandbLogger's calls, checked in its words and turned into those of our media."""

from __future__ import annotations

import itertools
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from lightning_utilities.core.rank_zero import rank_zero_warn

from lightning_trackplus.logger.wandb_objects import classes_of, notation_of
from lightning_trackplus.media.images.files import ImageFormat, VideoFormat
from lightning_trackplus.media.table import Table
from lightning_trackplus.media.table_cells import columns_of_data_frame, is_data_frame
from lightning_trackplus.runtime.lists import is_list

T = TypeVar("T")
OneEach: TypeAlias = "Sequence[T] | None"
"""A list with an entry for each item, or nothing."""

Drawn: TypeAlias = "Mapping[str, Any] | None"
"""The boxes or masks of one image, by the names of their groups."""

Classes: TypeAlias = "Sequence[Mapping[str, Any]] | None"
"""The classes of one image, each with its ``"id"`` and ``"name"``."""

_PICTURES: Mapping[str | None, ImageFormat] = {None: "png", "png": "png", "webp": "webp", "jpg": "jpeg", "jpeg": "jpeg"}
_VIDEOS: Mapping[str | None, VideoFormat] = {None: "webp", "webp": "webp", "gif": "gif"}
_FILMS = ("mp4", "webm", "ogg")


def check_list(title: str, values: object, **columns: OneEach[Any]) -> None:
    """Raise what WandbLogger raises, unless the values are a list and each column has an entry for each of them.

    Args:
        title: What the values are called.
        values: The values.
        columns: What belongs to them; None where nothing was given.

    Raises:
        TypeError: If the values are no list.
        ValueError: If a column has another length.
    """
    if not isinstance(values, list):
        raise TypeError(f'Expected a list as "{title}", found {type(values)}')
    for name, column in columns.items():
        if column is not None and len(column) != len(values):
            raise ValueError(f"Expected {len(values)} items but only found {len(column)} for {name}")


def one_each(column: OneEach[T], values: Sequence[Any]) -> Sequence[T | None]:
    """Return a column, one of None where nothing was given."""
    return [None] * len(values) if column is None else column


def some_of(column: Any, places: Sequence[int]) -> Any:
    """Return some entries of a column; all of it as it is, and None where nothing was given."""
    return column if column is None or len(column) == len(places) else [column[place] for place in places]


def captions_of(column: OneEach[Any]) -> list[str] | None:
    """Return captions as strings; an empty one stands for none.

    Args:
        column: A caption or None for each item.
    """
    return None if column is None else ["" if caption is None else str(caption) for caption in column]


def warn_of_unused(**columns: OneEach[Any]) -> None:
    """Say which arguments have no effect.

    Args:
        columns: The arguments; None where nothing was given.
    """
    for name, column in columns.items():
        if column is not None and any(entry is not None for entry in column):
            rank_zero_warn(f"log_image takes {name} as WandbLogger does, and makes no use of it; leave it out.")


def picture_formats(wanted: Sequence[str | None]) -> list[ImageFormat]:
    """Return the formats of image files; BMP, which nobody needs, becomes PNG, with a warning.

    Raises:
        ValueError: If images are not written in one of these.
    """
    for one in dict.fromkeys(wanted):
        if one == "bmp":
            rank_zero_warn("log_image got file_type='bmp', and writes PNG, which has the same pixels in less space.")
        elif one not in _PICTURES:
            raise ValueError(f'log_image got file_type={one!r}; give "png", "webp", "jpg" or "jpeg".')
    return [_PICTURES.get(one, "png") for one in wanted]


def video_formats(wanted: Sequence[str | None], are_files: Sequence[bool]) -> list[VideoFormat]:
    """Return the formats of video files; films, which need an encoder of their own, become WebP, with a warning.

    Raises:
        ValueError: If there are no such videos.
    """
    for one, is_file in dict.fromkeys(zip(wanted, are_files, strict=True)):
        if one in _FILMS:
            if is_file:
                continue
            rank_zero_warn(
                f"log_video got format={one!r}, and writes animated WebP, which plays wherever images are shown; give"
                ' "webp" or "gif" to leave this warning out.'
            )
        elif one not in _VIDEOS:
            raise ValueError(f'log_video got format={one!r}; give "webp" or "gif".')
    return [_VIDEOS.get(one, "webp") for one in wanted]


def with_classes(drawn: OneEach[Drawn], classes: OneEach[Classes]) -> list[Drawn] | None:
    """Return boxes or masks, in which a group without class names has those of its image.

    Raises:
        ValueError: If the classes of an image are no list of dicts with an id and a name.
    """
    if drawn is None:
        return None
    plain_groups = [
        {name: notation_of(group) for name, group in groups.items()} if isinstance(groups, Mapping) else groups
        for groups in drawn
    ]
    return [
        _labelled(groups, classes_of(named))
        for groups, named in zip(plain_groups, one_each(classes, plain_groups), strict=True)
    ]


def table_of(call: str, columns: Sequence[str] | None, data: Any, dataframe: Any) -> Table:
    """Return the table that WandbLogger's arguments make.

    Raises:
        TypeError: If there is no table.
        ValueError: If rows and columns do not fit.
    """
    frame = data if dataframe is None else dataframe
    if is_data_frame(frame):
        found = columns_of_data_frame(frame)
        return Table(dict(zip(_told_apart([name for name, _ in found]), [cells for _, cells in found], strict=True)))
    if dataframe is not None:
        return Table(dataframe)
    rows = data
    if rows is None and is_list(columns):
        rows = []
        rank_zero_warn(
            f"{call} got columns without data, and logs a table without rows. Texts are logged by log_media(key,"
            " Text(…))."
        )
    are_texts = isinstance(rows, str) or (isinstance(rows, list) and any(isinstance(row, str) for row in rows))
    if rows is not None and not are_texts and not isinstance(columns, str):
        return Table(rows, columns if columns is None or isinstance(rows, Mapping) else _told_apart(columns))
    wrong = columns if data is None or isinstance(columns, str) else data
    given = "nothing" if wrong is None else reprlib.repr(wrong)
    raise TypeError(
        f"{call} got {given} where it takes a table, as WandbLogger's does: give columns=[…] and data=[[…], …], or"
        " dataframe=…. Markdown is logged by log_media(key, Text(…))."
    )


def _told_apart(names: Sequence[object]) -> list[str]:
    """Return names of columns; one that comes again gets a number, as where pandas reads a CSV."""
    told: list[str] = []
    for name in map(str, names):
        numbered = itertools.chain([name], (f"{name}.{number}" for number in itertools.count(1)))
        told.append(next(one for one in numbered if one not in told))
    return told


def _labelled(groups: Drawn, classes: Classes) -> Drawn:
    if not groups or not classes:
        return groups
    try:
        labels = {one["id"]: one["name"] for one in classes}
    except (TypeError, KeyError) as error:
        raise ValueError(
            f"log_image got {reprlib.repr(classes)} as the classes of an image; give a list of dicts for each image,"
            ' such as [{"id": 1, "name": "car"}].'
        ) from error
    return {
        name: {"class_labels": labels, **group} if isinstance(group, Mapping) else group
        for name, group in groups.items()
    }
