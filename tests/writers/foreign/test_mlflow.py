"""Media for Lightning's MLFlowLogger, with real mlflow and a local store, read back with its client."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas
import PIL.Image
import pytest
import soundfile

from lightning_trackplus.formats.layout import media_folder
from lightning_trackplus.record import TensorBoardEvent
from lightning_trackplus.writers.foreign.mlflow import MLFlowWriter
from tests.flavour.pytorch.loggers import MLFlowLogger
from tests.support import payloads
from tests.support.payloads import HARD_NAMES, KINDS, pictures, record, texts

mlflow = pytest.importorskip("mlflow")


@pytest.fixture(scope="module")
def logger(tmp_path_factory):
    """Return a logger to which everything was logged that the tests ask for."""
    folder = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        made = MLFlowLogger(tracking_uri=f"sqlite:///{folder}/mlflow.db", artifact_location=f"{folder}/artifacts")
        writer = MLFlowWriter(made)
        for name, kind in KINDS.items():
            writer.write(record({name: kind(), "a number": 1.0, "an event": TensorBoardEvent(None, 0)}))
        writer.write(record({"alone": 1.0}))
        writer.write(record({"one": pictures(1, ".jpg")}))
        for step in (1, 1, 2):
            writer.write(record({"again": texts()}, step=step))
        for name in HARD_NAMES:
            writer.write(record({name: pictures(1)}, step=7))
        writer.flush()
        writer.close()
        yield made


@pytest.fixture(scope="module")
def stored(logger, tmp_path_factory):
    """Return a folder with the media of the run, as the client hands out artifacts."""
    folder = tmp_path_factory.mktemp("downloaded")
    logger.experiment.download_artifacts(logger.run_id, "media", folder)
    return folder


def images(logger):
    """Return MLflow's own images by key and step, as its charts find them in the names of its files.

    They are looked up in the store, since some versions of the client cannot download the names that MLflow chose.
    """
    found = {}
    for file in Path(logger.experiment.get_run(logger.run_id).info.artifact_uri, "images").glob("*.png"):
        # Other versions of mlflow have other characters between the parts.
        key, step = re.fullmatch(r"(.*)[+%]step[+%](\d+)[+%]timestamp[+%]\d+[+%].*", file.stem).groups()
        found[re.sub("[~#]", "/", key), int(step)] = file
    return found


def files(stored, name):
    """Return the artifacts of a name by their file names."""
    return {path.name: path for path in sorted((stored / media_folder(name)).iterdir())}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_an_artifact_with_the_bytes_that_were_encoded(stored, kind):
    """Artifacts lie as in a run directory, and are the files byte by byte."""
    found = files(stored, kind)
    for index, item in enumerate(KINDS[kind]().items):
        assert found[f"0000000022-{index:03d}{item.suffix}"].read_bytes() == item.data


def test_numbers_and_events_are_left_to_lightning(logger, stored):
    """The writer logs no metrics, and makes no folder for what is no medium."""
    assert logger.experiment.get_run(logger.run_id).data.metrics == {}
    known = {Path(media_folder(name)).name for name in [*KINDS, *HARD_NAMES, "one", "again"]}
    assert {path.name for path in (stored / "media").iterdir()} == known


def test_captions_and_scores_are_a_table_beside_the_files(stored):
    """The table names each file; without captions and scores there is none."""
    table = pandas.read_csv(files(stored, "picture")["0000000022-000-captions.csv"])
    assert table.to_dict("list") == {
        "file": ["0000000022-000.png", "0000000022-001.png"],
        "caption": ["picture 0", "picture 1"],
        "score": [0.5, 1.5],
    }
    table = pandas.read_csv(files(stored, "sound")["0000000022-000-captions.csv"], keep_default_na=False)
    assert list(table["caption"]) == ["", "a tone"]


def test_media_of_one_name_and_step_do_not_overwrite_each_other(stored):
    """What is logged again at a step comes behind what was logged before; another step begins anew."""
    names = [f"000000000{step}-{end}" for step in (1, 2) for end in ("000-captions.csv", "000.md", "001.md")]
    names += ["0000000001-002-captions.csv", "0000000001-002.md", "0000000001-003.md"]
    assert sorted(files(stored, "again")) == sorted(names)
    second = pandas.read_csv(files(stored, "again")["0000000001-002-captions.csv"])
    assert list(second["file"]) == ["0000000001-002.md", "0000000001-003.md"]


def test_images_are_in_mlflows_charts_by_step(logger, stored):
    """Each image has a key of its own, since a chart shows one for a key and step; the run says that it has images."""
    found = images(logger)
    for number, pixels in enumerate(payloads.PIXELS, start=1):
        np.testing.assert_array_equal(np.asarray(PIL.Image.open(found[f"picture/{number}", 22])), pixels)
    jpeg = PIL.Image.open(files(stored, "one")["0000000022-000.jpg"])
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(found["one", 22])), np.asarray(jpeg))
    assert logger.experiment.get_run(logger.run_id).data.tags["mlflow.loggedImages"] == "True"


def test_any_name_is_stored(logger, stored):
    """Whatever a name is made of, its file is there, and an image under a key that MLflow allows."""
    keys = {key for key, step in images(logger) if step == 7}
    assert len(keys) == len(HARD_NAMES)
    assert {name for name in HARD_NAMES if name in keys} == {
        "val/digits",
        "a.b c-d_e",
        "Case",
        "case",
        "../up",
        " ",
        "a//b",
    }
    for name in HARD_NAMES:
        assert files(stored, name)["0000000007-000.png"].read_bytes() == pictures(1).items[0].data


def test_other_readers_read_the_artifacts(stored):
    """A sound plays, a moving image moves, a table and a histogram have their cells."""
    samples, rate = soundfile.read(files(stored, "sound")["0000000022-001.wav"], dtype="int16")
    assert rate == 8000
    np.testing.assert_array_equal(samples, payloads.SAMPLES)
    assert PIL.Image.open(files(stored, "video")["0000000022-000.webp"]).n_frames == len(payloads.SHADES)
    assert list(pandas.read_csv(files(stored, "table")["0000000022-000.csv"])["s"]) == ["seven", "ünï, code"]
    bins = pandas.read_csv(files(stored, "histogram")["0000000022-000.csv"])
    np.testing.assert_array_equal(bins.to_numpy(), payloads.BINS.rows())
