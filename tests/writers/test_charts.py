"""Charts of several curves: read back with the code of TensorBoard's Custom Scalars tab, and from a live server."""

from __future__ import annotations

import json
import time
import urllib.request

import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.custom_scalar.custom_scalars_plugin import CustomScalarsPlugin
from tensorboard.plugins.scalar.scalars_plugin import ScalarsPlugin

from lightning_trackplus import TrackPlus, TrackPlusLogger, read_run
from lightning_trackplus.cli import main
from lightning_trackplus.formats.event_files import event_files
from tests.formats.test_flat_hparams import PATIENCE, Tab
from tests.support.training import LoggingModule, loader, quiet_trainer

CHARTS = {
    "loss": ["train/loss", "val/loss_mean"],
    "val/spread": {"band": ["val/loss_p5", "val/loss_median", "val/loss_p95"]},
    "val/all": ("val/*", "a (b)?"),
}
LAYOUT = {
    "category": [
        {"title": "charts", "chart": [{"title": "loss", "multiline": {"tag": ["^train/loss$", "^val/loss_mean$"]}}]},
        {"title": "val", "chart": [
            {"title": "val/spread", "margin": {"series": [
                {"value": "val/loss_median", "lower": "val/loss_p5", "upper": "val/loss_p95"},
            ]}},
            {"title": "val/all", "multiline": {"tag": ["^val/.*$", r"^a\ \(b\).$"]}},
        ]},
    ],
}  # fmt: skip


class CustomScalars:
    """What TensorBoard's tab shows of a folder with runs."""

    def __init__(self, root):
        runs = EventMultiplexer()
        runs.AddRunsFromDirectory(str(root)).Reload()
        self.runs = list(runs.Runs())
        context = TBContext(
            logdir=str(root), data_provider=MultiplexerDataProvider(runs, str(root)), plugin_name_to_instance={}
        )
        context.plugin_name_to_instance["scalars"] = ScalarsPlugin(context)
        self._plugin = CustomScalarsPlugin(context)

    def layout(self):
        return _without_defaults(json.loads(self._plugin.layout_impl(RequestContext(), "") or "{}"))

    def curves(self, run, regex):
        found = self._plugin.scalars_impl(RequestContext(), run, regex, "")
        assert found["regex_valid"]
        return {tag: [value for _, _, value in points] for tag, points in found["tag_to_events"].items()}


def _without_defaults(layout):
    if isinstance(layout, list):
        return [_without_defaults(one) for one in layout]
    if isinstance(layout, dict):
        return {key: _without_defaults(one) for key, one in layout.items() if one not in (False, 0)}
    return layout


def log(root, charts, *, step=0, **options):
    logger = TrackPlusLogger(root, name="", version="run", charts=charts, **options)
    logger.log_metrics({"train/loss": 0.5, "val/loss_mean": 0.25, "val/loss": 0.75, "a (b)c": 1.0}, step=step)
    logger.finalize("success")


def chart_files(root):
    return {path.name: path.read_bytes() for path in event_files(root / "run") if path.suffix == ".charts"}


def test_the_tab_has_the_charts_and_their_curves(tmp_path):
    """Groups, lines and bands as they were given; a name stands for itself alone; and there is no other run."""
    log(tmp_path, CHARTS)
    tab = CustomScalars(tmp_path)
    assert tab.layout() == LAYOUT
    assert tab.runs == ["run"]
    (loss,), (_, everything) = (group["chart"] for group in LAYOUT["category"])
    assert tab.curves("run", "|".join(f"({tag})" for tag in loss["multiline"]["tag"])) == {
        "train/loss": [0.5], "val/loss_mean": [0.25],
    }  # fmt: skip
    assert tab.curves("run", "|".join(f"({tag})" for tag in everything["multiline"]["tag"])) == {
        "val/loss_mean": [0.25], "val/loss": [0.75], "a (b)c": [1.0],
    }  # fmt: skip


def test_a_prefix_stands_before_all_names_but_the_epoch(tmp_path):
    """As it does where they are logged."""
    log(tmp_path, {"loss": ["*loss", "epoch"]}, prefix="my")
    (tag, epoch) = CustomScalars(tmp_path).layout()["category"][0]["chart"][0]["multiline"]["tag"]
    assert epoch == "^epoch$"
    assert CustomScalars(tmp_path).curves("run", tag) == {"my-train/loss": [0.5], "my-val/loss": [0.75]}


def test_charts_are_written_once_and_again_if_they_change(tmp_path):
    """A run that goes on keeps its file, also without charts of its own; others take its place."""
    log(tmp_path, CHARTS)
    first = chart_files(tmp_path)
    assert len(first) == 1
    log(tmp_path, dict(CHARTS), step=1)
    log(tmp_path, None, step=2)
    assert chart_files(tmp_path) == first
    log(tmp_path, {"one": ["train/loss"]}, step=3)
    assert [group["chart"][0]["title"] for group in CustomScalars(tmp_path).layout()["category"]] == ["one"]
    assert CustomScalars(tmp_path).curves("run", "^train/loss$") == {"train/loss": [0.5] * 4}


def test_a_resumed_training_keeps_its_charts(tmp_path):
    """They belong to no checkpoint; verify and read_run see no difference."""

    def fit(epochs, charts, **options):
        logger = TrackPlusLogger(tmp_path, name="", version="run", charts=charts)
        trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=logger, max_epochs=epochs)
        trainer.fit(LoggingModule(training_step=lambda m, b, i: m.log("loss", m.global_step)), loader(8), **options)
        return trainer

    fit(1, None).save_checkpoint(tmp_path / "one.ckpt")
    fit(2, {"loss": ["loss"]}, ckpt_path=tmp_path / "one.ckpt")
    fit(2, None, ckpt_path=tmp_path / "one.ckpt")
    assert len(CustomScalars(tmp_path).layout()["category"]) == 1
    assert main(["verify", str(tmp_path / "run")]) == 0
    assert set(read_run(tmp_path / "run").metrics) == {"step", "epoch", "loss"}


def test_runs_with_the_same_charts_share_them(tmp_path):
    """Of several runs TensorBoard shows all charts, and equal ones once."""
    for run, charts in (("a", CHARTS), ("b", CHARTS), ("c", {"other": ["train/loss"]})):
        log(tmp_path / run, charts)
    (charts, _) = CustomScalars(tmp_path).layout()["category"]
    assert [chart["title"] for chart in charts["chart"]] == ["loss", "other"]


def test_a_running_tensorboard_serves_the_charts(tmp_path):
    """Its default loader reads the layout and the curves."""
    log(tmp_path, CHARTS)

    class Charts(Tab):
        def ask(self, route):
            end = time.monotonic() + PATIENCE
            while time.monotonic() < end:
                try:
                    with urllib.request.urlopen(f"{self.address()}data/plugin/custom_scalars/{route}") as answer:
                        if found := json.load(answer):
                            return found
                except OSError:
                    pass  # It does not listen yet.
                time.sleep(0.05)
            return None

    with Charts(tmp_path) as charts:
        assert _without_defaults(charts.ask("layout")) == LAYOUT
        curves = charts.ask("scalars?run=run&tag=^train/loss$")["tag_to_events"]
    assert [[value for _, _, value in points] for points in curves.values()] == [[0.5]]


WRONG = [
    ([["train/loss"]], 'charts=[[\'train/loss\']]; expected a dict such as {"loss": ["train/loss", "val/loss"]}.'),
    ({"": ["a"]}, "charts has the title ''; expected a text that is not empty."),
    ({"loss": "train/loss"}, "charts has 'train/loss' for 'loss'; expected a list of names, for example"
     ' ["train/loss", "val/loss"], or a band, {"band": ["loss_p5", "loss_median", "loss_p95"]}.'),
    ({"loss": []}, "charts has [] for 'loss'; expected a list of names, for example"
     ' ["train/loss", "val/loss"], or a band, {"band": ["loss_p5", "loss_median", "loss_p95"]}.'),
    *(({"loss": band}, f"charts has {band!r} for 'loss'; expected a band of three names without * or ?, the lower,"
       ' the middle and the upper one, for example {"band": ["loss_p5", "loss_median", "loss_p95"]}.')
      for band in ({"band": ["a", "b"]}, {"bend": ["a", "b", "c"]}, {"band": ["a", "b", "c*"]}, {})),
]  # fmt: skip


@pytest.mark.parametrize(("charts", "message"), WRONG, ids=str)
def test_other_arguments_are_refused(charts, message):
    """The error says what was given and what to write."""
    with pytest.raises(ValueError) as error:
        TrackPlusLogger(charts=charts)
    assert str(error.value) == message
