"""Histograms: bins as numpy and TensorBoard have them, and what the writers make of them."""

from __future__ import annotations

import copy
import csv
import functools
import math
import pickle
import re

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.distribution.distributions_plugin import DistributionsPlugin
from tensorboard.plugins.histogram.histograms_plugin import HistogramsPlugin
from tensorboard.util import tensor_util
from torch.utils.tensorboard import SummaryWriter

from lightning_trackplus.media.histogram import Histogram as Medium
from lightning_trackplus.record import Record
from lightning_trackplus.reducers.histogram import Histogram
from lightning_trackplus.reducers.samples import Counts, Samples
from lightning_trackplus.writers.csv import CSVWriter
from lightning_trackplus.writers.tensorboard import TensorBoardWriter

EDGES = [-2.0, -0.5, 0.0, 0.1, 3.0]
anything = st.floats(allow_nan=False) | st.sampled_from([*EDGES, np.nextafter(0.1, 0), np.nextafter(3.0, 4)])
weighted = st.lists(st.tuples(anything, st.integers(1, 5).map(float)), max_size=40)


def samples_of(pairs):
    values, weights = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    return Samples(values, weights, np.arange(len(pairs)))


def counts_of(reducer, parts):
    return reducer.result(functools.reduce(reducer.merge, [reducer.summarize(samples_of(part)) for part in parts]))


def records_of(*histograms, name="val/scores"):
    return [Record(step, 0, 1e9 + step, {name: one.encode(name)}) for step, one in enumerate(histograms)]


def written(writer, *histograms):
    for record in records_of(*histograms):
        writer.write(record)
    writer.close()


def tensors_in(directory, tag):
    accumulator = EventAccumulator(str(directory), size_guidance={"tensors": 0}).Reload()
    return [(event.step, tensor_util.make_ndarray(event.tensor_proto)) for event in accumulator.Tensors(tag)]


def tabs(directory, tag):
    """Return what the tabs of histograms and of distributions are given."""
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(directory))
    multiplexer.Reload()
    context = TBContext(data_provider=MultiplexerDataProvider(multiplexer, str(directory)), logdir=str(directory))
    histograms = HistogramsPlugin(context)
    context = TBContext(
        data_provider=context.data_provider,
        plugin_name_to_instance={HistogramsPlugin.plugin_name: histograms},
    )
    asked = {"ctx": RequestContext(), "tag": tag, "run": ".", "experiment": ""}
    shown, _ = histograms.histograms_impl(**asked)
    spread, _ = DistributionsPlugin(context).distributions_impl(**asked)
    return [rows for _, _, rows in shown], [percentiles for _, _, percentiles in spread]


class TestReducer:
    """Counting."""

    @given(parts=st.lists(weighted, min_size=1, max_size=4))
    def test_counts_are_those_of_numpy(self, parts):
        """Any values with any weights, cut into parts, are counted to the bit as numpy counts the whole."""
        values, weights, *_ = samples_of([pair for part in parts for pair in part])

        found = counts_of(Histogram(EDGES), parts)

        expected, _ = np.histogram(values, EDGES, weights=weights)
        np.testing.assert_array_equal(found.edges, EDGES)
        np.testing.assert_array_equal(found.counts, expected)
        assert found.below == weights[values < EDGES[0]].sum()
        assert found.above == weights[values > EDGES[-1]].sum()
        assert found.below + found.counts.sum() + found.above == weights.sum()

    @given(
        values=st.lists(st.floats(-1.5, 2.5), max_size=50),
        bins=st.integers(1, 40),
        low=st.floats(-1, 0.5),
        width=st.floats(0.01, 2),
    )
    def test_bins_of_one_width_are_those_of_numpy(self, values, bins, low, width):
        """A number of bins over a range gives the edges and counts of numpy to the bit."""
        counts, edges = np.histogram(values, bins, (low, low + width))

        found = counts_of(Histogram(bins, low, low + width), [[(value, 1) for value in values]])

        np.testing.assert_array_equal(found.edges, edges)
        np.testing.assert_array_equal(found.counts, counts)

    def test_the_usual_bins_are_those_of_torch(self, tmp_path):
        """Without bins, the edges are to the bit those of torch's writer for TensorBoard."""
        with SummaryWriter(tmp_path) as writer:
            np.testing.assert_array_equal(Histogram().edges, writer.default_bins)

    @pytest.mark.filterwarnings("error")
    def test_infinite_values_lie_outside(self):
        """No bin has them, and none is lost."""
        found = counts_of(Histogram(), [[(-math.inf, 1), (math.inf, 2), (1.0, 1)]])

        assert (found.below, found.counts.sum(), found.above) == (1, 1, 2)

    def test_nothing_seen_is_no_count(self):
        """Every bin of nothing is empty."""
        found = counts_of(Histogram(EDGES), [[]])

        assert (found.below, found.counts.tolist(), found.above) == (0, [0] * 4, 0)

    def test_as_a_metric_it_gives_tensors(self):
        """`compute` and `forward` return float64 tensors by name, of all values and of the latest."""
        metric = Histogram([0.0, 1.0, 2.0])

        metric.update(torch.tensor([0.5, -1.0, 7.0]))
        latest = metric(torch.tensor([[1.5], [2.0]]), weight=2)

        assert {name: tensor.tolist() for name, tensor in metric.compute().items()} == {
            "edges": [0, 1, 2],
            "counts": [1, 4],
            "below": 1,
            "above": 1,
        }
        assert latest["counts"].tolist() == [0, 4]
        assert {tensor.dtype for tensor in latest.values()} == {torch.float64}

    @pytest.mark.parametrize("again", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
    def test_a_copy_goes_on(self, again):
        """A copy has seen the same, and does not change with the other."""
        metric = Histogram(EDGES)
        metric.update(0.05)

        other = again(metric)
        other.update(0.06)

        assert (metric.compute()["counts"].sum(), other.compute()["counts"].sum()) == (1, 2)

    def test_nan_that_propagates_makes_each_count_nan(self):
        """The edges stay what they are."""
        metric = Histogram(EDGES, nan_policy="propagate")
        metric.update(torch.tensor([0.05, math.nan]))

        found = metric.compute()

        assert found.pop("edges").tolist() == EDGES
        assert all(tensor.isnan().all() for tensor in found.values())

    def test_a_result_is_out_of_reach_of_the_state(self):
        """A result that is written to changes neither the state nor the reducer."""
        reducer = Histogram(EDGES)
        state = reducer.summarize(samples_of([(0.05, 1)]))

        reducer.result(state).counts[:] = 7

        assert state.sum() == 1
        with pytest.raises(ValueError, match="read-only"):
            reducer.result(state).edges[0] = 7

    def test_only_equal_bins_share_a_state(self):
        """Reducers of one stream with other bins do not meet."""
        assert Histogram([0, 1]).state_key == Histogram(1, 0.0, 1.0).state_key != Histogram([0, 2]).state_key
        assert Histogram().name == "histogram"

    @pytest.mark.parametrize(
        "edges", [[], [1.0], [1.0, 1.0], [2.0, 1.0], [0.0, math.inf], [math.nan, 1.0], [[0.0, 1.0]]]
    )
    def test_edges_that_do_not_rise_are_refused(self, edges):
        """Edges are at least two finite numbers, each above the one before."""
        message = (
            f"Histogram got the edges {edges!r}; give at least two finite numbers, each above the one before, for"
            " example [0, 0.5, 1]."
        )
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            Histogram(edges)

    @pytest.mark.parametrize(
        "given_bins",
        [
            (0, 0.0, 1.0),
            (-1, 0.0, 1.0),
            (True, 0.0, 1.0),
            (5, None, None),
            (5, 0.0, None),
            (5, 1.0, 1.0),
            (5, 0, math.inf),
        ],
    )
    def test_a_number_of_bins_needs_a_range(self, given_bins):
        """At least one bin between two finite numbers."""
        message = (
            "Histogram got bins={!r}, low={!r} and high={!r}; give at least 1 bin, and two finite numbers, low below"
            " high, for example Histogram(20, 0.0, 1.0)."
        ).format(*given_bins)
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            Histogram(*given_bins)

    @pytest.mark.parametrize("given_bins", [(None, 0.0, 1.0), ([0, 1], None, 1.0)], ids=str)
    def test_a_range_without_a_number_of_bins_is_refused(self, given_bins):
        """Edges, given or usual, leave no room for a range."""
        message = (
            "Histogram got bins={!r}, low={!r} and high={!r}; low and high go with a number of bins, for example"
            " Histogram(20, 0.0, 1.0)."
        ).format(*given_bins)
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            Histogram(*given_bins)


class TestMedium:
    """Encoding."""

    @given(
        counts=st.lists(st.integers(0, 2**53).map(float) | st.floats(0, 1e9), min_size=4, max_size=4),
        outside=st.tuples(st.integers(0, 9), st.floats(0, 9)),
    )
    def test_the_table_has_every_number_to_the_bit(self, counts, outside):
        """Read by anyone, the CSV has the bins with their counts, and rows for what lies outside if anything does."""
        histogram = Medium(counts, EDGES, below=outside[0], above=outside[1])

        payload = histogram.encode("scores")

        (item,) = payload.items
        header, *rows = csv.reader(item.data.decode().splitlines())
        assert (payload.kind, item.suffix, header) == ("histogram", ".csv", ["low", "high", "count"])
        bins = [*zip(EDGES, EDGES[1:], counts, strict=False)]
        first = [(-math.inf, EDGES[0], outside[0])] if outside[0] else []
        last = [(EDGES[-1], math.inf, outside[1])] if outside[1] else []
        assert [tuple(map(float, row)) for row in rows] == [*first, *bins, *last]
        np.testing.assert_array_equal(payload.bins[0], [*first, *bins, *last])

    def test_whole_counts_are_written_as_such(self):
        """A count is `3` where it is whole."""
        (item,) = Medium([3, 0.5], [0.0, 0.1, 1e20]).encode("scores").items

        assert item.data == b"low,high,count\n0,0.1,3\n0.1,1e+20,0.5\n"

    @pytest.mark.parametrize("kind", [list, np.array, torch.tensor, lambda x: torch.tensor(x, dtype=torch.bfloat16)])
    def test_numbers_of_any_kind_are_taken(self, kind):
        """Lists, arrays and tensors of the same numbers are the same histogram."""
        found = Medium(kind([3.0, 1.0]), kind([0.0, 0.5, 1.0]), "caption").encode("scores")

        assert [item.caption for item in found.items] == ["caption"]
        assert found.bins[0].tolist() == [[0, 0.5, 3], [0.5, 1, 1]]

    def test_later_changes_do_not_reach_it(self):
        """The arrays that were given are copied at once."""
        counts, edges = np.array([3.0, 1.0]), np.array([0.0, 0.5, 1.0])
        histogram = Medium(counts, edges)

        counts[:], edges[:] = 7, 7

        assert histogram.encode("scores").bins[0].tolist() == [[0, 0.5, 3], [0.5, 1, 1]]

    def test_histograms_join(self):
        """Several of one epoch are one medium, with their captions."""
        joined = Medium([1], [0, 1], "one").joined([Medium([2, 3], [0, 1, 2])]).snapshot()

        assert (len(joined), repr(joined), joined.nbytes) == (2, "<Histogram: 2 items>", 3 * 3 * 8)
        assert [item.caption for item in joined.encode("scores").items] == ["one", None]
        assert [item.caption for item in joined.take([0]).encode("scores").items] == ["one"]

    @pytest.mark.parametrize(
        ("counts", "outside", "shape"),
        [
            ([1], {}, (1,)),
            ([1, 2, 3], {}, (3,)),
            ([[1, 2]], {}, (1, 2)),
            ([1, -1], {}, (2,)),
            ([1, 2], {"below": -1}, (2,)),
        ],
    )
    def test_counts_that_do_not_fit_are_refused(self, counts, outside, shape):
        """There is one count for each bin, and none below 0."""
        below, above = outside.get("below", 0.0), 0.0
        message = (
            f"Histogram got 3 edges and counts of shape {shape}, {below!r} below and {above!r} above; give one count"
            " fewer than edges, and none below 0."
        )
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            Medium(counts, [0, 1, 2], **outside)

    def test_edges_that_do_not_rise_are_refused(self):
        """As they are where values are counted."""
        with pytest.raises(ValueError, match=r"^Histogram got the edges array\(\[0., 0.\]\); give at least two finite"):
            Medium([1], [0, 0])


class TestTensorBoard:
    """Event files."""

    def test_both_tabs_have_it(self, tmp_path):
        """One has the bins from the first to the last that is not empty, the other percentiles of what is in them."""
        written(TensorBoardWriter(tmp_path), Medium([0, 3, 0, 1, 0], [0, 1, 2, 3, 4, 5]), Medium([1] * 5, range(6)))

        shown, spread = tabs(tmp_path, "val/scores")

        assert shown == [[[1, 2, 3], [2, 3, 0], [3, 4, 1]], [[low, low + 1, 1] for low in range(5)]]
        assert dict(spread[1])[5000] == 2.5
        assert (dict(spread[1])[0], dict(spread[1])[10000]) == (0, 5)

    def test_it_is_what_torch_writes(self, tmp_path):
        """TensorBoard reads the same bins from our file and from that of `add_histogram_raw`, but for their float32."""
        values = np.random.default_rng(0).lognormal(size=5000)
        found = counts_of(Histogram(), [[(value, 1) for value in values]])
        filled = np.flatnonzero(found.counts)
        with SummaryWriter(tmp_path / "torch") as writer:
            writer.add_histogram_raw(
                "val/scores",
                min=found.edges[filled[0]],
                max=found.edges[filled[-1] + 1],
                num=len(values),
                sum=values.sum(),
                sum_squares=(values**2).sum(),
                bucket_limits=found.edges[1:].tolist(),
                bucket_counts=found.counts.tolist(),
                global_step=0,
            )

        written(TensorBoardWriter(tmp_path / "ours"), Medium(found.counts, found.edges))

        ((ours,), (spread,)), ((torchs,), (torchs_spread,)) = (
            tabs(tmp_path / who, "val/scores") for who in ("ours", "torch")
        )
        assert np.array(ours)[:, 2].sum() == 5000
        np.testing.assert_array_equal(np.array(ours, dtype=np.float32), torchs)
        np.testing.assert_allclose(spread, torchs_spread, rtol=1e-6)

    @pytest.mark.parametrize(
        ("histogram", "rows"),
        [
            (Medium([0, 2], [0, 1, 3], below=4.0, above=5.0), [[-1, 0, 4], [0, 1, 0], [1, 3, 2], [3, 5, 5]]),
            (Medium([0, 0], [0, 1, 3], above=5.0), [[3, 5, 5]]),
            (Medium([2], [0, 1], below=4.0, above=5.0), [[-1, 0, 4], [0, 1, 2], [1, 2, 5]]),
        ],
        ids=["both sides", "one side alone", "one bin"],
    )
    def test_what_lies_outside_has_a_bin_of_its_own(self, histogram, rows, tmp_path):
        """Beside the bins, as wide as its neighbour, since no tab can draw an endless one."""
        written(TensorBoardWriter(tmp_path), histogram)

        ((_, found),) = tensors_in(tmp_path, "val/scores")

        assert found.tolist() == rows

    @pytest.mark.parametrize("counts", [[0.0, 0.0], [math.nan, math.nan]], ids=["empty", "nan"])
    def test_nothing_to_draw_is_no_bin(self, counts, tmp_path):
        """A histogram of nothing, or of NaN, has no bins, with which both tabs cope."""
        written(TensorBoardWriter(tmp_path), Medium(counts, [0, 1, 2]))

        ((_, found),) = tensors_in(tmp_path, "val/scores")
        shown, spread = tabs(tmp_path, "val/scores")

        assert found.shape == (0, 3)
        assert shown == [[]]
        assert {value for _, value in spread[0]} == {0}

    def test_several_have_a_tag_each(self, tmp_path):
        """A tag has one histogram a step, so that several are numbered; their captions stand in the text tab."""
        written(TensorBoardWriter(tmp_path), Medium([1], [0, 1], "one").joined([Medium([2], [0, 2])]))

        assert tensors_in(tmp_path, "val/scores/1")[0][1].tolist() == [[0, 1, 1]]
        assert tensors_in(tmp_path, "val/scores/2")[0][1].tolist() == [[0, 2, 2]]
        assert tensors_in(tmp_path, "val/scores/captions")[0][1].item() == b"1. one\n2. "


def test_csv_files_and_their_index(tmp_path):
    """Each histogram is a file of its own, which pandas reads, and has a row in the index."""
    written(CSVWriter(tmp_path), Medium([3, 1], [0, 0.5, 1], "first", below=2), Medium([0, 4], [0, 0.5, 1]))

    index = pd.read_csv(tmp_path / "media.csv")

    assert index[["step", "name", "kind", "file"]].to_numpy().tolist() == [
        [0, "val/scores", "histogram", "media/val-scores/0000000000-000.csv"],
        [1, "val/scores", "histogram", "media/val-scores/0000000001-000.csv"],
    ]
    assert pd.read_csv(tmp_path / index["file"][0]).to_dict("list") == {
        "low": [-math.inf, 0, 0.5],
        "high": [0, 0.5, 1],
        "count": [2, 3, 1],
    }


def test_a_result_becomes_a_medium():
    """What the reducer returns is what the medium takes, to the last value outside of the bins."""
    counts = counts_of(Histogram([0.0, 1.0]), [[(0.5, 2), (7.0, 1), (-math.inf, 3)]])

    payload = Medium(counts.counts, counts.edges, below=counts.below, above=counts.above).encode("scores")

    assert payload.bins[0].tolist() == [[-math.inf, 0, 3], [0, 1, 2], [1, math.inf, 1]]
    record = Record(0, None, 0.0, {"scores": payload})
    assert record.nbytes == len(payload.items[0].data) + payload.bins[0].nbytes


def test_counts_of_nan_keep_their_edges():
    """Counts that are not known stand over bins that are."""
    counts = Counts(np.array([0.0, 1.0]), np.array([3.0]), 0.0, 0.0).as_nan()

    assert counts.edges.tolist() == [0, 1]
    assert np.isnan([*counts.counts, counts.below, counts.above]).all()
