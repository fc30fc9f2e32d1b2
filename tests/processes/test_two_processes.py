"""Two real processes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas
import PIL.Image
import pytest

from tests.support.csv_files import read_metrics
from tests.support.two_processes import REDUCTIONS

ALL, FIRST_PART, SECOND_PART = np.arange(10.0), np.arange(6.0), np.arange(6.0, 10.0)

ORACLES = {
    "mean": np.mean,
    "sum": np.sum,
    "min": np.min,
    "max": np.max,
    "count": len,
    "std": lambda x: np.std(x, ddof=1),
    "var": lambda x: np.var(x, ddof=1),
    "median": np.median,
    "p90": lambda x: np.quantile(x, 0.9),
    "first": lambda x: x[0],
    "last": lambda x: x[-1],
    "len": len,
}


@pytest.fixture
def ranks(both_ranks):
    """Return what each of the processes saw of an uneven training."""
    return both_ranks("uneven_training")


@pytest.fixture
def folder(ranks):
    """Return the run directory."""
    return Path(ranks[0]["log_dir"])


@pytest.mark.parametrize("name", [name for name in [*REDUCTIONS, "len"] if name not in ("first", "last")])
def test_with_sync_dist_both_have_the_result_of_all_samples(ranks, name):
    """Uneven parts give what one process that had seen all samples gives."""
    for rank in ranks:
        assert rank["metrics"][f"synced_{name}"] == pytest.approx(ORACLES[name](ALL), rel=1e-14)


def test_first_and_last_are_by_step_and_averaged_where_ranks_tie(ranks):
    """Both ranks have a first batch; rank 0 alone has a second, which is the last."""
    for rank in ranks:
        assert rank["metrics"]["synced_first"] == (0 + 6) / 2
        assert rank["metrics"]["synced_last"] == 5


@pytest.mark.parametrize("name", REDUCTIONS)
def test_without_sync_dist_each_has_its_own(ranks, name):
    """As with Lightning's own reductions, nothing is exchanged unless it is asked for."""
    for rank, part in zip(ranks, (FIRST_PART, SECOND_PART), strict=True):
        assert rank["metrics"][f"local_{name}"] == pytest.approx(ORACLES[name](part), rel=1e-14)


def test_functions_get_the_values_in_the_order_of_steps_and_ranks(ranks):
    """0 … 3 and 6 … 9 came in the first step, 4 and 5 in the second."""
    assert [rank["metrics"]["order"] for rank in ranks] == [123678945.0] * 2


def test_scalars_keep_their_batch_sizes(ranks):
    """Three batches of 4, 2 and 4 samples with the means 1.5, 4.5 and 7.5."""
    for rank in ranks:
        assert rank["metrics"]["scalar_median"] == np.median(np.repeat([1.5, 4.5, 7.5], [4, 2, 4]))
        assert rank["metrics"]["scalar_count"] == 10


def test_other_options_mean_what_they_mean_for_lightning(ranks):
    """Lightning's own reductions are untouched, and ``rank_zero_only`` exchanges nothing."""
    first, second = (rank["metrics"] for rank in ranks)
    assert (first["native"], second["native"]) == (7.5, 7.5)
    assert (first["plain_vector"], second["plain_vector"]) == (4.5, 4.5)
    assert (first["rank_zero"], second["rank_zero"]) == (5, 9)


def test_a_rank_with_one_sample_joins_those_with_more(ranks):
    """Rank 0 logs the first three samples of its batches, rank 1 the first of its one."""
    for rank in ranks:
        assert rank["metrics"]["one_or_more"] == pytest.approx((0 + 1 + 2 + 4 + 5 + 6) / 6, rel=1e-14)


def test_what_is_not_synced_is_said_once_a_call(ranks):
    """Rank zero recommends ``sync_dist`` under the names that stand in the code, and not of each class or reducer."""
    texts = ["\n".join(rank["warnings"]) for rank in ranks]
    names = [re.findall(r"to use `self.log\('(.*)', ..., sync_dist=True\)`", text) for text in texts]
    # Of a name that an earlier training in these processes had, it was said there.
    assert [sorted(name for name in found if name != "local") for found in names] == [
        ["alone", "classes", "several"],
        [],
    ]


def test_a_rank_that_has_only_nan_takes_nothing_away(ranks):
    """What one process has left out is not in the common result."""
    assert [rank["metrics"]["one_rank_nan"] for rank in ranks] == [5, 5]
    assert any("'one_rank_nan', …): 4 values of this epoch were NaN" in text for text in ranks[1]["warnings"])


def test_step_values_are_those_of_the_process(ranks):
    """Nothing is exchanged in steps, not even with ``sync_dist``, as with Lightning's metrics."""
    assert ranks[0]["steps"] == [{"step_synced": s, "step_local": s} for s in (1, 3, 1, 3)]
    assert ranks[1]["steps"] == [{"step_synced": s, "step_local": s} for s in (7, 9, 7, 9)]


def test_rank_zero_alone_writes_one_run(ranks, folder, ranks_folder):
    """There is one run directory with one event file, and its numbers are rank zero's."""
    assert ranks[0]["log_dir"] == ranks[1]["log_dir"]
    assert folder == ranks_folder / "uneven_training/lightning_logs/version_0"
    assert [path.name for path in folder.parent.iterdir()] == ["version_0"]
    assert len(list(folder.glob("events*"))) == 1
    metrics = read_metrics(folder)
    assert metrics["synced_p90"].dropna().tolist() == pytest.approx([np.quantile(ALL, 0.9)] * 2)
    assert metrics["step_local"].tolist() == [1, 3, 1, 3]


def test_items_are_those_of_all_processes(folder):
    """In the order of one process that is dealt to them in turn; by score exactly those that it would keep."""
    media = pandas.read_csv(folder / "media.csv")
    shades = [np.asarray(PIL.Image.open(folder / file)).max() for file in media["file"]]
    for _, epoch in media.assign(shade=shades).groupby("step"):
        kept = dict(epoch.groupby("name")["shade"].apply(list))
        assert kept["img"] == [0, 6, 1, 7, 2, 8, 3, 9]
        assert kept["hard_top3"] == [7, 3, 6]
        assert kept["hard_bottom4"] == [0, 8, 4, 1]
        assert kept["hard_last2"] == [4, 5]
        assert len(set(kept["hard_sample4"])) == 4
        assert kept["elsewhere"] == [6]
        assert list(epoch[epoch["name"] == "hard_top3"]["score"]) == [3, 3, 2]


@pytest.mark.parametrize("way", ["closed", "open"])
def test_lightnings_own_reductions_are_the_same(both_ranks, way):
    """With ``sync_dist`` in each reduction and without, each process sees what it saw without TrackPlus."""
    for rank in both_ranks("paired_runs"):
        assert rank[way] == rank["without"]
        assert rank[way]["error"] is None
        assert len(rank[way]["seen"]) > 10
