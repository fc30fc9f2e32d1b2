"""``logger.experiment`` writes the same events as torch's SummaryWriter, through our delivery."""

from __future__ import annotations

import inspect
import io
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from torch.utils.tensorboard.writer import SummaryWriter

from lightning_trackplus.logger.track_plus_logger import TrackPlusLogger
from lightning_trackplus.record import TensorBoardEvent


def add_figure(writer: SummaryWriter) -> None:
    figures = [Figure(figsize=(1, 1)) for _ in range(3)]
    for figure in figures:
        figure.subplots().plot([0, 1])
    writer.add_figure("figure", figures[0], 1)
    writer.add_figure("figures", figures[1:], 1)


def add_onnx_graph(writer: SummaryWriter) -> None:
    onnx = pytest.importorskip("onnx")
    kind = onnx.TensorProto.FLOAT
    ends = [onnx.helper.make_tensor_value_info(name, kind, [2]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "graph", ends[:1], ends[1:])
    onnx.save(onnx.helper.make_model(graph), "model.onnx")
    writer.add_onnx_graph("model.onnx")


IMAGE = torch.linspace(0, 1, 3 * 4 * 5).reshape(3, 4, 5)
COUNTS = [torch.tensor([[2.0, 1.0]])] * 6
VIDEO = (torch.arange(2 * 3 * 3 * 8 * 8).reshape(2, 3, 3, 8, 8) % 256).to(torch.uint8)

# Each call, and the tags that TensorBoard's own reader finds afterwards: (run, kind, tag).
CALLS: dict[str, tuple[Callable[[SummaryWriter], None], set[tuple[str, str, str]]]] = {
    "add_scalar": (
        lambda w: [
            w.add_scalar("a", 1.5, 1),
            w.add_scalar("a", torch.tensor(2.5), 2, walltime=1000.0),
            w.add_scalar("b", 3.5, np.int64(3), new_style=True),
        ],
        {("", "scalars", "a"), ("", "tensors", "b")},
    ),
    "add_scalars": (
        lambda w: [w.add_scalars("group/many", {"x": step, "y/z": 2.0 * step}, step) for step in range(3)],
        {("group_many_x", "scalars", "group/many"), ("group_many_y/z", "scalars", "group/many")},
    ),
    "add_tensor": (lambda w: w.add_tensor("tensor", torch.arange(6.0), 1), {("", "tensors", "tensor")}),
    "add_histogram": (
        lambda w: [w.add_histogram("h", torch.arange(10), 1), w.add_histogram("auto", np.arange(9.0), 2, bins="auto")],
        {("", "histograms", "h"), ("", "histograms", "auto")},
    ),
    "add_histogram_raw": (
        lambda w: w.add_histogram_raw("raw", 0, 2, 3, 3, 5, [0.5, 1.5, 2.5], [1, 1, 1], 1),
        {("", "histograms", "raw")},
    ),
    "add_image": (
        lambda w: [w.add_image("i", IMAGE, 1), w.add_image("hw", np.eye(4), 1, dataformats="HW")],
        {("", "images", "i"), ("", "images", "hw")},
    ),
    "add_images": (lambda w: w.add_images("i", torch.stack([IMAGE] * 2), 1), {("", "images", "i")}),
    "add_image_with_boxes": (
        lambda w: w.add_image_with_boxes("i", torch.ones(3, 32, 32), torch.tensor([[2, 3, 9, 9]]), 1, labels=["a"]),
        {("", "images", "i")},
    ),
    "add_figure": (add_figure, {("", "images", "figure"), ("", "images", "figures")}),
    "add_audio": (lambda w: w.add_audio("s", torch.linspace(-1, 1, 99)[None], 1, 8000), {("", "audio", "s")}),
    "add_text": (lambda w: w.add_text("t", "**hello**", 1), {("", "tensors", "t/text_summary")}),
    "add_graph": (lambda w: w.add_graph(torch.nn.Linear(2, 1), torch.ones(1, 2)), {("", "graph", "")}),
    "add_onnx_graph": (add_onnx_graph, {("", "graph", "")}),
    "add_embedding": (
        lambda w: w.add_embedding(torch.eye(3), ["a", "b", "c"], torch.ones(3, 3, 4, 4), 1, tag="e"),
        set(),
    ),
    "add_pr_curve": (
        lambda w: w.add_pr_curve("pr", torch.tensor([0, 1]), torch.tensor([0.2, 0.9]), 1),
        {("", "tensors", "pr")},
    ),
    "add_pr_curve_raw": (
        lambda w: w.add_pr_curve_raw("pr", *COUNTS, 1, num_thresholds=2),
        {("", "tensors", "pr")},
    ),
    "add_custom_scalars": (
        lambda w: w.add_custom_scalars({"c": {"d": ["Multiline", ["a"]]}}),
        {("", "tensors", "custom_scalars__config__")},
    ),
    "add_custom_scalars_multilinechart": (
        lambda w: w.add_custom_scalars_multilinechart(["a", "b"]),
        {("", "tensors", "custom_scalars__config__")},
    ),
    "add_custom_scalars_marginchart": (
        lambda w: w.add_custom_scalars_marginchart(["a", "b", "c"]),
        {("", "tensors", "custom_scalars__config__")},
    ),
    "add_mesh": (
        lambda w: w.add_mesh("m", torch.ones(1, 3, 3), colors=torch.ones(1, 3, 3, dtype=torch.uint8), global_step=1),
        {("", "tensors", "m_VERTEX"), ("", "tensors", "m_COLOR")},
    ),
    "add_hparams": (
        lambda w: w.add_hparams(
            {"lr": 0.1, "name": "a", "on": True},
            {"score": 1.0},
            {"lr": [0.1, 0.2]},
            run_name="trial",
            global_step=7,
        ),
        {("trial", "scalars", "score")},
    ),
    "add_video": (lambda w: w.add_video("v", VIDEO, 1), {("", "tensors", "v")}),
}


@pytest.fixture
def logger(tmp_path: Path) -> Iterator[TrackPlusLogger]:
    """Provide a logger, and close it."""
    logger = TrackPlusLogger(tmp_path, "", "run", writers=["tensorboard"], flush_secs=100)
    yield logger
    logger.finalize("success")


def events(root: Path) -> dict[str, list[Event]]:
    """Return the events below a folder by run, without those that describe the file."""
    found: dict[str, list[Event]] = {}
    for path in sorted(root.rglob("events*")):
        parsed = [Event.FromString(event) for event in RawEventFileLoader(str(path)).Load()]
        run = path.parent.relative_to(root).as_posix()
        found.setdefault("" if run == "." else run, []).extend(one for one in parsed if not one.file_version)
    return found


def timeless(found: dict[str, list[Event]]) -> dict[str, list[Event]]:
    """Return events without the wall times that the call did not set."""
    for event in (one for run in found.values() for one in run):
        if event.wall_time != 1000.0:
            event.ClearField("wall_time")
    return found


def other_files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.name.startswith("events") and path.name != "run.jsonl"
    }


def tags(root: Path) -> set[tuple[str, str, str]]:
    """Return the tags that TensorBoard's own reader finds, as (run, kind, tag)."""
    found = set()
    for run in events(root):
        kinds = EventAccumulator(str(root / run)).Reload().Tags()
        found |= {(run, kind, tag) for kind, names in kinds.items() if isinstance(names, list) for tag in names}
        found |= {(run, "graph", "") for graph in [kinds["graph"]] if graph}
    return {one for one in found if one[1] != "distributions" and one[2] != "step1"}


def test_every_method_of_the_installed_torch_is_tested():
    """A new method of torch fails here first."""
    assert {name for name in dir(SummaryWriter) if name.startswith("add_")} <= set(CALLS)


@pytest.mark.parametrize("method", [name for name in CALLS if hasattr(SummaryWriter, name)])
def test_added_events_equal_those_of_torch(method, logger, tmp_path):
    """Each run has the events of torch's own SummaryWriter, and TensorBoard finds their tags."""
    call, expected = CALLS[method]
    call(logger.experiment)
    logger.experiment.flush()
    root = tmp_path / "run"
    assert tags(root) == expected
    if method != "add_video":  # For it, torch writes an event without a value or requires moviepy.
        theirs = SummaryWriter(str(tmp_path / "theirs"))
        call(theirs)
        theirs.close()
        # torch opens its file at once, our logger with the first event.
        theirs_found = {run: found for run, found in timeless(events(tmp_path / "theirs")).items() if found}
        assert timeless(events(root)) == theirs_found
        assert other_files(root) == other_files(tmp_path / "theirs")


class Collector:
    """A writer that keeps the events it receives and their threads."""

    def __init__(self):
        self.events, self.threads = [], set()

    def write(self, record):
        self.events.extend(value.event for value in record.values.values() if isinstance(value, TensorBoardEvent))
        self.threads.add(threading.current_thread().name)

    def flush(self):
        pass

    def close(self):
        pass


@pytest.mark.parametrize("method", [name for name in CALLS if hasattr(SummaryWriter, name)])
def test_added_events_go_through_delivery(method, tmp_path):
    """The other writers receive every event too, on the one delivery thread; torch starts no thread of its own."""
    collector = Collector()
    logger = TrackPlusLogger(tmp_path, "", "run", writers=["tensorboard", collector])
    before = set(threading.enumerate())
    CALLS[method][0](logger.experiment)
    started = {thread.name for thread in set(threading.enumerate()) - before}
    logger.finalize("success")
    assert started <= {"trackplus-delivery"}
    assert collector.threads <= {"trackplus-delivery"}
    written = [event for run in events(tmp_path / "run").values() for event in run]
    in_order = lambda found: sorted(event.SerializeToString() for event in found)  # noqa: E731
    assert in_order(collector.events) == in_order(written)


def video_of(root: Path, tag: str) -> tuple[tuple[int, int], list[PIL.Image.Image]]:
    """Return the size and the samples of a video that TensorBoard finds."""
    (event,) = EventAccumulator(str(root)).Reload().Tensors(tag)
    width, height, *samples = event.tensor_proto.string_val
    return (int(width), int(height)), [PIL.Image.open(io.BytesIO(sample)) for sample in samples]


def frames_of(sample: PIL.Image.Image) -> list[np.ndarray[Any, Any]]:
    """Return the frames of an animation, RGB."""
    frames = []
    for number in range(sample.n_frames):
        sample.seek(number)
        frames.append(np.array(sample.convert("RGB")))
    return frames


def blocks(shape: tuple[int, int, int, int, int]) -> torch.Tensor:
    """Return frames of large single-colour blocks, which a lossy format preserves."""
    colours = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return colours.repeat_interleave(16, 3).repeat_interleave(16, 4)


@pytest.mark.parametrize(
    "given_as",
    [
        lambda frames: frames,
        lambda frames: frames.numpy(),
        lambda frames: frames.float() / 255,
        lambda frames: (frames / 255).bfloat16(),
        lambda frames: frames.numpy() / 255,
        lambda frames: frames.to(memory_format=torch.channels_last_3d),
    ],
    ids=["uint8", "array", "float32", "bfloat16", "array of float64", "channels last"],
)
def test_videos_move_in_the_image_tab(logger, tmp_path, given_as):
    """Each video of a batch is an animated sample with its frames, its rate and its size, without moviepy."""
    frames = blocks((2, 3, 3, 2, 2))
    logger.experiment.add_video("group/v", given_as(frames), 3, fps=5)
    logger.experiment.flush()
    size, samples = video_of(tmp_path / "run", "group/v")
    assert size == (32, 32)
    assert len(samples) == 2
    middles = (slice(8, None, 16), slice(8, None, 16))
    for video, sample in zip(frames.permute(0, 1, 3, 4, 2).numpy(), samples, strict=True):
        assert (sample.format, sample.size, sample.n_frames, sample.info["loop"]) == ("WEBP", (32, 32), 3, 0)
        for expected, frame in zip(video, frames_of(sample), strict=True):
            assert sample.info["duration"] == 200
            # WebP has fewer colours than pixels: they mix where two blocks meet.
            assert np.abs(frame[middles].astype(float) - expected[middles]).max() < 16


@settings(max_examples=20)
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 4), st.sampled_from([1, 3, 4]), st.integers(1, 3), st.integers(1, 3)),
    st.sampled_from([0, 5, 2**40]),
)
def test_videos_of_any_shape_are_read_back(tmp_path_factory, shape, step):
    """The channels are always the third dimension, also in ambiguous shapes and for single pixels."""
    root = tmp_path_factory.mktemp("root")
    logger = TrackPlusLogger(root, "", "run", writers=["tensorboard"])
    logger.experiment.add_video("v", blocks(shape), step)
    logger.finalize("success")
    size, samples = video_of(root / "run", "v")
    assert size == (16 * shape[4], 16 * shape[3])
    assert [sample.size for sample in samples] == [size] * shape[0]
    assert [event.step for event in events(root / "run")[""]] == [step]


def test_a_video_goes_only_to_tensorboard_and_is_encoded_later(tmp_path):
    """As with the other calls, no media file is written; changes after the call have no effect."""
    logger = TrackPlusLogger(tmp_path, "", "run")
    frames = blocks((1, 2, 1, 1, 1))
    expected = frames.clone()
    logger.experiment.add_video("v", frames, walltime=1000.0)
    frames[:] = 0
    logger.finalize("success")
    _, (sample,) = video_of(tmp_path / "run", "v")
    for frame, wanted in zip(frames_of(sample), expected[0, :, 0].numpy(), strict=True):
        assert np.abs(frame[..., 0].astype(float) - wanted).max() < 8
    assert [(event.step, event.wall_time) for event in events(tmp_path / "run")[""]] == [(0, 1000.0)]
    assert not list(tmp_path.rglob("media*"))


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (
            torch.zeros(3, 3, 8, 8),
            "add_video got frames of shape (3, 3, 8, 8); expected (N, T, C, H, W), where C is 1, 3 or 4.",
        ),
        (
            torch.zeros(1, 3, 8, 8, 3),
            "add_video got frames of shape (1, 3, 8, 8, 3); expected (N, T, C, H, W), where C is 1, 3 or 4.",
        ),
        (
            torch.zeros(1, 3, 3, 8, 8, dtype=torch.int64),
            "Video got pixels of int64; expected uint8 in [0, 255], bool, floats in [0, 1] or [0, 255], or any real"
            " numbers with value_range=(black, white).",
        ),
    ],
)
def test_an_invalid_video_raises_at_once(logger, frames, message):
    """The error is raised at the line of the call and says what was expected."""
    with pytest.raises(ValueError, match=r"[vV]ideo got") as caught:
        logger.experiment.add_video("v", frames)
    assert str(caught.value) == message


def test_curves_of_one_chart_have_one_file_each(logger, tmp_path):
    """``add_scalars`` writes one file for each curve, however often it is called; after a restart, one more."""
    for step in range(10):
        logger.experiment.add_scalars("chart", {"a": step, "b": -step}, step)
        logger.experiment.flush()
    files = lambda: sorted(path.parent.name for path in tmp_path.rglob("events*"))  # noqa: E731
    assert files() == ["chart_a", "chart_b"]
    logger.finalize("success")
    logger.experiment.add_scalars("chart", {"a": 10}, 10)
    logger.experiment.flush()
    assert files() == ["chart_a", "chart_a", "chart_b"]
    read = EventAccumulator(str(tmp_path / "run" / "chart_a")).Reload().Scalars("chart")
    assert [(event.step, event.value) for event in read] == [(step, float(step)) for step in range(11)]


def test_many_trials_leave_few_files_open(logger, tmp_path):
    """A hyper-parameter search may have more trials than a process may open files."""
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("this system does not list a process's open files")
    before = len(list(descriptors.iterdir()))
    for trial in range(150):
        logger.experiment.add_hparams({"lr": trial / 10}, {"score": trial}, run_name=f"trial_{trial}")
    logger.experiment.flush()
    assert len(list(descriptors.iterdir())) - before < 80
    for trial in (0, 149):
        read = EventAccumulator(str(tmp_path / "run" / f"trial_{trial}")).Reload()
        assert [event.value for event in read.Scalars("score")] == [float(trial)]


def test_a_trial_without_a_name_is_named_by_the_time(logger, tmp_path):
    """As in torch, so that two trials are separate."""
    for score in (1.0, 2.0):
        logger.experiment.add_hparams({"lr": 0.1}, {"score": score})
    logger.experiment.flush()
    runs = sorted(path.name for path in (tmp_path / "run").iterdir() if path.is_dir())
    assert len(runs) == 2
    assert all(float(run) > 1e9 for run in runs)


@pytest.mark.parametrize("arguments", [([], {}), ({}, [("score", 1.0)])])
def test_hyperparameters_other_than_a_dict_raise_torchs_error(logger, tmp_path, arguments):
    """The error is the one that torch raises."""
    messages = []
    for writer in (logger.experiment, SummaryWriter(str(tmp_path / "theirs"))):
        with pytest.raises(TypeError) as caught:
            writer.add_hparams(*arguments)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


@pytest.mark.parametrize("method", ["add_scalars", "add_hparams", "add_video"])
def test_overridden_methods_have_torchs_arguments(method, logger):
    """Names, order and defaults equal those of torch."""
    ours = inspect.signature(getattr(type(logger.experiment), method)).parameters.values()
    theirs = inspect.signature(getattr(SummaryWriter, method)).parameters.values()
    assert [(one.name, one.default, one.kind) for one in ours] == [(one.name, one.default, one.kind) for one in theirs]


class Closed(Collector):
    """A writer that waits until its gate is opened."""

    def __init__(self):
        super().__init__()
        self.gate, self.arrived = threading.Event(), threading.Event()

    def write(self, record):
        self.arrived.set()
        self.gate.wait(60)
        super().write(record)


def test_numbers_are_kept_where_media_are_dropped(tmp_path):
    """With ``media_overflow="drop"``, a blocked writer loses images and videos, and no writer loses numbers."""
    closed = Closed()
    logger = TrackPlusLogger(
        tmp_path, "", "run", writers=["tensorboard", closed], media_overflow="drop", max_queue_bytes=20_000
    )
    writer = logger.experiment
    writer.add_image("first", torch.rand(3, 64, 64), 0)
    assert closed.arrived.wait(60)
    with pytest.warns(UserWarning, match="'image' was dropped"):
        for step in range(20):
            writer.add_image("image", torch.rand(3, 64, 64), step)
            writer.add_video("video", torch.rand(1, 2, 3, 64, 64), step)
            writer.add_scalar("number", step, step)
            writer.add_scalar("new", step, step, new_style=True)
            writer.add_scalars("chart", {"curve": step}, step)
        writer.add_hparams({"lr": 1}, {"score": 2.0}, run_name="trial")
        writer.add_custom_scalars({"c": {"d": ["Multiline", ["number"]]}})
        writer.add_graph(torch.nn.Linear(2, 1), torch.ones(1, 2))
    closed.gate.set()
    with pytest.warns(UserWarning, match="Media were dropped 40 times in this run.*'image' 20 times, 'video' 20 times"):
        logger.finalize("success")
    # The event files have a separate thread, which may have kept up.
    media = {("", "images", "image"), ("", "tensors", "video")}
    assert tags(tmp_path / "run") - media == {
        ("", "images", "first"),
        ("", "scalars", "number"),
        ("", "tensors", "new"),
        ("", "tensors", "custom_scalars__config__"),
        ("", "graph", ""),
        ("chart_curve", "scalars", "chart"),
        ("trial", "scalars", "score"),
    }
    read = EventAccumulator(str(tmp_path / "run")).Reload()
    assert [event.step for event in read.Scalars("number")] == list(range(20))


def test_it_is_a_context_and_can_be_closed_twice(logger, tmp_path):
    """``with logger.experiment`` and ``close`` flush; later calls still work."""
    with logger.experiment as writer:
        writer.add_scalars("chart", {"a": 1.0}, 0)
        writer.add_scalar("number", 1.0, 0)
    assert tags(tmp_path / "run") == {("", "scalars", "number"), ("chart_a", "scalars", "chart")}
    writer.close()
    writer.add_scalars("chart", {"a": 2.0}, 1)
    writer.add_scalar("number", 2.0, 1)
    writer.close()
    read = EventAccumulator(str(tmp_path / "run")).Reload()
    assert [event.value for event in read.Scalars("number")] == [1.0, 2.0]
    assert writer.get_logdir() == writer.log_dir == str(tmp_path / "run")


def test_a_failed_encoding_is_reported_with_its_tag(logger, monkeypatch):
    """A video that cannot be encoded only causes a warning with its name."""
    with pytest.warns(UserWarning, match=r"Encoding 'v' failed, training continues\. MemoryError: no room"):
        monkeypatch.setattr("lightning_trackplus.media.video.Video.encode", failing)
        logger.experiment.add_video("v", VIDEO)
        logger.experiment.add_scalar("a", 1.0)
        logger.finalize("success")
    monkeypatch.undo()
    assert [event.value for event in EventAccumulator(logger.log_dir).Reload().Scalars("a")] == [1.0]


def failing(self, name):
    raise MemoryError("no room")


def test_many_curves_have_one_file_each(logger, tmp_path):
    """A chart may have more curves than open files: each continues in its own file, also after a flush."""
    for step in range(6):
        logger.experiment.add_scalars("chart", {f"c{curve}": float(curve + step) for curve in range(70)}, step)
        if step % 2:
            logger.experiment.flush()
    logger.finalize("success")
    for curve in range(70):
        (file,) = (tmp_path / "run" / f"chart_c{curve}").iterdir()
        read = EventAccumulator(str(file)).Reload().Scalars("chart")
        assert [(event.step, event.value) for event in read] == [(step, float(curve + step)) for step in range(6)]


def test_steps_that_go_back_have_another_file_among_many_curves(logger, tmp_path):
    """Within a file, steps of a curve never go back, even if the file was closed in between to limit open files."""
    for step in (5, 6, 2, 3):
        logger.experiment.add_scalars("chart", {f"c{curve}": float(step) for curve in range(70)}, step)
    logger.finalize("success")
    for curve in range(70):
        files = sorted((tmp_path / "run" / f"chart_c{curve}").iterdir())
        steps = [[event.step for event in EventAccumulator(str(file)).Reload().Scalars("chart")] for file in files]
        assert steps == [[5, 6], [2, 3]]


def test_a_curve_whose_file_was_removed_starts_another(logger, tmp_path):
    """If a file was closed to limit open files and is removed, its curve continues in a new file."""
    curves = {f"c{curve}": 1.0 for curve in range(70)}
    logger.experiment.add_scalars("chart", curves, 0)
    logger.experiment.flush()
    folder = tmp_path / "run" / "chart_c0"
    shutil.rmtree(folder)
    for step in (1, 2):
        logger.experiment.add_scalars("chart", curves, step)
    logger.finalize("success")
    (file,) = folder.iterdir()
    assert [event.step for event in EventAccumulator(str(file)).Reload().Scalars("chart")] == [1, 2]
