"""Images in TensorBoard with their captions and scores below them: what Pillow reads from the event file."""

from __future__ import annotations

import io
import tracemalloc
from types import SimpleNamespace

import matplotlib.figure
import numpy as np
import pandas
import PIL.Image
import PIL.ImageFont
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_trackplus import Figure, HeatMap, Image, TrackPlus, TrackPlusLogger, Video
from lightning_trackplus.media.images import lettering
from lightning_trackplus.reading.verify import compare
from tests.support.training import LoggingModule, loader, quiet_trainer

CARD = 350
# Nothing here may warn, not even that a writer failed.
pytestmark = pytest.mark.filterwarnings("error:.*(caption|TrackPlus|Image|writer|lost)")


def logged(folder, medium, **options):
    """Log a medium with a logger of its own and return what is in TensorBoard and below ``media/``."""
    logger = TrackPlusLogger(folder, name="", version="run", **options)
    logger.log_media("val/x", medium, step=3)
    logger.finalize("success")
    return what_is_in(folder / "run")


def what_is_in(run):
    """Return the images of the last step in TensorBoard, the text about them, and the files."""
    events = EventAccumulator(str(run), size_guidance={"tensors": 0}).Reload()
    width, height, *images = events.Tensors("val/x")[-1].tensor_proto.string_val
    has_text = "val/x/captions" in events.Tags()["tensors"]
    text = events.Tensors("val/x/captions")[-1].tensor_proto.string_val[0].decode() if has_text else None
    index = pandas.read_csv(run / "media.csv")
    files = [(run / file).read_bytes() for file in index[index.step == index.step.max()].file]
    pictures = [PIL.Image.open(io.BytesIO(image)) for image in images]
    assert (int(width), int(height)) == pictures[0].size
    return SimpleNamespace(images=images, pictures=pictures, text=text, files=files)


def pixels_of(data):
    return np.asarray(PIL.Image.open(io.BytesIO(data)))


def strip_below(picture, height):
    """Return what is below a picture of this height, grey, shape (H, W)."""
    below = np.asarray(picture.convert("RGB"))[height:].astype(int)
    assert (below.max(axis=2) == below.min(axis=2)).all()
    return below[..., 0]


def lines_in(strip):
    """Return the number of lines of text, which rows of white are between, or those in which letters go below."""
    return int(np.count_nonzero(np.diff((strip < 200).any(axis=1).astype(int)) == 1))


@pytest.mark.parametrize(
    ("shape", "kind"), [((28, 28), "grey"), ((64, 64), "RGB"), ((1, 1), "float"), ((30, 100), "RGBA")], ids=str
)
def test_a_small_picture_is_enlarged_by_a_whole_factor(shape, kind, tmp_path):
    """Each pixel becomes a square of its colour, text is below, and the file is as it was logged."""
    channels = {"grey": 1, "float": 3, "RGB": 3, "RGBA": 4}[kind]
    pixels = torch.randint(0, 256, (channels, *shape), dtype=torch.uint8, generator=torch.manual_seed(0))
    image = pixels / 255 if kind == "float" else pixels

    found = logged(tmp_path, Image(image, caption="a cat", score=0.5, value_range=(0, 1) if kind == "float" else None))

    (picture,), (file,) = found.pictures, found.files
    factor = min(CARD // shape[1], 512 // shape[0])
    height, width = (factor * side for side in shape)
    as_logged = pixels_of(file)
    np.testing.assert_array_equal(as_logged.reshape(*shape, channels).transpose(2, 0, 1), pixels.numpy())
    shown = np.asarray(picture)
    np.testing.assert_array_equal(shown[:height, :width], as_logged.repeat(factor, axis=0).repeat(factor, axis=1))
    assert (picture.mode, picture.width) == ({1: "L", 3: "RGB", 4: "RGBA"}[channels], CARD)
    assert lines_in(strip_below(picture, height)) == 2
    if channels == 4:
        assert (shown[height:, :, 3] == 255).all()


@pytest.mark.parametrize("file_format", ["png", "webp", "jpeg"])
def test_a_large_picture_keeps_its_size_and_format(file_format, tmp_path):
    """Its letters are larger, so that they can be read where TensorBoard makes it smaller."""
    pixels = torch.randint(0, 256, (3, 64, 1400), dtype=torch.uint8, generator=torch.manual_seed(0))

    found = logged(tmp_path, Image(pixels, caption="H", format=file_format))

    (picture,), (file,) = found.pictures, found.files
    assert (picture.format, picture.width) == (file_format.upper(), 1400)
    strip = strip_below(picture, 66)
    dark = np.flatnonzero((strip < 128).any(axis=1))
    assert len(dark) >= 4 * 7
    if file_format == "jpeg":
        np.testing.assert_allclose(np.asarray(picture)[:62].astype(int), pixels_of(file)[:62].astype(int), atol=2)
    else:
        np.testing.assert_array_equal(np.asarray(picture)[:62], pixels_of(file)[:62])


@pytest.mark.parametrize(
    ("medium", "options"),
    [
        (Image(torch.rand(2, 3, 8, 8)), {}),
        (Image(torch.rand(2, 3, 8, 8), caption=["", " \n "]), {}),
        (Image(torch.rand(4, 1, 8, 8), grid=2), {}),
        (HeatMap(torch.rand(3, 3)), {}),
        (Image(torch.rand(2, 3, 8, 8), caption=["a", "b"], score=[1, 2]), {"draw_captions": False}),
        (Image(torch.rand(4, 1, 8, 8), caption="a", grid=2), {"draw_captions": False}),
        (Video(torch.rand(2, 3, 8, 8), caption="a", score=2), {}),
    ],
    ids=["nothing", "empty", "grid", "heat map", "off", "grid, off", "video"],
)
def test_other_pictures_are_to_the_byte_as_logged(medium, options, tmp_path):
    """Without captions and scores, with ``draw_captions=False``, and videos, which would be encoded once more."""
    found = logged(tmp_path, medium, **options)

    assert found.images == found.files


@pytest.mark.parametrize("options", [{}, {"draw_captions": False}])
def test_in_one_batch_only_what_has_a_caption_is_drawn(options, tmp_path):
    """The others are as logged, and the first of the sizes in the event is that of the first image."""
    medium = Image(torch.rand(1, 8, 8)).joined([Image(torch.rand(1, 8, 8), caption="one")])

    found = logged(tmp_path, medium, **options)

    assert [image == file for image, file in zip(found.images, found.files, strict=True)] == [True, bool(options)]
    assert found.text == ("1. \n2. one" if options else None)


def test_a_run_has_the_same_files_with_and_without(tmp_path):
    """In a fit, the hardest two of an epoch have their captions and scores below them, and files are the same."""
    images = torch.rand(8, 1, 16, 16, generator=torch.manual_seed(0))

    def validation_step(module, batch, index):
        captions = [f"sample {number}" for number in range(8)]
        module.log("val/x", Image(images, caption=captions, score=torch.arange(8.0)), reduce_fx="top2")

    runs = []
    for name, draw_captions in (("with", True), ("without", False)):
        logger = TrackPlusLogger(tmp_path, name="", version=name, draw_captions=draw_captions)
        trainer = quiet_trainer(tmp_path, logger=logger, callbacks=[TrackPlus()], max_epochs=1)
        trainer.fit(LoggingModule(validation_step=validation_step), loader(4), loader(4))
        assert not compare(tmp_path / name).differences
        runs.append(what_is_in(tmp_path / name))

    captioned, plain = runs
    assert captioned.files == plain.files == plain.images
    assert (captioned.text, plain.text) == (None, "1. sample 7\n2. sample 6")
    assert [lines_in(strip_below(picture, 21 * 16)) for picture in captioned.pictures] == [2, 2]
    first, second = (strip_below(picture, 21 * 16) for picture in captioned.pictures)
    assert first.shape == second.shape
    assert (first != second).any()


def test_each_picture_of_a_grid_has_its_own_caption_and_score(tmp_path):
    """What is below a picture of the grid follows the picture to another place."""
    images, captions, scores = torch.rand(4, 3, 20, 20), ["a", "b", "c", "d"], [0.1, 0.2, 0.3, 0.4]
    order = [2, 3, 0, 1]
    in_order = Image(images[order], [captions[index] for index in order], [scores[index] for index in order], grid=2)

    straight, turned = logged(tmp_path / "1", Image(images, captions, scores, grid=2)), logged(tmp_path / "2", in_order)

    gap, side, cell = 8, 160, 171
    shown, other = (np.asarray(found.pictures[0]) for found in (straight, turned))
    row = (shown.shape[0] + gap) // 2
    assert shown.shape[1] == CARD
    cells = [(slice(top, top + row - gap), slice(left, left + cell)) for top in (0, row) for left in (0, cell + gap)]
    for index, (place, cell_of_other) in enumerate(zip(order, cells, strict=True)):
        np.testing.assert_array_equal(other[cell_of_other], shown[cells[place]])
        file, column = pixels_of(turned.files[0]), slice(22 * (index % 2), 22 * (index % 2) + 20)
        as_logged = file[22 * (index // 2) : 22 * (index // 2) + 20, column]
        np.testing.assert_array_equal(other[cell_of_other][:side, :side], as_logged.repeat(8, axis=0).repeat(8, axis=1))
    strips = [shown[cell][side:] for cell in cells]
    assert all((strips[0] != strip).any() for strip in strips[1:])


@pytest.mark.parametrize(
    "medium",
    [
        HeatMap([[1, 2], [3, 4]], ["no", "yes"], "after epoch 3", 0.75),
        Figure(matplotlib.figure.Figure(figsize=(5, 3)), "after epoch 3", 0.75),
    ],
    ids=["heat map", "figure"],
)
def test_heat_maps_and_figures_have_their_captions_too(medium, tmp_path):
    """They are not enlarged."""
    found = logged(tmp_path, medium)

    (picture,), (file,) = found.pictures, found.files
    as_logged = pixels_of(file)
    height, width = as_logged.shape[:2]
    np.testing.assert_array_equal(np.asarray(picture)[:height, :width], as_logged)
    assert lines_in(strip_below(picture, height)) == 2


CAPTIONS = {
    "long": "word " * 2000,
    "one word": "x" * 10_000,
    "lines": "one\ntwo\r\nthree\nfour\n\n" * 20,
    "controls": "nul \0, bell \a, escape \x1b[31m, tab \t, form feed \f",
    "right to left": "שלום עולם, مرحبا بالعالم \u202e back",
    "cjk": "猫在睡觉" * 30,
    "hieroglyphs": "\U00013000\U00013001",
    "surrogate": "lone \ud800",
    "emoji": "👩‍👩‍👧 🐱",
    "combining": "e" + "\u0301" * 500,
    "ligature": "ﷺ" * 50,
    "invisible": "\u200b\u200d",
    "markup": "<b>&amp;</b>",
}


@pytest.mark.parametrize("shape", [(1, 1), (1, 2000), (2000, 1), (28, 28)], ids=str)
def test_any_caption_is_drawn_on_any_picture(shape, tmp_path):
    """Nothing fails or warns, the strip has at most three lines and a score, and the text is within it."""
    captions = list(CAPTIONS.values())

    found = logged(tmp_path, Image(torch.zeros(len(captions), 1, *shape), captions, torch.ones(len(captions))))

    factor = max(1, min(CARD // shape[1], 512 // shape[0]))
    letters = max(13, 13 * shape[1] / CARD)
    assert len(found.pictures) == len(captions)
    for picture in found.pictures:
        strip = strip_below(picture, shape[0] * factor)
        assert strip.shape[0] <= 6 * letters
        assert (strip[:, -2:] == 255).all()
        assert (strip < 200).any()
    assert {pixels_of(file).shape for file in found.files} == {shape}


def test_a_very_large_picture_is_drawn(tmp_path):
    """Four thousand pixels wide."""
    found = logged(tmp_path, Image(torch.zeros(1, 3000, 4000, dtype=torch.uint8), "large", 1.0, format="jpeg"))

    (picture,) = found.pictures
    assert picture.width == 4000
    assert 3000 < picture.height < 3600


@pytest.mark.parametrize(
    ("caption", "is_exact"),
    [
        ("short", True),
        ("one\ntwo", True),
        ("a  b", True),
        ("ends here " * 4, True),
        ("русский ≤ שלום", True),  # In the DejaVu Sans of matplotlib.
        ("word " * 40, False),
        ("one\ntwo\nthree\nfour", False),
        ("\U00013000", False),
        ("nul \0", False),
    ],
)
def test_the_text_tab_has_what_is_not_shown_in_full(caption, is_exact, tmp_path):
    """Then it has the captions of all images of the step."""
    found = logged(tmp_path, Image(torch.zeros(2, 1, 28, 28), caption=["first", caption]))

    first, *_ = (found.text or "").split("\n")
    assert (found.text is None) == is_exact
    assert first == ("" if is_exact else "1. first")


def test_a_character_that_no_font_has_is_escaped(tmp_path):
    """As Python writes it."""
    hieroglyph, escaped = (
        logged(tmp_path / str(number), Image(torch.zeros(28, 28), caption=caption))
        for number, caption in enumerate(["a \U00013000", "a \\U00013000"])
    )

    assert hieroglyph.images == escaped.images
    assert (hieroglyph.text, escaped.text) == ("1. a \U00013000", None)


def test_a_long_caption_ends_with_an_ellipsis(tmp_path):
    """All of its first letters are there, and it is as one that is written so."""
    long = logged(tmp_path / "long", Image(torch.zeros(28, 28), caption="x" * 10_000))
    lines = [strip_below(picture, 12 * 28) for picture in long.pictures]

    assert lines_in(lines[0]) == 3
    bottom = lines[0][-20:]
    assert (bottom < 200).any(axis=0).nonzero()[0].max() > CARD - 20


def test_a_high_grid_is_not_enlarged(tmp_path):
    """Its rows would take hundreds of times the memory of the images."""
    images = torch.randint(0, 256, (300, 1, 20, 20), dtype=torch.uint8, generator=torch.manual_seed(0))

    found = logged(tmp_path, Image(images, [f"sample {number}" for number in range(300)], grid=1))

    (picture,), (file,) = found.pictures, found.files
    row = (picture.height + 8) // 300
    assert row < 60
    shown, as_logged = np.asarray(picture), pixels_of(file)
    for index in (0, 150, 299):
        np.testing.assert_array_equal(shown[row * index :][:20, :20], as_logged[22 * index :][:20])


@pytest.fixture
def no_letters_kept():
    """Open fonts in the test, and no longer use them after it."""
    kept = lettering._font, lettering._lettering
    for cache in kept:
        cache.cache_clear()
    yield
    for cache in kept:
        cache.cache_clear()


@pytest.mark.usefixtures("no_letters_kept")
def test_text_from_right_to_left_is_in_the_text_tab_where_pillow_cannot_write_it(tmp_path, monkeypatch):
    """As on Windows, where Pillow has no Raqm and writes it from left to right."""
    monkeypatch.setattr(PIL.ImageFont.core, "HAVE_RAQM", False)

    hebrew, latin = (
        logged(tmp_path / caption, Image(torch.zeros(28, 28), caption=caption)) for caption in ("שלום", "shalom")
    )

    assert (hebrew.text, latin.text) == ("1. שלום", None)


@pytest.mark.usefixtures("no_letters_kept")
@pytest.mark.filterwarnings("default:Captions could not be drawn")
def test_without_a_font_images_are_as_logged(tmp_path, monkeypatch, recwarn):
    """As with a Pillow that has no FreeType: captions are in the text tab, and one warning says so."""

    def no_font(size):
        raise ImportError("The _imagingft C module is not installed")

    monkeypatch.setattr(PIL.ImageFont, "load_default", no_font)
    logger = TrackPlusLogger(tmp_path, name="", version="run")
    for step in range(2):
        logger.log_media("val/x", Image(torch.zeros(8, 8), "a cat"), step=step)
    logger.finalize("success")

    found = what_is_in(tmp_path / "run")
    assert (found.images, found.text) == (found.files, "1. a cat")
    assert not compare(tmp_path / "run").differences
    assert [str(one.message) for one in recwarn] == [
        "Captions could not be drawn below images, which TensorBoard shows without; captions are in its text tab. This"
        " warning is shown once. ImportError: The _imagingft C module is not installed"
    ]


def test_pictures_are_not_kept_longer_than_until_they_are_drawn():
    """A writer of another logger may hold the payload for long, and its memory was counted as that of the medium."""
    medium = HeatMap([[1, 2], [3, 4]], caption="after epoch 3").snapshot()
    medium.encode("x").captioned.draw()
    tracemalloc.start()
    try:
        payloads = [medium.encode("x") for _ in range(10)]
        drawn = [payload.captioned.draw() for payload in payloads]
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert held < 10 * CARD * 100
    assert [payload.captioned.draw() for payload in payloads] == drawn
