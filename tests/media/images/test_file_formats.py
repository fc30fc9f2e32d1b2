"""The files that images become: PNG, WebP and JPEG, one for each image or a grid of all."""

from __future__ import annotations

import io
import re
import struct
import zlib

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_sample_images

from lightning_trackplus.media.image import Image
from lightning_trackplus.media.images import file_formats
from lightning_trackplus.media.images.file_formats import png

pytestmark = pytest.mark.filterwarnings("error")

CONTENTS = ["noise", "smooth", "flat", "drawing", "extremes"]


def picture_of(content, shape, seed=0):
    """Return bytes of shape (C, H, W)."""
    generator = np.random.default_rng(seed)
    channels, height, width = shape
    rows, columns = np.mgrid[:height, :width]
    match content:
        case "noise":
            return generator.integers(0, 256, shape, dtype=np.uint8)
        case "smooth":
            phases = generator.uniform(0, 6, channels)[:, None, None]
            return (127 * np.sin(rows / 9 + phases) * np.cos(columns / 7) + 128).astype(np.uint8)
        case "flat":
            return np.full(shape, generator.integers(256), np.uint8)
        case "drawing":
            return (
                (generator.integers(0, 4, (channels, 1 + height // 8, 1 + width // 8), dtype=np.uint8) * 80)
                .repeat(8, axis=1)
                .repeat(8, axis=2)[:, :height, :width]
            )
        case _:
            return generator.choice(np.array([0, 1, 127, 128, 254, 255], np.uint8), shape)


@pytest.fixture(params=["isal", "zlib"])
def deflate(request, monkeypatch):
    """Compress with isal, or as where it is not installed."""
    if request.param == "zlib":
        monkeypatch.setattr(file_formats, "isal_zlib", None)
    else:
        pytest.importorskip("isal")
    return request.param


def opened(data):
    picture = PIL.Image.open(io.BytesIO(data))
    picture.load()
    return picture


def pixels_of(data):
    """Return what Pillow reads, as (C, H, W)."""
    pixels = np.asarray(opened(data))
    return pixels[np.newaxis] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


# The fixture is the same for all examples.
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.sampled_from(CONTENTS),
    shape=st.tuples(st.sampled_from([1, 3, 4]), st.integers(1, 70), st.integers(1, 70)),
    channels_last=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_png_holds_the_pixels(deflate, content, shape, channels_last, seed):
    """Pillow reads from the PNG what was written, whatever the picture and however it lies in memory."""
    picture = picture_of(content, shape, seed)
    if channels_last:
        picture = np.ascontiguousarray(picture.transpose(1, 2, 0)).transpose(2, 0, 1)

    data = png(picture)

    np.testing.assert_array_equal(pixels_of(data), picture)
    assert opened(data).mode == {1: "L", 3: "RGB", 4: "RGBA"}[shape[0]]


@pytest.mark.parametrize("content", ["noise", "drawing"])
@pytest.mark.parametrize("shape", [(3, 411, 500), (1, 3, 140_000), (4, 140_000, 1)])
def test_a_large_png_holds_the_pixels(content, shape):
    """So does one that is filtered in several parts, which end in the midst of a row or a channel."""
    picture = picture_of(content, shape)

    np.testing.assert_array_equal(pixels_of(png(picture)), picture)


def test_a_png_is_written_as_the_standard_says(deflate):
    """The chunks have their lengths and checksums, and what Pillow does not check."""
    data = png(picture_of("noise", (3, 5, 6)))
    chunks, position = [], 8
    while position < len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        body = data[position + 8 : position + 8 + length]
        assert struct.unpack_from(">I", data, position + 8 + length) == (zlib.crc32(kind + body),)
        chunks.append(kind)
        position += 12 + length

    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert chunks == [b"IHDR", b"IDAT", b"IEND"]


@pytest.mark.parametrize("content", ["flat", "drawing", "photograph", "enlarged photograph"])
def test_a_png_is_about_as_small_as_that_of_pillow(deflate, content):
    """To be fast costs a twentieth more bytes at most, and with isal a tenth."""
    if "photograph" in content:
        photograph = PIL.Image.fromarray(load_sample_images().images[0]).crop((100, 100, 324, 324))
        picture = photograph.resize((448, 448)) if "enlarged" in content else photograph
    else:
        picture = PIL.Image.fromarray(picture_of(content, (3, 224, 224)).transpose(1, 2, 0))
    theirs = io.BytesIO()
    picture.save(theirs, "PNG")

    most = {"zlib": 1.05, "isal": 1.1}[deflate]
    assert len(png(np.asarray(picture).transpose(2, 0, 1))) < most * len(theirs.getvalue()) + 200


@pytest.mark.parametrize(("content", "kind", "most"), [("grid", 2, 1500), ("few blots", 4, 880)])
def test_a_drawing_is_written_in_the_shorter_of_two_ways(deflate, content, kind, most):
    """Lines that repeat come to a third by the filter "up" and zlib's search; a few blots are shorter with Paeth's."""
    picture = np.zeros((1, 256, 256), np.uint8)
    if content == "grid":
        picture = picture.repeat(3, axis=0)
        picture[:, ::17], picture[:, :, ::13] = 255, 128
    else:
        generator = np.random.default_rng(0)
        for top, left, brightness in generator.integers(0, 240, (30, 3)):
            picture[0, top : top + 14, left : left + 14] = brightness

    data = png(picture)

    np.testing.assert_array_equal(pixels_of(data), picture)
    assert len(data) < most
    rows = zlib.decompress(data[data.index(b"IDAT") + 4 : data.index(b"IEND") - 8])
    assert set(rows[:: 1 + 256 * len(picture)]) == {kind}


@settings(max_examples=40)
@given(
    content=st.sampled_from(CONTENTS),
    shape=st.tuples(st.sampled_from([1, 3, 4]), st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_webp_holds_the_pixels(content, shape, seed):
    """WebP is without loss, also in the colours of transparent pixels."""
    picture = picture_of(content, shape, seed)

    (item,) = Image(torch.from_numpy(picture), format="webp").encode("picture").items

    assert (item.suffix, opened(item.data).format) == (".webp", "WEBP")
    # WebP has no grey, and may leave out an alpha channel in which all is opaque.
    read = np.asarray(opened(item.data).convert("RGBA" if len(picture) == 4 else "RGB"))
    np.testing.assert_array_equal(read.transpose(2, 0, 1), picture.repeat(3, axis=0) if len(picture) == 1 else picture)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_jpeg_looks_like_the_picture(channels):
    """JPEG loses little of a smooth picture, and grey stays grey."""
    picture = picture_of("smooth", (channels, 64, 80))

    (item,) = Image(torch.from_numpy(picture), format="jpeg").encode("picture").items

    assert (item.suffix, opened(item.data).format) == (".jpeg", "JPEG")
    assert opened(item.data).mode == {1: "L", 3: "RGB"}[channels]
    assert np.abs(pixels_of(item.data).astype(int) - picture).mean() < 3


def test_a_jpeg_has_white_behind_what_is_transparent():
    """What is transparent becomes white, and what is half transparent half white."""
    picture = np.zeros((4, 16, 48), np.uint8)
    picture[3, :, 16:32], picture[3, :, 32:] = 128, 255

    (item,) = Image(torch.from_numpy(picture), format="jpeg").encode("picture").items

    pixels = pixels_of(item.data)
    assert [round(float(pixels[:, :, left : left + 8].mean())) for left in (4, 20, 36)] == pytest.approx(
        [255, 127, 0], abs=2
    )


@pytest.mark.parametrize(
    ("form", "meant"), [("jpg", "jpeg"), ("PNG", "png"), (".webp", "webp"), ("gif", None), ("", None), (None, None)]
)
def test_another_format_is_refused(form, meant):
    """A format that is not ours raises where the image is made, with the one that was meant."""
    guess = f" Did you mean {meant!r}?" if meant else ""
    message = f'Image got format={form!r}; expected "png", "webp" or "jpeg".{guess}'

    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Image(np.zeros((5, 6)), format=form)


@pytest.mark.parametrize(("form", "title", "longest"), [("webp", "WebP", 16383), ("jpeg", "JPEG", 65500)])
def test_a_picture_that_is_too_long_for_its_format_is_refused(form, title, longest):
    """The longest picture of a format is written, and a longer one raises where it is made."""
    message = (
        f"Image got {longest + 1} x 1 pixels, and {title} has at most {longest} on a side; expected a"
        ' smaller size, or format="png".'
    )

    (item,) = Image(np.zeros((1, longest)), format=form).encode("picture").items

    assert opened(item.data).size == (longest, 1)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Image(np.zeros((1, longest + 1)), format=form)
    assert opened(Image(np.zeros((1, longest + 1))).encode("picture").items[0].data).size == (longest + 1, 1)


@pytest.mark.parametrize("form", ["png", "webp", "jpeg"])
def test_all_images_of_a_batch_have_its_format(form):
    """Format and options go along when images are taken and joined."""
    image = Image(torch.rand(3, 3, 5, 6), format=form)

    payload = image.take([2, 0]).joined([image]).snapshot().encode("picture")

    assert [item.suffix for item in payload.items] == [f".{form}"] * 5


def grid_of(pictures, columns, gap=2):
    """Arrange pictures with Pillow."""
    mode = max((picture.mode for picture in pictures), key=["L", "RGB", "RGBA"].index)
    width, height = (max(picture.size[axis] for picture in pictures) for axis in (0, 1))
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    canvas = PIL.Image.new(mode, (columns * (width + gap) - gap, rows * (height + gap) - gap), 0)
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        left, top = column * (width + gap), row * (height + gap)
        canvas.paste(picture.convert(mode), (left + (width - picture.width) // 2, top + (height - picture.height) // 2))
    return canvas


@settings(max_examples=100)
@given(
    shapes=st.lists(
        st.tuples(st.sampled_from([1, 3, 4]), st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=9
    ),
    columns=st.integers(1, 10),
)
def test_a_grid_shows_all_images_in_their_cells(shapes, columns):
    """Images of all sizes and modes stand in the middle of cells, row by row."""
    pictures = [picture_of("noise", shape, seed) for seed, shape in enumerate(shapes)]

    payload = Image([torch.from_numpy(picture) for picture in pictures], grid=columns).encode("picture")

    (item,) = payload.items
    expected = grid_of([opened(png(picture)) for picture in pictures], columns)
    assert (opened(item.data).mode, (payload.width, payload.height)) == (expected.mode, expected.size)
    np.testing.assert_array_equal(np.asarray(opened(item.data)), np.asarray(expected))


def test_a_grid_is_made_of_the_images_that_are_kept():
    """A batch with a grid is still one of several images, of which a selection may keep some."""
    batch = torch.from_numpy(picture_of("noise", (12, 5, 6)).reshape(4, 3, 5, 6))
    image = Image(batch, ["a", "b", "c", "d"], [1.0, 2.0, 3.0, 4.0], grid=2)

    (item,) = image.take([3, 0, 1]).encode("picture").items

    assert (len(image), item.caption, item.score) == (4, "d | a | b", None)
    expected = grid_of([opened(png(batch[index].numpy())) for index in (3, 0, 1)], 2)
    np.testing.assert_array_equal(np.asarray(opened(item.data)), np.asarray(expected))


@pytest.mark.parametrize(
    ("captions", "joined"),
    [(None, None), ("same", "same"), (["a", "a"], "a"), (["a", "b"], "a | b"), (["", "b"], " | b"), (["", ""], None)],
    ids=str,
)
def test_a_grid_has_the_captions_of_all_in_one(captions, joined):
    """Captions are joined in the order of the images; what all have in common is said once."""
    (item,) = Image(torch.zeros(2, 5, 6), captions, grid=1).encode("picture").items

    assert item.caption == joined


@pytest.mark.parametrize("columns", [0, -1, 1.5, "2", True, (2,)], ids=repr)
def test_a_grid_without_columns_is_refused(columns):
    """A number of columns that is none raises where the image is made."""
    message = f"Image got grid={columns!r}; expected a number of columns, an integer of at least 1."

    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Image(torch.zeros(2, 5, 6), grid=columns)


@pytest.mark.parametrize(("columns", "size"), [(1, "9 x 17998"), (2000, "21998 x 7")])
def test_a_grid_that_is_too_large_for_its_format_is_refused(columns, size):
    """The picture of all images has to fit into the file, not each of them."""
    message = (
        f'Image got {size} pixels, and WebP has at most 16383 on a side; expected a smaller size, or format="png".'
    )

    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Image(torch.zeros(2000, 7, 9), format="webp", grid=columns)
