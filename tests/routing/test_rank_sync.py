"""What many ranks log gives what one process gives that has seen all of it."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torch import distributed as c10d

from lightning_trackplus import Image
from lightning_trackplus.media.selected_items import SelectedItems, SelectionKey
from lightning_trackplus.media.selection import selection_of
from lightning_trackplus.reducers import Quantile
from lightning_trackplus.routing.log_call import bound
from lightning_trackplus.routing.logged_stream import LoggedStream, StreamKey
from lightning_trackplus.routing.rank_sync import sync_epoch
from lightning_trackplus.routing.stream_registry import StreamRegistry
from lightning_trackplus.runtime import distributed
from tests.support.many_ranks import Unpicklable
from tests.support.thread_ranks import in_threads

REDUCTIONS = ["mean", "std", "skew", "sum", "min", "max", "count", "median", "p95", "last", "argmax", "topk(3)"]
SERIES = ["ema(0.3)", "running(3, median)"]
STEPS = 4


def order(x):
    """Return a number that the order of the values changes."""
    return (x * torch.arange(1, len(x) + 1)).sum()


def stream(name, reduce_fx, *, training=False):
    """Return a stream as ``self.log(name, …, reduce_fx=…, sync_dist=True)`` makes it."""
    arguments = {**bound((name, 0.0), {"sync_dist": True}), "on_step": False, "on_epoch": True}
    for one in ("name", "value", "reduce_fx", "batch_size"):
        del arguments[one]
    key = StreamKey("training_step" if training else "validation_step", name, None)
    return LoggedStream(key, reduce_fx, arguments, training=training, nan_policy="omit")


def values(rank, step):
    """Return the values of a batch: none up to nine."""
    random = np.random.default_rng([7, rank, step])
    return np.round(random.gamma(2.0, size=random.integers(0, 10)), 1)


def feed(streams, ranks, steps=range(STEPS)):
    """Add the values of some ranks, in the order of steps and ranks."""
    for step in steps:
        for rank in ranks:
            for one in streams.values():
                one.stream.add(values(rank, step), step=step)


def results(streams, count):
    """Return what each of several ranks shows of its streams, by name."""

    def work(rank):
        merged, _ = sync_epoch(list(streams(rank).values()), {})
        return {one.key.name: shown for one, shown in merged}

    return in_threads(count, work)


def assert_same(found, wanted):
    """Assert that results are the same: to the last bit, but for sums in another order."""
    assert found.keys() == wanted.keys()
    for name, one in wanted.items():
        exact = name.split("_")[-1] in (
            "min",
            "max",
            "count",
            "median",
            "p95",
            "argmax",
            "top1",
            "top2",
            "top3",
            "order",
        )
        assert found[name] == (one if exact else pytest.approx(one, rel=1e-12, nan_ok=True)), name


@pytest.mark.parametrize("count", [3, 5, 7, 33, 64])
def test_results_are_those_of_one_process(count):
    """Also where some log other names, or nothing."""

    def of(ranks):
        made = {"all": stream("all", REDUCTIONS), "order": stream("order", order)}
        feed(made, ranks)
        return made

    def streams(rank):
        if rank == 1:
            return {}
        made = of([rank])
        if rank % 3 == 0:
            made["third"] = stream("third", ["p95", "n_unique"])
            feed({"third": made["third"]}, [rank])
        return made

    ranks = [rank for rank in range(count) if rank != 1]
    alone = of(ranks)
    third = stream("third", ["p95", "n_unique"])
    feed({"third": third}, range(0, count, 3))
    found = results(streams, count)
    for one in found:
        assert one == found[0], "the same to the last bit"
    for name, one in {**alone, "third": third}.items():
        wanted = one.results(one.stream.summary())
        if name == "all":
            # Of ranks that end in one step, the last value is the mean.
            lasts = {rank: max(step for step in range(STEPS) if len(values(rank, step))) for rank in ranks}
            at_end = [values(rank, step)[-1] for rank, step in lasts.items() if step == max(lasts.values())]
            wanted["all_last"] = np.mean(at_end)
        assert_same(found[0][name], wanted)


def parts(x, count, split):
    """Return the values of each rank: dealt in turn, in sorted blocks, or nearly all in one."""
    if split == "dealt":
        return [x[rank::count] for rank in range(count)]
    return np.array_split(np.sort(x), count) if split == "sorted" else np.split(x, range(1, count))


@pytest.mark.parametrize("split", ["dealt", "sorted", "nearly all in one"])
@pytest.mark.parametrize(
    ("count", "total", "dtype"),
    [(7, 65_536, np.float64), (7, 65_536, np.float32), (7, 400_000, np.float64), (17, 1_000_000, np.float64)],
)
def test_quantiles_of_any_split(count, total, dtype, split):
    """To the bit as long as values stay exact; after that with a rank error of 1e-4."""
    points = [0.001, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999]
    x = np.exp(np.random.default_rng(3).normal(size=total) * 2).astype(dtype).astype(np.float64)
    of_rank = parts(x, count, split)

    def streams(rank):
        one = stream("x", ["mean", "var", *(f"quantile({point})" for point in points)])
        one.stream.add(of_rank[rank])
        return {"x": one}

    first, *others = results(streams, count)
    assert others == [first] * (count - 1), "the same to the last bit"
    mean, var, *quantiles = first["x"].values()
    assert mean == pytest.approx(x.mean(), rel=1e-12)
    assert var == pytest.approx(x.var(ddof=1), rel=1e-12)
    if total <= 65_536:
        assert quantiles == np.quantile(x, points).tolist()
    else:
        assert np.interp(quantiles, np.sort(x), np.linspace(0, 1, total)) == pytest.approx(points, abs=1e-4)


@pytest.fixture
def sent(monkeypatch):
    """Return a list that gets the messages between ranks."""
    exchange, found = distributed.exchange, []

    def noted(data, *arguments, **options):
        found.append(data or b"")
        return exchange(data, *arguments, **options)

    monkeypatch.setattr(distributed, "exchange", noted)
    return found


@pytest.mark.parametrize(("count", "each"), [(2, 60_000), (5, 20_000), (8, 60_000)])
def test_no_rank_sends_all_values_if_the_result_will_be_a_sketch(sent, count, each):
    """Also where two ranks together have few enough; in a checkpoint as well, and where a reducer is a metric."""
    of_rank = np.random.default_rng(1).normal(size=(count, each))
    rising, ranks = np.sort(of_rank, axis=None), np.linspace(0, 1, of_rank.size)

    def work(rank):
        logged, registry, metric = stream("x", ["p95", "mean"], training=True), StreamRegistry(), Quantile(0.95)
        registry.add(logged)
        logged.stream.add(of_rank[rank])
        metric.update(of_rank[rank])
        (saved,) = registry.state_dict()["streams"]
        ((_, shown),) = sync_epoch([logged], {})[0]
        return len(pickle.dumps(saved)), shown["x_p95"], float(metric.compute())

    for size, *quantiles in in_threads(count, work):
        assert size < 160 * 2**10
        assert np.interp(quantiles, rising, ranks) == pytest.approx([0.95, 0.95], abs=1e-4)
    assert max(map(len, sent)) < 160 * 2**10


def test_few_values_of_each_rank_are_sent_as_they_are(sent):
    """A sketch would be larger; and what is merged in between never is."""
    x = np.random.default_rng(1).normal(size=(33, 3000))

    def work(rank):
        one = stream("x", "median")
        one.stream.add(x[rank])
        ((_, shown),) = sync_epoch([one], {})[0]
        return shown["x"]

    found = in_threads(33, work)
    assert np.interp(found, np.sort(x, axis=None), np.linspace(0, 1, x.size)) == pytest.approx([0.5] * 33, abs=1e-4)
    sizes = [len(message) for message in sent if len(message) > 10_000]
    assert 24_000 < min(sizes) < 26_000
    assert max(sizes) < 160 * 2**10


def test_media_are_sent_by_those_that_have_chosen_ones(sent):
    """Rank zero has the items, and nothing else is sent to it; the others have none."""
    key = SelectionKey("evaluation", "hard")
    scores = np.random.default_rng(0).random((8, 5))

    def work(rank):
        kept = SelectedItems(selection_of("top8"), rank)
        captions = [f"{score:.3f}" for score in scores[rank]]
        kept.add(Image(torch.zeros((5, 3, 128, 128), dtype=torch.uint8), captions, torch.from_numpy(scores[rank])))
        return sync_epoch([], {key: kept})[1]

    first, *others = in_threads(8, work)
    best = sorted(scores.flatten(), reverse=True)[:8]
    assert first[key].scores.tolist() == best
    assert list(first[key].captions) == [f"{score:.3f}" for score in best]
    assert others == [{}] * 7
    assert sum(map(len, sent)) <= 1.1 * 8 * 3 * 128 * 128


def test_what_rank_zero_has_need_not_be_sent():
    """A medium that cannot be pickled is shown where it is, whatever others send."""
    keys = [SelectionKey("evaluation", name) for name in ("own", "others")]

    def work(rank):
        kept = SelectedItems(selection_of("top1"), rank)
        kept.add(Unpicklable() if rank == 0 else Image(torch.zeros((1, 3, 4, 4), dtype=torch.uint8), score=1.0))
        return sync_epoch([], {keys[rank]: kept})[1]

    assert in_threads(2, work)[0].keys() == set(keys)


def test_an_error_of_a_function_that_one_rank_has_is_raised_by_all():
    """Also where the name is merged in the other rank, which does not have the function."""

    def breaks(x):
        raise ValueError("on purpose")

    # One of them is merged in rank zero.
    for name in ("a", "b", "c", "d"):

        def work(rank, name=name):
            of_rank = {name: stream(name, breaks)} if rank else {}
            feed(of_rank, [rank])
            with pytest.raises(ValueError, match="on purpose"):
                sync_epoch(list(of_rank.values()), {})

        in_threads(2, work)


def test_groups_have_their_own_results_after_a_resume():
    """Also of what is not logged again."""

    def work(rank):
        own = stream("x", "max", training=True)
        own.epoch, own.arguments["sync_dist_group"] = 0, [c10d.new_group([one]) for one in range(2)][rank]
        own.stream.add(float(rank))
        before, after = StreamRegistry(), StreamRegistry()
        before.add(own)
        after.load_state_dict(before.state_dict())
        merged, _ = sync_epoch(after.left_over(0), {})
        return [shown for _, shown in merged]

    assert in_threads(2, work) == [[{"x": 0.0}], [{"x": 1.0}]]


def registry(rank, ranks, steps, saved=None):
    """Return the streams of a rank that has seen some batches, maybe after a resume; some only every third rank has."""
    found = StreamRegistry()
    if saved is not None:
        found.load_state_dict(saved)
    made = {}
    for name, reduce_fx in {"all": REDUCTIONS, "order": order, "series": SERIES, "third": ["p95", "sum"]}.items():
        if name != "third" or rank % 3 == 0:
            made[name] = stream(name, reduce_fx, training=True)
            made[name].epoch = 0
            found.add(made[name])
    feed(made, ranks, steps)
    return found


@pytest.mark.parametrize(("before", "after"), [(3, 5), (7, 2), (33, 1), (1, 33), (5, 3)])
def test_a_training_goes_on_with_another_number_of_ranks(before, after):
    """A checkpoint has each stream once, and the epoch ends with the results of all values."""
    halves = range(STEPS // 2), range(STEPS // 2, STEPS)
    saved = in_threads(before, lambda rank: registry(rank, [rank], halves[0]).state_dict())[0]
    of_one = registry(0, range(before), halves[0]).state_dict()
    assert sorted(one["key"] for one in saved["streams"]) == sorted(
        [one["key"] for one in of_one["streams"]] + [StreamKey("training_step", "series", None)] * (before > 1)
    )
    assert {len(one["parts"]) for one in saved["streams"]} == {1}

    def work(rank):
        streams = list(registry(rank, [rank], halves[1], saved))
        merged, _ = sync_epoch(streams, {})
        return {one.key.name: shown for one, shown in merged}

    whole = [(rank, step) for step in halves[0] for rank in range(before)]
    whole += [(rank, step) for step in halves[1] for rank in range(after)]
    made = {
        name: stream(name, one) for name, one in {"all": REDUCTIONS, "order": order, "third": ["p95", "sum"]}.items()
    }
    for rank, step in whole:
        feed({name: one for name, one in made.items() if name != "third" or rank % 3 == 0}, [rank], [step])
    for found in in_threads(after, work):
        for name, one in made.items():
            wanted = one.results(one.stream.summary())
            wanted["all_last"] = found["all"]["all_last"]
            assert_same(found[name], {key: value for key, value in wanted.items() if key in found[name]})
