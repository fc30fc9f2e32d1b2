"""What a notebook shows; `tests/browser/test_notebook_in_a_browser.py` looks at it in Chromium."""

from __future__ import annotations

import base64
import io
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas
import PIL.Image
import pytest
import soundfile
import torch

from lightning_trackplus import (
    Audio,
    HeatMap,
    Histogram,
    Html,
    Image,
    Media,
    Table,
    Text,
    TrackPlusLogger,
    Video,
    read_run,
    reducers,
    report,
)
from lightning_trackplus.reading.run import Run

HOSTILE = "<script>ran = 1</script>\"'><img src=x onerror=ran=2>"


class Shown(HTMLParser):
    """What a browser makes of HTML: each element with its attributes, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        """Return the attributes of each element of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]

    def data(self, tag):
        """Return the bytes that elements of a kind show."""
        return [base64.b64decode(one["src"].partition(";base64,")[2]) for one in self.all(tag)]


def shown(value) -> Shown:
    """Return what a notebook shows of a value."""
    return Shown(value._repr_html_())


def test_images_have_their_pixels_captions_and_scores():
    """They are the files that are logged, in one range of values, and small ones are enlarged."""
    pixels = torch.rand(3, 3, 8, 8)
    page = shown(Image(pixels, caption=["one", "two", "three"], score=[0.5, 1.5, 2.5]))
    pictures = [np.asarray(PIL.Image.open(io.BytesIO(data))) for data in page.data("img")]
    np.testing.assert_allclose(np.stack(pictures).transpose(0, 3, 1, 2), pixels * 255, atol=1)
    assert re.findall(r"one|two|three|score \S+?5", page.text) == [
        *("one", "score 0.5", "two", "score 1.5", "three", "score 2.5"),
    ]
    assert "pixelated" in page.all("img")[0]["style"]
    dark = shown(Image(torch.cat([torch.ones(64, 1, 4, 4) / 4, torch.full((1, 1, 4, 4), 200.0)])))
    assert PIL.Image.open(io.BytesIO(dark.data("img")[0])).getpixel((0, 0)) == 0


def test_what_is_large_is_scaled_down_or_left_out():
    """An output has a size, and says what is not in it."""
    page = shown(Image(torch.rand(3, 1200, 2400)))
    assert PIL.Image.open(io.BytesIO(page.data("img")[0])).size == (800, 400)
    assert "not shown" not in page.text
    many = shown(Image(torch.rand(100, 1, 4, 4)))
    assert len(many.all("img")) == 64
    assert many.text == "36 more are not shown."
    sounds = Audio(torch.rand(3, 1, 3_000_000), 48_000)
    assert shown(sounds).text == "2 more are not shown."
    assert len(sounds._repr_html_()) < 10.1e6


def test_sounds_videos_texts_tables_matrices_and_histograms():
    """Each is what a browser plays or shows, with the values that were given."""
    tone = torch.sin(torch.arange(800) * 0.3) / 2
    (sound,) = shown(Audio(tone, 8000)).data("audio")
    samples, rate = soundfile.read(io.BytesIO(sound))
    assert rate == 8000
    np.testing.assert_allclose(samples, tone, atol=1e-4)
    (video,) = shown(Video(torch.rand(3, 3, 8, 8), fps=2)).data("img")
    assert PIL.Image.open(io.BytesIO(video)).n_frames == 3
    text = shown(Text("# Title\n\n| a | b |\n|---|---|\n| 1 | 2 |", caption="below"))
    assert len(text.all("h1")) == 1
    assert "".join(text.text.split()) == "Titleab12below"
    table = shown(Table([[n, "x"] for n in range(300)], columns=["n", "what"]))
    assert len(table.all("tr")) == 201
    assert "100 more rows are not shown." in table.text
    (matrix,) = shown(HeatMap(torch.eye(3), ["a", "b", "c"])).data("img")
    assert PIL.Image.open(io.BytesIO(matrix)).width > 100
    counts = shown(Histogram([0.0, 0.5, 0.5, 1.0], bins=2))
    heights = re.findall(r'height="([\d.]+)"', counts.data("img")[0].decode())[1:]
    assert float(heights[0]) * 3 == pytest.approx(float(heights[1]), abs=0.02)
    assert counts.text == "0 to 1, 4 values"


def test_texts_without_markdown_it_are_as_they_are_written(monkeypatch):
    """It is of the extra `report`."""
    monkeypatch.setitem(sys.modules, "markdown_it", None)
    page = shown(Text(f"# {HOSTILE}"))
    assert page.text == f"# {HOSTILE}"
    assert [tag for tag, _ in page.elements if tag in {"h1", "script", "img"}] == []


def test_a_page_of_a_user_is_in_a_frame_that_reaches_nothing():
    """It may run what it brings; a frame without `allow-same-origin` has an origin of its own."""
    page = shown(Html(f"<p>{HOSTILE}</p>"))
    (frame,) = page.all("iframe")
    assert frame["sandbox"] == "allow-scripts"
    assert frame["srcdoc"] == f"<p>{HOSTILE}</p>"
    assert page.all("script") == []


def test_a_medium_of_ones_own_can_be_saved():
    """What no browser shows is a link to the file."""

    class Points(Media):
        kind = "points"
        suffix = ".ply"

        def snapshot_item(self, item):
            return item

        def encode_item(self, item):
            return item.encode()

    page = shown(Points(["abc"]))
    (link,) = page.all("a")
    assert base64.b64decode(link["href"].partition(",")[2]) == b"abc"
    assert page.text == link["download"] == "points.ply"


def log_run(folder: Path) -> Path:
    """Log numbers and media, and return the run directory."""
    logger = TrackPlusLogger(folder, name="", version="run", hparam_metrics={"loss": "min"})
    for step in range(40):
        logger.log_metrics({"loss": (step - 20.0) ** 2, "late": float("inf"), "epoch": step // 10}, step=step)
    for step in (9, 19):
        logger.log_media("digits", Image(torch.rand(10, 1, 8, 8), score=torch.arange(10).roll(3) + step), step=step)
    logger.finalize("success")
    return Path(logger.log_dir)


@pytest.mark.parametrize("frames", ["pandas", "polars"])
def test_a_run_is_a_table_with_curves_and_its_newest_media(frames, tmp_path):
    """The values are those of the frame; the best one is bold; media come in the order of their scores."""
    run = read_run(log_run(tmp_path), frames=frames)
    html, page = run._repr_html_(), shown(run)
    cells = re.findall(r"<td[^>]*>(.*?)</td>", html)
    assert cells[:4] == [
        "loss",
        "<span>361</span> <small>at 39</small>",
        "<b>0</b> <small>at 20</small>",
        "<span>400</span> <small>at 0</small>",
    ]
    curve, *pictures = page.data("img")
    points = np.array(re.findall(r"([\d.]+),([\d.]+)[ \"]", curve.decode()), float)
    np.testing.assert_allclose(points[:, 0], np.linspace(2, 158, 40), atol=0.06)
    np.testing.assert_allclose(points[:, 1], 26 - (np.arange(40) - 20.0) ** 2 / 400 * 24, atol=0.06)
    assert len(pictures) == 8
    assert re.findall(r"score (\d\d)", page.text) == [str(score) for score in range(28, 20, -1)]
    assert "finished 40 rows, 2 metrics, 20 media files" in page.text
    assert "2 more are not shown." in page.text
    assert repr(run) == f"<Run {tmp_path}/run: 40 rows of 2 metrics, 20 media files>"
    assert report(run).html.count("<th>loss</th>") == 1


def test_names_captions_and_cells_are_text(tmp_path):
    """Whatever is in them, the elements are those of harmless ones."""

    def page(text):
        logger = TrackPlusLogger(tmp_path, name=text.replace("/", ":"), version="run")
        logger.log_metrics({text: 1.0, f"{text}2": 1.0}, step=0)
        medium = Image(torch.rand(1, 8, 8), caption=text)
        table = Table([[text]], columns=[text], caption=text)
        logger.log_media(f"image {text}", medium, step=0)
        logger.log_media(f"table {text}", table, step=0)
        logger.log_media(f"text {text}", Text(text, caption=text), step=0)
        logger.finalize("success")
        outputs = [read_run(logger.log_dir), medium, table, Text(text, caption=text)]
        return [element for one in outputs for element in shown(one).elements], shown(outputs[0]).text

    hostile, text = page(HOSTILE)
    harmless, _ = page("a")
    assert [(tag, sorted(attributes)) for tag, attributes in hostile] == [
        (tag, sorted(attributes)) for tag, attributes in harmless
    ]
    assert text.count(HOSTILE) == 11


def test_runs_without_numbers_files_or_a_folder(tmp_path):
    """Nothing raises; what is missing is counted, and what is too much is not shown."""
    log_run(tmp_path)
    run = read_run(tmp_path / "run")
    for record in run.media[10:13]:
        record.path.unlink()
    assert "3 files are missing." in shown(run).text
    empty = pandas.DataFrame({"step": np.zeros(0, np.int64), "epoch": np.zeros(0)})
    assert "0 rows, 0 metrics, 0 media files" in shown(Run(tmp_path / "none", empty, ())).text
    wide = pandas.DataFrame({"step": [0], "epoch": [0.0], **{f"m{number}": [1.0] for number in range(150)}})
    page = shown(Run(tmp_path, wide, ()))
    assert "50 more metrics are not shown." in page.text
    assert len(page.all("tr")) == 101
    numbers = pandas.DataFrame({"step": range(5), "epoch": 0.0, "x": [np.inf, np.nan, 1e308, -1e308, -np.inf]})
    assert b"polyline" in shown(Run(tmp_path, numbers, ())).data("img")[0]
    damaged = pandas.DataFrame({"step": [0, 1], "epoch": ["0", "?"], "x": [1.0, 2.0]})
    assert b"polyline" in shown(Run(tmp_path, damaged, ())).data("img")[0]


@pytest.mark.parametrize(
    ("reducer", "name", "result"),
    [
        (reducers.Quantile(0.5), "Quantile(q=0.5)", "3"),
        (reducers.TopK(2), "TopK(k=2)", "top1 10, top2 4"),
        (reducers.Running(3, "max"), "Running(window=3, reducer=Max())", "10"),
        (reducers.Mean(nan_policy="raise"), "Mean(nan_policy='raise')", "4"),
        (reducers.Histogram(4, 0.0, 12.0), "Histogram(bins=4, low=0.0, high=12.0)", "0 to 12, 5 values"),
        (reducers.Function(lambda values: values.sum()), "Function(function=<lambda>)", "20"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_reducer_says_what_it_is_and_computes(reducer, name, result):
    """Its class and arguments, a line about it, and what it makes of five values; its own values stay."""
    reducer.update(7.0)
    before = reducer.compute()
    page = shown(reducer)
    assert page.text.startswith(f"{name} named {reducer.name}")
    assert page.text.endswith(f"of 1, 2, 3, 4, 10: {result}")
    assert repr(reducer) == name
    assert str(reducer.compute()) == str(before)


def test_a_reducer_whose_function_fails_has_no_example():
    """The rest is shown."""
    page = shown(reducers.Function(lambda values: values.view(2, 2).sum()))
    assert page.text.startswith("Function(")
    assert "of 1, 2" not in page.text


def test_a_report_in_a_notebook_holds_less_media_than_a_file(tmp_path):
    """A notebook stores what it shows; a limit that is given holds for both."""
    logger = TrackPlusLogger(tmp_path, name="", version="run")
    for step in range(7):
        noise = torch.randint(0, 256, (3, 600, 600), dtype=torch.uint8, generator=torch.Generator().manual_seed(step))
        logger.log_media("noise", Image(noise), step=step)
    logger.finalize("success")
    run = read_run(logger.log_dir)
    inline, file = report(run), report(run, tmp_path / "report.html").read_text()
    assert "3 of 7 files, 3.2 MB, are left out" in inline.html
    assert "the report holds up to 5 MB of media" in " ".join(inline.html.split())
    assert "are left out" not in file
    assert "are left out" not in report(run, max_media_mb=8).html
    assert len(inline._repr_html_()) < 12e6
    (frame,) = shown(inline).all("iframe")
    assert frame["sandbox"] == "allow-scripts allow-downloads"
    assert frame["srcdoc"] == inline.html
