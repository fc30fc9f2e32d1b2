"""The browser of the tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)

try:
    from playwright.sync_api import Browser, sync_playwright
except ModuleNotFoundError:
    MISSING: str | None = "Playwright is not installed; `pip install playwright` installs it"
else:
    MISSING = None if CHROMIUM else "no chromium, chromium-browser or google-chrome is on the PATH"


# Not of the session: between two files no event loop of Playwright's may run.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium, or skip or fail where there is none."""
    if MISSING:
        if os.environ.get("TRACKPLUS_REQUIRE_BROWSER") == "1":
            pytest.fail(f"TRACKPLUS_REQUIRE_BROWSER=1, but {MISSING}.", pytrace=False)
        pytest.skip(f"{MISSING}.")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()
