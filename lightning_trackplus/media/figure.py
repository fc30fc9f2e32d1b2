"""Figures of matplotlib and plotly."""

from __future__ import annotations

import importlib
import json
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from lightning_trackplus.media.base import Media
from lightning_trackplus.media.html import Html
from lightning_trackplus.media.images.captions import captioned
from lightning_trackplus.media.images.file_formats import png
from lightning_trackplus.record import FilesPayload, ImagePayload
from lightning_trackplus.runtime.lists import is_list
from lightning_trackplus.runtime.names import a_type
from lightning_trackplus.runtime.warn import describe_error

_OPAQUE = 255


class Undrawn(NamedTuple):
    """The place of a figure that could not be drawn, with the reason."""

    reason: str


class Figure(Media[Any]):
    """A figure of matplotlib or plotly, or several.

    A figure of matplotlib is drawn when it is logged, with its own size and resolution, and written as PNG; it stays
    open and unchanged. A figure of plotly is written as an HTML page, which loads plotly's script from the internet. A
    figure that cannot be drawn is left out, with a warning.

    Args:
        figure: A figure, or a list of figures, either all of matplotlib or all of plotly.
        caption: A line about the figure, or a list with one for each.
        score: A number for the figure, or one for each, shape ``(N,)``.

    Raises:
        TypeError: If a value is not a figure.
        ValueError: If there are figures of both packages, or not one caption or score for each figure.

    Examples:
        >>> import matplotlib.figure
        >>> figure = matplotlib.figure.Figure()
        >>> lines = figure.subplots().plot([1, 4, 9])
        >>> Figure(figure, caption="squares")
        <Figure: 1 item>
    """

    def __init__(
        self,
        figure: Any,
        caption: str | Sequence[str] | None = None,
        score: float | Sequence[float] | Tensor | None = None,
    ) -> None:
        figures = figure if is_list(figure) else [figure]
        for one in figures:
            if not is_figure(one):
                raise TypeError(
                    f"Figure got {a_type(one)}; expected a figure of matplotlib, such as ax.figure, a figure"
                    " of plotly, or a list of figures."
                )
        if len(set(map(is_matplotlibs, figures))) > 1:
            raise ValueError("Figure got figures of matplotlib and of plotly; log them under two names.")
        self._are_matplotlibs = any(map(is_matplotlibs, figures))
        super().__init__(figures, caption, score)

    @property
    @override
    def media_type(self) -> str:
        """The type of figure: those of matplotlib and plotly become different files."""
        return f"Figure of {'matplotlib' if self._are_matplotlibs else 'plotly'}"

    @property
    @override
    def nbytes(self) -> int:
        """Memory of the copies in bytes; a figure that is not copied yet counts 0."""
        return sum(len(item) if isinstance(item, str) else getattr(item, "nbytes", 0) for item in self._items)

    @override
    def encode(self, name: str) -> ImagePayload | FilesPayload:
        """Return the figures as PNG or as HTML."""
        figures = [self.snapshot_item(item) for item in self._items]
        drawn = [index for index, figure in enumerate(figures) if not isinstance(figure, Undrawn)]
        reasons = [figure.reason for figure in figures if isinstance(figure, Undrawn)]
        if not drawn:
            raise ValueError(f"it could not be drawn. {reasons[0]}")
        if reasons:
            warnings.warn(
                f"Figure {name!r}: {len(reasons)} of {len(figures)} could not be drawn and are left out. {reasons[0]}",
                stacklevel=2,
            )
            return self.take(drawn).encode(name)
        if not self._are_matplotlibs:
            pages = self._encoded([_page(str(figure)) for figure in figures], Html.suffix)
            return FilesPayload(pages, Html.kind)
        pictures = [_channels(figure) for figure in figures if isinstance(figure, np.ndarray)]
        _, height, width = pictures[0].shape
        items = self._encoded([png(picture) for picture in pictures], ".png")
        return ImagePayload(items, width, height, captioned(items, pictures))

    @override
    def snapshot_item(self, item: Any) -> NDArray[np.uint8] | str | Undrawn:
        """Return the pixels of a figure of matplotlib, RGBA, shape ``(H, W, 4)``, or the JSON of one of plotly."""
        if isinstance(item, np.ndarray | str | Undrawn):
            return item
        try:
            return pixels_of(item) if self._are_matplotlibs else str(item.to_json())
        except Exception as error:  # noqa: BLE001  a figure may raise anything, and training must continue
            return Undrawn(describe_error(error))


def is_matplotlibs(value: object) -> bool:
    """Return whether a value is a figure of matplotlib."""
    return _is_one(value, "matplotlib.figure", "Figure")


def is_figure(value: object) -> bool:
    """Return whether a value is a figure of matplotlib or plotly."""
    return is_matplotlibs(value) or _is_one(value, "plotly.basedatatypes", "BaseFigure")


def _is_one(value: object, module: str, name: str) -> bool:
    # A package that is not imported has no instances.
    return isinstance(value, getattr(sys.modules.get(module), name, ()))


def pixels_of(figure: Any) -> NDArray[np.uint8]:
    """Return the pixels of a figure of matplotlib, RGBA, shape ``(H, W, 4)``.

    It is drawn on its own canvas and at once, since matplotlib is not thread-safe.
    """
    canvas = figure.canvas
    try:
        own = importlib.import_module("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
        own.draw()
        return np.array(own.buffer_rgba())
    finally:
        figure.set_canvas(canvas)


def _channels(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return pixels in shape ``(C, H, W)``, in RGB if none is transparent."""
    is_opaque = (pixels[..., 3] == _OPAQUE).all()
    return pixels[..., : 3 if is_opaque else 4].transpose(2, 0, 1)


def _page(figure: str) -> bytes:
    # plotly has validated the figure when it was made.
    html = importlib.import_module("plotly.io").to_html(json.loads(figure), include_plotlyjs="cdn", validate=False)
    return str(html).encode()
