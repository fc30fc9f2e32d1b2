"""What a report holds; `tests/browser/test_report_in_a_browser.py` looks at it as a person does."""

from __future__ import annotations

import base64
import csv
import json
import math
import os
import re
import sys
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch

from lightning_trackplus import Histogram, Image, Table, TrackPlusLogger, cli, read_run, report
from lightning_trackplus.reading.run import Run
from lightning_trackplus.run.lock import RunLock
from lightning_trackplus.views.media_files import bins_of
from tests.flavour.pytorch.loggers import CSVLogger, TensorBoardLogger

pytest.importorskip("jinja2")
pytest.importorskip("markdown_it")
pytest.importorskip("plotly")

CURVES, STEPS = 30, 1_000_000


def data_in(page: str) -> dict:
    """Return the data of a page."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(text, parse_constant=pytest.fail)


def numbers_in(packed: dict) -> np.ndarray:
    """Return the numbers of an array as plotly unpacks it."""
    return np.frombuffer(base64.b64decode(packed["bdata"]), f"<{packed['dtype']}")


def chart_of(page: str, title: str) -> dict:
    """Return the chart with a title."""
    (chart,) = [one for one in data_in(page)["charts"] if one["title"] == title]
    return chart


def log(folder: Path, version: int, hparams: dict, curve: list[float]) -> Path:
    """Log a curve, and return the run directory."""
    logger = TrackPlusLogger(folder, name="", version=version)
    logger.log_hyperparams(hparams)
    for step, value in enumerate(curve):
        logger.log_metrics({"loss": value}, step=step)
    logger.finalize("success")
    return Path(logger.log_dir)


def test_thirty_curves_of_a_million_steps_take_less_than_2_mb(tmp_path):
    """Beside plotly, and each curve has its ends and the extremes of each part, at their steps."""
    generator = np.random.default_rng(0)
    noise = generator.standard_normal(STEPS)
    columns = {f"train/m{number}": np.roll(noise, number * 1001) for number in range(CURVES)}
    peaks = generator.choice(STEPS, 2 * CURVES, replace=False).reshape(CURVES, 2)
    for (up, down), values in zip(peaks, columns.values(), strict=True):
        values[[up, down]] = 100, -100
    metrics = pandas.DataFrame({"step": np.arange(STEPS), "epoch": np.arange(STEPS) // 1000 * 1.0, **columns})
    page = report(Run(tmp_path, metrics, ())).html
    (library,) = re.findall(r'id="library">(.*?)</script>', page, re.DOTALL)
    assert len(page) - len(library) < 2_000_000
    charts = data_in(page)["charts"]
    assert len(charts) == CURVES
    for (up, down), chart, values in zip(peaks, charts, columns.values(), strict=True):
        (line,) = chart["lines"]
        x, y = numbers_in(line["x"]), numbers_in(line["y"])
        assert len(x) <= 2002
        assert np.array_equal(values[x], y)
        assert {0, STEPS - 1, up, down} <= set(x.tolist())
    for part in np.split(values, 1000):
        assert {part.min(), part.max()} <= set(y.tolist())


def test_runs_that_share_a_hyperparameter_are_their_mean_and_deviation(tmp_path):
    """At each step that they share; what numpy says is the oracle."""
    curves = [[4.0, 2.0, 1.0], [2.0, 1.0, 0.0], [9.0, 9.0, 9.0]]
    runs = [
        log(tmp_path, number, {"lr": lr}, curve) for number, (lr, curve) in enumerate(zip("aab", curves, strict=True))
    ]
    page = report(runs, group_by="lr").html
    both, alone = chart_of(page, "loss")["lines"]
    assert [line["name"] for line in data_in(page)["lines"]] == ["lr = a (2 runs)", "lr = b (1 run)"]
    mean, deviation = np.mean(curves[:2], 0), np.std(curves[:2], 0, ddof=1)
    assert numbers_in(both["y"]) == pytest.approx(mean)
    assert numbers_in(both["band"]["low"]) == pytest.approx(mean - deviation)
    assert numbers_in(both["band"]["high"]) == pytest.approx(mean + deviation)
    assert numbers_in(alone["y"]).tolist() == curves[2]
    assert "band" not in alone


def test_runs_of_other_steps_are_interpolated_where_both_are(tmp_path):
    """A run with half the steps, and one that ended early."""
    long, short = tmp_path / "long", tmp_path / "short"
    for folder, steps in ((long, [0, 1, 2, 3, 4]), (short, [1, 3])):
        folder.mkdir()
        rows = [["step", "epoch", "loss"], *([step, 0, step * 10] for step in steps)]
        with (folder / "metrics.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
        (folder / "hparams.yaml").write_text("lr: 1\n")
    (line,) = chart_of(report([long, short], group_by="lr").html, "loss")["lines"]
    assert numbers_in(line["x"]).tolist() == [1, 2, 3]
    assert numbers_in(line["y"]).tolist() == [10, 20, 30]


def test_names_of_one_family_share_a_chart_and_none_is_lost(tmp_path):
    """Reductions of one name and classes of one metric; a band takes two of them; names that look alike stay."""
    names = ["val/loss_mean", "val/loss_p5", "val/loss_p95", "val/loss_max", "val/recall/0", "val/recall/1", "lr"]
    names += [
        "y_p5",
        "y_p95",
        "y_p99",
        "x",
        "x_mean",
        "x/value",
        "a/x",
        "a/x_mean",
        "a/x/mean",
        "a/x/value",
        "alone_max",
    ]
    metrics = pandas.DataFrame({"step": [0], "epoch": [0.0], **{name: [1.0] for name in names}})
    page = report(Run(tmp_path, metrics, ())).html
    charts = data_in(page)["charts"]
    shared = {chart["title"]: (chart["labels"], [band["label"] for band in chart["bands"]]) for chart in charts}
    assert shared["val/loss"] == (["mean", "max"], ["p5 to p95"])
    assert shared["val/recall"] == (["0", "1"], [])
    assert "alone_max" in shared
    assert sum(len(labels) + 2 * len(bands) for labels, bands in shared.values()) == len(names)
    # With several runs, each has a chart, but those that are the ends of a band.
    charts = data_in(report([Run(tmp_path / name, metrics, ()) for name in "ab"]).html)["charts"]
    assert {chart["title"] for chart in charts} == {*names} - {"val/loss_p5", "val/loss_p95"}
    assert [chart["title"] for chart in charts if chart["bands"]] == ["val/loss_mean"]


@pytest.mark.parametrize("logger_class", [CSVLogger, TensorBoardLogger])
def test_runs_of_lightnings_loggers(logger_class, tmp_path):
    """They have curves and hyper-parameters as well."""
    logger = logger_class(tmp_path)
    logger.log_hyperparams({"size": {"width": 7}})
    for step in range(3):
        logger.log_metrics({"train/loss": step / 2, "epoch": 0}, step=step)
    logger.save()
    logger.finalize("success")
    page = report(logger.log_dir).html
    (line,) = chart_of(page, "train/loss")["lines"]
    assert numbers_in(line["y"]).tolist() == [0, 0.5, 1]
    assert re.search(r"<th>size/width</th><td[^>]*>7</td>", page)


def test_batches_of_an_evaluation_stay_over_their_numbers(tmp_path):
    """Their rows have no epoch; in a run without any epoch, all are of the training."""
    metrics = pandas.DataFrame({"step": [0, 0], "epoch": [0, np.nan], "a": [1, np.nan], "b": [np.nan, 1]})
    page = report(Run(tmp_path, metrics, ())).html
    assert {chart["title"]: chart["ofBatches"] for chart in data_in(page)["charts"]} == {"a": False, "b": True}
    page = report(Run(tmp_path, metrics.assign(epoch=np.nan), ())).html
    assert not any(chart["ofBatches"] for chart in data_in(page)["charts"])


def test_scores_that_are_no_numbers_come_last(tmp_path):
    """JSON has no NaN, and the page has to be read."""
    logger = TrackPlusLogger(tmp_path)
    logger.log_media("x", Image(torch.rand(3, 1, 4, 4), score=[1.0, torch.nan, 2.0]), step=0)
    logger.finalize("success")
    (card,) = data_in(report(logger.log_dir).html)["media"]
    assert [item["score"] for item in card["items"]] == ["2", "1", "nan"]


def test_media_up_to_a_size_the_newest_first(tmp_path):
    """What is left out is said; with a higher limit it is there."""
    logger = TrackPlusLogger(tmp_path)
    for step in range(3):
        noise = torch.randint(0, 256, (3, 100, 100), dtype=torch.uint8, generator=torch.Generator().manual_seed(step))
        logger.log_media("noise", Image(noise), step=step)
        logger.log_media("rows", Table([[step]], columns=["n"]), step=step)
    logger.finalize("success")
    size = sum(path.stat().st_size for path in Path(logger.log_dir, "media", "noise").iterdir()) / 3 / 10**6
    page = report(logger.log_dir, max_media_mb=size * 1.1).html
    noise, rows = data_in(page)["media"]
    assert [item["step"] for item in noise["items"]] == [2]
    assert [item["step"] for item in rows["items"]] == [2, 1, 0]
    assert noise["leftOut"] == 2
    assert f"2 of 6 files, {2 * size:.1f} MB, are left out" in page
    assert "left out" not in report(logger.log_dir).html


@pytest.mark.parametrize(
    ("values", "bins"), [([0.0, 1.0, 1.0, 4.0], 4), ([0.0, 1.0, 1.0, 4.0], [-100.0, -10.0, 0.0, 0.5, 2.0, 5.0, 1e20])]
)
def test_bins_of_any_width_become_bins_of_one_width_with_the_same_counts(values, bins, tmp_path):
    """And the page shows where the values are, not bins without any."""
    logger = TrackPlusLogger(tmp_path)
    logger.log_media("values", Histogram(values, bins), step=0)
    logger.finalize("success")
    (card,) = data_in(report(logger.log_dir).html)["media"]
    edges, counts = (numbers_in(card["items"][0][key]) for key in ("edges", "counts"))
    assert counts.sum() == pytest.approx(4)
    assert edges[0] == 0
    assert edges[-1] in {4, 5}
    assert np.diff(edges) == pytest.approx(edges[1])


def test_objects_in_hyperparameters_are_text(tmp_path):
    """Lightning writes tags of Python; none of them is imported or called."""
    run = log(tmp_path, 0, {}, [1.0])
    (run / "hparams.yaml").write_text(
        "called: !!python/object/apply:os.mkdir [made]\nnamed: !!python/name:torch.nn.ReLU ''\n"
        "pair: !!python/tuple [1, 2]\nplain: 0.1\n"
    )
    page = report(run).html
    assert not Path("made").exists()
    found = dict(re.findall(r'<tr><th>(\w+)</th><td class="text">(.*?)</td>', page))
    assert found == {"called": "[&#39;made&#39;]", "named": "torch.nn.ReLU", "pair": "[1, 2]", "plain": "0.1"}
    (run / "hparams.yaml").write_text("{")
    with pytest.warns(UserWarning, match="cannot be read, and is left out"):
        report(run)


def test_times_are_written_as_on_the_command_line(tmp_path, capsys):
    """Also those of a run without event files."""
    run = Path(CSVLogger(tmp_path).log_dir)
    run.mkdir(parents=True)
    for name, text, seconds in (("hparams.yaml", "lr: 0.1\n", 0), ("metrics.csv", "step,loss\n0,0.5\n", 176_500)):
        (run / name).write_text(text)
        os.utime(run / name, (1.7e9 + seconds, 1.7e9 + seconds))
    assert cli.main(["show", str(run)]) == 0
    (started,) = re.findall(r"began (.+), took 2d 01h, last step 0\n", capsys.readouterr().out)
    facts = re.findall(r'<span class="fact">(\w+) <b>(.+?)</b>', report(run).html)
    assert facts == [("started", started), ("took", "2d 01h"), ("steps", "1")]


def test_damaged_and_missing_media_do_not_stop_a_report(tmp_path):
    """A run of media alone has no charts; a file that cannot be shown can be saved, and a missing one is counted."""
    logger = TrackPlusLogger(tmp_path)
    for step in range(3):
        logger.log_media("rows", Table([[step]], columns=["n"]), step=step)
    logger.finalize("success")
    gone, emptied, _ = sorted(Path(logger.log_dir, "media", "rows").iterdir())
    gone.unlink()
    emptied.write_bytes(b"")
    page = report(logger.log_dir).html
    assert data_in(page)["charts"] == []
    (card,) = data_in(page)["media"]
    assert [item["show"] for item in card["items"]] == ["table", "file"]
    assert "1 of 3 files are not there any more." in page


def test_times_are_those_of_global_steps(tmp_path):
    """Events over another axis have another step, at the same time."""
    logger = TrackPlusLogger(tmp_path, x_axis={"loss": "samples"})
    for step in range(10):
        logger.log_metrics({"samples": step * 3, "epoch": step // 5}, step=step)
        logger.log_metrics({"loss": 1.0}, step=step)
    logger.finalize("success")
    (line,) = data_in(report(logger.log_dir).html)["lines"]
    steps, seconds = map(numbers_in, line["times"])
    assert {*steps.tolist()} == {*range(10)}
    assert seconds[0] == 0
    assert seconds.tolist() == sorted(seconds.tolist())


def test_times_of_many_steps_are_thinned_from_the_first_to_the_last(tmp_path):
    """The page interpolates between them."""
    logger = TrackPlusLogger(tmp_path)
    for step in range(7000):
        logger.log_metrics({"loss": 1.0}, step=step)
    logger.finalize("success")
    (line,) = data_in(report(logger.log_dir).html)["lines"]
    steps, seconds = map(numbers_in, line["times"])
    assert 1000 <= len(steps) <= 2001
    assert (steps[0], steps[-1], seconds[0]) == (0, 6999, 0)
    assert np.diff(steps).min() >= 0
    assert np.diff(steps).max() <= 8
    assert np.diff(seconds).min() >= 0


def test_a_run_at_a_url_is_reported_like_a_local_one(tmp_path):
    """With its media, its hyper-parameters, and when each step was."""
    logger = TrackPlusLogger(f"memory://{tmp_path}", name="", version="run")
    logger.log_hyperparams({"rate": 0.5})
    for step in range(3):
        logger.log_metrics({"loss": step, "epoch": 0}, step=step)
    logger.log_media("x", Image(torch.rand(1, 4, 4)), step=2)
    logger.finalize("success")
    page = report(f"memory://{tmp_path}/run").html
    data = data_in(page)
    assert numbers_in(data["charts"][0]["lines"][0]["y"]).tolist() == [0, 1, 2]
    assert {*numbers_in(data["lines"][0]["times"][0]).tolist()} == {0, 1, 2}
    assert [len(card["items"]) for card in data["media"]] == [1]
    assert re.search(r"<th>rate</th><td[^>]*>0.5</td>", page)


def test_a_run_that_has_just_begun_has_a_report(tmp_path):
    """It has no charts yet."""
    lock = RunLock(tmp_path)
    lock.acquire()
    assert data_in(report(tmp_path).html)["charts"] == []
    lock.release()


def test_what_cannot_be_reported(tmp_path, monkeypatch):
    """Errors say what to give."""
    run = log(tmp_path, 0, {"lr": 1}, [1.0])
    with pytest.raises(ValueError, match=r"^report got no runs; expected the folder of a run"):
        report([])
    with pytest.raises(
        ValueError, match=r"^report got group_by='seed', which no run has .* expected one of \['lr'\]\.$"
    ):
        report(run, group_by="seed")
    with pytest.raises(ValueError, match="does not exist"):
        report(tmp_path / "none")
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match=r"^A report needs jinja2, .*lightning-trackplus\[report\]"):
        report(run)


def test_the_command_writes_a_file(tmp_path, capsys):
    """It says which; what it cannot report is an error of one line."""
    runs = [log(tmp_path, number, {"lr": number}, [1.0, 0.5]) for number in range(2)]
    file = tmp_path / "below" / "sweep.html"
    assert cli.main(["report", *map(str, runs), "-o", str(file)]) == 0
    assert re.fullmatch(rf"{re.escape(str(file))} \(\d\.\d MB\)\n", capsys.readouterr().out)
    assert "They differ in <b>lr</b>" in file.read_text()
    logger = TrackPlusLogger(tmp_path, name="", version="media")
    logger.log_media("x", Image(torch.rand(1, 4, 4)), step=0)
    logger.finalize("success")
    for limit, left_out in (("0", True), ("1", False)):
        assert cli.main(["report", logger.log_dir, "-o", str(file), "--max-media-mb", limit]) == 0
        assert ("1 of 1 files" in file.read_text()) == left_out
    capsys.readouterr()
    assert cli.main(["report", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith("trackplus report: ")


OUTSIDE = [
    "/etc/hostname",
    "../secret.txt",
    "media/../../secret.txt",
    "C:\\secret.txt",
    "..\\secret.txt",
    "",
]


@pytest.mark.parametrize("file", OUTSIDE)
def test_an_index_of_media_leads_to_no_other_file(file, tmp_path):
    """A report that is sent to others has nothing but the run; neither has a notebook."""
    run = log(tmp_path, 0, {}, [1.0])
    (tmp_path / "secret.txt").write_text("secret")
    header = "step,epoch,name,kind,file,caption,score,wall_time"
    (run / "media.csv").write_text(f"{header}\n0,0,x,text,{file},,,1\n")
    with pytest.warns(UserWarning, match=r"Damaged rows of .*media\.csv were skipped"):
        page = report(run).html
    assert data_in(page)["media"] == []


def test_media_that_are_no_files_are_missing(tmp_path):
    """Such as a pipe, from which nothing comes, or a name that no file can have."""
    run = log(tmp_path, 0, {}, [1.0])
    (run / "media").mkdir()
    os.mkfifo(run / "media/pipe")
    header = "step,epoch,name,kind,file,caption,score,wall_time"
    files = ["media/pipe", "media", f"media/{'x' * 300}.png"]
    (run / "media.csv").write_text("\n".join([header, *(f"0,0,x,text,{file},,,1" for file in files), ""]))
    assert "3 of 3 files are not there any more." in report(run).html
    assert "3 files are missing." in read_run(run)._repr_html_()


@pytest.mark.parametrize("values", [[0.0, 5e-324], [-1.7e308, 0.0, 1.7e308], [3.0]], ids=["tiny", "huge", "one"])
def test_histograms_of_any_range_are_shown(values, tmp_path):
    """Each value is in a bin."""
    logger = TrackPlusLogger(tmp_path)
    logger.log_media("values", Histogram(values), step=0)
    logger.finalize("success")
    (card,) = data_in(report(logger.log_dir).html)["media"]
    edges, counts = (numbers_in(card["items"][0][key]) for key in ("edges", "counts"))
    assert counts.sum() == pytest.approx(len(values))
    assert edges[0] <= values[0]
    assert values[-1] <= edges[-1]
    assert "<img" in Histogram(values)._repr_html_()


def test_bins_without_a_width_are_shown(tmp_path):
    """As in a file that others wrote."""
    for rows in ([[1.0, 1.0, 5.0], [2.0, 2.0, 3.0]], [[1.0, 1.0, 5.0]], [[5.0, 4.0, 1.0]]):
        edges, counts = bins_of(np.array(rows))
        assert np.isfinite(edges).all()
        assert len(counts) == len(edges) - 1


def test_damaged_axes_cost_the_times_alone(tmp_path):
    """Charts are over steps then."""
    run = log(tmp_path, 0, {}, [1.0, 2.0])
    (run / "x_axis.json").write_text("{")
    with pytest.warns(UserWarning, match="does not know when the steps of .* were: .*x_axis.json cannot be read"):
        page = report(run).html
    assert numbers_in(data_in(page)["charts"][0]["lines"][0]["y"]).tolist() == [1, 2]
    assert numbers_in(data_in(page)["lines"][0]["times"][0]).size == 0


def test_the_working_folder_has_a_name(tmp_path, monkeypatch):
    """Its path from elsewhere."""
    run = log(tmp_path, 0, {}, [1.0])
    monkeypatch.chdir(run)
    assert f"<h1>{tmp_path.name}/version_0</h1>" in report(".").html


def test_a_folder_whose_name_is_not_utf8(tmp_path):
    """The page can be written, and a notebook can be saved."""
    run = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    run.mkdir()
    (run / "metrics.csv").write_text("step,epoch,loss\n0,0,1\n")
    assert r"\udcff" in report(run, tmp_path / "report.html").read_text(encoding="utf-8")
    for shown in (report(run), read_run(run)):
        assert shown._repr_html_().encode()


@pytest.mark.parametrize("path", ["", "memory://bucket/report.html", "s3://bucket/report.html"])
def test_a_report_is_a_file_of_this_machine(path, tmp_path, monkeypatch, capsys):
    """A folder or a URL is refused before anything is read or written."""
    run = log(tmp_path, 0, {}, [1.0])
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    message = f"report got path={path or str(empty)!r}; expected a file of this machine, such as report.html."
    assert cli.main(["report", str(run), "-o", path or str(empty)]) == 2
    assert capsys.readouterr().err == f"trackplus report: {message}\n"
    assert list(empty.iterdir()) == []


@pytest.mark.filterwarnings("error")
def test_means_over_runs_leave_out_what_has_no_mean(tmp_path):
    """An infinite value does not hide the others, and gives no warning; one run of a group has its own values."""
    curves = [[1.0, math.inf, 1e308, 3.0], [2.0, 1.0, 1e308, 5.0]]
    runs = [log(tmp_path, number, {"lr": 1}, curve) for number, curve in enumerate(curves)]
    (line,) = chart_of(report(runs, group_by="lr").html, "loss")["lines"]
    assert numbers_in(line["x"]).tolist() == [0, 3]
    assert numbers_in(line["y"]).tolist() == [1.5, 4]
    (line,) = chart_of(report(runs[1], group_by="lr").html, "loss")["lines"]
    assert numbers_in(line["y"]).tolist() == curves[1]


def test_the_best_value_is_that_of_all_runs(tmp_path):
    """Of runs that disagree on whether low or high is good, none is the best, as for `trackplus compare`."""

    def best(*modes):
        paths = []
        for number, mode in enumerate(modes):
            logger = TrackPlusLogger(tmp_path, name="", hparam_metrics={"x": mode} if mode else {})
            for step, value in enumerate([2, 1, 3]):
                logger.log_metrics({"x": value + 10 * number}, step=step)
            logger.finalize("success")
            paths.append(logger.log_dir)
        return re.findall(r'<span class="best">(\S*) ', report(paths).html)

    assert best("min", None) == ["1", "11"]
    assert best("max", "max") == ["3", "13"]
    assert best("min", "max") == []
