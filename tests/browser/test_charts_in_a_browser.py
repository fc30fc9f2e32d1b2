"""Charts of several curves as a person sees them: TensorBoard's Custom Scalars tab in a real Chromium."""

from __future__ import annotations

import math

import pytest

from lightning_trackplus import TrackPlusLogger
from tests.browser.test_tensorboard_in_a_browser import PATIENCE, save_screenshot
from tests.formats.test_flat_hparams import Tab

expect = pytest.importorskip("playwright.sync_api").expect


def test_lines_and_bands_are_drawn(browser, tmp_path):
    """A chart has a line for each of its curves, and a band an area around its curve; there is one run."""
    charts = {
        "loss": ["train/loss", "val/loss_mean"],
        "spread of the loss": {"band": ["val/loss_p5", "val/loss_median", "val/loss_p95"]},
    }
    logger = TrackPlusLogger(tmp_path, name="", version="run", charts=charts)
    for step in range(60):
        loss = math.exp(-step / 20)
        logger.log_metrics({"train/loss": loss * (1 + math.sin(7 * step) / 9)}, step=step)
        if step % 6 == 5:
            ranks = {"p5": 0.4, "median": 0.8, "mean": 1.1, "p95": 2.2}
            logger.log_metrics({f"val/loss_{name}": loss * factor + 0.1 for name, factor in ranks.items()}, step=step)
    logger.finalize("success")
    with Tab(tmp_path) as tab:
        tab.wait_for({})
        context = browser.new_context(base_url=tab.address(), viewport={"width": 1280, "height": 560})
        context.set_default_timeout(PATIENCE * 1000)
        expect.set_options(timeout=PATIENCE * 1000)
        page = context.new_page()
        page.goto("#custom_scalars&_smoothingWeight=0")
        lines = page.locator("tf-custom-scalar-multi-line-chart-card")
        expect(lines.locator(".line-plot:not(.ghost) path.line")).to_have_count(2)
        band = page.locator("tf-custom-scalar-margin-chart-card")
        expect(band.locator("path.area")).to_have_count(1)
        expect(band.locator("path.line").first).to_be_visible()
        page.locator("paper-checkbox", has_text="Ignore outliers").click()
        save_screenshot(page, "charts.png", 1080, 465)
        assert tab.runs() == {"run"}
        context.close()
