"""Boxes and masks in the notation of W&B, drawn on images."""

from __future__ import annotations

import io
import pickle
import re

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_trackplus.media.image import Image
from lightning_trackplus.media.images.drawing import colour_of_class

# An encoding that warns where it should be silent fails its test.
pytestmark = pytest.mark.filterwarnings("error::UserWarning")

GREY = np.full((300, 400, 3), 90, np.uint8)


def drawn(image, name="picture"):
    """Return what Pillow reads from each file, as (H, W, 3)."""
    return [np.asarray(PIL.Image.open(io.BytesIO(item.data))) for item in image.encode(name).items]


def one_box(class_id=1, **keys):
    """Return the boxes of an image on which there is one of a class, without a label that hides pixels."""
    box = {"position": {"minX": 0.25, "maxX": 0.5, "minY": 0.2, "maxY": 0.6}, "class_id": class_id, **keys}
    return {"predictions": {"box_data": [box], "class_labels": {int(class_id or 0): ""}}}


def outline(shape, edges, colour, width=2, background=90):
    """Return a picture with a rectangle as numpy draws it; all its edges are part of it."""
    left, top, right, bottom = edges
    picture = np.full((*shape, 3), background, np.uint8)
    inside = picture[top : bottom + 1, left : right + 1]
    kept = inside[width:-width, width:-width].copy()
    inside[:] = colour
    inside[width:-width, width:-width] = kept
    return picture


@pytest.mark.parametrize(
    "keys",
    [
        {"position": {"minX": 0.25, "maxX": 0.5, "minY": 0.2, "maxY": 0.6}},
        {"position": {"middle": (0.375, 0.4), "width": 0.25, "height": 0.4}},
        {"position": {"minX": 100, "maxX": 200, "minY": 60, "maxY": 180}, "domain": "pixel"},
        {"position": {"middle": [150, 120], "width": 100, "height": 120}, "domain": "pixel"},
        {"position": {"minX": 200, "maxX": 100, "minY": 180, "maxY": 60}, "domain": "pixel"},
        {
            "position": dict(zip(("minX", "maxX", "minY", "maxY"), torch.tensor([100.0, 200, 60, 180]), strict=True)),
            "domain": "pixel",
            "class_id": torch.tensor(1),
        },
        {
            "position": {"middle": np.array([150, 120]), "width": np.float32(100), "height": np.int64(120)},
            "domain": "pixel",
        },
        {
            "position": {"middle": torch.tensor([150, 120]), "width": 100, "height": 120},
            "domain": "pixel",
            "scores": {},
        },
    ],
    ids=["fractions", "middle", "pixels", "middle in pixels", "turned", "tensors", "numpy", "middle as a tensor"],
)
def test_a_box_is_drawn_where_its_position_says(keys):
    """Both ways to say a position, in both domains, give the same outline, and nothing else is touched."""
    (picture,) = drawn(Image(GREY, boxes=one_box(**keys)))

    np.testing.assert_array_equal(picture, outline((300, 400), (100, 60, 200, 180), colour_of_class(1)))


@pytest.mark.parametrize("kind", ["tensor", "array"])
@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_boxes_of_a_detector_may_be_a_tensor(kind, dtype):
    """Rows of corners in pixels, and of a class behind them, are boxes without being taken apart."""
    rows = np.array([[100, 60, 200, 180, 1], [300, 100, 350, 250, 2]], dtype)
    rows = torch.from_numpy(rows) if kind == "tensor" else rows

    (picture,) = drawn(Image(GREY, boxes={"p": {"box_data": rows, "class_labels": {1: "", 2: ""}}}))
    (without_class,) = drawn(Image(GREY, boxes={"p": {"box_data": rows[:1, :4]}}))

    expected = outline((300, 400), (100, 60, 200, 180), colour_of_class(1))
    second = outline((300, 400), (300, 100, 350, 250), colour_of_class(2))
    np.testing.assert_array_equal(picture, np.where(second == 90, expected, second))
    np.testing.assert_array_equal(without_class, outline((300, 400), (100, 60, 200, 180), colour_of_class(0)))


@pytest.mark.parametrize(
    ("position", "edges"),
    [
        ({"minX": -50, "maxX": 50, "minY": 60, "maxY": 999}, (0, 60, 50, 299)),
        ({"minX": -1e30, "maxX": 1e30, "minY": -1e30, "maxY": 1e30}, (0, 0, 399, 299)),
    ],
)
def test_a_box_is_cut_at_the_edge_of_the_picture(position, edges):
    """What lies outside of the picture is not drawn, and its edge is."""
    (picture,) = drawn(Image(GREY, boxes=one_box(position=position, domain="pixel")))

    np.testing.assert_array_equal(picture, outline((300, 400), edges, colour_of_class(1)))


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["numbers", "tensor"])
def test_a_box_without_a_finite_position_is_counted(number, kind):
    """A detector that gives NaN does not end the training: a warning counts its boxes, the others are drawn."""
    rows = [[number, 60.0, 200.0, 180.0], [100.0, 60.0, 200.0, 180.0]]
    boxes = [
        {"position": dict(zip(("minX", "minY", "maxX", "maxY"), row, strict=True)), "domain": "pixel", "class_id": 0}
        for row in rows
    ]
    data = torch.tensor(rows) if kind == "tensor" else boxes
    image = Image(GREY, boxes={"p": {"box_data": data, "class_labels": {0: ""}}})

    with pytest.warns(UserWarning, match=r"^Image 'val/hard': 1 boxes have no finite position and are not drawn\.$"):
        (picture,) = drawn(image, "val/hard")

    np.testing.assert_array_equal(picture, outline((300, 400), (100, 60, 200, 180), colour_of_class(0)))


def test_classes_have_colours_of_their_own():
    """A hundred classes in three groups are all drawn in different colours."""
    colours = {colour_of_class(class_id, group) for class_id in range(100) for group in range(3)}

    assert len(colours) == 300


def label_pixels(boxes, *, size=(300, 400)):
    """Return the part of a picture that is drawn in addition to what is drawn without labels."""
    (picture,) = drawn(Image(np.zeros((*size, 3), np.uint8), boxes=boxes))
    return picture


@pytest.mark.parametrize(
    ("keys", "labels", "text"),
    [
        ({}, {1: "car"}, "car"),
        ({}, {}, "class_1"),
        ({}, None, "class_1"),
        ({"box_caption": "a red one"}, {1: "car"}, "car a red one"),
        ({"box_caption": "car (0.93)"}, {1: "car"}, "car (0.93)"),
        ({"scores": {"p": 0.93456, "iou": torch.tensor(0.5)}}, {1: "car"}, "car p=0.935 iou=0.5"),
        ({"class_id": None, "box_caption": "what is this"}, {}, "what is this"),
        ({"box_caption": "Café\n  noir"}, {1: ""}, "Cafe noir"),
        ({"box_caption": "lone \ud800"}, {1: ""}, "lone \\ud800"),
    ],
    ids=str,
)
def test_a_label_says_class_caption_and_scores(keys, labels, text):
    """The label is the same, pixel by pixel, as one whose whole text is given as a caption."""
    group = one_box(**keys)["predictions"] | ({"class_labels": labels} if labels is not None else {})
    if labels is None:
        del group["class_labels"]
    # The class 1 of the colour has an empty name here, so that only the caption is drawn.
    class_id = 0 if keys.get("class_id", 1) is None else 1
    as_caption = one_box(class_id, box_caption=text)

    np.testing.assert_array_equal(label_pixels({"p": group}), label_pixels(as_caption))
    assert (label_pixels(as_caption) != label_pixels(one_box(class_id))).any()


@pytest.mark.parametrize("top", [0.2, 0.0])
def test_a_label_stands_above_its_box_or_inside(top):
    """Where there is no room above, the label is inside; its place is filled with the colour of the box."""
    position = {"minX": 0.25, "maxX": 0.75, "minY": top, "maxY": 0.6}
    (picture,) = drawn(Image(GREY, boxes=one_box(position=position, box_caption="label")))

    in_colour = np.flatnonzero((picture[:, 101] == colour_of_class(1)).all(axis=-1))
    # The left line of the box goes from top to bottom; the label is filled in its colour.
    assert in_colour.max() == 180
    assert (in_colour.min() < 50) if top else (in_colour.min() == 0)
    label = picture[50:60, 102:110] if top else picture[2:10, 102:110]
    assert (label == colour_of_class(1)).all(axis=-1).mean() > 0.5


def test_a_label_at_the_right_edge_is_moved_into_the_picture():
    """A long label of a box at the edge can be read."""
    position = {"minX": 0.99, "maxX": 1.0, "minY": 0.5, "maxY": 0.6}
    at_the_edge = label_pixels(one_box(position=position, box_caption="a label of some length"))
    elsewhere = label_pixels(one_box(position=position | {"minX": 0.1}, box_caption="a label of some length"))

    def width(picture):
        columns = np.flatnonzero(picture[130:148].any(axis=(0, 2)))
        return len(columns)

    assert at_the_edge[135:148, -1].any()
    assert width(at_the_edge) == width(elsewhere) > 100


def test_groups_of_boxes_are_told_apart():
    """Of predictions and ground truth, the second group is paler, and each label names its group."""
    group = one_box(1)["predictions"]
    both = label_pixels({"predictions": group, "ground_truth": {"box_data": torch.tensor([[250, 60, 350, 180, 1]])}})

    pixels = {tuple(pixel) for pixel in both.reshape(-1, 3)}
    assert {colour_of_class(1), colour_of_class(1, 1)} <= pixels
    named = label_pixels(one_box(1, box_caption="predictions: "))
    np.testing.assert_array_equal(both[:, :230], named[:, :230])


@pytest.mark.parametrize("shape", [(28, 28), (64, 48), (1, 1), (100, 255)], ids=str)
def test_a_small_picture_is_enlarged_for_its_labels(shape):
    """Below 256 pixels, a picture with annotations is shown as large as whole multiples allow, box and all."""
    factor = 256 // max(shape)
    pixels = np.full((*shape, 3), 90, np.uint8)
    boxes = {"p": {"box_data": [{"position": {"minX": 0, "maxX": 0.5, "minY": 0, "maxY": 0.5}}]}}

    payload = Image(pixels, boxes=boxes).encode("picture")
    (picture,) = drawn(Image(pixels, boxes=boxes))

    assert (payload.height, payload.width) == picture.shape[:2] == (shape[0] * factor, shape[1] * factor)
    half = [round(min(side * factor / 2, side * factor - 1)) for side in shape]
    expected = outline(picture.shape[:2], (0, 0, half[1], half[0]), colour_of_class(0))
    np.testing.assert_array_equal(picture, expected)


def tinted(background, mask, classes, group=0):
    """Mix pixels with the colours of classes, half and half."""
    picture = background.astype(int)
    for class_id in classes:
        colour = np.array(colour_of_class(class_id, group))
        picture[mask == class_id] = (picture[mask == class_id] + colour) // 2
    return picture


def above_the_legend(picture, entries):
    return picture[: len(picture) - 20 * entries]


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from(["uint8", "int8", "int16", "int32", "int64", "uint16", "bool"]),
    kind=st.sampled_from(["array", "tensor", "transposed"]),
    labels=st.booleans(),
)
def test_a_mask_tints_the_pixels_of_its_classes(seed, dtype, kind, labels):
    """Pixels are mixed with the colour of their class, and those of the class 0 only where it has a name."""
    generator = np.random.default_rng(seed)
    background = generator.integers(0, 256, (300, 400, 3), dtype=np.uint8)
    mask = generator.integers(0, 2 if dtype == "bool" else 4, (300, 400)).astype(dtype)
    given_mask = np.asfortranarray(mask) if kind == "transposed" else mask
    given_mask = torch.from_numpy(given_mask) if kind == "tensor" else given_mask
    group = {"mask_data": given_mask, **({"class_labels": {0: "road"}} if labels else {})}

    (picture,) = drawn(Image(background, masks={"predictions": group}))

    classes = np.unique(mask)[0 if labels else 1 :]
    expected = tinted(background, mask, map(int, classes))
    np.testing.assert_array_equal(above_the_legend(picture, 5), above_the_legend(expected, 5))


@pytest.mark.parametrize("classes", [[-100, 1], [255, 300], [2**40, 7]], ids=str)
def test_a_mask_may_have_any_integers(classes):
    """Classes to be ignored are often -100 or 255."""
    mask = np.zeros((300, 400), np.int64)
    mask[50:100], mask[100:150] = classes

    (picture,) = drawn(Image(GREY, masks={"p": {"mask_data": mask}}))

    np.testing.assert_array_equal(above_the_legend(picture, 3), above_the_legend(tinted(GREY, mask, classes), 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_a_mask_may_have_floats(dtype):
    """As a file of W&B has them, without what stands behind the point; NaN is the background."""
    mask = torch.zeros(300, 400, dtype=dtype)
    mask[50:100], mask[100:150], mask[150:200] = 1, 2.75, torch.nan

    (picture,) = drawn(Image(GREY, masks={"p": {"mask_data": mask}}))

    expected = mask.double().nan_to_num().numpy().astype(int)
    np.testing.assert_array_equal(above_the_legend(picture, 3), above_the_legend(tinted(GREY, expected, [1, 2]), 3))


@pytest.mark.parametrize("size", [(3, 4), (600, 800), (7, 9)], ids=str)
@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy], ids=["array", "tensor"])
def test_a_mask_of_another_size_is_stretched_over_the_image(make, size):
    """As Pillow does without smoothing."""
    mask = np.random.default_rng(0).integers(0, 3, size, dtype=np.uint8)

    (picture,) = drawn(Image(GREY, masks={"p": {"mask_data": make(mask)}}))

    stretched = np.asarray(PIL.Image.fromarray(mask).resize((400, 300), PIL.Image.Resampling.NEAREST))
    np.testing.assert_array_equal(above_the_legend(picture, 3), above_the_legend(tinted(GREY, stretched, [1, 2]), 3))


def test_the_legend_names_the_classes_that_are_there():
    """In the lower left corner there is a label for each class in the mask, as a box would have it."""
    mask = np.zeros((300, 400), int)
    mask[:10, :10], mask[:10, 10:20] = 1, 2
    labels = {1: "car", 2: "tree", 3: "nothing of this kind"}

    (picture,) = drawn(Image(GREY, masks={"p": {"mask_data": mask, "class_labels": labels}}))
    (swapped,) = drawn(Image(GREY, masks={"p": {"mask_data": mask, "class_labels": {1: "car", 2: "fog"}}}))

    rows = np.flatnonzero((picture[20:] != 90).any(axis=(1, 2))) + 20
    middle = (rows[0] + 300) // 2
    assert rows.tolist() == list(range(rows[0], 300))
    for label, class_id in ((picture[rows[0] : middle], 1), (picture[middle:], 2)):
        assert (label[:, 0] == colour_of_class(class_id)).all()
    assert np.argwhere((picture != swapped).any(axis=-1)).min(axis=0)[0] >= middle


def test_masks_of_several_groups_are_told_apart():
    """The second mask has paler colours, and the legend names the groups."""
    mask = np.zeros((300, 400), int)
    mask[:10, :10] = 1
    group = {"mask_data": mask, "class_labels": {1: "car"}}

    (picture,) = drawn(Image(GREY, masks={"predictions": group, "ground_truth": group}))
    (longer,) = drawn(Image(GREY, masks={"p": group, "g": group}))

    expected = tinted(tinted(GREY, mask, [1]), mask, [1], group=1)
    np.testing.assert_array_equal(picture[:10, :10], expected[:10, :10])
    pixels = {tuple(pixel) for pixel in picture[200:].reshape(-1, 3)}
    assert {colour_of_class(1), colour_of_class(1, 1)} <= pixels
    assert (picture != longer).any()


@pytest.mark.parametrize("mode", ["L", "P"])
def test_a_mask_may_be_a_file(mode, tmp_path):
    """A mask is read where the image is made; of a file with a palette, the numbers are its classes."""
    mask = np.zeros((300, 400), np.uint8)
    mask[50:100], mask[100:150] = 1, 2
    file = PIL.Image.fromarray(mask)
    if mode == "P":
        file = file.copy()
        file.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200])
        assert file.mode == "P"
    file.save(tmp_path / "mask.png")

    image = Image(GREY, masks={"p": {"path": str(tmp_path / "mask.png")}})
    (tmp_path / "mask.png").unlink()

    np.testing.assert_array_equal(above_the_legend(drawn(image)[0], 3), above_the_legend(tinted(GREY, mask, [1, 2]), 3))


@pytest.mark.parametrize(
    "pixels", [np.full((300, 400), 90, np.uint8), np.full((300, 400, 4), 90, np.uint8)], ids=["L", "RGBA"]
)
def test_grey_and_transparent_pictures_become_colours_before_white(pixels):
    """A picture that is drawn on is RGB."""
    (picture,) = drawn(Image(pixels, boxes=one_box()))

    background = round(90 * 90 / 255 + 255 * 165 / 255) if pixels.ndim == 3 else 90
    expected = outline((300, 400), (100, 60, 200, 180), colour_of_class(1), background=background)
    assert np.abs(picture.astype(int) - expected).max() <= 1


def test_each_image_of_a_batch_has_its_own_annotations():
    """Boxes and masks go along with their images when some are taken, joined, copied and sent."""
    batch = torch.full((3, 3, 300, 400), 90, dtype=torch.uint8)
    mask = torch.zeros(300, 400, dtype=torch.int64)
    mask[:100] = 3
    boxes = [one_box(1), None, one_box(2)]
    image = Image(batch, boxes=boxes, masks=[None, {"m": {"mask_data": mask}}, None])

    joined = image.take([2, 1]).joined([Image(GREY), image.take([0])]).snapshot()
    boxes[2]["predictions"]["box_data"][0]["position"]["minX"] = 0
    mask.zero_()
    pictures = drawn(pickle.loads(pickle.dumps(joined)))

    for picture, class_id in ((pictures[0], 2), (pictures[3], 1)):
        np.testing.assert_array_equal(picture, outline((300, 400), (100, 60, 200, 180), colour_of_class(class_id)))
    assert (pictures[1][:100] == [(90 + colour) // 2 for colour in colour_of_class(3)]).all()
    np.testing.assert_array_equal(pictures[2], GREY)
    assert image.nbytes == batch.nbytes + 300 * 400 * 8


def test_a_snapshot_has_copies_of_masks_also_where_the_pixels_are_its_own(tmp_path):
    """The pixels of a file are nobody else's; a mask beside it may be."""
    PIL.Image.fromarray(GREY).save(tmp_path / "grey.png")
    mask, rows = torch.ones(300, 400, dtype=torch.int64), torch.tensor([[100.0, 60.0, 200.0, 180.0]])
    image = Image(tmp_path / "grey.png", masks={"m": {"mask_data": mask}}, boxes={"b": {"box_data": rows}})
    expected = image.encode("picture")

    snapshot = image.snapshot()
    mask.zero_()
    rows.zero_()

    assert snapshot.encode("picture") == snapshot.snapshot().encode("picture") == expected


@pytest.mark.parametrize("form", ["webp", "jpeg"])
def test_annotations_are_drawn_in_every_format_and_in_grids(form):
    """What is drawn does not depend on the file."""
    image = Image([GREY, GREY], boxes=[one_box(), None], format=form, grid=2)

    (picture,) = drawn(image)

    expected = outline((300, 400), (100, 60, 200, 180), colour_of_class(1))
    assert np.abs(picture[:, :400].astype(int) - expected).mean() < 1
    assert np.abs(picture[:, 402:].astype(int) - 90).mean() < 1


@pytest.mark.parametrize("key", ["boxes", "masks"])
@pytest.mark.parametrize(
    ("value", "number"), [([], "0"), ([{}], "1"), ([{}] * 3, "3"), ({}, "a dict"), ("ab", "a str")], ids=str
)
def test_another_number_of_annotations_is_refused(key, value, number):
    """Boxes and masks are one for each image."""
    message = f"Image got 2 items and {number} as {key}; expected a list with a dict or None for each item."

    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Image([GREY, GREY], **{key: value})


POSITION = 'expected a dict with "minX", "maxX", "minY" and "maxY", or with "middle", "width" and "height".'
CORNERS = {"minX": 0, "maxX": 1, "minY": 0, "maxY": 1}
BOX_DATA = (
    "expected a list of dicts, or a tensor of shape (K, 4) with the minX, minY, maxX and maxY of each box in pixels, or"
    " (K, 5) with its class behind them."
)


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        (
            {"p": []},
            """Image got a list as boxes['p']; expected a dict such as {"box_data": […], "class_labels": {…}}.""",
        ),
        ({"p": {}}, f"Image got nothing as boxes['p']['box_data']; {BOX_DATA}"),
        ({"p": {"box_data": {}}}, f"Image got a dict as boxes['p']['box_data']; {BOX_DATA}"),
        (
            {"p": {"box_data": torch.zeros(2, 6)}},
            f"Image got float32 of shape (2, 6) as boxes['p']['box_data']; {BOX_DATA}",
        ),
        (
            {"p": {"box_data": np.zeros((2, 4), complex)}},
            f"Image got complex128 of shape (2, 4) as boxes['p']['box_data']; {BOX_DATA}",
        ),
        (
            {"p": {"box_data": [3]}},
            """Image got 3 as boxes['p']['box_data'][0]; expected a dict such as {"position": {…}, "class_id": 1}.""",
        ),
        ({"p": {"box_data": [{}]}}, f"Image got nothing as boxes['p']['box_data'][0]['position']; {POSITION}"),
        (
            {"p": {"box_data": [{"position": {"minX": 0, "maxX": 1, "minY": 0}}]}},
            "Image got nothing as boxes['p']['box_data'][0]['position']['maxY']; expected a number.",
        ),
        (
            {"p": {"box_data": [{"position": CORNERS | {"minX": "0"}}]}},
            "Image got '0' as boxes['p']['box_data'][0]['position']['minX']; expected a number.",
        ),
        (
            {"p": {"box_data": [{"position": CORNERS | {"minX": torch.zeros(2)}}]}},
            "Image got float32 of shape (2,) as boxes['p']['box_data'][0]['position']['minX']; expected a number.",
        ),
        (
            {"p": {"box_data": [{"position": {"middle": 3, "width": 1, "height": 1}}]}},
            "Image got 3 as boxes['p']['box_data'][0]['position']['middle']; expected two numbers, [x, y].",
        ),
        (
            {"p": {"box_data": [{"position": {"middle": [1, None], "width": 1, "height": 1}}]}},
            "Image got nothing as boxes['p']['box_data'][0]['position']['middle'][1]; expected a number.",
        ),
        (
            {"p": {"box_data": [{"position": {"middle": [1, 2], "height": 1}}]}},
            "Image got nothing as boxes['p']['box_data'][0]['position']['width']; expected a number.",
        ),
        (
            {"p": {"box_data": [{"position": CORNERS, "domain": "pixels"}]}},
            "Image got 'pixels' as boxes['p']['box_data'][0]['domain']; expected \"pixel\", or leave it out for"
            " fractions of the width and height.",
        ),
        (
            {"p": {"box_data": [{"position": CORNERS, "class_id": 1.5}]}},
            "Image got 1.5 as boxes['p']['box_data'][0]['class_id']; expected an integer.",
        ),
        (
            {"p": {"box_data": [{"position": CORNERS, "class_id": torch.tensor(1.5)}]}},
            "Image got float32 of shape () as boxes['p']['box_data'][0]['class_id']; expected an integer.",
        ),
        (
            {"p": {"box_data": [{"position": CORNERS, "box_caption": 7}]}},
            "Image got 7 as boxes['p']['box_data'][0]['box_caption']; expected a string.",
        ),
        (
            {"p": {"box_data": [{"position": CORNERS, "scores": [0.5]}]}},
            "Image got a list as boxes['p']['box_data'][0]['scores']; expected a dict of numbers by name.",
        ),
        (
            {"p": {"box_data": [{"position": CORNERS, "scores": {"acc": "high"}}]}},
            "Image got 'high' as boxes['p']['box_data'][0]['scores']['acc']; expected a number.",
        ),
        (
            {"p": {"box_data": [], "class_labels": ["a"]}},
            "Image got a list as boxes['p']['class_labels']; expected a dict of class ids to names, such as"
            ' {0: "road", 1: "car"}.',
        ),
        (
            {"p": {"box_data": [], "class_labels": {"a": "b"}}},
            "Image got \"'a': 'b'\" as boxes['p']['class_labels']; expected a dict of class ids to names, such as"
            ' {0: "road", 1: "car"}.',
        ),
    ],
)
def test_wrong_notation_of_boxes_is_refused(boxes, message):
    """The error names the key, whether the boxes stand alone or in a list."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Image(GREY, boxes=boxes)
    with pytest.raises(ValueError, match=f"^{re.escape(message.replace('boxes[', 'boxes[1]['))}$"):
        Image([GREY, GREY], boxes=[None, boxes])


CLASSES = "expected the class of each pixel, shape (H, W)."


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({"m": 3}, """Image got 3 as masks['m']; expected a dict such as {"mask_data": …, "class_labels": {…}}."""),
        ({"m": {}}, f"Image got nothing as masks['m']['mask_data']; {CLASSES}"),
        ({"m": {"mask_data": [[0, 1]]}}, f"Image got a list as masks['m']['mask_data']; {CLASSES}"),
        (
            {"m": {"mask_data": np.zeros((0, 400))}},
            f"Image got float64 of shape (0, 400) as masks['m']['mask_data']; {CLASSES}",
        ),
        (
            {"m": {"mask_data": torch.zeros(300, 400, dtype=torch.complex64)}},
            f"Image got complex64 of shape (300, 400) as masks['m']['mask_data']; {CLASSES}",
        ),
        (
            {"m": {"mask_data": torch.zeros(1, 300, 400, dtype=torch.bool)}},
            f"Image got bool of shape (1, 300, 400) as masks['m']['mask_data']; {CLASSES}",
        ),
        ({"m": {"path": 3}}, "Image got 3 as masks['m']['path']; expected the path of an image file."),
        (
            {"m": {"mask_data": np.zeros((300, 400), int), "class_labels": {1: 2}}},
            "Image got '1: 2' as masks['m']['class_labels']; expected a dict of class ids to names, such as"
            ' {0: "road", 1: "car"}.',
        ),
    ],
)
def test_wrong_notation_of_masks_is_refused(masks, message):
    """The error names the key."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Image(GREY, masks=masks)


def test_a_mask_whose_file_is_missing_or_in_colour_is_refused(tmp_path):
    """The path of a mask is read, and checked, where the image is made."""
    PIL.Image.fromarray(GREY).save(tmp_path / "colour.png")
    message = f"Image got uint8 of shape (300, 400, 3) as masks['m']['path']; {CLASSES}"

    with pytest.raises(FileNotFoundError, match=r"missing\.png"):
        Image(GREY, masks={"m": {"path": tmp_path / "missing.png"}})
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Image(GREY, masks={"m": {"path": tmp_path / "colour.png"}})


@pytest.mark.parametrize("domain", [{}, {"domain": "pixel"}])
def test_what_wandb_takes_is_taken(domain):
    """The same dicts make an image of W&B and one of ours."""
    wandb = pytest.importorskip("wandb")
    labels = {0: "sky", 1: "car"}
    positions = [CORNERS, {"middle": [0.5, 0.5], "width": 0.2, "height": 0.1}]
    boxes = {
        "predictions": {
            "box_data": [
                {
                    "position": position,
                    "class_id": 1,
                    "box_caption": "a car",
                    "scores": {"acc": 0.5, "loss": 1},
                    **domain,
                }
                for position in positions
            ],
            "class_labels": labels,
        },
        "ground_truth": {"box_data": [{"position": CORNERS, "class_id": 0}]},
    }
    masks = {"predictions": {"mask_data": np.ones((300, 400), np.uint8), "class_labels": labels}}

    wandb.Image(GREY, boxes=boxes, masks=masks)

    assert drawn(Image(GREY, boxes=boxes, masks=masks))[0].shape == GREY.shape


def test_no_boxes_are_boxes_too():
    """An image on which nothing was found is drawn without them."""
    for data in ([], torch.zeros(0, 4)):
        np.testing.assert_array_equal(drawn(Image(GREY, boxes={"p": {"box_data": data}}))[0], GREY)
    for nothing in ({}, {"p": {"mask_data": np.zeros((300, 400), bool)}}):
        np.testing.assert_array_equal(drawn(Image(GREY, masks=nothing))[0], GREY)
