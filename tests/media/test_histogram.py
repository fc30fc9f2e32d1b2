"""Histograms: bins as numpy and TensorBoard have them, and what the writers make of them."""

from __future__ import annotations

import copy
import csv
import functools
import math
import pickle
import re
import warnings

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
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.tensorboard import SummaryWriter

from lightning_trackplus.media.histogram import Histogram as Medium
from lightning_trackplus.media.histogram_counts import count_on_device, count_on_host, unpack
from lightning_trackplus.record import Counts, Record
from lightning_trackplus.reducers.histogram import Histogram
from lightning_trackplus.reducers.types import Samples
from lightning_trackplus.writers.csv import CSVWriter
from lightning_trackplus.writers.tensorboard import EventsWriter

# Arithmetic that warns has gone wrong.
pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")

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
            f"Histogram got the edges {edges!r}; expected at least two finite numbers, each above the one before, for"
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
            "Histogram got bins={!r}, low={!r} and high={!r}; expected at least 1 bin and two finite numbers, low below"
            " high, for example Histogram(20, 0.0, 1.0)."
        ).format(*given_bins)
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            Histogram(*given_bins)

    @pytest.mark.parametrize("given_bins", [(None, 0.0, 1.0), ([0, 1], None, 1.0)], ids=str)
    def test_a_range_without_a_number_of_bins_is_refused(self, given_bins):
        """Edges, given or usual, leave no room for a range."""
        message = (
            "Histogram got bins={!r}, low={!r} and high={!r}; expected low and high only with a number of bins, for"
            " example Histogram(20, 0.0, 1.0)."
        ).format(*given_bins)
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            Histogram(*given_bins)


def on_host(values, bins):
    return count_on_host(values.numpy(), bins)


def on_device(values, bins):
    """Count as on a device; that code waits for nothing, and so does not need one."""
    return unpack(count_on_device(values, bins))


def numpys(values, bins):
    """Return counts as `numpy.histogram` has them, with rows for what lies outside."""
    values = np.asarray(values, dtype=np.float64).ravel()
    counts, edges = np.histogram(values[np.isfinite(values)], bins)
    rows = [[*row] for row in zip(edges, edges[1:], counts, strict=False)]
    below, above = (values < edges[0]).sum(), (values > edges[-1]).sum()
    return [*[[-np.inf, edges[0], below]][: int(below > 0)], *rows, *[[edges[-1], np.inf, above]][: int(above > 0)]]


def rows_of(histogram):
    (bins,) = histogram.encode("scores").bins
    return bins.rows().tolist()


DTYPES = [
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn),
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
]
ARRANGEMENTS = {
    "plain": lambda tensor: tensor,
    "strided": lambda tensor: torch.stack([tensor, tensor], dim=-1)[..., 0],
    "transposed": lambda tensor: tensor.T.contiguous().T,
    "reversed": lambda tensor: tensor.numpy()[::-1, ::-1],
    "big-endian": lambda tensor: tensor.numpy().astype(">f4"),
    "read-only": lambda tensor: np.broadcast_to(tensor.numpy(), tensor.shape),
    "nested lists": lambda tensor: tensor.tolist(),
    "with a gradient": lambda tensor: tensor.clone().requires_grad_(),
}


class TestCounting:
    """From numbers to counts."""

    @pytest.mark.parametrize("counted", [on_host, on_device])
    @given(
        values=st.lists(st.floats() | st.integers(-9, 9).map(float), min_size=1, max_size=40),
        dtype=st.sampled_from([torch.float16, torch.float32, torch.float64]),
        bins=st.integers(1, 100),
    )
    def test_counts_are_those_of_numpy(self, counted, values, dtype, bins):
        """Whatever the values, bins and counts are to the bit those of numpy for what is finite, as float64."""
        tensor = torch.tensor(values, dtype=torch.float64).to(dtype)
        values = tensor.double().numpy()
        finite = values[np.isfinite(values)]

        found = counted(tensor, bins)

        edges = found.rows()[:, 0]
        try:
            with np.errstate(all="ignore"):
                expected = np.histogram_bin_edges(finite, bins)
        except ValueError:  # Between the two ends are fewer floats than bins, or more than the largest one.
            expected = found.edges
        if len(np.unique(expected)) == bins + 1 and np.isfinite(expected).all():
            np.testing.assert_array_equal(found.edges, expected)
        inside = found.rows()[int(found.below > 0) : len(edges) - int(found.above > 0)]
        bounds = [*inside[:, 0], inside[-1, 1]]
        assert (np.diff(bounds) > 0).all()
        np.testing.assert_array_equal(inside[:, 2], np.histogram(finite, bounds)[0])
        assert inside[:, 2].sum() == len(finite)
        assert (found.below, found.above) == (np.isneginf(values).sum(), np.isposinf(values).sum())
        assert (found.infinite, found.nan) == (np.isinf(values).sum(), np.isnan(values).sum())

    @pytest.mark.parametrize("counted", [on_host, on_device])
    @given(
        values=st.lists(st.floats() | st.sampled_from(EDGES), min_size=1, max_size=40),
        dtype=st.sampled_from([torch.float32, torch.float64]),
    )
    def test_counts_over_edges_are_those_of_numpy(self, counted, values, dtype):
        """Between edges that are given, and outside of them."""
        tensor = torch.tensor(values, dtype=torch.float64).to(dtype)

        found = counted(tensor, np.array(EDGES))

        values = tensor.double().numpy()
        assert found.rows().tolist() == numpys(values, EDGES)
        assert (found.infinite, found.nan) == (np.isinf(values).sum(), np.isnan(values).sum())

    @pytest.mark.parametrize("counted", [on_host, on_device])
    @pytest.mark.parametrize(
        ("values", "bins"),
        [
            (lambda normal: normal, 1),
            (lambda normal: normal, 1000),
            (lambda normal: normal, 64),
            (lambda normal: normal.relu(), 64),
            (lambda normal: (normal * 8).round() / 8, 64),
            (lambda normal: (normal * 8).round() / 8 + (normal > 0) * normal, 64),
            (lambda normal: normal + 1e6, 64),
            (lambda normal: torch.where(normal > 0, 3.0, -1.0), 64),
            (lambda normal: torch.full_like(normal, 0.1), 64),
            (lambda normal: (normal * 100).long(), 64),
            (lambda normal: normal.double() * 1e-320, 64),
            (lambda normal: normal * 1e38, 64),
        ],
        ids=[
            "one bin",
            "many bins",
            "normal",
            "half zero",
            "on edges",
            "half on edges",
            "far",
            "two",
            "one",
            "whole",
            "tiny",
            "huge",
        ],
    )
    def test_many_values_are_counted_to_the_last(self, counted, values, bins):
        """Blocks of values of all kinds of spread are counted as one."""
        tensor = values(torch.randn(200_001, generator=torch.manual_seed(0)))
        finite = tensor[tensor.double().isfinite()].double().numpy()

        found = counted(tensor, bins).rows()

        bounds = [*found[found[:, 0] > -np.inf][:, 0]]
        inside = found[np.isfinite(found[:, :2]).all(axis=1)]
        bounds = [*inside[:, 0], inside[-1, 1]]
        np.testing.assert_array_equal(inside[:, 2], np.histogram(finite, bounds)[0])
        assert found[:, 2].sum() == 200_001

    def test_more_than_a_device_takes_at_once_are_counted_as_one(self):
        """A large tensor is counted in parts."""
        values = torch.randn(2**22 + 5, generator=torch.manual_seed(0))

        assert on_device(values, 10).rows().tolist() == numpys(values, 10)

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_values_of_every_dtype_are_taken(self, dtype):
        """Each number counts as what it is."""
        values = torch.tensor([0.0, 1.0, 1.0, 3.0, 2.0, 12.0]).to(dtype)

        assert rows_of(Medium(values, bins=4).snapshot()) == numpys(values.double(), 4)
        assert on_device(values, 4).rows().tolist() == numpys(values.double(), 4)

    @pytest.mark.parametrize("arrangement", ARRANGEMENTS)
    @pytest.mark.parametrize("snapshot", [False, True], ids=["at once", "of a snapshot"])
    def test_values_are_taken_as_they_lie_in_memory(self, arrangement, snapshot):
        """Tensors, arrays and lists of all layouts are one histogram of all their numbers."""
        values = torch.randn(30, 7, generator=torch.manual_seed(0))
        histogram = Medium(ARRANGEMENTS[arrangement](values))

        assert len(histogram) == 1
        assert rows_of(histogram.snapshot() if snapshot else histogram) == numpys(values, 64)

    @pytest.mark.parametrize(
        ("values", "first", "last"),
        [
            (3.0, 2.5, 3.5),
            ([0, 0], -0.5, 0.5),
            ([1e300], 1e300 - 2**-45 * 1e300, 1e300 + 2**-45 * 1e300),
            ([np.finfo(float).max], np.finfo(float).max * (1 - 2**-45), np.finfo(float).max),
            (torch.tensor(True), 0.5, 1.5),
        ],
        ids=["scalar", "zeros", "large", "largest", "bool"],
    )
    def test_one_number_has_bins_around_it(self, values, first, last):
        """As numpy does it, and wider where floats are too far apart for that."""
        rows = rows_of(Medium(values))

        assert (len(rows), rows[0][0], rows[-1][1]) == (64, first, last)
        assert sum(count for *_, count in rows) == torch.as_tensor(values).numel()

    def test_neighbours_have_the_bins_that_there_can_be(self):
        """There is no float between two neighbours, and so one bin and not 64, with both."""
        pair = [1.0, np.nextafter(1.0, 2.0)]

        assert rows_of(Medium(pair)) == [[*pair, 2]]

    @pytest.mark.parametrize("counted", [on_host, on_device])
    def test_values_as_far_apart_as_can_be_have_bins(self, counted):
        """Their distance is no float, and their bins are."""
        largest = np.finfo(np.float64).max

        found = counted(torch.tensor([-largest, 0.0, largest], dtype=torch.float64), 4)

        np.testing.assert_allclose(found.edges, [-largest, -largest / 2, 0, largest / 2, largest], rtol=1e-15)
        assert found.counts.tolist() == [1, 0, 1, 1]

    @pytest.mark.parametrize(
        ("values", "bins", "rows", "messages"),
        [
            ([0.0, math.nan, 1.0], 2, [[0, 0.5, 1], [0.5, 1, 1]], ["1 values are NaN and left out."]),
            (
                [0.0, -math.inf, 1.0, math.inf, math.inf],
                1,
                [[-math.inf, 0, 1], [0, 1, 2], [1, math.inf, 2]],
                ["3 values are infinite and lie outside of all bins."],
            ),
            (
                [math.nan, -math.inf, 7.0, 0.5],
                [0, 1],
                [[-math.inf, 0, 1], [0, 1, 1], [1, math.inf, 1]],
                ["1 values are NaN and left out.", "1 values are infinite and lie outside of all bins."],
            ),
            ([math.nan, math.nan], 2, [[0, 0.5, 0], [0.5, 1, 0]], ["2 values are NaN and left out."]),
        ],
        ids=["NaN", "infinite", "both", "nothing else"],
    )
    def test_what_is_in_no_bin_is_said(self, values, bins, rows, messages):
        """A warning counts NaN and infinities, and the bins are those of the rest."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = rows_of(Medium(values, bins))

        assert found == rows
        assert [str(one.message) for one in caught] == [f"Histogram 'scores': {message}" for message in messages]


class TestValues:
    """The medium."""

    @pytest.mark.parametrize(
        ("values", "count"),
        [
            ([torch.zeros(3), torch.ones(2, 2)], 2),
            ((np.zeros(3), torch.tensor(1.0)), 2),
            ([torch.tensor(1.0), torch.tensor(2.0)], 1),
            ([1, 2.0, True], 1),
            ([[1, 2], [3, 4]], 1),
            (range(5), 1),
            (np.float32(7), 1),
        ],
        ids=["tensors", "mixed", "losses", "numbers", "rows", "range", "number"],
    )
    def test_a_list_of_tensors_is_a_histogram_of_each(self, values, count):
        """And a list of numbers is one, also where they are tensors without dimensions."""
        histogram = Medium(values, caption="all", score=[0.5] * count)

        items = histogram.snapshot().encode("scores").items
        assert [(item.caption, item.score) for item in items] == [("all", 0.5)] * count
        sizes = [torch.as_tensor(one).numel() for one in (values if count > 1 else [values])]
        assert [counts.rows()[:, 2].sum() for counts in histogram.encode("scores").bins] == sizes

    @pytest.mark.parametrize("kind", [torch.tensor, np.array])
    def test_later_changes_do_not_reach_a_snapshot(self, kind):
        """The values are those of the call."""
        values = kind([0.0, 1.0, 1.0])
        snapshot = Medium(values, bins=2).snapshot()

        values[:] = 7

        assert rows_of(snapshot) == [[0, 0.5, 1], [0.5, 1, 2]]

    def test_values_on_a_device_are_counted_without_waiting_for_it(self):
        """A fake tensor has no numbers to wait for; what is kept are the counts."""
        with FakeTensorMode():
            values = [torch.empty(1000, 1000, device="cuda"), torch.empty((), dtype=torch.int64, device="cuda")]

            by_number = Medium(values, score=torch.empty(2, device="cuda")).snapshot()
            by_edges = Medium(values, bins=[0.0, 0.5, 1.0]).take([1]).snapshot()

            assert (by_number.nbytes, by_edges.nbytes) == (2 * (4 + 64 + 65) * 8, (4 + 2 + 3) * 8)

    @pytest.mark.parametrize("snapshot", [False, True], ids=["before", "after"])
    def test_a_pickle_is_the_same(self, snapshot):
        """Media are sent between processes, before they are copied and after."""
        histogram = Medium([torch.tensor([0.0, 1.0]), np.array([2, 2, 4])], bins=2, caption=["a", "b"])

        again = pickle.loads(pickle.dumps(histogram.snapshot() if snapshot else histogram))

        assert [item.data for item in again.encode("scores").items] == [
            b"low,high,count\n0,0.5,1\n0.5,1,1\n",
            b"low,high,count\n2,3,2\n3,4,1\n",
        ]

    def test_counts_and_values_join(self):
        """What a reducer has counted and what is still to be counted are of one kind."""
        joined = Medium([0.0, 1.0], 1, "values").joined([Medium.of_counts([5], [0, 1], "counts")])

        items = joined.take([1, 0]).snapshot().encode("scores").items
        assert [(item.caption, item.data) for item in items] == [
            ("counts", b"low,high,count\n0,1,5\n"),
            ("values", b"low,high,count\n0,1,2\n"),
        ]

    def test_nbytes_is_the_memory_of_the_values(self):
        """Delivery bounds its memory by this."""
        assert Medium([torch.zeros(10, dtype=torch.float16), np.zeros(3)]).nbytes == 20 + 24

    @pytest.mark.parametrize(
        ("values", "error", "message"),
        [
            (torch.zeros(0, 3), ValueError, "numbers of shape (0, 3); expected at least one."),
            (np.zeros(0), ValueError, "numbers of shape (0,); expected at least one."),
            ([], ValueError, "numbers of shape (0,); expected at least one."),
            ([torch.ones(1), torch.ones(0)], ValueError, "numbers of shape (0,); expected at least one."),
            (
                torch.zeros(2, dtype=torch.complex64),
                ValueError,
                "numbers of torch.complex64; expected real ones, for example their absolute values.",
            ),
            (
                np.zeros(2, complex),
                ValueError,
                "numbers of complex128; expected real ones, for example their absolute values.",
            ),
            (
                torch.eye(2).to_sparse(),
                ValueError,
                "a sparse tensor; expected a dense one, tensor.to_dense().",
            ),
            *(
                (
                    values,
                    TypeError,
                    f"{name} that holds no array of numbers; expected a tensor, an array, a list of numbers, or a"
                    " list of tensors or arrays.",
                )
                for values, name in [
                    ("0.5", "a str"),
                    (None, "None"),
                    ({"weight": torch.ones(1)}, "a dict"),
                    ([[1, 2], [3]], "a list"),
                    ([torch.ones(1), "1"], "a str"),
                    (np.array(["2020-01-01"], "M8[D]"), "a ndarray"),
                    (object(), "an object"),
                ]
            ),
        ],
        ids=lambda given: type(given).__name__,
    )
    def test_what_has_no_distribution_is_refused(self, values, error, message):
        """Values that cannot be counted raise where the histogram is made."""
        with pytest.raises(error, match=f"^{re.escape('Histogram got ' + message)}$"):
            Medium(values)

    @pytest.mark.parametrize("bins", [0, -1, 1_000_001, True, 2.5, "auto", None, {1, 2}], ids=str)
    def test_a_number_of_bins_that_cannot_be_is_refused(self, bins):
        """From one to a million."""
        message = (
            f"Histogram got bins={bins!r}; expected how many, from 1 to 1,000,000, or their edges, for example"
            " [0, 0.5, 1]."
        )
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            Medium([1.0], bins)

    def test_edges_that_do_not_rise_are_refused(self):
        """As they are where they come with counts."""
        message = (
            "Histogram got the edges array([1., 1.]); expected at least two finite numbers, each above the one"
            " before, for example [0, 0.5, 1]."
        )
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            Medium([1.0], bins=(1, 1))

    def test_edges_on_a_device_are_refused(self):
        """They are looked at, for which training would wait."""
        message = (
            "Histogram got bins on cuda:0, for which training would have to wait; expected bins that are on the host."
        )
        with FakeTensorMode(), pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            Medium(torch.empty(3, device="cuda"), bins=torch.empty(3, device="cuda"))

    @pytest.mark.parametrize(
        ("extras", "message"),
        [
            (
                {"caption": ["one"]},
                "Histogram got 2 items and 1 captions; expected one caption for each item, or a single string for all.",
            ),
            ({"score": 0.5}, "Histogram got 2 items and 1 scores; expected one number for each item."),
        ],
        ids=["captions", "scores"],
    )
    def test_another_number_of_captions_or_scores_is_refused(self, extras, message):
        """Captions and scores are one for each histogram."""
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            Medium([torch.ones(1), torch.ones(1)], **extras)


class TestCounts:
    """The medium of what has been counted."""

    @given(
        counts=st.lists(st.integers(0, 2**53).map(float) | st.floats(0, 1e9), min_size=4, max_size=4),
        outside=st.tuples(st.integers(0, 9), st.floats(0, 9)),
    )
    def test_the_table_has_every_number_to_the_bit(self, counts, outside):
        """Read by anyone, the CSV has the bins with their counts, and rows for what lies outside if anything does."""
        histogram = Medium.of_counts(counts, EDGES, below=outside[0], above=outside[1])

        payload = histogram.encode("scores")

        (item,) = payload.items
        header, *rows = csv.reader(item.data.decode().splitlines())
        assert (payload.kind, item.suffix, header) == ("histogram", ".csv", ["low", "high", "count"])
        bins = [*zip(EDGES, EDGES[1:], counts, strict=False)]
        first = [(-math.inf, EDGES[0], outside[0])] if outside[0] else []
        last = [(EDGES[-1], math.inf, outside[1])] if outside[1] else []
        assert [tuple(map(float, row)) for row in rows] == [*first, *bins, *last]
        np.testing.assert_array_equal(payload.bins[0].rows(), [*first, *bins, *last])

    def test_whole_counts_are_written_as_such(self):
        """A count is `3` where it is whole."""
        (item,) = Medium.of_counts([3, 0.5], [0.0, 0.1, 1e20]).encode("scores").items

        assert item.data == b"low,high,count\n0,0.1,3\n0.1,1e+20,0.5\n"

    @pytest.mark.parametrize("kind", [list, np.array, torch.tensor, lambda x: torch.tensor(x, dtype=torch.bfloat16)])
    def test_numbers_of_any_kind_are_taken(self, kind):
        """Lists, arrays and tensors of the same numbers are the same histogram."""
        found = Medium.of_counts(kind([3.0, 1.0]), kind([0.0, 0.5, 1.0]), "caption").encode("scores")

        assert [item.caption for item in found.items] == ["caption"]
        assert found.bins[0].rows().tolist() == [[0, 0.5, 3], [0.5, 1, 1]]

    def test_later_changes_do_not_reach_it(self):
        """The arrays that were given are copied at once."""
        counts, edges = np.array([3.0, 1.0]), np.array([0.0, 0.5, 1.0])
        histogram = Medium.of_counts(counts, edges)

        counts[:], edges[:] = 7, 7

        assert histogram.encode("scores").bins[0].rows().tolist() == [[0, 0.5, 3], [0.5, 1, 1]]

    def test_histograms_join(self):
        """Several of one epoch are one medium, with their captions."""
        joined = Medium.of_counts([1], [0, 1], "one").joined([Medium.of_counts([2, 3], [0, 1, 2])]).snapshot()

        assert (len(joined), repr(joined), joined.nbytes) == (2, "<Histogram: 2 items>", (1 + 2 + 2 + 3) * 8)
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
            f"Histogram got 3 edges and counts of shape {shape}, {below!r} below and {above!r} above; expected one"
            " count fewer than edges, and none below 0."
        )
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            Medium.of_counts(counts, [0, 1, 2], **outside)

    def test_edges_that_do_not_rise_are_refused(self):
        """As they are where values are counted."""
        with pytest.raises(
            ValueError, match=r"^Histogram got the edges array\(\[0., 0.\]\); expected at least two finite"
        ):
            Medium.of_counts([1], [0, 0])


class TestTensorBoard:
    """Event files."""

    def test_both_tabs_have_it(self, tmp_path):
        """One has the bins from the first to the last that is not empty, the other percentiles of what is in them."""
        written(
            EventsWriter(tmp_path),
            Medium.of_counts([0, 3, 0, 1, 0], [0, 1, 2, 3, 4, 5]),
            Medium.of_counts([1] * 5, range(6)),
        )

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

        written(EventsWriter(tmp_path / "ours"), Medium.of_counts(found.counts, found.edges))

        ((ours,), (spread,)), ((torchs,), (torchs_spread,)) = (
            tabs(tmp_path / who, "val/scores") for who in ("ours", "torch")
        )
        assert np.array(ours)[:, 2].sum() == 5000
        np.testing.assert_array_equal(np.array(ours, dtype=np.float32), torchs)
        np.testing.assert_allclose(spread, torchs_spread, rtol=1e-6)

    @pytest.mark.parametrize(
        ("histogram", "rows"),
        [
            (Medium.of_counts([0, 2], [0, 1, 3], below=4.0, above=5.0), [[-1, 0, 4], [0, 1, 0], [1, 3, 2], [3, 5, 5]]),
            (Medium.of_counts([0, 0], [0, 1, 3], above=5.0), [[3, 5, 5]]),
            (Medium.of_counts([2], [0, 1], below=4.0, above=5.0), [[-1, 0, 4], [0, 1, 2], [1, 2, 5]]),
        ],
        ids=["both sides", "one side alone", "one bin"],
    )
    def test_what_lies_outside_has_a_bin_of_its_own(self, histogram, rows, tmp_path):
        """Beside the bins, as wide as its neighbour, since no tab can draw an endless one."""
        written(EventsWriter(tmp_path), histogram)

        ((_, found),) = tensors_in(tmp_path, "val/scores")

        assert found.tolist() == rows

    def test_values_are_shown(self, tmp_path):
        """Both tabs have the distribution of a million values."""
        values = torch.randn(1_000_000, generator=torch.manual_seed(0))
        written(EventsWriter(tmp_path), Medium(values))

        (shown,), (spread,) = tabs(tmp_path, "val/scores")

        assert shown == numpys(values, 64)
        # A bin is a sixth of a standard deviation wide.
        median, upper = (dict(spread)[basis_points] for basis_points in (5000, 8413))
        assert (median, upper) == (pytest.approx(0, abs=0.2), pytest.approx(1, abs=0.2))

    @pytest.mark.parametrize("counts", [[0.0, 0.0], [math.nan, math.nan]], ids=["empty", "nan"])
    def test_nothing_to_draw_is_no_bin(self, counts, tmp_path):
        """A histogram of nothing, or of NaN, has no bins, with which both tabs cope."""
        written(EventsWriter(tmp_path), Medium.of_counts(counts, [0, 1, 2]))

        ((_, found),) = tensors_in(tmp_path, "val/scores")
        shown, spread = tabs(tmp_path, "val/scores")

        assert found.shape == (0, 3)
        assert shown == [[]]
        assert {value for _, value in spread[0]} == {0}

    def test_several_have_a_tag_each(self, tmp_path):
        """A tag has one histogram a step, so that several are numbered; their captions stand in the text tab."""
        written(EventsWriter(tmp_path), Medium.of_counts([1], [0, 1], "one").joined([Medium.of_counts([2], [0, 2])]))

        assert tensors_in(tmp_path, "val/scores/1")[0][1].tolist() == [[0, 1, 1]]
        assert tensors_in(tmp_path, "val/scores/2")[0][1].tolist() == [[0, 2, 2]]
        assert tensors_in(tmp_path, "val/scores/captions")[0][1].item() == b"1. one\n2. "


def test_csv_files_and_their_index(tmp_path):
    """Each histogram is a file of its own, which pandas reads, and has a row in the index."""
    written(
        CSVWriter(tmp_path),
        Medium.of_counts([3, 1], [0, 0.5, 1], "first", below=2),
        Medium.of_counts([0, 4], [0, 0.5, 1]),
    )

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

    payload = Medium.of_counts(counts.counts, counts.edges, below=counts.below, above=counts.above).encode("scores")

    assert payload.bins[0].rows().tolist() == [[-math.inf, 0, 3], [0, 1, 2], [1, math.inf, 1]]
    record = Record(0, None, 0.0, {"scores": payload})
    assert record.nbytes == len(payload.items[0].data) + payload.bins[0].nbytes


def test_counts_of_nan_keep_their_edges():
    """Counts that are not known stand over bins that are."""
    counts = Counts(np.array([0.0, 1.0]), np.array([3.0]), 0.0, 0.0).as_nan()

    assert counts.edges.tolist() == [0, 1]
    assert np.isnan([*counts.counts, counts.below, counts.above]).all()
