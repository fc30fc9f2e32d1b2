"""The pictures of README: the run of the digits example in TensorBoard, as a report, and in a terminal.

``TRACKPLUS_SCREENSHOTS=docs/images pytest tests/browser/test_digits_pictures.py`` draws them, and needs Chromium.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import PIL.Image
import pytest

from lightning_trackplus import report
from lightning_trackplus.cli import main as trackplus
from tests.browser.test_report_in_a_browser import Opened
from tests.browser.test_tensorboard_in_a_browser import address_when_ready, card_of, open_tab
from tests.support.programs import as_a_program

with contextlib.suppress(ModuleNotFoundError):
    from playwright.sync_api import Browser, Locator, Page, expect

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
FOLDER = ROOT / os.environ.get("TRACKPLUS_SCREENSHOTS", "")
LARGEST = 200_000  # Bytes.
MARGIN = 8
SCALE = 1.5
LAST_STEP = 229

pytestmark = pytest.mark.skipif("TRACKPLUS_SCREENSHOTS" not in os.environ, reason="TRACKPLUS_SCREENSHOTS asks for them")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the examples in a folder: a run in ``lightning_logs``, and three of another learning rate each."""
    folder = tmp_path_factory.mktemp("digits")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        main = importlib.import_module("digits").main
        for name, rates in (("lightning_logs", [0.003]), ("sweep", [0.001, 0.003, 0.01])):
            for rate in rates:
                options = [f"--trainer.logger.name={name}", f"--model.learning_rate={rate}"]
                with as_a_program("fit", "--config", EXAMPLES / "digits.yaml", *options, folder=folder):
                    main()
    return folder


@pytest.fixture(scope="module")
def page(browser: Browser, folder: Path) -> Iterator[Page]:
    """Open a window on TensorBoard, in which four images are beside each other."""
    log = folder / "tensorboard.log"
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", folder / "lightning_logs", "--host", "127.0.0.1"]
    with log.open("w") as output:
        server = subprocess.Popen([*command, "--port", "0"], stdout=output, stderr=output)
    try:
        address = address_when_ready(server, log, "version_0", LAST_STEP)
        context = browser.new_context(
            base_url=address, viewport={"width": 1900, "height": 1600}, device_scale_factor=SCALE
        )
        yield context.new_page()
        context.close()
    finally:
        server.kill()
        server.wait()


def save(page: Page, name: str, shown: list[Locator]) -> None:
    """Save a picture of the part of a page that has some elements, in the colours of a palette."""
    page.mouse.move(0, 0)
    boxes = [box for one in shown if (box := one.bounding_box())]
    left, top = (min(box[side] for box in boxes) - MARGIN for side in ("x", "y"))
    right, bottom = (
        max(box[side] + box[size] for box in boxes) + MARGIN for side, size in (("x", "width"), ("y", "height"))
    )
    clip = {"x": max(left, 0), "y": max(top, 0), "width": right - max(left, 0), "height": bottom - max(top, 0)}
    picture = PIL.Image.open(io.BytesIO(page.screenshot(animations="disabled", clip=clip)))
    picture.convert("RGB").quantize(256, dither=PIL.Image.Dither.NONE).save(FOLDER / name, optimize=True)
    assert (FOLDER / name).stat().st_size < LARGEST


def test_tensorboard(page: Page) -> None:
    """The hardest digits, the confusion matrix and the charts."""
    for name, count in (("hardest", 8), ("confusion", 1)):
        cards = card_of(open_tab(page, "images", "version_0", name).locator("tf-image-loader"), f"val/{name}")
        expect(cards).to_have_count(count)
        for card in cards.all():
            expect(card).to_contain_text(re.compile(rf"step\s*{LAST_STEP}"))
            expect(card.locator("img")).to_have_js_property("complete", value=True)
        save(page, f"digits-{name}.png", cards.all())
    page.goto("about:blank")
    page.goto("#custom_scalars&_smoothingWeight=0")
    lines, bands = (page.locator(f"tf-custom-scalar-{kind}-chart-card") for kind in ("multi-line", "margin"))
    expect(lines.locator(".line-plot:not(.ghost) path.line")).to_have_count(12)
    expect(bands.locator("path.area")).to_have_count(1)
    page.locator("paper-checkbox", has_text="Ignore outliers").click()
    save(page, "digits-charts.png", page.locator("tf-card-heading, #buttons").all())


def test_report(browser: Browser, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report of one run, and of the three that differ."""
    monkeypatch.chdir(folder)
    sweep = sorted(Path("sweep").iterdir())
    for name, runs, last in (
        ("report.png", ["lightning_logs/version_0"], "val/hardest"),
        ("report-three-runs.png", sweep, "val/recall/1"),
    ):
        opened = Opened(browser, report(runs, folder / f"{name}.html"))
        opened.page.set_viewport_size({"width": 1280, "height": 2400})
        opened.show_all()
        opened.page.evaluate("scrollTo(0, 0)")
        save(opened.page, name, [opened.page.locator("header"), opened.card(last)])
        assert opened.faults == []
        opened.context.close()


def test_terminal(browser: Browser, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``trackplus show`` prints, in the colours of a terminal."""
    monkeypatch.chdir(folder)
    console, text = (pytest.importorskip(f"rich.{name}") for name in ("console", "text"))
    output = io.StringIO()
    output.isatty = lambda: True
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdout", output)
        assert trackplus(["show", "lightning_logs/version_0"]) == 0
    terminal = console.Console(record=True, file=io.StringIO(), width=100)
    terminal.print("[bold green]$[/] trackplus show lightning_logs/version_0", highlight=False)
    terminal.print(text.Text.from_ansi(output.getvalue()))
    theme = importlib.import_module("rich.terminal_theme").MONOKAI
    context = browser.new_context(viewport={"width": 1200, "height": 1200}, device_scale_factor=SCALE)
    page = context.new_page()
    page.set_content(terminal.export_html(theme=theme, inline_styles=True))
    page.add_style_tag(
        content="pre { display: inline-block; padding: 12px; margin: 0; font-size: 15px; line-height: 1.4 }"
    )
    save(page, "digits-show.png", [page.locator("pre")])
    context.close()
