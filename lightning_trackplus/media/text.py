"""Texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from typing_extensions import override

from lightning_trackplus.media.base import Media
from lightning_trackplus.record import TextPayload
from lightning_trackplus.runtime.lists import is_list
from lightning_trackplus.runtime.names import a_type


class Text(Media[str]):
    r"""One text or several, in markdown, written as ``.md`` files and shown in TensorBoard's text tab.

    Args:
        markdown: A string, or a list of strings.
        caption: A line about the text, or a list with one for each.
        score: A number for the text, or one for each, shape ``(N,)``.

    Raises:
        TypeError: If a text is not a string.
        ValueError: If there is not one caption or score for each text.

    Examples:
        >>> Text("| class | recall |\n|---|---|\n| seven | 0.98 |")
        <Text: 1 item>
    """

    _is_copy = True  # Nobody can change a string.

    def __init__(
        self,
        markdown: str | Sequence[str],
        caption: str | Sequence[str] | None = None,
        score: float | Sequence[float] | Tensor | None = None,
    ) -> None:
        texts: tuple[Any, ...] = tuple(markdown) if is_list(markdown) else (markdown,)
        for text in texts:
            if not isinstance(text, str):
                raise TypeError(f"Text got {a_type(text)}; expected a string or a list of strings.")
        super().__init__(texts, caption, score)

    @override
    def snapshot_item(self, item: str) -> str:
        return item

    @override
    def encode(self, name: str) -> TextPayload:
        # A lone surrogate has no UTF-8; it is written as its escape instead of losing the text.
        return TextPayload(self._encoded([text.encode("utf-8", "backslashreplace") for text in self._items], ".md"))
