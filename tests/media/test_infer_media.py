"""Values that are no numbers, given to ``self.log`` as they are."""

from __future__ import annotations

import re

import matplotlib.figure
import numpy as np
import pandas
import PIL.Image
import polars
import pytest
import torch
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import (
    BinaryAUROC,
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MultilabelConfusionMatrix,
)

from lightning_trackplus import TrackPlus, TrackPlusLogger
from tests.flavour.pytorch.callbacks import LambdaCallback, ModelCheckpoint
from tests.support.training import LoggingModule, loader, quiet_trainer

TARGETS = torch.tensor([0, 1, 2, 2, 1, 0, 0, 1, 2, 1])
PREDICTIONS = torch.tensor([0, 2, 2, 1, 1, 0, 2, 1, 2, 0])


def run(tmp_path, module, *, hooks=None, **options):
    """Return metrics by name, and the rows of ``media.csv`` as kind and name, after a run."""
    logger = TrackPlusLogger(tmp_path)
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=logger, **options)
    trainer.fit(module or LoggingModule(**hooks), loader(), loader())
    path = tmp_path / "lightning_logs/version_0/media.csv"
    media = pandas.read_csv(path) if path.exists() else pandas.DataFrame(columns=["kind", "name", "step", "file"])
    return {name: value.item() for name, value in trainer.callback_metrics.items()}, media


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("**bold**", "text"),
        (["one", "two"], "text"),
        (PIL.Image.new("RGB", (4, 5)), "image"),
        (matplotlib.figure.Figure(), "image"),
        (pandas.DataFrame({"a": [1, 2]}), "table"),
        (polars.DataFrame({"a": [1, 2]}), "table"),
    ],
    ids=["string", "strings", "PIL", "figure", "pandas", "polars"],
)
def test_a_value_is_shown_as_what_it_plainly_is(tmp_path, value, kind):
    """No medium has to be put around it."""
    _, media = run(tmp_path, None, hooks={"on_validation_epoch_end": lambda m, b, i: m.log("it", value)})
    assert set(media["kind"]) == {kind}
    assert set(media["name"]) == {"it"}


def test_a_dict_is_flattened(tmp_path):
    """Each entry has a name of its own, whatever it is."""
    entries = {"loss": torch.tensor(2.0), "note": "text", "deep": {"er": 3.0}, "array": np.array([1.0, 3.0])}
    metrics, media = run(tmp_path, None, hooks={"validation_step": lambda m, b, i: m.log("val", entries)})
    assert metrics == {"val/loss": 2, "val/deep/er": 3, "val/array": 2}
    assert set(media["name"]) == {"val/note"}


class Classifier(LoggingModule):
    """Logs a metric by its updates."""

    def __init__(self, metric, *, stage="validation", update=True, **options):
        super().__init__()
        self.metric, self.stage, self.updates_only, self.options = metric, stage, update, options

    def look(self, batch):
        rows = batch[0][:, 0].long()
        (self.metric.update if self.updates_only else self.metric)(PREDICTIONS[rows], TARGETS[rows])
        if isinstance(self.metric, MetricCollection):
            self.log_dict(self.metric, **self.options)
        else:
            self.log("it", self.metric, **self.options)

    def training_step(self, batch, batch_idx):
        if self.stage == "training":
            self.look(batch)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        if self.stage == "validation":
            self.look(batch)


def shades(tmp_path, media, row=0):
    """Return the brightest channel of a picture's pixels, row by row."""
    return np.asarray(PIL.Image.open(tmp_path / "lightning_logs/version_0" / media["file"].iloc[row]).convert("RGB"))


def test_a_collection_with_a_confusion_matrix(tmp_path):
    """Its numbers are logged as always, and its matrix is a picture; the next epoch begins anew."""
    collection = MetricCollection({"acc": MulticlassAccuracy(3, average="micro"), "cm": MulticlassConfusionMatrix(3)})
    metrics, media = run(tmp_path, Classifier(collection), max_epochs=2, num_sanity_val_steps=1)
    assert metrics == {"acc": pytest.approx((PREDICTIONS == TARGETS).float().mean().item())}
    assert list(zip(media["name"], media["kind"], media["step"], strict=True)) == [
        ("cm", "image", 2),
        ("cm", "image", 5),
    ]
    np.testing.assert_array_equal(shades(tmp_path, media, 0), shades(tmp_path, media, 1))


def test_the_sanity_check_shows_a_number_for_each_class(tmp_path):
    """Whoever reads metrics at its end finds what the end of a validation brings, and no array."""
    seen = []
    told = LambdaCallback(on_sanity_check_end=lambda trainer, module: seen.extend(trainer.callback_metrics))
    logger = TrackPlusLogger(tmp_path)
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus(), told], logger=logger, num_sanity_val_steps=1)
    trainer.fit(Classifier(MulticlassAccuracy(3, average="none")), loader(), loader())
    assert sorted(seen) == sorted(trainer.callback_metrics) == ["it/0", "it/1", "it/2"]


def test_a_number_for_each_class(tmp_path):
    """Each is a metric of its own, which a checkpoint can watch; with names if they are given."""
    metric = MulticlassAccuracy(3, average="none")
    checkpoint = ModelCheckpoint(
        tmp_path / "best", monitor="it/two", mode="max", filename="{it/two:.2f}", auto_insert_metric_name=False
    )
    logger = TrackPlusLogger(tmp_path)
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus(), checkpoint], logger=logger, enable_checkpointing=True)
    trainer.fit(Classifier(metric, names=["zero", "one", "two"]), loader(), loader())
    hits = {
        name: (PREDICTIONS[i == TARGETS] == i).float().mean().item() for i, name in enumerate(["zero", "one", "two"])
    }
    logged = {name: value.item() for name, value in trainer.callback_metrics.items()}
    assert logged == {f"it/{name}": pytest.approx(value) for name, value in hits.items()}
    assert checkpoint.best_model_score == pytest.approx(hits["two"])


@pytest.mark.parametrize("loaders", [1, 2])
def test_numbers_for_each_class_at_both_levels(tmp_path, loaders):
    """A metric that is only updated has no value of a step; the epoch's numbers have both names, as any number has."""
    module = Classifier(MulticlassAccuracy(3, average="none"), on_step=True, on_epoch=True)
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=TrackPlusLogger(tmp_path))
    trainer.fit(module, loader(), [loader()] * loaders)
    ends = [""] if loaders == 1 else ["/dataloader_idx_0", "/dataloader_idx_1"]
    assert set(trainer.callback_metrics) == {
        f"it/{number}{fork}{end}" for number in range(3) for fork in ("", "_epoch") for end in ends
    }


def test_a_matrix_for_each_label(tmp_path):
    """Three dimensions are several pictures."""

    class Labels(Classifier):
        def look(self, batch):
            hot = torch.nn.functional.one_hot(TARGETS[batch[0][:, 0].long()], 3)
            self.metric.update(hot, hot)
            self.log("it", self.metric, **self.options)

    _, media = run(tmp_path, Labels(MultilabelConfusionMatrix(3), names=["a", "b", "c"]))
    assert list(zip(media["name"], media["caption"], strict=True)) == [("it", "a"), ("it", "b"), ("it", "c")]


def test_in_training_a_matrix_is_shown_in_logged_steps(tmp_path):
    """As numbers are: of the step in the steps that are logged, and of the epoch at its end."""
    module = Classifier(MulticlassConfusionMatrix(3), stage="training", update=False, on_step=True, on_epoch=True)
    _, media = run(tmp_path, module, log_every_n_steps=2, max_epochs=2)
    assert list(zip(media["name"], media["step"], strict=True)) == [
        ("it_step", 1), ("it_epoch", 2), ("it_step", 3), ("it_step", 5), ("it_epoch", 5)
    ]  # fmt: skip
    np.testing.assert_array_equal(shades(tmp_path, media, 1), shades(tmp_path, media, 4))


def test_other_metrics_are_lightnings(tmp_path):
    """A metric that is one number shows as without us."""

    class Means(LoggingModule):
        def __init__(self):
            super().__init__()
            self.mean = MeanMetric()

        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            self.mean(batch[0][:, 0])
            self.log("it", self.mean)

    metrics, media = run(tmp_path, Means())
    assert metrics == {"it": 4.5}
    assert media.empty


class Late(LoggingModule):
    """Logs a metric at the end of validations, and another in training steps alone, which it resets itself."""

    def __init__(self):
        super().__init__()
        self.auroc, self.step_auroc = BinaryAUROC(), BinaryAUROC()

    def training_step(self, batch, batch_idx):
        self.step_auroc(torch.tensor([0.1, 0.9]), torch.tensor([0, 1]))
        self.log("step", self.step_auroc, on_step=True, on_epoch=False)
        self.step_auroc.reset()
        return super().training_step(batch, batch_idx)

    def on_validation_epoch_end(self):
        self.auroc.update(torch.tensor([0.1, 0.9]), torch.tensor([1, 0]))
        self.log("late", self.auroc)


def test_metrics_that_lightning_does_not_compute_are_left_alone(tmp_path):
    """One of a step alone may hold nothing at the epoch's end, and one of an epoch-end hook nothing before it."""
    metrics, _ = run(tmp_path, Late(), max_epochs=2, num_sanity_val_steps=1)
    assert metrics == {"step": 1, "late": 0}


def test_a_validation_leaves_a_metric_of_the_training_as_it_is(tmp_path):
    """A matrix that is shown in steps is whole at the end of the epoch, though validations lie between."""
    sums = []

    class Steps(Classifier):
        def on_train_epoch_end(self):
            sums.append(int(self.metric.compute().sum()))

    run(tmp_path, Steps(MulticlassConfusionMatrix(3), stage="training", update=False), max_epochs=2)
    assert sums == [10, 10]


def test_a_progress_bar_cannot_show_a_matrix(tmp_path):
    """Where the metric is called, it is shown elsewhere, and its neighbours in the bar."""
    collection = MetricCollection({"acc": MulticlassAccuracy(3, average="micro"), "cm": MulticlassConfusionMatrix(3)})
    _, media = run(tmp_path, Classifier(collection, update=False, prog_bar=True), num_sanity_val_steps=1)
    assert list(media["name"]) == ["cm"]


def test_names_that_are_not_those_of_the_classes(tmp_path):
    """The error names the metric and says what it has."""
    message = (
        "self.log('it', MulticlassAccuracy(…), names=…) got the 2 names a, b, and the metric's result has the shape"
        " (3,); give one name for each class."
    )
    for update in (True, False):
        with pytest.raises(ValueError, match=re.escape(message)):
            run(tmp_path, Classifier(MulticlassAccuracy(3, average="none"), update=update, names=["a", "b"]))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.arange(4.0)[::-1], 1.5),
        (np.arange(4, dtype=">f4"), 1.5),
        (np.array([[5.0]]), 5),
        (np.float32(2), 2),
        (np.array(3), 3),
    ],
    ids=["backwards", "big-endian", "one number", "scalar", "no dimension"],
)
def test_arrays_of_numpy_are_numbers(tmp_path, value, expected):
    """As tensors are."""
    metrics, _ = run(tmp_path, None, hooks={"validation_step": lambda m, b, i: m.log("it", value)})
    assert metrics == {"it": expected}


@pytest.mark.parametrize(
    "matrix", [np.array([[3, 1], [0, 2]]), torch.tensor([[3, 1], [0, 2]]), torch.ones(1, 1)], ids=str
)
def test_a_matrix_with_names(tmp_path, matrix):
    """As scikit-learn returns it; the names say that it is one, also where there is one class."""
    names = ["a", "b"][: len(matrix)]
    hooks = {"on_validation_epoch_end": lambda m, b, i: m.log("it", matrix, names=names)}
    metrics, media = run(tmp_path, None, hooks=hooks)
    assert list(media["kind"]) == ["image"]
    assert not metrics


def test_what_is_nothing_of_all_this_is_refused_in_lightnings_words(tmp_path):
    """Lightning's error says what it takes."""
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()])
    with pytest.raises(
        ValueError, match=r"`self.log\(it, \[1, 'a'\]\)` was called, but `list` values cannot be logged"
    ):
        trainer.validate(LoggingModule(validation_step=lambda m, b, i: m.log("it", [1, "a"])), loader())
