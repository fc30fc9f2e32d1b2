"""Pages: files as they were given, and a note in TensorBoard."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_trackplus import Html, TrackPlus, TrackPlusLogger
from tests.support.training import LoggingModule, loader, quiet_trainer

PAGE = '<!doctype html><html><head><meta charset="utf-8"></head><body><h1>ü</h1></body></html>'


def texts(page):
    """Return the texts of a page as Python's parser finds them."""
    found = []
    parser = HTMLParser()
    parser.handle_data = found.append
    parser.feed(page)
    return found


def test_pages_are_files_and_a_note(tmp_path):
    """In training, of the first items of an evaluation, and by the logger's own call."""
    (tmp_path / "page.html").write_text(PAGE, "utf-8")

    def step(module, batch, index):
        module.log(
            "val/page", Html([PAGE, tmp_path / "page.html"], caption=["a", "b"], score=[index, 9]), reduce_fx="top3"
        )
        module.log("val/path", Html(str(tmp_path / "page.html")), reduce_fx="first1")

    logger = TrackPlusLogger(tmp_path)
    trainer = quiet_trainer(tmp_path, callbacks=[TrackPlus()], logger=logger)
    trainer.validate(LoggingModule(validation_step=step), loader(2, 1), verbose=False)
    logger.log_media("direct", Html("<p>plain</p>"))
    logger.finalize("success")

    media = pandas.read_csv(f"{logger.log_dir}/media.csv", dtype=str, keep_default_na=False)
    assert media[["name", "kind", "caption", "score"]].to_numpy().tolist() == [
        *(["val/page", "html", caption, score] for caption, score in (("b", "9.0"), ("b", "9.0"), ("a", "1.0"))),
        ["val/path", "html", "", ""],
        ["direct", "html", "", ""],
    ]
    contents = [Path(logger.log_dir, file).read_text("utf-8") for file in media["file"]]
    assert contents == [PAGE] * 4 + ["<p>plain</p>"]
    accumulator = EventAccumulator(logger.log_dir).Reload()
    (note,) = accumulator.Tensors("val/page")
    texts = [text.decode().replace("\\", "") for text in note.tensor_proto.string_val]
    assert texts == [f"html file {number} of 3, in the run directory under media/val-page/" for number in (1, 2, 3)]


@pytest.mark.parametrize(
    "page", [PAGE, "<p>ü</p>", "\ufeff<p>ü</p>", "<p>plain</p>", "<p>ü</p>" + " " * 2000 + "charset"]
)
def test_a_browser_knows_its_letters(page):
    """A page with letters beyond ASCII says that it is UTF-8, or begins with the mark that says so."""
    (item,) = Html(page).encode("x").items
    assert item.suffix == ".html"
    assert item.data.isascii() or b"charset" in item.data[:1024] or item.data.startswith("\ufeff".encode())
    assert texts(item.data.decode("utf-8-sig")) == texts(page.removeprefix("\ufeff"))


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (3, TypeError, "Html got an int; expected a string, a path, or a list of these."),
        ([io.StringIO("<p>")], TypeError, "Html got a StringIO; expected a string, a path, or a list of these."),
        ([], ValueError, "Html got no items; log at least one, or leave the call out."),
        ("missing.html", FileNotFoundError, "[Errno 2] No such file or directory: 'missing.html'"),
    ],
)
def test_what_is_no_page_is_refused(value, error, message):
    """At the user's line."""
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        Html(value)
