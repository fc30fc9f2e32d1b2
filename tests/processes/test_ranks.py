"""Two real processes give what one would have given that had seen all samples."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lightning_trackplus.reducers.registry import REDUCERS, reducers_of
from tests.support.ranks import EDGES, SPECS, SPLITS


def samples(parts):
    """Return steps and values by step and rank, and the means of each rank's steps; all without NaN."""
    batches = [(step, rank, one) for rank, part in enumerate(parts) for step, one in enumerate(part)]
    batches = [(step, one[~np.isnan(one)]) for step, _, one in sorted(batches, key=lambda batch: batch[:2])]
    steps = np.concatenate([np.full(len(one), step) for step, one in batches])
    means = [(step, one.mean()) for step, one in batches if len(one)]
    return steps, np.concatenate([one for _, one in batches]), means


def ends(parts):
    """Return the mean over those ranks that came first together, and likewise for the last."""
    firsts, lasts = [], []
    for part in parts:
        seen = [(step, one[~np.isnan(one)]) for step, one in enumerate(part) if not np.isnan(one).all()]
        if seen:
            firsts.append((seen[0][0], seen[0][1][0]))
            lasts.append((seen[-1][0], seen[-1][1][-1]))
    first = np.mean([value for step, value in firsts if step == min(firsts)[0]])
    last = np.mean([value for step, value in lasts if step == max(lasts)[0]])
    return first, last


def moment(x, power):
    return np.mean(((x - x.mean()) / x.std()) ** power)


def trimmed(x, replace):
    cut = int(0.1 * len(x))
    kept = np.sort(x)[cut : len(x) - cut]
    return np.concatenate([kept[:1].repeat(cut), kept, kept[-1:].repeat(cut)]).mean() if replace else kept.mean()


def weighted(means, alpha):
    """Return the weights of steps and their means, the steps of each rank being observations."""
    last = max(step for step, _ in means)
    return np.array([(1 - alpha) ** (last - step) for step, _ in means]), np.array([mean for _, mean in means])


def ewm_std(means, alpha):
    w, x = weighted(means, alpha)
    spread = w @ (x - np.average(x, weights=w)) ** 2
    return math.sqrt(spread * w.sum() / (w.sum() ** 2 - (w**2).sum())) if len(x) > 1 else math.nan


def mode(x):
    values, counts = np.unique(x, return_counts=True)
    return values[counts.argmax()]


ORACLES = {
    "mean": np.mean,
    "sum": np.sum,
    "count": len,
    "inf_count": lambda x: np.isinf(x).sum(),
    "min": np.min,
    "max": np.max,
    "range": np.ptp,
    "var": lambda x: np.var(x, ddof=1),
    "std": lambda x: np.std(x, ddof=1),
    "sem": lambda x: np.std(x, ddof=1) / math.sqrt(len(x)),
    "cv": lambda x: np.std(x, ddof=1) / np.mean(x),
    "skew": lambda x: moment(x, 3),
    "kurtosis": lambda x: moment(x, 4) - 3,
    "rms": lambda x: np.sqrt(np.mean(x**2)),
    "l1": lambda x: np.abs(x).sum(),
    "l2": np.linalg.norm,
    "gmean": lambda x: np.exp(np.log(x).mean()),
    "hmean": lambda x: 1 / np.mean(1 / x),
    "perplexity": lambda x: np.exp(x.mean()),
    "logsumexp": np.logaddexp.reduce,
    "logmeanexp": lambda x: np.logaddexp.reduce(x) - np.log(len(x)),
    "median": np.median,
    "quantile": lambda x: np.quantile(x, 0.3),
    "mad": lambda x: np.median(np.abs(x - np.median(x))),
    "trimmed_mean": lambda x: trimmed(x, replace=False),
    "winsorized_mean": lambda x: trimmed(x, replace=True),
    "mode": mode,
    "n_unique": lambda x: len(np.unique(x)),
    "since_logged": np.mean,
}
"""What those give to which neither steps nor ranks matter."""


def expected(name, parts):
    """Return the results of a reducer, by what stands behind the logged name."""
    steps, x, means = samples(parts)
    (reducer,) = reducers_of(SPECS[name])
    extreme = {"argmin": np.min, "argmax": np.max}
    match name:
        case "nan_count":
            result = sum(np.isnan(one).sum() for part in parts for one in part)
        case "argmin" | "argmax":
            result = steps[x == extreme[name](x)].min()
        case "topk":
            return {f"top{place + 1}": value for place, value in enumerate(-np.sort(-x)[:3])}
        case "bottomk":
            return {f"bottom{place + 1}": value for place, value in enumerate(np.sort(x)[:2])}
        case "iqr":
            low, high = np.quantile(x, [0.25, 0.75])
            return {"iqr": high - low, "p25": low, "p75": high}
        case "first" | "last" | "delta":
            first, last = ends(parts)
            result = {"first": first, "last": last, "delta": last - first}[name]
        case "ema":
            w, values = weighted(means, 0.5)
            result = np.average(values, weights=w)
        case "ewm_std":
            result = ewm_std(means, 0.3)
        case "running":
            result = np.median(x[steps >= np.unique(steps)[-2:][0]])
        case _:
            result = ORACLES[name](x)
    return {reducer.name: result}


def test_each_name_is_tried():
    """A name that is added later has to be tried here as well."""
    assert SPECS.keys() == REDUCERS.keys()


def test_each_name_that_needs_no_argument_is_a_reduction():
    """Each stands for one reducer."""
    for name in REDUCERS:
        assert name in ("quantile", "running") or len(reducers_of(name)) == 1, name


@pytest.mark.parametrize("part", SPLITS)
@pytest.mark.parametrize("name", [name for name in REDUCERS if name != "histogram"])
def test_both_ranks_have_the_result_of_all_samples(both_ranks, part, name):
    """However the samples are split, all ranks show what one process gives that had seen them all."""
    for rank in both_ranks(f"split:{part}"):
        for suffix, result in expected(name, SPLITS[part]).items():
            assert rank["metrics"][f"x_{suffix}"] == pytest.approx(result, rel=1e-12, abs=1e-12, nan_ok=True), suffix


@pytest.mark.parametrize("part", SPLITS)
def test_a_histogram_has_the_values_of_all_ranks(both_ranks, part):
    """Rank 0 writes it, with what lies below and above all bins in rows of their own."""
    _, x, _ = samples(SPLITS[part])
    counts, _ = np.histogram(x, EDGES)
    below, above = (x < EDGES[0]).sum(), (x > EDGES[-1]).sum()
    outside = {-math.inf: below, EDGES[-1]: above}
    bins = dict(zip(EDGES[:-1], counts, strict=True))
    written = {float(low): count for low, count in both_ranks(f"split:{part}")[0]["histogram"].items()}
    assert written == {**bins, **{edge: n for edge, n in outside.items() if n}}


@pytest.mark.parametrize("part", ["uneven", "nothing_on_rank_1"])
@pytest.mark.parametrize("name", REDUCERS)
def test_alone_a_reducer_gives_the_result_of_all_ranks(both_ranks, part, name):
    """After ``update`` on each rank ``compute`` merges their states."""
    for rank in both_ranks("alone"):
        result = rank["results"][f"{part}/{name}"]
        if name == "histogram":
            assert result["counts"] == np.histogram(samples(SPLITS[part])[1], EDGES)[0].tolist()
            continue
        wanted = expected(name, SPLITS[part])
        given = result if isinstance(result, dict) else dict.fromkeys(wanted, result)
        assert given == pytest.approx(wanted, rel=1e-12, abs=1e-12, nan_ok=True)


class TestKeys:
    """Ranks that have not logged the same."""

    first, second = (np.concatenate(part) for part in SPLITS["uneven"])

    def test_each_is_reduced_over_the_ranks_that_have_it(self, both_ranks):
        """All ranks show the results, in every epoch."""
        for rank in both_ranks("keys"):
            for epoch in rank["epochs"]:
                assert (epoch["only0_max"], epoch["only1_max"]) == (self.first.max(), self.second.max())
                assert (epoch["only0_p50"], epoch["only1_p50"]) == (np.median(self.first), np.median(self.second))
                assert (epoch["both"], epoch["weighed"]) == (22, 6)

    def test_one_that_ranks_log_by_turns_is_that_of_the_epoch(self, both_ranks):
        """What a rank has logged in an earlier epoch plays no part."""
        for rank in both_ranks("keys"):
            by_turns = [epoch["by_turns"] for epoch in rank["epochs"]]
            assert by_turns == [np.median(self.first), np.median(self.second), np.median(self.first)]

    def test_without_sync_dist_a_rank_shows_its_own_alone(self, both_ranks):
        """Nobody else asked for it."""
        for number, rank in enumerate(both_ranks("keys")):
            assert [f"kept{one}" in rank["epochs"][-1] for one in range(2)] == [number == 0, number == 1]

    def test_a_fork_that_one_rank_lacks_shows_under_both_names(self, both_ranks):
        """The value of the step is missing there, that of the epoch is not."""
        for rank in both_ranks("keys"):
            for epoch in rank["epochs"]:
                for name in ("fork", "fork_epoch", "forks_max", "forks_max_epoch"):
                    assert epoch[name] == self.second.max()
                assert epoch["forks_count_epoch"] == epoch["forks_count"] == len(self.second)
                assert epoch["train_fork"] == epoch["train_fork_epoch"] == 3

    def test_the_logger_of_rank_0_writes_them_once_an_epoch(self, both_ranks):
        """Of a fork it writes the name that ends with ``_epoch``."""
        rows = both_ranks("keys")[0]["rows"]
        for name, value in {
            "only1_max": self.second.max(),
            "fork_epoch": self.second.max(),
            "train_fork_epoch": 3,
        }.items():
            assert [row[name] for row in rows if name in row] == [value] * 3
        assert not any(name in row for row in rows for name in ("fork", "train_fork", "kept1"))


def test_what_cannot_be_sent_is_said_where_it_is_missing(both_ranks):
    """A lambda that one rank alone has logged leaves the other without a result, and none hangs."""
    zero, one = both_ranks("a_lambda")
    assert "unsendable" not in zero["metrics"]
    assert one["metrics"]["unsendable"] == np.concatenate(SPLITS["uneven"][1]).max()
    assert any(text.startswith("self.log('unsendable', …) was called in other processes") for text in zero["warnings"])
    assert zero["metrics"]["both_lambda"] == one["metrics"]["both_lambda"] == pytest.approx(37.125)


def test_dataloaders_that_are_empty_on_a_rank(both_ranks):
    """Each dataloader has its own results under its own suffix, wherever its batches were."""
    first, second = (np.concatenate(part) for part in SPLITS["uneven"])
    both = np.concatenate([first, second])
    for rank in both_ranks("dataloaders"):
        assert rank["gaps"]["metrics"] == {
            "x_max/dataloader_idx_0": first.max(),
            "x_count/dataloader_idx_0": len(first),
            "x_max/dataloader_idx_1": both.max(),
            "x_count/dataloader_idx_1": len(both),
            "only1/dataloader_idx_1": len(second),
        }
        assert rank["last"]["metrics"] == {
            "x_max/dataloader_idx_0": first.max(),
            "x_count/dataloader_idx_0": len(first),
            "x_max/dataloader_idx_1": second.max(),
            "x_count/dataloader_idx_1": len(second),
            "only1/dataloader_idx_1": len(second),
        }


def test_options_say_who_takes_part(both_ranks):
    """All, those of a group, or each by itself."""
    first, second = (np.concatenate(part) for part in SPLITS["uneven"])
    for rank, own in zip(both_ranks("options"), (first, second), strict=True):
        assert rank["metrics"] == {
            "group": max(first.max(), second.max()),
            "own_group": len(own),
            "synced": len(first) + len(second),
            "local": len(own),
            "zero": len(own),
        }


@pytest.mark.parametrize("part", ["one_batch_more", "nothing_on_rank_1"])
def test_reducers_of_the_module_are_merged_too(both_ranks, part):
    """A second validation gives the same again."""
    _, x, means = samples(SPLITS[part])
    weights, values = weighted(means, 0.5)
    for rank in both_ranks("attributes"):
        assert rank[part] == pytest.approx({"p95": np.quantile(x, 0.95), "ema": np.average(values, weights=weights)})


def test_metrics_whose_result_is_a_dict_or_a_curve(both_ranks):
    """Each rank has the numbers of all, and rank 0 draws the curve once."""
    ranks = both_ranks("metric_results")
    for rank in ranks:
        assert rank["metrics"] == {"classes/multiclassaccuracy_0": 1, "classes/multiclassaccuracy_1": 0}
    assert len(ranks[0]["curves"]) == 1


def test_ranks_stop_and_save_alike(both_ranks):
    """The synced score falls to its lowest in the second epoch, and rises from there; on rank 1 it only falls."""
    for rank in both_ranks("monitored"):
        assert rank == {"epochs": 4, "best": "epoch=1.ckpt"}


def test_epoch_end_hooks_log_results_of_all_ranks(both_ranks):
    """In those of training and of validation; Lightning's own stay as they are."""
    values = np.concatenate([np.arange(3), 10 + np.arange(3)])
    for number, rank in enumerate(both_ranks("epoch_ends")):
        for prefix in ("val", "train"):
            assert rank["metrics"][f"{prefix}_values_median"] == np.median(values)
            assert rank["metrics"][f"{prefix}_values_count"] == 6
            assert rank["metrics"][f"{prefix}_local"] == 1 + 10 * number
            assert rank["metrics"][f"{prefix}_native"] == 0.5
            assert rank["metrics"][f"{prefix}_number"] == pytest.approx(np.std([0, 1], ddof=1))


def test_collectives(both_ranks):
    """None in steps; at the end of an epoch one, and for what was logged two exchanges with the other process."""
    for rank in both_ranks("counted"):
        assert rank["seen"].get("log", 0) == rank["seen"].get("log in pairs", 0) == 0
        assert rank["seen"]["native log"] > 0
        for hook in ("on_validation_epoch_end", "on_train_epoch_end"):
            assert rank["seen"][hook] == 2, "two epochs"
            assert rank["seen"][f"{hook} in pairs"] == 2 * 2 * 2, "how much there is, and what it is"
        assert "nothing in pairs" not in rank["seen"]


def test_names_of_any_class_of_strings(both_ranks):
    """Other processes get the string alone."""
    x = np.concatenate([np.concatenate(part) for part in SPLITS["uneven"]])
    for rank in both_ranks("odd_names"):
        assert rank["metrics"] == {"x_max": x.max(), "x_count": len(x)}


def test_reducers_of_the_module_with_a_group(both_ranks):
    """Over its processes; one that is not among them has its own values. A rank without the name needs no advice."""
    x = [np.concatenate(part) for part in SPLITS["uneven"]]
    for number, rank in enumerate(both_ranks("reducers_of_groups")):
        assert rank["metrics"] == {"of_both": np.median(np.concatenate(x)), "own": np.median(x[1])}
        assert rank["alone"] == number
        assert rank["warnings"] == []


class TestNobodyWaitsInVain:
    """What made a process wait for one that did not come."""

    def test_for_a_rank_that_logs_nothing_at_an_epoch_end(self, both_ranks):
        """``rank_zero_only`` is there for what rank zero alone logs."""
        assert both_ranks("rank_zero_at_epoch_end")[0]["metrics"] == {"zero": 2}

    def test_for_a_rank_that_does_not_log_what_is_not_synced(self, both_ranks):
        """Without ``sync_dist`` nobody else has to come."""
        zero, one = both_ranks("one_rank_at_epoch_end")
        assert (zero["metrics"], one["metrics"]) == ({}, {"one": 2})

    def test_for_groups_in_another_order(self, both_ranks):
        """All ranks take several groups in one order."""
        most = max(batch.max() for part in SPLITS["uneven"] for batch in part)
        for rank in both_ranks("several_groups"):
            assert rank["metrics"] == {f"group{index}": most for index in range(8)}

    def test_for_groups_that_are_logged_in_another_order(self, both_ranks):
        """At the end of an epoch as well, where groups of the same ranks are not one."""
        for rank in both_ranks("groups_in_other_orders"):
            assert rank["metrics"] == {"group0": 3, "group1": 3}

    def test_for_a_rank_that_is_asked_for_results_later(self, both_ranks):
        """Each result is that of all ranks, whoever was asked first."""
        for rank in both_ranks("asked_early"):
            assert rank["metrics"] == {"first": 1.5, "second": 3, "third": 3}

    def test_for_a_rank_that_is_not_of_the_trainer(self, both_ranks):
        """A Trainer of one process has no others, also where there are some."""
        zero, _ = both_ranks("a_trainer_of_one_process")
        assert zero == {"metrics": {"p95": 1, "late": 2}, "media": 1}

    def test_for_a_rank_of_a_group_that_has_no_batch(self, both_ranks):
        """It joins the others with nothing, as it does without a group."""
        for rank in both_ranks("a_group_and_nothing_on_a_rank"):
            assert rank["metrics"] == {"group": np.concatenate(SPLITS["nothing_on_rank_1"][0]).max()}
