"""Figures: what matplotlib and plotly would save themselves, and the figures stay as they were."""

from __future__ import annotations

import copy
import io
import json
import pickle
import re

import matplotlib as mpl
import numpy as np
import pandas as pd
import PIL.Image
import plotly.graph_objects as go
import pytest
from matplotlib import pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_trackplus.media.figure import Figure, is_figure
from lightning_trackplus.record import Record
from lightning_trackplus.writers.csv import CSVWriter
from lightning_trackplus.writers.tensorboard import EventsWriter

# An encoding that warns where it should be silent fails its test.
pytestmark = pytest.mark.filterwarnings("error")

TYPE_MESSAGE = (
    "Figure got {}; expected a figure of matplotlib, such as ax.figure, a figure of plotly, or a list of figures."
)


@pytest.fixture(autouse=True)
def _no_windows():
    mpl.use("Agg")
    yield
    plt.close("all")


def curve(values=(1, 4, 9), **options):
    """Return a figure that pyplot does not know."""
    figure = mpl.figure.Figure(**options)
    figure.subplots().plot(values)
    return figure


def scatter(values=(1, 4, 9)):
    return go.Figure(go.Scatter(x=np.arange(len(values)), y=np.array(values)), layout={"title": "squares ü </script>"})


def saved(figure):
    """Return what matplotlib saves, RGBA."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=figure.dpi)
    return np.asarray(PIL.Image.open(file))


def pictures(figure, name="curve"):
    """Return what Pillow reads from the PNGs, RGBA."""
    payload = figure.encode(name)
    opened = [PIL.Image.open(io.BytesIO(item.data)) for item in payload.items]
    assert {(item.suffix, one.format) for item, one in zip(payload.items, opened, strict=True)} == {(".png", "PNG")}
    assert (payload.kind, (payload.width, payload.height)) == ("image", opened[0].size)
    return [np.asarray(picture.convert("RGBA")) for picture in opened]


def data_of(item):
    """Return the data that the script of a page is given."""
    page = item.data.decode("utf-8")
    assert item.suffix == ".html"
    start = page.index("[{", page.index("Plotly.newPlot("))
    data, _ = json.JSONDecoder().raw_decode(page[start:])
    return data


class TestMatplotlib:
    """Pictures."""

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"figsize": (3, 2), "dpi": 50},
            {"facecolor": "none"},
            {"facecolor": (0.2, 0.4, 0.6, 0.5)},
            {"layout": "constrained"},
            {"figsize": (0.1, 0.1), "dpi": 10},
        ],
        ids=["plain", "size", "transparent", "half transparent", "constrained", "one pixel"],
    )
    def test_it_is_what_matplotlib_saves(self, options):
        """To the pixel, with its size, its dots per inch and its background."""
        (found,) = pictures(Figure(curve(**options)).snapshot())

        np.testing.assert_array_equal(found, saved(curve(**options)))

    def test_a_list_is_a_figure_each(self):
        """Each has its own size, caption and score."""
        figures = [curve(figsize=(2, 2)), curve(figsize=(3, 2))]

        figure = Figure(tuple(figures), caption=["a", "b"], score=[0.5, 1.5])

        for found, one in zip(pictures(figure), figures, strict=True):
            np.testing.assert_array_equal(found, saved(one))
        assert [(item.caption, item.score) for item in figure.encode("x").items] == [("a", 0.5), ("b", 1.5)]

    @pytest.mark.parametrize("canvas", [FigureCanvasAgg, FigureCanvasSVG])
    def test_the_figure_stays_as_it_was(self, canvas):
        """It is open, on its own canvas, with its size, and pyplot's current one is current."""
        figure, axes = plt.subplots(figsize=(3, 2), dpi=70)
        axes.plot([1, 2])
        canvas(figure)
        own = figure.canvas
        current = plt.figure()

        Figure(figure).snapshot().encode("curve")

        assert figure.canvas is own
        assert (plt.get_fignums(), plt.gcf()) == ([figure.number, current.number], current)
        assert ([*figure.get_size_inches()], figure.dpi, len(axes.lines)) == ([3, 2], 70, 1)

    def test_a_figure_that_cannot_be_drawn_is_left_out(self):
        """It stays as it was; the others have their captions and scores, and a warning says why."""
        figure = curve(figsize=(1e5, 1e5))
        own = figure.canvas

        snapshot = Figure([figure, curve(), figure], caption=["a", "b", "c"], score=[1, 2, 3]).snapshot()

        assert figure.canvas is own
        message = r"Figure 'x': 2 of 3 could not be drawn and are left out. ValueError: Image size .* is too large"
        with pytest.warns(UserWarning, match=message):
            (item,) = pickle.loads(pickle.dumps(snapshot)).encode("x").items
        assert (item.caption, item.score) == ("b", 2)
        with pytest.raises(ValueError, match=r"it could not be drawn. ValueError: Image size .* is too large"):
            Figure(figure).snapshot().encode("x")

    def test_a_snapshot_is_out_of_reach_of_later_changes(self):
        """The figure is drawn when it is logged, and can be used again."""
        figure = curve()
        expected = saved(figure)
        snapshot = Figure(figure).snapshot()

        figure.clear()

        np.testing.assert_array_equal(pictures(snapshot), [expected])
        assert not np.array_equal(pictures(Figure(figure)), [expected])

    def test_nbytes_is_the_memory_of_the_pixels(self):
        """Delivery bounds its memory by this; a figure that was not logged yet is the user's."""
        figure = Figure(curve(figsize=(3, 2), dpi=100))

        assert (figure.nbytes, figure.snapshot().nbytes) == (0, 300 * 200 * 4)


class TestPlotly:
    """Pages."""

    def test_the_page_has_the_figure(self):
        """Its data and layout are in it, and the script comes from the net."""
        payload = Figure(scatter(), caption="c", score=0.5).snapshot().encode("squares")

        ((item,), kind) = payload.items, payload.kind
        assert (kind, item.caption, item.score) == ("html", "c", 0.5)
        (trace,) = data_of(item)
        found = go.Figure(data=[trace]).to_dict()["data"]
        assert found == json.loads(scatter().to_json())["data"]
        page = item.data.decode()
        assert "https://cdn.plot.ly/plotly-" in page
        assert "squares" in page
        # What a script holds may not end it.
        assert '</script>"' not in page
        assert len(page) < 100_000

    def test_a_snapshot_is_out_of_reach_of_later_changes(self):
        """Traces and arrays are those of the call, and the figure is left as it was."""
        values = np.array([1.0, 2.0])
        figure = go.Figure(go.Scatter(y=values, name="before"))
        before = copy.deepcopy(figure)
        snapshot = Figure(figure).snapshot()
        assert figure == before

        figure.data[0].name = "after"
        values[:] = 7

        (trace,) = data_of(snapshot.encode("x").items[0])
        assert trace["name"] == "before"
        assert trace["y"] == json.loads(before.to_json())["data"][0]["y"]

    def test_nbytes_is_the_memory_of_the_text(self):
        """Delivery bounds its memory by this."""
        assert Figure([scatter(), scatter()]).snapshot().nbytes == 2 * len(scatter().to_json())


@pytest.mark.parametrize("make", [curve, scatter], ids=["matplotlib", "plotly"])
class TestBoth:
    """What holds for either sort."""

    def test_joined_and_taken_ones_keep_captions_and_scores(self, make):
        """Drawn and undrawn figures can stand in one medium."""
        joined = Figure([make(), make((3, 2, 1))], ["a", "b"], [1.0, 2.0]).joined([Figure(make(), "c").snapshot()])

        items = joined.take([2, 0]).snapshot().encode("x").items

        assert (len(joined), repr(joined)) == (3, "<Figure: 3 items>")
        assert [item.caption for item in items] == ["c", "a"]
        np.testing.assert_equal([item.score for item in items], [np.nan, 1.0])

    def test_a_pickle_is_the_same(self, make):
        """Media are sent between processes."""
        snapshot = Figure(make(), "c").snapshot()

        again = pickle.loads(pickle.dumps(snapshot)).snapshot()

        assert again.nbytes == snapshot.nbytes
        assert [(item.caption, len(item.data)) for item in again.encode("x").items] == [
            (item.caption, len(item.data)) for item in snapshot.encode("x").items
        ]

    def test_it_is_known_as_a_figure(self, make):
        """Also where nobody says so."""
        assert is_figure(make())


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "None"),
        ("figure", "a str"),
        (5, "an int"),
        (np.ones((2, 2)), "a ndarray"),
        (curve().axes[0], "an Axes"),
        (curve().axes, "an Axes"),
        (plt, "a module"),
        (go.Scatter(), "a Scatter"),
    ],
)
def test_what_is_no_figure_is_refused(value, kind):
    """Also axes, of which the figure is meant, and traces."""
    assert not is_figure(value)
    with pytest.raises(TypeError, match=f"^{re.escape(TYPE_MESSAGE.format(kind))}$"):
        Figure(value)


def test_a_list_of_both_sorts_is_refused():
    """One is a picture, the other a page."""
    message = "Figure got figures of matplotlib and of plotly; log them under two names."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Figure([curve(), scatter()])


@pytest.mark.parametrize(
    ("figures", "extras", "message"),
    [
        ([], {}, "Figure got no items; log at least one, or leave the call out."),
        (
            [curve(), curve()],
            {"caption": ["one"]},
            "Figure got 2 items and 1 captions; expected one caption for each item, or a single string for all.",
        ),
        ([curve()], {"score": [1.0, 2.0]}, "Figure got 1 items and 2 scores; expected one number for each item."),
    ],
    ids=["none", "captions", "scores"],
)
def test_another_number_of_captions_or_scores_is_refused(figures, extras, message):
    """Captions and scores are one for each figure."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Figure(figures, **extras)


def test_files_and_tensorboard(tmp_path):
    """Pictures are in TensorBoard's image tab, pages are files, and TensorBoard says where they are."""
    values = {"curve": Figure(curve()).encode("curve"), "squares": Figure(scatter()).encode("squares")}
    for writer in (CSVWriter(tmp_path / "csv"), EventsWriter(tmp_path / "events")):
        writer.write(Record(4, 0, 1e9, values))
        writer.close()

    index = pd.read_csv(tmp_path / "csv" / "media.csv")
    assert index[["name", "kind", "file"]].to_numpy().tolist() == [
        ["curve", "image", "media/curve/0000000004-000.png"],
        ["squares", "html", "media/squares/0000000004-000.html"],
    ]
    for file, payload in zip(index["file"], values.values(), strict=True):
        assert (tmp_path / "csv" / file).read_bytes() == payload.items[0].data
    accumulator = EventAccumulator(str(tmp_path / "events")).Reload()
    (event,) = accumulator.Tensors("curve")
    assert event.tensor_proto.string_val[2] == values["curve"].items[0].data
    (note,) = accumulator.Tensors("squares")
    assert b"media/squares/" in note.tensor_proto.string_val[0].replace(b"\\", b"")
