"""Delivery: everything that is put reaches every writer in order, whatever else fails."""

from __future__ import annotations

import csv
import gc
import os
import re
import subprocess
import sys
import threading
import time
import traceback
import warnings
import weakref
from dataclasses import dataclass, field

import pandas
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_trackplus.delivery.async_writer import AsyncWriter
from lightning_trackplus.delivery.fan_out import FanOut, SharedEncoding
from lightning_trackplus.logger.track_plus_logger import TrackPlusLogger
from lightning_trackplus.media.image import Image
from lightning_trackplus.record import ImagePayload, Item, Record, TextPayload
from lightning_trackplus.writers.csv import CSVWriter
from lightning_trackplus.writers.protocol import Writer
from lightning_trackplus.writers.tensorboard import EventsWriter
from tests.support.csv_files import read_metrics
from tests.support.forking import Forked

if sys.platform != "win32":
    import resource

# Seconds after which a wait is given up; where delivery works nothing takes this long.
GUARD = 60.0


def record(step, values=None, epoch=None):
    return Record(step, epoch, 1e9, {"x": float(step)} if values is None else values)


@dataclass
class Collector:
    """A writer that keeps what it is given."""

    records: list = field(default_factory=list)
    calls: list = field(default_factory=list)
    threads: set = field(default_factory=set)

    def write(self, one):
        self._called("write")
        self.records.append(one)

    def flush(self):
        self._called("flush")

    def close(self):
        self._called("close")

    @property
    def steps(self):
        return [one.step for one in self.records]

    def _called(self, method):
        self.calls.append(method)
        self.threads.add(threading.current_thread())


class Gated(Collector):
    """A writer that waits at a gate before each record, and says that it has come there."""

    def __init__(self):
        super().__init__()
        self.gate = threading.Event()
        self.arrived = threading.Event()

    def write(self, one):
        self.arrived.set()
        assert self.gate.wait(GUARD)
        super().write(one)


@pytest.fixture
def gated():
    """Hand out a gated writer, and open its gate in the end, so that a test that fails leaves nothing waiting."""
    writer = Gated()
    yield writer
    writer.gate.set()


class OneAtATime(Gated):
    """A writer whose gate closes behind each record, until it is opened for good."""

    def __init__(self):
        super().__init__()
        self._is_open = False

    def write(self, one):
        super().write(one)
        if not self._is_open:
            self.gate.clear()

    def open(self):
        self._is_open = True
        self.gate.set()


@pytest.fixture
def one_at_a_time():
    """Hand out a writer that takes one record at a time, and open it in the end."""
    writer = OneAtATime()
    yield writer
    writer.open()


class Broken(Collector):
    """A writer that fails where it is told to."""

    def __init__(self, method, steps=()):
        super().__init__()
        self._method = method
        self._steps = steps

    def write(self, one):
        if self._method == "write" and one.step in self._steps:
            raise OSError(f"no room for {one.step}")
        super().write(one)

    def flush(self):
        super().flush()
        if self._method == "flush":
            raise OSError("no room")

    def close(self):
        super().close()
        if self._method == "close":
            raise OSError("no room")


@dataclass
class Encoded:
    """A value that is encoded, or fails to be; it says on which thread."""

    content: str
    nbytes: int = 100
    error: Exception | None = None
    threads: set = field(default_factory=set)
    is_copied: bool = False

    def encode(self, name):
        self.threads.add(threading.current_thread())
        if self.error is not None:
            raise self.error
        return TextPayload((Item(f"{name}={self.content}".encode(), ".md"),))

    def snapshot(self):
        self.is_copied = True
        return self


def contents(one, name):
    return [item.data.decode() for item in one.values[name].items]


def messages_of(caught):
    return [str(warning.message) for warning in caught]


def is_waiting(thread):
    """Return whether a thread stands in a wait of the threading module."""
    frame = sys._current_frames().get(thread.ident)
    return frame is not None and any(
        code.filename == threading.__file__ and code.name == "wait" for code in traceback.extract_stack(frame)
    )


def let_it_wait(thread):
    """Start a thread and come back when it waits for something; fail if it ends without waiting."""
    thread.start()
    while thread.is_alive() and not is_waiting(thread):
        time.sleep(0.001)
    assert thread.is_alive()


def join(thread):
    thread.join(GUARD)
    assert not thread.is_alive()


@settings(max_examples=60)
@given(st.lists(st.sampled_from(["put", "put", "put", "flush"]), max_size=30), st.sampled_from([1, 64, 200, 2**20]))
def test_records_arrive_in_the_order_of_the_calls(calls, max_bytes):
    """Every writer gets every record once, in order, with any flushes between them and any bound on the memory."""
    writers = [Collector(), Collector()]
    delivery = AsyncWriter(FanOut(writers), max_bytes=max_bytes)
    count = 0
    for call in calls:
        if call == "put":
            delivery.write(record(count))
            count += 1
        else:
            delivery.flush()
            assert [writer.steps for writer in writers] == [list(range(count))] * 2
            assert not count or [writer.calls[-1] for writer in writers] == ["flush"] * 2
    delivery.close()

    for writer in writers:
        assert writer.steps == list(range(count))
        assert writer.calls[-2:] == ["flush", "close"]
        assert writer.calls.count("close") == 1


def test_several_threads_may_put():
    """Records of several threads all arrive, those of each thread in order."""
    writer = Collector()
    delivery = AsyncWriter(writer, max_bytes=500)
    threads = [
        threading.Thread(target=lambda start=start: [delivery.write(record(start + number)) for number in range(200)])
        for start in range(0, 4000, 1000)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        join(thread)
    delivery.close()

    for start in range(0, 4000, 1000):
        assert [step for step in writer.steps if start <= step < start + 1000] == list(range(start, start + 200))
    assert len(writer.steps) == 800


def test_writers_and_encoders_work_on_one_thread_that_is_not_the_caller():
    """All that costs time happens on the delivery thread, so that a writer needs no locks."""
    writers, value = [Collector(), Collector()], Encoded("text")
    delivery = AsyncWriter(FanOut(writers))
    delivery.write(record(0, {"note": value}))
    delivery.flush()
    delivery.write(record(1, {"note": value}))
    delivery.close()

    (thread,) = writers[0].threads
    assert thread is not threading.current_thread()
    assert writers[1].threads == value.threads == {thread}
    assert isinstance(writers[0], Writer)


def test_values_are_encoded_once_and_stay_in_order():
    """Writers get payloads by name in the order of the call; what is no medium is handed through."""
    picture = ImagePayload((Item(b"", ".png"),), 1, 1)
    writers = [Collector(), Collector()]
    delivery = AsyncWriter(FanOut(writers))
    delivery.write(Record(3, 1.0, 1234.5, {"b": 0.5, "note": Encoded("text"), "a": 2, "img": picture}))
    delivery.close()

    (one,), (same,) = (writer.records for writer in writers)
    assert one is same
    assert (one.step, one.epoch, one.wall_time) == (3, 1.0, 1234.5)
    assert list(one.values) == ["b", "note", "a", "img"]
    assert (one.values["b"], one.values["a"], one.values["img"]) == (0.5, 2, picture)
    assert contents(one, "note") == ["note=text"]


def test_put_comes_back_while_a_writer_is_busy(gated):
    """A slow writer holds up nobody as long as there is room."""
    delivery = AsyncWriter(gated, flush_secs=0.001)
    delivery.write(record(0))
    assert gated.arrived.wait(GUARD)

    for step in range(1, 1000):
        delivery.write(record(step))
    assert gated.steps == []

    gated.gate.set()
    delivery.close()
    assert gated.steps == list(range(1000))


def test_put_waits_for_room_and_then_goes_on(gated):
    """Where the waiting records hold more than the bound, put waits until the writers have made room."""
    delivery = AsyncWriter(gated, max_bytes=1000)
    delivery.write(record(0, {"note": Encoded("0", nbytes=600)}))
    assert gated.arrived.wait(GUARD)
    delivery.write(record(1, {"note": Encoded("1", nbytes=400)}))

    # A record that is being written holds its memory: there is room for nothing.
    putting = threading.Thread(target=lambda: [delivery.write(record(step)) for step in range(2, 50)])
    let_it_wait(putting)
    assert gated.steps == []

    gated.gate.set()
    join(putting)
    delivery.close()
    assert gated.steps == list(range(50))


def test_put_goes_on_as_soon_as_there_is_room(one_at_a_time):
    """Where one of two records is written, there is room for a third, though the other is still there."""
    writer, size = one_at_a_time, 100 * 2**10
    delivery = AsyncWriter(writer, max_bytes=5 * size // 2, flush_secs=10 * GUARD)
    for step in range(2):
        delivery.write(record(step, {"note": Encoded("text", nbytes=size)}))
    assert writer.arrived.wait(GUARD)
    putting = threading.Thread(target=delivery.write, args=[record(2, {"note": Encoded("text", nbytes=size)})])
    let_it_wait(putting)

    writer.gate.set()
    join(putting)
    assert writer.steps == [0]

    writer.open()
    delivery.close()
    assert writer.steps == [0, 1, 2]


def test_waiting_records_never_hold_more_than_the_bound():
    """However fast records are put, those that were put and not yet written stay within the bound."""
    held, most, lock = 0, 0, threading.Lock()

    class Slow(Collector):
        def write(self, one):
            nonlocal held
            super().write(one)
            with lock:
                held -= 100

    delivery = AsyncWriter(Slow(), max_bytes=1000)
    for step in range(500):
        delivery.write(record(step, {"note": Encoded("text", nbytes=100)}))
        with lock:
            held += 100
            most = max(most, held)
    delivery.close()

    assert held == 0
    assert most <= 1000


def test_a_record_larger_than_the_bound_is_delivered_alone(gated):
    """A single record that exceeds the bound goes through once nothing else waits."""
    delivery = AsyncWriter(gated, max_bytes=10)
    delivery.write(record(0, {"note": Encoded("large", nbytes=10_000)}))
    assert gated.arrived.wait(GUARD)
    putting = threading.Thread(target=delivery.write, args=[record(1, {"note": Encoded("larger", nbytes=20_000)})])
    let_it_wait(putting)

    gated.gate.set()
    join(putting)
    delivery.close()
    assert gated.steps == [0, 1]


def test_flush_waits_until_everything_is_written(gated):
    """Flush comes back after the writers have written and flushed what was put before, and not earlier."""
    delivery = AsyncWriter(gated)
    for step in range(3):
        delivery.write(record(step))

    flushing = threading.Thread(target=delivery.flush)
    let_it_wait(flushing)
    assert gated.steps == []

    gated.gate.set()
    join(flushing)
    assert (gated.steps, gated.calls[-1]) == ([0, 1, 2], "flush")
    delivery.close()


def test_after_flush_everything_is_on_disk(tmp_path):
    """Other programs read all of it after a flush, while the run goes on."""
    delivery = AsyncWriter(FanOut([CSVWriter(tmp_path), EventsWriter(tmp_path)]))
    for count in (1, 50, 200):
        for step in range(count):
            delivery.write(record(count * 1000 + step, {"loss": step / 4, "note": Encoded(str(step))}))
        delivery.flush()

        table = read_metrics(tmp_path).set_index("step").loc[count * 1000 :]
        assert table["loss"].tolist() == [step / 4 for step in range(count)]
        index = pandas.read_csv(tmp_path / "media.csv").set_index("step").loc[count * 1000 :]
        assert [(tmp_path / file).read_text() for file in index["file"]] == [f"note={step}" for step in range(count)]
        events = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0}).Reload()
        assert [event.value for event in events.Scalars("loss")][-count:] == [step / 4 for step in range(count)]
    delivery.close()


def test_files_are_flushed_without_being_asked(tmp_path):
    """What was put is in the files after the flush interval, though nobody calls flush."""
    flushed = threading.Event()

    class Telling(CSVWriter):
        def flush(self):
            super().flush()
            if (tmp_path / "metrics.csv").exists():
                flushed.set()

    delivery = AsyncWriter(Telling(tmp_path), flush_secs=0.01)
    delivery.write(record(0))

    assert flushed.wait(GUARD)
    assert read_metrics(tmp_path)["x"].tolist() == [0.0]
    delivery.close()


def test_close_writes_everything_and_may_be_called_again(tmp_path):
    """Close comes back when all is written and the writers are closed, and a second close does nothing."""
    writer = Collector()
    delivery = AsyncWriter(FanOut([writer, CSVWriter(tmp_path)]), flush_secs=GUARD)
    for step in range(300):
        delivery.write(record(step))
    delivery.close()
    delivery.close()

    assert writer.steps == read_metrics(tmp_path)["step"].tolist() == list(range(300))
    assert (writer.calls[-1], writer.calls.count("close")) == ("close", 1)


@pytest.mark.parametrize("position", [0, 1], ids=["broken first", "broken last"])
def test_a_broken_writer_costs_one_warning_and_a_report(position):
    """A writer that raises is warned of once, is tried again, and is reported at the end with what it missed."""
    broken, sound = Broken("write", {1, 3, 4}), Collector()
    delivery = AsyncWriter(FanOut([broken, sound] if position == 0 else [sound, broken]))
    with pytest.warns(UserWarning, match="failed") as caught:
        for step in range(6):
            delivery.write(record(step))
            delivery.flush()
    assert messages_of(caught) == ["Broken failed, training continues. OSError: no room for 1"]

    with pytest.warns(UserWarning, match="failed") as caught:
        delivery.close()
    assert messages_of(caught) == [
        (
            "Broken failed 3 times in this run, between the steps 1 and 4. Records from those steps are missing from"
            " the output. The first failure: OSError: no room for 1"
        )
    ]
    assert broken.steps == [0, 2, 5]
    assert sound.steps == list(range(6))


@pytest.mark.parametrize("method", ["flush", "close"])
def test_a_writer_that_cannot_finish_leaves_the_others_theirs(method):
    """What flush or close of a writer raises keeps no other writer from being flushed and closed."""
    broken, sound = Broken(method), Collector()
    delivery = AsyncWriter(FanOut([broken, sound]))
    delivery.write(record(0))
    with pytest.warns(UserWarning, match="Broken failed") as caught:
        delivery.close()

    warning, report = messages_of(caught)
    assert warning == "Broken failed, training continues. OSError: no room"
    assert report.startswith("Broken failed ")
    assert report.endswith(
        " in this run, at step 0. Records from those steps are missing from the output. The first failure: OSError: no"
        " room"
    )
    assert sound.steps == broken.steps == [0]
    assert sound.calls[-2:] == broken.calls[-2:] == ["flush", "close"]


def test_a_run_directory_that_cannot_be_made_costs_no_training(tmp_path):
    """Where a file is in the way of one writer's directory, another writer gets everything."""
    (tmp_path / "in the way").touch()
    folders = [tmp_path / "in the way" / "run", tmp_path / "run"]
    delivery = AsyncWriter(FanOut([CSVWriter(folders[0]), EventsWriter(folders[0]), CSVWriter(folders[1])]))
    with pytest.warns(UserWarning, match="failed") as caught:
        for step in range(3):
            delivery.write(record(step))
        delivery.close()

    starts = [message.split(" NotADirectoryError")[0] for message in messages_of(caught)]
    missing = (
        "failed 3 times in this run, between the steps 0 and 2. Records from those steps are missing from the output."
    )
    assert starts == [
        "CSVWriter failed, training continues.",
        "EventsWriter failed, training continues.",
        f"CSVWriter {missing} The first failure:",
        f"EventsWriter {missing} The first failure:",
    ]
    assert read_metrics(tmp_path / "run")["x"].tolist() == [0.0, 1.0, 2.0]


def test_an_encoder_that_raises_loses_its_value_alone():
    """The other values of the record arrive, and the loss is warned of once for each name."""
    writer = Collector()
    delivery = AsyncWriter(writer)
    with pytest.warns(UserWarning, match="failed") as caught:
        for step in range(3):
            values = {
                "loss": 0.5,
                "val/bad": Encoded("", error=ValueError(f"no pixels at {step}")),
                "good": Encoded("text"),
            }
            delivery.write(record(step, values | ({"worse": Encoded("", error=KeyError("k"))} if step == 1 else {})))
        delivery.close()

    assert messages_of(caught) == [
        "Encoding 'val/bad' failed, training continues. ValueError: no pixels at 0",
        "Encoding 'worse' failed, training continues. KeyError: 'k'",
        (
            "Encoding 'val/bad' failed 3 times in this run. Records are missing from the output."
            " The first failure: ValueError: no pixels at 0"
        ),
        (
            "Encoding 'worse' failed once in this run. Records are missing from the output."
            " The first failure: KeyError: 'k'"
        ),
    ]
    assert [list(one.values) for one in writer.records] == [["loss", "good"]] * 3


def test_warnings_that_are_errors_do_not_end_delivery():
    """Under -W error the thread lives on, and close still reports."""
    broken, sound = Broken("write", {0, 1}), Collector()
    delivery = AsyncWriter(FanOut([broken, sound]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for step in range(4):
            delivery.write(record(step))
        delivery.flush()

    with pytest.warns(UserWarning, match="^Broken failed 2 times in this run"):
        delivery.close()
    assert (sound.steps, broken.steps) == ([0, 1, 2, 3], [2, 3])


@pytest.mark.filterwarnings("error")
def test_without_failures_there_are_no_warnings():
    """A run in which all went well ends in silence."""
    writer = Collector()
    delivery = AsyncWriter(writer)
    delivery.write(record(0))
    delivery.close()

    assert writer.steps == [0]


PROGRAM = """
import os, pathlib, sys
from lightning_trackplus.delivery.async_writer import AsyncWriter
from lightning_trackplus.record import Item, ImagePayload, Record
from lightning_trackplus.writers.csv import CSVWriter

class Encoded:
    nbytes = 10
    def snapshot(self):
        return self
    def encode(self, name):
        return ImagePayload((Item(b"encoded", ".png"),), 1, 1)

def log(folder):
    deliveries = [AsyncWriter(CSVWriter(folder / name), flush_secs=1000) for name in ("one", "two")]
    for step in range(500):
        for delivery in deliveries:
            delivery.write(Record(step, None, 0.0, {"x": float(step)}))
    for delivery in deliveries:
        delivery.write(Record(500, None, 0.0, {"img": Encoded()}))

# Each process does what a program of its own would do, up to the end of its interpreter.
for number, ending in enumerate(sys.argv[1:]):
    if (child := os.fork()) == 0:
        log(pathlib.Path(str(number)))
        exec(ending)
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks processes")
def test_what_was_put_before_the_interpreter_ends_is_written(tmp_path):
    """A program that ends in any way without closing has everything of all its runs on disk."""
    endings = ["", "sys.exit(3)", "raise RuntimeError('training broke')", "raise KeyboardInterrupt"]
    command = [sys.executable, "-c", PROGRAM, *endings]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=GUARD, check=False)

    *codes, of_interrupt = map(int, done.stdout.split())
    assert codes == [0, 3, 1]
    assert of_interrupt != 0
    for folder in [tmp_path / str(number) / name for number in range(4) for name in ("one", "two")]:
        with (folder / "metrics.csv").open(newline="") as file:
            assert [(row["step"], row["x"]) for row in csv.DictReader(file)] == [
                (str(step), str(float(step))) for step in range(500)
            ]
        with (folder / "media.csv").open(newline="") as file:
            (row,) = csv.DictReader(file)
        assert (folder / row["file"]).read_bytes() == b"encoded"


def test_what_comes_after_close_is_said_to_be_lost(tmp_path):
    """A record that nobody will write is warned of, and keeps nobody waiting, however full the queue is."""
    delivery = AsyncWriter(FanOut([]), max_bytes=1)
    delivery.close()
    with pytest.warns(UserWarning, match=r"^Logging failed, training continues\. RuntimeError: it was closed before"):
        for step in range(3):
            delivery.write(Record(step, None, 0.0, {"x": 1.0}))


def test_a_writer_that_exits_does_not_end_the_delivery():
    """Even an exit in a writer leaves the others their records."""

    class Exiting:
        def write(self, record):
            raise SystemExit(3)

        def flush(self):
            pass

        def close(self):
            pass

    class Keeping(Exiting):
        def __init__(self):
            self.steps = []

        def write(self, record):
            self.steps.append(record.step)

    keeping = Keeping()
    delivery = AsyncWriter(FanOut([Exiting(), keeping]))
    with pytest.warns(UserWarning, match=r"Exiting failed 3 times in this run"):
        for step in range(3):
            delivery.write(Record(step, None, 0.0, {"x": 1.0}))
        delivery.close()
    assert keeping.steps == [0, 1, 2]


def test_a_writer_that_logs_does_not_wait_for_itself():
    """A writer may put a record, flush and close from within; what it puts is delivered."""

    class Echo:
        def __init__(self):
            self.steps = []

        def write(self, record):
            self.steps.append(record.step)
            if record.step < 3:
                delivery.write(Record(record.step + 1, None, 0.0, {"x": 1.0}))
                delivery.flush()

        def flush(self):
            pass

        def close(self):
            pass

    echo = Echo()
    delivery = AsyncWriter(echo, max_bytes=1)
    delivery.write(Record(0, None, 0.0, {"x": 1.0}))
    while len(echo.steps) < 4:
        delivery.flush()
    delivery.close()
    assert echo.steps == [0, 1, 2, 3]


def test_an_error_without_words_is_reported_by_its_name():
    """An exception whose text cannot be had ends nothing."""

    class MuteError(Exception):
        def __str__(self):
            raise RuntimeError

    class Broken:
        def write(self, record):
            raise MuteError

        def flush(self):
            pass

        def close(self):
            pass

    delivery = AsyncWriter(Broken())
    with pytest.warns(UserWarning, match=r"^Broken failed, training continues\. MuteError$"):
        delivery.write(Record(0, None, 0.0, {"x": 1.0}))
        delivery.flush()
    with pytest.warns(UserWarning, match=r"The first failure: MuteError$"):
        delivery.close()


def put_media(delivery, step, size, name="img"):
    """Write a medium as a logger does; return whether it was admitted, since what is dropped is not copied."""
    medium = Encoded(str(step), nbytes=size)
    delivery.write(Record(step, 0, 1e9, {name: medium}, is_media=True))
    return medium.is_copied


def test_media_without_room_are_dropped_and_counted(gated):
    """With ``drop``, what does not fit is left out, said once with its name, and counted at the end."""
    delivery = AsyncWriter(gated, max_bytes=1000, overflow="drop")
    assert put_media(delivery, 0, 600)
    assert gated.arrived.wait(GUARD)
    with pytest.warns(UserWarning, match="dropped") as caught:
        admitted = [put_media(delivery, step, 300, f"img/{step % 2}") for step in range(1, 8)]
    assert admitted == [True] + [False] * 6
    assert messages_of(caught) == [
        "'img/0' was dropped, training continues. Media are logged faster than they are written, and those that wait"
        ' may hold 1,000 bytes in all. Dropped media are counted until the end of the run; media_overflow="block" waits'
        " for room instead, and a larger max_queue_bytes gives more of it."
    ]

    gated.gate.set()
    with pytest.warns(UserWarning, match="dropped") as caught:
        delivery.close()
    assert messages_of(caught) == [
        "Media were dropped 6 times in this run, since they were logged faster than they were written: 'img/0' 3 times,"
        " 'img/1' 3 times."
    ]
    assert gated.steps == [0, 1]


def test_a_report_of_many_names_is_short(gated):
    """The names of which most was dropped are told, and how many others there are."""
    delivery = AsyncWriter(gated, max_bytes=10, overflow="drop")
    assert put_media(delivery, 0, 10)
    with pytest.warns(UserWarning, match="'n0' was dropped"):
        for number in range(9):
            put_media(delivery, 1, 10, f"n{number}")
        put_media(delivery, 1, 10, "n8")
    gated.gate.set()
    with pytest.warns(UserWarning, match="Media were dropped") as caught:
        delivery.close()
    assert messages_of(caught) == [
        "Media were dropped 10 times in this run, since they were logged faster than they were written: 'n8' 2 times,"
        " 'n0' once, 'n1' once, 'n2' once, 'n3' once, and 4 other names."
    ]


def test_numbers_are_never_dropped_and_never_wait_behind_media(gated):
    """With ``drop``, a queue full of media takes numbers at once, in their order."""
    delivery = AsyncWriter(gated, max_bytes=1000, overflow="drop")
    assert put_media(delivery, 0, 1000)
    assert gated.arrived.wait(GUARD)
    with pytest.warns(UserWarning, match="was dropped"):
        for step in range(1, 16):
            delivery.write(record(step))
            assert not put_media(delivery, step, 1)
    assert gated.steps == []

    gated.gate.set()
    with pytest.warns(UserWarning, match="dropped 15 times"):
        delivery.close()
    assert gated.steps == list(range(16))


def test_numbers_wait_for_numbers(gated):
    """With ``drop``, memory is bounded for numbers too: they wait where the bound is full of numbers."""
    delivery = AsyncWriter(gated, max_bytes=640, overflow="drop")
    for step in range(10):
        delivery.write(record(step))
    putting = threading.Thread(target=lambda: [delivery.write(record(step)) for step in range(10, 50)])
    let_it_wait(putting)
    assert put_media(delivery, 50, 600)

    gated.gate.set()
    join(putting)
    delivery.close()
    assert sorted(gated.steps) == list(range(51))
    assert [step for step in gated.steps if step != 50] == list(range(50))


def test_with_block_media_are_always_admitted(gated):
    """The other policy drops nothing, however full the queue is."""
    delivery = AsyncWriter(gated, max_bytes=10)
    assert put_media(delivery, 0, 10)
    putting = threading.Thread(target=put_media, args=[delivery, 1, 10])
    let_it_wait(putting)
    gated.gate.set()
    join(putting)
    delivery.close()
    assert gated.steps == [0, 1]


def test_a_medium_larger_than_the_bound_is_taken_where_no_other_waits(gated):
    """With ``drop`` too, one that never fits is written when it comes alone, and dropped when it does not."""
    delivery = AsyncWriter(gated, max_bytes=200, overflow="drop")
    for step in range(3):
        delivery.write(record(step))
    assert put_media(delivery, 3, 10_000)
    with pytest.warns(UserWarning, match="'img' was dropped"):
        assert not put_media(delivery, 4, 10_000)

    gated.gate.set()
    delivery.flush()
    assert put_media(delivery, 5, 10_000)
    with pytest.warns(UserWarning, match="Media were dropped once in this run"):
        delivery.close()
    assert gated.steps == [0, 1, 2, 3, 5]


def test_a_drop_lets_the_thread_make_room():
    """Media are written before the flush interval is over where others found no room."""
    writer = Collector()
    delivery = AsyncWriter(writer, max_bytes=1000, overflow="drop", flush_secs=GUARD * 10)
    assert put_media(delivery, 0, 400)
    with pytest.warns(UserWarning, match="'img' was dropped"):
        assert not put_media(delivery, 1, 700)
    deadline = time.monotonic() + GUARD
    while not put_media(delivery, 2, 700):
        assert time.monotonic() < deadline
    with pytest.warns(UserWarning, match="Media were dropped"):
        delivery.close()
    assert writer.steps == [0, 2]


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.sampled_from(["numbers", "media", "flush"]), st.integers(0, 300)), max_size=40),
    st.sampled_from([1, 100, 500]),
)
def test_whatever_is_dropped_the_rest_arrives_in_order(calls, max_bytes):
    """All numbers and the media that were admitted arrive in the order of the calls, and the rest is counted."""
    writer = Collector()
    expected, dropped = [], 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        delivery = AsyncWriter(writer, max_bytes=max_bytes, overflow="drop")
        for step, (call, size) in enumerate(calls):
            if call == "flush":
                delivery.flush()
            elif call == "numbers":
                delivery.write(record(step))
                expected.append(step)
            elif put_media(delivery, step, size):
                expected.append(step)
            else:
                dropped += 1
        delivery.close()
    assert writer.steps == expected
    times = "once" if dropped == 1 else f"{dropped} times"
    which = "they were logged faster than they were written"
    report = f"Media were dropped {times} in this run, since {which}: 'img' {times}."
    assert [message for message in messages_of(caught) if message.startswith("Media")] == [report] * bool(dropped)


def test_several_threads_may_be_admitted_at_once(gated):
    """Threads that log media at the same moment exceed the bound by no more than one medium each."""
    delivery = AsyncWriter(gated, max_bytes=1000, overflow="drop")
    start, admitted = threading.Barrier(4), []

    def flood(first):
        start.wait()
        admitted.extend(step for step in range(first, first + 50) if put_media(delivery, step, 250))

    threads = [threading.Thread(target=flood, args=[first]) for first in range(0, 400, 100)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for thread in threads:
            thread.start()
        for thread in threads:
            join(thread)
        gated.gate.set()
        delivery.close()
    assert 4 <= len(admitted) <= 4 + 4
    assert sorted(gated.steps) == sorted(admitted)


@pytest.mark.parametrize("overflow", ["block", "drop"])
def test_a_size_that_cannot_be_told_costs_one_record(overflow):
    """What raises where it is asked for its size is lost alone, and said."""

    class Sizeless(Encoded):
        @property
        def nbytes(self):
            raise RuntimeError("no size")

        @nbytes.setter
        def nbytes(self, _):
            pass

    writer = Collector()
    delivery = AsyncWriter(writer, overflow=overflow)
    medium = Sizeless("text")
    with pytest.warns(UserWarning, match="failed") as caught:
        for step in range(2):
            delivery.write(Record(step, 0, 1e9, {"img": medium}, is_media=True))
        delivery.write(record(2))
        delivery.close()
    assert messages_of(caught) == [
        "Logging failed, training continues. RuntimeError: no size",
        "Logging failed 2 times in this run. Records are missing from the output."
        " The first failure: RuntimeError: no size",
    ]
    assert writer.steps == [2]


def test_a_closed_delivery_says_so_with_either_policy():
    """After its end media are not counted as dropped, but as lost, like numbers."""
    delivery = AsyncWriter(FanOut([]), max_bytes=1, overflow="drop")
    delivery.close()
    with pytest.warns(UserWarning, match=r"^Logging failed, training continues\. RuntimeError: it was closed before"):
        assert put_media(delivery, 0, 10)


class Slow:
    """A writer that takes its time for images."""

    def __init__(self):
        self.numbers, self.images = [], 0

    def write(self, record):
        if "x" in record.values:
            self.numbers.append(record.values["x"])
        else:
            time.sleep(0.01)
            self.images += len(record.values["img"].items)

    def flush(self):
        pass

    def close(self):
        pass


def flood(say, overflow):
    """Log images faster than they are written; say what was written and dropped, and by how much memory has grown."""
    slow = Slow()
    logger = TrackPlusLogger(".", writers=[slow], media_overflow=overflow, max_queue_bytes=8 * 2**20)
    pixels = torch.zeros(3, 512, 512)
    logger.log_media("img", Image(pixels))
    logger.finalize("success")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(60):
            logger.log_media("img", Image(pixels), step)
            logger.log_metrics({"x": float(step)}, step)
        logger.finalize("success")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    say((slow.numbers, slow.images - 1, messages_of(caught), grown))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks a process")
@pytest.mark.parametrize("overflow", ["block", "drop"])
def test_under_a_flood_of_images_memory_stays_flat(overflow):
    """A slow writer and 180 MB of images: memory grows by little more than the bound, and no number is lost."""
    numbers, images, messages, grown = Forked(flood, overflow).hear()
    dropped = re.findall(r"Media were dropped (\d+) times in this run", "".join(messages))
    assert numbers == [float(step) for step in range(60)]
    assert images + sum(map(int, dropped)) == 60
    assert bool(dropped) == (overflow == "drop")
    assert grown < 80 * 2**20


def test_writers_nest():
    """An asynchronous writer and a fan-out are writers: a tree of them gives each leaf all records, encoded once."""
    leaves = [Collector() for _ in range(4)]
    inner = AsyncWriter(FanOut([leaves[0], FanOut(leaves[1:3])]))
    tree = FanOut([inner, AsyncWriter(AsyncWriter(leaves[3]))])
    assert isinstance(inner, Writer)
    assert isinstance(tree, Writer)
    value = Encoded("text")
    tree.write(record(0))
    tree.write(record(1, {"note": value}))
    tree.close()

    assert [leaf.steps for leaf in leaves] == [[0, 1]] * 4
    assert [contents(leaf.records[1], "note") for leaf in leaves] == [["note=text"]] * 4
    assert len(value.threads) == 1
    assert [leaf.calls[-1] for leaf in leaves] == ["close"] * 4


def test_an_interrupt_on_the_main_thread_is_raised_after_all_are_closed():
    """A fan-out keeps a writer's error from the caller, but not what is meant for the program."""

    class Interrupted(Collector):
        def close(self):
            raise KeyboardInterrupt

    sound = Collector()
    with pytest.raises(KeyboardInterrupt):
        FanOut([Interrupted(), sound]).close()
    assert sound.calls == ["close"]


def test_a_medium_that_fails_is_encoded_once_and_said_by_each_delivery():
    """Three deliveries share it: the error comes to each of them, from one attempt."""
    attempts = []

    class Failing(Encoded):
        def encode(self, name):
            attempts.append(name)
            return super().encode(name)

    writers = [Collector(), Collector(), Collector()]
    deliveries = FanOut([AsyncWriter(writer) for writer in writers])
    with pytest.warns(UserWarning, match="Encoding 'm' failed") as caught:
        deliveries.write(record(0, {"m": Failing("a", error=RuntimeError("bad"))}))
        deliveries.close()
    assert attempts == ["m"]
    first = "Encoding 'm' failed, training continues. RuntimeError: bad"
    assert messages_of(caught).count(first) == 3
    assert [list(one.values) for writer in writers for one in writer.records] == [[], [], []]


@pytest.mark.parametrize("error", [None, RuntimeError("bad")])
def test_what_was_encoded_is_not_held(error):
    """A medium that several share is let go as soon as it is encoded, or could not be; what is asked again is known."""
    medium = Encoded("a", error=error)
    shared, held = SharedEncoding(medium).snapshot(), weakref.ref(medium)
    assert shared.nbytes == 100
    del medium
    found = []
    for _ in range(2):
        try:
            found.append(shared.encode("m"))
        except RuntimeError as raised:
            found.append(raised)
    gc.collect()
    assert held() is None
    assert found[0] is found[1]
    assert shared.snapshot() is shared
    assert (found[0] is error, shared.nbytes) == (True, 0) if error else (False, len(b"m=a"))
