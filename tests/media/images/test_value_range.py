"""Which byte a pixel becomes: ranges of values, numbers outside of them, and NaN."""

from __future__ import annotations

import io
import re

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_trackplus.media.image import Image

# An encoding that warns where it should be silent fails its test.
pytestmark = pytest.mark.filterwarnings("error")

OUTSIDE = "lie outside [0, 1] or [0, 255] and are clipped; use value_range=(black, white) for another range."
DTYPES = [
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn),
]
MAGENTA = [255, 0, 255]


def read_back(image, name="picture"):
    return [np.asarray(PIL.Image.open(io.BytesIO(item.data))) for item in image.encode(name).items]


@settings(max_examples=100)
@given(
    dtype=st.sampled_from(DTYPES),
    black=st.integers(-100, 100),
    width=st.integers(1, 200),
    values=st.lists(st.integers(-128, 255), min_size=1, max_size=50),
    as_array=st.booleans(),
)
def test_values_are_spread_over_the_bytes(dtype, black, width, values, as_array):
    """Black becomes 0, white 255, and what lies between is rounded, for every dtype that has numbers."""
    is_signed = dtype.is_floating_point or dtype.is_signed
    black = black if is_signed else abs(black)
    given_values = torch.tensor([min(max(value, black), black + width) for value in values]).double()
    if not dtype.is_floating_point:
        given_values = given_values.clamp(torch.iinfo(dtype).min, torch.iinfo(dtype).max)
    pixels = given_values.to(dtype)[None]
    exact = (pixels.double().numpy() - black) * 255 / width
    if exact.min() < -0.4 or exact.max() > 255.4:  # A narrow float has been rounded out of the range.
        return
    as_array = as_array and dtype not in (torch.bfloat16, torch.float8_e4m3fn)

    (picture,) = read_back(Image(pixels.numpy() if as_array else pixels, value_range=(black, black + width)))

    assert np.abs(picture - exact).max() <= 0.5 + 1e-4


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64], ids=str)
def test_a_narrow_range_far_from_zero_keeps_its_steps(dtype):
    """Values that float32 could not tell apart are told apart."""
    pixels = 2**40 + torch.arange(256).reshape(16, 16)

    (picture,) = read_back(Image(pixels.to(dtype), value_range=(2**40, 2**40 + 255)))

    np.testing.assert_array_equal(picture, np.arange(256).reshape(16, 16))


def test_each_image_keeps_its_own_range():
    """Batches that are joined over an epoch may each have had another range, or none."""
    ramp = torch.arange(256.0).reshape(16, 16)

    image = Image(ramp * 2 - 256, value_range=(-256, 254)).joined(
        [Image((ramp * 100).int(), value_range=(0, 25500)), Image(ramp / 255)]
    )

    for picture in read_back(image.take([2, 0, 1])):
        np.testing.assert_array_equal(picture, ramp.numpy())


def test_a_range_may_darken_bytes():
    """A range that is given holds for bytes as well, and bools stay black and white."""
    pixels = torch.tensor([[0, 3, 15]], dtype=torch.uint8)

    four_bits, bools = read_back(Image([pixels, pixels > 3], value_range=(0, 15)))

    assert four_bits.tolist() == [[0, 51, 255]]
    assert bools.tolist() == [[0, 0, 255]]


@pytest.mark.parametrize(
    "value_range",
    [
        (1, 0),
        (0, 0),
        (0, float("inf")),
        (0, 10**400),
        (0, 1e-320),
        (float("nan"), 1),
        (0,),
        (0, 1, 2),
        1.0,
        "01",
        (None, 1),
        (torch.zeros(1), 1),
    ],
    ids=str,
)
def test_a_range_that_is_none_is_refused(value_range):
    """Anything but two numbers in their order, which floats can tell apart, raises where the image is made."""
    message = (
        f"Image got value_range={value_range!r}; expected two numbers, which values are black and which are white,"
        " such as (-1.0, 1.0)."
    )

    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Image(torch.zeros(5, 6), value_range=value_range)


@pytest.mark.parametrize(
    ("strange", "scale", "messages", "drawn"),
    [
        ([np.nan, np.nan, 0.5], 1, ["2 pixels are NaN and drawn in magenta."], [MAGENTA, MAGENTA, [128] * 3]),
        (
            [1.5, -0.5, -np.inf, 1.0],
            1,
            [f"3 pixel values {OUTSIDE}"],
            [255, 0, 0, 255],
        ),
        ([np.inf, 1.0], 1, [f"1 pixel values {OUTSIDE}"], [255, 255]),
        (
            [300.0, -1.0, np.nan, 128.0],
            255,
            [
                "1 pixels are NaN and drawn in magenta.",
                f"2 pixel values {OUTSIDE}",
            ],
            [[255] * 3, [0] * 3, MAGENTA, [128] * 3],
        ),
    ],
    ids=["nan", "clipped", "infinite", "both"],
)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_pixels_that_cannot_be_drawn_are_counted_in_a_warning(strange, scale, messages, drawn, dtype):
    """NaN is drawn in a colour, values out of range are clipped, and a warning that names the image counts them."""
    pixels = torch.full((5, 6), 0.25 * scale, dtype=dtype)
    pixels[0, : len(strange)] = torch.tensor(strange, dtype=dtype)

    with pytest.warns(UserWarning, match="Image 'val/hard'") as caught:
        (picture,) = read_back(Image(pixels), "val/hard")

    assert [str(warning.message) for warning in caught] == [f"Image 'val/hard': {message}" for message in messages]
    assert picture[0, : len(strange)].tolist() == drawn
    assert picture[1:].min() == picture[1:].max() == 64


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("layout", ["channels first", "channels last"])
def test_a_pixel_that_is_nan_in_one_channel_is_marked(channels, layout):
    """A pixel counts once, however many of its channels are NaN, and is seen also where it was transparent."""
    pixels = torch.full((5, 6, channels), 0.5)
    pixels[1, 2, -1] = torch.nan
    pixels[3, 3] = torch.nan
    image = Image(pixels if layout == "channels last" else pixels.permute(2, 0, 1).contiguous())

    with pytest.warns(UserWarning, match=r"^Image 'picture': 2 pixels are NaN and drawn in magenta\.$"):
        (picture,) = read_back(image)

    assert picture.shape == (5, 6, max(channels, 3))
    is_magenta = (picture[..., :3] == MAGENTA).all(axis=-1)
    assert np.argwhere(is_magenta).tolist() == [[1, 2], [3, 3]]
    assert (picture[is_magenta] == [*MAGENTA, 255][: max(channels, 3)]).all()
    assert (picture[~is_magenta] == 128).all()


def test_an_image_of_nan_alone_is_magenta():
    """Also where there is no number at all, there is a picture."""
    with pytest.warns(UserWarning, match=r"^Image 'picture': 30 pixels are NaN and drawn in magenta\.$"):
        (picture,) = read_back(Image(torch.full((5, 6), torch.nan)))

    assert (picture == MAGENTA).all()


def test_the_warning_says_the_range_that_was_given():
    """Values out of a range that the user has given are counted for that range."""
    image = Image(torch.tensor([[-2.0, 0.0, 5.0]]), value_range=(-1, 1)).joined([Image(torch.tensor([[-9.0, 1.0]]))])

    with pytest.warns(UserWarning, match="Image 'picture'") as caught:
        first, second = read_back(image)

    assert [str(warning.message) for warning in caught] == [
        "Image 'picture': 2 pixel values lie outside [-1, 1] and are clipped.",
        f"Image 'picture': 1 pixel values {OUTSIDE}",
    ]
    assert (first.tolist(), second.tolist()) == ([[0, 128, 255]], [[0, 255]])


@pytest.mark.parametrize("value", [3e38, -3e38, 1e308, -1e308])
def test_the_largest_numbers_are_clipped_like_others(value):
    """Numbers whose scaling overflows give no other warning than any number out of range."""
    dtype = torch.float64 if abs(value) > 1e300 else torch.float32
    message = "Image 'picture': 1 pixel values lie outside [0, 1] and are clipped."

    with pytest.warns(UserWarning, match=re.escape(message)) as caught:
        (picture,) = read_back(Image(torch.tensor([[value, 0.0]], dtype=dtype), value_range=(0, 1)))

    assert (len(caught), picture.tolist()) == (1, [[255 if value > 0 else 0, 0]])
