"""summary.json, as a strict reader of JSON finds it, against what pandas and numpy find in the same numbers."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from tensorboard.compat.proto.event_pb2 import Event
from torchmetrics import MeanMetric, MeanSquaredError
from torchmetrics.classification import MulticlassAccuracy, MulticlassRecall
from torchmetrics.wrappers import ClasswiseWrapper

from lightning_trackplus import TrackPlus, TrackPlusLogger
from lightning_trackplus.record import ImagePayload, Item, Record, TensorBoardEvent
from lightning_trackplus.writers.best_values import MetricModes
from lightning_trackplus.writers.csv import CSVWriter
from lightning_trackplus.writers.run_summary import RunSummary
from tests.flavour.pytorch.callbacks import ModelCheckpoint
from tests.support.csv_files import read_metrics
from tests.support.training import LoggingModule, disk_full_above, loader, quiet_trainer

NAMES = st.sampled_from(["loss", "acc", "epoch", "step", "", "🎉", "a,b", 'say "hi"', "two\nlines"])
NUMBERS = st.floats() | st.integers(-(2**70), 2**70) | st.sampled_from([math.nan, math.inf, -math.inf, 10**400, -0.0])
RECORDS = st.lists(st.dictionaries(NAMES, NUMBERS, min_size=1, max_size=4), min_size=1, max_size=12)


def record(step, values, *, only_numbers=True, epoch=0):
    return Record(step, epoch, 1e9, values, only_numbers)


def no_constant(text):
    raise AssertionError(f"{text} is no JSON")


def read(directory):
    """Return the summary as a reader finds it that knows no NaN."""
    return json.loads((directory / "summary.json").read_text(encoding="utf-8"), parse_constant=no_constant)


def summary_of(directory, *records, modes=None, monitored=None):
    summary = RunSummary(directory, MetricModes(modes or {}, monitored or {}))
    for one in records:
        summary.write(one)
    summary.close()
    return read(directory)


def as_json(number):
    if isinstance(number, int) or math.isfinite(number):
        return number
    return {math.inf: "Infinity", -math.inf: "-Infinity"}.get(number, "NaN")


def is_nan(number):
    return isinstance(number, float) and math.isnan(number)


def wanted(logged, mode):
    """Return the entry of one name by a plain search over its (step, value)."""
    numbers = [(value, step) for step, value in logged if not is_nan(value)]
    found = {}
    for name, sign in {"min": (("best", 1),), "max": (("best", -1),), None: (("min", 1), ("max", -1))}[mode]:
        value, step = min(numbers, key=lambda point: (sign * point[0], point[1])) if numbers else (None, None)
        found |= {name: None if value is None else as_json(value), f"{name}_step": step}
    last_step, last = logged[-1]
    return {"last": as_json(last), "last_step": last_step, **found, **({} if mode is None else {"mode": mode})}


@given(RECORDS, st.dictionaries(NAMES, st.sampled_from(["min", "max"])))
@example([{"loss": math.nan}, {"loss": math.nan, "acc": 1}], {})
@example([{"loss": 2.0}, {"loss": 1.0, "acc": 1}, {"loss": 3.0}], {"acc": "max"})
@example([{"loss": math.nan}, {"loss": math.inf}], {})
def test_the_summary_has_last_and_best_of_each_name(records, modes):
    """Names, values and steps are those of a plain search, over any names, numbers and modes; epoch is left out."""
    series = {}
    for step, values in enumerate(records):
        for name, value in values.items():
            series.setdefault(name, []).append((step, value))
    series.pop("epoch", None)

    with tempfile.TemporaryDirectory() as folder:
        found = summary_of(Path(folder), *(record(*one) for one in enumerate(records)), modes=modes)

    # An integer beyond all floats is as good as infinity.
    extremes = dict.fromkeys(f"{kind}{step}" for kind in ("best", "min", "max") for step in ("", "_step"))
    assert {name: {**entry, **extremes} for name, entry in found.items()} == {
        name: {**wanted(logged, modes.get(name)), **extremes} for name, logged in series.items()
    }
    for name, logged in series.items():
        if all(abs(value) < 10**300 or is_nan(value) for _, value in logged):
            assert found[name] == wanted(logged, modes.get(name))


def at_best(records, name, mode):
    """Return all numbers as they stood at the best value of one, by a plain search over (step, values)."""
    sign, best, stood, found, step_of_best = (1 if mode == "min" else -1), None, {}, None, None
    for step, values in records:
        stood |= values
        value = values.get(name, math.nan)
        if not is_nan(value) and (best is None or (sign * value, step) < best):
            best, step_of_best = (sign * value, step), step
        if step == step_of_best:
            found = dict(stood)
        else:
            step_of_best = None
    return found and {key: as_json(value) for key, value in found.items()}


FEW = st.sampled_from([0.0, 1.0, 2.0, math.nan])
STEPPED = st.lists(
    st.tuples(st.integers(0, 3), st.dictionaries(st.sampled_from("abc"), FEW, min_size=1)), min_size=1, max_size=12
)


@given(STEPPED, st.sampled_from(["min", "max"]), st.integers(1, 12), st.sampled_from(["memory", "table", "summary"]))
def test_at_best_are_all_values_as_they_stood(stepped, mode, cut, kind):
    """However many steps a name skips, and whether the run went on from memory, metrics.csv or the summary."""
    steps = np.cumsum([ahead for ahead, _ in stepped]).tolist()
    records = [(step, values) for step, (_, values) in zip(steps, stepped, strict=True)]
    # Two records of a run that goes on are of one step where its first half had none of them.
    assume(kind == "memory" or cut >= len(steps) or steps[cut] != steps[cut - 1])
    directions = MetricModes(monitored={"a": mode})
    with tempfile.TemporaryDirectory() as folder:
        writers = [RunSummary(Path(folder), directions), CSVWriter(Path(folder))]
        for some in (records[:cut], records[cut:]):
            if kind != "memory":
                writers = [RunSummary(Path(folder), directions), CSVWriter(Path(folder))]
            for step, values in some:
                for writer in writers:
                    writer.write(record(step, values, epoch=None))
            for writer in writers:
                writer.close()
            if kind == "summary":
                Path(folder, "metrics.csv").unlink(missing_ok=True)
        found = read(Path(folder))
    assert found.get("a", {}).get("at_best") == at_best(records, "a", mode)
    assert not any("at_best" in entry for name, entry in found.items() if name != "a")


def test_at_best_is_forgotten_where_another_value_becomes_the_best(tmp_path):
    """Of a mode that changes, and of one that comes after the best value, nothing else is known."""
    summary = RunSummary(tmp_path, MetricModes(monitored={"a": "min"}))
    for step, value in enumerate([2.0, 1.0, 3.0]):
        summary.write(record(step, {"a": value, "b": float(step)}))
    summary.close()
    assert read(tmp_path)["a"]["at_best"] == {"a": 1.0, "b": 1.0, "epoch": 0}
    summary.set_modes(MetricModes(monitored={"a": "max"}))
    summary.write(record(3, {"a": 0.0, "b": 3.0}))
    summary.close()
    assert read(tmp_path)["a"] == {"last": 0.0, "last_step": 3, "best": 3.0, "best_step": 2, "mode": "max"}
    summary.write(record(4, {"a": 4.0}))
    summary.close()
    assert read(tmp_path)["a"]["at_best"] == {"a": 4.0, "b": 3.0, "epoch": 0}


class Watched(LoggingModule):
    """Logs metrics that know what is good, and numbers of which nobody says so."""

    def __init__(self):
        super().__init__()
        self.acc, self.error = MulticlassAccuracy(3, average=None), MeanSquaredError()
        self.classes = ClasswiseWrapper(
            MulticlassRecall(3, average=None), labels=["a", "b", "c"], prefix="", postfix="_class"
        )
        self.mean = MeanMetric()

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        targets = torch.tensor([0, 1, 2, 2])
        predictions = (targets + (self.current_epoch != 1)) % 3
        for metric in (self.acc, self.classes):
            metric(predictions, targets)
        self.error(predictions.float(), targets.float())
        self.mean(1.0)
        self.log_dict({"acc": self.acc, "recall": self.classes, "error": self.error, "mean": self.mean})
        self.log("score", [3.0, 7.0, 5.0][self.current_epoch], on_step=True, on_epoch=True)

    def training_step(self, batch, batch_idx):
        self.log("lr", 1.0 - self.global_step / 100)
        self.log("late", float(self.current_epoch), on_step=False, on_epoch=True)
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize("loaders", [1, 2])
def test_the_best_is_told_where_somebody_says_what_is_good(tmp_path, loaders):
    """A callback by its mode, also of a name that Lightning forks, and a metric of itself and of its classes."""
    end = "" if loaders == 1 else "/dataloader_idx_1"
    best = ModelCheckpoint(tmp_path, monitor=f"score{end}", mode="max")
    logger = TrackPlusLogger(tmp_path, prefix="run")
    options = {"logger": logger, "enable_checkpointing": True, "max_epochs": 3, "num_sanity_val_steps": 0}
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus(), best], **options)
    trainer.fit(Watched(), loader(8), [loader(4)] * loaders)
    logger.finalize("success")
    found = {name.removeprefix("run-"): entry for name, entry in read(Path(logger.log_dir)).items()}
    modes = {name: entry.get("mode") for name, entry in found.items() if name.endswith(end) or not name.count("idx")}
    classes = {f"acc/{number}{end}": "max" for number in range(3)} | {
        f"recall/{one}_class{end}": "max" for one in "abc"
    }
    assert modes == classes | {
        f"error{end}": "min", f"mean{end}": None, f"score_step{end}": "max", f"score_epoch{end}": "max", "lr": None,
        "late": None,
    }  # fmt: skip
    assert {"min", "min_step", "max", "max_step"} < found["lr"].keys()
    score = found[f"score_epoch{end}"]
    assert (score["best"], score["best_step"]) == (best.best_model_score, 3)
    stood = {name.removeprefix("run-"): value for name, value in score["at_best"].items()}
    assert stood[f"acc/0{end}"] == stood[f"recall/a_class{end}"] == 1
    assert (stood["epoch"], stood["late"], stood["lr"], stood[f"score_epoch{end}"]) == (1, 1, np.float32(0.97), 7)
    assert [name for name, entry in found.items() if "at_best" in entry] == [f"score_epoch{end}"]


def test_long_runs_are_summarized_as_numpy_does(tmp_path):
    """Of 3,000 steps of 100 numbers, all minima and maxima stand there with the first step that has them."""
    numbers = np.random.default_rng(0).normal(size=(3000, 100)).round(2)
    numbers[::7] = np.nan
    names = [f"metric {index}" for index in range(100)]
    modes = dict.fromkeys(names[::2], "max")

    rows = (record(step, dict(zip(names, row.tolist(), strict=True))) for step, row in enumerate(numbers))
    found = summary_of(tmp_path, *rows, modes=modes)

    lowest, highest = np.nanargmin(numbers, axis=0).tolist(), np.nanargmax(numbers, axis=0).tolist()
    for index, name in enumerate(names):
        wanted_of = {"best": highest} if name in modes else {"min": lowest, "max": highest}
        for kind, steps in wanted_of.items():
            step = steps[index]
            assert (found[name][kind], found[name][f"{kind}_step"]) == (numbers[step, index], step)
        assert (found[name]["last"], found[name]["last_step"]) == (numbers[-1, index], 2999)


def test_ten_thousand_names_that_come_in_any_company_are_summarized(tmp_path):
    """Each of 10,000 names has its entry, though no two records have the same names."""
    records = [
        record(step, {f"m{(step * 10 + index) % 10_000}": float(step) for index in range(20)}) for step in range(1000)
    ]
    found = summary_of(tmp_path, *records)

    assert len(found) == 10_000
    assert found["m15"] == wanted([(0, 0.0), (1, 1.0)], None)


def test_media_and_events_are_left_out(tmp_path):
    """Of a record that holds other things, the numbers count; one without numbers makes no file."""
    picture = ImagePayload((Item(b"png", ".png"),), 1, 1)
    event = TensorBoardEvent(Event(), 0)
    summary = RunSummary(tmp_path / "run")
    summary.write(record(0, {"image": picture, "event": event}, only_numbers=False))
    summary.close()
    assert not (tmp_path / "run").exists()

    summary.write(record(1, {"image": picture, "loss": 0.5}, only_numbers=False))
    summary.close()
    assert list(read(tmp_path / "run")) == ["loss"]


def test_steps_of_evaluation_batches_count(tmp_path):
    """A series that is numbered by batch, and has no epoch, has its extremes there too."""
    batches = [record(step, {"val/loss_step": value}, epoch=None) for step, value in enumerate([0.5, 0.25, 0.75])]
    found = summary_of(tmp_path, *batches)
    assert found == {"val/loss_step": wanted([(0, 0.5), (1, 0.25), (2, 0.75)], None)}


def test_modes_can_be_given_later(tmp_path):
    """Modes that come after the numbers hold for them as well, and write a file that stood there already."""
    summary = RunSummary(tmp_path)
    summary.set_modes(MetricModes({"acc": "min"}))
    summary.close()
    assert not (tmp_path / "summary.json").exists()

    for step, value in enumerate([0.1, 0.9, 0.5]):
        summary.write(record(step, {"acc": value}))
    summary.flush()
    assert read(tmp_path)["acc"]["best"] == 0.1
    summary.set_modes(MetricModes({"acc": "max"}))
    summary.close()
    assert read(tmp_path)["acc"] == {"last": 0.5, "last_step": 2, "best": 0.9, "best_step": 1, "mode": "max"}


def test_a_flush_writes_the_file_once_in_ten_seconds(tmp_path, monkeypatch):
    """The first flush writes, later ones only when ten seconds have passed and there is something new."""
    clock = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    summary = RunSummary(tmp_path)
    seen = []
    for seconds in [0, 1, 9.9, 10, 15, 25]:
        clock[0] = 1000.0 + seconds
        summary.write(record(len(seen), {"loss": 1.0}))
        summary.flush()
        seen.append(read(tmp_path)["loss"]["last_step"])
    assert seen == [0, 0, 0, 3, 3, 5]

    (tmp_path / "summary.json").unlink()
    clock[0] += 100
    summary.flush()
    assert not (tmp_path / "summary.json").exists()


RUN = [{"loss": 3.0, "epoch": 0.0}, {"loss": 1.0, "step": 7.0}, {"acc": 0.5}, {"loss": math.nan, "acc": 0.25}]
AT_BEST = {"loss": 1.0, "epoch": 0, "step": 7.0, "acc": 0.5}
WHOLE = {
    "loss": wanted([(0, 3.0), (1, 1.0), (3, math.nan)], None),
    "step": wanted([(1, 7.0)], None),
    "acc": {**wanted([(2, 0.5), (3, 0.25)], "max"), "at_best": AT_BEST},
}
DIRECTIONS = MetricModes(monitored={"acc": "max"})


def write_run(directory, records, first_step=0):
    """Write records with both writers, as delivery does."""
    writers = [CSVWriter(directory), RunSummary(directory, DIRECTIONS)]
    for step, values in enumerate(records, start=first_step):
        for writer in writers:
            writer.write(record(step, values))
    for writer in writers:
        writer.close()


@pytest.mark.parametrize("table", [True, False], ids=["metrics.csv", "summary.json"])
@pytest.mark.parametrize("cut", range(1, len(RUN)))
def test_a_run_that_goes_on_begins_from_what_is_there(tmp_path, table, cut):
    """Best and last before it count as if it had never stopped, from metrics.csv or, without it, from the summary."""
    write_run(tmp_path, RUN[:cut])
    if not table:
        (tmp_path / "metrics.csv").unlink()
    write_run(tmp_path, RUN[cut:], first_step=cut)
    assert read(tmp_path) == WHOLE


def test_what_a_resume_took_away_is_forgotten(tmp_path):
    """Where metrics.csv was cut back, the best that went with it is no longer in the summary."""
    write_run(tmp_path, [{"loss": 2.0}, {"loss": 0.1}])
    table = tmp_path / "metrics.csv"
    pandas.read_csv(table, dtype=str)[:1].to_csv(table, index=False)
    write_run(tmp_path, [{"loss": 3.0}], first_step=1)
    assert read(tmp_path)["loss"] == wanted([(0, 2.0), (1, 3.0)], None)


@pytest.mark.parametrize("length", range(len("step,epoch,loss,acc\n0,0,0.5,0.5\n1,0,0.25,0.75\n") + 1))
def test_a_table_that_was_torn_is_read_up_to_there(tmp_path, length):
    """Cut off anywhere, every cell that is whole counts, and no other."""
    text = "step,epoch,loss,acc\n0,0,0.5,0.5\n1,0,0.25,0.75\n"[:length]
    (tmp_path / "metrics.csv").write_text(text)
    found = summary_of(tmp_path, record(5, {"other": 1.0}), modes={"acc": "max"})

    *whole, torn = [line.split(",") for line in text.split("\n")]
    cells = [*whole[1:], torn[:-1]] if whole else []
    points = {
        name: [(int(row[0]), float(row[index])) for row in cells if len(row) > index]
        for index, name in ((2, "loss"), (3, "acc"))
    }
    assert found.pop("other")["last_step"] == 5
    assert found == {name: wanted(logged, {"acc": "max"}.get(name)) for name, logged in points.items() if logged}


def test_a_full_disk_leaves_the_last_summary(tmp_path):
    """What cannot be written raises and leaves the earlier file whole; the next one has all."""
    run = tmp_path / "run"
    summary = RunSummary(run)
    summary.write(record(0, {"loss": 1.0}))
    summary.close()
    summary.write(record(1, {f"metric {index}": 2.0 for index in range(1000)}))
    with disk_full_above(1000), pytest.raises(OSError, match="File too large"):
        summary.close()
    assert list(read(run)) == ["loss"]
    assert [path.name for path in run.iterdir()] == ["summary.json"]

    summary.close()
    assert len(read(run)) == 1001


def test_names_without_utf8_have_their_escape(tmp_path):
    """A name that no file can hold stands there as it does in metrics.csv."""
    write_run(tmp_path, [{"bad \udcff": 1.0}])
    assert list(read(tmp_path)) == ["bad \\udcff"] == list(read_metrics(tmp_path).columns[2:])


@pytest.mark.parametrize("header", ["epoch,loss,step", "loss,step", "step,loss", "note,step,epoch,loss"])
def test_columns_are_looked_up_by_name(tmp_path, header):
    """A table of Lightning's CSVLogger, in whose order its names come, and with text in it, goes on."""
    rows = [{"loss": value, "epoch": "0", "step": str(step), "note": "hm"} for step, value in enumerate("315")]
    lines = [header, *(",".join(row[name] for name in header.split(",")) for row in rows)]
    (tmp_path / "metrics.csv").write_text("\r\n".join([*lines, ""]))
    found = summary_of(tmp_path, record(3, {"loss": 4.0}))
    assert found == {"loss": wanted([(0, 3.0), (1, 1.0), (2, 5.0), (3, 4.0)], None)}


def test_text_and_booleans_of_other_tables_count_as_far_as_they_are_numbers(tmp_path):
    """A column may hold both."""
    (tmp_path / "metrics.csv").write_text("step,a,b\n0,high,True\n1,0.5,False\n2,low,True\n")
    found = summary_of(tmp_path, record(3, {"c": 0.0}))
    assert found["a"] == wanted([(1, 0.5)], None)
    assert found["b"] == wanted([(0, 1.0), (1, 0.0), (2, 1.0)], None)


@pytest.mark.parametrize("writers", [["csv"], ["tensorboard"], ["csv", "tensorboard"]])
def test_a_best_that_was_taken_back_is_forgotten(tmp_path, writers):
    """After a rewinding, the summary is that of what the run still has, whichever format that is in."""
    for _ in range(2):
        logger = TrackPlusLogger(tmp_path, version=0, writers=writers)
        for step in range(10):
            logger.log_metrics({"loss": 1.0 - step / 16, "epoch": 0}, step)
        logger.finalize("success")
        logger.rewind_to_step(5)
        logger.log_metrics({"loss": 0.8125, "acc": 0.5, "epoch": 0}, 5)
        logger.finalize("success")
        kept = [(step, 1.0 - step / 16) for step in range(5)]
        assert read(Path(logger.log_dir))["loss"] == wanted([*kept, (5, 0.8125)], None)
        logger.rewind_to_step(0)
        logger.finalize("success")
        assert not (Path(logger.log_dir) / "summary.json").exists()


def test_without_a_table_and_a_summary_event_files_are_read(tmp_path):
    """Names over another axis have the global step; numbers are the shortest that are the same float32."""
    logger = TrackPlusLogger(tmp_path, version=0, writers=["tensorboard"], x_axis={"val": "epoch"})
    for step, value in enumerate([0.3, 0.1, math.nan, math.inf]):
        logger.log_metrics({"loss": value, "step": 7, "epoch": step // 2, "val": -value}, step)
    logger.finalize("success")
    run = Path(logger.log_dir)
    whole = read(run)
    (run / "summary.json").unlink()
    assert summary_of(run, record(3, {"loss": math.inf})) == whole
    assert whole["val"] == wanted([(0, -0.3), (1, -0.1), (2, math.nan), (3, -math.inf)], None)


def test_a_summary_that_cannot_be_read_is_made_anew(tmp_path):
    """As after a power cut."""
    (tmp_path / "summary.json").write_text("")
    assert list(summary_of(tmp_path, record(3, {"loss": 1.0}))) == ["loss"]


def test_it_goes_on_after_it_was_closed(tmp_path):
    """What it has in memory holds, and the table is not read again, which has ended in something else by now."""
    summary, table = RunSummary(tmp_path), tmp_path / "metrics.csv"
    table.write_text("step,epoch,loss\n0,0,0.5\n")
    summary.write(record(1, {"loss": 0.25}))
    summary.close()
    table.write_text("step,epoch,loss\n0,0,0.5\n1,0,0.25\n2,0,-9\n")
    summary.write(record(3, {"loss": 1.0}))
    summary.close()
    assert read(tmp_path)["loss"] == wanted([(0, 0.5), (1, 0.25), (3, 1.0)], None)


@pytest.mark.parametrize("change", ["table", "summary", "no summary"])
def test_it_reads_anew_what_another_has_changed_meanwhile(tmp_path, change):
    """A table that was cut back, and a summary that is another file or is gone."""
    summary, table = RunSummary(tmp_path), tmp_path / "metrics.csv"
    table.write_text("step,epoch,loss\n0,0,0.5\n1,0,0.25\n")
    summary.write(record(1, {"loss": 0.25}))
    summary.close()
    if change == "table":
        table.write_text("step,epoch,loss\n0,0,0.5\n")
    else:
        table.write_text("step,epoch,loss\n0,0,0.5\n1,0,0.75\n")
        (tmp_path / "summary.json").unlink()
    if change == "summary":
        (tmp_path / "summary.json").write_text("{}")
    summary.write(record(2, {"loss": 1.0}))
    summary.close()
    kept = [] if change == "table" else [(1, 0.75)]
    assert read(tmp_path)["loss"] == wanted([(0, 0.5), *kept, (2, 1.0)], None)


def test_modes_that_come_between_write_nothing(tmp_path):
    """A summary that is closed leaves its file alone until something is logged."""
    summary = RunSummary(tmp_path)
    summary.write(record(1, {"loss": 0.25}))
    summary.close()
    (tmp_path / "summary.json").write_text("{}")
    summary.set_modes(MetricModes({"loss": "max"}))
    summary.close()
    assert read(tmp_path) == {}
    summary.write(record(2, {"acc": 0.25}))
    summary.close()
    assert list(read(tmp_path)) == ["acc"]


def test_wide_and_long_tables_are_read_whole(tmp_path):
    """Over many portions of rows, also where most cells are empty."""
    numbers = np.random.default_rng(0).normal(size=(9000, 7)).round(3)
    numbers[np.random.default_rng(1).random(numbers.shape) < 0.7] = np.nan
    names = [f"m{index}" for index in range(7)]
    frame = pandas.DataFrame(numbers, columns=names)
    frame.insert(3, "step", range(9000))
    frame.to_csv(tmp_path / "metrics.csv", index=False)
    found = summary_of(tmp_path, record(9000, {"other": 1.0}))
    for index, name in enumerate(names):
        (filled,) = np.nonzero(~np.isnan(numbers[:, index]))
        assert found[name] == wanted([*zip(filled.tolist(), numbers[filled, index].tolist(), strict=True)], None)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"loss": 1}',
        '{"loss": {"last": 1}}',
        '{"loss": {"last": 1, "last_step": 0, "best": 1, "best_step": 0, "mode": "min", "at_best": {"lr": []}}}',
    ],
)
def test_a_damaged_summary_is_written_anew(text, tmp_path):
    """Without a table, the history is in the event files."""
    for step in range(2):
        logger = TrackPlusLogger(tmp_path, name="", version="run", hparam_metrics={"loss": "min"})
        logger.log_metrics({"loss": 2.0 - step}, step=step)
        logger.finalize("success")
        if not step:
            (tmp_path / "run/metrics.csv").unlink()
            (tmp_path / "run/summary.json").write_text(text)
    assert read(tmp_path / "run")["loss"] == wanted([(0, 2.0), (1, 1.0)], "min") | {"at_best": {"loss": 1.0}}
