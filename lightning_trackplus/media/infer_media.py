"""The medium for a value that was logged without one."""

from __future__ import annotations

from typing import Any

import PIL.Image

from lightning_trackplus.media.base import Media
from lightning_trackplus.media.figure import Figure, is_figure
from lightning_trackplus.media.image import Image
from lightning_trackplus.media.table import Table
from lightning_trackplus.media.table_cells import is_data_frame
from lightning_trackplus.media.text import Text
from lightning_trackplus.runtime.lists import is_list


def infer_media(value: object) -> Media[Any] | None:
    """Return the medium for a string, figure, PIL image or data frame, or None for any other value."""
    match value:
        case str():
            return Text(value)
        case _ if is_list(value) and value and all(isinstance(one, str) for one in value):
            return Text(list(value))
        case PIL.Image.Image():
            return Image(value)
        case _ if is_figure(value):
            return Figure(value)
        case _ if is_data_frame(value):
            return Table(value)
        case _:
            return None
