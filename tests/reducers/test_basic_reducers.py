"""What single reducers keep beside the contract that all of them do."""

from __future__ import annotations

import functools
import math
import re

import numpy as np
import pytest
import torch

from lightning_trackplus.reducers.first_last import Delta, First, Last
from lightning_trackplus.reducers.log_sums import LogMeanExp, LogSumExp
from lightning_trackplus.reducers.mean import GeometricMean, HarmonicMean, Mean, Perplexity
from lightning_trackplus.reducers.min_max import ArgMax, ArgMin
from lightning_trackplus.reducers.moments import CV, Kurtosis, Skew, Std, Variance
from lightning_trackplus.reducers.norms import L1, L2, RMS
from lightning_trackplus.reducers.stream import Stream
from lightning_trackplus.reducers.sum import InfCount, Sum
from lightning_trackplus.reducers.top_k import BottomK, TopK
from tests.support.reducer_cases import basic
from tests.support.reducer_cases.feeding import (
    assert_close,
    computed,
    logged,
    parts_of,
    plain,
    result_of,
    samples_of,
    state_of,
)

NEEDS_STEPS = ("arg", "first", "last", "delta", "top", "bottom")
FREE_OF_STEPS = [case for case in basic.CASES if not str(case).startswith(NEEDS_STEPS)]


def over_processes(reducer, *processes):
    """Return the result of several processes, each with its parts."""
    states = [state_of(reducer, parts) for parts in processes]
    return plain(reducer.result(functools.reduce(reducer.merge, states)))


@pytest.mark.parametrize("case", FREE_OF_STEPS, ids=str)
def test_processes_that_log_in_the_same_steps_count_together(case):
    """What three processes log in the same steps, one of them nothing, is as one stream."""
    processes = [[samples_of([2.0, 1.0]), samples_of([4.0], steps=[2])], [], [samples_of([0.5, 3.0, 3.0])]]
    values = np.array([2.0, 1.0, 4.0, 0.5, 3.0, 3.0])
    assert_close(over_processes(case.make(), *processes), case.oracle(values, np.ones(6)), case)


class TestSumsAndMeans:
    @pytest.mark.parametrize("cuts", [[], [1], [1, 2], [2, 3]], ids=str)
    def test_values_that_cancel_leave_what_is_small(self, cuts):
        """A small value beside large ones that cancel is not lost, wherever the stream is cut."""
        parts = parts_of(samples_of([1e17, 1.0, 0.25, -1e17]), cuts)
        assert result_of(Sum(), parts) == 1.25
        assert result_of(Mean(), parts) == 1.25 / 4

    def test_many_small_values_add_up(self):
        """A million values of 0.1, in parts, have the sum that rounds best."""
        values = np.full(1_000_000, 0.1)
        assert result_of(Sum(), parts_of(samples_of(values), range(0, 1_000_000, 65_536))) == math.fsum(values)

    @pytest.mark.parametrize("reducer", [GeometricMean(), HarmonicMean()], ids=str)
    @pytest.mark.parametrize("value", [0.0, -0.0, -1.0, -np.inf])
    @pytest.mark.parametrize("cuts", [[], [1], [1, 2]], ids=str)
    def test_means_of_positive_values_alone(self, reducer, value, cuts):
        """One value that is not above 0 makes the geometric and the harmonic mean NaN."""
        assert np.isnan(result_of(reducer, parts_of(samples_of([2.0, value, 3.0]), cuts)))

    def test_infinite_values_have_the_means_that_ieee_gives_them(self):
        """An infinity makes a mean infinite, and two of either sign NaN; it is nothing to a harmonic mean."""
        assert computed(logged(Mean(), [1.0, np.inf])) == np.inf
        assert np.isnan(computed(logged(Mean(), [-np.inf, np.inf])))
        assert computed(logged(GeometricMean(), [1.0, np.inf])) == np.inf
        assert computed(logged(HarmonicMean(), [1.0, np.inf])) == 2
        assert computed(logged(HarmonicMean(), [np.inf])) == np.inf

    def test_infinite_values_are_counted(self):
        """Those of either sign count, each once whatever its weight, over all parts; NaN is none of them."""
        values = [np.inf, 1.0, -np.inf, np.nan, -np.inf]
        assert computed(logged(InfCount(), values, [3, 1, 2, 1, 1])) == 3
        assert result_of(InfCount(), parts_of(samples_of([np.inf, 1.0, -np.inf]), [1])) == 2

    def test_perplexity_counts_tokens(self):
        """Two batches of unlike length count by their tokens; of a hopeless loss it is infinite."""
        losses, tokens = np.log([8.0, 2.0]), [1, 3]
        assert computed(logged(Perplexity(), losses, tokens)) == pytest.approx(np.exp((losses @ tokens) / 4))
        assert computed(logged(Perplexity(), [1e6])) == np.inf


class TestNorms:
    @pytest.mark.parametrize("scale", [1e-300, 1e-200, 1.0, 1e200, 1e300])
    @pytest.mark.parametrize("cuts", [[], [1], [1, 2]], ids=str)
    def test_values_whose_squares_no_float_holds(self, scale, cuts):
        """Very large and very small values have the norm that their scale gives them."""
        parts = parts_of(samples_of(np.array([2.0, -3.0, 6.0]) * scale), cuts)
        assert result_of(L1(), parts) == pytest.approx(11 * scale)
        assert result_of(L2(), parts) == pytest.approx(7 * scale)
        assert result_of(RMS(), parts) == pytest.approx(7 / 3**0.5 * scale)

    def test_zeros_beside_what_is_tiny(self):
        """A part of zeros does not hide another of tiny values, from either side."""
        zeros, tiny = samples_of([0.0, 0.0]), samples_of([3e-320, 4e-320])
        for parts in ([zeros, tiny], [tiny, zeros]):
            assert result_of(L2(), parts) == pytest.approx(5e-320, rel=1e-3)
        assert result_of(L2(), [zeros, zeros]) == 0
        assert result_of(RMS(), [zeros]) == 0

    def test_an_infinite_value_makes_norms_infinite(self):
        """So it does beside any other, of either sign."""
        for reducer in (L1(), L2(), RMS()):
            assert result_of(reducer, parts_of(samples_of([1.0, -np.inf, 1e300]), [1])) == np.inf


class TestLogSums:
    @pytest.mark.parametrize("cuts", [[], [1]], ids=str)
    def test_results_near_zero_are_as_exact_as_others(self, cuts):
        """Where the largest value is 0, what the others add is not lost."""
        assert result_of(LogSumExp(), parts_of(samples_of([0.0, -50.0]), cuts)) == pytest.approx(np.exp(-50), rel=1e-14)

    def test_infinite_values(self):
        """Exponentials of 0 and of infinity are such; a mean counts those of 0."""
        assert computed(logged(LogSumExp(), [-np.inf, -np.inf])) == -np.inf
        assert computed(logged(LogSumExp(), [-np.inf, 1.0])) == 1
        assert computed(logged(LogSumExp(), [-np.inf, np.inf, 1.0])) == np.inf
        assert computed(logged(LogMeanExp(), [-np.inf, 1.0])) == pytest.approx(1 - np.log(2))


class TestMoments:
    @pytest.mark.parametrize("count", [1, 7, 300])
    def test_far_from_zero_each_value_in_a_part(self, count):
        """A spread of 1 about 1e9 has its moments, if each value is a part, and if many are."""
        values = np.random.default_rng(0).exponential(size=300)
        values = 1e9 + np.round(values, 6)
        for case in basic.CASES:
            if str(case) in ("var", "std", "sem", "cv", "skew", "kurtosis"):
                parts = parts_of(samples_of(values), range(count, 300, count))
                assert_close(result_of(case.make(), parts), case.oracle(values, np.ones(300)), case)

    @pytest.mark.parametrize("cuts", [[], [1], [2, 3]], ids=str)
    def test_equal_values_have_no_spread_at_all(self, cuts):
        """Their variance is 0, not what rounding makes of it, and their skewness and kurtosis are NaN."""
        parts = parts_of(samples_of([0.1] * 7), cuts)
        assert result_of(Variance(), parts) == 0
        assert result_of(CV(), parts) == 0
        assert np.isnan([result_of(Skew(), parts), result_of(Kurtosis(), parts)]).all()

    def test_an_infinite_value_has_no_deviation(self):
        """As with numpy, the variance is NaN, wherever the stream is cut."""
        for cuts in ([], [1], [2]):
            assert np.isnan(result_of(Std(), parts_of(samples_of([1.0, np.inf, 2.0]), cuts)))

    def test_weights_may_be_fractions(self):
        """Weights below 1 count by their sum, less 1 for the mean."""
        values, weights = np.array([1.0, 2.0, 4.0]), np.array([0.5, 2.5, 0.25])
        expected = np.cov(values, aweights=weights, ddof=0) * weights.sum() / (weights.sum() - 1)
        assert computed(logged(Variance(), values, weights)) == pytest.approx(float(expected))
        assert np.isnan(computed(logged(Variance(), values, weights / 4)))


class TestOrder:
    def test_values_of_one_step_are_in_the_order_they_came(self):
        """Of several values in one step, in a vector or in several calls, the very first and last count."""
        stream = Stream([First(), Last(), Delta()])
        stream.add(torch.tensor([5.0, 1.0]), step=3)
        stream.add(2.0, step=3)
        assert stream.results(stream.summary()) == [5, 2, -3]

    def test_a_step_may_be_cut_in_the_middle(self):
        """A result asked for in between, and more calls than are summarized at once, are no new step."""
        stream = Stream([First(), Last(), Delta()])
        for count in range(1, 5001):
            stream.add_snapshot(float(count), 1, 3)
            if count in (1, 2, 2500):
                assert stream.results(stream.summary()) == [1, count, count - 1]
        assert stream.results(stream.summary()) == [1, 5000, 4999]

    def test_processes_that_begin_or_end_together_are_averaged(self):
        """Of processes, those that have logged in the first or the last step count, each alike."""
        one = [samples_of([1.0, 2.0], steps=[0, 0]), samples_of([3.0], steps=[5])]
        two = [samples_of([5.0], steps=[0]), samples_of([7.0], steps=[4])]
        three = [samples_of([30.0, 31.0], steps=[0, 5]), samples_of([9.0], steps=[5])]
        later = [samples_of([100.0], steps=[1])]
        assert over_processes(First(), one, two, three, later) == (1 + 5 + 30) / 3
        assert over_processes(Last(), one, two, three, later) == (3 + 9) / 2
        assert over_processes(Delta(), one, two, three, later) == (3 + 9) / 2 - (1 + 5 + 30) / 3

    def test_a_process_without_values_does_not_count(self):
        """Nor does one that has only been asked."""
        reducer = First()
        nothing = [samples_of([]), samples_of([])]
        assert over_processes(reducer, nothing, [], [samples_of([4.0])], nothing) == 4
        assert np.isnan(over_processes(reducer, nothing, []))

    def test_merge_state_is_as_two_processes(self):
        """Two reducers that began in the same step are averaged, though both are merged as they are."""
        one, two = logged(First(), [1.0, 2.0]), logged(First(), [4.0])
        two.merge_state(one)
        assert computed(two) == 2.5


class TestExtremes:
    @pytest.mark.parametrize(("reducer", "value"), [(ArgMax(), 9.0), (ArgMin(), -9.0)], ids=str)
    def test_the_lowest_step_of_a_tie(self, reducer, value):
        """Of equal extremes the lowest step counts, whichever process has it; infinities are extremes as well."""
        for extreme in (value, value * np.inf):
            early, late = samples_of([0.0, extreme], steps=[1, 3]), samples_of([extreme, extreme], steps=[4, 5])
            assert over_processes(reducer, [early], [late]) == 3
            assert over_processes(reducer, [late], [early]) == 3
        assert computed(logged(reducer, [-value * np.inf])) == 0

    def test_ties_at_the_top_stand_in_the_order_of_their_steps(self):
        """Of equal values the earlier one stands first, and the latest is what falls out."""
        late, early = samples_of([2.0, 7.0, 7.0], steps=[5, 6, 8]), samples_of([7.0, 1.0], steps=[2, 3])
        expected = {"top1": 7, "top1_step": 2, "top2": 7, "top2_step": 6}
        assert over_processes(TopK(2, steps=True), [late], [early]) == expected
        assert over_processes(TopK(2, steps=True), [early, late]) == expected
        assert over_processes(BottomK(1, steps=True), [early, late]) == {"bottom1": 1, "bottom1_step": 3}

    @pytest.mark.parametrize("kind", [TopK, BottomK])
    @pytest.mark.parametrize("k", [0, -1, 2.0, True, "5", None])
    def test_k_is_a_whole_number(self, kind, k):
        """Anything else is refused, with what to write instead."""
        message = f"{kind.__name__} got k={k!r}; expected an integer of at least 1, for example 5."
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            kind(k)
