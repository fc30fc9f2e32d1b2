"""Quantiles and their kin where not all values are kept, and of what makes them hard to keep."""

from __future__ import annotations

import functools
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lightning_trackplus.reducers.frequency import Mode, NUnique
from lightning_trackplus.reducers.quantile import IQR, Distribution, Quantile
from lightning_trackplus.reducers.robust import MAD, TrimmedMean, WinsorizedMean
from lightning_trackplus.reducers.types import Samples

METHODS = ("auto", "exact", "sketch", "hist")
QUANTILES = (0.001, 0.05, 0.5, 0.75, 0.95, 0.99, 0.999)
COUNT = 300_000
LIMIT = 65_536


def drawn(name, count=COUNT):
    generator = np.random.default_rng(7)
    return {
        "normal": lambda: generator.normal(size=count),
        "lognormal": lambda: generator.lognormal(size=count),
        "exponential": lambda: generator.exponential(size=count),
        "uniform": lambda: generator.random(count),
        "student t": lambda: generator.standard_t(3, size=count),
        "cauchy": lambda: generator.standard_cauchy(count),
        "narrow, far from zero": lambda: 1e6 + generator.uniform(-1, 1, count),
        "further from zero": lambda: 1e9 + generator.normal(size=count),
        "whole numbers": lambda: generator.poisson(5, count).astype(np.float64),
        "half zeros": lambda: generator.lognormal(size=count) * (generator.random(count) < 0.5),
        "rounded": lambda: generator.normal(size=count).round(3),
        "float16": lambda: generator.lognormal(size=count).astype(np.float16).astype(np.float64),
        "a gap": lambda: generator.normal(np.where(np.arange(count) % 2, -5.0, 5.0)),
        "drifting": lambda: generator.normal(np.linspace(0, 30, count)),
        "sorted": lambda: np.sort(generator.normal(size=count)),
        "groups": lambda: generator.integers(0, 20, count) * 100 + generator.normal(size=count),
        "reversed": lambda: np.sort(generator.lognormal(size=count))[::-1].copy(),
    }[name]()


NAMES = (
    "normal", "lognormal", "exponential", "uniform", "student t", "cauchy", "narrow, far from zero",
    "further from zero", "whole numbers", "sorted", "reversed",
)  # fmt: skip

HARD = ("half zeros", "rounded", "float16", "a gap", "drifting", "groups")


def state_of(reducer, values, cuts=(), weights=None):
    """Return the state of values that came in parts which end where the cuts are."""
    weights = np.ones(len(values)) if weights is None else weights
    parts = zip(np.split(values, cuts), np.split(weights, cuts), strict=True)
    states = [reducer.summarize(Samples(part, each, np.arange(len(part)))) for part, each in parts]
    return functools.reduce(reducer.merge, states, reducer.summarize(Samples(*np.empty((3, 0)))))


def result_of(reducer, values, cuts=(), weights=None):
    return reducer.result(state_of(reducer, np.asarray(values, dtype=np.float64), cuts, weights))


def logged(reducer, values):
    """Return the result of values that were given in calls of 65,536."""
    for chunk in torch.split(torch.as_tensor(values), LIMIT):
        reducer.update(chunk)
    return float(reducer.compute())


FINE = np.union1d(np.linspace(0.001, 0.999, 500), QUANTILES)


def worst_rank_error(state, values):
    """Return the largest rank error of many quantiles."""
    points, rising = Quantile(0.5).points(state), np.sort(values)
    results = [points.quantile(q) for q in FINE]
    low, high = (np.searchsorted(rising, results, side=side) / len(values) for side in ("left", "right"))
    return np.maximum(low - FINE, FINE - high).max()


def rank_error(result, values, q):
    """Return how far the rank of a result is from q; of equal values, each of their ranks is right."""
    low, high = np.mean(values < result), np.mean(values <= result)
    return max(low - q, q - high, 0.0)


class TestSketch:
    """Beyond its limit, a stream is known by a t-digest."""

    @pytest.mark.parametrize(("method", "bound"), [("auto", 1e-4), ("sketch", 2e-4)])
    @pytest.mark.parametrize("name", NAMES)
    def test_rank_error(self, name, method, bound):
        """The ranks of results are right to 1e-4, in 16 KiB to 2e-4, and to 2e-5 at the ends."""
        values = drawn(name)
        state = state_of(Quantile(0.5, method=method), values, range(LIMIT, COUNT, LIMIT))
        for q in QUANTILES:
            result = Quantile(q, method=method).result(state)
            assert rank_error(result, values, q) < (2e-5 if min(q, 1 - q) < 0.002 else bound), q

    @pytest.mark.parametrize(("name", "count"), [*((name, 140_000) for name in (*NAMES, *HARD)), *(
        (name, count)
        for name in ("lognormal", "half zeros", "groups")
        for count in (LIMIT + 1, 70_000, 500_000)
    )])  # fmt: skip
    def test_any_split(self, name, count):
        """However a stream is cut and merged, ranks are right to 1e-4."""
        values = drawn(name, count)
        dealt = np.concatenate([values[rank::7] for rank in range(7)])
        for stream, cuts in (
            (values, range(LIMIT, count, LIMIT)),
            (values, range(2048, count, 2048)),
            (values, [0, 1, 3, 2000, 69_000, 69_000, count - 1]),
            (dealt, range(count // 7 + 1, count, count // 7 + 1)),
            (np.sort(values), range(count // 2, count, count // 8)),
        ):
            state = state_of(Quantile(0.5), stream, cuts)
            assert worst_rank_error(state, values) <= 1e-4, cuts

    @pytest.mark.parametrize("ranks", [3, 64, 1024])
    @pytest.mark.parametrize("order", [np.sort, np.asarray])
    @pytest.mark.parametrize(
        ("name", "count"), [("lognormal", 1_000_000), ("groups", 300_000), ("half zeros", LIMIT + 1)]
    )
    def test_ranks_in_a_tree(self, name, count, ranks, order):
        """States of ranks that are merged by pairs, and sent as sketches, give ranks that are right to 1e-4."""
        values = drawn(name, count)
        reducer = Quantile(0.5)
        states = [reducer.compact(state_of(reducer, part)) for part in np.array_split(order(values), ranks)]
        while len(states) > 1:
            odd = states[len(states) & ~1 :]
            pairs = zip(states[::2], states[1::2], strict=False)
            states = [reducer.compact(reducer.merge(*pair)) for pair in pairs] + odd
        assert worst_rank_error(states[0], values) <= 1e-4

    def test_weighted_ranks(self):
        """Weights that all values share, however large, are not taken for many values."""
        values = drawn("lognormal", 100_000)
        state = state_of(Quantile(0.5), values, [60_000, 70_000], np.full(100_000, 64.0))
        assert worst_rank_error(state, values) <= 1e-4

    def test_merged_as_a_tree(self):
        """States of equal size merged by pairs, as between processes, give right ranks as well."""
        reducer, values = Quantile(0.95, method="sketch"), drawn("lognormal")
        states = [state_of(reducer, part) for part in np.split(values, 16)]
        while len(states) > 1:
            states = [reducer.merge(left, right) for left, right in zip(states[::2], states[1::2], strict=True)]
        assert rank_error(reducer.result(states[0]), values, 0.95) < 1e-4

    @pytest.mark.parametrize("name", NAMES)
    def test_the_ends_are_exact(self, name):
        """The smallest and the largest value are kept as they are."""
        values = drawn(name)
        for cuts in ([], range(5000, COUNT, 5000)):
            state = state_of(Quantile(0.5, method="sketch"), values, cuts)
            assert [Quantile(q, method="sketch").result(state) for q in (0, 1)] == [values.min(), values.max()]

    def test_no_more_than_16_kib_whatever_the_number(self):
        """A sketch takes at most 16 KiB at every moment, and does not grow."""
        reducer, sizes = Quantile(0.5, method="sketch"), []
        state = state_of(reducer, np.empty(0))
        for start in range(0, COUNT, 700):
            state = reducer.merge(state, state_of(reducer, drawn("normal", 700) + start % 7))
            sizes.append(state.nbytes)
        assert max(sizes) <= 16 * 1024
        assert max(sizes[200:]) - min(sizes[200:]) < 1024

    def test_the_default_is_bounded(self):
        """The default takes at most 1 MiB for values and weights of any kind, and beyond that 152 KiB if few repeat."""
        reducer = Quantile(0.5)
        values, weights = drawn("normal", LIMIT), np.random.default_rng(0).random(LIMIT) + 0.1
        assert state_of(reducer, values, range(2048, LIMIT, 2048), weights).nbytes <= 1024 * 1024 + 64
        assert state_of(reducer, values.astype(np.float32).astype(np.float64)).nbytes <= 256 * 1024 + 64
        assert state_of(reducer, drawn("normal", LIMIT + 1)).nbytes <= 152 * 1024
        assert state_of(reducer, drawn("normal"), range(2048, COUNT, 2048)).nbytes <= 152 * 1024

    def test_a_gap_at_the_quantile(self):
        """Between values far apart, a result lies between them, and on either side ranks are right."""
        values = np.concatenate([drawn("uniform", 150_000), 1e6 + drawn("uniform", 150_000)])
        state = state_of(Quantile(0.5, method="sketch"), np.random.default_rng(0).permutation(values), [70_000])
        assert 0.9 < Quantile(0.5, method="sketch").result(state) < 1e6 + 0.1
        for q in (0.49, 0.51):
            assert rank_error(Quantile(q, method="sketch").result(state), values, q) < 5e-4

    @pytest.mark.parametrize("method", ["auto", "sketch"])
    @pytest.mark.parametrize("constant", [0.1, -1e308, 5e-324, 1e6 + 1 / 3])
    def test_equal_values(self, constant, method):
        """Of equal values each quantile is that value, to the last bit."""
        state = state_of(Quantile(0.5, method=method), np.full(200_000, constant), range(3000, 200_000, 3000))
        assert {Quantile(q, method=method).result(state) for q in (0, 0.3, 0.5, 1)} == {constant}

    def test_values_near_the_largest_number(self):
        """Sums that no float64 holds do no harm."""
        values = np.random.default_rng(0).permutation(np.linspace(-1.0, 1.0, 100_001)) * 1.7e308
        state = state_of(Quantile(0.5, method="sketch"), values, [30_000])
        for q in QUANTILES:
            assert rank_error(Quantile(q, method="sketch").result(state), values, q) < 5e-4
        apart = np.copysign(1.6e308, values) + values / 20
        assert abs(result_of(Quantile(0.5), apart, [30_000])) < 1.7e308

    def test_values_near_the_smallest_number(self):
        """Between numbers whose differences are too small to divide by, ranks are right as well."""
        probabilities = np.exp(-np.random.default_rng(0).uniform(0, 745, COUNT))
        state = state_of(Quantile(0.5), probabilities, range(LIMIT, COUNT, LIMIT))
        assert worst_rank_error(state, probabilities) <= 1e-4
        smallest = np.random.default_rng(0).integers(1, 2**40, 100_000) * 5e-324
        state = state_of(Quantile(0.5, method="sketch"), smallest, range(5000, 100_000, 5000))
        for q in QUANTILES:
            assert rank_error(Quantile(q, method="sketch").result(state), smallest, q) < 5e-4

    def test_others_from_the_sketch(self):
        """What else needs the distribution is right to 1e-3, too."""
        values = drawn("lognormal")
        lower, upper = np.quantile(values, [0.25, 0.75])
        cuts = range(LIMIT, COUNT, LIMIT)
        assert result_of(IQR(), values, cuts) == pytest.approx({"iqr": upper - lower, "p25": lower, "p75": upper}, 1e-3)
        assert result_of(MAD(), values, cuts) == pytest.approx(stats.median_abs_deviation(values), 1e-3)
        assert result_of(TrimmedMean(), values, cuts) == pytest.approx(stats.trim_mean(values, 0.1), 1e-3)
        winsorized = stats.mstats.winsorize(values, limits=(0.1, 0.1)).mean()
        assert result_of(WinsorizedMean(), values, cuts) == pytest.approx(winsorized, 1e-3)

    def test_what_a_sketch_cannot_know(self):
        """The mode and the number of different values are NaN once values are no longer kept."""
        values = np.arange(LIMIT + 1) % 5.0
        for reducer, expected in ((Mode, 0.0), (NUnique, 5.0)):
            assert result_of(reducer(), values[:LIMIT], [5000]) == expected
            assert np.isnan(result_of(reducer(), values, [5000]))
            assert result_of(reducer(method="exact"), values, [5000]) == expected


class TestExact:
    """Up to 65,536 values, and beyond if asked for, results are numpy's."""

    @settings(max_examples=200)
    @given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1), st.floats(0, 1))
    def test_equal_to_numpy(self, values, q):
        """A quantile is that of numpy, to the last bit but for the sign of zero, for any values and any q."""
        with np.errstate(all="ignore"):
            expected = np.quantile(values, q)
        result = result_of(Quantile(q), values)
        assert result == expected or (np.isnan(result) and np.isnan(expected))

    @pytest.mark.parametrize("name", NAMES)
    def test_up_to_the_limit(self, name):
        """With 65,536 values, in calls of any kind, nothing is lost."""
        values = drawn(name, LIMIT)
        for cuts in ([], [30_001], range(2048, LIMIT, 2048), [1, 2, 3]):
            state = state_of(Quantile(0.5), values, cuts)
            assert [Quantile(q).result(state) for q in QUANTILES] == np.quantile(values, QUANTILES).tolist()

    def test_numbers_of_float32_among_others(self):
        """Parts that fit into float32 and parts that do not are joined without a loss."""
        narrow, wide = np.arange(1001.0), drawn("normal", 999)
        weights = np.repeat([1.0, 3.0], [1500, 500])
        values = np.concatenate([narrow, wide])
        for cuts in ([1001], [1001, 1300, 1501], [3, 7, 1502], range(1, 2000)):
            result = result_of(Quantile(0.3), values, cuts, weights)
            assert result == np.quantile(np.repeat(values, weights.astype(int)), 0.3)

    def test_weights_that_no_float32_holds(self):
        """Parts whose values have each a weight in common are as exact as all values at once."""
        values, weights = [0, 0, 1, 1], np.array([1.1, 1.1, 1.3, 1.3])
        whole = result_of(Quantile(0.6), values, weights=weights)
        assert result_of(Quantile(0.6), values, [2], weights) == whole
        # Where all weights sum to 4.8, it stands at 3.8 * 0.6 = 2.28, and the last zero at 2.
        assert whole == pytest.approx(0.28, rel=1e-12)

    def test_all_values_kept_beyond_the_limit(self):
        """With method="exact", results are numpy's for any number of values."""
        values = drawn("lognormal")
        assert result_of(Quantile(0.95, method="exact"), values, [99_999]) == np.quantile(values, 0.95)

    @pytest.mark.parametrize("method", METHODS)
    def test_any_type_of_numbers(self, method):
        """A tensor of any type counts with the values that it holds."""
        for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64):
            values = (torch.arange(-500, 500) / 4).to(dtype)
            expected = np.quantile(values.double().numpy(), 0.9)
            assert logged(Quantile(0.9, method=method), values) == pytest.approx(expected, 0.004 * (method == "hist"))


class TestHistogram:
    """With method="hist", values are counted in bins whose places do not depend on them."""

    @pytest.mark.parametrize("name", ["normal", "lognormal", "cauchy", "reversed"])
    def test_value_error(self, name):
        """Quantiles of values of ordinary spread are right to 0.4 % of themselves."""
        values = drawn(name)
        state = state_of(Quantile(0.5, method="hist"), values, [1000])
        for q in (0.001, 0.3, 0.75, 0.95, 0.999):
            assert Quantile(q, method="hist").result(state) == pytest.approx(np.quantile(values, q), rel=0.004)

    @settings(max_examples=50)
    @given(st.data())
    def test_the_same_bits_for_any_split(self, data):
        """However a stream is cut and in whatever order the parts come, the state is the same, bit by bit."""
        scale = data.draw(st.sampled_from([1.0, 30.0, 200.0]))  # The last needs wider bins.
        generator = np.random.default_rng(data.draw(st.integers(0, 9)))
        values = generator.choice([-1, 1], 30_000) * 2.0 ** generator.uniform(-scale, scale, 30_000)
        weights = generator.integers(1, 5, 30_000).astype(np.float64)
        reducer = Quantile(0.5, method="hist")
        whole = state_of(reducer, values, [], weights)
        order = generator.permutation(30_000)
        cuts = sorted(data.draw(st.lists(st.integers(0, 30_000), max_size=8)))
        assert state_of(reducer, values[order], cuts, weights[order]).tobytes() == whole.tobytes()

    def test_bounded_and_still_near(self):
        """Values of any exponent take at most 128 KiB, where bins get wider by powers of two."""
        generator = np.random.default_rng(0)
        values = generator.choice([-1, 1], COUNT) * 2.0 ** generator.uniform(-1000, 1000, COUNT)
        state = state_of(Quantile(0.5, method="hist"), values, range(10_000, COUNT, 10_000))
        assert state.nbytes <= 128 * 1024 + 64
        for q in (0.1, 0.4, 0.6, 0.9):
            assert Quantile(q, method="hist").result(state) == pytest.approx(np.quantile(values, q), rel=0.26)

    def test_a_gap_at_the_quantile(self):
        """No value is made up within a gap, where a sketch would do so."""
        values = np.repeat([1.0, 1e6], [100_001, 99_999])
        assert result_of(Quantile(0.5, method="hist"), values) == pytest.approx(1.0, rel=0.004)

    @pytest.mark.parametrize("values", [[0.0, -0.0, 0.0], [1e-320, -1e-320, 0.0], [3.7] * 5, [-1e308] * 3], ids=str)
    def test_zero_and_equal_values(self, values):
        """Zeros stay zero, numbers too small for all their bits count as zero, and equal values stay as they are."""
        expected = values[0] if abs(values[0]) > 1e-300 else 0.0
        assert result_of(Quantile(0.5, method="hist"), values) == expected


class TestWeights:
    """A value of weight w counts as w equal values."""

    @pytest.mark.parametrize("method", METHODS)
    def test_as_if_repeated(self, method):
        """Whole weights give what repeated values give, within what a method knows."""
        values = drawn("lognormal", 100_000)
        weights = np.random.default_rng(1).integers(1, 8, 100_000).astype(np.float64)
        repeated = np.repeat(values, weights.astype(int))
        state = state_of(Quantile(0.5, method=method), values, [60_000], weights)
        for q in QUANTILES:
            result = Quantile(q, method=method).result(state)
            if method == "exact":
                assert result == np.quantile(repeated, q)
            elif method == "hist":
                assert result == pytest.approx(np.quantile(repeated, q), rel=0.004)
            else:
                assert rank_error(result, repeated, q) < (1e-4 if method == "auto" else 2e-4)

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("weight", [1e-3, 1e12, 1e300])
    def test_very_large_and_very_small_weights(self, method, weight):
        """Weights of any size that all values share play no part in ranks, beyond the place of a single value."""
        values = drawn("normal", 100_000)
        reducer = Quantile(0.9, method=method)
        result = result_of(reducer, values, [50_000], np.full(100_000, weight))
        assert rank_error(result, values, 0.9) < (0.01 if method == "hist" else 5e-4) + 1 / (weight * 100_000)

    @pytest.mark.parametrize(("method", "bound"), [("auto", 1e-4), ("sketch", 3e-4)])
    def test_one_value_with_half_of_the_weight(self, method, bound):
        """The ranks of all others are right, also if these drift away from what came first."""
        values = np.append(-100.0, drawn("drifting", 100_000))
        weights = np.append(100_000.0, np.ones(100_000))
        state = state_of(Quantile(0.5, method=method), values, range(5000, 100_000, 5000), weights)
        for q in (0.51, *np.linspace(0.55, 0.95, 9), 0.99):
            result = Quantile(q, method=method).result(state)
            assert rank_error(result, np.append(np.full(100_000, -100.0), values[1:]), q) < bound, q

    @pytest.mark.parametrize("method", METHODS)
    def test_one_weight_above_all(self, method):
        """A value whose weight is far above all others is the median, and the ends are still known."""
        values = drawn("normal", 100_000)
        weights = np.ones(100_000)
        weights[123] = 1e300
        state = state_of(Quantile(0.5, method=method), values, [50_000], weights)
        tolerance = 0.004 if method == "hist" else 0.0
        assert Quantile(0.5, method=method).result(state) == pytest.approx(values[123], rel=tolerance, abs=0.0)
        points = Quantile(0.5, method=method).points(state)
        ends = [values.min(), values.max()]
        assert [points.values[0], points.values[-1]] == pytest.approx(ends, rel=tolerance, abs=0.0)


class TestInfinities:
    """Infinite values have ranks like any other."""

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("count", [10, 200_000])
    def test_at_the_ends(self, method, count):
        """A tenth of the values infinite at either end leaves finite quantiles between as they are."""
        values = np.concatenate([np.full(count, -np.inf), drawn("uniform", 8 * count) + 1, np.full(count, np.inf)])
        values = np.random.default_rng(0).permutation(values)
        state = state_of(Quantile(0.5, method=method), values, [count, 4 * count])
        results = [Quantile(q, method=method).result(state) for q in (0, 0.05, 0.5, 0.95, 1)]
        assert results[:2] + results[3:] == [-np.inf, -np.inf, np.inf, np.inf]
        assert results[2] == pytest.approx(np.quantile(values, 0.5), rel=0.004)

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("count", [2, 100_000])
    def test_nothing_else(self, method, count):
        """Of infinities of one sign, each quantile is infinite; half between both it is NaN, as in numpy."""
        for infinity in (np.inf, -np.inf):
            assert result_of(Quantile(0.5, method=method), np.full(count, infinity), [1]) == infinity
        both = np.repeat([np.inf, -np.inf], count // 2)
        assert np.isnan(result_of(Quantile(0.5, method=method), both, [1]))

    def test_others(self):
        """Outliers that are cut off may be infinite; what is left is as if they were only large."""
        values = np.concatenate([np.arange(100.0), [np.inf] * 5])
        large = np.concatenate([np.arange(100.0), [1e9] * 5])
        for reducer in (MAD(), TrimmedMean(), WinsorizedMean(), IQR()):
            assert result_of(reducer, values) == result_of(reducer, large)


class TestSharing:
    """All reducers of one method have one state."""

    @pytest.mark.parametrize("method", METHODS)
    def test_one_state_for_all(self, method):
        """States of one method are interchangeable, and those of different methods are not."""
        reducers = [Quantile(0.1, method), IQR(method), MAD(method), TrimmedMean(0.2, method), Mode(method)]
        assert {reducer.state_key for reducer in reducers} == {("distribution", method)}
        assert len({reducer.weighted for reducer in reducers}) == 1

    @pytest.mark.parametrize("method", METHODS)
    def test_merging_changes_nothing(self, method):
        """Merging and asking leave states as they are, also after these were pickled."""
        reducer = Quantile(0.5, method=method)
        left, right = (state_of(reducer, drawn("normal", count)) for count in (70_000, 3000))
        before = [left.tobytes(), right.tobytes()]
        merged = reducer.merge(pickle.loads(pickle.dumps(left)), right)
        assert reducer.result(reducer.merge(left, right)) == reducer.result(merged)
        assert [left.tobytes(), right.tobytes()] == before

    @pytest.mark.parametrize("count", [100, 100_000])
    @pytest.mark.parametrize("method", METHODS)
    def test_the_same_again(self, method, count):
        """The same values in the same calls give the same state, bit by bit."""
        states = [state_of(Quantile(0.5, method=method), drawn("normal", count), [count // 3]) for _ in range(2)]
        assert states[0].tobytes() == states[1].tobytes()


class TestParameters:
    """What makes no sense is refused, with what to write instead."""

    @pytest.mark.parametrize("q", [-0.1, 95, float("nan")])
    def test_q(self, q):
        """A q that is no share of the values is refused."""
        with pytest.raises(ValueError) as raised:
            Quantile(q)
        assert str(raised.value) == f"Quantile got q={q!r}; expected a number from 0 to 1, for example 0.95."

    @pytest.mark.parametrize("kind", [TrimmedMean, WinsorizedMean])
    @pytest.mark.parametrize("proportion", [-0.1, 0.5, 10, float("nan")])
    def test_proportion(self, kind, proportion):
        """A proportion that leaves nothing, or is none, is refused."""
        with pytest.raises(ValueError) as raised:
            kind(proportion)
        assert str(raised.value) == (
            f"{kind.__name__} got proportion={proportion!r}; expected a number from 0 to below 0.5, for example 0.1."
        )

    @pytest.mark.parametrize("kind", [IQR, MAD, TrimmedMean, WinsorizedMean, Mode, NUnique])
    def test_method(self, kind):
        """A method that there is not is refused."""
        with pytest.raises(ValueError) as raised:
            kind(method="tdigest")
        assert str(raised.value) == (
            f"{kind.__name__} got method='tdigest'; expected 'auto', 'exact', 'sketch' or 'hist'."
        )

    def test_names(self):
        """A quantile is named by its percentage, unless it is given a name."""
        assert [Quantile(q).name for q in (0.5, 0.999, 0.07, 1)] == ["p50", "p99.9", "p7", "p100"]
        assert Quantile(0.5, name="median").name == "median"

    def test_a_method_of_ones_own(self):
        """A reducer of one's own takes what it needs from the points."""

        class Largest(Distribution):
            @property
            def name(self):
                return "largest"

            def result(self, state):
                return float(self.points(state).values[-1])

        assert result_of(Largest(), [1.0, 3.0, 2.0]) == 3.0
