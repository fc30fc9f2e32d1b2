"""Two runs as a person sees them: the real TensorBoard in a real Chromium.

One is of the example, one of the program that draws the pictures of the documentation with a medium of each kind.
Playwright for Python and a Chromium or Chrome on the ``PATH`` are needed. Without them these tests are skipped;
with ``TRACKPLUS_REQUIRE_BROWSER=1`` they fail. With ``TRACKPLUS_SCREENSHOTS=docs/images`` each saves a picture of its
tab in that folder of the checkout.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import runpy
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas
import PIL.Image
import pytest

from tests.support.programs import as_a_program

# Where it is missing, the fixture `browser` says so.
with contextlib.suppress(ModuleNotFoundError):
    from playwright.sync_api import Browser, Locator, Page, expect

for _package in ("matplotlib", "sklearn"):
    pytest.importorskip(_package)

ROOT = Path(__file__).parents[2]
EPOCHS = 3
STEPS_PER_EPOCH = 23
LAST_STEP = EPOCHS * STEPS_PER_EPOCH - 1
TRAIN_POINTS = EPOCHS * STEPS_PER_EPOCH // 5  # examples/digits.yaml logs every five steps.
SAMPLES = 8
CARD = 350
PATIENCE = 100  # Seconds; it ends what hangs, and a machine may be slow.

EVERY_KIND = runpy.run_path(str(ROOT / "docs/draw_media.py"))
EPOCHS_OF_MEDIA = EVERY_KIND["EPOCHS"]
LAST_STEP_OF_MEDIA = EPOCHS_OF_MEDIA * EVERY_KIND["TRAINING"] // 100 - 1


@pytest.fixture(scope="module")
def run(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the example and return its run directory; asking for the browser first spares the run without one."""
    root = tmp_path_factory.mktemp("digits")
    trainer = {"default_root_dir": root, "max_epochs": EPOCHS, "accelerator": "cpu"}
    options = [word for name, value in trainer.items() for word in (f"--trainer.{name}", str(value))]
    with as_a_program("fit", "--config", "examples/digits.yaml", *options, folder=ROOT):
        runpy.run_path("examples/digits.py", run_name="__main__")
    return root / "lightning_logs" / "version_0"


@pytest.fixture(scope="module")
def media_run(run: Path) -> Path:
    """Log a medium of each kind beside the example's run, and return the run directory."""
    return EVERY_KIND["log_every_kind"](run.parents[1], run.parent.name, "every_kind")


@pytest.fixture(scope="module")
def tensorboard(run: Path, media_run: Path) -> Iterator[str]:
    """Serve both runs with TensorBoard, and return the address once it has read them to their ends."""
    root = run.parents[1]
    log = root / "tensorboard.log"
    samples = "images=1000,audio=1000,text=1000"
    options = ["--logdir", run.parent.name, "--host", "127.0.0.1", "--port", "0", "--samples_per_plugin", samples]
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "tensorboard.main", *options], cwd=root, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        address_when_ready(server, log, media_run.name, LAST_STEP_OF_MEDIA)
        yield address_when_ready(server, log, run.name, LAST_STEP)
    finally:
        server.terminate()
        try:
            server.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def address_when_ready(server: subprocess.Popen[bytes], log: Path, run: str, step: int) -> str:
    """Return TensorBoard's address; it is ready when it knows the accuracy of a run's last step."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert server.poll() is None, f"TensorBoard ended:\n{log.read_text()}"
        if address := re.search(r"http://127\.0\.0\.1:\d+/", log.read_text()):
            query = f"data/plugin/scalars/scalars?run={run}&tag=val/accuracy"
            try:
                with urllib.request.urlopen(address[0] + query, timeout=PATIENCE) as response:
                    points = json.load(response)
            except OSError:  # It has not read the tag yet.
                points = []
            if points and points[-1][1] == step:
                return address[0]
        time.sleep(0.05)
    pytest.fail(f"TensorBoard did not show step {step} of {run} within {PATIENCE} s:\n{log.read_text()}")


@pytest.fixture(scope="module")
def page(browser: Browser, tensorboard: str) -> Iterator[Page]:
    """Open a window, in which one test after another goes to its tab."""
    context = browser.new_context(base_url=tensorboard, viewport={"width": 1280, "height": 800})
    context.set_default_timeout(PATIENCE * 1000)
    expect.set_options(timeout=PATIENCE * 1000)
    yield context.new_page()
    context.close()


def save_screenshot(page: Page, name: str, width: int, height: int) -> None:
    """Save a picture of the window if the environment asks for pictures."""
    if folder := os.environ.get("TRACKPLUS_SCREENSHOTS"):
        page.set_viewport_size({"width": width, "height": height})
        page.mouse.move(0, 0)
        page.screenshot(path=ROOT / folder / name, animations="disabled")


def open_tab(page: Page, tab: str, run: str, tags: str = "", options: str = "") -> Locator:
    """Show the cards of a run in one tab, or of its tags that match a regular expression, and return their place."""
    if not tags:
        page.goto(f"#{tab}&regexInput={run}")
        return page.locator("body")
    page.goto("about:blank")  # TensorBoard takes the expression from the address when it is loaded.
    page.goto(f"#{tab}&regexInput={run}&tagFilter={urllib.parse.quote(tags)}{options}")
    matching = page.locator("tf-category-paginated-view").first
    shown = rf"Tags matching\s+/\s*{re.escape(tags)}\s*/"
    expect(matching.locator(".heading").first).to_contain_text(re.compile(shown))
    return matching


def card_of(cards: Locator, tag: str) -> Locator:
    """Return the card, or the cards, with a tag in the heading."""
    name = cards.page.locator("[itemprop=name]", has_text=re.compile(rf"^\s*{re.escape(tag)}\s*$"))
    return cards.filter(has=name)


def test_scalars_tab_draws_every_value(page: Page) -> None:
    """The scalars tab has a chart for each scalar, and its line has one corner for each logged point."""
    tags = "^train/|^val/loss|^val/acc"
    cards = open_tab(page, "scalars", "version_0", tags, "&_smoothingWeight=0").locator("tf-scalar-card")
    losses = [f"val/loss_{reducer}" for reducer in ("mean", "p5", "median", "p95")]
    points = dict.fromkeys(["val/accuracy", *losses], EPOCHS)
    points |= dict.fromkeys(["train/loss", "train/loss_ema0.2"], TRAIN_POINTS)
    expect(cards).to_have_count(len(points))
    for tag, count in points.items():
        card = card_of(cards, tag)
        expect(card).to_be_visible()
        line = card.locator(".line-plot:not(.ghost) path.line")
        expect(line).to_be_visible()
        expect(line).to_have_attribute("d", re.compile(rf"^M[-\d.,e]+(L[-\d.,e]+){{{count - 1}}}$"))


def test_histograms_tab_draws_one_for_each_epoch(page: Page) -> None:
    """The histograms tab has a card for the losses, with a curve for each epoch."""
    card = open_tab(page, "histograms", "version_0").locator("tf-histogram-loader", has_text="val/loss_histogram")
    expect(card).to_be_visible()
    expect(card.locator("vz-histogram-timeseries .histogram")).to_have_count(EPOCHS)


def test_images_tab_shows_every_sample(page: Page, run: Path) -> None:
    """The images tab has a card for each of the eight digits, in their order, with the picture of the last epoch."""
    cards = card_of(open_tab(page, "images", "version_0").locator("tf-image-loader"), "val/hardest")
    expect(cards).to_have_count(SAMPLES)
    files = sorted((run / "media" / "val-hardest").glob(f"*{LAST_STEP}-*.png"))
    assert len(files) == SAMPLES
    for number, file in enumerate(files, start=1):
        card = cards.filter(has_text=f"sample: {number} of {SAMPLES}")
        expect(card).to_contain_text(re.compile(rf"step\s*{LAST_STEP}"))
        expect_captioned(card, file)


def shown_in(card: Locator) -> tuple[PIL.Image.Image, bytes]:
    """Await the picture of a card, and return it and its bytes; the card has the width that pictures are drawn for."""
    picture = card.locator("img")
    expect(picture).to_be_visible()
    expect(picture).to_have_js_property("complete", value=True)
    size = picture.evaluate("img => [img.naturalWidth, img.naturalHeight]")
    assert picture.evaluate("img => img.clientWidth") == CARD
    source = picture.get_attribute("src")
    assert source is not None
    body = card.page.request.get(source).body()
    opened = PIL.Image.open(io.BytesIO(body))
    assert list(opened.size) == size
    return opened, body


def expect_captioned(card: Locator, file: Path) -> None:
    """Await a picture that is a file, enlarged to the width of the card, with text below it."""
    picture, _ = shown_in(card)
    with PIL.Image.open(file) as as_logged:
        factor = max(1, CARD // as_logged.width)
        pixels = np.asarray(as_logged.convert("RGB")).repeat(factor, axis=0).repeat(factor, axis=1)
        tolerance = 2 if as_logged.format == "JPEG" else 0
    height, width = pixels.shape[:2]
    shown = np.asarray(picture.convert("RGB"))
    # Where it ends, JPEG mixes it with what is below.
    np.testing.assert_allclose(shown[: height - 16, :width].astype(int), pixels[:-16].astype(int), atol=tolerance)
    strip = shown[height + 2 :]
    assert strip.min() < 128
    assert (strip[-2:] > 250).all()


def files_of(run: Path, name: str) -> list[Path]:
    """Return the media files that were written last under a name, in the order of the items."""
    rows = pandas.read_csv(run / "media.csv")
    return [run / file for file in rows.loc[(rows.name == name) & (rows.step == LAST_STEP_OF_MEDIA), "file"]]


def samples_of(place: Locator, run: Path, name: str, formats: list[str]) -> Iterator[tuple[Locator, Path]]:
    """Yield the card of each image under a name, and its file, which has one of the formats."""
    cards, files = card_of(place.locator("tf-image-loader"), name), files_of(run, name)
    expect(cards).to_have_count(len(formats))
    assert [file.suffix for file in files] == formats
    for number, file in enumerate(files, start=1):
        yield cards.filter(has_text=f"sample: {number} of {len(files)}" if len(files) > 1 else ""), file


def expect_picture(card: Locator, file: Path) -> None:
    """Await the picture of a card: that of a file, decoded to the size that Pillow finds in the file."""
    _, body = shown_in(card)
    assert body == file.read_bytes()


@pytest.mark.parametrize(
    ("name", "formats"),
    [
        ("val/grid", [".png"]),
        ("val/losses", [".png"]),
        ("val/confusion", [".png"]),
    ],
)
def test_images_tab_shows_whatever_is_a_picture(page: Page, media_run: Path, name: str, formats: list[str]) -> None:
    """Images in a grid, figures and heat maps without captions are shown as in their files."""
    for card, file in samples_of(open_tab(page, "images", "every_kind"), media_run, name, formats):
        expect_picture(card, file)


@pytest.mark.parametrize(("name", "formats"), [("val/flower", [".jpeg"]), ("val/hardest", [".webp"] * 4)])
def test_images_tab_shows_captions_and_scores(page: Page, media_run: Path, name: str, formats: list[str]) -> None:
    """Images of every format have them below; the file is as it was logged."""
    for card, file in samples_of(open_tab(page, "images", "every_kind", f"^{name}$"), media_run, name, formats):
        expect_captioned(card, file)
    if len(formats) > 1:
        save_screenshot(page, "captions.png", 1900, 730)


def test_a_confusion_matrix_of_ten_classes_is_shown_pixel_by_pixel(page: Page, media_run: Path) -> None:
    """It has the width of a card, where each of its numbers and names can be read."""
    card = card_of(
        open_tab(page, "images", "every_kind", "^val/confusion$").locator("tf-image-loader"), "val/confusion"
    )
    expect(card).to_have_count(1)
    picture, _ = shown_in(card)
    assert picture.width == CARD


def test_images_tab_plays_videos(page: Page, media_run: Path) -> None:
    """A video is shown as its file, which the browser decodes into all of its frames, and it moves."""
    card = card_of(open_tab(page, "images", "every_kind").locator("tf-image-loader"), "val/pan")
    (file,) = files_of(media_run, "val/pan")
    expect_picture(card, file)
    picture = card.locator("img")
    frames, milliseconds = picture.evaluate(
        """async img => {
            const data = await (await fetch(img.src)).arrayBuffer();
            const decoder = new ImageDecoder({data, type: "image/webp"});
            await Promise.all([decoder.tracks.ready, decoder.completed]);
            const count = decoder.tracks.selectedTrack.frameCount;
            const durations = [];
            for (let frameIndex = 0; frameIndex < count; ++frameIndex)
                durations.push((await decoder.decode({frameIndex})).image.duration / 1000);
            return [count, durations.reduce((sum, duration) => sum + duration)];
        }"""
    )
    assert frames == EVERY_KIND["FRAMES"]
    assert milliseconds == EVERY_KIND["FRAMES"] * 1000 / EVERY_KIND["FPS"]
    first = picture.screenshot()
    deadline = time.monotonic() + PATIENCE
    while picture.screenshot() == first:
        assert time.monotonic() < deadline, "The video stands still."


def test_images_tab_shows_all_kinds_of_pictures_together(page: Page) -> None:
    """Pictures of several kinds stand in one tab, each decoded; the documentation shows it."""
    names = ["confusion", "flower", "losses", "pan"]
    cards = open_tab(page, "images", "every_kind", "|".join(names)).locator("tf-image-loader")
    expect(cards).to_have_count(len(names))
    for name in names:
        picture = card_of(cards, f"val/{name}").locator("img")
        expect(picture).to_be_visible()
        expect(picture).to_have_js_property("complete", value=True)
        assert picture.evaluate("img => img.naturalWidth") > 0
    save_screenshot(page, "pictures.jpeg", 1280, 1060)


def test_histograms_tab_draws_weights(page: Page) -> None:
    """The histograms tab has a card for the weights, with a curve for each epoch."""
    card = open_tab(page, "histograms", "every_kind", "^val/weights$").locator("tf-histogram-loader")
    expect(card).to_have_count(1)
    expect(card.locator("vz-histogram-timeseries .histogram")).to_have_count(EPOCHS_OF_MEDIA)
    save_screenshot(page, "histogram-weights.png", 1280, 480)


def test_distributions_tab_draws_weights(page: Page) -> None:
    """The distributions tab has a chart of the same weights."""
    card = open_tab(page, "distributions", "every_kind").locator("tf-distribution-loader")
    expect(card).to_have_count(1)
    expect(card.locator("vz-distribution-chart path.area").first).to_be_visible()


def test_audio_tab_plays_several_sounds(page: Page, media_run: Path) -> None:
    """Of two sounds of one name, stereo and mono, each is its file, and lasts as long and has as many channels."""
    cards = card_of(open_tab(page, "audio", "every_kind").locator("tf-audio-loader"), "val/chord")
    seconds, files = EVERY_KIND["SECONDS"], files_of(media_run, "val/chord")
    expect(cards).to_have_count(len(seconds))
    for number, (duration, file) in enumerate(zip(seconds, files, strict=True), start=1):
        player = cards.filter(has_text=f"sample: {number} of {len(seconds)}").locator("audio")
        expect(player).to_be_visible()
        loaded = "audio => audio.readyState >= HTMLMediaElement.HAVE_METADATA || audio.error !== null"
        page.wait_for_function(loaded, arg=player.element_handle())
        assert player.evaluate("audio => audio.error && audio.error.message") is None
        assert player.evaluate("audio => audio.duration") == pytest.approx(duration, abs=1e-3)
        channels = """async (audio, rate) => {
            const file = await (await fetch(audio.src)).arrayBuffer();
            return (await new OfflineAudioContext(1, 1, rate).decodeAudioData(file)).numberOfChannels;
        }"""
        assert player.evaluate(channels, EVERY_KIND["SAMPLE_RATE"]) == 3 - number
        source = player.get_attribute("src")
        assert source is not None
        assert page.request.get(source).body() == file.read_bytes()
    save_screenshot(page, "audio-chord.png", 1280, 480)


def test_text_tab_renders_markdown(page: Page) -> None:
    """Headings, lists, tables and code of a text are shown as such."""
    texts = card_of(open_tab(page, "text", "every_kind", "^val/report$").locator("tf-text-loader"), "val/report")
    newest = texts.locator("tf-markdown-view:visible").first
    expect(newest.locator("h3")).to_have_text(re.compile(r"^\d+\.\d% are right$"))
    expect(newest.locator("ol > li")).to_have_text(["The net is linear.", "It has 650 parameters."])
    expect(newest.locator("table td")).to_have_text(["training", "1000", "validation", "797"])
    expect(newest.locator("pre > code")).to_have_text("nn.Linear(64, 10)")
    save_screenshot(page, "text-report.png", 1280, 640)


def test_text_tab_renders_tables(page: Page, media_run: Path) -> None:
    """A table is shown as one, with the cells of its file in their places."""
    tables = card_of(open_tab(page, "text", "every_kind", "^val/worst$").locator("tf-text-loader"), "val/worst")
    newest = tables.locator("tf-markdown-view:visible").first
    (file,) = files_of(media_run, "val/worst")
    written = pandas.read_csv(file)
    expect(newest.locator("table")).to_have_count(1)
    expect(newest.locator("thead th")).to_have_text(["place", "digit", "taken for", "loss"])
    cells = [cell for *row, loss in written.itertuples(index=False) for cell in (*map(str, row), f"{loss:.6g}")]
    assert len(cells) == 20
    expect(newest.locator("tbody td")).to_have_text(cells)
    save_screenshot(page, "table-worst.png", 1280, 560)
