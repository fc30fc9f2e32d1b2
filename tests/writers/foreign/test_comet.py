"""Media for Lightning's CometLogger, with real comet_ml in offline mode, read back from its archive."""

from __future__ import annotations

import io
import json
import sys
import zipfile

import numpy as np
import PIL.Image
import pytest

from lightning_trackplus import Image, TrackPlus
from lightning_trackplus.record import TensorBoardEvent
from lightning_trackplus.writers.foreign.registry import writer_for
from tests.flavour.pytorch.loggers import CometLogger
from tests.support import payloads
from tests.support.payloads import HARD_NAMES, KINDS, log_from_two_threads, pictures, record
from tests.support.training import LoggingModule, loader, quiet_trainer

pytest.importorskip("comet_ml")

NUMBERS = 300
"""Numbers that one thread logs while another logs media."""
QUIET = {
    "COMET_START_ONLINE": "0",
    "COMET_DISABLE_AUTO_LOGGING": "1",
    "COMET_LOGGING_CONSOLE": "ERROR",
    "COMET_DISPLAY_SUMMARY_LEVEL": "0",
}
"""The environment of an offline experiment that prints nothing. CometLogger(online=False) would log nothing at all."""
PLAIN = {"log_code": False, "log_env_details": False, "log_git_metadata": False, "auto_output_logging": False}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Return what Comet has of a training, and of a writer that got all that the tests ask for."""
    folder = tmp_path_factory.mktemp("comet")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "excepthook", sys.excepthook)  # Comet replaces it.
        for name, value in QUIET.items():
            patch.setenv(name, value)
        logger = CometLogger(save_dir=str(folder), prefix="mine", **PLAIN)
        trainer = quiet_trainer(folder, logger=logger, callbacks=[TrackPlus()], max_epochs=2)
        trainer.fit(LoggingModule(validation_step=validate), loader(), loader())
        writer = writer_for(logger)
        for name, kind in KINDS.items():
            writer.write(record({name: kind(), "a number": 1.0, "an event": TensorBoardEvent(None, 0)}))
        for name in HARD_NAMES:
            writer.write(record({name: pictures(1)}, step=7))
        log_from_two_threads(logger, writer, NUMBERS)
        writer.flush()
        writer.close()
        logger.experiment.end()
    # Lightning 2.4 ends an experiment with each training, and begins another.
    return Stored(sorted(folder.glob("*.zip")))


class Stored:
    """Archives as Comet uploads them: a message on each line, and files that messages name."""

    def __init__(self, paths):
        self.messages, self.files = [], {}
        for path in paths:
            with zipfile.ZipFile(path) as archive:
                self.messages += [json.loads(line) for line in archive.read("messages.json").splitlines()]
                self.files |= {name: archive.read(name) for name in archive.namelist()}
        metrics = [one["payload"]["metric"] for one in self.messages if one["type"] == "metric_msg"]
        self.numbers = {}
        for metric in metrics:
            self.numbers.setdefault(metric["metricName"], {})[metric["step"]] = metric["metricValue"]
        # Versions of Lightning put other characters behind the prefix of a logger.
        (self.prefix,) = [name.removesuffix("number") for name in self.numbers if name.endswith("number")]

    def uploads(self, *names):
        """Return the step, the type, the metadata and the bytes of what was uploaded under some names."""
        names, found = {self.prefix + name for name in names}, []
        for upload in [one["payload"] for one in self.messages if one["type"] == "file_upload"]:
            parameters, metadata = upload["additional_params"], upload["metadata"] or {}
            if {metadata.get("name"), parameters.get("figName"), parameters.get("fileName")} & names:
                data = self.files[upload["file_path"]]
                found.append((parameters["step"], upload["upload_type"], metadata, data))
        return found


def validate(module, batch, index):
    module.log("val/loss", batch[:, 0].sum())
    module.log(
        "val/hard", Image(batch[:, :1, None, None].expand(-1, 1, 4, 4) / 255, score=batch[:, 0]), reduce_fx="top2"
    )


def test_a_training_has_media_at_the_steps_of_its_numbers(stored):
    """What `self.log` selects is there with the prefix, step, epoch and score."""
    found = stored.uploads("val/hard")
    assert [(step, metadata) for step, _, metadata, _ in found] == [
        (step, {"score": score}) for step in (2, 5) for score in (9.0, 8.0)
    ]
    assert [np.asarray(PIL.Image.open(io.BytesIO(data))).max() for *_, data in found] == [9, 8, 9, 8]
    assert list(stored.numbers[stored.prefix + "val/loss"]) == [2, 5]


def test_numbers_keep_their_steps_while_media_are_logged(stored):
    """An experiment has one current step for all threads; media of other steps do not change that of the numbers."""
    assert stored.numbers[stored.prefix + "number"] == {number: number for number in range(NUMBERS)}
    assert [step for step, *_ in stored.uploads("beside")] == [*range(10_000, 10_030)]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "video"])
def test_each_kind_is_stored_with_its_bytes_and_what_is_said_of_it(stored, kind):
    """Each item is an upload with the step, the caption and the score; numbers and events are left out."""
    items = KINDS[kind]().items
    found = stored.uploads(kind, *{f"{kind}{item.suffix}" for item in items})
    assert [data for *_, data in found] == [item.data for item in items]
    assert {step for step, *_ in found} == {22}
    assert [(metadata.get("caption"), metadata.get("score")) for *_, metadata, _ in found] == [
        (item.caption, item.score) for item in items
    ]


def test_comet_shows_each_kind_as_its_own(stored):
    """Comet knows images, sounds, videos and texts by their type; all else are assets."""
    names = ["picture", "sound.wav", "video", "film", "film.ogg", "text", "page.html", "histogram.csv", "table.csv"]
    assert {name: stored.uploads(name)[0][1] for name in names} == {
        "picture": "visualization",
        "sound.wav": "audio",
        "video": "video",
        "film": "video",
        "film.ogg": "asset",
        "text": "text-sample",
        "page.html": "asset",
        "histogram.csv": "asset",
        "table.csv": "asset",
    }


def test_an_animated_webp_becomes_a_gif(stored):
    """Comet plays no WebP; the GIF has the same frames and caption."""
    ((*_, metadata, data),) = stored.uploads("video")
    moving = PIL.Image.open(io.BytesIO(data))
    assert (moving.format, moving.n_frames, metadata) == ("GIF", len(payloads.SHADES), {"caption": "brighter"})


def test_any_name_is_stored(stored):
    """Whatever a name is made of, its image is there."""
    for name in HARD_NAMES:
        (upload,) = stored.uploads(name)
        assert upload[-1] == pictures(1).items[0].data
