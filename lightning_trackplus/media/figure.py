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
from lightning_trackplus.media.images.png import png
from lightning_trackplus.record import HtmlPayload, ImagePayload
from lightning_trackplus.runtime.lists import is_list
from lightning_trackplus.runtime.warn import describe_error

_OPAQUE = 255


class Undrawn(NamedTuple):
    """What stands for a figure that could not be drawn.

    Attributes:
        reason: Why, in words.
    """

    reason: str


class Figure(Media[Any]):
    """A figure of matplotlib or plotly, or several.

    A figure of matplotlib is drawn when it is logged, with its size and its dots per inch, and written as
    PNG; it is left as it was, and open. A figure of plotly is written as an HTML page, which loads
    plotly's script from the net where it is opened. One that cannot be drawn is left out, with a warning.

    Args:
        figure: A figure, or a list of figures that are all of matplotlib or all of plotly.
        caption: A line about the figure, or a list with one for each.
        score: A number for the figure, or one for each, shape ``(N,)``.

    Raises:
        TypeError: If one is no figure.
        ValueError: If figures are of both, or there is another number of captions or scores than of figures.

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
                    f"Figure got a {type(one).__name__}; give a figure of matplotlib, such as ax.figure, a figure of"
                    " plotly, or a list of figures."
                )
        if len(set(map(is_matplotlibs, figures))) > 1:
            raise ValueError("Figure got figures of matplotlib and of plotly; log them under two names.")
        self._are_matplotlibs = any(map(is_matplotlibs, figures))
        super().__init__(figures, caption, score)

    @property
    @override
    def kind(self) -> str:
        """Whose figures they are: they become other files."""
        return f"Figure of {'matplotlib' if self._are_matplotlibs else 'plotly'}"

    @property
    @override
    def nbytes(self) -> int:
        """Memory that the copies of the figures hold, in bytes; a figure that is still the user's takes none."""
        return sum(len(item) if isinstance(item, str) else getattr(item, "nbytes", 0) for item in self._items)

    @override
    def encode(self, name: str) -> ImagePayload | HtmlPayload:
        """Return the figures as PNG or as HTML.

        Args:
            name: The name they were logged under.

        Raises:
            ValueError: If none of the figures could be drawn.
        """
        figures = [self._snapshot_of(item) for item in self._items]
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
            return HtmlPayload(self._encoded([_page(str(figure)) for figure in figures], ".html"))
        pictures = [_channels(figure) for figure in figures if isinstance(figure, np.ndarray)]
        _, height, width = pictures[0].shape
        return ImagePayload(self._encoded([png(picture) for picture in pictures], ".png"), width, height)

    @override
    def _snapshot_of(self, item: Any) -> NDArray[np.uint8] | str | Undrawn:
        """Return the pixels of a figure of matplotlib, RGBA, shape ``(H, W, 4)``, or the JSON of one of plotly."""
        if isinstance(item, np.ndarray | str | Undrawn):
            return item
        try:
            return pixels_of(item) if self._are_matplotlibs else str(item.to_json())
        except Exception as error:  # noqa: BLE001  a figure may raise anything, and training has to go on
            return Undrawn(describe_error(error))


def is_matplotlibs(value: object) -> bool:
    """Return whether a value is a figure of matplotlib."""
    return _is_one(value, "matplotlib.figure", "Figure")


def is_figure(value: object) -> bool:
    """Return whether a value is a figure of matplotlib or plotly."""
    return is_matplotlibs(value) or _is_one(value, "plotly.basedatatypes", "BaseFigure")


def _is_one(value: object, module: str, name: str) -> bool:
    # What has not been imported, nobody can have given.
    return isinstance(value, getattr(sys.modules.get(module), name, ()))


def pixels_of(figure: Any) -> NDArray[np.uint8]:
    """Return the pixels of a figure of matplotlib, RGBA, shape ``(H, W, 4)``.

    It is drawn on a canvas of its own, and now, since matplotlib is not for several threads.

    Raises:
        Exception: What matplotlib raises where it cannot be drawn.
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
    # The figure was checked where it was made.
    html = importlib.import_module("plotly.io").to_html(json.loads(figure), include_plotlyjs="cdn", validate=False)
    return str(html).encode()
