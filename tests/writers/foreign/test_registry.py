"""A logger of somebody else learns to take media, with public imports only."""

from __future__ import annotations

import re
import sys
import types

import pytest
import torch

from lightning_trackplus import Image, TrackPlus, Writer, register_media_writer
from tests.flavour.pytorch.loggers import CSVLogger
from tests.flavour.pytorch.loggers.logger import Logger
from tests.support.training import LoggingModule, loader, quiet_trainer


def shop_of_loggers(name="Notebook", base=Logger):
    """Return a logger class of somebody else."""

    class Notebook(base):
        name, version = "notebook", 0

        def __init__(self):
            self.lines = []

        def log_metrics(self, metrics, step=None):
            pass

        def log_hyperparams(self, params, *args, **options):
            pass

    return type(name, (Notebook,), {})


def writer_of(title="notebook"):
    """Return a class of writers that note what they get in their logger."""

    class NotebookWriter:
        def __init__(self, logger):
            self.logger = logger

        def write(self, record):
            for name, media in record.values.items():
                self.logger.lines.append((title, record.step, name, media.kind, [item.caption for item in media.items]))

        def flush(self):
            pass

        def close(self):
            self.logger.lines.append((title, "closed"))

    return NotebookWriter


def train(folder, logger):
    """Train with a logger, logging a number and an image for each batch."""

    def step(module, batch, index):
        module.log("loss", float(index))
        module.log("pictures", Image(torch.rand(2, 1, 4, 4), caption=["a", "b"]))

    trainer = quiet_trainer(folder, logger=logger, callbacks=[TrackPlus()], limit_train_batches=2)
    trainer.fit(LoggingModule(training_step=step), loader())
    return logger.lines


def lines(title="notebook"):
    return [(title, step, "pictures", "image", ["a", "b"]) for step in range(2)] + [(title, "closed")]


def test_a_registered_logger_gets_media_and_no_numbers(tmp_path):
    """The writer has each medium with its step, and is closed at the end of the run."""
    notebook = shop_of_loggers()
    register_media_writer(notebook, writer_of())
    assert isinstance(writer_of()(None), Writer)
    assert train(tmp_path, notebook()) == lines()


def test_a_subclass_counts_and_may_have_a_writer_of_its_own(tmp_path):
    """The most derived class that is registered decides, whatever was registered last."""
    notebook = shop_of_loggers()
    derived = shop_of_loggers("Derived", notebook)
    register_media_writer(notebook, writer_of("base"))
    assert train(tmp_path, derived()) == lines("base")
    register_media_writer(derived, writer_of("derived"))
    register_media_writer(notebook, writer_of("base again"))
    assert train(tmp_path, derived()) == lines("derived")
    assert train(tmp_path, notebook()) == lines("base again")


def test_a_later_registration_replaces_an_earlier_one(tmp_path):
    """A subclass of a logger that is known gets the writer that was registered last for it, and no other."""

    class Own(CSVLogger):
        def __init__(self, folder):
            super().__init__(folder)
            self.lines = []

    register_media_writer(Own, writer_of("first"))
    register_media_writer(Own, writer_of("second"))
    assert train(tmp_path, Own(tmp_path)) == lines("second")
    assert not list(tmp_path.rglob("media.csv"))


def test_a_package_registers_by_path_before_its_logger_is_imported(tmp_path, monkeypatch):
    """The path is looked up where a logger is used, so that nothing is imported for those who do not use it."""
    register_media_writer("shop_of_loggers.Notebook", writer_of("by path"))
    assert "shop_of_loggers" not in sys.modules
    module = types.ModuleType("shop_of_loggers")
    # As in a package that defines the class in a module of its own.
    module.Notebook = shop_of_loggers()
    monkeypatch.setitem(sys.modules, "shop_of_loggers", module)
    assert train(tmp_path, module.Notebook()) == lines("by path")
    register_media_writer(module.Notebook, writer_of("by class"))
    assert train(tmp_path, module.Notebook()) == lines("by class")
    register_media_writer("shop_of_loggers.Notebook", writer_of("by path again"))
    assert train(tmp_path, module.Notebook()) == lines("by path again")


@pytest.mark.parametrize(
    ("factory", "reason"),
    [
        (lambda logger: 3, "TypeError: its media writer is 3; expected an object with write, flush and close"),
        (lambda logger: logger.nothing, "AttributeError: 'Notebook' object has no attribute 'nothing'"),
    ],
)
def test_a_factory_that_fails_is_a_warning_and_media_are_files(tmp_path, factory, reason):
    """Training continues, the warning says why, and no medium is lost."""
    notebook = shop_of_loggers()
    register_media_writer(notebook, factory)
    with pytest.warns(
        UserWarning, match=re.escape(f"Notebook cannot take media ({reason}), so they are kept as files")
    ):
        assert train(tmp_path, notebook()) == []
    assert len(list(tmp_path.rglob("*.png"))) == 4


@pytest.mark.parametrize("given", [3, None, "Notebook", object()])
def test_what_is_no_class_of_loggers_is_refused(given):
    message = (
        f"register_media_writer got {given!r} as the logger class; expected a class, or its import path, such as"
        ' "lightning.pytorch.loggers.CSVLogger".'
    )
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        register_media_writer(given, writer_of())


def test_what_is_no_factory_is_refused():
    message = (
        "register_media_writer got 'csv' as the factory; expected a function or a class that takes the logger and"
        " returns an object with write, flush and close."
    )
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        register_media_writer(shop_of_loggers(), "csv")
