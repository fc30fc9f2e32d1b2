"""The logger's media methods: code written for WandbLogger runs unchanged, and the files contain its values."""

from __future__ import annotations

import inspect
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import PIL.Image
import plotly.graph_objects as go
import polars
import pytest
import soundfile
import torch
from matplotlib.figure import Figure as MatplotlibFigure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_trackplus.logger.track_plus_logger import TrackPlusLogger
from lightning_trackplus.media.audio import Audio
from lightning_trackplus.media.image import Image
from lightning_trackplus.media.text import Text
from tests.flavour.pytorch.loggers import WandbLogger
from tests.flavour.pytorch.utilities.rank_zero import rank_zero_only
from tests.support.training import LoggingModule, loader, quiet_trainer

NO_LOG = (
    "logger.experiment is not a W&B run and has no log(). Log numbers with self.log or logger.log_metrics({…}), and"
    " media with self.log(name, Image(…)) or logger.log_image(name, […])."
)
RED = torch.tensor([1.0, 0.0, 0.0])[:, None, None].expand(3, 6, 8)


class Logged:
    """A logger, and its files once it is finalized."""

    def __init__(self, root: Path) -> None:
        self.logger = TrackPlusLogger(root, "", "run")
        self.folder = root / "run"

    def rows(self) -> pandas.DataFrame:
        """Return the index of media."""
        self.logger.finalize("success")
        return pandas.read_csv(self.folder / "media.csv", keep_default_na=False)

    def pictures(self) -> list[np.ndarray[Any, Any]]:
        """Return the image files as arrays."""
        return [np.array(PIL.Image.open(self.folder / file)) for file in self.rows()["file"]]


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[Logged]:
    """Provide a logger with its files."""
    logged = Logged(tmp_path)
    yield logged
    logged.logger.finalize("success")


def test_images_of_every_kind_that_wandb_accepts(logged, tmp_path):
    """One list can mix tensors, arrays, PIL images and paths, as with `wandb.Image`."""
    array = (RED.permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    picture = PIL.Image.fromarray(array)
    picture.save(tmp_path / "red.png")
    images = [RED, array, array[..., 0], picture, str(tmp_path / "red.png"), tmp_path / "red.png"]
    logged.logger.log_image("img", images, caption=["a", "b", None, "d", "e", "f"], step=3)
    rows = logged.rows()
    assert rows[["step", "kind", "caption"]].to_numpy().tolist() == [
        [3, "image", line] for line in ["a", "b", "", "d", "e", "f"]
    ]
    for place, pixels in enumerate(logged.pictures()):
        assert np.array_equal(pixels, array[..., 0] if place == 2 else array)


def test_captions_may_be_numbers(logged):
    """Labels are often passed as numbers, including zero."""
    logged.logger.log_image("img", [RED] * 2, caption=[0, 1])
    logged.logger.log_audio("s", [torch.zeros(9)] * 2, sample_rate=[8000] * 2, caption=[0, 1.5])
    logged.logger.log_video("v", [torch.zeros(2, 3, 8, 8)] * 2, caption=np.array([7, 8]))
    assert logged.rows()["caption"].tolist() == [0, 1, 0, 1.5, 7, 8]


def test_boxes_masks_and_classes_are_drawn_as_image_draws_them(logged):
    """`Image` accepts the boxes and masks of WandbLogger's users; ``classes`` names unnamed ones."""
    box = {"position": {"minX": 0.1, "maxX": 0.6, "minY": 0.2, "maxY": 0.9}, "class_id": 1}
    boxes = [{"truth": {"box_data": [box]}}, None]
    masks = [None, {"truth": {"mask_data": np.eye(32, dtype=np.int64), "class_labels": {1: "own"}}}]
    pixels = [torch.full((3, 32, 32), 0.5)] * 2
    classes = [[{"id": 1, "name": "car"}], [{"id": 1, "name": "other"}]]
    logged.logger.log_image("direct", pixels, boxes=boxes, masks=masks, classes=classes)
    named = [{"truth": {"box_data": [box], "class_labels": {1: "car"}}}, None]
    logged.logger.log_media("medium", Image(pixels, boxes=named, masks=masks))
    first, second, *expected = logged.pictures()
    assert np.array_equal(first, expected[0])
    assert np.array_equal(second, expected[1])
    assert not np.array_equal(first, second)
    assert boxes == [{"truth": {"box_data": [box]}}, None]


@pytest.mark.parametrize(
    ("file_type", "suffix", "kind"),
    [
        ("png", ".png", "PNG"),
        ("jpg", ".jpeg", "JPEG"),
        ("jpeg", ".jpeg", "JPEG"),
        ("webp", ".webp", "WEBP"),
        (None, ".png", "PNG"),
    ],
)
def test_images_are_written_in_the_requested_file_type(logged, file_type, suffix, kind):
    """W&B's names of file types are accepted."""
    logged.logger.log_image("img", [RED], file_type=[file_type])
    (file,) = logged.rows()["file"]
    assert Path(file).suffix == suffix
    assert PIL.Image.open(logged.folder / file).format == kind


@pytest.mark.parametrize(("normalize", "brightest"), [(True, 255), (False, 1)])
def test_pixels_without_normalization_are_unchanged(logged, normalize, brightest):
    """A float image in [0, 1] is bright if its range is detected, and dark if it is declared as [0, 255]."""
    logged.logger.log_image("img", [RED], normalize=[normalize])
    (pixels,) = logged.pictures()
    assert pixels.max() == brightest


@pytest.mark.parametrize("argument", [{"mode": ["RGB"]}, {"grouping": [3]}])
def test_unused_arguments_are_warned_of(logged, argument):
    """They cause a warning, and the image is written."""
    (name,) = argument
    with pytest.warns(UserWarning, match="log_image ignores") as caught:
        logged.logger.log_image("img", [RED], **argument)
    assert [str(warning.message) for warning in caught] == [
        f"log_image ignores {name}, an argument of WandbLogger's log_image; leave it out."
    ]
    assert len(logged.rows()) == 1


@pytest.mark.filterwarnings("error")
def test_unused_arguments_without_a_value_are_silent(logged):
    """None is not a value that could be unused."""
    logged.logger.log_image("img", [RED], mode=[None], grouping=[None])
    assert len(logged.rows()) == 1


def test_figures_are_logged_as_images(logged):
    """A list of matplotlib figures becomes images with captions and scores."""
    figures = [MatplotlibFigure(figsize=(2, 1), dpi=50) for _ in range(2)]
    logged.logger.log_image("img", figures, caption=["a", None], score=[0.5, 1.5])
    logged.logger.log_figure("one", figures[0], caption="c", step=9)
    rows = logged.rows()
    assert rows[["name", "step", "caption", "score"]].astype(str).to_numpy().tolist() == [
        ["img", "0", "a", "0.5"],
        ["img", "0", "", "1.5"],
        ["one", "9", "c", ""],
    ]
    assert [pixels.shape[:2] for pixels in logged.pictures()] == [(50, 100)] * 3


def test_sounds_have_a_rate_a_caption_and_a_score_each(logged, tmp_path):
    """One list can mix sounds of several rates and files; a file has its own rate."""
    soundfile.write(tmp_path / "file.wav", np.zeros(40), 4000)
    sounds = [torch.zeros(80), np.zeros((90, 2)), tmp_path / "file.wav"]
    logged.logger.log_audio("s", sounds, sample_rate=[8000, 16000, None], caption=["a", None, "c"], score=[1, 2, 3])
    rows = logged.rows()
    assert rows[["kind", "caption", "score"]].to_numpy().tolist() == [
        ["audio", "a", 1],
        ["audio", "", 2],
        ["audio", "c", 3],
    ]
    read = [soundfile.info(logged.folder / file) for file in rows["file"]]
    assert [(one.samplerate, one.channels, one.frames) for one in read] == [
        (8000, 1, 80),
        (16000, 2, 90),
        (4000, 1, 40),
    ]


def test_videos_have_a_rate_and_a_format_each(logged):
    """Frames are TCHW, 4 per second by default; one list can mix GIF and WebP."""
    frames = (torch.arange(4 * 3 * 8 * 8).reshape(4, 3, 8, 8) % 256).to(torch.uint8)
    videos = [frames, frames.numpy(), frames.float() / 255]
    logged.logger.log_video("v", videos, fps=[None, 10, 2], format=["webp", "gif", None], caption=["a", "b", None])
    rows = logged.rows()
    assert rows[["kind", "caption"]].to_numpy().tolist() == [["video", "a"], ["video", "b"], ["video", ""]]
    read = [PIL.Image.open(logged.folder / file) for file in rows["file"]]
    assert [(one.format, one.n_frames) for one in read] == [("WEBP", 4), ("GIF", 4), ("WEBP", 4)]
    durations = []
    for one in read:
        one.load()
        durations.append(one.info["duration"])
    assert durations == [250, 100, 500]


@pytest.mark.parametrize("file_format", ["mp4", "webm", "ogg"])
def test_films_become_animated_webp(logged, file_format):
    """Code that requests a film from W&B continues, with one warning that names the format."""
    frames = [torch.zeros(2, 3, 8, 8, dtype=torch.uint8)] * 2
    with pytest.warns(UserWarning, match="log_video got") as caught:
        logged.logger.log_video("v", frames, format=[file_format] * 2)
    assert [str(warning.message) for warning in caught] == [
        f"log_video got format='{file_format}' and writes animated WebP, which is shown wherever images are. Pass"
        ' "webp" or "gif" to avoid this warning.'
    ]
    assert {Path(file).suffix for file in logged.rows()["file"]} == {".webp"}


FRAME = pandas.DataFrame({"text": ["a", "b"], "score": [0.5, 1.5]})


@pytest.mark.parametrize("call", ["log_table", "log_text"])
@pytest.mark.parametrize(
    "arguments",
    [
        {"columns": ["text", "score"], "data": [["a", 0.5], ["b", 1.5]]},
        {"dataframe": FRAME},
        {"dataframe": polars.DataFrame({"text": ["a", "b"], "score": [0.5, 1.5]})},
        {"columns": ["not", "looked at"], "data": "nor this", "dataframe": FRAME},
        {"data": {"text": ["a", "b"], "score": [0.5, 1.5]}},
    ],
    ids=["rows", "pandas", "polars", "frame first", "columns"],
)
def test_tables_are_logged_with_wandbs_arguments(logged, call, arguments):
    """Rows or a data frame become a CSV file that pandas reads, and a table in TensorBoard's text tab."""
    getattr(logged.logger, call)("table", **arguments, step=2)
    (row,) = logged.rows().to_dict("records")
    assert (row["step"], row["kind"]) == (2, "table")
    pandas.testing.assert_frame_equal(pandas.read_csv(logged.folder / row["file"]), FRAME)
    (event,) = EventAccumulator(str(logged.folder)).Reload().Tensors("table")
    assert event.tensor_proto.string_val[0].decode().startswith("| text | score |\n| --- | --- |\n| a | 0.5 |")


def test_tables_take_arguments_in_wandbs_order(logged):
    """Columns, data, data frame and step have the positions of WandbLogger."""
    logged.logger.log_table("one", ["x"], [[1]], None, 5)
    logged.logger.log_text("two", ["x"], [["1"]], None, 6)
    assert logged.rows()["step"].tolist() == [5, 6]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda logger: logger.log_text("a", "# Report"), "log_text got '# Report'"),
        (lambda logger: logger.log_text("a", data="# Report"), "log_text got '# Report'"),
        (lambda logger: logger.log_text("a", columns=["x"], data="# Report"), "log_text got '# Report'"),
        (lambda logger: logger.log_text("a", data=["one", "two"]), "log_text got ['one', 'two']"),
        (lambda logger: logger.log_text("a", "x", [[1]]), "log_text got 'x'"),
        (lambda logger: logger.log_table("a"), "log_table got nothing"),
    ],
)
def test_text_instead_of_a_table_raises_and_says_what_to_write(logged, call, message):
    """A string, a list of strings or nothing is not a table; the error says how to log Markdown."""
    with pytest.raises(TypeError) as caught:
        call(logged.logger)
    assert str(caught.value) == (
        f"{message}; expected a table: columns=[…] and data=[[…], …], or dataframe=…. Log Markdown with"
        " log_media(key, Text(…))."
    )


def test_histograms_are_logged_with_their_bins(logged):
    """Values become counts equal to numpy's."""
    values = torch.arange(100.0)
    logged.logger.log_histogram("h", values, 4, bins=5, caption="c")
    logged.logger.log_histogram("edges", values, bins=[0, 10, 99])
    rows = logged.rows()
    assert rows[["name", "step", "kind", "caption"]].to_numpy().tolist() == [
        ["h", 4, "histogram", "c"],
        ["edges", 0, "histogram", ""],
    ]
    counts = [pandas.read_csv(logged.folder / file)["count"].tolist() for file in rows["file"]]
    assert counts == [np.histogram(values, 5)[0].tolist(), np.histogram(values, [0, 10, 99])[0].tolist()]


def wandb_message(tmp_path: Path, call: str, *arguments: Any, **options: Any) -> tuple[type[Exception], str]:
    """Return the error of the real WandbLogger, which it raises before it opens a run."""
    pytest.importorskip("wandb")
    logger = WandbLogger(save_dir=str(tmp_path), offline=True)
    with pytest.raises((TypeError, ValueError)) as caught:
        getattr(logger, call)(*arguments, **options)
    return caught.type, str(caught.value)


@pytest.mark.parametrize(
    ("call", "values", "options", "error", "message"),
    [
        ("log_image", RED, {}, TypeError, "Expected a list as \"images\", found <class 'torch.Tensor'>"),
        ("log_image", (RED,), {}, TypeError, "Expected a list as \"images\", found <class 'tuple'>"),
        ("log_audio", np.zeros(9), {}, TypeError, "Expected a list as \"audios\", found <class 'numpy.ndarray'>"),
        ("log_video", "film.mp4", {}, TypeError, "Expected a list as \"videos\", found <class 'str'>"),
        ("log_image", [RED], {"caption": ["a", "b"]}, ValueError, "Expected 1 items but only found 2 for caption"),
        ("log_image", [RED] * 3, {"boxes": [{}]}, ValueError, "Expected 3 items but only found 1 for boxes"),
        ("log_image", [RED] * 3, {"masks": []}, ValueError, "Expected 3 items but only found 0 for masks"),
        ("log_image", [RED], {"file_type": []}, ValueError, "Expected 1 items but only found 0 for file_type"),
        ("log_image", [RED], {"classes": []}, ValueError, "Expected 1 items but only found 0 for classes"),
        ("log_image", [RED], {"mode": []}, ValueError, "Expected 1 items but only found 0 for mode"),
        ("log_image", [RED], {"grouping": []}, ValueError, "Expected 1 items but only found 0 for grouping"),
        (
            "log_audio",
            [np.zeros(9)],
            {"sample_rate": []},
            ValueError,
            "Expected 1 items but only found 0 for sample_rate",
        ),
        (
            "log_audio",
            [np.zeros(9)],
            {"caption": ["a", "b"]},
            ValueError,
            "Expected 1 items but only found 2 for caption",
        ),
        ("log_video", [np.zeros(9)], {"fps": [4, 4]}, ValueError, "Expected 1 items but only found 2 for fps"),
        ("log_video", [np.zeros(9)], {"format": []}, ValueError, "Expected 1 items but only found 0 for format"),
    ],
)
def test_wrong_calls_raise_wandb_loggers_errors(logged, tmp_path, call, values, options, error, message):
    """Type and text of the error equal those of the real WandbLogger."""
    with pytest.raises(error) as caught:
        getattr(logged.logger, call)("key", values, **options)
    assert str(caught.value) == message
    assert (caught.type, str(caught.value)) == wandb_message(tmp_path, call, "key", values, **options)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda g: g.log_image("a", [RED], score=[1, 2]), ValueError, "Expected 1 items but only found 2 for score"),
        (
            lambda g: g.log_image("a", [RED], file_type=["tiff"]),
            ValueError,
            'log_image got file_type=\'tiff\'; expected "png", "webp", "jpg" or "jpeg".',
        ),
        (
            lambda g: g.log_image("a", [RED], boxes=[{"b": {}}], classes=[{"id": 1, "name": "car"}]),
            ValueError,
            "log_image got {'id': 1, 'name': 'car'} as the classes of an image; expected a list of dicts for each"
            ' image, such as [{"id": 1, "name": "car"}].',
        ),
        (
            lambda g: g.log_image("a", [RED, go.Figure()]),
            TypeError,
            "log_image got a plotly figure together with other images, boxes or masks; log it in a separate call.",
        ),
        (
            lambda g: g.log_video("a", [torch.zeros(2, 3, 8, 8), io.BytesIO(b"OggS")]),
            ValueError,
            "The list contains Video and Video of films; log them in separate calls.",
        ),
        (
            lambda g: g.watch(torch.nn.Linear(1, 1)),
            AttributeError,
            "TrackPlusLogger has no watch() method. For gradient norms, add the callback GradientNorms() to the"
            " Trainer; for weights, call log_histogram(name, parameter).",
        ),
        (lambda g: g.experiment.log({"loss": 1.0}), AttributeError, NO_LOG),
        (
            lambda g: TrackPlusLogger(g.save_dir, "csv", writers=["csv"]).experiment.log({"loss": 1.0}),
            AttributeError,
            NO_LOG,
        ),
        (
            lambda g: g.log_video("a", [torch.zeros(2, 3, 8, 8)], format=["avi"]),
            ValueError,
            'log_video got format=\'avi\'; expected "webp" or "gif".',
        ),
        (
            lambda g: g.log_media("a", RED),
            TypeError,
            "log_media got a Tensor for 'a'; expected a medium such as Image(…), Audio(…) or Text(…).",
        ),
    ],
)
def test_invalid_calls_raise_and_say_what_to_write(logged, call, error, message):
    """The error is raised at the user's line."""
    with pytest.raises(error, match=re.escape(message)) as caught:
        call(logged.logger)
    assert str(caught.value) == message


@pytest.mark.parametrize("call", ["log_table", "log_text", "log_image", "log_audio", "log_video"])
def test_every_argument_of_wandb_logger_is_accepted(call):
    """The first arguments are WandbLogger's; those that it passes to wandb's media are accepted by name."""
    wandb = pytest.importorskip("wandb")
    ours = inspect.signature(getattr(TrackPlusLogger, call)).parameters
    theirs = [
        name
        for name, one in inspect.signature(getattr(WandbLogger, call)).parameters.items()
        if one.kind is not one.VAR_KEYWORD
    ]
    assert list(ours)[: len(theirs)] == theirs
    medium = {"log_image": wandb.Image, "log_audio": wandb.Audio, "log_video": wandb.Video}.get(call)
    if medium is not None:
        taken = set(inspect.signature(medium.__init__).parameters) - {"self", "data_or_path"}
        assert taken <= set(ours)


@pytest.mark.parametrize(
    "call",
    [
        lambda g: g.log_image("a", "no list"),
        lambda g: g.log_audio("a", "no list"),
        lambda g: g.log_video("a", "no list"),
        lambda g: g.log_table("a", "no table"),
        lambda g: g.log_text("a", "no table"),
        lambda g: g.log_figure("a", "no figure"),
        lambda g: g.log_histogram("a", "no numbers"),
        lambda g: g.log_media("a", Text("text")),
    ],
)
def test_other_ranks_do_nothing(logged, monkeypatch, call):
    """As with WandbLogger, only rank zero reads its arguments."""
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    assert call(logged.logger) is None
    monkeypatch.undo()
    logged.logger.finalize("success")
    assert not logged.folder.exists()


def test_every_call_uses_the_trainers_step_and_epoch(tmp_path):
    """The step is optional in every call."""
    calls = {
        "log_image": [[RED]],
        "log_audio": [[torch.zeros(80)]],
        "log_video": [[torch.zeros(2, 3, 8, 8)]],
        "log_table": [["x"], [[1]]],
        "log_text": [["x"], [["a"]]],
        "log_figure": [MatplotlibFigure()],
        "log_histogram": [torch.rand(9)],
        "log_media": [Audio(torch.zeros(80), 8000)],
    }
    options = {"log_audio": {"sample_rate": [8000]}}

    def step(module, batch, index):
        for call, arguments in calls.items():
            for given in ({}, {"step": 70}):
                getattr(module.logger, call)(call, *arguments, **options.get(call, {}), **given)

    logger = TrackPlusLogger()
    trainer = quiet_trainer(tmp_path, logger=logger, max_epochs=2)
    trainer.fit(LoggingModule(training_step=step), loader(4))
    media = pandas.read_csv(f"{logger.log_dir}/media.csv")
    for call in calls:
        rows = media[media["name"] == call]
        assert rows[["step", "epoch"]].to_numpy().tolist() == [[0, 0], [70, 0], [1, 1], [70, 1]], call
