"""What a notebook shows of runs, media and reducers: HTML without scripts, style sheets or anything from the network.

Names, captions, texts and cells are data: they are escaped. A user's HTML page is in a frame that cannot access the
notebook.
"""

from __future__ import annotations

import base64
import contextlib
import html
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image

from lightning_trackplus.formats.layout import escaped
from lightning_trackplus.record import Counts, Item
from lightning_trackplus.reports.charts import Floats, thinned
from lightning_trackplus.reports.data import Curve, curves_of, modes_of
from lightning_trackplus.reports.media import bins_of, media_by_step, shown, size_of

if TYPE_CHECKING:
    from lightning_trackplus.media.base import Media
    from lightning_trackplus.reading.read_run import Run
    from lightning_trackplus.reducers.base import Reducer

MAX_ITEMS = 64
"""The number of items of a medium that are shown."""

MAX_MB = 10.0
"""The megabytes of media files in one output."""

_MAX_METRICS = 100
_MAX_NAMES, _MAX_FILES = 12, 8  # Of a run: names of media, and files of each.
_LARGEST_FILE = 2**26  # A large image can be shown, since it is scaled down.
_MAX_PIXELS = 800  # Larger images are scaled down,
_SMALL = 128  # and smaller ones are enlarged.
_WIDTH, _HEIGHT = 160, 28
_COLOUR = "#3b6fd4"
_EXAMPLE = np.array([1.0, 2.0, 3.0, 4.0, 10.0])
_CODE = re.compile(r"``(.+?)``|`(.+?)`")


def run_html(run: Run) -> str:
    """Return a table of a run's metrics with small curves, and the newest media of each name."""
    from lightning_trackplus.reading.run_info import RunInfo  # noqa: PLC0415  it imports the module of `Run`

    curves, modes, limit = curves_of(run), modes_of(run.path), _Limit()
    status = RunInfo(str(run.path), run.path).status or ""
    counts = f"{len(run.metrics):,} rows, {len(curves):,} metrics, {len(run.media):,} media files"
    parts = [_line(f"<b>{_text('/'.join(run.path.parts[-2:]))}</b> {status} <small>{counts}</small>")]
    if curves:
        rows = [_metric_row(name, curves[name], modes.get(name)) for name in list(curves)[:_MAX_METRICS]]
        parts.append(_table(["metric", "last", "lowest", "highest", ""], rows))
    if (more := len(curves) - _MAX_METRICS) > 0:
        parts.append(_line(f"{more:,} more metrics are not shown."))
    by_name = media_by_step(run.media)
    for name, by_step in list(by_name.items())[:_MAX_NAMES]:
        step, count = max(by_step), sum(map(len, by_step.values()))
        of_step = f"{len(by_step[step]):,} of {count:,} files"
        parts.append(_line(f"<b>{_text(name)}</b> step {step:,} <small>{of_step}</small>"))
        items = (
            (record.kind, Item(data, record.path.suffix, record.caption, record.score))
            for record in by_step[step][:_MAX_FILES]
            if (data := limit.read(record.path)) is not None
        )
        parts.append(_figures(items, limit))
        limit.left_out += len(by_step[step][_MAX_FILES:])
    if (more := len(by_name) - _MAX_NAMES) > 0:
        parts.append(_line(f"Media of {more:,} more names are not shown."))
    return _output([*parts, limit.note()])


def medium_html(medium: Media[Any]) -> str:
    """Return the files that a medium becomes, with captions and scores."""
    part = medium.take(range(min(len(medium), MAX_ITEMS))).snapshot()
    payload = part.encode("notebook")
    limit = _Limit(left_out=len(medium) - len(part))
    figures = _figures([(payload.kind, item) for item in payload.items], limit)
    return _output([figures, limit.note()])


def reducer_html(reducer: Reducer) -> str:
    """Return a reducer with its arguments, what it computes, and its result for five values."""
    from lightning_trackplus.reducers.types import Samples  # noqa: PLC0415  its package needs torch, and a run does not

    summary = _text((type(reducer).__doc__ or "").strip().partition("\n")[0])
    parts = [
        _line(f"<code>{_text(repr(reducer))}</code> <small>named {_text(reducer.name)}</small>"),
        _line(_CODE.sub(lambda found: f"<code>{found[1] or found[2]}</code>", summary)),
    ]
    samples = Samples(_EXAMPLE, np.ones_like(_EXAMPLE), np.arange(len(_EXAMPLE)))
    with contextlib.suppress(Exception):  # A user's function may not take these values.
        result = reducer.result(reducer.summarize(samples))
        parts.append(_line(f"of {', '.join(f'{value:g}' for value in _EXAMPLE)}: {_result(result)}"))
    return _output(parts)


@dataclass
class _Limit:
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
        return _line(" ".join(notes)) if notes else ""


def _figures(items: Iterable[tuple[str, Item]], limit: _Limit) -> str:
    figures = "".join(_figure(kind, item, limit) for kind, item in items)
    return f'<div style="display: flex; flex-wrap: wrap; gap: 14px; align-items: flex-start">{figures}</div>'


def _figure(kind: str, item: Item, limit: _Limit) -> str:
    """Return a file with its caption and score; nothing if it does not fit."""
    view = shown(kind, f"{kind}{item.suffix}", item.data)
    is_wide = False
    match view["show"]:
        case "text":
            body = view["html"]
        case "table":
            body = _table([*map(_text, view["columns"])], [[*map(_text, row)] for row in view["rows"]])
            body += _line(f"{view['more']:,} more rows are not shown.") if view["more"] else ""
        case "histogram":
            body = _bars(view["edges"], view["counts"])
        case "frame":
            is_wide = True
            body = (
                '<iframe sandbox="allow-scripts" style="width: 100%; height: 480px; border: 0; background: #fff"'
                f' srcdoc="{_text(view["page"])}"></iframe>'
            )
        case "image":
            data, mime, style = _scaled(item.data, view["mime"])
            body = f'<img alt="{_text(item.caption or "")}" style="{style}" src="{_url(mime, data)}">'
        case "file":
            name, url = _text(view["file"]), _url("application/octet-stream", item.data)
            body = f'<a download="{name}" href="{url}">{name}</a>'
        case player:
            url = _url(view["mime"], item.data)
            body = f'<{player} controls preload="metadata" style="max-width: 100%" src="{url}"></{player}>'
    if not limit.fits(len(body)):
        return ""
    score = "" if item.score is None else f"<small>score {item.score:.4g}</small>"
    caption = "<br>".join(filter(None, [_text(item.caption or ""), score]))
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


def _metric_row(name: str, curve: Curve, mode: str | None) -> list[str]:
    """Return the cells of a metric; the value that is known to be the best is bold."""

    def point(place: Any, tag: str = "span") -> str:
        return f"<{tag}>{curve.values[place]:.5g}</{tag}> <small>at {int(curve.steps[place]):,}</small>"

    ends = {"min": curve.values.argmin(), "max": curve.values.argmax()}
    extremes = [point(place, "b" if end == mode else "span") for end, place in ends.items()]
    return [_text(name), point(-1), *extremes, _curve(curve)]


def _curve(curve: Curve) -> str:
    """Return a curve as a small image; what is not finite is left out."""
    finite = np.isfinite(curve.values)
    steps, values = curve.steps[finite], curve.values[finite]
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


def _bars(edges: Floats, counts: Floats) -> str:
    """Return bins of one width as a small image, with their ends and the sum."""
    if not counts.any():
        return "no values"
    width, height = 2 * _WIDTH / len(counts), counts / counts.max() * 4 * _HEIGHT
    bars = "".join(
        f'<rect x="{index * width:.2f}" y="{4 * _HEIGHT - bar:.2f}" width="{width * 0.95:.2f}" height="{bar:.2f}"/>'
        for index, bar in enumerate(height)
    )
    ends = f"{edges[0]:.4g} to {edges[-1]:.4g}, {counts.sum():,.6g} values"
    image = _svg(f'<g fill="{_COLOUR}">{bars}</g>', 2 * _WIDTH, 4 * _HEIGHT)
    return f"{image}<br><small>{ends}</small>"


def _svg(shapes: str, width: int = _WIDTH, height: int = _HEIGHT) -> str:
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">{shapes}</svg>'
    return f'<img alt="" width="{width}" height="{height}" src="{_url("image/svg+xml", svg.encode())}">'


def _result(result: Any) -> str:
    if isinstance(result, Counts):
        return _bars(*bins_of(result.rows()))
    if isinstance(result, Mapping):
        return ", ".join(f"{_text(name)} {number:.5g}" for name, number in result.items())
    return f"{result:.5g}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of cells that are HTML."""
    body = "".join(_row("td", row) for row in rows)
    table = f"<table><thead>{_row('th', columns)}</thead><tbody>{body}</tbody></table>"
    return f'<div style="max-width: 100%; max-height: 420px; overflow: auto">{table}</div>'


def _row(tag: str, cells: Sequence[str]) -> str:
    first = f'<{tag} style="text-align: left">{cells[0]}</{tag}>' if cells else ""
    return f"<tr>{first}{''.join(f'<{tag}>{cell}</{tag}>' for cell in cells[1:])}</tr>"


def _text(text: str) -> str:
    return html.escape(escaped(text))


def _line(content: str) -> str:
    return f'<p style="margin: 6px 0">{content}</p>'


def _url(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def _output(parts: Iterable[str]) -> str:
    return f"<div>{''.join(parts)}</div>"
