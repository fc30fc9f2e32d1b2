"""Media for Lightning's WandbLogger, with real wandb in offline mode, read back from the files of its run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import soundfile

from lightning_trackplus.record import (
    Counts,
    HistogramPayload,
    Item,
    TableData,
    TablePayload,
    TensorBoardEvent,
)
from lightning_trackplus.writers.foreign.wandb import WandbWriter
from tests.flavour.pytorch.loggers import WandbLogger
from tests.support import payloads
from tests.support.payloads import HARD_NAMES, KINDS, log_from_two_threads, pictures, record

wandb = pytest.importorskip("wandb")
from tests.support.wandb_run import history  # noqa: E402  it needs wandb

NUMBERS = 300
"""Numbers that one thread logs while another logs media."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return the rows and the folder of a run to which everything was logged that the tests ask for."""
    folder = tmp_path_factory.mktemp("wandb")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("WANDB_SILENT", "true")
        patch.setenv("WANDB_MODE", "offline")
        logger = WandbLogger(save_dir=folder, offline=True, project="tests", prefix="mine")
        writer = WandbWriter(logger)
        for name, kind in KINDS.items():
            writer.write(record({name: kind(), "a number": 1.0, "an event": TensorBoardEvent(None, 0)}))
        writer.write(record({"numbers alone": 1.0}))
        writer.write(record({"jpeg": pictures(2, ".jpg"), "webp": pictures(2, ".webp")}))
        writer.write(record({"many": pictures(110), "both": payloads.histograms(2)}))
        writer.write(record({"wide": wide_histogram(), "mixed": mixed_table()}))
        for name in HARD_NAMES:
            writer.write(record({name: pictures(1)}))
            writer.write(record({name: KINDS["table"]()}))
        log_from_two_threads(logger, writer, NUMBERS)
        writer.flush()
        writer.close()
        files = Path(logger.experiment.dir)
        wandb.finish()
    return history(files), files


def wide_histogram():
    counts = np.full(1100, 2.0)
    counts[7] = np.nan
    return HistogramPayload((Item(b"", ".csv"),), (Counts(np.arange(1101.0), counts, 0, 0),))


def mixed_table():
    return TablePayload((Item(b"", ".csv"),), (TableData(("a",), (("one",), (2,), (None,))),))


def logged(run, key):
    """Return the row that has a key, and what it has under it."""
    rows, _ = run
    (row,) = [row for row in rows if f"mine-{key}" in row]
    return row, row[f"mine-{key}"]


def content(run, path):
    return (run[1] / path).read_bytes()


def cells(run, key):
    """Return the columns and rows of a table."""
    table = json.loads(content(run, logged(run, key)[1]["path"]))
    return table["columns"], table["data"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_the_prefix_and_the_step_of_the_numbers(run, kind):
    """A row has the medium under the prefixed name and Lightning's step; numbers and events of ours are left out."""
    row, _ = logged(run, kind)
    assert row["trainer/global_step"] == 22
    assert not [key for key in row if "number" in key or "event" in key]


def test_images_keep_their_bytes_and_show_caption_and_score(run):
    """W&B's files are those that were encoded, in any format, and each is shown with its line."""
    _, shown = logged(run, "picture")
    assert (shown["_type"], shown["count"], shown["width"], shown["height"]) == ("images/separated", 2, 9, 6)
    assert shown["captions"] == ["picture 0 (score 0.5)", "picture 1 (score 1.5)"]
    for path, pixels in zip(shown["filenames"], payloads.PIXELS, strict=True):
        np.testing.assert_array_equal(np.asarray(PIL.Image.open(run[1] / path)), pixels)
    for key, suffix in (("jpeg", ".jpg"), ("webp", ".webp")):
        paths = logged(run, key)[1]["filenames"]
        assert [content(run, path) for path in paths] == [item.data for item in pictures(2, suffix).items]
        assert {Path(path).suffix for path in paths} == {suffix}


def test_more_images_than_wandb_takes_have_a_second_key(run):
    """W&B drops what comes after its 108th image, so that these are logged beside."""
    assert [logged(run, f"many/{number}")[1]["count"] for number in (1, 2)] == [108, 2]


def test_sounds_are_the_files_with_their_captions(run):
    """A WAV is kept as it is; a sound without a caption has an empty one beside others."""
    _, shown = logged(run, "sound")
    assert shown["_type"] == "audio"
    assert shown["captions"] == ["", "a tone"]
    for sound in shown["audio"]:
        samples, rate = soundfile.read(run[1] / sound["path"], dtype="int16")
        assert rate == 8000
        np.testing.assert_array_equal(samples, payloads.SAMPLES)


def test_a_moving_webp_becomes_a_gif_of_the_same_frames_and_time(run):
    """W&B takes no WebP as video: the GIF has the frames, their shades and their time."""
    _, shown = logged(run, "video")
    assert (shown["_type"], shown["captions"]) == ("videos", ["brighter"])
    with PIL.Image.open(run[1] / shown["videos"][0]["path"]) as gif:
        assert (gif.format, gif.size, gif.info["loop"]) == ("GIF", (8, 4), 0)
        seen = []
        for index in range(gif.n_frames):
            gif.seek(index)
            seen.append((np.asarray(gif.convert("L"))[0, 0], gif.info["duration"]))
    assert seen == [(shade, 250) for shade in payloads.SHADES]


def test_films_are_the_files_with_their_captions(run):
    """W&B plays them as they are."""
    _, shown = logged(run, "film")
    assert (shown["_type"], shown["captions"]) == ("videos", ["a film", ""])
    stored = [content(run, film["path"]) for film in shown["videos"]]
    assert stored == [item.data for item in payloads.films().items]


def test_texts_are_a_table_as_wandb_loggers_own(run):
    """Each text is a row with its caption; a column that nothing stands in is left out."""
    assert cells(run, "text") == (
        ["text", "caption"],
        [[payloads.MARKDOWN[0], "text 0"], [payloads.MARKDOWN[1], "text 1"]],
    )


def test_pages_are_html_as_they_are(run):
    """A page is stored unchanged, without W&B's own style, and its caption is in a table beside."""
    _, shown = logged(run, "page")
    assert shown["_type"] == "html"
    assert content(run, shown["html"][0]["path"]).decode() == payloads.HTML
    assert cells(run, "page/captions") == (["number", "caption"], [[1, "a page"]])


def test_files_that_wandb_does_not_show_are_files_of_the_run(run):
    """A table names them, with their captions and scores."""
    columns, (first, second) = cells(run, "file")
    assert (columns, first[1:], second[1:]) == (["file", "caption", "score"], ["a cloud", 0.5], [None, None])
    assert [first[0], second[0]] == ["media/file/0000000022-000.ply", "media/file/0000000022-001.ply"]
    assert [content(run, path) for path in (first[0], second[0])] == [b"ply", b"ply 2"]


def test_tables_keep_cells_and_score(run):
    """Numbers, texts, booleans and empty cells are what they were; the table's score is beside it."""
    assert cells(run, "table") == (["n", "x", "s", "b"], [list(row) for row in payloads.CELLS])
    assert cells(run, "table/captions") == (["number", "score"], [[1, 2.0]])
    assert cells(run, "mixed") == (["a"], [["one"], [2], [None]])


def test_histograms_have_counts_and_edges(run):
    """Bins without an end are as wide as their neighbours, and each of several histograms has its own key."""
    expected = {"_type": "histogram", "values": [3, 2, 4, 1], "bins": [-0.5, 0, 0.5, 1, 1.5]}
    assert [logged(run, key)[1] for key in ("histogram", "both/1", "both/2")] == [expected] * 3


def test_a_histogram_of_many_bins_is_made_coarser_and_loses_nothing(run):
    """W&B takes 512 bins: neighbours go together, the counts stay, and what is unknown counts nothing."""
    _, shown = logged(run, "wide")
    assert shown["bins"] == [*range(0, 1100, 3), 1100]
    assert shown["values"] == [6.0, 6.0, 4.0] + [6.0] * 363 + [4.0]


def test_any_name_is_stored(run):
    """Whatever a name is made of, W&B has a picture and a table for it; it stays as it is where W&B can have it."""
    rows, files = run
    keys = {key.removeprefix("mine-") for row in rows for key in row}
    kept = [name for name in HARD_NAMES if name in keys]
    assert kept == ["val/digits", "a.b c-d_e", "Ünï/😀", "Case", "case", " ", HARD_NAMES[-1]]
    changed = {key for key in keys if "--" in key and not key.endswith("/captions")}
    assert len(changed) == len(HARD_NAMES) - len(kept)
    for key in [*kept, *changed]:
        picture, table = [row[f"mine-{key}"] for row in rows if f"mine-{key}" in row]
        assert (files / picture["filenames"][0]).read_bytes() == pictures(1).items[0].data
        assert json.loads((files / table["path"]).read_text())["columns"] == ["n", "x", "s", "b"]


def test_media_do_not_move_the_numbers_of_another_thread(run):
    """While media are written, each number keeps its step, and each medium its own."""
    rows, _ = run
    numbers = [(row["mine-number"], row["trainer/global_step"]) for row in rows if "mine-number" in row]
    assert numbers == [(number, number) for number in range(NUMBERS)]
    steps = [row["trainer/global_step"] for row in rows if "mine-beside" in row]
    assert steps == [10_000 + step for step in range(30)]
