"""Images: whatever way pixels come in, Pillow reads the same picture from the PNG."""

from __future__ import annotations

import io
import pickle
import re
import tracemalloc
import warnings

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_trackplus.media.image import Image

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
LAYOUTS = ["CHW", "HWC", "HW", "NCHW", "NHWC", "NHW"]
NO_CHANNELS = [2, 5, 6, 7, 9]

SHAPE_MESSAGE = (
    "Image got pixels of shape {}; expected (C, H, W), (H, W, C) or (H, W), or a batch of these with the batch first."
    " C is 1, 3 or 4, and no dimension is 0."
)
DTYPE_MESSAGE = (
    "Image got pixels of {}; expected uint8 in [0, 255], bool, floats in [0, 1] or [0, 255], or any real numbers with"
    " value_range=(black, white)."
)
TYPE_MESSAGE = "Image got {}; expected a tensor, an array, a PIL image, a path, or a list of them."


def read_back(image, name="picture"):
    """Return what Pillow reads from the PNGs, grey as (H, W) and colour as (H, W, C)."""
    return [opened(item) for item in image.encode(name).items]


def opened(item):
    picture = PIL.Image.open(io.BytesIO(item.data))
    assert (item.suffix, picture.format) == (".png", "PNG")
    return np.asarray(picture)


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def as_stored(picture):
    """Return (H, W, C) as Pillow hands it out: grey has no third axis."""
    return picture[..., 0] if picture.shape[-1] == 1 else picture


def assert_same(pictures, expected):
    assert len(pictures) == len(expected)
    for picture, wanted in zip(pictures, expected, strict=True):
        np.testing.assert_array_equal(picture, wanted, strict=True)


def laid_out(pictures, layout):
    """Turn (N, H, W, C) into another order of axes; an axis that the layout has not is dropped."""
    names = [name for name in "NHWC" if name in layout]
    kept = pictures[tuple(slice(None) if name in layout else 0 for name in "NHWC")]
    return kept.transpose([names.index(name) for name in layout])


def as_dtype(pixels, dtype, full_range):
    """Return a tensor of a dtype whose pixels mean the same as the given uint8."""
    if dtype in {"uint8", "bool"}:
        return torch.from_numpy(pixels.copy()).to(DTYPES[dtype])
    values = pixels if full_range else pixels / 255
    return torch.from_numpy(values.astype(np.float64)).to(DTYPES[dtype])


def tensor_in_memory(tensor, arrangement):
    """Return equal pixels that lie in memory in another way."""
    match arrangement:
        case "strided":
            return torch.stack([tensor, torch.zeros_like(tensor)], dim=-1).flatten(-2)[..., ::2]
        case "transposed":
            return tensor.transpose(0, -1).contiguous().transpose(0, -1)
        case "requires_grad" if tensor.is_floating_point():
            return tensor.requires_grad_()
        case _:
            return tensor


def array_in_memory(array, arrangement):
    match arrangement:
        case "strided":
            return np.repeat(array, 2, axis=-1)[..., ::2]
        case "transposed":
            return np.asfortranarray(array)
        case "reversed":
            # The strides of this one are negative.
            return np.flip(np.flip(array).copy())
        case _:
            return array


@settings(max_examples=80)
@given(
    layout=st.sampled_from(LAYOUTS),
    dtype=st.sampled_from(sorted(DTYPES)),
    full_range=st.booleans(),
    numpy=st.booleans(),
    arrangement=st.sampled_from(["plain", "strided", "transposed", "requires_grad", "reversed"]),
    shape=st.tuples(*[st.sampled_from(NO_CHANNELS)] * 3, st.sampled_from([1, 3, 4])),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_layout_and_dtype_gives_the_same_picture(*, layout, dtype, full_range, numpy, arrangement, shape, seed):
    """The PNGs hold exactly the given pixels, for all layouts, dtypes, ranges and ways to lie in memory."""
    count, height, width, channels = shape
    pictures = noise((count if "N" in layout else 1, height, width, channels if "C" in layout else 1), seed)
    pictures[0, 0, 0, 0] = 255
    if dtype == "bool":
        pictures = np.where(pictures > 127, np.uint8(255), np.uint8(0))
    pixels = as_dtype(laid_out(pictures, layout), dtype, full_range)
    # numpy has no bfloat16.
    as_array = numpy and dtype != "bfloat16"

    image = Image(array_in_memory(pixels.numpy(), arrangement) if as_array else tensor_in_memory(pixels, arrangement))

    assert len(image) == len(pictures)
    assert_same(read_back(image), [as_stored(picture) for picture in pictures])


@pytest.mark.parametrize(
    ("kind", "shape", "read_as"),
    [
        ("tensor", (3, 5, 3), "CHW"),
        ("array", (3, 5, 3), "HWC"),
        ("tensor", (1, 5, 4), "CHW"),
        ("array", (1, 5, 4), "HWC"),
        ("tensor", (3, 5, 6), "CHW"),
        ("array", (3, 5, 6), "CHW"),
        ("tensor", (5, 6, 3), "HWC"),
        ("array", (5, 6, 3), "HWC"),
        ("tensor", (4, 5, 6), "CHW"),
        ("array", (5, 6, 4), "HWC"),
        ("tensor", (5, 6, 7), "NHW"),
        ("array", (5, 6, 7), "NHW"),
        ("tensor", (5, 3, 6, 4), "NCHW"),
        ("array", (5, 3, 6, 4), "NHWC"),
        ("tensor", (3, 3, 3, 3), "NCHW"),
        ("array", (3, 3, 3, 3), "NHWC"),
        ("tensor", (3, 5, 6, 1), "NHWC"),
        ("array", (3, 1, 6, 5), "NCHW"),
        ("tensor", (3, 3), "HW"),
        ("array", (1, 4), "HW"),
    ],
)
def test_a_shape_that_can_be_read_both_ways_is_read_as_documented(kind, shape, read_as):
    """A tensor has its channels first and an array has them last, where both would be possible."""
    pixels = noise(shape)
    axes = [read_as.index(name) for name in "NHWC" if name in read_as]
    batch = pixels.transpose(axes)
    batch = batch if "N" in read_as else batch[np.newaxis]
    expected = [as_stored(picture if "C" in read_as else picture[..., np.newaxis]) for picture in batch]

    image = Image(torch.from_numpy(pixels) if kind == "tensor" else pixels)

    assert_same(read_back(image), expected)


def gradient(mode):
    """Return a small picture of a Pillow mode, with every level of brightness and transparency in it."""
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    colours = PIL.Image.fromarray(np.stack([levels, levels[::-1], levels.T, levels.T[::-1]], axis=-1))
    if mode == "P":
        return colours.convert("RGB").quantize(32)
    return (colours.convert("LA") if mode == "La" else colours).convert(mode)


def with_transparency(mode, transparency):
    picture = gradient(mode)
    picture.info["transparency"] = transparency
    return picture


@pytest.mark.parametrize(
    ("picture", "mode"),
    [
        (gradient("1"), "L"),
        (gradient("L"), "L"),
        (gradient("P"), "RGB"),
        (gradient("RGB"), "RGB"),
        (gradient("RGBA"), "RGBA"),
        (gradient("LA"), "RGBA"),
        (gradient("CMYK"), "RGB"),
        (gradient("YCbCr"), "RGB"),
        (with_transparency("P", 3), "RGBA"),
        (with_transparency("L", 7), "RGBA"),
        (with_transparency("RGB", (0, 240, 0)), "RGBA"),
    ],
    ids=["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "P-clear", "L-clear", "RGB-clear"],
)
def test_a_pillow_picture_of_any_mode_looks_as_pillow_shows_it(picture, mode):
    """A picture comes out as Pillow converts it."""
    assert_same(read_back(Image(picture)), [np.asarray(picture.convert(mode))])


@pytest.mark.parametrize(
    ("picture", "mode", "name"),
    [
        (gradient("RGBA"), "RGBA", "picture.png"),
        (with_transparency("P", 3), "RGBA", "picture.png"),
        (gradient("CMYK"), "RGB", "picture.tiff"),
    ],
    ids=["RGBA", "P-clear", "CMYK"],
)
def test_a_path_is_the_picture_that_lies_there(picture, mode, name, tmp_path):
    """Pillow opens the file, whatever its format and mode."""
    picture.save(tmp_path / name)

    assert_same(read_back(Image(tmp_path / name)), [np.asarray(picture.convert(mode))])


@pytest.mark.parametrize(
    ("mode", "shown"),
    [("HSV", "RGB"), ("LAB", "RGB"), ("RGBX", "RGB"), ("PA", "RGBA"), ("RGBa", "RGBA"), ("La", "LA")],
)
def test_modes_that_pillow_has_in_memory_alone_look_as_it_shows_them(mode, shown):
    """A picture in a mode that hardly any file has comes out as Pillow converts it."""
    picture = gradient(mode)
    assert picture.mode == mode

    assert_same(read_back(Image(picture)), [np.asarray(picture.convert(shown).convert(shown.replace("LA", "RGBA")))])


@pytest.mark.parametrize("way", ["picture", "path"])
def test_a_picture_of_sixteen_bits_keeps_its_brightness(way, tmp_path):
    """A grey picture of 16 bits a pixel, as depth cameras and microscopes write it, becomes one of 8 bits."""
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    picture = PIL.Image.fromarray(levels.astype(np.uint16) * 257)
    assert picture.mode == "I;16"
    if way == "path":
        picture.save(tmp_path / "depth.png")
        picture = tmp_path / "depth.png"

    (pixels,) = read_back(Image(picture))

    np.testing.assert_array_equal(pixels if pixels.ndim == 2 else pixels[..., 0], levels)


def test_a_picture_of_sixteen_bits_keeps_its_brightness_beside_floats():
    """The range of the floats in a list does not touch a picture of 16 bits in it."""
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    picture = PIL.Image.fromarray(levels.astype(np.uint16) * 257)

    assert_same(read_back(Image([picture, np.full((5, 6), 200.0)])), [levels, np.full((5, 6), 200, np.uint8)])


def test_a_picture_of_floats_follows_the_rule_for_floats():
    """A Pillow picture of mode F is read as the array of its floats would be."""
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    picture = PIL.Image.fromarray(levels.astype(np.float32) / 255)
    assert picture.mode == "F"

    (pixels,) = read_back(Image(picture))

    np.testing.assert_array_equal(pixels if pixels.ndim == 2 else pixels[..., 0], levels)


@pytest.mark.parametrize("dtype", [np.int32, np.uint16], ids=["I", "I;16"])
def test_a_picture_of_integers_is_read_by_its_range(dtype):
    """Where black and white are given, a Pillow picture of 16 or 32 bits has the values that it was made of."""
    levels = np.arange(256, dtype=dtype).reshape(16, 16)

    assert_same(read_back(Image(PIL.Image.fromarray(levels * 3), value_range=(0, 765))), [levels.astype(np.uint8)])


@pytest.mark.parametrize("as_type", [str, lambda path: path], ids=["str", "Path"])
def test_a_path_is_read_when_the_image_is_made(as_type, tmp_path):
    """A file may go as soon as the image is made of it."""
    pixels = noise((5, 6, 3))
    file = tmp_path / "é 1.png"
    PIL.Image.fromarray(pixels).save(file)

    image = Image(as_type(file))
    file.unlink()

    assert_same(read_back(image), [pixels])


def test_a_list_may_hold_every_kind_and_keeps_its_order(tmp_path):
    """Tensors, arrays, batches, pictures and paths of any size stand in one list."""
    tensor, array, batch, picture, stored = (
        noise(shape, seed) for seed, shape in enumerate([(3, 5, 6), (7, 5, 4), (2, 5, 5), (6, 6), (9, 2, 3)])
    )
    PIL.Image.fromarray(stored).save(tmp_path / "stored.png")

    image = Image(
        [
            torch.from_numpy(tensor),
            array,
            torch.from_numpy(batch),
            PIL.Image.fromarray(picture),
            tmp_path / "stored.png",
        ]
    )

    assert repr(image) == "<Image: 6 items>"
    assert_same(read_back(image), [tensor.transpose(1, 2, 0), array, batch[0], batch[1], picture, stored])


def test_a_tuple_is_a_list():
    """A tuple of images is taken as a list of them."""
    pixels = noise((2, 5, 6))

    assert_same(read_back(Image(tuple(torch.from_numpy(pixels)))), list(pixels))


@pytest.mark.parametrize(
    ("brightest", "bright_and_dark"),
    [(2.0, [255, 255]), (2.0000002, [2, 1]), (255.0, [255, 1])],
)
def test_the_brightest_pixel_of_a_batch_decides_its_range(brightest, bright_and_dark):
    """Above 2 a batch is in [0, 255], and all its images are, even one that has no such pixel."""
    bright, dark = torch.full((5, 6), brightest), torch.full((5, 6), 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pictures = read_back(Image([bright, dark]))

    assert [int(picture[0, 0]) for picture in pictures] == bright_and_dark


@pytest.mark.parametrize(
    "shape", [(), (5,), (0,), (2, 0), (0, 5, 6), (3, 0, 6), (2, 2, 5, 6), (5, 3, 0, 6), (1, 1, 3, 5, 6)], ids=str
)
@pytest.mark.parametrize("make", [torch.zeros, np.zeros], ids=["tensor", "array"])
def test_a_shape_that_is_no_image_is_refused(make, shape):
    """A wrong number of dimensions or of channels, and an empty image, raise where the image is made."""
    with pytest.raises(ValueError, match=f"^{re.escape(SHAPE_MESSAGE.format(shape))}$"):
        Image(make(shape))


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint16", "complex64"])
@pytest.mark.parametrize("kind", ["tensor", "array"])
def test_a_dtype_that_has_no_range_is_refused(kind, dtype):
    """Integers other than uint8 and complex numbers raise where the image is made."""
    pixels = np.zeros((5, 6), dtype)

    with pytest.raises(ValueError, match=f"^{re.escape(DTYPE_MESSAGE.format(dtype))}$"):
        Image(pixels if kind == "array" else torch.from_numpy(pixels))


@pytest.mark.parametrize(
    ("value", "type_name"),
    [(5, "an int"), (None, "None"), ([[0.5]], "a list"), ({"a": 1}, "a dict"), ([np.zeros((5, 6)), 0.5], "a float")],
    ids=str,
)
def test_a_value_of_another_type_is_refused(value, type_name):
    """What is no image raises where the image is made, also inside a list."""
    with pytest.raises(TypeError, match=f"^{re.escape(TYPE_MESSAGE.format(type_name))}$"):
        Image(value)


def test_a_path_that_leads_nowhere_is_refused(tmp_path):
    """A missing file raises where the image is made, and is named."""
    missing = tmp_path / "missing.png"

    with pytest.raises(
        FileNotFoundError, match=f"^{re.escape(f'[Errno 2] No such file or directory: {str(missing)!r}')}"
    ):
        Image(str(missing))


def test_an_empty_list_is_refused():
    """A medium holds at least one item."""
    message = "Image got no items; log at least one, or leave the call out."

    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Image([])


@pytest.mark.parametrize("captions", [[], ["one"], ["one", "two", "three"]], ids=len)
def test_another_number_of_captions_is_refused(captions):
    """Captions in a list are one for each image."""
    message = (
        f"Image got 2 items and {len(captions)} captions; expected one caption for each item, or a single"
        " string for all."
    )

    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Image(torch.zeros(2, 5, 6), caption=captions)


@pytest.mark.parametrize(
    ("scores", "count"),
    [(0.5, 1), ([0.5], 1), ([0.1, 0.2, 0.3], 3), (torch.zeros(3), 3), (torch.zeros(2, 2), 4), (np.zeros(1), 1)],
    ids=["float", "list of 1", "list of 3", "tensor of 3", "tensor of 2x2", "array of 1"],
)
def test_another_number_of_scores_is_refused(scores, count):
    """Scores are one for each image."""
    message = f"Image got 2 items and {count} scores; expected one number for each item."

    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Image(torch.zeros(2, 5, 6), score=scores)


@pytest.mark.parametrize(
    "scores",
    [
        [0.5, -2],
        (0.5, -2.0),
        np.array([0.5, -2.0]),
        torch.tensor([0.5, -2.0], requires_grad=True),
        torch.tensor([[0.5], [-2.0]], dtype=torch.bfloat16),
        [torch.tensor(0.5), torch.tensor(-2.0)],
    ],
    ids=["list", "tuple", "array", "tensor", "column", "tensors"],
)
def test_scores_come_in_many_forms(scores):
    """A score for each image is a Python float in the payload, whatever it came as."""
    items = Image(torch.zeros(2, 5, 6), score=scores).encode("picture").items

    assert [(type(item.score), item.score) for item in items] == [(float, 0.5), (float, -2.0)]


@settings(max_examples=30)
@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=4))
def test_scores_keep_their_full_precision(scores):
    """A score is a Python float, and comes out as the same float."""
    image = Image([np.zeros((5, 6))] * len(scores), score=scores if len(scores) > 1 else scores[0])

    assert [item.score for item in image.encode("picture").items] == scores


def test_one_caption_stands_for_all_images():
    """A single string is the caption of each image, and none leaves all without."""
    batch = torch.zeros(2, 5, 6)

    assert [item.caption for item in Image(batch, caption="same").encode("picture").items] == ["same", "same"]
    assert [item.caption for item in Image(batch).encode("picture").items] == [None, None]


def test_the_payload_says_the_size_of_the_first_image():
    """Width and height, which TensorBoard asks for once a tag, are those of the first image."""
    payload = Image([np.zeros((5, 6)), np.zeros((7, 9))]).encode("picture")

    assert (payload.width, payload.height, payload.kind) == (6, 5, "image")


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=str)
def test_a_snapshot_is_out_of_reach_of_later_changes(dtype):
    """What the caller does in place after the snapshot does not show in the PNG."""
    pixels = torch.ones(2, 3, 5, 6, dtype=dtype)
    captions, scores = ["one", "two"], torch.tensor([0.5, 0.25])
    image = Image(pixels, captions, scores)
    expected = image.encode("picture")

    snapshot = image.snapshot()
    pixels.zero_()
    captions.reverse()
    scores.zero_()

    assert snapshot.encode("picture") == expected
    assert image.encode("picture") != expected


def test_an_array_is_out_of_reach_of_later_changes():
    """The snapshot of an image made of an array does not see what the array becomes."""
    pixels = np.full((5, 6), 200, np.uint8)
    snapshot = Image(pixels).snapshot()

    pixels[:] = 0

    assert_same(read_back(snapshot), [np.full((5, 6), 200, np.uint8)])


@settings(max_examples=30)
@given(
    parts=st.lists(
        st.tuples(st.integers(1, 3), st.booleans(), st.booleans()),
        min_size=1,
        max_size=4,
    ),
    count=st.integers(1, 12),
)
def test_joined_and_first_keep_what_belongs_to_each_image(parts, count):
    """Images carry their captions and scores along; where only some batches have scores, the others have NaN."""
    batches, rows, number = [], [], 0
    for size, has_captions, has_scores in parts:
        pixels = [np.full((5, 6), number + index, np.uint8) for index in range(size)]
        captions = [f"caption {number + index}" for index in range(size)] if has_captions else [None] * size
        scores = [(number + index) / 2 for index in range(size)] if has_scores else [None] * size
        batches.append(Image(pixels, captions if has_captions else None, scores if has_scores else None))
        rows += zip(pixels, captions, scores, strict=True)
        number += size
    some_scores = any(score is not None for _, _, score in rows)

    first, *others = batches
    joined = first.joined(others).take(range(min(count, number)))

    items = joined.encode("picture").items
    assert len(joined) == len(items) == min(count, number)
    for item, (pixels, caption, score) in zip(items, rows, strict=False):
        np.testing.assert_array_equal(opened(item), pixels)
        assert item.caption == caption
        np.testing.assert_equal(item.score, np.nan if score is None and some_scores else score)
    assert len(first) == parts[0][0]


def test_nbytes_is_the_memory_of_the_pixels():
    """Delivery bounds its memory by this."""
    image = Image([torch.zeros(3, 5, 6), np.zeros((5, 6), np.uint8)])

    assert image.nbytes == 3 * 5 * 6 * 4 + 5 * 6


def test_the_text_of_an_image_says_what_it_needs():
    """Lightning puts the value it refuses into its message, and there stands how to log it."""
    image = Image(np.zeros((5, 6)))

    assert repr(image) == "<Image: 1 item>"
    assert f"{image}" == "<Image: 1 item> (a medium can be logged once TrackPlus() is among the Trainer's callbacks)"


@pytest.mark.parametrize("way", ["picture", "path"])
def test_a_photograph_is_turned_as_its_camera_says(way, tmp_path):
    """A file that says that it is to be shown turned is written turned, since a PNG cannot say so."""
    pixels = noise((5, 6, 3))
    picture, exif = PIL.Image.fromarray(pixels), PIL.Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "photo.tiff", exif=exif)
    image = tmp_path / "photo.tiff" if way == "path" else PIL.Image.open(tmp_path / "photo.tiff")

    assert_same(read_back(Image(image)), [np.rot90(pixels, -1)])


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2], ids=str)
def test_floats_of_eight_bits_are_floats(dtype):
    """The narrowest floats that torch has are taken like the others."""
    levels = torch.tensor([0.0, 0.25, 0.5, 1.0]).reshape(2, 2)

    assert_same(read_back(Image(levels.to(dtype))), [np.array([[0, 64], [128, 255]], dtype=np.uint8)])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: torch.zeros(3, 5, 6).to_sparse(),
            "Image got a sparse tensor; expected a dense one, tensor.to_dense().",
        ),
        (
            lambda: torch.quantize_per_tensor(torch.zeros(3, 5, 6), 0.1, 0, torch.quint8),
            "Image got a quantized tensor; expected its numbers, tensor.dequantize().",
        ),
        (
            lambda: torch.nested.nested_tensor([torch.zeros(3, 5), torch.zeros(3, 6)]),
            "Image got a nested tensor; expected a list of its tensors, tensor.unbind().",
        ),
        (
            lambda: torch.zeros(3, 5, 6, device="meta"),
            "Image got a tensor on the device 'meta', which holds no values; expected one that does.",
        ),
    ],
    ids=["sparse", "quantized", "nested", "meta"],
)
def test_a_tensor_that_is_no_grid_of_pixels_is_refused(make, message):
    """Tensors that hold their numbers in another way, or none, raise where the image is made."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that some of these are prototypes.
        pixels = make()

    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Image(pixels)


@pytest.mark.parametrize("dtype", ["object", "datetime64[s]", "U1"])
def test_an_array_of_no_numbers_is_refused(dtype):
    """An array of what are no numbers raises where the image is made."""
    pixels = np.zeros((5, 6), "U1" if dtype == "U1" else dtype)

    with pytest.raises(ValueError, match=f"^{re.escape(DTYPE_MESSAGE.format(pixels.dtype))}$"):
        Image(pixels)


@pytest.mark.parametrize("dtype", ["<u1", "<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "longdouble"])
@pytest.mark.parametrize("read_only", [False, True])
def test_an_array_may_have_any_byte_order(dtype, read_only):
    """Arrays as another machine has written them, and arrays that may not be written to, are images too."""
    levels = np.arange(256).reshape(16, 16)
    pixels = levels.astype(dtype)
    pixels.flags.writeable = not read_only

    assert_same(read_back(Image(pixels)), [levels.astype(np.uint8)])


def test_tensors_of_special_kinds_are_images():
    """Parameters, tensors of inference mode and views that torch negates when it reads them are drawn."""
    levels = torch.arange(256.0).reshape(16, 16)
    with torch.inference_mode():
        of_inference = levels + 0
    negated = torch.complex(torch.zeros(16, 16), -levels).conj().imag
    assert of_inference.is_inference()
    assert negated.is_neg()

    image = Image([torch.nn.Parameter(levels), of_inference, negated]).snapshot()

    assert_same(read_back(image), [levels.byte().numpy()] * 3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 1), (3, 1, 1), (1, 20000), (20000, 1)], ids=str)
def test_images_of_one_pixel_in_a_direction_are_images(shape):
    """The smallest images, and lines."""
    pixels = noise(shape)

    (picture,) = read_back(Image(torch.from_numpy(pixels)))

    np.testing.assert_array_equal(picture, as_stored(pixels.transpose(1, 2, 0)) if len(shape) == 3 else pixels)


def test_a_file_that_is_no_image_is_refused(tmp_path):
    """What Pillow cannot read raises where the image is made, and is named."""
    (tmp_path / "note.txt").write_text("no image")

    with pytest.raises(OSError, match=r"^cannot identify image file '.*note\.txt'$"):
        Image(tmp_path / "note.txt")


@pytest.mark.parametrize("taken", [range(4), [3, 1], [2]], ids=str)
def test_a_snapshot_of_some_images_holds_their_memory_alone(taken):
    """What a selection keeps of a batch is no larger than what it keeps; what is a copy is not copied again."""
    batch = torch.from_numpy(noise((4, 3, 5, 6)))
    some = Image(batch).take(list(taken))

    snapshot = some.snapshot()
    stored = len(pickle.dumps(snapshot))
    expected = batch[list(taken)].permute(0, 2, 3, 1).numpy()
    batch.zero_()

    assert_same(read_back(snapshot), list(expected))
    assert snapshot.nbytes == some.nbytes == len(taken) * 3 * 5 * 6
    assert stored - len(pickle.dumps(Image(np.zeros((5, 6), np.uint8)).snapshot())) < 1200 + snapshot.nbytes
    assert_same(read_back(pickle.loads(pickle.dumps(snapshot))), list(expected))


def test_a_snapshot_of_a_snapshot_shares_its_memory():
    """A medium that goes to several loggers is copied once."""
    batch = torch.rand(4, 3, 50, 60)
    snapshot = Image(batch).snapshot()
    tracemalloc.start()

    again = [snapshot.snapshot(), snapshot.take([0, 1, 2, 3]).snapshot()]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < batch[0].nbytes
    assert all(one.encode("picture") == snapshot.encode("picture") for one in again)
