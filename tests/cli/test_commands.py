"""The command ``trackplus``: what it prints of runs, ours and those of Lightning's loggers, in folders and at URLs."""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import os
import re
import shutil
import statistics
import sys
import time
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch

import lightning_trackplus
from lightning_trackplus import Image, Text, TrackPlus, TrackPlusLogger, read_run
from lightning_trackplus.cli import main
from tests.flavour.pytorch.callbacks import ModelCheckpoint
from tests.flavour.pytorch.loggers import CSVLogger, TensorBoardLogger
from tests.support.csv_files import read_metrics
from tests.support.training import LoggingModule, loader, quiet_trainer

DOCS = Path(__file__).parents[2] / "docs/command-line.md"
LOSSES = {1: [0.5, 0.25, 0.375], 2: [0.75, 0.5, 0.125], 3: [1.0, 0.5, 0.25]}


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def trackplus(capsys):
    """Return a function that runs the command and returns what it prints."""

    def run(*arguments, status=0):
        capsys.readouterr()
        assert main([*map(str, arguments)]) == status
        said = capsys.readouterr()
        return said.err if status else said.out

    return run


def log(root, version, params, losses, *, status="success", **options):
    logger = TrackPlusLogger(root, name="", version=version, hparam_metrics={"val/loss": "min"}, **options)
    logger.log_hyperparams(params)
    for step, loss in enumerate(losses):
        logger.log_metrics({"val/loss": loss, "lr": 0.1, "epoch": step}, step=10 * step)
    if status:
        logger.finalize(status)
    return logger


def rows(text):
    """Return the cells of a plain table, which two blanks and more separate."""
    return [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return a folder with runs that differ in seed and learning rate, which nobody changes."""
    root = tmp_path_factory.mktemp("runs")
    for seed, losses in LOSSES.items():
        log(root, f"seed {seed}", {"opt": {"lr": 0.1}, "seed": seed, "width": 8}, losses)
    log(root, "other", {"opt": {"lr": 0.2}, "seed": 1, "width": 8}, [0.0625])
    return root


def test_alone_it_says_what_it_can_do(trackplus, capsys):
    """With one line for each command; and it has a version, and examples in the help of each command."""
    said = trackplus()
    commands = ["ls", "show", "compare", "report", "verify"]
    assert [line.split()[0] for line in said.splitlines() if line.startswith("    ")][:5] == commands
    for command in commands:
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0
        assert f"examples:\n  trackplus {command}" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"lightning-trackplus {lightning_trackplus.__version__}\n"


def test_ls_shows_the_newest_run_first(trackplus, runs):
    """When, how long, steps, the best value, and the hyper-parameters that differ."""
    header, *found = rows(trackplus("ls", runs))
    assert header == ["run", "started", "took", "last step", "ended", "best val/loss", "opt/lr", "seed"]
    assert [(row[0], row[3:]) for row in found] == [
        ("other", ["0", "finished", "0.0625 @ 0", "0.2", "1"]),
        ("seed 3", ["20", "finished", "0.25 @ 20", "0.1", "3"]),
        ("seed 2", ["20", "finished", "0.125 @ 20", "0.1", "2"]),
        ("seed 1", ["20", "finished", "0.25 @ 10", "0.1", "1"]),
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", row[1]) and re.fullmatch(r"\d+s", row[2]) for row in found)


def test_ls_has_all_as_json(trackplus, runs, monkeypatch):
    """Also the hyper-parameters that are alike; the current folder is the default."""
    monkeypatch.chdir(runs)
    found = json.loads(trackplus("ls", "--json"))
    assert found["differing_hparams"] == ["opt/lr", "seed"]
    first = found["runs"][0]
    assert first.pop("started").endswith("+00:00")
    assert 0 <= first.pop("seconds") < 60
    assert first == {
        "path": str(runs / "other"),
        "last_step": 0,
        "status": "finished",
        "best": {"val/loss": {"best": 0.0625, "best_step": 0, "mode": "min"}},
        "hparams": {"opt/lr": 0.2, "seed": 1, "width": 8},
    }


def test_ls_tells_how_a_run_ended(trackplus, tmp_path):
    """By what the run says, and by whether a process still writes it; also without TensorBoard and hyper-parameters."""

    def fit(version, training_step=None, **options):
        logger = TrackPlusLogger(tmp_path, name="", version=version, writers=["csv"])
        trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=logger, max_epochs=1)
        trainer.fit(LoggingModule(training_step=training_step or step), loader(8), **options)
        return trainer

    def step(module, batch, index):
        module.log("loss", 1.0)

    def fail(module, batch, index):
        raise RuntimeError("no")

    def found():
        return {
            Path(run["path"]).name: run["status"] for run in json.loads(trackplus("ls", tmp_path, "--json"))["runs"]
        }

    def look(module, batch, index):
        step(module, batch, index)
        if index:
            module.logger.flush()
            seen.append(found())

    seen = []
    fit("whole")
    log(tmp_path, "failed", {}, [0.5], writers=["csv"], status="failed")
    with pytest.raises(RuntimeError, match="no"):
        fit("raised", training_step=lambda m, b, i: step(m, b, i) if i == 0 else fail(m, b, i))
    writing = log(tmp_path, "writing", {}, [0.5], writers=["csv"], status=None)
    writing.flush()
    shutil.copytree(tmp_path / "writing", tmp_path / "killed")
    fit("watched", training_step=look)
    expected = {"whole": "finished", "raised": "interrupted", "killed": "interrupted", "failed": "interrupted"}
    assert found() == {**expected, "writing": "running", "watched": "finished"}
    assert seen[0]["watched"] == "running"

    finished = log(tmp_path, "again", {}, [0.5], writers=["csv"])
    assert found()["again"] == "finished"
    finished.log_metrics({"loss": 1.0}, step=50)
    finished.flush()
    assert found()["again"] == "running"
    finished.finalize("success")
    writing.finalize("success")
    assert {found()["again"], found()["writing"]} == {"finished"}


def test_ls_finds_runs_in_folders_below(trackplus, tmp_path):
    """Those of Lightning's loggers too; evaluations' batches and curves of add_scalars are no runs of their own."""

    def fit(logger):
        hooks = {
            "training_step": lambda m, b, i: m.log("loss", 0.5),
            "validation_step": lambda m, b, i: m.log("val", 0.25, on_step=True, on_epoch=True),
        }
        module = LoggingModule(**hooks)
        module.save_hyperparameters({"lr": 0.1})
        saving = ModelCheckpoint(monitor="val_epoch", mode="min")
        options = {"max_epochs": 2, "enable_checkpointing": True, "num_sanity_val_steps": 0}
        quiet_trainer(tmp_path, callbacks=[TrackPlus(), saving], logger=logger, **options).fit(
            module, loader(8), loader(4)
        )

    ours = TrackPlusLogger(tmp_path / "a", name="ours")
    ours.experiment.add_scalars("curves", {"one": 1.0}, 0)
    fit(ours)
    fit(CSVLogger(str(tmp_path / "a"), name="csv"))
    fit(TensorBoardLogger(str(tmp_path), name="tb"))
    found = {row[0]: row for row in rows(trackplus("ls", tmp_path))}
    assert found.keys() == {"run", "a/ours/version_0", "a/csv/version_0", "tb/version_0"}
    assert found["a/ours/version_0"][3:] == ["3", "finished", "0.25 @ 1"]
    assert [found[name][3:] for name in ("a/csv/version_0", "tb/version_0")] == [["3"], ["3"]]

    said = trackplus("show", tmp_path / "tb/version_0")
    assert "lr                 0.1" in said
    loss = next(row for row in rows(said) if row[0] == "loss")
    assert loss[1:4] == ["0.5 @ 3", "0.5 @ 0", "0.5 @ 0"]


def test_show_has_each_metric_with_its_curve(trackplus, tmp_path):
    """Last, lowest and highest are numpy's; a best one stands where it is known; a step is that of the value."""
    values = np.random.default_rng(0).normal(size=100)
    logger = TrackPlusLogger(tmp_path, name="", version="run", hparam_metrics={"acc": "max"})
    logger.log_hyperparams({"lr": 0.1})
    for step, value in enumerate(values):
        logger.log_metrics({"x": value, "up": step, "odd": [np.nan, np.inf, 1.0][step % 3]}, step=2 * step)
        logger.log_metrics({"huge": 1e308 if step < 50 else -1e308, "flat": 1 / 3}, step=2 * step)
    logger.log_metrics({"acc": 0.5}, step=200)
    for step in (0, 4):
        logger.log_media("pictures", Image(torch.rand(2, 3, 4, 4)), step=step)
    logger.log_media("note", Text("hm"), step=4)
    logger.finalize("success")

    said = trackplus("show", tmp_path / "run")
    table = {row[0]: row[1:] for row in rows(said)}
    low, high = values.argmin(), values.argmax()
    assert table["x"][:3] == [f"{values[at]:.5g} @ {2 * at}" for at in (99, low, high)]
    assert table["up"] == ["99 @ 198", "0 @ 0", "99 @ 198", "▁▁▂▂▃▃▄▄▅▅▆▆▇▇██"]
    assert table["odd"][:3] == ["NaN @ 198", "1 @ 4", "Infinity @ 2"]
    assert table["flat"][-1] == "▄" * 16
    assert table["huge"] == ["-1e+308 @ 198", "-1e+308 @ 100", "1e+308 @ 0", "███████▆▁▁▁▁▁▁▁▁"]
    assert table["acc"] == ["0.5 @ 200", "0.5 @ 200 *", "▄"]
    assert table["pictures"] == ["image", "4", "2 steps, 0 to 4"]
    assert table["note"] == ["text", "1", "4"]
    assert "finished, began" in said.splitlines()[1]
    for name in ("metrics.csv", "summary.json", "media.csv", "media", "hparams.yaml", "events.out.tfevents.*"):
        assert f"{tmp_path}/run/{name}" in table

    found = json.loads(trackplus("show", tmp_path / "run", "--json"))
    assert found["metrics"] == json.loads((tmp_path / "run/summary.json").read_text())
    assert found["media"][0] == {"name": "pictures", "kind": "image", "count": 4, "steps": [0, 4]}
    assert (found["hparams"], found["last_step"], found["status"]) == ({"lr": 0.1}, 200, "finished")

    (tmp_path / "run/summary.json").unlink()
    again = json.loads(trackplus("show", tmp_path / "run", "--json"))["metrics"]
    assert again["x"] == found["metrics"]["x"]
    assert again["odd"]["max"] == "Infinity"


def test_compare_marks_what_differs(trackplus, runs):
    """Hyper-parameters and metrics of each run, and which run is the best."""
    said = rows(trackplus("compare", runs / "seed 1", f"{runs}/seed 2/", runs / "seed 2"))
    assert said == [
        ["hyper-parameter", "seed 1", "seed 2"],
        ["opt/lr", "0.1", "0.1"],
        ["≠", "seed", "1", "2"],
        ["width", "8", "8"],
        [""],
        ["metric", "seed 1", "seed 2"],
        ["≠", "val/loss (min)", "0.25", "0.125 *"],
        ["lr", "0.1", "0.1"],
    ]


def test_compare_averages_over_runs_that_are_alike(trackplus, runs):
    """All but the seed is the same in three of the runs: mean and deviation are those of their best values."""
    paths = [runs / f"seed {seed}" for seed in LOSSES] + [runs / "other"]
    best = [min(losses) for losses in LOSSES.values()]
    mean, deviation = np.mean(best), np.std(best, ddof=1)
    said = rows(trackplus("compare", *paths, "--by", "seed"))
    (loss,) = (row for row in said if "val/loss (min)" in row)
    assert loss == ["≠", "val/loss (min)", f"{mean:.5g} ± {deviation:.5g}", "0.0625 *"]
    assert ["≠", "opt/lr", "0.1", "0.2"] in said
    assert not any(row[0] == "seed" for row in said)

    found = json.loads(trackplus("compare", *paths, "--by", "seed", "--json"))
    three, one = found["columns"]
    assert three["runs"] == [str(path) for path in paths[:3]]
    assert three["hparams"] == {"opt/lr": 0.1, "width": 8}
    assert three["metrics"]["val/loss"]["values"] == best
    assert three["metrics"]["val/loss"]["std"] == pytest.approx(statistics.stdev(best))
    assert (one["metrics"]["val/loss"]["mean"], one["metrics"]["val/loss"]["std"]) == (0.0625, None)
    assert (found["modes"], found["differing_hparams"]) == ({"val/loss": "min", "lr": None}, ["opt/lr"])

    said = rows(trackplus("compare", *paths, "--by", "seed", "--by", "opt/lr"))
    assert ["metric", "seed 1 and 3 more"] in said


def test_compare_finds_the_best_of_runs_that_do_not_know_what_is_good(trackplus, runs, tmp_path):
    """A run of CSVLogger has a best loss where another run says that low is good."""
    logger = CSVLogger(str(tmp_path), name="")
    for step, loss in enumerate([0.5, 0.0625, 0.25]):
        logger.log_metrics({"val/loss": loss}, step)
    logger.finalize("success")
    said = rows(trackplus("compare", runs / "seed 1", logger.log_dir))
    assert ["≠", "val/loss (min)", "0.25", "0.0625 *"] in said
    assert ["≠", "lr", "0.1"] in said


def test_a_run_without_events_knows_how_long_it_took(trackplus, tmp_path):
    """Also where a copy of it has other times."""
    logger = log(tmp_path, "run", {}, [0.5], writers=["csv"], status=None)
    logger.flush()
    began = time.time()
    time.sleep(0.2)
    logger.finalize("success")
    for path in (tmp_path / "run").iterdir():
        os.utime(path, (1e9, 1e9))
    (found,) = json.loads(trackplus("ls", tmp_path, "--json"))["runs"]
    assert 0.2 <= found["seconds"] < 60
    assert abs(datetime.datetime.fromisoformat(found["started"]).timestamp() - began) < 60


def test_runs_at_a_url_are_shown_like_local_ones(trackplus, tmp_path):
    """All commands take URLs, and say the same as of the folder."""
    for root in (f"memory://{tmp_path}/runs", tmp_path / "runs"):
        log(root, "one", {"lr": 0.1}, [0.5, 0.25])
        log(root, "two", {"lr": 0.2}, [0.125], writers=["csv"])
    url, folder = f"memory://{tmp_path}/runs", tmp_path / "runs"

    def without_times(text):
        return [[cell for cell in row if not re.match(r"\d{4}-|\d+s$|.*began", cell)] for row in rows(text)]

    assert without_times(trackplus("ls", url)) == without_times(trackplus("ls", folder))
    assert rows(trackplus("compare", f"{url}/one", f"{url}/two")) == rows(
        trackplus("compare", folder / "one", folder / "two")
    )
    said = trackplus("show", f"{url}/one").replace(url, str(folder))
    assert without_times(said) == without_times(trackplus("show", folder / "one"))
    first, second = json.loads(trackplus("ls", url, "--json"))["runs"]
    assert (first["path"], second["path"]) == (f"{url}/two", f"{url}/one")


def test_hyper_parameters_are_read_without_making_objects(trackplus, tmp_path):
    """A class stands there by its name, and code in the file is not run; a seed of LightningCLI is one of them."""
    log(tmp_path, "run", {"act": torch.nn.ReLU, "sizes": (1, 2)}, [0.5])
    with (tmp_path / "run/hparams.yaml").open("a") as file:
        file.write(f"bad: !!python/object/apply:os.mkdir ['{tmp_path}/made']\n")
    (tmp_path / "run/config.yaml").write_text("seed_everything: 7\ntrainer: {max_epochs: 1}\n")
    found = json.loads(trackplus("show", tmp_path / "run", "--json"))["hparams"]
    assert found == {
        "seed_everything": 7,
        "act": "torch.nn.modules.activation.ReLU",
        "sizes": "[1, 2]",
        "bad": f"['{tmp_path}/made']",
    }
    assert not (tmp_path / "made").exists()


def test_names_cannot_command_a_terminal(trackplus, tmp_path, monkeypatch):
    """Control characters stand there as their escapes, and brackets are no markup of rich's."""
    log(tmp_path, "run", {"a\x1b[31m": "x\ny", "long": "z" * 100}, [0.5])
    plain = trackplus("show", tmp_path / "run")
    assert r"a\x1b[31m" in plain
    assert r"x\ny" in plain
    assert f"{'z' * 39}…" in plain
    log(tmp_path, "[red]x", {"[bold]": "[/]"}, [0.5])
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert main(["show", str(tmp_path / "[red]x")]) == 0
    assert "[bold]" in sys.stdout.getvalue()


@pytest.mark.parametrize("has_rich", [True, False])
def test_colours_are_for_terminals_with_rich(trackplus, runs, monkeypatch, has_rich):
    """Elsewhere all commands print plain text, of the same words."""
    if has_rich:
        pytest.importorskip("rich")
    else:
        monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("NO_COLOR", raising=False)
    path, other = str(runs / "seed 1"), str(runs / "seed 2")
    for arguments in (["ls", str(runs)], ["show", path], ["compare", path, other]):
        plain = trackplus(*arguments)
        assert "\x1b" not in plain
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", Terminal())
            assert main(arguments) == 0
            shown = sys.stdout.getvalue()
        assert ("\x1b" in shown) == has_rich
        words = re.sub(r"\x1b\[[\d;]*m|─", "", shown).split()
        assert words == plain.split()


def test_a_terminal_without_blocks_gets_marks_in_their_place(trackplus, runs, monkeypatch):
    """Where the output has ASCII alone, other characters make curves and marks, and the rest are question marks."""

    def in_ascii(*arguments):
        with monkeypatch.context() as patch:
            output = io.TextIOWrapper(io.BytesIO(), "ascii")
            patch.setattr(sys, "stdout", output)
            with contextlib.suppress(SystemExit):  # Of --help.
                assert main([*map(str, arguments)]) == 0
            output.flush()
            return output.buffer.getvalue().decode("ascii")

    assert ["val/loss", "0.375 @ 20", "0.25 @ 10 *", "#_="] in rows(in_ascii("show", runs / "seed 1"))
    compared = in_ascii("compare", runs / "seed 1", runs / "seed 2", runs / "other", "--by", "seed")
    assert ["!", "val/loss (min)", "0.1875 +- 0.088388", "0.0625 *"] in rows(compared)
    assert "! marks what differs" in " ".join(in_ascii("compare", "--help").split())


def test_a_table_is_cut_into_parts_that_fit_into_the_terminal(trackplus, runs, monkeypatch):
    """Each part begins with the names; side by side they are the whole table, which a pipe gets."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "dumb")
    names = ["seed 1", "seed 2", "seed 3", "other"]
    for arguments in (["ls", runs], ["compare", *(runs / name for name in names)]):
        whole = trackplus(*arguments)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", Terminal())
            assert main([*map(str, arguments)]) == 0
            shown = sys.stdout.getvalue()
        assert max(map(len, shown.splitlines())) <= 40 < max(map(len, whole.splitlines()))
        joined: dict[str, list[list[str]]] = {}
        for part in shown.strip("\n").split("\n\n"):
            table = [[cell for cell in row if cell != "≠"] for row in rows(part)]
            before = joined.setdefault(table[0][0], [[name] for name, *_ in table])
            for line, (name, *cells) in zip(before, table, strict=True):
                assert line[0] == name
                line.extend(cells)
        expected = [[cell for cell in row if cell not in {"≠", ""}] for row in rows(whole)]
        assert [line for table in joined.values() for line in table] == list(filter(None, expected))


def test_names_as_wide_as_two_columns_are_aligned(trackplus, tmp_path):
    """Rich is the oracle of how wide a text is in a terminal."""
    cell_len = pytest.importorskip("rich.cells").cell_len
    log(tmp_path, "run", {"学習率": "あ", "e\u0301": "x", "width": "🎉"}, [0.5])
    table = trackplus("show", tmp_path / "run").split("\n\n")[1].splitlines()
    assert len({cell_len(line[: re.search(r"\s{2,}", line).end()]) for line in table}) == 1


def test_a_reader_that_ends_early_is_no_error(runs, monkeypatch, capsys):
    """As in ``trackplus ls | head -1``."""
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr(sys, "stdout", os.fdopen(writing, "w"))
    assert main(["ls", str(runs)]) == 0
    sys.stdout.close()
    assert capsys.readouterr().err == ""


def test_an_output_that_the_shell_has_closed_is_no_error(runs, monkeypatch, capsys):
    """As in ``trackplus ls >&-``, where Python sets ``sys.stdout`` to None."""
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["ls", str(runs)]) == 0
    sys.stdout.close()
    assert capsys.readouterr().err == ""


def test_errors_are_not_in_the_output_where_the_shell_has_closed_theirs(tmp_path, monkeypatch, capsys):
    """As in ``trackplus ls 2>&-``."""
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["ls", str(tmp_path / "nowhere")]) == 2
    sys.stderr.close()
    assert capsys.readouterr().out == ""


def test_lightnings_runs_are_compared_in_the_precision_of_event_files(trackplus, tmp_path):
    """The float32 of an event file does not differ from the float64 of a table; and the newest run is the first."""
    for version, logger_of in enumerate((TensorBoardLogger, CSVLogger, TensorBoardLogger, TensorBoardLogger)):
        logger = logger_of(str(tmp_path), name="", version=version)
        logger.log_metrics({"loss": 0.1 if version < 2 else 0.1 + 1e-7}, 0)
        logger.finalize("success")
        # Event files have the second of their start in their names.
        for file in Path(logger.log_dir).glob("events*"):
            file.rename(file.with_name(re.sub(r"\d{10}", "1700000000", file.name)))
    equal = rows(trackplus("compare", *(tmp_path / f"version_{version}" for version in (0, 1))))
    assert ["loss", "0.1", "0.1"] in equal
    assert ["≠", "loss", "0.1", "0.1"] in rows(
        trackplus("compare", *(tmp_path / f"version_{version}" for version in (0, 2)))
    )
    found = [row[0] for row in rows(trackplus("ls", tmp_path))]
    assert found == ["run", "version_1", "version_3", "version_2", "version_0"]


def test_hyper_parameters_do_not_make_a_table_endless(trackplus, tmp_path):
    """Long names are cut, and some hyper-parameters of many are shown; a URL of a folder is as good as its path."""
    for number in range(2):
        log(tmp_path / "runs", f"run {number}", {f"{'x' * 60}{name}": number for name in range(6)}, [0.5])
    plain = trackplus("ls", tmp_path / "runs")
    header, *_, note = rows(plain)
    assert header[6:] == ["x" * 39 + "…"] * 5
    assert note == ["1 more hyper-parameter differs; --json has all"]
    assert trackplus("ls", f"file://{tmp_path}/runs/") == plain


def test_an_interrupt_ends_it_without_a_traceback(trackplus):
    """With the exit status of a program that Ctrl+C has ended."""

    class Slow(fsspec.AbstractFileSystem):
        protocol = "slow"

        def find(self, path, **options):
            raise KeyboardInterrupt

    fsspec.register_implementation("slow", Slow, clobber=True)
    assert trackplus("show", "slow://bucket/run", status=130) == ""


def test_mistakes_are_said_in_one_line(trackplus, runs, tmp_path):
    """What was given, and what to write."""
    assert trackplus("ls", tmp_path / "none", status=2) == (
        f"trackplus ls: {tmp_path}/none is not a folder; expected a folder with runs, such as lightning_logs.\n"
    )
    assert trackplus("ls", tmp_path, status=2) == (
        f"trackplus ls: {tmp_path} has no runs; expected a folder with runs, such as lightning_logs.\n"
    )
    assert trackplus("show", tmp_path / "none", status=2) == (
        f"trackplus show: {tmp_path}/none does not exist; expected the folder of a run, such as"
        " lightning_logs/version_0.\n"
    )
    assert trackplus("compare", runs / "seed 1", "--by", "sed", status=2) == (
        "trackplus compare: no run has the hyper-parameter 'sed'. Did you mean 'seed'?\n"
    )


def test_a_url_that_cannot_be_read_is_said_in_one_line(trackplus):
    """Whatever kind of error its file system has; and what nobody knows."""

    class Broken(fsspec.AbstractFileSystem):
        protocol = "broken"

        def find(self, path, **options):
            raise RuntimeError("no key")

    fsspec.register_implementation("broken", Broken, clobber=True)
    for command in ("ls", "show", "compare", "verify"):
        assert trackplus(command, "broken://bucket/run", status=2) == (
            f"trackplus {command}: broken://bucket/run could not be read. Check the URL and your access to it."
            " RuntimeError: no key\n"
        )
    assert "nobody" in trackplus("show", "nobody://bucket", status=2)


def test_a_run_that_cannot_be_read_does_not_hide_the_others(runs, tmp_path, capsys):
    """It is warned of."""
    shutil.copytree(runs / "other", tmp_path / "sound")
    shutil.copytree(runs / "other", tmp_path / "later")
    journal = tmp_path / "later/run.jsonl"
    journal.write_text(journal.read_text().replace('"format": 1', '"format": 99').replace('"format":1', '"format":99'))
    assert main(["ls", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert [row[0] for row in rows(said.out)] == ["run", "sound"]
    assert "was written by a later version of lightning-trackplus" in said.err


def test_the_documentation_shows_what_the_commands_print(trackplus, tmp_path, monkeypatch):
    """Each block of the page is what the command in it prints of the page's own runs, but for the times."""
    monkeypatch.chdir(tmp_path)
    text = DOCS.read_text()
    exec(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], {})
    blocks = re.findall(r"```console\n\$ trackplus (.*?)\n(.*?)```", text, re.DOTALL)

    def without_times(said):
        return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d|\b\d+s\b", "…", said).split()

    for line, shown in blocks:
        assert without_times(trackplus(*line.split())) == without_times(shown)
    assert {line.split()[0] for line, _ in blocks} == {"ls", "show", "compare", "verify"}


def test_steps_are_those_of_the_table(trackplus, tmp_path):
    """Pandas is the oracle, also of a table that is longer than what is read of its end."""
    logger = TrackPlusLogger(tmp_path, name="", version="run", writers=["csv"])
    for step in range(20000):
        logger.log_metrics({"loss": step / 7, "epoch": 0}, step=step)
    logger.finalize("success")
    table = read_metrics(tmp_path / "run")
    assert (tmp_path / "run/metrics.csv").stat().st_size > 2**18
    found = json.loads(trackplus("show", tmp_path / "run", "--json"))
    assert found["last_step"] == table["step"].iloc[-1]
    assert found["metrics"]["loss"]["last"] == table["loss"].iloc[-1]


SUMMARIES = [
    "[]",
    '{"val/loss": {"last": 1, "last_step": 1, "mode": []}}',
    '{"val/loss": {"last": [1], "last_step": 1, "min": 1, "min_step": 1, "max": 1, "max_step": 1}}',
    '{"val/loss": {"last": 1}}',
    '{"val/loss": {"last": NaN, "last_step": 1, "best": NaN, "best_step": 1, "mode": "min", "at_best": {}}}',
    '{"val/loss": {"last": 1, "last_step": 1, "best": "x", "best_step": 1, "mode": "min", "at_best": {}}}',
    '{"val/loss": {"last": 1e400, "last_step": 1, "best": 1, "best_step": 1, "mode": "min", "at_best": {}}}',
    "[" * 100_000,
]


@pytest.mark.parametrize("summary", SUMMARIES, ids=range(len(SUMMARIES)))
def test_a_damaged_summary_is_made_of_the_numbers(trackplus, summary, runs, tmp_path):
    """Each command reads the run, and its JSON can be read."""
    run = Path(shutil.copytree(runs / "seed 1", tmp_path / "run"))
    (run / "summary.json").write_text(summary)
    for command in (["ls", tmp_path], ["show", run], ["compare", run, runs / "seed 2"]):
        trackplus(*command)
        json.loads(trackplus(*command, "--json"), parse_constant=pytest.fail)
    assert json.loads(trackplus("show", run, "--json"))["metrics"]["val/loss"]["min"] == 0.25
    assert "0.25" in read_run(run)._repr_html_()


DAMAGED = {
    "metrics.csv": ["a,b\n1,2\n"],
    "run.jsonl": [
        f'{{"format": 1, "run": "a"}}\n{{"session": "x", "time": {time}, "rows": 0, "bytes": {{}}}}\n'
        f'{{"ended": "success", "time": {time}}}\n'
        for time in ("1e300", "NaN", "-1e12")
    ],
    "hparams.yaml": ["a: !!timestamp x\n", "a: !!int x\n", "a: !!map [1]\n"],
}


@pytest.mark.parametrize(("file", "text"), [(file, text) for file, texts in DAMAGED.items() for text in texts])
def test_ls_shows_the_other_runs_whatever_is_in_one(trackplus, file, text, runs, tmp_path):
    """Also if something is found to be damaged after the folder was taken for a run."""
    for name in ("seed 1", "seed 2"):
        shutil.copytree(runs / name, tmp_path / name)
    (tmp_path / "seed 1" / file).write_text(text)
    assert "seed 2" in trackplus("ls", tmp_path)
    assert str(tmp_path / "seed 2") in trackplus("ls", tmp_path, "--json")
    assert ("seed 1" in trackplus("ls", tmp_path)) == (file != "metrics.csv")


def test_a_cell_can_be_longer_than_the_csv_module_takes(trackplus, tmp_path):
    """Such as text that Lightning's CSVLogger wrote."""
    (tmp_path / "metrics.csv").write_text(f"step,epoch,loss,text\n0,0,0.5,{'x' * 200_000}\n1,0,0.25,\n")
    shown = json.loads(trackplus("show", tmp_path, "--json"))
    assert shown["last_step"] == 1
    assert shown["metrics"]["loss"]["last"] == 0.25


def test_errors_and_differences_cannot_command_a_terminal(trackplus, tmp_path):
    """Names and paths are there with escapes in each line that a command prints."""
    logger = TrackPlusLogger(tmp_path, name="", version="run")
    logger.log_hyperparams({"seed": 1})
    logger.log_metrics({"a\x1b[31m": 0.5}, step=0)
    logger.finalize("success")
    run = Path(logger.log_dir).rename(tmp_path / "run\x1b[31m")
    assert "\x1b" not in trackplus("show", f"{run}x", status=2)
    assert "\x1b" not in trackplus("compare", run, "--by", "seed")
    metrics = run / "metrics.csv"
    metrics.write_text(metrics.read_text().replace("0.5", "0.25"))
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert main(["verify", str(run)]) == 1
    assert r"'a\x1b[31m' at 0: 0.25" in said.getvalue()
    assert "\x1b" not in said.getvalue()


def test_steps_below_zero_are_steps(trackplus, tmp_path):
    """The last one is the highest."""
    (tmp_path / "metrics.csv").write_text("step,epoch,loss\n-5,0,1\n-1,0,2\n")
    assert json.loads(trackplus("show", tmp_path, "--json"))["last_step"] == -1


def test_a_run_of_no_epochs_is_a_run(trackplus, tmp_path):
    """Its folder has the hyper-parameters alone."""
    for logger in (TrackPlusLogger(tmp_path, name="ours"), CSVLogger(tmp_path, name="csv")):
        logger.log_hyperparams({"lr": 0.1})
        quiet_trainer(tmp_path, logger=logger, max_epochs=0).fit(LoggingModule(), loader(8))
    TensorBoardLogger(tmp_path, name="other").log_hyperparams({"lr": 0.1})
    (tmp_path / "hparams.yaml").write_text("of: a project\n")
    expected = {"ours/version_0", "csv/version_0", "other/version_0"}
    assert {row[0] for row in rows(trackplus("ls", tmp_path))[1:]} == expected
    assert ["lr", "0.1"] in rows(trackplus("show", logger.log_dir))


def test_numbers_that_are_not_finite_are_written_alike(trackplus, tmp_path):
    for name, values in {"one": {"a": np.nan, "b": np.inf}, "two": {"a": 0.5, "b": -np.inf}}.items():
        logger = TrackPlusLogger(tmp_path, name="", version=name)
        logger.log_metrics(values, step=0)
        logger.finalize("success")
    said = rows(trackplus("compare", tmp_path / "one", tmp_path / "two"))
    assert said[1:] == [["≠", "a", "NaN", "0.5"], ["≠", "b", "Infinity", "-Infinity"]]
    assert ["a", "NaN @ 0"] in [row[:2] for row in rows(trackplus("show", tmp_path / "one"))]


@pytest.mark.parametrize("has_summary", [True, False])
def test_a_run_that_has_not_ended_has_its_newest_numbers(trackplus, tmp_path, has_summary):
    """Its ``summary.json`` is some seconds old, and stays so if it is killed."""
    logger = TrackPlusLogger(tmp_path, name="", version="run", hparam_metrics={"loss": "min", "acc": "max"})
    for step, (loss, acc) in enumerate([(0.5, 0.75), (np.nan, 0.5), (0.25, np.nan)]):
        logger.log_metrics({"loss": loss, "acc": acc, **({"late": 1.0} if step else {})}, step=step)
        logger.flush()
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert (summary["loss"]["last"], "late" in summary) == (0.5, False)
    if not has_summary:
        (tmp_path / "run/summary.json").unlink()
    found = {row[0]: row[1:-1] for row in rows(trackplus("show", tmp_path / "run"))}
    expected = {
        "loss": ["0.25 @ 2", "0.25 @ 2 *"],
        "acc": ["NaN @ 2", "0.75 @ 0 *"],
        "late": ["1 @ 2", "1 @ 1", "1 @ 1"],
    }
    if not has_summary:
        expected |= {"loss": ["0.25 @ 2", "0.25 @ 2", "0.5 @ 0"], "acc": ["NaN @ 2", "0.5 @ 1", "0.75 @ 0"]}
    assert {name: found[name] for name in expected} == expected
    if has_summary:
        entries = json.loads(trackplus("show", tmp_path / "run", "--json"))["metrics"]
        assert entries["acc"] == {**summary["acc"], "last": "NaN", "last_step": 2}
        assert entries["loss"]["at_best"] == {}
        assert ["loss (min)", "0.25"] in rows(trackplus("compare", tmp_path / "run"))
