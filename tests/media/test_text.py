"""Texts: what goes in comes out as UTF-8, to the letter."""

from __future__ import annotations

import pickle
import re
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_trackplus import TrackPlusLogger
from lightning_trackplus.media.text import Text

TYPE_MESSAGE = "Text got {}; expected a string or a list of strings."


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_texts_come_back_to_the_letter(texts):
    """Any text of any script, with its line ends, is its own UTF-8."""
    payload = Text(texts).encode("note")

    assert [item.data.decode("utf-8") for item in payload.items] == texts
    assert {item.suffix for item in payload.items} == {".md"}
    assert payload.kind == "text"


@pytest.mark.parametrize(
    ("given_texts", "texts"),
    [("# One", ["# One"]), (["one", "two"], ["one", "two"]), (("one", "two"), ["one", "two"]), ("", [""])],
    ids=["string", "list", "tuple", "empty string"],
)
def test_one_string_is_one_text(given_texts, texts):
    """A string is one text, not its letters, and a list or a tuple has one for each string."""
    text = Text(given_texts)

    assert len(text) == len(texts)
    assert [item.data.decode() for item in text.encode("note").items] == texts


@pytest.mark.parametrize(
    ("text", "written"),
    [("a\ud800b", b"a\\ud800b"), ("\udfff", b"\\udfff"), ("é\ud83d", "é\\ud83d".encode())],
    ids=["between", "alone", "half an emoji"],
)
def test_a_lone_surrogate_is_written_as_its_escape(text, written):
    """What has no UTF-8 does not lose the text it stands in."""
    (item,) = Text(text).encode("note").items

    assert item.data == written


@pytest.mark.parametrize(
    ("value", "type_name"),
    [
        (5, "an int"),
        (None, "None"),
        (0.5, "a float"),
        (b"one", "a bytes"),
        ({"one": "two"}, "a dict"),
        (["one", 2], "an int"),
        ([None], "None"),
        ([b"one"], "a bytes"),
        ([["one"]], "a list"),
    ],
    ids=str,
)
def test_a_value_that_is_no_string_is_refused(value, type_name):
    """What is no text raises where the text is made, also inside a list."""
    with pytest.raises(TypeError, match=f"^{re.escape(TYPE_MESSAGE.format(type_name))}$"):
        Text(value)


def test_an_empty_list_is_refused():
    """A medium holds at least one item."""
    message = "Text got no items; log at least one, or leave the call out."

    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Text([])


@pytest.mark.parametrize(
    ("extras", "message"),
    [
        (
            {"caption": ["one"]},
            "Text got 2 items and 1 captions; expected one caption for each item, or a single string for all.",
        ),
        ({"score": [0.5, 0.25, 0.125]}, "Text got 2 items and 3 scores; expected one number for each item."),
    ],
    ids=["captions", "scores"],
)
def test_another_number_of_captions_or_scores_is_refused(extras, message):
    """Captions and scores are one for each text."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Text(["one", "two"], **extras)


def test_joined_take_and_snapshot_keep_captions_and_scores():
    """Texts carry their captions and scores along."""
    joined = Text(["a", "b"], ["A", "B"], [0.5, 0.25]).joined([Text("c", "C", 2.0)])

    found = [(item.data, item.caption, item.score) for item in joined.snapshot().take([2, 0]).encode("note").items]
    assert found == [(b"c", "C", 2.0), (b"a", "A", 0.5)]
    assert [(item.data, item.caption, item.score) for item in joined.encode("note").items] == [
        (b"a", "A", 0.5),
        (b"b", "B", 0.25),
        (b"c", "C", 2.0),
    ]


def test_a_snapshot_is_out_of_reach_of_later_changes():
    """A list of texts that the caller goes on filling is not the one that is written."""
    texts = ["one", "two"]
    snapshot = Text(texts).snapshot()

    texts.reverse()

    assert [item.data for item in snapshot.encode("note").items] == [b"one", b"two"]


def test_the_scores_of_a_snapshot_are_out_of_reach_of_later_changes():
    """A tensor of scores is copied where the text is made."""
    scores = torch.tensor([0.5, 0.25])
    snapshot = Text(["one", "two"], score=scores).snapshot()

    scores.zero_()

    assert [item.score for item in snapshot.encode("note").items] == [0.5, 0.25]


def test_a_text_of_a_megabyte_is_one_text():
    """A long text is neither cut nor changed."""
    text = "".join(f"| {number} | é\n" for number in range(100_000))

    (item,) = Text(text).encode("note").items

    assert len(item.data) > 1_000_000
    assert item.data == text.encode()


def test_a_text_can_be_sent_to_another_process():
    """A text is the same after it was pickled."""
    text = Text(["one", "t\ud800wo"], ["a", None], [0.5, 1.5])

    assert pickle.loads(pickle.dumps(text)).encode("note") == text.encode("note")


@settings(max_examples=25)
@given(texts=st.lists(st.text(st.characters()), min_size=1, max_size=5))
def test_texts_are_in_the_text_tab_and_in_files(texts):
    """TensorBoard's events and the files of the run directory hold every text, also one that has no UTF-8."""
    with tempfile.TemporaryDirectory() as folder:
        logger = TrackPlusLogger(folder)
        for step, text in enumerate(texts):
            logger.log_media("val/note", Text(text), step)
        logger.finalize("success")

        events = EventAccumulator(logger.log_dir).Reload().Tensors("val/note")
        files = sorted(Path(logger.log_dir, "media").rglob("*.md"))
        found = [(event.step, event.tensor_proto.string_val[0]) for event in events]
        assert [data for _, data in found] == [path.read_bytes() for path in files]

    assert found == [(step, text.encode("utf-8", "backslashreplace")) for step, text in enumerate(texts)]


def test_nbytes_grows_with_the_texts():
    """Delivery bounds its memory by this."""
    assert Text(["a" * 1000, "b" * 500]).nbytes == 1500
