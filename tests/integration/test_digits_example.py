"""The example, run as README runs it, and read back by other people's readers."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas
import PIL.Image
import polars
import pytest
import soundfile
import torch
from sklearn.datasets import load_digits
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

ROOT = Path(__file__).parents[2]
EPOCHS = 2
STEPS = 23


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Train for two epochs and return the run directory that the program names."""
    folder = tmp_path_factory.mktemp("example")
    command = [sys.executable, ROOT / "examples/digits.py", "fit", "--config", ROOT / "examples/digits.yaml"]
    options = ["--trainer.accelerator=cpu", f"--trainer.max_epochs={EPOCHS}"]
    done = subprocess.run([*command, *options], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    directory = folder / "lightning_logs/version_0"
    line = f"The run is saved in {directory}. View it with: tensorboard --logdir {folder}/lightning_logs"
    assert done.stderr.splitlines()[-1] == line
    return directory


@pytest.fixture(scope="module")
def events(run):
    """Return what TensorBoard's reader finds."""
    return EventAccumulator(str(run), size_guidance={"scalars": 0, "tensors": 0}).Reload()


@pytest.fixture(scope="module")
def media(run):
    """Return ``media.csv``."""
    return pandas.read_csv(run / "media.csv")


def test_numbers_agree_in_events_pandas_and_polars(run, events):
    """All three readers find the same names, steps and values."""
    metrics = pandas.read_csv(run / "metrics.csv")
    assert {"train/loss", "val/loss_mean", "val/loss_median", "val/loss_p95", "val/accuracy"} < set(metrics.columns)
    assert {f"val/recall/{digit}" for digit in range(10)} < set(metrics.columns)
    assert {"train/loss_ema0.2", "val/loss_p99"} < set(metrics.columns), "those of the YAML"
    assert metrics["step"].is_monotonic_increasing
    assert metrics["step"].is_unique
    frame = polars.read_csv(run / "metrics.csv", infer_schema_length=None)
    for name in set(metrics.columns) - {"step"}:
        column = metrics[["step", name]].dropna()
        assert frame.select("step", name).drop_nulls().rows() == list(column.itertuples(index=False, name=None))
        found = sorted({(event.step, event.value) for event in events.Scalars(name)})
        assert found == [(step, np.float32(value)) for step, value in column.itertuples(index=False, name=None)]


def test_the_numbers_are_those_of_the_training(run):
    """The validation metrics of the best checkpoint are what the saved net gives on the data, by numpy."""
    checkpoint = torch.load(run / "checkpoints/best.ckpt", weights_only=False)
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        from digits import DigitNet, Digits
    finally:
        sys.path.pop(0)
    net = DigitNet()
    net.load_state_dict(checkpoint["state_dict"])
    data = Digits()
    data.setup("fit")
    images, targets = (torch.stack(column) for column in zip(*data.validation, strict=True))
    with torch.no_grad():
        logits = net.net(images)
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none").double().numpy()
    row = pandas.read_csv(run / "metrics.csv").set_index("step").loc[checkpoint["global_step"] - 1]
    assert row["val/loss_mean"] == pytest.approx(losses.mean(), rel=1e-5)
    assert row["val/loss_median"] == pytest.approx(np.median(losses), rel=1e-5)
    assert row["val/loss_p95"] == pytest.approx(np.quantile(losses, 0.95), rel=1e-5)
    assert row["val/loss_p99"] == pytest.approx(np.quantile(losses, 0.99), rel=1e-5)
    recall = [(logits.argmax(dim=1) == digit)[targets == digit].double().mean().item() for digit in range(10)]
    assert [row[f"val/recall/{digit}"] for digit in range(10)] == pytest.approx(recall)
    assert row["val/accuracy"] == pytest.approx((logits.argmax(dim=1) == targets).double().mean().item())


def test_the_checkpoint_is_that_of_the_best_quantile(run):
    """ModelCheckpoint has monitored ``val/loss_p95``."""
    checkpoint = torch.load(run / "checkpoints/best.ckpt", weights_only=False)
    state = next(value for key, value in checkpoint["callbacks"].items() if "ModelCheckpoint" in key)
    metrics = pandas.read_csv(run / "metrics.csv")
    assert state["monitor"] == "val/loss_p95"
    assert state["best_model_score"].item() == metrics["val/loss_p95"].min()


def test_the_summary_knows_what_is_good(run):
    """The best accuracy is the highest, as the metric says; beside the best quantile stands all of its epoch."""
    metrics, summary = pandas.read_csv(run / "metrics.csv"), json.loads((run / "summary.json").read_text())
    assert summary["val/accuracy"]["best"] == metrics["val/accuracy"].max()
    best = metrics.set_index("step").loc[metrics.set_index("step")["val/loss_p95"].idxmin()].dropna()
    assert best.to_dict().items() <= summary["val/loss_p95"]["at_best"].items()
    assert "best" not in summary["train/loss"]


def test_images_are_the_digits_with_their_captions(run, media, events):
    """Pillow reads eight digits an epoch, which are those of the data, enlarged; TensorBoard has text below."""
    rows = media[media["name"] == "val/digits"]
    assert rows["step"].tolist() == [STEPS - 1] * 8 + [2 * STEPS - 1] * 8
    digits = load_digits()
    known = {
        np.round(image / 16 * 255).astype(np.uint8).tobytes(): target
        for image, target in zip(digits.images, digits.target, strict=True)
    }
    for _, row in rows.iterrows():
        pixels = np.asarray(PIL.Image.open(run / row["file"]))
        assert pixels.shape == (64, 64)
        assert row["caption"].endswith(f", true {known[pixels[::8, ::8].tobytes()]}")
        assert row["score"] > 0
    for event in events.Tensors("val/digits"):
        _, _, *images = event.tensor_proto.string_val
        for image, file in zip(images, rows[rows["step"] == event.step]["file"], strict=True):
            shown, pixels = np.asarray(PIL.Image.open(io.BytesIO(image))), np.asarray(PIL.Image.open(run / file))
            np.testing.assert_array_equal(shown[:320, :320], pixels.repeat(5, axis=0).repeat(5, axis=1))
            assert shown[320:].min() < 128


def test_the_histogram_counts_every_sample(run, media, events):
    """In each epoch the bins of the CSV hold all of the validation's losses, and TensorBoard's as many."""
    rows = media[media["name"] == "val/loss_histogram"]
    assert len(rows) == EPOCHS
    count = len(load_digits().target) - round(0.8 * len(load_digits().target))
    for file, event in zip(rows["file"], events.Tensors("val/loss_histogram"), strict=True):
        assert pandas.read_csv(run / file)["count"].sum() == count
        assert tensor_util.make_ndarray(event.tensor_proto)[:, 2].sum() == count


def test_the_report_is_text_in_both(run, media, events):
    """The markdown file and TensorBoard's text are the same table."""
    rows = media[media["name"] == "val/report"]
    texts = [(run / file).read_text() for file in rows["file"]]
    assert [text.splitlines()[0] for text in texts] == ["### Epoch 0", "### Epoch 1"]
    assert all(re.fullmatch(r"\| 9 \| \d+\.\d% \|", text.splitlines()[-1]) for text in texts)
    assert [event.tensor_proto.string_val[0].decode() for event in events.Tensors("val/report")] == texts


def test_the_sound_is_as_long_as_the_epoch_has_steps(run, media, events):
    """The WAV file is read by libsndfile; TensorBoard has the same bytes."""
    rows = media[media["name"] == "train/loss_as_pitch"]
    assert len(rows) == EPOCHS
    for file in rows["file"]:
        samples, rate = soundfile.read(run / file)
        assert (len(samples), rate) == (STEPS * 400, 8000)
        assert 0.4 < np.abs(samples).max() <= 0.5
    assert [event.tensor_proto.string_val[0] for event in events.Tensors("train/loss_as_pitch")] == [
        (run / file).read_bytes() for file in rows["file"]
    ]
