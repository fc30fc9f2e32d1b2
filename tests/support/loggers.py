"""Media from loggers that are not ours: what the tests give them, and how they read it back."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path

import numpy as np
import pandas
import PIL.Image
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_trackplus import Image
from tests.support.recording import Rows
from tests.support.training import quiet_trainer

NO_DATA = {"tensors": 0, "images": 0, "audio": 0, "scalars": 0}
"""For EventAccumulator: it keeps all."""


class Silent(Rows):
    """A logger of somebody else, which knows numbers alone."""

    name = "silent"
    version = "mine"


def trainer_with(tmp_path, *loggers):
    """Return a Trainer of some loggers, which has not begun."""
    return quiet_trainer(tmp_path / "root", logger=list(loggers))


def picture(shade):
    """Return an image of one shade, by which it can be told apart."""
    return Image(torch.full((1, 4, 4), shade / 255), caption=f"shade {shade}")


def events(directory):
    """Return what a directory of event files has; it must be one file."""
    assert len(list(Path(directory).glob("events.*"))) == 1
    return EventAccumulator(str(directory), NO_DATA).Reload()


def pixels_of(image):
    """Return the pixels of an image, given as its path or its bytes."""
    with PIL.Image.open(io.BytesIO(image) if isinstance(image, bytes) else image) as opened:
        return np.asarray(opened)


def media_of(directory):
    """Return the rows of a media.csv, with the shade of each image."""
    media = pandas.read_csv(Path(directory, "media.csv"))
    media["shade"] = [pixels_of(Path(directory, file)).max() for file in media["file"]]
    return media


@contextlib.contextmanager
def no_warnings():
    """Let every warning be an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
