"""Metrics whose result is a dict, a tuple or a curve, logged as any other metric."""

from __future__ import annotations

import re
import sys

import matplotlib.figure
import numpy as np
import pandas
import pytest
import torch
from torchmetrics import MeanMetric, Metric, MetricCollection, SumMetric
from torchmetrics.classification import (
    BinaryPrecisionRecallCurve,
    BinaryRecallAtFixedPrecision,
    BinaryROC,
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassPrecisionRecallCurve,
    MulticlassROC,
)
from torchmetrics.wrappers import BootStrapper, ClasswiseWrapper, MinMaxMetric, MultitaskWrapper, Running

from lightning_trackplus import Figure, HeatMap, Image, TrackPlus, TrackPlusLogger
from lightning_trackplus.reducers import Mean
from tests.flavour.pytorch.callbacks import Callback, ModelCheckpoint
from tests.flavour.pytorch.loggers import CSVLogger
from tests.support.csv_files import read_metrics
from tests.support.training import LoggingModule, loader, quiet_trainer

GENERATOR = torch.Generator().manual_seed(0)
SCORES = torch.rand(10, 3, generator=GENERATOR).softmax(dim=1)
TARGETS = torch.tensor([0, 1, 2, 2, 1, 0, 0, 1, 2, 0])
SCORE, HIT = SCORES[:, 0], (TARGETS == 0).long()


def of_classes(rows):
    return SCORES[rows], TARGETS[rows]


def binary(rows):
    return SCORE[rows], HIT[rows]


def of_tasks(rows):
    return {"class": SCORES[rows], "hit": SCORE[rows]}, {"class": TARGETS[rows], "hit": HIT[rows]}


def score(rows):
    return (SCORE[rows],)


class Tells(Metric):
    """Gives whatever it is told to, with the number of its updates."""

    full_state_update = False

    def __init__(self, result):
        super().__init__()
        self.result = result
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, _):
        self.count += 1

    def compute(self):
        return {"count": self.count, "told": self.result}


class Vector(Metric):
    """Gives two numbers."""

    full_state_update = False

    def update(self, _):
        pass

    def compute(self):
        return torch.tensor([5.0, 6.0])


class Logging(LoggingModule):
    """Calls or updates a metric in the steps of a stage, and logs it."""

    def __init__(self, metric, inputs, *, stage="validation", calls=True, **options):
        super().__init__()
        self.metric, self.inputs, self.stage, self.calls, self.options = metric, inputs, stage, calls, options

    def look(self, stage, batch):
        if stage == self.stage:
            (self.metric if self.calls else self.metric.update)(*self.inputs(batch[0][:, 0].long()))
            self.log("it", self.metric, **self.options)

    def training_step(self, batch, batch_idx):
        self.look("training", batch)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.look("validation", batch)


def fitted(tmp_path, module, *callbacks, fast=True, val=None, logger=None, **options):
    """Fit a module, and return the Trainer."""
    logger = logger or TrackPlusLogger(tmp_path)
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus(fast=fast), *callbacks], logger=logger, **options)
    trainer.fit(module, loader(), val or loader())
    return trainer


def numbers(metrics):
    return {name: value.item() for name, value in metrics.items()}


def media(tmp_path):
    return pandas.read_csv(tmp_path / "lightning_logs/version_0/media.csv")


def alone(make, inputs, *batches):
    """Return what a metric results in for some batches, with nothing around it."""
    metric = make()
    for rows in batches:
        metric.update(*inputs(rows))
    return metric.compute()


def flat_numbers(name, result):
    """Return the numbers of a nested result, as the documentation names them."""
    if isinstance(result, dict):
        parts = result.items()
    elif isinstance(result, tuple | list) or result.ndim:
        parts = enumerate(result)
    else:
        return {name: pytest.approx(result.item())}
    return {key: number for part, one in parts for key, number in flat_numbers(f"{name}/{part}", one).items()}


def picture(metric, inputs, batches, names=None):
    """Return the PNG that a metric draws itself of some batches, with names for its lines."""
    figure = matplotlib.figure.Figure()
    axes = figure.subplots()
    metric.plot(alone(lambda: metric, inputs, *batches), ax=axes)
    for line, name in zip(axes.get_lines(), names or (), strict=bool(names)):
        line.set_label(name)
    if names:
        axes.legend()
    [(png, *_)] = Figure(figure).encode("it").items
    return png


BATCHES = [torch.arange(0, 4), torch.arange(4, 8), torch.arange(8, 10)]

NUMBERS = {
    "classes": (lambda: ClasswiseWrapper(MulticlassAccuracy(3, average=None), labels=["a", "b", "c"]), of_classes),
    "extremes": (lambda: MinMaxMetric(MulticlassAccuracy(3)), of_classes),
    "pair": (lambda: BinaryRecallAtFixedPrecision(0.0, thresholds=5), binary),
    "array": (lambda: MulticlassAccuracy(3, average=None), of_classes),
    "tasks": (
        lambda: MultitaskWrapper(
            {"class": MetricCollection([MulticlassAccuracy(3)]), "hit": BinaryRecallAtFixedPrecision(0.0, 5)}
        ),
        of_tasks,
    ),
}


@pytest.mark.parametrize("fast", [True, False], ids=["open", "closed"])
@pytest.mark.parametrize("kind", NUMBERS)
def test_each_number_is_a_metric(tmp_path, kind, fast):
    """Of a step and of the epoch, in callback_metrics and in the loggers, as Lightning names those of a number."""
    make, inputs = NUMBERS[kind]
    module = Logging(make(), inputs, stage="training", on_step=True, on_epoch=True)
    logger = CSVLogger(tmp_path)
    trainer = fitted(tmp_path, module, fast=fast, logger=logger, max_epochs=2)
    metric = make()
    *_, last = [flat_numbers("it", metric(*inputs(rows))) for rows in BATCHES]
    epoch = flat_numbers("it", metric.compute())
    shown = epoch | {f"{name}_epoch": number for name, number in epoch.items()}
    assert numbers(trainer.callback_metrics) == shown | {f"{name}_step": number for name, number in last.items()}
    rows = read_metrics(logger.log_dir)
    for name in epoch:
        assert rows[f"{name}_epoch"].dropna().tolist() == [epoch[name]] * 2
        assert rows[f"{name}_step"].dropna().iloc[[2, 5]].tolist() == [last[name]] * 2
        assert rows[f"{name}_step"].count() == 6


def test_a_metric_that_is_made_in_setup(tmp_path):
    """Its first step has a value too."""

    class Late(Logging):
        def setup(self, stage):
            self.metric = ClasswiseWrapper(MulticlassAccuracy(3, average=None))

    module = Late(None, of_classes, stage="training", on_step=True)
    trainer = fitted(tmp_path, module, limit_train_batches=1)
    assert set(trainer.callback_metrics) == {f"it/multiclassaccuracy_{number}" for number in range(3)}


def test_bootstraps(tmp_path):
    """Several quantiles are several numbers, and so are all samples."""

    def make():
        return BootStrapper(MeanMetric(), num_bootstraps=4, quantile=torch.tensor([0.1, 0.9]), raw=True)

    module = Logging(make(), score, calls=False)
    result = {}

    class Keep(Callback):
        def on_validation_epoch_end(self, trainer, module):
            result.update(module.metric.compute())

    trainer = fitted(tmp_path, module, Keep(), num_sanity_val_steps=0)
    assert numbers(trainer.callback_metrics) == flat_numbers("it", result)
    assert len(result["raw"]) == 4


def test_a_collection_of_them(tmp_path):
    """Each metric of it is logged under its own name, with one dataloader or several."""
    make = lambda: MetricCollection(  # noqa: E731
        {"acc": ClasswiseWrapper(MulticlassAccuracy(3, average=None)), "roc": MulticlassROC(3, thresholds=5)}
    )

    class Collection(Logging):
        def look(self, stage, batch):
            if stage == self.stage:
                self.metric.update(*of_classes(batch[0][:, 0].long()))
                self.log_dict(self.metric)

    val = [loader(), loader()]
    trainer = fitted(tmp_path, Collection(make(), of_classes), val=val[:1], num_sanity_val_steps=1)
    result = alone(lambda: make()["acc"], of_classes, *BATCHES)
    assert numbers(trainer.callback_metrics) == flat_numbers("acc", result)
    assert list(media(tmp_path)["name"]) == ["roc"]
    returned = trainer.validate(Collection(make(), of_classes), val, verbose=False)
    for index, metrics in enumerate(returned):
        names = {f"acc/multiclassaccuracy_{number}/dataloader_idx_{index}" for number in range(3)}
        assert set(metrics) == names
    assert set(media(tmp_path)["name"]) == {"roc", "roc/dataloader_idx_0", "roc/dataloader_idx_1"}


CURVES = {
    "binary ROC": (BinaryROC, binary, None),
    "binary PR": (lambda: BinaryPrecisionRecallCurve(thresholds=5), binary, None),
    "ROC": (lambda: MulticlassROC(3), of_classes, None),
    "PR": (lambda: MulticlassPrecisionRecallCurve(3, thresholds=5), of_classes, ["a", "b", "c"]),
}


@pytest.mark.parametrize("kind", CURVES)
def test_a_curve_is_a_figure(tmp_path, kind):
    """It is the one that the metric itself draws, of the logged steps and of the epoch."""
    make, inputs, names = CURVES[kind]
    options = {} if names is None else {"names": names}
    module = Logging(make(), inputs, stage="training", on_step=True, on_epoch=True, **options)
    trainer = fitted(tmp_path, module, max_epochs=2, log_every_n_steps=2)
    assert not trainer.callback_metrics
    rows = media(tmp_path)
    assert list(zip(rows["name"], rows["step"], strict=True)) == [
        ("it_step", 1), ("it_epoch", 2), ("it_step", 3), ("it_step", 5), ("it_epoch", 5)
    ]  # fmt: skip
    for row, batches in ((0, BATCHES[1:2]), (4, BATCHES)):
        written = (tmp_path / "lightning_logs/version_0" / rows["file"][row]).read_bytes()
        assert written == picture(make(), inputs, batches, names)


def test_curves_in_wrappers(tmp_path):
    """The metric inside draws it: that of the task, that of the collection, that of the window."""
    curves = MetricCollection({"roc": BinaryROC(thresholds=3), "pr": BinaryPrecisionRecallCurve(thresholds=3)})
    metric = MultitaskWrapper({"hit": Running(BinaryROC(thresholds=3), window=9), "all": curves})
    drawn = {"hit": curves["roc"], "all/roc": curves["roc"], "all/pr": curves["pr"]}
    fitted(tmp_path, Logging(metric, lambda rows: [dict.fromkeys(["hit", "all"], one[rows]) for one in (SCORE, HIT)]))
    rows = media(tmp_path)
    assert set(rows["name"]) == {f"it/{name}" for name in drawn}
    for name, file in zip(rows["name"], rows["file"], strict=True):
        one = drawn[name.removeprefix("it/")]
        one.reset()
        assert (tmp_path / "lightning_logs/version_0" / file).read_bytes() == picture(one, binary, BATCHES)


def test_without_matplotlib_there_is_no_curve(tmp_path, monkeypatch):
    """A warning says so, and the training continues."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.warns(UserWarning, match=r"The result 'it' of a metric cannot be drawn, and is left out \(ModuleN"):
        trainer = fitted(tmp_path, Logging(BinaryROC(), binary))
    assert trainer.current_epoch == 1


def test_what_is_neither_a_number_nor_a_curve(tmp_path):
    """Media are shown, lists are numbered, and what nobody can show is left out with a warning."""
    told = {
        "text": "**bold**",
        "figure": matplotlib.figure.Figure(),
        "list": [1, 2.5, [np.float32(3.0)]],
        "matrix": np.eye(3),
        "one": torch.tensor([[4]]),
        "none": None,
        "empty": torch.zeros(0),
        "object": object(),
        "deep": torch.zeros(1, 2, 1, 2),
        "complex": 1j,
    }
    with pytest.warns(UserWarning, match="of a metric is of type") as caught:
        trainer = fitted(tmp_path, Logging(Tells(told), score))
    assert numbers(trainer.callback_metrics) == {
        "it/count": 3, "it/told/list/0": 1, "it/told/list/1": 2.5, "it/told/list/2/0": 3, "it/told/one": 4
    }  # fmt: skip
    rows = media(tmp_path)
    assert set(zip(rows["name"], rows["kind"], strict=True)) == {
        ("it/told/text", "text"), ("it/told/figure", "image"), ("it/told/matrix", "image")
    }  # fmt: skip
    said = {str(one.message) for one in caught if str(one.message).startswith("The result")}
    kinds = {"object": "object", "deep": "Tensor of shape (1, 2, 1, 2)", "complex": "complex"}
    assert said == {
        f"The result 'it/told/{name}' of a metric is of type {kind}, which cannot be shown, and is left out."
        for name, kind in kinds.items()
    }


def test_a_checkpoint_can_watch_a_part(tmp_path):
    """It stands in callback_metrics as soon as any number of the epoch does."""
    metric = Tells(torch.tensor([1.0, 7.0]))
    best = ModelCheckpoint(tmp_path / "best", monitor="it/told/1", mode="max")
    fitted(tmp_path, Logging(metric, score), best, enable_checkpointing=True)
    assert best.best_model_score == 7


def test_the_progress_bar_gets_the_numbers(tmp_path):
    """Also of a metric that was only updated in an evaluation, where the rest is no number."""
    metric = Tells(MulticlassConfusionMatrix(2)(torch.tensor([0, 1]), torch.tensor([0, 1])))
    trainer = fitted(tmp_path, Logging(metric, score, calls=False, prog_bar=True), num_sanity_val_steps=1)
    assert trainer.progress_bar_metrics == {"it/count": 3}
    assert list(media(tmp_path)["name"]) == ["it/told"]


def test_at_the_end_of_the_epoch(tmp_path):
    """A metric that is logged in an epoch-end hook alone, and computed by nobody before, is split as well."""

    class Late(Logging):
        def on_validation_epoch_end(self):
            assert not self.metric.update_called
            self.metric.update(torch.tensor(1.0))
            self.log("late", self.metric)

    trainer = fitted(tmp_path, Late(Tells(torch.tensor([5.0, 6.0])), score, stage=None), max_epochs=2)
    assert numbers(trainer.callback_metrics) == {"late/count": 1, "late/told/0": 5, "late/told/1": 6}


def test_names_are_those_of_the_classes(tmp_path):
    """Each part with as many elements has them; where none has, an error says so."""
    metric = Tells((torch.tensor([5.0, 6.0]), torch.tensor([1.0, 2.0, 3.0])))
    trainer = fitted(tmp_path, Logging(metric, score, names=["a", "b", "c"]))
    assert set(trainer.callback_metrics) == {
        "it/count", "it/told/0/0", "it/told/0/1", "it/told/1/a", "it/told/1/b", "it/told/1/c"
    }  # fmt: skip
    message = (
        "self.log('it', Tells(…), names=…) got the 4 names a, b, c, d, and the metric's result has nothing with 4"
        " elements; give one name for each class."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        fitted(tmp_path, Logging(Tells(metric.result), score, names=["a", "b", "c", "d"]))


def test_the_steps_of_an_evaluation(tmp_path):
    """What is no number is delivered for each batch, as numbers are, whatever step training is at."""
    module = Logging(MulticlassConfusionMatrix(3), of_classes, on_step=True)
    fitted(tmp_path, module, log_every_n_steps=50, accumulate_grad_batches=50)
    assert list(media(tmp_path)["name"]) == ["it_step"] * len(loader()) + ["it_epoch"]


@pytest.mark.parametrize("metric", [Vector(), Mean()], ids=["of_torchmetrics", "of_ours"])
def test_a_name_of_a_metric_and_of_a_medium(tmp_path, metric):
    """A name is of one kind for the whole run; what a metric may result in is no other kind."""

    class Both(Logging):
        def validation_step(self, batch, batch_idx):
            self.log("it", self.other)
            super().validation_step(batch, batch_idx)

    module = Both(metric, score)
    module.other = Image(torch.rand(1, 4, 4))
    message = "self.log('it', …) got a metric after Image; a name is of one kind for the whole run."
    with pytest.raises(ValueError, match=re.escape(message)):
        fitted(tmp_path, module)

    module = Logging(MulticlassConfusionMatrix(3), of_classes)
    module.on_train_epoch_end = lambda: module.log("it", HeatMap(torch.eye(3)))
    fitted(tmp_path / "second", module)
    assert list(media(tmp_path / "second")["name"]) == ["it", "it"]


def test_two_classes_of_one_name(tmp_path):
    """One of them would not be seen."""
    message = "self.log('it', Vector(…), names=…) got the names a, a; give each class a name of its own."
    with pytest.raises(ValueError, match=re.escape(message)):
        fitted(tmp_path, Logging(Vector(), score, names=["a", "a"]))


def test_names_are_given_without_a_logger_as_well(tmp_path):
    """Callbacks can monitor them; an array without names is one tensor there, as in Lightning."""
    parts = {"it/a": 5, "it/b": 6}
    for names, expected in ((["a", "b"], parts), (None, [5, 6])):
        module = Logging(Vector(), score, names=names) if names else Logging(Vector(), score)
        trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()])
        trainer.fit(module, loader(), loader())
        found = trainer.callback_metrics
        assert (numbers(found) if names else found["it"].tolist()) == expected


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_an_evaluation_without_a_logger_returns_numbers(tmp_path, stage):
    """Lightning, which finds no number in an array, would end with an error."""

    class Testing(Logging):
        def test_step(self, batch, batch_idx):
            self.look("test", batch)

    module = Testing(Vector(), score, stage={"validate": "validation"}.get(stage, stage))
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()])
    assert getattr(trainer, stage)(module, loader(), verbose=False) == [{"it/0": 5, "it/1": 6}]


def test_a_wrapper_whose_result_is_a_number_is_lightnings(tmp_path):
    """It shows what it shows without us, which in a step is nothing."""
    module = Logging(Running(SumMetric(), window=2), score, stage="training", on_step=True, on_epoch=True)
    without = quiet_trainer(tmp_path, logger=TrackPlusLogger(tmp_path))
    without.fit(Logging(Running(SumMetric(), 2), score, stage="training", on_step=True, on_epoch=True), loader())
    assert numbers(fitted(tmp_path, module).callback_metrics) == numbers(without.callback_metrics)
    assert not module.metric._forward_hooks
