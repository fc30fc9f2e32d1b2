"""The arguments of WandbLogger's calls, checked in its words and turned into those of our media."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from lightning_utilities.core.rank_zero import rank_zero_warn

from lightning_trackplus.media.figure import is_figure
from lightning_trackplus.media.pictures.animation import VideoFormat
from lightning_trackplus.media.pictures.picture_files import Format
from lightning_trackplus.media.table import Table

T = TypeVar("T")
OneEach: TypeAlias = "Sequence[T] | None"
"""A list with an entry for each item, or nothing."""

Drawn: TypeAlias = "Mapping[str, Any] | None"
"""The boxes or masks of one image, by the names of their groups."""

Classes: TypeAlias = "Sequence[Mapping[str, Any]] | None"
"""The classes of one image, each with its ``"id"`` and ``"name"``."""

_PICTURES: Mapping[str | None, Format] = {None: "png", "png": "png", "webp": "webp", "jpg": "jpeg", "jpeg": "jpeg"}
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
        ValueError: If there are none, or a column has another length.
    """
    if not isinstance(values, list):
        raise TypeError(f'Expected a list as "{title}", found {type(values)}')
    if not values:
        raise ValueError(f'Expected at least one item in "{title}", found none')
    for name, column in columns.items():
        if column is not None and len(column) != len(values):
            raise ValueError(f"Expected {len(values)} items but only found {len(column)} for {name}")


def one_each(column: OneEach[T], values: Sequence[Any]) -> Sequence[T | None]:
    """Return a column, one of None where nothing was given.

    Args:
        column: The column.
        values: What it belongs to.
    """
    return [None] * len(values) if column is None else column


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


def picture_format(file_type: OneEach[str | None]) -> Format:
    """Return the format of image files.

    Args:
        file_type: That of each image, the same for all.

    Raises:
        ValueError: If there are several, or images are not written in this one.
    """
    wanted = _only("file_type", file_type)
    if wanted not in _PICTURES:
        raise ValueError(f'log_image got file_type={wanted!r}; give "png", "webp", "jpg" or "jpeg".')
    return _PICTURES[wanted]


def video_formats(wanted: Sequence[str | None]) -> list[VideoFormat]:
    """Return the formats of video files; films, which need an encoder of their own, become WebP, with a warning.

    Args:
        wanted: That of each video.

    Raises:
        ValueError: If there are no such videos.
    """
    for one in dict.fromkeys(wanted):
        if one in _FILMS:
            rank_zero_warn(
                f"log_video got format={one!r}, and writes animated WebP, which plays wherever images are shown; give"
                ' "webp" or "gif" to leave this warning out.'
            )
        elif one not in _VIDEOS:
            raise ValueError(f'log_video got format={one!r}; give "webp" or "gif".')
    return [_VIDEOS.get(one, "webp") for one in wanted]


def value_range(normalize: OneEach[bool]) -> tuple[float, float] | None:
    """Return which values are black and white; None where that is to be detected.

    Args:
        normalize: Whether pixels may be in another range than [0, 255], the same for all images.

    Raises:
        ValueError: If those of some may, and of others may not.
    """
    return (0.0, 255.0) if _only("normalize", normalize) is False else None


def with_classes(drawn: OneEach[Drawn], classes: OneEach[Classes]) -> list[Drawn] | None:
    """Return boxes or masks, in which a group without class names has those of its image.

    Args:
        drawn: The boxes or masks of each image.
        classes: The classes of each image.

    Raises:
        ValueError: If the classes of an image are no list of dicts with an id and a name.
    """
    if drawn is None or classes is None:
        return None if drawn is None else list(drawn)
    return [_labelled(groups, named) for groups, named in zip(drawn, classes, strict=True)]


def are_figures(images: Sequence[Any], **drawn: OneEach[Any]) -> bool:
    """Return whether images are figures of matplotlib or plotly.

    Args:
        images: The images.
        drawn: What is to be drawn on them, which only images can have.

    Raises:
        TypeError: If some are figures and some are not, or figures are to be drawn on.
    """
    figures = [is_figure(image) for image in images]
    if any(figures):
        if not all(figures):
            raise TypeError("log_image got figures and other images in one list; log them in two calls.")
        for name, column in drawn.items():
            if column is not None:
                raise TypeError(f"log_image got {name} for figures; only images take them.")
    return any(figures)


def table_of(call: str, columns: Sequence[str] | None, data: Any, dataframe: Any) -> Table:
    """Return the table that WandbLogger's arguments make.

    Args:
        call: Which call got them, for messages.
        columns: The names of the columns.
        data: The rows, or what else `Table` takes.
        dataframe: A data frame; then columns and data are not looked at.

    Raises:
        TypeError: If there is no table.
        ValueError: If rows and columns do not fit.
    """
    if dataframe is not None:
        return Table(dataframe)
    are_texts = isinstance(data, str) or (isinstance(data, list) and any(isinstance(row, str) for row in data))
    if data is not None and not are_texts and not isinstance(columns, str):
        return Table(data, columns)
    wrong = columns if data is None or isinstance(columns, str) else data
    given = "nothing" if wrong is None else reprlib.repr(wrong)
    raise TypeError(
        f"{call} got {given} where it takes a table, as WandbLogger's does: give columns=[…] and data=[[…], …], or"
        " dataframe=…. Markdown is logged by log_media(key, Text(…))."
    )


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


def _only(name: str, column: OneEach[T]) -> T | None:
    """Return the entry that a column has for all items."""
    if column is None:
        return None
    first, *others = column
    if any(other != first for other in others):
        raise ValueError(f"log_image got several values as {name}, {list(column)}; make a call for each of them.")
    return first
