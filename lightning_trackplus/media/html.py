"""HTML pages."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias, cast

from torch import Tensor
from typing_extensions import override

from lightning_trackplus.media.base import Media
from lightning_trackplus.runtime.lists import is_list
from lightning_trackplus.runtime.names import a_type

OnePage: TypeAlias = "str | os.PathLike[str]"

# Browsers look for the encoding of a page in these first bytes: the HTML standard, section 4.2.5.4.
_HEAD = 1024


class Html(Media[str]):
    """One HTML page or several, written as files; TensorBoard's text tab says where they are.

    Args:
        html: HTML as a string, the path of an ``.html`` file, as a string or a `Path`, or a list of these.
        caption: A line about the page, or a list with one for each.
        score: A number for the page, or one for each, shape ``(N,)``.

    Raises:
        TypeError: If a page is neither a string nor a path.
        ValueError: If there is not one caption or score for each page, or a file is not UTF-8.
        FileNotFoundError: If there is no file at a path.

    Examples:
        >>> Html("<h1>All is well</h1>", caption="epoch 3")
        <Html: 1 item>
    """

    kind = "html"
    suffix = ".html"

    def __init__(
        self,
        html: OnePage | Sequence[OnePage],
        caption: str | Sequence[str] | None = None,
        score: float | Sequence[float] | Tensor | None = None,
    ) -> None:
        several = html if is_list(html) else [cast("OnePage", html)]
        super().__init__([_page(one) for one in several], caption, score)

    @override
    def snapshot_item(self, item: str) -> str:
        return item

    @override
    def encode_item(self, item: str) -> bytes:
        return _with_mark(item).encode("utf-8", "backslashreplace")


def _page(html: OnePage) -> str:
    if isinstance(html, os.PathLike) or (isinstance(html, str) and "<" not in html and html.endswith(".html")):
        return Path(html).read_text("utf-8")
    if not isinstance(html, str):
        raise TypeError(f"Html got {a_type(html)}; expected a string, a path, or a list of these.")
    return html


def _with_mark(page: str) -> str:
    """Return a page that declares UTF-8, which browsers do not assume for a file."""
    says = page.isascii() or page.startswith("\ufeff") or "charset" in page[:_HEAD].lower()
    return page if says else f"\ufeff{page}"
