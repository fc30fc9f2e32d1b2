"""Reducers where torchmetrics' own aggregators can stand: alone, in wrappers and compositions, saved and scripted."""

from __future__ import annotations

import copy
import io
import pickle
import re
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torchmetrics import MaxMetric, MeanMetric, MetricCollection, MetricTracker, MinMetric, SumMetric
from torchmetrics.wrappers import BootStrapper, MinMaxMetric, MultioutputWrapper, MultitaskWrapper
from torchmetrics.wrappers import Running as RunningWrapper

import tests.flavour as L
from lightning_trackplus import TrackPlus
from lightning_trackplus.reducers import (
    EMA,
    ArgMax,
    Count,
    First,
    Function,
    Histogram,
    Max,
    Mean,
    Min,
    NanCount,
    Quantile,
    Running,
    SinceLogged,
    Std,
    Sum,
    TopK,
)
from lightning_trackplus.reducers.registry import REDUCERS, reducers_of
from tests.flavour.pytorch.callbacks import ModelCheckpoint
from tests.support.training import LoggingModule, goes_on_exactly, loader, quiet_trainer

PAIRS = {"mean": (Mean, MeanMetric), "sum": (Sum, SumMetric), "max": (Max, MaxMetric), "min": (Min, MinMetric)}
SPECS = {
    **dict.fromkeys(REDUCERS),
    "histogram": "histogram(4, 0, 1)",
    "quantile": "quantile(0.3)",
    "running": "running(2)",
}
ALL = [spec or name for name, spec in SPECS.items()]
BATCHES = torch.rand(5, 6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) - 0.5

pairs = pytest.mark.parametrize(("ours", "theirs"), PAIRS.values(), ids=PAIRS)


def in_double(make):
    """Return one of torchmetrics' metrics that computes as exactly as a reducer."""
    return make().set_dtype(torch.float64)


def same(one, other):
    """Show that two results are the same numbers, in the same structure."""
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12, check_dtype=False, equal_nan=True)


def numbers(result):
    """Return the numbers in a result."""
    return torch.cat([one.reshape(-1) for one in (result.values() if isinstance(result, dict) else [result])]).tolist()


@pairs
@pytest.mark.parametrize(
    "values",
    [BATCHES, BATCHES[:, :, 0], [1, 2.5, -3], [[1.0, 2.0], [3.0, 0.5]], BATCHES.numpy(), np.array([4, 2, 7])],
    ids=["matrices", "vectors", "numbers", "lists", "arrays", "numbers of numpy"],
)
def test_values_are_taken_as_the_aggregators_take_them(ours, theirs, values):
    """The results of each call and of all are theirs, with the shapes and types that they take."""
    ours, theirs = ours(), in_double(theirs)
    for one in values:
        same(ours(one), theirs(one).double().reshape(()))
    same(ours.compute(), theirs.compute())
    assert ours.update_count == theirs.update_count == len(values)


@pytest.mark.parametrize("weight", [2, torch.ones(2, 1, 1), torch.tensor([1, 2]).reshape(2, 1, 1), [[[1]], [[3]]]])
def test_weights_are_broadcast_as_by_the_mean(weight):
    """Numbers, tensors of fewer elements, lists."""
    values = torch.arange(24.0).reshape(2, 3, 4)
    same(Mean()(values, weight), in_double(MeanMetric)(values, torch.as_tensor(weight)))


def wrapped(wrapper, make, batches, *, forward):
    """Return what a wrapper around a metric gives: of each call if it is called, and of all."""
    torch.manual_seed(3)
    metric = wrapper(make)
    seen = [metric(*batch) if forward else metric.update(*batch) for batch in batches]
    results = [metric.compute(), *(seen if forward else ())]
    metric.reset()
    metric.update(*batches[0])
    return [*results, metric.compute()]


WRAPPERS = {
    "running 1": lambda make: RunningWrapper(make(), window=1),
    "running 3": lambda make: RunningWrapper(make(), window=3),
    "running 9": lambda make: RunningWrapper(make(), window=9),
    "extremes": lambda make: MinMaxMetric(make()),
    "outputs": lambda make: MultioutputWrapper(make(), num_outputs=2),
    "bootstraps": lambda make: BootStrapper(make(), num_bootstraps=4, quantile=0.25, raw=True),
    "collection": lambda make: MetricCollection({"a": RunningWrapper(make(), 2), "b": make()}),
    "sum of two": lambda make: make() + make() * 2,
}


@pairs
@pytest.mark.parametrize("forward", [True, False], ids=["forward", "update"])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrappers_give_what_they_give_of_the_aggregators(ours, theirs, wrapper, forward):
    """Of calls and of updates, and after a reset."""
    if theirs().full_state_update and wrapper.startswith(("running", "collection")):
        pytest.skip("torchmetrics does not join the states of its own extremes")
    batches = [(batch,) for batch in BATCHES]
    one = wrapped(WRAPPERS[wrapper], ours, batches, forward=forward)
    other = wrapped(WRAPPERS[wrapper], lambda: in_double(theirs), batches, forward=forward)
    same(one, other)


@pairs
def test_tasks_and_a_tracker(ours, theirs):
    """A wrapper of several metrics, and one that keeps what each epoch gave."""
    seen = []
    for make in (ours, lambda: in_double(theirs)):
        tracker, tasks = MetricTracker(make(), maximize=True), MultitaskWrapper({"a": make(), "b": make()})
        for batch in BATCHES:
            tracker.increment()
            tracker.update(batch)
            # The second argument of a sum or of an extreme is none of theirs.
            tasks.task_metrics["a"].update(batch)
            tasks.task_metrics["b"].update(-batch)
        seen.append((tracker.compute_all(), *map(torch.tensor, tracker.best_metric(return_step=True)), tasks.compute()))
    same(*seen)


@pytest.mark.parametrize("spec", ALL)
def test_each_reducer_in_the_wrapper_of_the_last_updates(spec):
    """The result is that of the last updates alone; what depends on their order, torchmetrics refuses to join."""
    (reducer,) = reducers_of(spec)
    if reducer.full_state_update:
        assert isinstance(reducer, EMA | ArgMax | First.__base__ | Running)
        with pytest.raises(ValueError, match="Expected attribute `full_state_update` set to `False`"):
            RunningWrapper(reducer, window=2)
        return
    running = RunningWrapper(reducer, window=2)
    for batch in BATCHES.abs():
        running.update(batch)
    (alone,) = reducers_of(spec)
    alone = copy.deepcopy(alone)
    alone.update(BATCHES[-2:].abs())
    assert numbers(running.compute()) == pytest.approx(numbers(alone.compute()), nan_ok=True)


def test_functions_are_of_all_values_in_their_order():
    """So torchmetrics refuses to join them."""
    with pytest.raises(ValueError, match="Expected attribute `full_state_update` set to `False`"):
        RunningWrapper(Function(torch.median), window=2)


def test_bootstraps_need_quantiles_of_the_results_type():
    """A reducer's is float64, or the one that was set."""
    for dtype in (torch.float32, torch.float64):
        bootstraps = BootStrapper(Mean().set_dtype(dtype), quantile=torch.tensor([0.05, 0.95], dtype=dtype), raw=True)
        bootstraps.update(BATCHES)
        result = bootstraps.compute()
        assert {one.dtype for one in result.values()} == {dtype}
        low, high = np.quantile(result["raw"].numpy(), [0.05, 0.95])
        assert result["quantile"].tolist() == pytest.approx([low, high], rel=1e-6)


def test_a_type_that_was_set_stays_where_the_reducer_moves():
    """And what was seen stays as exact as it was."""
    total = Sum().set_dtype(torch.float32)
    total.update(2.0**30 + 1)
    total = total.to("cpu").half()
    assert (total.compute().dtype, total.dtype) == (torch.float32, torch.float32)
    total.set_dtype(torch.float64)
    assert total.compute() == 2.0**30 + 1


class TestMergeState:
    """As torchmetrics merges metrics and their states."""

    @pytest.mark.parametrize("spec", ALL)
    def test_of_a_reducer_and_of_its_state(self, spec):
        """Both give what one reducer gives that has seen all."""
        reducers = [copy.deepcopy(one) for _ in range(4) for one in reducers_of(spec)]
        alone, first, second, third = reducers
        for batch in BATCHES.abs():
            alone.update(batch)
        for number, one in enumerate((first, second, third)):
            for batch in BATCHES.abs()[number * 2 : number * 2 + 2]:
                one.update(batch)
        second.merge_state(first)
        third.merge_state(second.metric_state)
        assert third.updates == alone.updates
        if not alone.full_state_update:  # Their steps are those of each by itself.
            assert numbers(third.compute()) == pytest.approx(numbers(alone.compute()), nan_ok=True)

    @pytest.mark.parametrize(
        ("other", "message"),
        [
            (Quantile(0.5), "Mean got a state of kind \"('distribution', 'auto')\"; expected kind 'mean'"),
            (Std(), "Mean got a state of kind 'moments'; expected kind 'mean'"),
            (
                MeanMetric(),
                "Mean.merge_state got a MeanMetric; expected a reducer of the same kind, or its metric_state.",
            ),
            (
                {"mean_value": torch.tensor(1.0)},
                "Mean.merge_state got a dict; expected a reducer of the same kind, or its",
            ),
            ("a text", "Mean.merge_state got a str; expected a reducer of the same kind, or its metric_state."),
        ],
    )
    def test_of_something_else(self, other, message):
        """It raises, and leaves the reducer as it was."""
        mean = Mean()
        mean.update(1.0)
        if not isinstance(other, dict | str):
            other.update(torch.tensor([2.0]))
        with pytest.raises(ValueError, match=re.escape(message)):
            mean.merge_state(other)
        assert mean.compute() == 1


def loaded(module, state):
    """Return a module that has loaded a state, through a file as a checkpoint does."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    module.load_state_dict(torch.load(file, weights_only=True))
    return module


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
@pytest.mark.parametrize("spec", ALL)
def test_a_persistent_reducer_is_in_the_state_of_its_module(spec):
    """A module that loads it has its values, and goes on with them; before, it was not there."""
    module, other, alone = (torch.nn.ModuleDict({"it": copy.deepcopy(*reducers_of(spec))}) for _ in range(3))
    for one in (module, alone):
        one["it"].update(BATCHES[0].abs())
    assert not module.state_dict()
    module["it"].persistent(True)
    module.half()
    loaded(other, module.state_dict())
    for one in (other, alone):
        one["it"].update(BATCHES[1].abs())
    assert numbers(other["it"].compute()) == pytest.approx(numbers(alone["it"].compute()), nan_ok=True)
    assert other["it"].updates == 2


def test_a_state_of_another_reducer_is_refused():
    """It would be numbers of something else."""
    one, other = torch.nn.ModuleDict({"it": Mean()}), torch.nn.ModuleDict({"it": Max()})
    one["it"].persistent(True)
    one["it"].update(1.0)
    with pytest.raises(ValueError, match="Max got a state of kind 'mean'; expected kind"):
        other.load_state_dict(one.state_dict())


@goes_on_exactly
def test_a_checkpoint_has_it_once(tmp_path):
    """What TrackPlus keeps of it, and what is in the module's own state, are the same values."""

    def step(module, batch, index):
        module.sum.update(index + 1.0)
        module.log("sum", module.sum, on_step=False, on_epoch=True)

    def fit(*callbacks, **options):
        module = LoggingModule(training_step=step)
        module.sum = Sum()
        module.sum.persistent(True)
        trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus(), *callbacks], enable_checkpointing=bool(callbacks))
        trainer.fit(module, loader(), **options)
        return trainer.callback_metrics["sum"]

    assert fit(ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)) == 1 + 2 + 3
    checkpoint = tmp_path / "step=2.ckpt"
    assert "sum.parts" in torch.load(checkpoint, weights_only=False)["state_dict"]
    assert fit(ckpt_path=checkpoint) == 1 + 2 + 3


@pytest.mark.parametrize("spec", ALL)
def test_copies_have_the_values(spec):
    """``clone`` and pickles go on by themselves."""
    reducer = copy.deepcopy(*reducers_of(spec))
    reducer.update(BATCHES[0].abs())
    for copied in (reducer.clone(), pickle.loads(pickle.dumps(reducer))):
        assert numbers(copied.compute()) == pytest.approx(numbers(reducer.compute()), nan_ok=True)


class Net(L.LightningModule):
    """A layer and reducers."""

    def __init__(self, reducers):
        super().__init__()
        self.layer, self.reducers = torch.nn.Linear(2, 1), torch.nn.ModuleList(reducers)

    def forward(self, batch):
        return self.layer(batch)


@pytest.mark.filterwarnings("ignore:.*TorchScript|.*torch.jit")
def test_a_module_with_reducers_can_be_scripted():
    """The script gives what the module gives, and reducers may have seen values."""
    net, batch = Net([Running(2, "median"), Function(lambda x: x.max())]), BATCHES[0].float()
    net.reducers[0].update(batch)
    assert torch.equal(net.to_torchscript()(batch), net(batch))
    torch.jit.script(Mean())


class TestNan:
    """A reducer alone says that it leaves values out, as torchmetrics' aggregators do."""

    MESSAGE = (
        "Mean leaves out NaN, 1 values so far. Use nan_policy='propagate' for a result of NaN, or 'raise' for an error."
        " This warning is shown once."
    )

    @pytest.mark.parametrize("forward", [True, False])
    def test_once(self, forward):
        """In the first result without them."""
        mean, values = Mean(), torch.tensor([1.0, torch.nan])
        with pytest.warns(UserWarning, match=re.escape(self.MESSAGE)) as caught:
            for _ in range(3):
                mean(values) if forward else (mean.update(values), mean.compute())
        assert [str(one.message) for one in caught] == [self.MESSAGE]
        assert caught[0].filename == __file__ or forward

    @pytest.mark.parametrize("make", [NanCount, lambda: Mean(nan_policy="propagate"), lambda: SinceLogged(NanCount())])
    def test_not_where_none_is_left_out(self, make):
        """It counts, or makes the result NaN."""
        reducer = make()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            reducer.update(torch.tensor([1.0, torch.nan]))
            reducer.compute()

    def test_once_in_a_training(self, tmp_path):
        """TrackPlus says it under the logged name, unless the reducer has."""

        def step(module, batch, index):
            (module.mean if module.calls else module.mean.update)(batch[:, 0].log())
            module.log("x", module.mean)

        for calls in (True, False):
            module = LoggingModule(validation_step=step)
            module.mean, module.calls = Mean(), calls
            with pytest.warns(UserWarning, match="NaN") as caught:
                loaders = loader(), torch.utils.data.DataLoader(torch.utils.data.TensorDataset(-torch.ones(4, 2)))
                quiet_trainer(tmp_path, callbacks=[TrackPlus()]).validate(module, loaders[1], verbose=False)
            texts = [str(one.message) for one in caught if "NaN" in str(one.message)]
            assert len(texts) == 1
            assert texts[0].startswith("Mean leaves" if calls else "self.log('x', …)")


def test_states_that_look_alike_are_not_taken_for_one():
    """A MetricCollection asks for states with each update where it takes two metrics for one."""
    collection = MetricCollection([Max(), Min(), Count(), Sum(), First(), TopK(1)])
    for value in (1.0, 2.0):
        collection.update(value)
    assert len(collection.compute_groups) == 6
    results = collection.compute()
    assert [results[name] for name in ("Max", "Min", "Count", "Sum", "First", "top1")] == [2, 1, 2, 3, 1, 2]


@pytest.mark.parametrize("reducer", [Mean(), TopK(2), Histogram(3, 0, 1)])
def test_results_can_be_plotted(reducer):
    """As those of any metric."""
    reducer.update(BATCHES[0].abs())
    figure, _ = reducer.plot() if not isinstance(reducer, Histogram) else plt.subplots()
    plt.close(figure)


@pytest.mark.parametrize(
    ("value", "kind"), [("text", "a str"), (["a"], "a list"), (object(), "an object"), (None, "None")]
)
def test_what_is_no_number_is_refused(value, kind):
    """The error says what it takes."""
    message = f"A reducer got {kind}, {value!r}; expected a number, a tensor, or an array of numbers."
    with pytest.raises(TypeError, match=re.escape(message)):
        Mean().update(value)
