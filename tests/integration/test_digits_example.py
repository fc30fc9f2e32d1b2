"""The examples with digits, the first run as README runs it, and read back by other people's readers."""

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
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import confusion_matrix, recall_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.util import tensor_util

from lightning_trackplus import HeatMap
from lightning_trackplus.cli import main as trackplus
from tests.support.csv_files import read_metrics
from tests.support.programs import as_a_program, imported_example

ROOT = Path(__file__).parents[2]
EPOCHS = 2
STEPS = 23
LAST_STEPS = [STEPS * epoch - 1 for epoch in range(1, EPOCHS + 1)]
HARDEST = 8


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
    assert done.stdout.splitlines()[-1] == f"The report is {directory}/report.html"
    return directory


@pytest.fixture(scope="module")
def events(run):
    """Return what TensorBoard's reader finds."""
    return EventAccumulator(str(run), size_guidance={"scalars": 0, "tensors": 0}).Reload()


@pytest.fixture(scope="module")
def media(run):
    """Return ``media.csv``."""
    return pandas.read_csv(run / "media.csv")


@pytest.fixture(scope="module")
def example():
    """Return the example as a module."""
    return imported_example("digits")


@pytest.fixture(scope="module")
def judged(run, example):
    """Return what the net of the last checkpoint makes of the validation, by numpy: a row for each digit."""
    net = example.DigitNet()
    net.load_state_dict(torch.load(run / "checkpoints/last.ckpt", weights_only=False)["state_dict"])
    data = example.Digits()
    data.setup("fit")
    images, labels = (torch.stack(column) for column in zip(*data.validation, strict=True))
    with torch.no_grad():
        logits = net.net(images).double().numpy()
    labels = labels.numpy()
    losses = np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(labels)), labels]
    pixels = [np.round(image * 255).astype(np.uint8).tobytes() for image in images.numpy()]
    return pandas.DataFrame({"label": labels, "prediction": logits.argmax(axis=1), "loss": losses, "pixels": pixels})


def test_numbers_agree_in_events_pandas_and_polars(run, events):
    """All three readers find the same names, steps and values."""
    metrics = read_metrics(run)
    losses = {f"val/loss_{reducer}" for reducer in ("mean", "p5", "median", "p95")}
    assert {"train/loss", "val/accuracy"} | losses < set(metrics.columns)
    assert {f"val/recall/{digit}" for digit in range(10)} < set(metrics.columns)
    assert "train/loss_ema0.2" in metrics.columns, "that of the YAML"
    assert metrics["step"].is_monotonic_increasing
    assert metrics["step"].is_unique
    frame = polars.read_csv(run / "metrics.csv", infer_schema_length=None)
    for name in set(metrics.columns) - {"step"}:
        column = metrics[["step", name]].dropna()
        assert frame.select("step", name).drop_nulls().rows() == list(column.itertuples(index=False, name=None))
        found = sorted({(event.step, event.value) for event in events.Scalars(name)})
        assert found == [(step, np.float32(value)) for step, value in column.itertuples(index=False, name=None)]


def test_the_numbers_are_those_of_the_saved_net(run, judged):
    """Losses, accuracy and recall of the last epoch are what numpy and scikit-learn make of the checkpoint."""
    row = read_metrics(run).set_index("step").loc[LAST_STEPS[-1]]
    losses = judged["loss"]
    assert row["val/loss_mean"] == pytest.approx(losses.mean(), rel=1e-5)
    for name, probability in (("p5", 0.05), ("median", 0.5), ("p95", 0.95)):
        assert row[f"val/loss_{name}"] == pytest.approx(np.quantile(losses, probability), rel=1e-5)
    assert row["val/accuracy"] == pytest.approx((judged["label"] == judged["prediction"]).mean())
    recall = [row[f"val/recall/{digit}"] for digit in range(10)]
    assert recall == pytest.approx(recall_score(judged["label"], judged["prediction"], average=None))


def test_the_hardest_are_those_with_the_highest_loss(run, media, judged):
    """Pictures, captions and scores of the last epoch are those of the eight highest losses, which were misread."""
    rows = media[media["name"] == "val/hardest"]
    assert rows["step"].tolist() == [step for step in LAST_STEPS for _ in range(HARDEST)]
    shown, hardest = rows[rows["step"] == LAST_STEPS[-1]], judged.nlargest(HARDEST, "loss")
    assert shown["score"].to_numpy() == pytest.approx(hardest["loss"].to_numpy(), rel=1e-5)
    pixels = [np.asarray(PIL.Image.open(run / file)) for file in shown["file"]]
    assert {one.shape for one in pixels} == {(8, 8)}
    assert [one.tobytes() for one in pixels] == hardest["pixels"].tolist()
    expected = [f"label {one.label}, prediction {one.prediction}" for one in hardest.itertuples()]
    assert shown["caption"].tolist() == expected
    assert (hardest["label"] != hardest["prediction"]).all()


def test_the_confusion_matrix_counts_every_digit(run, media, judged):
    """The last heat map is the one of scikit-learn's matrix, which holds the whole validation; each epoch has one."""
    rows = media[media["name"] == "val/confusion"]
    assert rows["step"].tolist() == LAST_STEPS
    matrix = confusion_matrix(judged["label"], judged["prediction"])
    assert matrix.sum() == len(load_digits().target) - round(0.8 * len(load_digits().target))
    [expected] = HeatMap(matrix, [str(digit) for digit in range(10)]).encode("val/confusion").items
    picture = PIL.Image.open(run / rows["file"].iloc[-1]).convert("RGB")
    assert np.array_equal(picture, PIL.Image.open(io.BytesIO(expected.data)).convert("RGB"))


def test_the_histogram_counts_every_digit(run, media, events):
    """In each epoch the bins of the CSV hold all of the validation's losses, and TensorBoard's as many."""
    rows = media[media["name"] == "val/loss_histogram"]
    assert len(rows) == EPOCHS
    count = len(load_digits().target) - round(0.8 * len(load_digits().target))
    for file, event in zip(rows["file"], events.Tensors("val/loss_histogram"), strict=True):
        assert pandas.read_csv(run / file)["count"].sum() == count
        assert tensor_util.make_ndarray(event.tensor_proto)[:, 2].sum() == count


def test_each_chart_has_curves(events):
    """The names in the YAML are names that the module logs."""
    layout = Layout.FromString(events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    charts = [chart for category in layout.category for chart in category.chart]
    tags = [tag for chart in charts for tag in chart.multiline.tag]
    tags += [tag for chart in charts for one in chart.margin.series for tag in (one.lower, one.value, one.upper)]
    assert (len(charts), len(tags)) == (3, 6)
    logged = events.Tags()["scalars"]
    for tag in tags:
        assert any(re.fullmatch(tag, name) for name in logged), tag


def test_the_checkpoint_is_that_of_the_best_quantile(run):
    """ModelCheckpoint has monitored ``val/loss_p95``."""
    checkpoint = torch.load(run / "checkpoints/best.ckpt", weights_only=False)
    state = next(value for key, value in checkpoint["callbacks"].items() if "ModelCheckpoint" in key)
    metrics = read_metrics(run)
    assert state["monitor"] == "val/loss_p95"
    assert state["best_model_score"].item() == metrics["val/loss_p95"].min()


def test_the_summary_knows_what_is_good(run, events):
    """The best accuracy is the highest, also in the HParams tab; beside the best quantile stands all of its epoch."""
    metrics, summary = read_metrics(run), json.loads((run / "summary.json").read_text())
    assert summary["val/accuracy"]["best"] == metrics["val/accuracy"].max()
    assert events.Scalars("best/val/accuracy")[-1].value == np.float32(metrics["val/accuracy"].max())
    best = metrics.set_index("step").loc[metrics.set_index("step")["val/loss_p95"].idxmin()].dropna()
    assert best.to_dict().items() <= summary["val/loss_p95"]["at_best"].items()
    assert "best" not in summary["train/loss"]


def test_the_report_shows_the_hardest(run, media):
    """It is one file, with the pictures in it."""
    page = (run / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    for caption in media.loc[media["name"] == "val/hardest", "caption"]:
        assert caption in page


def test_a_sweep_compares_learning_rates_over_seeds(example, tmp_path, capsys, monkeypatch):
    """Six runs differ in both; the command that the program prints shows the mean over the seeds, as numpy has it."""
    monkeypatch.syspath_prepend(ROOT / "examples")
    import sweep

    options = ["--trainer.accelerator=cpu", "--trainer.max_epochs=1", "--trainer.limit_train_batches=4"]
    with as_a_program(folder=tmp_path):
        sweep.main(options)
        name, *arguments = capsys.readouterr().out.splitlines()[-1].split()
        assert name == "trackplus"
        assert trackplus([*arguments, "--json"]) == 0
    assert "learning_rate = 0.01 (3 runs)" in (tmp_path / "sweep.html").read_text()
    columns = json.loads(capsys.readouterr().out)["columns"]
    assert [column["hparams"]["learning_rate"] for column in columns] == [0.001, 0.01]
    for column in columns:
        assert len(column["runs"]) == 3
        found = [read_metrics(tmp_path / one)["val/accuracy"].max() for one in column["runs"]]
        assert len(set(found)) == 3
        assert column["metrics"]["val/accuracy"]["values"] == found
        assert column["metrics"]["val/accuracy"]["mean"] == pytest.approx(np.mean(found))
        assert column["metrics"]["val/accuracy"]["std"] == pytest.approx(np.std(found, ddof=1))
