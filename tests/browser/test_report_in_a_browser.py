"""The report of one run and of three as a person sees it: a file opened in a real Chromium.

Needs what `test_tensorboard_in_a_browser.py` needs. `test_digits_pictures.py` draws the pictures of the documentation.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import plotly.graph_objects as go
import pytest
import torch

from lightning_trackplus import (
    Audio,
    Figure,
    Histogram,
    Html,
    Image,
    Table,
    Text,
    TrackPlusLogger,
    Video,
    read_run,
    report,
)

# Where it is missing, the fixture `browser` says so.
with contextlib.suppress(ModuleNotFoundError):
    from playwright.sync_api import Browser, ConsoleMessage, Locator, Route, expect

pytest.importorskip("jinja2")
pytest.importorskip("markdown_it")

PATIENCE = 60_000  # Milliseconds.
STEPS = 60
PER_EPOCH = 20
SAMPLE_RATE = 8000

# What the outputs of a notebook may do in VS Code with the setting `notebook.experimental.enableCsp`.
VS_CODE = (
    "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval';"
    " style-src 'unsafe-inline'; img-src https: http: data:; font-src https:; connect-src https:;"
    ' child-src https: data: blob:">'
)

# Each sets a global if it runs, in one of the ways in which text becomes a program.
HOSTILE = [
    "</script><script>window.ran = 1</script>",
    '"><img src=x onerror="window.ran = 2">',
    "<svg onload='window.ran = 3'></svg>",
    "[link](javascript:window.ran=4)<a href='javascript:window.ran=5'>click</a>",
    "{{ 7 * 7 }}`;window.ran = 6//-->",
]
EVERY = " ".join(HOSTILE)


class Opened:
    """A report in a window, and all that must not happen there."""

    def __init__(self, browser: Browser, path: Path, **options: object) -> None:
        self.context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True, **options)
        self.context.set_default_timeout(PATIENCE)
        self.faults: list[str] = []
        self.page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.faults.append(f"raised {error}"))
        self.page.on("dialog", lambda dialog: (self.faults.append(f"asked {dialog.message}"), dialog.dismiss()))
        self.page.on("console", self._hear)
        self.page.route(re.compile("^(?!file:|data:|blob:|about:)"), self._refuse)
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-ready]", state="attached")

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.faults.append(f"said {message.text}")

    def _refuse(self, route: Route) -> None:
        self.faults.append(f"asked for {route.request.url}")
        route.abort()

    def card(self, title: str) -> Locator:
        """Return the frame around a chart or a medium."""
        return self.page.locator(".card", has=self.page.get_by_role("heading", name=title, exact=True))

    def chart(self, title: str) -> Locator:
        """Return the plot with a title once it is drawn."""
        plot = self.card(title).locator(".plot")
        plot.scroll_into_view_if_needed()
        expect(plot.locator(".main-svg").first).to_be_visible()
        return plot

    def medium(self, name: str) -> Locator:
        """Return the card of a medium once it shows something."""
        card = self.card(name)
        card.scroll_into_view_if_needed()
        expect(card.locator("figure").first).to_be_attached()
        return card

    def show_all(self) -> None:
        """Scroll over the whole page, so that all of it is drawn."""
        for place in self.page.locator(".plot, .medium").all():
            place.scroll_into_view_if_needed()
        expect(self.page.locator("#charts .plot:not(.js-plotly-plot)")).to_have_count(0)
        expect(self.page.locator(".medium > div:last-child:empty")).to_have_count(0)


def log_run(root: Path, version: int, rate: float) -> Path:
    """Log a run with a curve of each shape and media of each kind at two steps, and return its directory."""
    logger = TrackPlusLogger(root, name="", version=version)
    logger.log_hyperparams({"rate": rate, "layers": 3})
    for step in range(STEPS):
        values = {"train/loss": 2.0 ** -(step * rate), "epoch": step // PER_EPOCH}
        if (step + 1) % PER_EPOCH == 0:
            values |= {"val/loss_mean": 1 / (step + 1), "val/loss_p5": 0.0, "val/loss_p95": 2 / (step + 1)}
        logger.log_metrics(values, step=step)
    for step in (PER_EPOCH - 1, STEPS - 1):
        pictures = [torch.full((1, 8, 8), shade) for shade in (0.2, 0.9, 0.5)]
        score = [0.2, 0.9, 0.5]
        logger.log_media("val/hard", Image(pictures, [f"{one} of {step}" for one in score], score), step=step)
        tone = torch.sin(torch.arange(SAMPLE_RATE // 2) * 0.3) * 0.5
        logger.log_media("val/tone", Audio(tone, SAMPLE_RATE), step=step)
        logger.log_media("val/film", Video(torch.rand(3, 3, 8, 8), fps=2), step=step)
        logger.log_media("val/words", Text(f"# After {step}\n\n| a | b |\n|---|---|\n| 1 | 2 |"), step=step)
        logger.log_media("val/rows", Table([[step, "x"]], columns=["step", "what"]), step=step)
        logger.log_media("val/weights", Histogram([0.0, 0.5, 0.5, 1.0], bins=2), step=step)
        alive = Figure(go.Figure(go.Scatter(y=[1, 3, 2], name="theirs")), caption=f"after {step}")
        logger.log_media("val/alive", alive, step=step)
    logger.finalize("success")
    return Path(logger.log_dir)


@pytest.fixture(scope="module")
def runs(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Log three runs; asking for the browser first spares them without one."""
    root = tmp_path_factory.mktemp("runs")
    return [log_run(root, version, rate) for version, rate in enumerate([0.1, 0.2, 0.2])]


@pytest.fixture(scope="module")
def one(browser: Browser, runs: list[Path]) -> Iterator[Opened]:
    """Open the report of one run."""
    opened = Opened(browser, report(runs[0], runs[0].parent / "one.html"))
    yield opened
    opened.context.close()


@pytest.fixture(scope="module")
def three(browser: Browser, runs: list[Path]) -> Iterator[Opened]:
    """Open the report of three runs."""
    opened = Opened(browser, report(runs, runs[0].parent / "three.html"))
    yield opened
    opened.context.close()


def traces(plot: Locator) -> list[dict]:
    """Return what plotly draws: name, x and y of each trace with points."""
    return plot.evaluate(
        "plot => plot.data.map(({name, x, y, fill}) => ({name, x: Array.from(x), y: Array.from(y), fill: fill ?? ''}))"
    )


def choose(opened: Opened, axis: str) -> None:
    """Choose the x axis of all charts."""
    opened.page.locator("#axis label", has_text=axis).click()


def test_one_run_has_every_value_over_each_axis(one: Opened, runs: list[Path]) -> None:
    """A curve has its values; over epochs it ends at the epochs that were done, over time at the seconds it took."""
    plot = one.chart("train/loss")
    (line,) = traces(plot)
    written = read_run(runs[0]).metrics
    assert line["x"] == written["step"].tolist()
    assert line["y"] == written["train/loss"].tolist()
    choose(one, "epoch")
    (line,) = traces(plot)
    assert line["x"][PER_EPOCH - 1 :: PER_EPOCH] == pytest.approx([1, 2, 3])
    expect(plot.locator(".xtitle")).to_have_text("epochs")
    choose(one, "time")
    (line,) = traces(plot)
    assert line["x"][0] == 0
    assert line["x"] == sorted(line["x"])
    assert 0 < line["x"][-1] < 600
    choose(one, "step")
    assert one.faults == []


def test_charts_are_grouped_by_the_prefix_of_their_names(one: Opened) -> None:
    """A group can be closed."""
    groups = one.page.locator("details.section")
    expect(groups.locator("h2")).to_have_text(["train", "val"])
    expect(groups.nth(1).locator("h3")).to_have_text(["val/loss"])
    groups.nth(1).locator("summary").click()
    expect(groups.nth(1).locator("h3")).to_be_hidden()
    groups.nth(1).locator("summary").click()
    assert one.faults == []


def test_a_band_lies_around_the_mean(one: Opened) -> None:
    """What is logged as p5 and p95 is a band and no lines of its own."""
    low, high, mean = traces(one.chart("val/loss"))
    assert [low["y"], high["fill"], high["name"], mean["name"]] == [[0, 0, 0], "tonexty", "p5 to p95", "mean"]
    assert [value > mean["y"][place] for place, value in enumerate(high["y"])] == [True] * 3


def test_zoom_hover_and_log_scale(one: Opened) -> None:
    """Dragging zooms, double-click goes back, a place under the mouse is told, and log makes the axis logarithmic."""
    plot = one.chart("train/loss")
    area = plot.locator(".nsewdrag").first
    box = area.bounding_box()
    assert box is not None
    mouse = one.page.mouse
    whole = plot.evaluate("plot => plot.layout.xaxis.range")
    mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.5)
    expect(plot.locator(".hoverlayer")).to_contain_text(re.compile(r"\d"))
    mouse.down()
    mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.5, steps=5)
    mouse.up()
    start, end = plot.evaluate("plot => plot.layout.xaxis.range")
    assert whole[0] < start < end < whole[1]
    assert end - start == pytest.approx(0.3 * (whole[1] - whole[0]), rel=0.05)
    area.dblclick()
    one.page.wait_for_function("plot => plot.layout.xaxis.autorange", arg=plot.element_handle())
    log = one.card("train/loss").get_by_role("button", name="log")
    log.click()
    assert plot.evaluate("plot => plot._fullLayout.yaxis.type") == "log"
    log.click()
    assert plot.evaluate("plot => plot._fullLayout.yaxis.type") == "linear"
    assert one.faults == []


def test_media_of_one_run(one: Opened) -> None:
    """Pictures stand in the order of their scores, sounds have loaded, texts and tables are there, plotly is alive."""
    card = one.medium("val/hard")
    last = STEPS - 1
    expect(card.locator("figcaption")).to_have_text([f"{score} of {last}score {score}" for score in (0.9, 0.5, 0.2)])
    assert card.locator("img").first.evaluate("async img => (await img.decode(), img.naturalWidth)") == 8
    card.get_by_role("slider").press("ArrowLeft")
    expect(card.locator("figcaption").first).to_have_text(f"0.9 of {PER_EPOCH - 1}score 0.9")
    expect(card.locator(".slider span")).to_have_text(f"step {PER_EPOCH - 1}")

    sound = one.medium("val/tone").locator("audio")
    expect(sound).to_be_visible()
    ready = "audio => audio.readyState >= HTMLMediaElement.HAVE_METADATA || audio.error !== null"
    one.page.wait_for_function(ready, arg=sound.element_handle())
    assert sound.evaluate("audio => [audio.duration, audio.error]") == [0.5, None]
    sound.evaluate("audio => audio.play()")
    one.page.wait_for_function("audio => audio.ended", arg=sound.element_handle())
    assert one.medium("val/film").locator("img").evaluate("async img => (await img.decode(), img.naturalWidth)") == 8
    expect(one.medium("val/words").locator("h1")).to_have_text(f"After {last}")
    expect(one.medium("val/words").locator("td")).to_have_text(["1", "2"])
    expect(one.medium("val/rows").locator("th, td")).to_have_text(["step", "what", str(last), "x"])
    histogram = one.medium("val/weights").locator(".plot")
    expect(histogram.locator(".main-svg").first).to_be_visible()
    assert histogram.evaluate("plot => [...plot.data[0].y]") == [1, 3]

    alive = one.medium("val/alive").frame_locator("iframe")
    expect(alive.locator(".js-plotly-plot .scatterlayer path.js-line")).to_be_visible()
    alive.locator(".point").nth(1).hover(force=True)
    expect(alive.locator(".hoverlayer")).to_contain_text("3")
    assert one.faults == []


def test_three_runs_share_charts_and_are_switched_off_for_all(three: Opened) -> None:
    """Each run has a colour; one that is switched off leaves all charts, tables and media, and comes back."""
    expect(three.page.locator("header")).to_contain_text("They differ in rate")
    expect(three.page.locator("#differences tbody tr")).to_have_count(3)
    expect(three.page.locator("#differences td.different")).to_have_text(["0.1", "0.2", "0.2"])
    expect(three.page.locator("#hparams td").first).to_have_text("3")
    losses, means = three.chart("train/loss"), three.chart("val/loss_mean")
    names = ["version_0", "version_1", "version_2"]
    assert [line["name"] for line in traces(losses)] == names
    assert [line["name"] for line in traces(means) if not line["fill"]][-3:] == names
    assert len({line["line"]["color"] for line in losses.evaluate("plot => plot.data")}) == 3
    card = three.medium("val/hard")
    expect(card.locator(".of-run")).to_have_text(names)
    switch = three.page.locator("#runs label", has_text="version_1")
    switch.click()
    assert [line["name"] for line in traces(losses)] == ["version_0", "version_2"]
    assert "version_1" not in {line["name"] for line in traces(means)}
    expect(card.locator(".of-run")).to_have_text(["version_0", "version_2"])
    expect(three.page.locator("#summary thead th:visible")).to_have_text(["metric", "version_0", "version_2"])
    switch.click()
    assert [line["name"] for line in traces(losses)] == names
    three.page.locator("#summary select").select_option("min")
    lowest = three.page.locator("#summary tr", has_text="train/loss").locator("td span:visible").first
    expect(lowest).to_have_text(f"{2.0**-5.9:.5g} at 59")
    for axis in ("epoch", "time", "step"):
        choose(three, axis)
        assert len(traces(losses)) == 3
    assert three.faults == []


def test_nothing_in_the_data_runs(browser: Browser, runs: list[Path], tmp_path: Path) -> None:
    """Scripts, handlers and addresses in every field are shown as they are, and none of them runs."""
    logger = TrackPlusLogger(tmp_path, name="<img src=x onerror=ran=7>", version="<b onclick=ran=8>")
    logger.log_hyperparams({EVERY: EVERY, **{f"key {text}": text for text in HOSTILE}})
    for step in range(2):
        logger.log_metrics({f"{text}/{text}": step for text in HOSTILE}, step=step)
        logger.log_metrics({f"a/{EVERY}_{end}": step for end in ("mean", "p5", "p95")}, step=step)
        texts = [*HOSTILE, EVERY]
        logger.log_media(f"image {EVERY}", Image(torch.rand(len(texts), 1, 8, 8), texts), step=step)
        markdown = [f"{text}\n\n{text}\n\n![p](http://example.com/a.png)" for text in texts]
        logger.log_media(f"text {EVERY}", Text(markdown, texts), step=step)
        cells = [[text, number] for number, text in enumerate(texts)]
        logger.log_media(f"table {EVERY}", Table(cells, columns=[EVERY, "n"], caption=EVERY), step=step)
    logger.log_media("page", Html("<script>document.title = 'own'; parent.ran = 9</script><p id=own>mine</p>"), step=1)
    logger.finalize("success")
    hostile = Path(logger.log_dir)
    with (hostile / "hparams.yaml").open("a") as file:
        file.write('made: !!python/object/apply:os.system ["touch made"]\n')
    one, two = report(hostile, tmp_path / "one.html"), report([hostile, runs[0]], tmp_path / "two.html", group_by=EVERY)
    for path in (one, two):
        opened = Opened(browser, path)
        opened.show_all()
        page = opened.page
        assert page.evaluate("window.ran") is None
        assert page.locator("[onerror], [onload], [onclick], [href^='javascript:'], main img[src=x]").count() == 0
        expect(page.locator("h3", has_text="<svg onload").first).to_be_visible()
        expect(page.locator("#hparams, #differences").first).to_contain_text(HOSTILE[0])
        expect(page.frame_locator("iframe[title='']").locator("#own")).to_have_text("mine")
        # The page of a user runs in its frame, and is refused what is around it.
        assert [fault for fault in opened.faults if "cross-origin" not in fault] == []
        opened.context.close()
    assert not list(Path.cwd().glob("made"))


def test_a_notebook_shows_runs_grouped_by_a_hyperparameter(browser: Browser, runs: list[Path], tmp_path: Path) -> None:
    """Without a path, the page is shown in a frame; runs with the same value are one line with a band."""
    notebook = tmp_path / "notebook.html"
    shown = report(runs, group_by="rate")._repr_html_()
    notebook.write_text(f"<!doctype html><html data-ready><meta charset=utf-8>{VS_CODE}{shown}")
    opened = Opened(browser, notebook)
    frame = opened.page.frame_locator("iframe").first
    plot = frame.locator(".card", has_text="train/loss").locator(".plot")
    expect(plot.locator(".main-svg").first).to_be_visible()
    drawn = traces(plot)
    assert [line["fill"] for line in drawn] == ["", "tonexty", "", ""]
    assert [line["name"] for line in drawn[2:]] == ["rate = 0.1 (1 run)", "rate = 0.2 (2 runs)"]
    expect(frame.locator("#axis input[value=time]")).to_be_disabled()
    assert opened.faults == []
    opened.context.close()


def test_a_phone_in_the_dark(three: Opened) -> None:
    """Nothing but tables, in their frames, is wider than the window of a phone; colours follow the system."""
    three.page.emulate_media(color_scheme="dark")
    three.page.set_viewport_size({"width": 390, "height": 800})
    three.show_all()
    assert three.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert three.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 28)"
    assert three.chart("train/loss").evaluate("plot => plot.layout.xaxis.gridcolor") == "#262b34"
    assert three.faults == []


def test_all_of_a_report_is_printed(browser: Browser, runs: list[Path], tmp_path: Path) -> None:
    """Also charts and media that nobody has scrolled to, in dark ink, and tables in full."""
    opened = Opened(browser, report(runs[0], tmp_path / "one.html"), color_scheme="dark")
    undrawn = ".plot:not(.js-plotly-plot), .medium > div:last-child:empty"
    expect(opened.page.locator(undrawn)).not_to_have_count(0)
    opened.page.evaluate(
        f"addEventListener('afterprint', () => {{ window.left = document.querySelectorAll('{undrawn}').length }})"
    )
    opened.page.pdf(path=tmp_path / "report.pdf")
    assert opened.page.evaluate("window.left") == 0
    opened.page.emulate_media(media="print")
    expect(opened.page.locator(undrawn)).to_have_count(0)
    assert opened.page.evaluate("getComputedStyle(document.body).color") == "rgb(29, 36, 48)"
    assert opened.chart("train/loss").evaluate("plot => plot.layout.xaxis.gridcolor") == "#eef0f4"
    assert opened.page.locator("#summary .scroll").evaluate("table => table.scrollHeight <= table.clientHeight")
    assert opened.faults == []
    opened.context.close()


def test_another_axis_leaves_media_as_they_are(one: Opened) -> None:
    """A sound that plays goes on."""
    sound = one.medium("val/tone").locator("audio").element_handle()
    choose(one, "epoch")
    assert sound.evaluate("audio => audio.isConnected")
    choose(one, "step")
    assert one.faults == []
