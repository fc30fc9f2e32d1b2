"""The HParams tab, as real TensorBoard processes serve it, and what becomes of hyper-parameters there."""

from __future__ import annotations

import argparse
import dataclasses
import enum
import functools
import json
import math
import pathlib
import re
import subprocess
import sys
import time
import types
import urllib.request

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_trackplus import read_run
from lightning_trackplus.formats.flat_hparams import check_hparam_metrics, flatten_hparams
from lightning_trackplus.record import Item, Record, TextPayload
from lightning_trackplus.writers.hparams import BestMetrics, HParamsWriter
from lightning_trackplus.writers.run_summary import RunSummary
from lightning_trackplus.writers.tensorboard import TensorBoardWriter

MODES = {"val/loss": "min", "val/acc": "max"}
PATIENCE = 120  # Seconds.


class Color(enum.Enum):
    RED = "#f00"


class Size(enum.IntEnum):
    LARGE = 3


@dataclasses.dataclass
class Optimizer:
    lr: float = 0.1
    betas: tuple[float, float] = (0.9, 0.99)


class Silent:
    def __str__(self):
        raise RuntimeError("no words")


def model(width):
    return width


FLAT = [
    ({"lr": 0.1, "seed": 3, "amp": True, "name": "a"}, {"lr": 0.1, "seed": 3, "amp": True, "name": "a"}),
    ({"a": {"b": {"c": 1}, "d": {}}, 5: None}, {"a/b/c": 1, "a/d": "{}", "5": "None"}),
    (argparse.Namespace(lr=1, inner=argparse.Namespace(x=2)), {"lr": 1, "inner/x": 2}),
    ({"space": types.SimpleNamespace(x=2)}, {"space/x": 2}),
    (Optimizer(), {"lr": 0.1, "betas": "(0.9, 0.99)"}),
    ({"optimizers": [Optimizer(1.0), {"lr": 2}]}, {
        "optimizers/0/lr": 1.0, "optimizers/0/betas": "(0.9, 0.99)", "optimizers/1/lr": 2,
    }),
    ({"list": [1, 2], "empty": [], "mixed": [1, "a", None, Color.RED], "set": {2, 1}}, {
        "list": "[1, 2]", "empty": "[]", "mixed": "[1, 'a', None, 'RED']", "set": "[1, 2]",
    }),
    ({"color": Color.RED, "size": Size.LARGE}, {"color": "RED", "size": "LARGE"}),
    ({"path": pathlib.PurePosixPath("data/x")}, {"path": "data/x"}),
    ({"nan": math.nan, "inf": -math.inf, "huge": 10**400}, {"nan": "nan", "inf": "-inf", "huge": str(10**400)}),
    ({"f32": np.float32(0.5), "i": np.int64(3), "b": np.bool_(True), "s": np.str_("x"), "nan": np.float32("nan")}, {
        "f32": 0.5, "i": 3, "b": True, "s": "x", "nan": "nan",
    }),
    ({"scalar": torch.tensor(0.5), "one": torch.tensor([2]), "weights": torch.tensor([1.0, 2.0])}, {
        "scalar": 0.5, "one": 2, "weights": "[1.0, 2.0]",
    }),
    ({"large": np.zeros((3, 100)), "meta": torch.empty(2, device="meta")}, {
        "large": "ndarray of shape (3, 100)", "meta": "Tensor of shape (2,)",
    }),
    ({"act": torch.nn.ReLU, "type": int, "f": model, "g": len, "dtype": torch.float16}, {
        "act": "torch.nn.modules.activation.ReLU", "type": "int", "f": f"{__name__}.model", "g": "len",
        "dtype": "torch.float16",
    }),
    ({"partial": functools.partial(model, 1), "object": object(), "silent": Silent()}, {
        "partial": "functools.partial(<function model>, 1)", "object": "<object object>", "silent": "Silent",
    }),
    ({"layer": torch.nn.Sequential(torch.nn.ReLU())}, {"layer": "Sequential( (0): ReLU() )"}),
    ({"text": "x" * 2000, "bad \udcff": "\udcff"}, {"text": "x" * 1000 + "…", "bad \\udcff": "\\udcff"}),
    ({"longest": "x" * 1000}, {"longest": "x" * 1000}),
    (None, {}),
]  # fmt: skip


@pytest.mark.parametrize(("params", "flat"), FLAT, ids=[" ".join(flat) for _, flat in FLAT])
def test_hyperparameters_become_flat_values(params, flat):
    """Each has its full name and is a bool, a number or a text, in the order in which they stand there."""
    found = flatten_hparams(params)
    assert list(found.items()) == list(flat.items())
    assert [type(value) is bool for value in found.values()] == [type(value) is bool for value in flat.values()]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner),
    max_leaves=10,
)


@settings(max_examples=50)
@given(st.dictionaries(st.text(), VALUES))
def test_whatever_is_nested_can_be_shown(params):
    """All values are finite numbers, bools or texts, and none is lost but where names meet."""
    found = flatten_hparams(params)
    assert all(isinstance(value, str) or math.isfinite(value) for value in found.values())
    assert bool(found) == bool(params)


def test_configs_of_omegaconf_are_flattened():
    """With references resolved; where one leads nowhere, all stands as it was written."""
    omega_conf = pytest.importorskip("omegaconf").OmegaConf
    config = omega_conf.create({"lr": 0.1, "inner": {"twice": "${lr}", "list": [1, None], "each": [{"a": "${lr}"}]}})
    flat = {"lr": 0.1, "inner/twice": 0.1, "inner/list": "[1, None]", "inner/each/0/a": 0.1}
    assert flatten_hparams(config) == flat
    assert flatten_hparams({"config": config.inner}) == {
        name.replace("inner", "config"): value for name, value in flat.items() if name != "lr"
    }
    broken = omega_conf.create({"x": "${nowhere}", "y": "???"})
    assert flatten_hparams(broken) == {"x": "${nowhere}", "y": "???"}


@pytest.mark.parametrize(
    ("params", "kind"), [(3, "an int"), ("lr=1", "a str"), ([1], "a list"), ([{"lr": 1}], "a list")]
)
def test_what_has_no_names_is_refused(params, kind):
    """The message says what may be given."""
    message = f"flatten_hparams got {kind}; expected a dict, an argparse.Namespace, a dataclass or an OmegaConf config."
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        flatten_hparams(params)


def test_modes_are_min_and_max():
    """Anything else is refused, with an example."""
    check_hparam_metrics(MODES)
    for wrong in ({"val/loss": "lower"}, ["val/loss"], {"val/loss": None}):
        message = f'hparam_metrics={wrong!r}; expected "min" or "max" for each name, for example {{"val/loss": "min"}}.'
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            check_hparam_metrics(wrong)


def record(step, **values):
    return Record(step, 0, 1e9 + step, values, only_numbers=True)


def points(directory, tag):
    return [(event.step, event.value) for event in EventAccumulator(str(directory)).Reload().Scalars(tag)]


def write_best(directory, *records):
    summary, events = RunSummary(directory), TensorBoardWriter(directory)
    best = BestMetrics(summary, MODES, events)
    for one in records:
        for writer in (summary, best, events):
            writer.write(one)
    for writer in (summary, best, events):
        writer.close()


def test_only_what_is_better_is_written(tmp_path):
    """Each name has its improvements at their steps; NaN is none, and other names are not there."""
    values = [(0.5, math.nan), (0.75, 0.25), (0.25, 0.25), (math.nan, 0.125), (0.25, 0.5)]
    records = [record(step, **{"val/loss": a, "val/acc": b, "other": 0.0}) for step, (a, b) in enumerate(values)]
    text = TextPayload((Item(b"text", ".md"),))
    write_best(tmp_path, *records, Record(9, 0, 1e9, {"val/loss": text, "val/acc": 10**400}))

    assert points(tmp_path, "best/val/loss") == [(0, 0.5), (2, 0.25)]
    assert points(tmp_path, "best/val/acc") == [(1, 0.25), (4, 0.5), (9, math.inf)]
    assert sorted(EventAccumulator(str(tmp_path)).Reload().Tags()["scalars"]) == [
        "best/val/acc", "best/val/loss", "other", "val/acc", "val/loss",
    ]  # fmt: skip


def test_the_best_values_are_no_further_run(tmp_path):
    """They repeat what was logged: read_run and the summary do not have them twice."""
    write_best(tmp_path / "run", record(0, **{"val/loss": 0.5}), record(1, **{"val/loss": 0.75}))
    assert not [path for path in (tmp_path / "run").iterdir() if path.is_dir()]
    assert set(read_run(tmp_path / "run").metrics) == {"step", "epoch", "val/loss"}
    (tmp_path / "run/summary.json").unlink()
    write_best(tmp_path / "run", record(2, **{"val/loss": 0.25}))
    assert set(json.loads((tmp_path / "run/summary.json").read_text())) == {"val/loss"}


def test_a_run_that_has_chosen_no_metrics_before_has_its_best_ones(tmp_path):
    """Those of its first part too."""
    run(tmp_path, {"lr": 0.1}, [0.5, 0.25], status="success", chosen=False)
    run(tmp_path, {"lr": 0.1}, [0.75], status="success", first_step=2)
    assert points(tmp_path, "best/val/loss") == [(1, 0.25)]


def test_the_best_goes_on(tmp_path):
    """A continued run writes what is better than the best before it, and that alone."""
    write_best(tmp_path, record(0, **{"val/loss": 0.5, "val/acc": 0.5}))
    write_best(tmp_path, record(1, **{"val/loss": 0.75, "val/acc": 0.75}), record(2, **{"val/loss": 0.25}))
    # What it had comes again, at its step.
    assert points(tmp_path, "best/val/loss") == [(0, 0.5), (0, 0.5), (2, 0.25)]
    assert points(tmp_path, "best/val/acc") == [(0, 0.5), (0, 0.5), (1, 0.75)]


def run(directory, params, losses, *, status, first_step=0, chosen=True):
    """Write a run, or a part of it, as delivery does; with ``status=None`` it is killed after its last flush."""
    session = HParamsWriter(directory, flatten_hparams(params))
    events, summary = TensorBoardWriter(directory), RunSummary(directory)
    writers = [summary, session, *([BestMetrics(summary, MODES, events)] if chosen else []), events]
    for step, loss in enumerate(losses, start=first_step):
        for writer in writers:
            writer.write(record(step, **{"a": 1.0, "train/loss": 2.0, "val/loss": loss, "val/acc": 1 - loss}))
        for writer in writers:
            writer.flush()
    if status is not None:
        session.status = status
        for writer in writers:
            writer.close()


def row(name, params, status, **metrics):
    return name, {"hparams": params, "status": status, "metrics": metrics}


def best(loss, loss_step):
    return {"best/val/loss": (loss, loss_step), "best/val/acc": (1 - loss, loss_step)}


NESTED = {"model": {"lr": 0.1, "sizes": [8, 4]}, "amp": True, "note": None}
FLAT_NESTED = {"model/lr": 0.1, "model/sizes": "[8, 4]", "amp": True, "note": "None"}


def chosen_runs(root):
    """Write runs that end in all ways, and return the rows that the tab has to show."""
    run(root / "done", NESTED, [0.5, 0.25, 0.75], status="success")
    run(root / "twin", NESTED, [0.5], status="success")
    run(root / "failed", {"model": {"lr": 0.2}, "layers": 3}, [0.75, 0.5], status="failed")
    run(root / "killed", {"model": {"lr": 0.3}, "optimizer": "sgd"}, [0.25, 0.5], status=None)
    run(root / "no best", {"model": {"lr": math.nan}}, [math.nan], status="success")
    run(root / "resumed", {"model": {"lr": 0.4}, "old": 1}, [0.25, 0.5], status="failed")
    run(root / "resumed", {"model": {"lr": 0.5}, "new": 1}, [0.75, 0.125], status="success", first_step=2)
    run(root / "resumed and killed", {"model": {"lr": 0.6}}, [0.5], status="success")
    run(root / "resumed and killed", {}, [0.75], status=None, first_step=1)
    run(root / "without", {}, [0.5], status="success")
    return dict(
        [
            row("done", FLAT_NESTED, "STATUS_SUCCESS", **best(0.25, 1)),
            row("twin", FLAT_NESTED, "STATUS_SUCCESS", **best(0.5, 0)),
            row("failed", {"model/lr": 0.2, "layers": 3}, "STATUS_FAILURE", **best(0.5, 1)),
            row("killed", {"model/lr": 0.3, "optimizer": "sgd"}, "STATUS_UNKNOWN", **best(0.25, 0)),
            row("no best", {"model/lr": "nan"}, "STATUS_SUCCESS"),
            row("resumed", {"model/lr": 0.5, "new": 1}, "STATUS_SUCCESS", **best(0.125, 3)),
            row("resumed and killed", {"model/lr": 0.6}, "STATUS_UNKNOWN", **best(0.5, 0)),
        ]
    )


def plain_runs(root):
    """Write runs that choose no metrics, of which the tab has to show the last values of all."""
    last = {"a": (1.0, 1), "train/loss": (2.0, 1), "val/loss": (0.75, 1), "val/acc": (0.25, 1)}
    run(root / "one", {"lr": 0.1}, [0.5, 0.75], status="success", chosen=False)
    run(root / "two", {"wd": 0.2}, [0.5, 0.75], status="failed", chosen=False)
    return dict([row("one", {"lr": 0.1}, "STATUS_SUCCESS", **last), row("two", {"wd": 0.2}, "STATUS_FAILURE", **last)])


class Tab:
    """What a TensorBoard process answers when its HParams tab asks, of the metrics that begin with a prefix."""

    def __init__(self, logdir, *options, prefix=""):
        self._prefix = prefix
        command = [sys.executable, "-m", "tensorboard.main", "--logdir", logdir, "--port", "0", *options]
        self._log = logdir / "tensorboard.log"
        with self._log.open("wb") as log:
            self._server = subprocess.Popen([*command, "--reload_interval", "1"], stdout=log, stderr=log)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.terminate()
        self._server.wait(PATIENCE)

    def rows(self):
        statuses = [f"STATUS_{name}" for name in ("UNKNOWN", "SUCCESS", "FAILURE", "RUNNING")]
        request = {"startIndex": 0, "sliceSize": 100, "allowedStatuses": statuses, "colParams": []}
        groups = self._ask("session_groups", request).get("sessionGroups", [])
        return {group["name"]: self._row(group) for group in groups}

    def columns(self):
        """Return the names of the hyper-parameters and of the metrics that have a column."""
        experiment = self._ask("experiment", {})
        metrics = [(one["name"]["group"] + one["name"]["tag"]) for one in experiment["metricInfos"]]
        return {one["name"] for one in experiment["hparamInfos"]}, {one for one in metrics if self._is_asked(one)}

    def first_metrics(self, count):
        """Return the metrics that have the first columns; TensorBoard shows five of them."""
        infos = self._ask("experiment", {})["metricInfos"]
        return [one["name"]["tag"] for one in infos[:count]]

    def runs(self):
        """Return the runs that the other tabs list."""
        with urllib.request.urlopen(f"{self.address()}data/runs", timeout=PATIENCE) as answer:
            return set(json.load(answer))

    def address(self):
        """Return where it listens.

        Raises:
            ConnectionError: If it does not yet.
        """
        address = re.search(r"http://localhost:\d+/", self._log.read_text())
        if address is None:
            raise ConnectionError("it does not listen yet")
        return address[0]

    def wait_for(self, rows):
        """Return the rows, once they are those wanted or patience is at an end."""
        end = time.monotonic() + PATIENCE
        while (found := self._rows_if_ready()) != rows and time.monotonic() < end:
            assert self._server.poll() is None, self._log.read_text()
            time.sleep(0.05)
        return found

    def _rows_if_ready(self):
        try:
            return self.rows()
        except OSError:
            return None

    def _ask(self, route, body):
        headers = {"Content-Type": "application/json"}
        address = f"{self.address()}data/plugin/hparams/{route}"
        request = urllib.request.Request(address, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    def _is_asked(self, tag):
        return tag.startswith(self._prefix)

    def _row(self, group):
        (session,) = group["sessions"]
        values = [(one["name"]["tag"], one["value"], one["trainingStep"]) for one in session["metricValues"]]
        metrics = {tag: (value, step) for tag, value, step in values if self._is_asked(tag)}
        return {"hparams": group["hparams"], "status": session["status"], "metrics": metrics}


LOADERS = pytest.mark.parametrize("options", [[], ["--load_fast=false"]], ids=["default", "slow"])


@LOADERS
def test_the_tab_shows_the_best_of_chosen_metrics(tmp_path, options):
    """Each run has a row of its own with its latest hyper-parameters, its status, and best values with their steps."""
    rows = chosen_runs(tmp_path / "runs")
    with Tab(tmp_path / "runs", *options, prefix="best/") as tab:
        assert tab.wait_for(rows) == rows
        names, metrics = tab.columns()
        assert tab.runs() == {*rows, "without"}
        assert set(tab.first_metrics(3)) == {"a", *metrics}
    assert names == {name for one in rows.values() for name in one["hparams"]}
    assert metrics == {f"best/{name}" for name in MODES}


@LOADERS
def test_the_tab_shows_the_last_of_all_metrics(tmp_path, options):
    """Where none are chosen, all scalars of the run stand beside its hyper-parameters."""
    rows = plain_runs(tmp_path / "runs")
    with Tab(tmp_path / "runs", *options) as tab:
        assert tab.wait_for(rows) == rows
        assert tab.columns() == ({"lr", "wd"}, {"a", "train/loss", "val/loss", "val/acc"})


@LOADERS
def test_the_tab_follows_a_run(tmp_path, options):
    """A TensorBoard that is open sees the best value and the end of a run as they come."""
    session = HParamsWriter(tmp_path / "runs/r", {"lr": 0.1})
    events, summary = TensorBoardWriter(tmp_path / "runs/r"), RunSummary(tmp_path / "runs/r")
    metrics = BestMetrics(summary, MODES, events)
    for writer in (summary, session, metrics, events):
        writer.write(record(0, **{"val/loss": 0.5, "val/acc": 0.5}))
        writer.flush()
    rows = dict([row("r", {"lr": 0.1}, "STATUS_UNKNOWN", **best(0.5, 0))])
    with Tab(tmp_path / "runs", *options, prefix="best/") as tab:
        assert tab.wait_for(rows) == rows
        metrics.write(record(1, **{"val/loss": 0.25, "val/acc": 0.75}))
        session.status = "success"
        events.close()
        session.close()
        rows = dict([row("r", {"lr": 0.1}, "STATUS_SUCCESS", **best(0.25, 1))])
        assert tab.wait_for(rows) == rows


def test_hyperparameters_that_come_later_take_the_place_of_the_first(tmp_path):
    """One file holds the latest ones, and nothing is written before the first record."""
    session = HParamsWriter(tmp_path / "run", {"lr": 0.1})
    session.params = {"lr": 0.2}
    session.flush()
    session.close()
    assert not (tmp_path / "run").exists()

    session.write(record(0, loss=1.0))
    session.params = {"lr": 0.3}
    session.flush()
    session.flush()
    (file,) = (tmp_path / "run").iterdir()
    assert file.name.endswith(".hparams")
    assert EventAccumulator(str(tmp_path / "run")).Reload().Tags()["tensors"] == ["_hparams_/session_start_info"]
    assert b"\x9a\x99\x99\x99\x99\x99\xb9?" not in file.read_bytes()  # 0.1 as a float64.


@pytest.mark.parametrize("status", [None, "unheard of"])
def test_without_a_known_end_there_is_no_status(tmp_path, status):
    """A run that is closed without a status, or with one of another kind, has none."""
    session = HParamsWriter(tmp_path / "run", {"lr": 0.1})
    session.write(record(0, loss=1.0))
    session.status = status
    session.close()
    assert [path.suffix for path in (tmp_path / "run").iterdir()] == [".hparams"]
