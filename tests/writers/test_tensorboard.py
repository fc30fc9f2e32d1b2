"""Event files, as TensorBoard's own loaders read them."""

from __future__ import annotations

import io
import math
import shutil
import subprocess
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import soundfile
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader, LegacyEventFileLoader
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.context import RequestContext
from tensorboard.data.provider import RunTagFilter
from tensorboard.plugin_util import markdown_to_safe_html
from tensorboard.util import tensor_util

from lightning_trackplus.media.audio import Audio
from lightning_trackplus.media.image import Image
from lightning_trackplus.media.text import Text
from lightning_trackplus.record import ImagePayload, Item, Record, TensorBoardEvent
from lightning_trackplus.writers.tensorboard import EventsWriter
from tests.support.training import disk_full_above

EVERYTHING = dict.fromkeys(["scalars", "tensors", "images", "audio"], 0)
TAGS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(["loss", "a/b", "🎉", "x" * 300])
FLOATS = st.floats() | st.sampled_from([1e300, -1e300, 1e39, -1e39, 1e-300, 5e-324, 0.1, -0.0])


def record(step, values, epoch=None, wall_time=1e9):
    return Record(step, epoch, wall_time, values)


def write(directory, *records):
    writer = EventsWriter(directory)
    for one in records:
        writer.write(one)
    writer.close()


def event_files(directory):
    return sorted(path for path in directory.iterdir() if path.name.startswith("events.out.tfevents."))


def events_in(directory):
    """Return the events of all files as they were written, without the ones that only open a file."""
    events = [event for file in event_files(directory) for event in LegacyEventFileLoader(str(file)).Load()]
    return [event for event in events if not event.file_version]


def values_in(directory):
    """Return (step, value) of all files as TensorBoard sees them, in order."""
    events = [event for file in event_files(directory) for event in EventFileLoader(str(file)).Load()]
    return [(event.step, value) for event in events for value in event.summary.value]


def strings_in(directory, tag):
    """Return what was written under a tag, one string or an array of them, and the plugin that shows it."""
    (value,) = [value for event in events_in(directory) for value in event.summary.value if value.tag == tag]
    return tensor_util.make_ndarray(value.tensor), value.metadata.plugin_data.plugin_name


def accumulated(directory):
    return EventAccumulator(str(directory), size_guidance=EVERYTHING).Reload()


def scalars_in(directory, tag):
    return [(event.step, event.value) for event in accumulated(directory).Scalars(tag)]


class Frontend:
    """What the web page of TensorBoard is given, run by run and plugin by plugin."""

    def __init__(self, logdir):
        multiplexer = EventMultiplexer(size_guidance=EVERYTHING)
        multiplexer.AddRunsFromDirectory(str(logdir))
        multiplexer.Reload()
        self._provider = MultiplexerDataProvider(multiplexer, str(logdir))
        self._context = RequestContext()

    def scalars(self, tag):
        return [(point.step, point.value) for point in self._read(self._provider.read_scalars, "scalars", tag)]

    def strings(self, plugin, tag):
        points = self._read(self._provider.read_tensors, plugin, tag)
        return [(point.step, point.numpy.tolist()) for point in points]

    def blobs(self, plugin, tag):
        points = self._read(self._provider.read_blob_sequences, plugin, tag)
        read = self._provider.read_blob
        return [(p.step, [read(self._context, blob_key=blob.blob_key) for blob in p.values]) for p in points]

    def _read(self, read, plugin, tag):
        runs = read(
            self._context,
            experiment_id="",
            plugin_name=plugin,
            downsample=1000,
            run_tag_filter=RunTagFilter(tags=[tag]),
        )
        ((_, by_tag),) = runs.items()
        return by_tag[tag]


@settings(max_examples=30)
@given(st.lists(st.dictionaries(TAGS, FLOATS, min_size=1, max_size=4), min_size=1, max_size=4))
def test_numbers_come_back_as_float32(steps):
    """Every number of every step is there as a float32, infinite where float32 ends, and nothing raises."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        write(directory, *(record(step, numbers, wall_time=step + 0.5) for step, numbers in enumerate(steps)))

        accumulator = accumulated(directory)

    tags = {tag for numbers in steps for tag in numbers}
    assert set(accumulator.Tags()["scalars"]) == tags
    for tag in tags:
        found = [(event.step, event.wall_time, event.value) for event in accumulator.Scalars(tag)]
        with np.errstate(over="ignore"):
            wanted = [
                (step, step + 0.5, float(np.float32(numbers[tag])))
                for step, numbers in enumerate(steps)
                if tag in numbers
            ]
        np.testing.assert_array_equal(np.array(found), np.array(wanted))


@pytest.mark.parametrize(
    ("number", "shown"),
    [(3, 3.0), (2**60, float(2**60)), (10**30, float(np.float32(1e30))), (10**50, math.inf), (-(10**400), -math.inf)],
    ids=["3", "2**60", "10**30", "10**50", "-10**400"],
)
def test_an_integer_of_any_size_is_a_number(number, shown, tmp_path):
    """An integer beyond any float is infinite, and costs its record nothing."""
    write(tmp_path, record(0, {"count": number, "loss": 0.5}))

    assert scalars_in(tmp_path, "count") == [(0, shown)]
    assert scalars_in(tmp_path, "loss") == [(0, 0.5)]


def test_a_record_is_one_event(tmp_path):
    """All values of a record, of any kind, share one event, with its step and time; numbers come first."""
    images, sound, note = Image(np.zeros((2, 5, 6))), Audio(np.zeros(9), 8000), Text("note")
    values = {"loss": 0.5, "img": images.encode(""), "acc": 1, "tone": sound.encode(""), "note": note.encode("")}
    write(tmp_path, record(7, values, wall_time=1234567890.125), record(8, {"loss": 0.25}))

    events = events_in(tmp_path)

    assert [(event.step, event.wall_time) for event in events] == [(7, 1234567890.125), (8, 1e9)]
    assert [value.tag for value in events[0].summary.value] == ["loss", "acc", "img", "tone", "note"]
    assert [value.tag for value in events[1].summary.value] == ["loss"]


def test_the_first_event_says_what_the_file_is(tmp_path):
    """An event file begins with its version and its writer, as TensorBoard's own do."""
    write(tmp_path, record(3, {"loss": 0.5}))

    first, _ = LegacyEventFileLoader(str(event_files(tmp_path)[0])).Load()

    assert (first.file_version, first.step) == ("brain.Event:2", 0)
    assert first.source_metadata.writer == "lightning_trackplus"


def test_a_writer_that_got_nothing_writes_nothing(tmp_path):
    """The directory and the file are made with the first record that has something for them."""
    writer = EventsWriter(tmp_path / "run")
    writer.write(record(0, {}))
    writer.flush()
    writer.close()

    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_one_tag_shows_several_images(count, tmp_path):
    """The image tab gets each image of a step as a sample of its tag, and they are the images that were logged."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, count, 5, 6, 3), dtype=np.uint8)
    write(tmp_path, *(record(step, {"val/img": Image(pixels[step]).encode("")}) for step in range(2)))

    found = Frontend(tmp_path).blobs("images", "val/img")

    assert [step for step, _ in found] == [0, 1]
    for step, (width, height, *files) in found:
        assert (width, height) == (b"6", b"5")
        shown = [np.asarray(PIL.Image.open(io.BytesIO(file))) for file in files]
        np.testing.assert_array_equal(shown, pixels[step])


def test_one_tag_shows_several_sounds(tmp_path):
    """The audio tab gets each sound of a step with its label, also where their sample rates differ."""
    sounds = [np.random.default_rng(rate).integers(-99, 99, (9, 2), dtype=np.int16) for rate in (8000, 16000)]
    audio = Audio(sounds[0], 8000, "first").joined([Audio(sounds[1], 16000)])
    write(tmp_path, record(4, {"tone": audio.encode("")}))

    pairs, plugin = strings_in(tmp_path, "tone")

    assert (plugin, pairs.shape, pairs[:, 1].tolist()) == ("audio", (2, 2), [b"first", b""])
    for (file, _), sound, rate in zip(pairs, sounds, (8000, 16000), strict=True):
        samples, found_rate = soundfile.read(io.BytesIO(file), dtype="int16")
        np.testing.assert_array_equal(samples, sound)
        assert found_rate == rate
    ((step, blobs),) = Frontend(tmp_path).blobs("audio", "tone")
    assert (step, blobs) == (4, [file for file, _ in pairs])


def test_one_tag_shows_several_texts(tmp_path):
    """The text tab gets each text of a step to the letter."""
    texts = ["# one\r\ntwo", "", "é 🎉 | <b>", "lone \ud800"]
    write(tmp_path, record(4, {"note": Text(texts).encode("")}))

    strings, plugin = strings_in(tmp_path, "note")

    assert plugin == "text"
    assert [string.decode() for string in strings] == [*texts[:3], "lone \\ud800"]
    assert Frontend(tmp_path).strings("text", "note") == [(4, strings.tolist())]


@pytest.mark.parametrize(
    ("medium", "lines"),
    [
        (Image(np.zeros((2, 5, 6)), ["one", "two"]), "1. one\n2. two"),
        (Image(np.zeros((2, 5, 6)), "same"), "1. same\n2. same"),
        (Image(np.zeros((5, 6)), "é 🎉"), "1. é 🎉"),
        (Image(np.zeros((5, 6)), "one").joined([Image(np.zeros((5, 6)))]), "1. one\n2. "),
        (Audio(np.zeros((3, 9)), 8000, ["one", "two", "three"]), "1. one\n2. two\n3. three"),
        (Text("note", "caption"), "1. caption"),
        (Image(np.zeros((5, 6)), "lone \ud800"), "1. lone \\ud800"),
        (Audio(np.zeros(9), 8000, "lone \ud800"), "1. lone \\ud800"),
    ],
    ids=["each", "same", "unicode", "some", "audio", "text", "image surrogate", "audio surrogate"],
)
def test_captions_stand_in_the_text_tab(medium, lines, tmp_path):
    """Captions are a numbered list beside the medium, under its name and /captions, in the same event."""
    write(tmp_path, record(4, {"val/medium": medium.encode("")}))

    strings, plugin = strings_in(tmp_path, "val/medium/captions")

    assert (plugin, strings.item().decode()) == ("text", lines)
    assert [[value.tag for value in event.summary.value] for event in events_in(tmp_path)] == [
        ["val/medium", "val/medium/captions"]
    ]


class ListItems(HTMLParser):
    """The texts of the items of a list in HTML."""

    def __init__(self, html):
        super().__init__()
        self.items = []
        self.tags = set()
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "li":
            self.items.append("")

    def handle_data(self, data):
        if self.items:
            self.items[-1] += data


HARD_CAPTIONS = [
    "",
    "*a* _b_ `c` ~~d~~",
    "# no heading",
    "1. no list",
    "- no list",
    "> no quote",
    "    no code",
    "a | b",
    "[no](http://link) ![no](image)",
    "<b>no tag</b> & no tag",
    "&amp; &#42; &lt;",
    "\\ and \\*",
    "two\n\nlines",
]


@settings(max_examples=30)
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8) | st.sampled_from(HARD_CAPTIONS),
        min_size=1,
        max_size=4,
    ).filter(any)
)
@example(HARD_CAPTIONS)
def test_a_caption_is_shown_as_it_was_written(captions):
    """The text tab, which shows markdown, shows each caption in its own letters on one line."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), record(0, {"img": Image([np.zeros((5, 6))] * len(captions), captions).encode("")}))
        strings, _ = strings_in(Path(folder), "img/captions")

    shown = ListItems(markdown_to_safe_html(strings.item()))

    assert [" ".join(item.split()) for item in shown.items] == [" ".join(caption.split()) for caption in captions]
    assert shown.tags == {"ol", "li"}


@pytest.mark.parametrize("texts", ["# one", ["# one"]], ids=["string", "list"])
def test_a_single_text_stands_alone(texts, tmp_path):
    """The text tab gets one text as one string, around which it draws no table."""
    write(tmp_path, record(4, {"note": Text(texts).encode("")}))

    strings, plugin = strings_in(tmp_path, "note")

    assert (plugin, strings.shape, strings.item()) == ("text", (), b"# one")
    assert Frontend(tmp_path).strings("text", "note") == [(4, b"# one")]


def test_without_captions_there_is_no_list_of_them(tmp_path):
    """Media without captions take one tag each."""
    write(
        tmp_path, record(0, {"img": Image(np.zeros((2, 5, 6)), score=[1, 2]).encode(""), "note": Text("a").encode("")})
    )

    assert [value.tag for _, value in values_in(tmp_path)] == ["img", "note"]


def test_tensorboards_own_events_pass_unchanged(tmp_path):
    """What logger.experiment makes keeps its own step, time and content, in its place among the records."""
    event = Event(step=42, wall_time=5.5, summary=Summary(value=[Summary.Value(tag="theirs", simple_value=0.5)]))
    values = {"": TensorBoardEvent(event, event.ByteSize())}
    write(tmp_path, record(1, {"ours": 1.0}), record(0, values), record(2, {"ours": 2.0}))

    first, theirs, last = events_in(tmp_path)

    assert theirs == event
    assert (first.step, last.step) == (1, 2)


def test_a_tag_of_any_text_is_shown(tmp_path):
    """A tag that has no UTF-8 is written as its escape, and costs its record nothing."""
    write(tmp_path, record(0, {"lone \ud800": 0.5, "loss": 0.25}))

    assert scalars_in(tmp_path, "loss") == [(0, 0.25)]
    assert scalars_in(tmp_path, "lone \\ud800") == [(0, 0.5)]


def test_a_flush_brings_everything_into_the_file(tmp_path):
    """What was written before a flush is read while the writer is still open."""
    writer = EventsWriter(tmp_path)
    for step in range(3):
        writer.write(record(step, {"loss": step / 4}))
        writer.flush()
        assert scalars_in(tmp_path, "loss") == [(earlier, earlier / 4) for earlier in range(step + 1)]
    writer.close()


def test_a_writer_goes_on_in_a_second_file_after_close(tmp_path):
    """After close the next record begins another file, and the two read as one run."""
    writer = EventsWriter(tmp_path)
    for step in range(4):
        writer.write(record(step, {"loss": step / 4}))
        if step == 1:
            writer.close()
            (first,) = event_files(tmp_path)
            written = first.read_bytes()
    writer.close()
    writer.close()

    assert len(event_files(tmp_path)) == 2
    assert first.read_bytes() == written
    assert scalars_in(tmp_path, "loss") == [(step, step / 4) for step in range(4)]
    assert Frontend(tmp_path).scalars("loss") == [(step, step / 4) for step in range(4)]


def test_files_are_read_in_the_order_in_which_they_were_written():
    """However often a run is continued, its files sort by age; TensorBoard drops steps that it reads too late."""
    program = """
import pathlib, sys
from lightning_trackplus.record import Record
from lightning_trackplus.writers.tensorboard import EventsWriter
writer = EventsWriter(pathlib.Path(sys.argv[1]))
for step in range(25):
    writer.write(Record(step, None, 1e9, {"loss": step / 4}))
    writer.close()
"""
    with tempfile.TemporaryDirectory() as directory:
        # In a process of its own, in which no other test has opened a file yet.
        subprocess.run([sys.executable, "-c", program, directory], check=True)

        assert len(event_files(Path(directory))) == 25
        assert scalars_in(Path(directory), "loss") == [(step, step / 4) for step in range(25)]


def test_two_writers_in_one_directory_have_a_file_each(tmp_path):
    """Writers never append to the file of another one."""
    writers = [EventsWriter(tmp_path) for _ in range(3)]
    for step in range(2):
        for number, writer in enumerate(writers):
            writer.write(record(step, {f"loss {number}": step / 4}))
    for writer in writers:
        writer.close()

    assert len(event_files(tmp_path)) == 3
    for number in range(3):
        assert scalars_in(tmp_path, f"loss {number}") == [(0, 0.0), (1, 0.25)]


def write_and_flush(writer, one):
    writer.write(one)
    writer.flush()


@pytest.mark.parametrize("size", [100, 8000, 20000], ids="image of {} bytes".format)
def test_after_a_full_disk_what_is_logged_can_be_read(size, tmp_path):
    """An event that found no room is lost, and neither those before it nor those after it are."""
    writer = EventsWriter(tmp_path)
    writer.write(record(0, {"loss": 0.0}))
    writer.flush()
    (file,) = event_files(tmp_path)

    with disk_full_above(file.stat().st_size + 50), pytest.raises(OSError, match="File too large"):
        write_and_flush(writer, record(1, {"img": ImagePayload((Item(b"\x89" * size, ".png"),), 1, 1)}))
    for step in (2, 3):
        writer.write(record(step, {"loss": step / 4}))
    writer.close()

    assert scalars_in(tmp_path, "loss") == [(0, 0.0), (2, 0.5), (3, 0.75)]


def test_a_torn_last_event_costs_nothing_else(tmp_path):
    """A file whose last event was cut off keeps the others, and a continued run writes beside it."""
    write(tmp_path, *(record(step, {"loss": step / 4}) for step in range(3)))
    (file,) = event_files(tmp_path)
    file.write_bytes(file.read_bytes()[:-3])

    write(tmp_path, record(3, {"loss": 0.75}))

    assert scalars_in(tmp_path, "loss") == [(0, 0.0), (1, 0.25), (3, 0.75)]


def test_the_step_of_an_event_is_a_large_integer(tmp_path):
    """Steps beyond 32 bits are steps."""
    write(tmp_path, record(2**40, {"loss": 0.5, "img": Image(torch.zeros(5, 6)).encode("")}))

    assert scalars_in(tmp_path, "loss") == [(2**40, 0.5)]
    assert [event.step for event in accumulated(tmp_path).Tensors("img")] == [2**40]


WITHOUT_C = """
import sys, warnings
sys.modules["google_crc32c"] = None  # As if it were not installed.
from pathlib import Path
from lightning_trackplus.record import Record
from lightning_trackplus.writers.tensorboard import EventsWriter
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for run in "ab":
        writer = EventsWriter(Path(run))
        for step in range(3):
            writer.write(Record(step, None, 1.0, {"x": step / 2}))
        writer.close()
print(*[warning.message for warning in caught if "crc32c" in str(warning.message)], sep="\\n")
"""


def test_without_the_checksums_in_c_events_are_the_same(tmp_path):
    """They are computed in Python, which is said once, and readers that check them read all."""
    command = [sys.executable, "-c", WITHOUT_C]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == (
        "google-crc32c is not installed. The checksums of TensorBoard events are computed in Python, which keeps a"
        " thread busy where media are large. `pip install google-crc32c` makes them a thousand times faster.\n"
    )
    for run in "ab":
        accumulator = EventAccumulator(str(tmp_path / run)).Reload()
        assert [(event.step, event.value) for event in accumulator.Scalars("x")] == [(0, 0), (1, 0.5), (2, 1)]


STEPS = st.integers(0, 5)


@given(st.lists(st.tuples(STEPS, st.dictionaries(st.sampled_from("abc"), st.just(0.5), min_size=1)), max_size=30))
@settings(max_examples=50)
def test_steps_of_a_tag_never_go_back_within_a_file(records):
    """Whatever the order of steps, each file has those of each tag in order, and all files have every value."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), *(record(step, values) for step, values in records))
        found = []
        for file in event_files(Path(folder)):
            last = {}
            for event in LegacyEventFileLoader(str(file)).Load():
                for value in event.summary.value:
                    assert last.get(value.tag, 0) <= event.step
                    last[value.tag] = event.step
                    found.append((event.step, value.tag))
    assert found == [(step, name) for step, values in records for name in values]


def test_a_step_that_goes_back_without_end_does_not_fill_the_folder(tmp_path):
    """After a hundred files, one warning, and later values stay in the last file."""
    with pytest.warns(UserWarning, match="went back 100 times") as caught:
        write(tmp_path, *(record(step, {"a": 1.0}) for _ in range(200) for step in (1, 0)))
    assert len([one for one in caught if "went back" in str(one.message)]) == 1
    assert len(event_files(tmp_path)) == 100
    assert len(events_in(tmp_path)) == 400


def test_a_file_that_is_removed_is_begun_anew(tmp_path):
    """Where the folder disappears in mid-run, that is said, and what comes later is written to a new one."""
    folder = tmp_path / "run"
    writer = EventsWriter(folder)
    writer.write(record(0, {"a": 1.0}))
    writer.flush()
    shutil.rmtree(folder)
    writer.write(record(1, {"a": 2.0}))
    with pytest.raises(FileNotFoundError, match="was removed during the run"):
        writer.flush()
    writer.write(record(2, {"a": 3.0}))
    writer.close()
    assert [event.step for event in events_in(folder)] == [2]
