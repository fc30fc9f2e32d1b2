"""What a notebook shows, in a real Chromium, as the output of cells of a hostile run."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
import torch

from lightning_trackplus import Audio, Html, Image, Table, Text, TrackPlusLogger, read_run, reducers, report
from tests.browser.test_report_in_a_browser import EVERY, HOSTILE, Opened
from tests.integration.test_notebook_example import NOTEBOOK, kernel_folder  # noqa: F401  a fixture

# Where it is missing, the fixture `browser` says so.
with contextlib.suppress(ModuleNotFoundError):
    from playwright.sync_api import Browser, expect

pytest.importorskip("jinja2")
pytest.importorskip("markdown_it")

ROOT = Path(__file__).parents[2]
SAMPLE_RATE = 8000


def test_nothing_in_the_data_runs_in_a_notebook(browser: Browser, tmp_path: Path) -> None:
    """Texts are shown as they are; sounds and pictures load; a page of a user runs in its frame and reaches nothing."""
    texts = [*HOSTILE, EVERY]
    page = Html("<script>document.title = 'own'; parent.ran = 9</script><p id=own>mine</p>", caption=EVERY)
    media = {
        "image": Image(torch.rand(len(texts), 1, 8, 8), texts),
        "text": Text([f"{text}\n\n{text}\n\n![p](http://example.com/a.png)" for text in texts], texts),
        "table": Table([[text, 1] for text in texts], columns=[EVERY, "n"], caption=EVERY),
        "sound": Audio(torch.sin(torch.arange(SAMPLE_RATE // 2) * 0.3), SAMPLE_RATE, EVERY),
        "page": page,
    }
    logger = TrackPlusLogger(tmp_path, name="<img src=x onerror=ran=7>", version="<b onclick=ran=8>")
    for text in texts:
        logger.log_metrics({text: 1.0, f"{text}/2": 2.0}, step=0)
    for name, medium in media.items():
        logger.log_media(f"{name} {EVERY}", medium, step=0)
    logger.finalize("success")

    def largest(values: torch.Tensor) -> torch.Tensor:
        return values.max()

    largest.__name__ = EVERY
    run = read_run(logger.log_dir)
    outputs = [run, *media.values(), reducers.Function(largest), report(run)]
    notebook = tmp_path / "notebook.html"
    cells = "".join(f"<section>{one._repr_html_()}</section>" for one in outputs)
    notebook.write_text(f"<!doctype html><html data-ready><meta charset=utf-8>{cells}")
    opened = Opened(browser, notebook)
    shown = opened.page
    assert shown.locator("section").count() == len(outputs)
    for frame in shown.locator("iframe").all():
        frame.scroll_into_view_if_needed()
    own = shown.locator("section").nth(5).frame_locator("iframe").locator("#own")
    expect(own).to_have_text("mine")
    assert own.evaluate("() => [document.title, origin]") == ["own", "null"]
    expect(shown.frame_locator("section:last-child iframe").locator("h1")).to_contain_text("onclick")
    for text in HOSTILE:
        expect(shown.locator("section").first).to_contain_text(text)
    assert shown.evaluate("window.ran") is None
    assert shown.locator("script, svg, [onerror], [onload], [onclick], [href^='javascript:'], img[src=x]").count() == 0
    for picture in shown.locator("img").all():
        assert picture.evaluate("async img => (await img.decode(), img.naturalWidth)") > 0
    for sound in shown.locator("audio").all():
        shown.wait_for_function("audio => audio.readyState >= 1 || audio.error", arg=sound.element_handle())
        assert sound.evaluate("audio => [audio.duration, audio.error]") == [0.5, None]
    assert [fault for fault in opened.faults if "cross-origin" not in fault] == []
    opened.context.close()


@pytest.mark.skipif("TRACKPLUS_SCREENSHOTS" not in os.environ, reason="TRACKPLUS_SCREENSHOTS asks for pictures")
def test_pictures_of_the_example(browser: Browser, kernel_folder: Path) -> None:  # noqa: F811  the fixture
    """Save what the cells of the example look like in Jupyter; this needs nbconvert."""
    nbconvert, nbclient, nbformat = map(pytest.importorskip, ("nbconvert", "nbclient", "nbformat"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(kernel_folder)}}).execute()
    exported = kernel_folder / "notebook.html"
    exported.write_text(nbconvert.HTMLExporter(template_name="lab").from_notebook_node(notebook)[0])
    page = browser.new_page(viewport={"width": 1000, "height": 1000})
    page.goto(exported.as_uri())
    cells = page.locator(".jp-CodeCell")
    cells.last.scroll_into_view_if_needed()
    frame = cells.last.frame_locator("iframe")
    frame.get_by_role("heading", name="train/loss").scroll_into_view_if_needed()
    expect(frame.locator(".plot .main-svg").first).to_be_visible(timeout=60_000)
    folder = ROOT / os.environ["TRACKPLUS_SCREENSHOTS"]
    for name, first_line in (("notebook-run", "run ="), ("notebook-report", "report(")):
        cells.filter(has_text=first_line).last.screenshot(path=folder / f"{name}.png", animations="disabled")
    page.close()
