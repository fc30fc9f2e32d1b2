"""Run README's first script, and draw its report as `images/first-run.png`.

Playwright and a Chromium are required::

    python docs/draw_first_run.py
"""

# ruff: noqa: INP001  (a program, beside the pages)

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from lightning_trackplus import report

DOCS = Path(__file__).parent
WIDTH = 960


def main() -> None:
    """Train, write the report, and take the picture."""
    script = re.search(r"```python\n(.*?)```", (DOCS.parent / "README.md").read_text(), flags=re.DOTALL)[1]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        subprocess.run([sys.executable, "-c", script], cwd=folder, check=True)  # noqa: S603  README is ours
        report(Path(folder, "lightning_logs/version_0"), Path(folder, "report.html"))
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 2400}, device_scale_factor=1.5)
        page.goto(Path(folder, "report.html").as_uri())
        page.locator(".js-plotly-plot").nth(1).wait_for()
        page.wait_for_timeout(1000)
        top = page.get_by_text("val/loss", exact=True).last.bounding_box()["y"] - 70
        end = page.get_by_text("Made ").bounding_box()["y"] - 20
        page.screenshot(
            path=DOCS / "images/first-run.png", clip={"x": 0, "y": top, "width": WIDTH, "height": end - top}
        )
        browser.close()


if __name__ == "__main__":
    main()
