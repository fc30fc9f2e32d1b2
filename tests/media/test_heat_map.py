"""Heat maps: the colours that Pillow reads from the PNG are those of the numbers."""

from __future__ import annotations

import io
import pickle
import re
import warnings

import matplotlib as mpl
import numpy as np
import pandas as pd
import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch._subclasses.fake_tensor import FakeTensorMode
from torchmetrics.classification import MulticlassConfusionMatrix

from lightning_trackplus.media.heat_map import HeatMap
from lightning_trackplus.record import Record
from lightning_trackplus.writers.csv import CSVWriter
from lightning_trackplus.writers.tensorboard import EventsWriter

# An encoding that warns where it should be silent fails its test.
pytestmark = pytest.mark.filterwarnings("error")

VIRIDIS = np.array(mpl.colormaps["viridis"].colors) * 255
GREY = (190, 190, 190)
TYPE_MESSAGE = (
    "HeatMap got {} that holds no array of numbers; expected a tensor, an array, a list of numbers, or a list of"
    " tensors or arrays."
)
SHAPE_MESSAGE = (
    "HeatMap got numbers of shape {}; expected (rows, columns), or a batch of these with the batch first. No"
    " dimension is 0."
)


def pictures(heat_map):
    """Return what Pillow reads from the PNGs, (H, W, 3)."""
    payload = heat_map.encode("confusion")
    opened = [PIL.Image.open(io.BytesIO(item.data)) for item in payload.items]
    assert {(item.suffix, picture.format) for item, picture in zip(payload.items, opened, strict=True)} == {
        (".png", "PNG")
    }
    assert (payload.kind, (payload.width, payload.height)) == ("image", opened[0].size)
    return [np.asarray(picture).astype(int) for picture in opened]


def map_in(picture, columns):
    """Return the rows and columns of the cells, as slices: what is coloured, up to the white gap before the scale."""
    is_coloured = picture.min(axis=2) < picture.max(axis=2)
    # The edges of letters can be of the same grey as cells that are NaN, but not a whole line of them.
    is_grey = (picture == GREY).all(axis=2)
    is_coloured |= is_grey & (is_grey.sum(axis=1, keepdims=True) > 60)
    tops, lefts = np.flatnonzero(is_coloured.any(axis=1)), np.flatnonzero(is_coloured.any(axis=0))
    left = lefts[0]
    gaps = np.flatnonzero(~is_coloured[tops[0], left:])
    width = int(gaps[0]) if len(gaps) else picture.shape[1] - left
    heights = np.flatnonzero(~is_coloured[:, left][tops[0] :])
    assert width % columns == 0
    return slice(tops[0], tops[0] + int(heights[0])), slice(left, left + width)


def cells_in(picture, shape):
    """Return the colours of the cells, (rows, columns, 3), from a corner of each, where no number is written."""
    rows, columns = map_in(picture, shape[1])
    cell = (columns.stop - columns.start) // shape[1]
    assert rows.stop - rows.start == cell * shape[0]
    return picture[rows.start : rows.stop : cell, columns.start : columns.stop : cell]


def colours_of(numbers):
    """Return the colours of matplotlib for numbers between their smallest and largest."""
    numbers = np.asarray(numbers, dtype=np.float64)
    low, high = np.nanmin(numbers), np.nanmax(numbers)
    return VIRIDIS[np.rint((numbers - low) / ((high - low) or 1) * 255).astype(int)]


def assert_drawn(picture, numbers):
    # Every eighth colour is matplotlib's, those between lie on straight lines.
    np.testing.assert_allclose(cells_in(picture, np.shape(numbers)), colours_of(numbers), atol=3)


@settings(max_examples=20)
@given(
    shape=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64, torch.uint8]),
    seed=st.integers(0, 2**32 - 1),
)
def test_colours_are_those_of_the_numbers(shape, dtype, seed):
    """Of any shape and type, each cell has the colour that matplotlib's viridis has for its number."""
    numbers = torch.randint(0, 200, shape, generator=torch.manual_seed(seed)).to(dtype)

    (picture,) = pictures(HeatMap(numbers))

    assert_drawn(picture, numbers.double().numpy())


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (1, 3000), (3000, 1), (1000, 1000), (640, 20)], ids=str)
def test_sizes_are_sensible(shape):
    """Few cells are large, many are a pixel each, and the picture has room for its scale."""
    numbers = np.arange(np.prod(shape)).reshape(shape)

    (picture,) = pictures(HeatMap(numbers))

    assert_drawn(picture, numbers)
    height, width = picture.shape[:2]
    assert 60 <= height <= max(700, shape[0] + 50)
    assert 350 <= width <= max(350, shape[1] + 250)


@pytest.mark.parametrize(
    ("given_matrix", "count"),
    [
        ([[1, 2], [3, 4]], 1),
        (np.arange(12.0).reshape(3, 4)[:, ::-1], 1),
        (np.ones((3, 2), bool), 1),
        (torch.rand(5, 2, 3), 5),
        (torch.rand(2, 3).T, 1),
        (torch.rand(2, 3, requires_grad=True), 1),
        ([torch.rand(2, 3), np.ones((4, 4))], 2),
        ((torch.rand(2, 3, 3), torch.rand(2, 2)), 3),
        ([[[1, 2]], [[3, 4]]], 2),
    ],
    ids=["lists", "array", "bool", "batch", "transposed", "gradient", "list of matrices", "tuple of batches", "nested"],
)
def test_every_form_is_taken(given_matrix, count):
    """Tensors, arrays and lists, one matrix or several."""
    heat_map = HeatMap(given_matrix, caption="c", score=torch.arange(count))

    items = heat_map.snapshot().encode("confusion").items
    assert [(item.caption, item.score) for item in items] == [("c", score) for score in range(count)]


def test_numbers_are_written_where_they_fit():
    """Twenty-five rows of short numbers have them in their cells, and rows of long ones have none."""
    short, long = np.eye(25), np.eye(25) * -1.2e-101

    shades = [len(np.unique(cells @ [1, 2**8, 2**16])) for cells in map(cells_of, (short, long))]

    assert shades[0] > 20
    assert shades[1] == 2


def cells_of(numbers):
    """Return the pixels of the cells alone."""
    (picture,) = pictures(HeatMap(numbers))
    return picture[map_in(picture, len(numbers[0]))]


@pytest.mark.parametrize("background", [0.0, 1.0], ids=["dark", "bright"])
def test_numbers_can_be_read_on_their_colour(background):
    """They are white on dark colours and black on bright ones."""
    numbers = np.full((3, 3), background)
    numbers[0, 0] = 1 - background

    cells = cells_of(numbers)

    side = len(cells) // 3
    cell = cells[side : 2 * side, side : 2 * side].mean(axis=2)
    assert cell.max() > 250 if background == 0 else cell.min() < 5
    assert cell.max() - cell.min() > 120


DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
LONG_NAMES = [f"airplane of a long name, {digit}" for digit in DIGITS]
CARD = 350


@pytest.mark.parametrize("names", [["no", "yes"], ["no pneumonia was found", "pneumonia"], DIGITS, LONG_NAMES], ids=len)
@pytest.mark.parametrize(("count", "normalize"), [(88, None), (888, None), (8888, None), (888, "true")])
def test_a_map_of_ten_classes_is_readable_at_the_width_of_a_card(names, count, normalize):
    """TensorBoard shows it as it is: each row and column has a name, each cell its number, of 6 pixels at least."""
    matrix = np.eye(len(names), dtype=int) * count + 8

    (picture,) = pictures(HeatMap(matrix, names, normalize=normalize))

    assert picture.shape[1] == CARD
    rows, columns = map_in(picture, len(names))
    side = (rows.stop - rows.start) // len(names)
    dark = (picture < 120).all(axis=2)
    cells = picture[rows, columns]
    for index in range(len(names)):
        place = slice(index * side, (index + 1) * side)
        assert heights_of(dark[rows, : columns.start][place, 20:]) >= 6
        assert dark[rows.stop : rows.stop + 100, columns][:, place].any()
        for other in range(len(names)):
            cell = cells[place, other * side : (other + 1) * side]
            number = (cell != cell[0, 0]).any(axis=2)
            assert heights_of(number) >= 6
            # It is within its cell.
            assert not number[:, [0, -1]].any()


def heights_of(ink):
    """Return the height of what is drawn."""
    return np.ptp(np.flatnonzero(ink.any(axis=1))) + 1


def test_a_map_of_thirty_classes_has_names_that_are_readable_at_the_width_of_a_card():
    """It is wider, for its numbers, and the letters beside it are larger by as much."""
    (picture,) = pictures(HeatMap(np.eye(30) * 88, [f"class {index}" for index in range(30)]))

    _, columns = map_in(picture, 30)
    ink = (picture[:, columns.start - 70 : columns.start] < 120).all(axis=2).any(axis=1).astype(int)
    starts, ends = np.flatnonzero(np.diff(ink) == 1), np.flatnonzero(np.diff(ink) == -1)
    assert picture.shape[1] > CARD
    assert len(starts) >= 15
    assert min(ends - starts) * CARD / picture.shape[1] >= 6


def test_long_numbers_are_shortened_to_fit():
    """Six digits become thousands, and shares have two decimals, where the whole number does not fit."""
    wide, narrow = (cells_of(np.full((13, 13), number)) for number in (123_456, 123))
    share, short = (cells_of(np.full((13, 13), number)) for number in (0.1234, 0.12))

    assert wide.shape == narrow.shape
    np.testing.assert_array_equal(share, short)


def test_nan_is_grey_and_infinity_the_end_of_the_scale():
    """A warning counts both, and the scale is that of the rest."""
    numbers = [[0.0, np.nan, 1.0], [np.inf, -np.inf, np.nan]]

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        (picture,) = pictures(HeatMap(numbers))

    assert [str(one.message) for one in caught] == [
        "HeatMap 'confusion': 2 cells are NaN and drawn grey.",
        "HeatMap 'confusion': 2 cells are infinite and drawn in the last colours of the scale.",
    ]
    found = cells_in(picture, (2, 3))
    low, high = found[0, 0], found[0, 2]
    np.testing.assert_array_equal(found, [[low, GREY, high], [high, low, GREY]])
    np.testing.assert_allclose([low, high], VIRIDIS[[0, -1]], atol=1)


@pytest.mark.parametrize(
    "numbers",
    [[[np.nan, np.nan]], [[np.inf, -np.inf]], [[5.0, 5.0]], [[-1.7e308, 1.7e308]], [[2**62, -(2**62)]]],
    ids=["nan", "infinite", "equal", "far apart", "long"],
)
def test_numbers_without_a_scale_are_drawn(numbers):
    """There is a picture of whatever there is."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "HeatMap")
        (picture,) = pictures(HeatMap(numbers))

    assert len(np.unique(cells_in(picture, (1, 2)).reshape(-1, 3), axis=0)) == len({*map(str, numbers[0])})


@pytest.mark.parametrize("normalize", ["true", "pred", "all"])
def test_the_share_of_an_infinite_cell_is_nan(normalize):
    """It is grey and counted, and numpy warns of nothing."""
    with pytest.warns(UserWarning, match=r"^HeatMap 'confusion': 1 cells are NaN and drawn grey\.$") as caught:
        (picture,) = pictures(HeatMap([[np.inf, 1.0], [2.0, 3.0]], normalize=normalize))

    assert len(caught) == 1
    np.testing.assert_array_equal(cells_in(picture, (2, 2))[0, 0], GREY)


@pytest.mark.parametrize("normalize", ["true", "pred", "all"])
def test_normalized_as_scikit_learn_does(normalize):
    """Rows, columns or all cells sum up to 1, and what has no sum is 0."""
    generator = np.random.default_rng(0)
    true, predicted = generator.integers(0, 6, 300), generator.integers(0, 6, 300)
    counts = confusion_matrix(true, predicted, labels=range(7))
    expected = confusion_matrix(true, predicted, labels=range(7), normalize=normalize)

    (picture,) = pictures(HeatMap(counts, normalize=normalize))

    assert_drawn(picture, expected)


def test_names_stand_on_both_axes():
    """Each row has its name on the left, each column below, and the words true and predicted are beyond."""
    counts = MulticlassConfusionMatrix(3)(torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 1, 2]))

    (named,) = pictures(HeatMap(counts, ["cat", "dog", "owl"]))

    assert_drawn(named, counts)
    rows, columns = map_in(named, 3)
    dark = (named < 120).all(axis=2)
    left, below = dark[rows, : columns.start], dark[rows.stop :, columns]
    side = left.shape[0] // 3
    assert [heights_of(left[index * side : (index + 1) * side, 30:]) > 5 for index in range(3)] == [True] * 3
    assert [below[:20, index * side : (index + 1) * side].any() for index in range(3)] == [True] * 3
    assert (left[:, :25].any(), below[20:].any()) == (True, True)


def test_long_names_run_upwards():
    """Each stands below its column, higher than a line and no wider."""
    (named,) = pictures(HeatMap(np.eye(8), ["long names of classes"] * 8))

    rows, columns = map_in(named, 8)
    side = (rows.stop - rows.start) // 8
    dark = (named < 100).all(axis=2)
    below = dark[rows.stop : -24, columns].reshape(-1, 8, side)
    for name in below.swapaxes(0, 1):
        assert heights_of(name) > side
        assert 5 < heights_of(name.T) <= 15


def test_names_that_differ_at_their_ends_are_told_apart():
    """A long name loses its middle."""
    one, other = (pictures(HeatMap(np.eye(2), [f"a long name of the class {end}", ""]))[0] for end in "ab")

    assert (one != other).any()


@pytest.mark.parametrize(
    "names",
    [
        ["", " "],
        ["x" * 300, "y"],
        ["two\nlines", "tab\tbed"],
        ["😀", "猫"],
        ["surrogate \ud800", "nul \0"],
        [0, 1],
        np.array(["a", "b"]),
    ],
    ids=["blank", "long", "lines", "other scripts", "broken", "numbers", "array"],
)
def test_any_names_are_drawn(names):
    """What letters there are is written, long names are cut, and none makes the picture large."""
    (picture,) = pictures(HeatMap([[1, 2], [3, 4]], names))

    assert max(picture.shape) < 500


@pytest.mark.parametrize("count", [30, 200, 1000])
def test_names_of_many_classes_do_not_overlap(count):
    """Where a row is lower than a letter, some names are left out."""
    (picture,) = pictures(HeatMap(np.eye(count), [f"class {index}" for index in range(count)]))

    rows, columns = map_in(picture, count)
    has_ink = (picture[rows, columns.start - 30 : columns.start] < 200).all(axis=2).any(axis=1)
    # Between two names there are rows of pixels without any.
    assert np.count_nonzero(np.diff(has_ink.astype(int)) == 1) >= 12


def test_names_are_drawn_without_accents():
    """The font has none: with them, it would draw a rectangle for the whole letter."""
    accented, plain = (pictures(HeatMap(np.eye(2), names)) for names in (["Müller", "café"], ["Muller", "cafe"]))

    np.testing.assert_array_equal(accented, plain)


def test_names_are_of_the_matrix_they_came_with():
    """Joined maps and those that are taken have each their names, normalization, caption and score."""
    first = HeatMap([[1, 2], [3, 4]], ["a", "b"], "first", 0.5)
    second = HeatMap([[1, 2], [3, 4]], normalize="all", caption="second", score=2.0)

    joined = first.joined([second])

    assert (len(joined), repr(joined)) == (2, "<HeatMap: 2 items>")
    expected = [*first.encode("x").items, *second.encode("x").items]
    assert list(joined.encode("x").items) == expected
    assert list(joined.take([1, 0]).snapshot().encode("x").items) == expected[::-1]


@pytest.mark.parametrize("kind", [torch.tensor, np.array])
def test_a_snapshot_is_out_of_reach_of_later_changes(kind):
    """The numbers are those of the call."""
    matrix = kind([[1.0, 2.0], [3.0, 4.0]])
    snapshot = HeatMap(matrix).snapshot()

    matrix[:] = 0

    assert_drawn(pictures(snapshot)[0], [[1, 2], [3, 4]])


def test_matrices_on_a_device_are_taken_without_waiting_for_it():
    """A fake tensor has no numbers to wait for."""
    with FakeTensorMode():
        heat_map = HeatMap(torch.empty(5, 3, 3, device="cuda"), ["a", "b", "c"], score=torch.empty(5, device="cuda"))

        assert heat_map.take([1, 3]).snapshot().nbytes == 2 * 9 * 4


def test_a_pickle_is_the_same():
    """Media are sent between processes."""
    heat_map = HeatMap(torch.rand(2, 2, 2), ["a", "b"], ["c", "d"], [1.0, 2.0], normalize="true")

    assert pickle.loads(pickle.dumps(heat_map)).encode("x") == heat_map.encode("x")


@pytest.mark.parametrize(
    ("matrix", "options", "error", "message"),
    [
        *(
            (np.ones(shape), {}, ValueError, SHAPE_MESSAGE.format(shape))
            for shape in [(), (3,), (0, 3), (2, 3, 0), (1, 2, 3, 4)]
        ),
        ([], {}, ValueError, SHAPE_MESSAGE.format((0,))),
        ([torch.ones(2), torch.ones(2)], {}, ValueError, SHAPE_MESSAGE.format((2,))),
        (
            torch.ones(2**13 + 1, 1).expand(-1, 2**13),
            {},
            ValueError,
            "HeatMap got a matrix of shape (8193, 8192); expected at most 67,108,864 cells.",
        ),
        (
            torch.ones(2, 2, dtype=torch.complex64),
            {},
            ValueError,
            "HeatMap got numbers of torch.complex64; expected real ones, for example their absolute values.",
        ),
        (
            torch.eye(2).to_sparse(),
            {},
            ValueError,
            "HeatMap got a sparse tensor; expected a dense one, tensor.to_dense().",
        ),
        *(
            (matrix, {}, TypeError, TYPE_MESSAGE.format(name))
            for matrix, name in [("ab", "a str"), (None, "None"), ([[1, 2], [3]], "a list"), ([["a"]], "a list")]
        ),
        (
            np.ones((2, 2)),
            {"class_names": ["a", "b", "c"]},
            ValueError,
            "HeatMap got 3 class names and a matrix of shape (2, 2); expected a name for each row, which is also that"
            " of the column.",
        ),
        (
            np.ones((2, 3)),
            {"class_names": ["a", "b"]},
            ValueError,
            "HeatMap got 2 class names and a matrix of shape (2, 3); expected a name for each row, which is also that"
            " of the column.",
        ),
        (np.ones((2, 2)), {"class_names": "ab"}, TypeError, "HeatMap got class_names='ab'; expected a list of names."),
        (
            np.ones((2, 2)),
            {"normalize": "rows"},
            ValueError,
            'HeatMap got normalize=\'rows\'; expected "true", "pred", "all" or None.',
        ),
        (
            np.ones((2, 2, 2)),
            {"caption": ["a"]},
            ValueError,
            "HeatMap got 2 items and 1 captions; expected one caption for each item, or a single string for all.",
        ),
        (
            np.ones((2, 2, 2)),
            {"score": [1.0]},
            ValueError,
            "HeatMap got 2 items and 1 scores; expected one number for each item.",
        ),
    ],
)
def test_what_is_no_matrix_is_refused(matrix, options, error, message):
    """What cannot be drawn raises where the map is made."""
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        HeatMap(matrix, **options)


def test_files_and_tensorboard(tmp_path):
    """The file is beside its row in the index, and TensorBoard's image tab has the same picture."""
    heat_map = HeatMap([[8, 2], [1, 9]], ["cat", "dog"], "after training").encode("val/confusion")
    for writer in (CSVWriter(tmp_path / "csv"), EventsWriter(tmp_path / "events")):
        writer.write(Record(4, 0, 1e9, {"val/confusion": heat_map}))
        writer.close()

    index = pd.read_csv(tmp_path / "csv" / "media.csv")
    assert index[["name", "kind", "file", "caption"]].to_numpy().tolist() == [
        ["val/confusion", "image", "media/val-confusion/0000000004-000.png", "after training"]
    ]
    accumulator = EventAccumulator(str(tmp_path / "events")).Reload()
    (event,) = accumulator.Tensors("val/confusion")
    width, height, png = event.tensor_proto.string_val
    assert png == (tmp_path / "csv" / index["file"][0]).read_bytes()
    assert PIL.Image.open(io.BytesIO(png)).size == (int(width), int(height))
