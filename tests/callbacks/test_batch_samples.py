"""``TrackPlus(samples=…)``: inputs logged from the outside."""

from __future__ import annotations

import re

import numpy as np
import pandas
import PIL.Image
import pytest
import torch
import yaml
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

import tests.flavour as L
from lightning_trackplus import TrackPlus, TrackPlusLogger
from tests.flavour.fabric.utilities.exceptions import MisconfigurationException
from tests.flavour.pytorch.cli import LightningCLI
from tests.flavour.pytorch.demos.boring_classes import BoringModel
from tests.support.programs import as_a_program
from tests.support.training import quiet_trainer

PIXELS, DIGITS = load_digits(return_X_y=True)
IMAGES = torch.tensor(PIXELS[:20], dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
TARGETS = torch.tensor(DIGITS[:20])


class Net(L.LightningModule):
    """Returns what it is told to from its steps."""

    def __init__(self, returns=None, sample_rate=None):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.returns = returns
        if sample_rate:
            self.sample_rate = sample_rate

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)

    def training_step(self, batch, batch_idx):
        return self.layer(torch.ones(1)).sum()

    def validation_step(self, batch, batch_idx):
        return self.returns(batch) if self.returns else None

    test_step = validation_step


def run(tmp_path, samples, data, module=None, *, stage="fit"):
    """Return the rows of ``media.csv``, and what the files of it hold."""
    logger = TrackPlusLogger(tmp_path)
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus(samples=samples)], logger=logger, log_every_n_steps=2)
    module = module or Net()
    trainer.fit(module, data, data) if stage == "fit" else trainer.test(module, data, verbose=False)
    path = tmp_path / "lightning_logs/version_0/media.csv"
    return pandas.read_csv(path) if path.exists() else None


def images():
    return DataLoader(TensorDataset(IMAGES, TARGETS), batch_size=8)


def picture(tmp_path, row):
    return np.asarray(PIL.Image.open(tmp_path / "lightning_logs/version_0" / row["file"]))


def test_images_with_their_targets(tmp_path):
    """The first inputs of an evaluation, each with what it should be; the module knows nothing of it."""
    media = run(tmp_path, {"val": 6}, images())
    assert list(media["name"]) == ["val/samples"] * 6
    assert list(media["caption"]) == [f"target {digit}" for digit in DIGITS[:6]]
    for index, row in media.iterrows():
        np.testing.assert_array_equal(picture(tmp_path, row), np.round(PIXELS[index].reshape(8, 8) / 16 * 255))


def test_predictions_and_scores_that_a_step_returns(tmp_path):
    """Logits stand for their class; a selection by score takes the scores that are returned."""

    def returns(batch):
        pixels, targets = batch
        logits = torch.nn.functional.one_hot((targets + 1) % 10, 10).float()
        return {"logits": logits, "score": pixels.mean((1, 2, 3))}

    media = run(tmp_path, {"val": "top3", "test": 2}, images(), Net(returns))
    order = np.argsort(-PIXELS[:20].mean(1), kind="stable")[:3]
    assert list(media["caption"]) == [f"target {DIGITS[i]}, predicted {(DIGITS[i] + 1) % 10}" for i in order]
    assert list(media["score"]) == pytest.approx(list(PIXELS[order].mean(1) / 16))


def test_in_training_samples_are_those_of_logged_steps(tmp_path):
    """Of what came since the last logged step."""
    media = run(tmp_path, {"train": "last1"}, images())
    assert list(zip(media["name"], media["step"], media["caption"], strict=True)) == [
        ("train/samples", 1, f"target {DIGITS[15]}")
    ]


@pytest.mark.parametrize("name", ["image", "pixel_values", "x"])
def test_batches_that_are_dicts(tmp_path, name):
    """Inputs and targets are found by their names."""
    rows = [{"id": i, name: IMAGES[i], "label": TARGETS[i]} for i in range(20)]
    media = run(tmp_path, {"test": 2}, DataLoader(rows, batch_size=4), stage="test")
    assert list(media["caption"]) == [f"target {digit}" for digit in DIGITS[:2]]


def test_texts_and_sounds(tmp_path):
    """Strings are texts; sounds are those of a module that says its sample rate."""
    texts = DataLoader([("one", 1), ("two", 0)], batch_size=2)
    media = run(tmp_path / "texts", {"test": 8}, texts, stage="test")
    assert list(zip(media["kind"], media["caption"], strict=True)) == [("text", "target 1"), ("text", "target 0")]
    sounds = DataLoader(TensorDataset(torch.zeros(3, 1, 100)), batch_size=3)
    media = run(tmp_path / "sounds", {"test": 8}, sounds, Net(sample_rate=8000), stage="test")
    assert list(media["kind"]) == ["audio"] * 3


def test_what_cannot_be_told_is_said_once(tmp_path):
    """A warning names what a batch has, and training continues."""
    message = (
        "TrackPlus(samples=…) logs nothing of 'test': the inputs of a batch are float32 of shape (4, 2), which are"
        " neither images of shape (N, C, H, W), nor strings, nor sounds of shape (N, C, T) of a module with a"
        " sample_rate. Log them in the module, for example with self.log(name, Image(…))."
    )
    with pytest.warns(UserWarning, match=re.escape(message)) as caught:
        media = run(tmp_path, {"test": 8}, DataLoader(torch.zeros(8, 2), batch_size=4), stage="test")
    assert media is None
    assert sum("logs nothing of" in str(warning.message) for warning in caught) == 1


def test_pictures_that_cannot_be_shown_do_not_end_the_training(tmp_path):
    """What `Image` would raise is a warning here, where nobody has written the call."""
    integers = DataLoader(TensorDataset(torch.zeros(4, 1, 4, 4, dtype=torch.int64)), batch_size=2)
    with pytest.warns(UserWarning, match="logs nothing of 'val': Image got pixels of int64; expected uint8"):
        assert run(tmp_path, {"val": 2}, integers) is None


def test_predictions_and_scores_in_a_column(tmp_path):
    """Of one column, each row is the prediction, and the score."""

    def returns(batch):
        return {"preds": batch[1][:, None] / 2, "score": batch[1][:, None].float()}

    media = run(tmp_path, {"val": "top1"}, images(), Net(returns))
    assert list(media["caption"]) == ["target 9, predicted 4.5"]


@pytest.mark.parametrize(("stage", "step"), [("val", "validation_step"), ("test", "test_step")])
def test_a_selection_by_score_needs_scores(tmp_path, stage, step):
    """Where the step returns none, a warning says what it has to return."""
    message = (
        f"TrackPlus(samples=…) logs nothing of {stage!r}: Top(2) selects by score, and {step} does not return a dict"
        " with a score for each sample under the name 'score'."
    )
    with pytest.warns(UserWarning, match=re.escape(message)):
        run(tmp_path, {stage: "top2"}, images(), stage={"val": "fit"}.get(stage, stage))


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ({"validate": 8}, "TrackPlus(samples=…) has 'validate'; the stages are 'train', 'val' and 'test'."),
        ({"valid": 8}, "'valid'; the stages are 'train', 'val' and 'test'. Did you mean 'val'?"),
        ("top8", "TrackPlus got samples='top8'; expected a number or a selection for each stage, such as"),
        ({"val": ["top8"]}, "TrackPlus(samples=…) has ['top8'] for 'val'; give one number or one selection for"),
        ({"val": "p95"}, "reduce_fx='p95' selects no media; expected first, last, sample, top or bottom"),
    ],
)
def test_what_is_no_stage_or_selection(samples, message):
    """The error comes where the callback is made."""
    with pytest.raises(MisconfigurationException, match=re.escape(message)):
        TrackPlus(samples=samples)


class Data(L.LightningDataModule):
    def val_dataloader(self):
        return DataLoader(TensorDataset(torch.rand(10, 1, 4, 8), torch.arange(10)), batch_size=4)


class Model(BoringModel):
    def validation_step(self, batch, batch_idx):
        return {"preds": batch[1] + 1}


CONFIG = {
    "accelerator": "cpu",
    "logger": {"class_path": "lightning_trackplus.TrackPlusLogger"},
    "callbacks": [
        {"class_path": "lightning_trackplus.TrackPlus", "init_args": {"samples": {"val": "sample3", "train": 2}}}
    ],
}


def test_from_yaml(tmp_path):
    """LightningCLI takes numbers and selections."""
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"trainer": CONFIG}))
    with as_a_program("validate", "--config", "config.yaml", folder=tmp_path):
        LightningCLI(Model, Data)
    media = pandas.read_csv(tmp_path / "lightning_logs/version_0/media.csv")
    assert list(media["name"]) == ["val/samples"] * 3
    for caption in media["caption"]:
        target, prediction = re.fullmatch(r"target (\d), predicted (\d+)", caption).groups()
        assert int(prediction) == int(target) + 1


def test_samples_under_a_name_of_numbers_end_no_training(tmp_path):
    """Nobody wrote the call that logs them."""

    class Named(Net):
        def validation_step(self, batch, batch_idx):
            self.log("val/samples", 0.5)

    with pytest.warns(
        UserWarning, match=r"TrackPlus\(samples=…\) logs nothing of 'val': self.log\('val/samples', …\) got Im"
    ):
        assert run(tmp_path, {"val": 2}, DataLoader(IMAGES, 10), Named()) is None
