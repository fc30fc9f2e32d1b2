"""Check that the built documentation loads nothing from other servers: ``python site_is_local.py SITE``."""

from __future__ import annotations

import re
import sys
from pathlib import Path

LOADED = re.compile(r"""<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)=["']?(https?:[^"'\s>]+)""")


def main() -> None:
    """Raise an error that names what a page loads."""
    pages = list(Path(sys.argv[1]).rglob("*.html"))
    assert pages, f"{sys.argv[1]} has no pages"
    loaded = {(page.name, url) for page in pages for url in LOADED.findall(page.read_text(encoding="utf-8"))}
    assert not loaded, f"pages that load from other servers: {sorted(loaded)}"


if __name__ == "__main__":
    main()
