"""Parts of HTML without scripts, style sheets or anything from the network, which a notebook can show.

Names, captions, texts and cells are data: they are escaped. A user's HTML page is in a frame that cannot access the
notebook.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from lightning_trackplus.formats.layout import escaped
from lightning_trackplus.record import Counts, Item
from lightning_trackplus.views.media_files import bins_of, shown, size_of
from lightning_trackplus.views.thinning import thinned

Floats: TypeAlias = NDArray[np.float64]

MAX_MB = 10.0
"""The megabytes of media files in one output."""

_LARGEST_FILE = 2**26  # A large image can be shown, since it is scaled down.
_MAX_PIXELS = 800  # Larger images are scaled down,
_SMALL = 128  # and smaller ones are enlarged.
_WIDTH, _HEIGHT = 160, 28
_COLOUR = "#3b6fd4"


@dataclass
class Limit:
    """What still fits into an output, and how many files do not.

    Attributes:
        left: Bytes of media files.
        left_out: Files or items that are not shown.
        missing: Files that are not there.
    """

    left: float = MAX_MB * 10**6
    left_out: int = 0
    missing: int = 0

    def fits(self, size: int) -> bool:
        """Return whether a file fits, and count it."""
        fits = size <= self.left
        self.left -= size * fits
        self.left_out += not fits
        return fits

    def read(self, path: Path) -> bytes | None:
        """Return the content of a file, None if it is too large or missing."""
        if (size := size_of(path)) is None:
            self.missing += 1
        elif size <= _LARGEST_FILE:
            return path.read_bytes()
        else:
            self.left_out += 1
        return None

    def note(self) -> str:
        """Return what is not shown."""
        notes = []
        if self.left_out:
            notes.append(f"{self.left_out:,} more {'is' if self.left_out == 1 else 'are'} not shown.")
        if self.missing:
            notes.append(f"{self.missing:,} {'file is' if self.missing == 1 else 'files are'} missing.")
        return line(" ".join(notes)) if notes else ""


def figures(items: Iterable[tuple[str, Item]], limit: Limit) -> str:
    """Return files of some kinds side by side, as many as fit."""
    all_of_them = "".join(_figure(kind, item, limit) for kind, item in items)
    return f'<div style="display: flex; flex-wrap: wrap; gap: 14px; align-items: flex-start">{all_of_them}</div>'


def _figure(kind: str, item: Item, limit: Limit) -> str:
    """Return a file with its caption and score; nothing if it does not fit."""
    view = shown(kind, f"{kind}{item.suffix}", item.data)
    is_wide = False
    match view["show"]:
        case "text":
            body = view["html"]
        case "table":
            body = table([*map(text, view["columns"])], [[*map(text, row)] for row in view["rows"]])
            body += line(f"{view['more']:,} more rows are not shown.") if view["more"] else ""
        case "histogram":
            body = bars(view["edges"], view["counts"])
        case "frame":
            is_wide = True
            body = (
                '<iframe sandbox="allow-scripts" style="width: 100%; height: 480px; border: 0; background: #fff"'
                f' srcdoc="{text(view["page"])}"></iframe>'
            )
        case "image":
            data, mime, style = _scaled(item.data, view["mime"])
            body = f'<img alt="{text(item.caption or "")}" style="{style}" src="{_url(mime, data)}">'
        case "file":
            name, url = text(view["file"]), _url("application/octet-stream", item.data)
            body = f'<a download="{name}" href="{url}">{name}</a>'
        case player:
            url = _url(view["mime"], item.data)
            body = f'<{player} controls preload="metadata" style="max-width: 100%" src="{url}"></{player}>'
    if not limit.fits(len(body)):
        return ""
    score = "" if item.score is None else f"<small>score {item.score:.4g}</small>"
    caption = "<br>".join(filter(None, [text(item.caption or ""), score]))
    style = f"margin: 0; max-width: 100%; {'width: 100%' if is_wide else ''}"
    return f'<figure style="{style}">{body}<figcaption>{caption}</figcaption></figure>'


def _scaled(data: bytes, mime: str) -> tuple[bytes, str, str]:
    """Return an image of at most `_MAX_PIXELS`, its type and its style; an animated one as it is."""
    style = "max-width: 100%; max-height: 560px"
    try:
        with PIL.Image.open(io.BytesIO(data)) as picture:
            if picture.width < _SMALL:
                return data, mime, f"{style}; width: {_SMALL}px; image-rendering: pixelated"
            if max(picture.size) > _MAX_PIXELS and not getattr(picture, "is_animated", False):
                smaller, file = picture.convert("RGBA"), io.BytesIO()
                smaller.thumbnail((_MAX_PIXELS, _MAX_PIXELS))
                smaller.save(file, "webp", quality=90)
                return file.getvalue(), "image/webp", style
    except (OSError, ValueError, PIL.Image.DecompressionBombError):
        pass  # The browser may know how to show it.
    return data, mime, style


def metric_row(name: str, steps: Floats, values: Floats, mode: str | None) -> list[str]:
    """Return a metric's name, last, lowest and highest value, and its curve; what is known to be the best is bold."""

    def point(place: Any, tag: str = "span") -> str:
        return f"<{tag}>{values[place]:.5g}</{tag}> <small>at {int(steps[place]):,}</small>"

    ends = {"min": values.argmin(), "max": values.argmax()}
    extremes = [point(place, "b" if end == mode else "span") for end, place in ends.items()]
    return [text(name), point(-1), *extremes, curve(steps, values)]


def curve(steps: Floats, values: Floats) -> str:
    """Return a curve as a small image; what is not finite is left out."""
    finite = np.isfinite(values)
    steps, values = steps[finite], values[finite]
    if len(values) < 2:  # noqa: PLR2004  a line has two ends
        return ""
    places = thinned(values, _WIDTH)
    x, y = _scaled_to(steps, _WIDTH - 4)[places] + 2, _HEIGHT - 2 - _scaled_to(values, _HEIGHT - 4)[places]
    points = " ".join(f"{left:.1f},{top:.1f}" for left, top in zip(x, y, strict=True))
    return _svg(f'<polyline points="{points}" fill="none" stroke="{_COLOUR}" stroke-width="1.5"/>')


def _scaled_to(numbers: Floats, size: float) -> Floats:
    """Return numbers between 0 and a size, in the middle if they are all equal."""
    low, high = numbers.min(), numbers.max()
    # Halves, since the difference may overflow a float64.
    span = high / 2 - low / 2
    return (numbers / 2 - low / 2) / span * size if span else np.full_like(numbers, size / 2)


def bars(edges: Floats, counts: Floats) -> str:
    """Return bins of one width as a small image, with their ends and the sum."""
    if not counts.any():
        return "no values"
    width, height = 2 * _WIDTH / len(counts), counts / counts.max() * 4 * _HEIGHT
    shapes = "".join(
        f'<rect x="{index * width:.2f}" y="{4 * _HEIGHT - bar:.2f}" width="{width * 0.95:.2f}" height="{bar:.2f}"/>'
        for index, bar in enumerate(height)
    )
    ends = f"{edges[0]:.4g} to {edges[-1]:.4g}, {counts.sum():,.6g} values"
    image = _svg(f'<g fill="{_COLOUR}">{shapes}</g>', 2 * _WIDTH, 4 * _HEIGHT)
    return f"{image}<br><small>{ends}</small>"


def _svg(shapes: str, width: int = _WIDTH, height: int = _HEIGHT) -> str:
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">{shapes}</svg>'
    return f'<img alt="" width="{width}" height="{height}" src="{_url("image/svg+xml", svg.encode())}">'


def result(value: float | Mapping[str, float] | Counts) -> str:
    """Return what a reducer has computed."""
    if isinstance(value, Counts):
        return bars(*bins_of(value.rows()))
    if isinstance(value, Mapping):
        return ", ".join(f"{text(name)} {number:.5g}" for name, number in value.items())
    return f"{value:.5g}"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of cells that are HTML."""
    body = "".join(_row("td", row) for row in rows)
    rows_and_head = f"<table><thead>{_row('th', columns)}</thead><tbody>{body}</tbody></table>"
    return f'<div style="max-width: 100%; max-height: 420px; overflow: auto">{rows_and_head}</div>'


def _row(tag: str, cells: Sequence[str]) -> str:
    first = f'<{tag} style="text-align: left">{cells[0]}</{tag}>' if cells else ""
    return f"<tr>{first}{''.join(f'<{tag}>{cell}</{tag}>' for cell in cells[1:])}</tr>"


def text(data: str) -> str:
    """Return data as HTML that shows it as it is."""
    return html.escape(escaped(data))


def line(content: str) -> str:
    """Return HTML as a paragraph."""
    return f'<p style="margin: 6px 0">{content}</p>'


def _url(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def output(parts: Iterable[str]) -> str:
    """Return HTML as one output of a cell."""
    return f"<div>{''.join(parts)}</div>"
