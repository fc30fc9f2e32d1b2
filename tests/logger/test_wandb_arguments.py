"""The same calls on WandbLogger and on our logger: real wandb in offline mode, and the files of both."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas
import PIL.Image
import pytest
import soundfile
import torch
from matplotlib import pyplot as plt

from lightning_trackplus import Image, TrackPlusLogger
from tests.flavour.pytorch.loggers import WandbLogger

wandb = pytest.importorskip("wandb")
from wandb.sdk.data_types.helper_types.bounding_boxes_2d import BoundingBoxes2D  # noqa: E402  it needs wandb
from wandb.sdk.data_types.helper_types.image_mask import ImageMask  # noqa: E402

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
CHANNELS_FIRST = torch.from_numpy(PIXELS).permute(2, 0, 1)
PIXELS_ALIKE = {
    "uint8": PIXELS,
    "int64": PIXELS.astype(np.int64),
    "int16": PIXELS.astype(np.int16),
    "uint16": PIXELS.astype(np.uint16),
    "floats": PIXELS.astype(float),
    "tensor": CHANNELS_FIRST,
    "tensor_int32": CHANNELS_FIRST.int(),
    "tensor_int64": CHANNELS_FIRST.long(),
    "grey": PIXELS[..., 0].astype(int),
    "picture": PIL.Image.fromarray(PIXELS),
    "file": "picture.png",
}
LABELS = {1: "car"}
MASK = np.zeros((6, 8), int)
MASK[2:4] = 1
FRAME = pandas.DataFrame([[1, 2]], columns=["a", "a"])


def box():
    """Return a new box, since wandb modifies its arguments."""
    return {"position": {"minX": 0.1, "maxX": 0.5, "minY": 0.1, "maxY": 0.5}, "class_id": 1}


def curve():
    figure, axes = plt.subplots(figsize=(1, 1))
    axes.plot([1, 4, 9])
    return figure, axes


def images(name, values, **columns):
    return lambda logger: logger.log_image(name, values, **columns)


def sounds(name, values, **columns):
    return lambda logger: logger.log_audio(name, values, **columns)


def videos(name, values, **columns):
    return lambda logger: logger.log_video(name, values, **columns)


def tables(name, **arguments):
    return lambda logger: logger.log_table(name, **arguments)


def calls():
    """Return calls with the same items in both loggers: the call and its number of items, by name."""
    mpl.use("Agg")
    figure, axes = curve()
    gif = Path("film.gif").read_bytes()
    objects = {
        "boxes": [{"p": BoundingBoxes2D({"box_data": [box()], "class_labels": LABELS}, "p")}],
        "masks": [{"p": ImageMask({"mask_data": MASK, "class_labels": LABELS}, "p")}],
        "classes": [wandb.Classes([{"id": 1, "name": "car"}])],
    }
    return {
        **{name: (images(name, [value]), 1) for name, value in PIXELS_ALIKE.items()},
        "wandb": (images("wandb", [wandb.Image(PIXELS)]), 1),
        "none": (images("none", []), 0),
        "none_of_columns": (images("none_of_columns", [], caption=[], masks=[]), 0),
        "no_sounds": (sounds("no_sounds", [], sample_rate=[]), 0),
        "no_videos": (videos("no_videos", []), 0),
        "axes": (images("axes", [axes]), 1),
        "line": (images("line", [axes.lines[0]]), 1),
        "pyplot": (images("pyplot", [plt]), 1),
        "mixed": (images("mixed", [figure, PIXELS, axes], boxes=[None, None, {"p": {"box_data": [box()]}}]), 3),
        "mask_of_floats": (images("mask_of_floats", [PIXELS], masks=[{"p": {"mask_data": MASK / 1}}]), 1),
        "small_mask": (images("small_mask", [PIXELS], masks=[{"p": {"mask_data": MASK[:3, :4]}}]), 1),
        "objects": (images("objects", [PIXELS], **objects), 1),
        "types": (images("types", [PIXELS] * 3, file_type=["png", "jpg", "bmp"]), 3),
        "list": (sounds("list", [[0.0] * 80], sample_rate=[8000]), 1),
        "sound_file": (sounds("sound_file", ["sound.wav", Path("sound.wav")]), 2),
        "film": (videos("film", ["film.mp4", Path("film.mp4")]), 2),
        "bytes": (videos("bytes", [io.BytesIO(gif)], format=["gif"]), 1),
        "bytes_of_film": (videos("bytes_of_film", [io.BytesIO(Path("film.mp4").read_bytes())], format=["mp4"]), 1),
        "columns": (tables("columns", columns=["a", "b"]), 1),
        "texts": (lambda logger: logger.log_text("texts", ["a", "b"]), 1),
        "twice": (tables("twice", columns=["a", "b", "a"], data=[[1, 2, 3]]), 1),
        "frame_twice": (tables("frame_twice", dataframe=FRAME), 1),
        "frame": (tables("frame", columns=["not", "looked at"], data=pandas.DataFrame({"a": [1]})), 1),
    }


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Make all calls; return the folder of W&B's media, that of our run, and the number of items by name."""
    folder = tmp_path_factory.mktemp("calls")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("WANDB_SILENT", "true")
        PIL.Image.fromarray(PIXELS).save("picture.png")
        soundfile.write("sound.wav", np.zeros(80), 8000)
        first, *others = [PIL.Image.new("L", (4, 4), shade) for shade in (0, 90, 200)]
        first.save("film.gif", save_all=True, append_images=others)
        Path("film.mp4").write_bytes(b"\0\0\0\x18ftypisom\0\0\2\0")
        theirs, ours = WandbLogger(save_dir=folder, offline=True), TrackPlusLogger(folder, "", "ours")
        # Each logger gets new values, since wandb modifies some of them and consumes file objects.
        for logger in (theirs, ours):
            for call, _ in calls().values():
                call(logger)
        counts = {name: count for name, (_, count) in calls().items()}
        media = Path(theirs.experiment.dir) / "media"
        wandb.finish()
        ours.finalize("success")
        plt.close("all")
    return media, folder / "ours", counts


@pytest.mark.filterwarnings("ignore")
def test_calls_that_wandb_logger_accepts_are_logged(both):
    """Each call logs the same number of items as the real one; an empty list logs nothing."""
    _, ours, counts = both
    found = pandas.read_csv(ours / "media.csv")["name"].value_counts()
    assert {name: found.get(name, 0) for name in counts} == counts


def test_pixels_equal_those_of_wandb(both):
    """Integers of any width, files and wandb's own images have the same pixels in both."""
    theirs, ours, _ = both
    files = pandas.read_csv(ours / "media.csv").set_index("name")["file"]
    for name in [*PIXELS_ALIKE, "wandb"]:
        (picture,) = theirs.glob(f"images/{name}_[0-9]*.png")
        np.testing.assert_array_equal(np.array(PIL.Image.open(ours / files[name])), np.array(PIL.Image.open(picture)))


def written(folder, log):
    """Return the rows of ``media.csv`` and the images of a run of our logger."""
    logger = TrackPlusLogger(folder, "", "run")
    log(logger)
    logger.finalize("success")
    media = pandas.read_csv(folder / "run/media.csv", keep_default_na=False)
    return media, [np.array(PIL.Image.open(folder / "run" / file)) for file in media["file"] if file.endswith("png")]


def test_an_image_of_wandbs_has_its_caption_boxes_and_masks(tmp_path):
    """It is drawn as `Image` draws them; arguments of the call override them."""
    group = {"box_data": [box()], "class_labels": LABELS}
    mask = {"mask_data": MASK, "class_labels": LABELS}
    own = wandb.Image(PIXELS, caption="own", boxes={"p": dict(group)}, masks={"m": dict(mask)})

    def log(logger):
        logger.log_image("theirs", [own])
        logger.log_image("theirs", [own, own], caption=[None, "other"], boxes=[{"p": group}, {"p": {"box_data": []}}])
        logger.log_media("ours", Image([PIXELS] * 2, boxes=[{"p": group}, {}], masks=[{"m": mask}] * 2))

    media, (first, second, third, with_box, without) = written(tmp_path, log)
    assert media["caption"].tolist() == ["own", "own", "other", "", ""]
    np.testing.assert_array_equal(first, with_box)
    np.testing.assert_array_equal(second, with_box)
    np.testing.assert_array_equal(third, without)
    assert not np.array_equal(with_box, without)


def test_sounds_and_videos_of_wandbs_are_their_files(tmp_path):
    """They keep their captions, which WandbLogger's methods do not accept."""
    soundfile.write(tmp_path / "a.wav", np.zeros(80), 8000)
    PIL.Image.new("L", (4, 4)).save(tmp_path / "a.gif")

    def log(logger):
        logger.log_audio("s", [wandb.Audio(str(tmp_path / "a.wav"), caption="sound")])
        logger.log_video("v", [wandb.Video(str(tmp_path / "a.gif"), caption="video")])

    media, _ = written(tmp_path, log)
    assert media[["kind", "caption"]].to_numpy().tolist() == [["audio", "sound"], ["video", "video"]]


def test_a_missing_file_of_wandbs_is_skipped(tmp_path):
    """W&B moves the files that it logs, so a second logger does not find them."""
    soundfile.write(tmp_path / "a.wav", np.zeros(80), 8000)
    PIL.Image.new("L", (4, 4)).save(tmp_path / "a.gif")
    image = wandb.Image(PIXELS)
    sound, video = wandb.Audio(str(tmp_path / "a.wav")), wandb.Video(str(tmp_path / "a.gif"))
    for medium in (image, sound, video):
        Path(medium._path).unlink()

    def log(logger):
        for call in (
            lambda: logger.log_image("i", [image, PIXELS]),
            lambda: logger.log_audio("s", [sound]),
            lambda: logger.log_video("v", [video]),
        ):
            with pytest.warns(UserWarning, match="Skipped an item of a list; training continues. FileNotFoundError"):
                call()

    media, _ = written(tmp_path, log)
    assert media["name"].tolist() == ["i"]


def test_repeated_column_names_become_unique(tmp_path):
    """The names equal those of pandas' CSV reader; columns without data give an empty table with a warning."""

    def log(logger):
        logger.log_table("a", columns=["x", "y", "x", "x"], data=[[1, 2, 3, 4]])
        logger.log_table("b", dataframe=FRAME)
        with pytest.warns(UserWarning, match="log_text got columns without data and logs a table without rows"):
            logger.log_text("c", ["x", "y"])

    media, _ = written(tmp_path, log)
    texts = [(tmp_path / "run" / file).read_text() for file in media["file"]]
    assert [text.split() for text in texts] == [["x,y,x.1,x.2", "1,2,3,4"], ["a,a.1", "1,2"], ["x,y"]]


def test_a_figure_that_cannot_be_drawn_is_skipped(tmp_path):
    """The other images are logged with their own captions."""
    bad = mpl.figure.Figure()
    bad.suptitle(r"$\frac{1$")

    def log(logger):
        with pytest.warns(UserWarning, match="Skipped an item of a list; training continues. ValueError"):
            logger.log_image("a", [bad, PIXELS], caption=["bad", "good"])

    media, (picture,) = written(tmp_path, log)
    assert media["caption"].tolist() == ["good"]
    np.testing.assert_array_equal(picture, PIXELS)


def test_one_list_can_have_several_formats_and_ranges(tmp_path):
    """Each image has its own format and range."""
    one = torch.ones(3, 4, 4)

    def log(logger):
        logger.log_image("a", [one] * 3, normalize=[True, False, True], file_type=["png", None, "webp"])

    media, pictures = written(tmp_path, log)
    assert [Path(file).suffix for file in media["file"]] == [".png", ".png", ".webp"]
    assert [picture.max() for picture in pictures] == [255, 1]


def test_the_range_of_floats_is_detected_over_the_list(tmp_path):
    """A dark image next to a bright one stays dark, also next to integers."""
    dark, bright = torch.ones(3, 4, 4), torch.full((3, 4, 4), 200.0)
    _, pictures = written(tmp_path, lambda logger: logger.log_image("a", [dark, bright, bright.int(), dark[None]]))
    assert [picture.max() for picture in pictures] == [1, 200, 200, 1]
