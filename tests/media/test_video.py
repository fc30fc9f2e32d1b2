"""Videos: what goes in plays, frame by frame, as Pillow reads it."""

from __future__ import annotations

import io
import pickle
import re
import warnings

import numpy as np
import pandas
import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.image import metadata as image_metadata

from lightning_trackplus import TrackPlusLogger
from lightning_trackplus.media.video import Video
from lightning_trackplus.record import Record
from lightning_trackplus.writers.csv import CSVWriter
from lightning_trackplus.writers.tensorboard import EventsWriter

# An encoding that warns where it should be silent fails its test.
pytestmark = pytest.mark.filterwarnings("error")

DTYPES = {
    "uint8": torch.uint8,
    "bool": torch.bool,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}
LAYOUTS = ["TCHW", "THWC", "NTCHW", "NTHWC"]

SHAPE_MESSAGE = (
    "Video got frames of shape {}; expected (T, C, H, W) or (T, H, W, C), or a batch of these with the batch first."
    " C is 1, 3 or 4, and no dimension is 0. Single frames make a video by torch.stack(frames)."
)
DTYPE_MESSAGE = (
    "Video got pixels of {}; expected uint8 in [0, 255], bool, floats in [0, 1] or [0, 255], or any real numbers with"
    " value_range=(black, white)."
)
TYPE_MESSAGE = "Video got {}; expected a tensor, an array, a path, a BytesIO, or a list of them."


def read_back(video, name="film"):
    """Return (frames of shape (T, H, W, 4), durations in milliseconds) of each file."""
    return [opened(item) for item in video.encode(name).items]


def opened(item):
    with PIL.Image.open(io.BytesIO(item.data)) as file:
        assert f".{file.format.lower()}" == item.suffix
        frames, durations = [], []
        for number in range(file.n_frames):
            file.seek(number)
            frames.append(np.asarray(file.convert("RGBA")))
            durations.append(file.info.get("duration"))
        assert file.n_frames == 1 or file.info["loop"] == 0
    return np.stack(frames), durations


def steps(count, channels, height, width):
    """Return frames (T, H, W, C) of one brightness each, so different that no two can be taken for one."""
    levels = np.linspace(0, 255, count).round().astype(np.uint8)
    frames = np.broadcast_to(levels[:, None, None, None], (count, height, width, channels)).copy()
    if channels == 4:
        frames[..., 3] = 255
    return frames


def as_shown(frames):
    """Return (T, H, W, C) as RGBA."""
    match frames.shape[-1]:
        case 1:
            frames = frames.repeat(3, axis=-1)
        case 4:
            return frames
    return np.concatenate([frames, np.full_like(frames[..., :1], 255)], axis=-1)


def assert_close(found, expected):
    """Assert that lossy frames are the given ones."""
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= 3


def laid_out(videos, layout):
    """Turn (N, T, H, W, C) into another order of axes; an axis that the layout has not is dropped."""
    kept = videos if "N" in layout else videos[0]
    names = [name for name in "NTHWC" if name in layout]
    return kept.transpose([names.index(name) for name in layout])


def as_dtype(pixels, dtype, full_range):
    """Return a tensor of a dtype whose pixels mean the same as the given uint8."""
    if dtype in {"uint8", "bool"}:
        return torch.from_numpy(pixels.copy()).to(DTYPES[dtype])
    return torch.from_numpy((pixels if full_range else pixels / 255).astype(np.float64)).to(DTYPES[dtype])


@settings(max_examples=50)
@given(
    layout=st.sampled_from(LAYOUTS),
    dtype=st.sampled_from(sorted(DTYPES)),
    full_range=st.booleans(),
    kind=st.sampled_from(["tensor", "array", "requires_grad", "strided"]),
    shape=st.tuples(
        st.integers(2, 6), st.sampled_from([1, 3, 4]), st.sampled_from([2, 5, 16]), st.sampled_from([2, 7, 16])
    ),
    file_format=st.sampled_from(["webp", "gif"]),
)
def test_every_layout_and_dtype_gives_the_same_film(*, layout, dtype, full_range, kind, shape, file_format):
    """Each frame is the given one, for all layouts, dtypes, ranges, ways to lie in memory and formats."""
    one = steps(*shape)
    videos = np.stack([one, one[::-1]]) if "N" in layout else one[None]
    if dtype == "bool":
        videos = np.where(videos > 127, np.uint8(255), np.uint8(0))
    pixels = as_dtype(laid_out(videos, layout), dtype, full_range)
    match kind:
        case "array" if dtype != "bfloat16":  # numpy has none.
            pixels = pixels.numpy()
        case "requires_grad" if pixels.is_floating_point():
            pixels = pixels.requires_grad_()
        case "strided":
            pixels = torch.stack([pixels, torch.zeros_like(pixels)], dim=-1).flatten(-2)[..., ::2]

    video = Video(pixels, format=file_format)

    assert len(video) == len(videos)
    for (found, durations), expected in zip(read_back(video), videos, strict=True):
        if dtype == "bool":
            # Frames that are alike become one.
            different = expected[[0, np.argmax((expected != expected[0]).any(axis=(1, 2, 3)))]]
            assert_close(found, as_shown(different))
            assert sum(durations) == 250 * shape[0]
        else:
            assert_close(found, as_shown(expected))
            assert durations == [250] * shape[0]


@pytest.mark.parametrize(
    ("kind", "shape", "read_as"),
    [
        ("tensor", (5, 3, 6, 4), "TCHW"),
        ("array", (5, 3, 6, 4), "THWC"),
        ("tensor", (5, 6, 7, 3), "THWC"),
        ("array", (5, 3, 6, 7), "TCHW"),
        ("tensor", (2, 5, 1, 6, 3), "NTCHW"),
        ("array", (2, 5, 1, 6, 3), "NTHWC"),
        ("tensor", (2, 5, 6, 7, 1), "NTHWC"),
        ("array", (2, 5, 4, 6, 7), "NTCHW"),
        ("tensor", (1, 4, 1, 1), "TCHW"),
    ],
)
def test_a_shape_that_can_be_read_both_ways_is_read_as_documented(kind, shape, read_as):
    """A tensor has its channels first and an array has them last, where both would be possible."""
    video = Video(torch.zeros(shape, dtype=torch.uint8) if kind == "tensor" else np.zeros(shape, np.uint8))

    size = dict(zip(read_as, shape, strict=True))
    payload = video.encode("film")
    assert (len(video), payload.width, payload.height) == (size.get("N", 1), size["W"], size["H"])


def film(count=8, size=64, seed=0):
    """Return frames (T, H, W, 3) as a camera sees them: a smooth picture with some noise that moves."""
    rng = np.random.default_rng(seed)
    small = PIL.Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    scene = np.asarray(small.resize((size + 8 * count, size + 4 * count), PIL.Image.Resampling.BICUBIC), np.float64)
    noisy = (scene + rng.normal(scale=2, size=scene.shape)).clip(0, 255).astype(np.uint8)
    return np.stack([noisy[4 * i : 4 * i + size, 8 * i : 8 * i + size] for i in range(count)])


@pytest.mark.parametrize(("file_format", "error"), [("webp", 6), ("gif", 12)])
def test_a_film_looks_like_itself(file_format, error):
    """The frames of a natural film come back in order, all of them, each nearest to the one it was."""
    frames = film()
    ((found, durations),) = read_back(Video(frames, format=file_format))

    differences = np.abs(found[:, None, ..., :3].astype(float) - frames[None]).mean(axis=(2, 3, 4))
    assert differences.shape == (8, 8)
    assert durations == [250] * 8
    assert differences.argmin(axis=1).tolist() == list(range(8))
    assert np.diagonal(differences).max() < error


def red_bars():
    """Return frames (T, H, W, 4) in each of which a bar is red, and the rest transparent."""
    frames = np.zeros((4, 32, 32, 4), np.uint8)
    for number, frame in enumerate(frames):
        frame[8 * number : 8 * number + 8] = [255, 0, 0, 255]
    return frames


def test_what_is_transparent_stays_so_while_it_moves():
    """In a film with an alpha channel no frame shows through the holes of the next one."""
    frames = red_bars()

    ((found, _),) = read_back(Video(frames))

    np.testing.assert_array_equal(found[..., 3], frames[..., 3])
    is_visible = frames[..., 3] > 0
    assert np.abs(found[is_visible].astype(int) - [255, 0, 0, 255]).mean() < 8


def test_what_is_transparent_becomes_white_in_a_gif():
    """A GIF is drawn in front of white, since it has no half transparency."""
    frames = red_bars()
    frames[3, :8] = [0, 0, 0, 128]

    ((found, _),) = read_back(Video(frames, format="gif"))

    expected = np.where(frames[..., 3:] == 255, frames, 255)
    expected[3, :8] = [127, 127, 127, 255]
    assert_close(found, expected)


@settings(max_examples=30)
@given(count=st.integers(2, 40), fps=st.floats(0.01, 1000), file_format=st.sampled_from(["webp", "gif"]))
def test_a_film_lasts_as_long_as_its_rate_says(count, fps, file_format):
    """Durations are whole ticks of the format, and each frame ends at most half a tick off its time."""
    tick = 10 if file_format == "gif" else 1
    fps = min(fps, 50) if file_format == "gif" else fps
    frames = np.zeros((count, 4, 4, 1), np.uint8)
    frames[1::2] = 255

    ((found, durations),) = read_back(Video(frames, fps, format=file_format))

    assert len(found) == count
    assert min(durations) > 0
    assert not any(duration % tick for duration in durations)
    ends = np.arange(1, count + 1) * 1000 / fps
    assert np.abs(np.cumsum(durations) - ends).max() <= tick / 2 + 1e-6 * ends[-1]


@pytest.mark.parametrize("file_format", ["webp", "gif"])
def test_a_video_of_one_frame_is_a_still_one(file_format):
    """One frame, or one frame again and again, is a file of one frame."""
    frame = film(1)

    for frames in (frame, frame.repeat(5, axis=0)):
        ((found, _),) = read_back(Video(frames, format=file_format))
        assert found.shape == (1, 64, 64, 4)


def test_one_pixel_plays():
    """The smallest video is one."""
    for file_format in ("webp", "gif"):
        ((found, _),) = read_back(Video(steps(3, 3, 1, 1), format=file_format))
        assert_close(found, as_shown(steps(3, 3, 1, 1)))


def test_a_list_may_hold_every_kind_and_keeps_its_order(tmp_path):
    """Tensors, arrays, batches and files of any size stand in one list."""
    tensor, array, batch = steps(3, 1, 8, 6), steps(4, 3, 5, 9), np.stack([steps(2, 3, 5, 7)] * 2)
    stored = Video(steps(5, 3, 7, 7), 10, format="gif").encode("film").items[0].data
    (tmp_path / "stored.gif").write_bytes(stored)

    video = Video([torch.from_numpy(tensor), array, torch.from_numpy(batch), tmp_path / "stored.gif"], 2)

    assert repr(video) == "<Video: 5 items>"
    items = video.encode("film").items
    assert [item.suffix for item in items] == [".webp"] * 4 + [".gif"]
    assert items[4].data == stored
    for (found, durations), expected in zip(read_back(video)[:4], [tensor, array, *batch], strict=True):
        assert_close(found, as_shown(expected))
        assert durations == [500] * len(expected)


@pytest.mark.parametrize("file_format", ["webp", "gif"])
@pytest.mark.parametrize(
    "as_type", [str, lambda path: path, lambda path: io.BytesIO(path.read_bytes())], ids=["str", "Path", "bytes"]
)
def test_a_file_is_taken_as_it_is(as_type, file_format, tmp_path):
    """A WebP or GIF file keeps every byte, whatever its name, and may go as soon as the video is made of it."""
    path = tmp_path / "é 1"
    stored = Video(film(3), 20, format=file_format).encode("film").items[0].data
    path.write_bytes(stored)

    video = Video(as_type(path), fps=1)
    path.unlink()

    payload = video.snapshot().encode("film")
    assert [(item.data, item.suffix) for item in payload.items] == [(stored, f".{file_format}")]
    assert (payload.width, payload.height, video.nbytes) == (64, 64, len(stored))


FILMS = {
    ".mp4": b"\0\0\0\x18ftypisom\0\0\2\0",
    ".webm": b"\x1aE\xdf\xa3\x93B\x82\x84webm",
    ".ogg": b"OggS\0\2",
}
"""How files of each format begin."""


@pytest.mark.parametrize("suffix", FILMS)
@pytest.mark.parametrize("way", ["path", "bytes"])
def test_a_film_is_taken_as_it_is(tmp_path, suffix, way):
    """It is a file of the run, and TensorBoard's text tab says where; whatever the name of the given file was."""
    path = tmp_path / "film"
    path.write_bytes(FILMS[suffix])
    film = Video(path if way == "path" else io.BytesIO(FILMS[suffix]), caption="one", score=2.0).snapshot()
    path.unlink()
    payload = film.encode("val/film")
    for writer in (CSVWriter(tmp_path), EventsWriter(tmp_path)):
        writer.write(Record(4, 0, 1e9, {"val/film": payload}))
        writer.close()

    (row,) = pandas.read_csv(tmp_path / "media.csv").to_dict("records")
    assert (row["kind"], row["caption"], row["score"]) == ("video", "one", 2.0)
    assert (row["file"], (tmp_path / row["file"]).read_bytes()) == (
        f"media/val-film/0000000004-000{suffix}",
        FILMS[suffix],
    )
    (note,) = EventAccumulator(str(tmp_path)).Reload().Tensors("val/film")
    text = note.tensor_proto.string_val[0].decode().replace("\\", "")
    assert text == "video file 1 of 1, in the run directory under media/val-film/"


def test_films_beside_other_videos_are_refused():
    """TensorBoard plays the one and not the other."""
    message = "Video got films (MP4, WebM or Ogg) and other videos; log them under two names."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Video([io.BytesIO(FILMS[".mp4"]), torch.zeros(2, 3, 8, 8)])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("film.avi", b"RIFF\0\0\0\0AVI "),
        ("film.mov", b"\0\0\0\x14ftypqt  "),
        ("film.gif", b"a text"),
        ("film.webp", b""),
    ],
)
def test_a_file_of_another_format_is_refused(name, content, tmp_path):
    """A file that no browser plays, whatever its name says, raises where the video is made."""
    path = tmp_path / name
    path.write_bytes(content)
    message = (
        "Video got {}, which is neither WebP, GIF, MP4, WebM nor Ogg; expected one of these, which ffmpeg makes of any"
        " film, or the frames as a tensor of shape (T, C, H, W)."
    )

    with pytest.raises(ValueError, match=f"^{re.escape(message.format(f'the file {str(path)!r}'))}$"):
        Video(path)
    with pytest.raises(ValueError, match=f"^{re.escape(message.format('a file of bytes'))}$"):
        Video(io.BytesIO(content))


def test_a_picture_of_another_format_is_refused(tmp_path):
    """An image file that Pillow could read is no video either."""
    PIL.Image.new("RGB", (4, 4)).save(tmp_path / "still.png")

    with pytest.raises(ValueError, match="which is neither WebP, GIF, MP4, WebM nor Ogg"):
        Video(tmp_path / "still.png")


def test_a_path_that_leads_nowhere_is_refused(tmp_path):
    """A missing file raises where the video is made, and is named."""
    missing = tmp_path / "missing.gif"

    with pytest.raises(
        FileNotFoundError, match=f"^{re.escape(f'[Errno 2] No such file or directory: {str(missing)!r}')}"
    ):
        Video(str(missing))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pixels_that_cannot_be_drawn_are_counted_in_a_warning(channels, dtype):
    """NaN is magenta and pixels out of range are clipped, with warnings that name the video and count them."""
    frames = torch.from_numpy(steps(3, channels, 32, 32) / 255).permute(0, 3, 1, 2).to(dtype)
    frames[1, :, :16, :16] = torch.nan
    frames[2, 0, 31, 28:] = 1.5

    with pytest.warns(UserWarning, match="Video 'val/film'") as caught:
        ((found, durations),) = read_back(Video(frames), "val/film")

    assert [str(warning.message) for warning in caught] == [
        "Video 'val/film': 256 pixels are NaN and drawn in magenta.",
        "Video 'val/film': 4 pixel values lie outside [0, 1] or [0, 255] and are clipped; use"
        " value_range=(black, white) for another range.",
    ]
    assert len(durations) == 3
    assert np.abs(found[1, 4:12, 4:12].astype(int) - [255, 0, 255, 255]).max() <= 12
    assert np.abs(found[1, 20:, 20:, :3].astype(int) - 128).max() <= 12


def test_grey_frames_of_which_one_is_marked_stay_what_they_are_in_a_gif():
    """A frame with a magenta pixel does not change the grey of its neighbours."""
    frames = torch.from_numpy(steps(4, 1, 8, 8) / 255)
    frames[2, 0, 0] = torch.nan

    with pytest.warns(UserWarning, match="1 pixels are NaN and drawn in magenta"):
        ((found, _),) = read_back(Video(frames, format="gif"))

    expected = as_shown(steps(4, 1, 8, 8))
    expected[2, 0, 0] = [255, 0, 255, 255]
    assert_close(found, expected)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int16, torch.float32, torch.uint8], ids=str)
def test_a_range_that_is_given_counts(dtype):
    """For numbers of any dtype; the warning says it."""
    frames = torch.tensor([0, 20, 100, 150], dtype=dtype).reshape(4, 1, 1, 1).expand(4, 1, 8, 8)

    with pytest.warns(UserWarning, match=r"^Video 'film': 64 pixel values lie outside \[0, 100\] and are clipped\.$"):
        ((found, _),) = read_back(Video(frames, format="gif", value_range=(0, 100)), "film")

    assert found[:, 0, 0, 0].tolist() == [0, 51, 255]


def test_a_range_that_is_none_is_refused():
    """In the words of the medium that it was given to."""
    with pytest.raises(
        ValueError, match=r"^Video got value_range=\(1, 0\); expected two numbers, which values are black"
    ):
        Video(torch.zeros(2, 3, 8, 8), value_range=(1, 0))


@pytest.mark.parametrize(("brightest", "bright_and_dark"), [(2.0, [255, 255]), (255.0, [255, 1])])
def test_the_brightest_pixel_of_a_batch_decides_its_range(brightest, bright_and_dark):
    """Above 2 a batch is in [0, 255], and all its videos are, even one that has no such pixel."""
    bright, dark = torch.full((1, 1, 8, 8), brightest), torch.full((1, 1, 8, 8), 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [frames[0, 0, 0, 0] for frames, _ in read_back(Video([bright, dark]))]

    assert found == bright_and_dark


@pytest.mark.parametrize(
    "shape",
    [(), (5,), (8, 8), (3, 8, 8), (2, 2, 8, 8), (0, 3, 8, 8), (5, 3, 0, 8), (2, 5, 2, 8, 8), (0, 5, 3, 8, 8)],
    ids=str,
)
@pytest.mark.parametrize("make", [torch.zeros, np.zeros], ids=["tensor", "array"])
def test_a_shape_that_is_no_video_is_refused(make, shape):
    """A wrong number of dimensions or of channels, and an empty video, raise where the video is made."""
    with pytest.raises(ValueError, match=f"^{re.escape(SHAPE_MESSAGE.format(shape))}$"):
        Video(make(shape))


def test_a_list_of_frames_is_refused_with_what_to_write_instead():
    """A list holds videos and not frames, and the message says how frames become one."""
    with pytest.raises(ValueError, match=r"Single frames make a video by torch\.stack\(frames\)\.$"):
        Video([torch.zeros(3, 8, 8), torch.zeros(3, 8, 8)])


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint16", "complex64"])
@pytest.mark.parametrize("kind", ["tensor", "array"])
def test_a_dtype_that_has_no_range_is_refused(kind, dtype):
    """Integers other than uint8 and complex numbers raise where the video is made."""
    frames = np.zeros((5, 3, 8, 8), dtype)

    with pytest.raises(ValueError, match=f"^{re.escape(DTYPE_MESSAGE.format(dtype))}$"):
        Video(frames if kind == "array" else torch.from_numpy(frames))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: torch.zeros(5, 3, 8, 8).to_sparse(), "a sparse tensor; expected a dense one, tensor.to_dense()."),
        (
            lambda: torch.zeros(5, 3, 8, 8, device="meta"),
            "a tensor on the device 'meta', which holds no values; expected one that does.",
        ),
    ],
    ids=["sparse", "meta"],
)
def test_a_tensor_that_is_not_dense_is_refused(make, message):
    """A tensor whose values do not lie in memory one by one raises where the video is made."""
    with pytest.raises(ValueError, match=f"^{re.escape(f'Video got {message}')}$"):
        Video(make())


@pytest.mark.parametrize(
    ("value", "type_name"),
    [
        (5, "an int"),
        (None, "None"),
        (b"GIF89a", "a bytes"),
        ([[0.5]], "a list"),
        ([np.zeros((5, 3, 8, 8)), 0.5], "a float"),
    ],
    ids=str,
)
def test_a_value_of_another_type_is_refused(value, type_name):
    """What is no video raises where the video is made, also inside a list."""
    with pytest.raises(TypeError, match=f"^{re.escape(TYPE_MESSAGE.format(type_name))}$"):
        Video(value)


def test_an_empty_list_is_refused():
    """A medium holds at least one item."""
    with pytest.raises(ValueError, match=r"^Video got no items; log at least one, or leave the call out\.$"):
        Video([])


@pytest.mark.parametrize(
    ("fps", "file_format", "most"),
    [
        (0, "webp", 1000),
        (-4, "webp", 1000),
        (0.001, "gif", 50),
        (1000.5, "webp", 1000),
        (51, "gif", 50),
        (float("nan"), "webp", 1000),
        (float("inf"), "webp", 1000),
        ("4", "webp", 1000),
        (None, "webp", 1000),
        (True, "webp", 1000),
    ],
)
def test_a_rate_that_no_file_has_is_refused(fps, file_format, most):
    """A rate that is no number, or out of what the format can say, raises where the video is made."""
    message = (
        f'Video got fps={fps!r}; expected frames per second, with format="{file_format}" a number from 0.01 to {most}.'
    )

    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Video(torch.zeros(2, 1, 8, 8), fps, format=file_format)


def test_a_rate_may_be_numpys():
    """A real number of any type is a rate."""
    ((_, durations),) = read_back(Video(steps(2, 1, 8, 8), np.float32(5)))

    assert durations == [200, 200]


@pytest.mark.parametrize("file_format", ["mp4", "WEBP", None])
def test_another_format_is_refused(file_format):
    """A format that is not written raises where the video is made."""
    guess = r" Did you mean 'webp'\?" if file_format == "WEBP" else ""
    with pytest.raises(ValueError, match=f'^Video got format={file_format!r}; expected "webp" or "gif".{guess}$'):
        Video(torch.zeros(2, 1, 8, 8), format=file_format)


@pytest.mark.parametrize(
    ("file_format", "title", "longest", "too_long"), [("webp", "WebP", 16383, 16384), ("gif", "GIF", 65535, 65536)]
)
def test_frames_too_large_for_the_format_are_refused(file_format, title, longest, too_long):
    """A side that the format cannot say raises where the video is made, and holds no memory here."""
    pixel = torch.zeros(1, 1, 1, 1, dtype=torch.uint8)
    message = f"Video got 2 x {too_long} pixels, and {title} has at most {longest} on a side; expected a smaller size."

    assert len(Video(pixel.expand(2, 1, longest, longest), format=file_format)) == 1
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Video(pixel.expand(2, 1, too_long, 2), format=file_format)


@pytest.mark.parametrize(
    ("extras", "message"),
    [
        (
            {"caption": ["one"]},
            "Video got 3 items and 1 captions; expected one caption for each item, or a single string for all.",
        ),
        ({"score": [0.5, 0.25]}, "Video got 3 items and 2 scores; expected one number for each item."),
    ],
    ids=["captions", "scores"],
)
def test_another_number_of_captions_or_scores_is_refused(extras, message):
    """Captions and scores are one for each video."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Video(torch.zeros(3, 2, 1, 8, 8), **extras)


def test_joined_and_take_keep_what_belongs_to_each_video(tmp_path):
    """Videos of several rates, formats and sizes stand in one batch, each with its own caption and score."""
    (tmp_path / "a.gif").write_bytes(Video(steps(2, 1, 3, 3), 10, format="gif").encode("film").items[0].data)
    joined = Video(steps(2, 1, 8, 8)[None].repeat(2, axis=0), 10, ["a", "b"], [1.0, 2.0]).joined(
        [Video(steps(3, 3, 5, 6), 20, "c", 3.0, format="gif"), Video(tmp_path / "a.gif", caption="d")]
    )

    taken = joined.take([3, 2, 0])

    payload = taken.encode("film")
    assert [(item.suffix, item.caption) for item in payload.items] == [(".gif", "d"), (".gif", "c"), (".webp", "a")]
    np.testing.assert_equal([item.score for item in payload.items], [np.nan, 3.0, 1.0])
    assert (payload.width, payload.height, payload.kind) == (3, 3, "video")
    shapes = [(frames.shape[:3], durations[0]) for frames, durations in read_back(taken)]
    assert shapes == [((2, 3, 3), 100), ((3, 5, 6), 50), ((2, 8, 8), 100)]
    assert (len(joined), len(taken)) == (4, 3)


@pytest.mark.parametrize("kind", ["tensor", "array"])
def test_a_snapshot_is_out_of_reach_of_later_changes(kind):
    """What the caller does in place after the snapshot does not show in the file."""
    frames = torch.from_numpy(steps(3, 3, 8, 8)) if kind == "tensor" else steps(3, 3, 8, 8)
    video = Video(frames, caption="same", score=1.0)
    expected = video.encode("film")

    snapshot = video.snapshot()
    frames[:] = 0

    assert snapshot.encode("film") == expected
    assert video.encode("film") != expected


def test_nbytes_is_the_memory_of_the_frames():
    """Delivery bounds its memory by this."""
    assert Video([torch.zeros(5, 3, 8, 8), np.zeros((2, 1, 8, 8), np.uint8)]).nbytes == 5 * 3 * 8 * 8 * 4 + 2 * 64


def test_a_video_can_be_sent_to_another_process(tmp_path):
    """A video is the same after it was pickled."""
    (tmp_path / "a.webp").write_bytes(Video(film(2)).encode("film").items[0].data)
    video = Video([film(3), tmp_path / "a.webp"], 12, ["a", "b"], [0.5, 1.5], format="gif")

    assert pickle.loads(pickle.dumps(video)).encode("film") == video.encode("film")


@pytest.mark.parametrize("file_format", ["webp", "gif"])
def test_a_video_plays_in_the_image_tab_and_as_a_file(file_format, tmp_path):
    """The run directory holds a file that moves, and its bytes are an image in TensorBoard's events."""
    logger = TrackPlusLogger(tmp_path)
    logger.log_media("val/film", Video(film(), 10, format=file_format), 3)
    logger.finalize("success")

    (path,) = (tmp_path / "lightning_logs" / "version_0" / "media").rglob(f"*.{file_format}")
    events = EventAccumulator(logger.log_dir).Reload()
    (event,) = events.Tensors("val/film")
    width, height, data = event.tensor_proto.string_val
    with PIL.Image.open(path) as file:
        file.load()
        assert (file.n_frames, file.info["duration"]) == (8, 100)
    assert (width, height, data, event.step) == (b"64", b"64", path.read_bytes(), 3)
    assert events.SummaryMetadata("val/film").plugin_data.plugin_name == image_metadata.PLUGIN_NAME
