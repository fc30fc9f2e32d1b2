"""Any number of real processes give what one gives that has seen all samples, also if it is no power of two."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lightning_trackplus import read_run
from tests.support.forking import ranks
from tests.support.many_ranks import disagree, idle, validate

STEPS = 2


@pytest.fixture(scope="module", params=[3, 8])
def run(request, tmp_path_factory):
    """Return the number of ranks, what each saw, and the run directory."""
    root = tmp_path_factory.mktemp("ranks")
    for rank in ranks(request.param, validate, root):
        list(rank.rest())
        assert rank.join() == 0
    return (
        request.param,
        [json.loads((root / f"{rank}.json").read_text()) for rank in range(request.param)],
        root / "run",
    )


def logged(count, which=lambda _: True):
    """Return the values that some of the ranks logged, by step and rank, with the ranks that logged each."""
    parts = []
    for step in range(STEPS):
        for rank in range(count):
            if rank != idle(count) and which(rank):
                random = np.random.default_rng([rank, step])
                parts += [(value, rank) for value in random.gamma(2.0, size=random.integers(1, 40))]
    return np.array([value for value, _ in parts]), [rank for _, rank in parts]


def test_all_ranks_have_the_results_of_all_samples(run):
    """Counts, sums, extremes and quantiles; also the rank that logged nothing has them."""
    count, reports, _ = run
    x, _ = logged(count)
    expected = {
        "x_count": len(x), "x_mean": x.mean(), "x_sum": x.sum(), "x_std": x.std(ddof=1), "x_min": x.min(),
        "x_max": x.max(), "x_median": np.median(x), "x_p95": np.quantile(x, 0.95),
        "order": x @ np.arange(1, len(x) + 1),
    }  # fmt: skip
    for report in reports:
        for name, value in expected.items():
            assert report["metrics"][name] == pytest.approx(value, rel=1e-12), name
        assert shared(report) == shared(reports[0]), "the same to the last bit"


def shared(report):
    """Return the metrics that all ranks have."""
    return {name: value for name, value in report["metrics"].items() if name not in ("local", "sent", "group_median")}


def test_what_some_ranks_log_is_reduced_over_those(run):
    """The others have the result too; a function that cannot be sent is missing there, which is said."""
    count, reports, _ = run
    x, _ = logged(count, lambda rank: rank % 2)
    for rank, report in enumerate(reports):
        if len(x):
            assert report["metrics"]["odd"] == pytest.approx(np.quantile(x, 0.95), rel=1e-12)
        is_odd = bool(rank % 2) and rank != idle(count)
        assert ("sent" in report["metrics"]) == is_odd
        assert len(report["warnings"]) == (len(x) > 0 and not is_odd)
        if is_odd:
            assert report["metrics"]["sent"] == x.max()


def test_without_sync_dist_each_has_its_own(run):
    """Nothing is merged."""
    count, reports, _ = run
    _, by = logged(count)
    for rank, report in enumerate(reports):
        assert report["metrics"].get("local") == (by.count(rank) or None)


def test_of_a_group_only_its_processes_log_at_the_end_of_an_epoch(run):
    """They have the result of the group, and the others are not waited for."""
    _, reports, _ = run
    assert [report["metrics"].get("group_median") for report in reports] == [0.5, 0.5] + [None] * (len(reports) - 2)


def disagreeing(root, case):
    """Return what each of four processes says where they log what does not fit together."""
    for rank in ranks(4, disagree, root, case):
        list(rank.rest())
        assert rank.join() == 0
    return [json.loads((root / f"{rank}.json").read_text()) for rank in range(4)]


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("reducers", "was called with std in process 0 and with mean, p95 in process 1"),
        ("parameters", "was called with histogram in process 0 and with histogram with other parameters in process 1"),
        ("breaks", "ZeroDivisionError: on purpose"),
        ("unsynced", "p50 got 3 values that are NaN, and nan_policy='raise'"),
    ],
)
def test_all_ranks_raise_what_one_raises(tmp_path, case, message):
    """So that none waits for another until a timeout."""
    for (report,) in disagreeing(tmp_path, case):
        assert message in report


def test_a_medium_that_cannot_be_sent_is_left_out(tmp_path):
    """Its process says so, and training continues."""
    reports = disagreeing(tmp_path, "media")
    assert [len(report) for report in reports] == [0, 1, 0, 0]
    assert reports[1][0].startswith("Media of 'odd' cannot be sent to process 0 and are left out. ")
    assert not list(tmp_path.rglob("*.odd"))


def test_media_are_selected_from_all_ranks(run):
    """Highest and lowest scores, and the first items by step and rank, each with the caption of its rank."""
    count, _, folder = run
    x, by = logged(count)
    media = read_run(folder).media
    of = {name: [one for one in media if one.name == f"hard_{name}"] for name in ("top5", "bottom3", "first4")}
    for name, expected in (("top5", np.argsort(-x)[:5]), ("bottom3", np.argsort(x)[:3])):
        assert [one.score for one in of[name]] == x[expected].tolist()
        assert [one.caption for one in of[name]] == [str(by[index]) for index in expected]
    assert len(of["first4"]) == min(4, len(x))


def by_key(ranks):
    """Return what some ranks give by key, in the order of the ranks."""
    found = {"all": list(ranks)} | {str(("own", rank)): [rank] for rank in ranks}
    return found | {str(("odd", odd)): [rank for rank in ranks if rank % 2 == odd] for odd in (0, 1)}


def test_objects_reach_those_that_they_are_for(run):
    """In the order of the ranks, in the whole and in a group; gathered objects are on rank zero alone."""
    count, reports, _ = run
    for rank, report in enumerate(reports):
        assert report["merged"] == by_key(range(count))
        assert report["of_group"] == (by_key(range(1, count)) if rank else {})
        assert report["nothing"] == {}
        assert report["gathered"] == ({} if rank else {"0": 0, str(count - 1): 1000 * (count - 1)})
