"""A process that logs until it is killed, and what its run directory then has to hold.

What is logged follows from the step alone, so that what is found in the files can be compared with it.
"""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import os
import random
import time
import warnings
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas
import torch
from PIL import Image as PillowImage
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_trackplus import Image, Text, TrackPlusLogger, read_run
from lightning_trackplus.reading.verify import differences
from tests.support.forking import Forked

FLUSH_SECS = 0.05
EVERYTHING = {"scalars": 0, "images": 0, "tensors": 0}


def value(name, step):
    """Return the number that is logged; most have all the digits that a float64 can have."""
    if name == "epoch":
        return step // 50
    return zlib.crc32(f"{name} {step}".encode()) / 7


def pixels(step):
    """Return the image that is logged, noise, of shape (3, 40, 40)."""
    return torch.from_numpy(np.random.default_rng(step).integers(0, 256, (3, 40, 40), dtype=np.uint8))


def calls(first):
    """Yield what is logged from a step on, in its order, each as (step, kind, names)."""
    for step in itertools.count(first):
        yield step, "numbers", ("loss", "acc", "epoch", *(f"layer/{number}/norm" for number in range(20)))
        yield step, "numbers", (f"late/{step // 4}",)
        if step % 5 == 0:
            yield step, "image", ("picture",)
        if step % 7 == 0:
            yield step, "text", ("report",)


def log(say, directory, first, last, rewind_to):
    """Log from a step on, at most to a last one; say of each step that is said to be in the files."""
    logger = TrackPlusLogger(
        directory.parent, "", directory.name, flush_secs=FLUSH_SECS, hparam_metrics={"loss": "min"}
    )
    logger.log_hyperparams({"lr": 0.1})
    if rewind_to is not None:
        logger.rewind_to_step(rewind_to)
    for step, some in itertools.groupby(calls(first), key=lambda call: call[0]):
        if step == last:
            break
        for _, kind, names in some:
            if kind == "numbers":
                logger.log_metrics({name: value(name, step) for name in names}, step)
            else:
                medium = Image(pixels(step)) if kind == "image" else Text(f"# At {step}\n\n" + "word " * 500)
                logger.log_media(names[0], medium, step)
        if step % 16 == 0:
            logger.experiment.flush()
            say(step)
        time.sleep(0.001)
    logger.finalize("success")
    say(step - 1)


def log_until_killed(directory, first, rewind_to, seconds, *, wait=True, watched=()):
    """Log in a process that is killed after some seconds.

    Args:
        directory: The run directory.
        first: The first step.
        rewind_to: Where the run goes on from; None to append to it.
        seconds: How long it lives after it has begun.
        wait: Whether it has begun when its first steps are in the files, or at once.
        watched: Folders; where they are given, the process then lives until a file is being written beside its place
            there, or for another second.

    Returns:
        The last step that was said to be in the files, -1 for none, and when it was killed.
    """
    process = Forked(log, directory, first, None, rewind_to)
    last = process.hear() if wait else -1
    time.sleep(seconds)
    deadline, already = time.monotonic() + 1, beside(*watched)
    while watched and beside(*watched) <= already and time.monotonic() < deadline:
        pass
    killed_at = time.time()
    process.kill()
    assert process.join() == -9
    for last in process.rest():  # noqa: B007
        pass
    return last, killed_at


def beside(*folders):
    """Return which files are being written beside their places in some folders, or were when a process was killed."""
    found = set()
    for folder in folders:
        with contextlib.suppress(FileNotFoundError):
            found |= {(one.path, one.stat().st_mtime_ns) for one in os.scandir(folder) if one.name.endswith(".new")}
    return found


def log_to_the_end(directory, first, last, rewind_to=None):
    """Log in a process that ends by itself."""
    assert Forked(log, directory, first, last, rewind_to).join() == 0


@dataclass
class Found:
    """What foreign readers find in a run directory: (name, step) of all that stands there, and when it was logged."""

    csv: set = field(default_factory=set)
    events: set = field(default_factory=set)
    media: set = field(default_factory=set)
    media_events: set = field(default_factory=set)
    logged_until: float = 0.0
    torn: bool = False

    @property
    def all(self):
        """All of it, wherever it stands."""
        return self.csv | self.events | self.media | self.media_events

    @property
    def last_step(self):
        """The highest step of all."""
        return max((step for _, step in self.all), default=-1)

    def before(self, step):
        """Return what of it comes before a step."""
        return Found(*({one for one in some if one[1] < step} for some in self._sets()))

    def _sets(self):
        return self.csv, self.events, self.media, self.media_events


def found_in(directory):
    """Read a run directory with csv, pandas, EventAccumulator and Pillow; each value has to be the one logged."""
    found = Found()
    if not directory.is_dir():
        return found
    _read_table(directory, found)
    _read_events(directory, found)
    _read_media(directory, found)
    if found.all:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Of a torn row.
            run = read_run(directory)
        stored = run.metrics.melt("step").dropna()
        assert set(zip(stored["variable"], stored["step"], strict=True)) == found.csv
        assert {(one.name, one.step) for one in run.media} == found.media
    return found


def _read_table(directory, found):
    path = directory / "metrics.csv"
    if not path.is_file() or not (data := path.read_bytes()):
        return
    *lines, rest = data.decode().split("\n")
    header, *rows = csv.reader(io.StringIO("\n".join(lines)))
    found.torn = bool(rest)
    assert all(len(row) <= len(header) for row in rows)
    for row in rows:
        step = int(row[0])
        for name, cell in zip(header[1:], row[1:], strict=False):
            if cell:
                assert float(cell) == value(name, step)
                assert (name, step) not in found.csv
                found.csv.add((name, step))
    # pandas reads it as it is, whatever the kill has left of the last row.
    frame = pandas.read_csv(path)
    assert list(frame.columns) == header
    assert len(frame) in {len(rows), len(rows) + 1}


def _read_events(directory, found):
    events = EventAccumulator(str(directory), size_guidance=EVERYTHING).Reload()
    for name in events.Tags()["scalars"]:
        logged = name.removeprefix("best/")
        for event in events.Scalars(name):
            assert event.value == np.float32(value(logged, event.step))
            if name == logged:
                assert (name, event.step) not in found.events
                found.events.add((name, event.step))
                found.logged_until = max(found.logged_until, event.wall_time)
    # A run that goes on knows of its best value by the CSV, which a kill can leave some steps behind the events.
    tags = events.Tags()["scalars"]
    logged = events.Scalars("loss") if "loss" in tags else []
    if losses := [event.value for event in logged if ("loss", event.step) in found.csv]:
        assert events.Scalars("best/loss")[-1].value <= min(losses)
    for name in events.Tags()["images"]:
        for event in events.Images(name):
            _assert_shows(event.encoded_image_string, event.step)
            found.media_events.add((name, event.step))
    for name in events.Tags()["tensors"]:
        if not name.startswith("_hparams_"):
            found.media_events |= {(name.removesuffix("/text_summary"), event.step) for event in events.Tensors(name)}


def _read_media(directory, found):
    path = directory / "media.csv"
    if not path.is_file() or not (data := path.read_bytes()):
        return
    whole, _, _ = data.rpartition(b"\n")
    for row in csv.DictReader(io.StringIO(whole.decode())):
        content = (directory / row["file"]).read_bytes()
        step = int(row["step"])
        if row["kind"] == "image":
            _assert_shows(content, step)
        else:
            assert content.decode() == f"# At {step}\n\n" + "word " * 500
        assert (row["name"], step) not in found.media
        found.media.add((row["name"], step))


def _assert_shows(encoded, step):
    shown = np.asarray(PillowImage.open(io.BytesIO(encoded)).convert("RGB"))
    assert np.array_equal(shown, pixels(step).permute(1, 2, 0))


def assert_logged_up_to_the_kill(found, before, first, flushed):
    """Each format holds all that it held before and the first ones of the calls since, at least those flushed.

    Args:
        found: What is there.
        before: What was there before that stays.
        first: The first step that was logged since.
        flushed: The last step that was said to be in the files.

    Returns:
        What stands in one of the formats alone.
    """
    logged = list(itertools.takewhile(lambda call: call[0] <= max(found.last_step, flushed), calls(first)))
    numbers = [{(name, step) for name in names} for step, kind, names in logged if kind == "numbers"]
    media = [{(names[0], step)} for step, kind, names in logged if kind != "numbers"]
    for there, earlier, some in (
        (found.csv, before.csv, numbers),
        (found.events, before.events, numbers),
        (found.media, before.media, media),
        (found.media_events, before.media_events, media),
    ):
        count = sum(one <= there for one in some)
        assert there == earlier.union(*some[:count])
        assert all(step > flushed for one in some[count:] for _, step in one)
    return found.csv ^ found.events | found.media ^ found.media_events


def assert_verify_finds(directory, apart):
    """``trackplus verify`` finds what stands in one of the formats alone, and no other difference."""
    if not any(directory.glob("*tfevents*")) or not any(directory.glob("*.csv")):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Of a torn row.
        found = {(one.name, one.step) for one in differences(directory)}
    # Where all of a name stands in one alone, that is one difference.
    whole = {name for name, step in found if step is None}
    assert {one for one in found if one[1] is not None} == {one for one in apart if one[0] not in whole}
    assert whole <= {name for name, _ in apart}


@dataclass
class Campaign:
    """Kills one process after the other, each in the run that the last one left.

    Args:
        root: Where the runs are to lie.

    Attributes:
        seconds_lost: Of each kill, how long before it the last thing was logged that is in the event files.
        counts: How often something happened.
        most_apart: In how many steps at most CSV and events differed.
    """

    root: Path
    seconds_lost: list = field(default_factory=list)
    counts: Counter = field(default_factory=Counter)
    most_apart: int = 0

    def kill(self, times, seed, longest=0.3):
        """Kill some processes in one new run directory, and let a last one go on to its end.

        Args:
            times: How many.
            seed: What decides when they are killed, and how they go on.
            longest: How many seconds they live at the most when they have begun.
        """
        chance = random.Random(seed)
        directory = self.root / f"run_{seed}"
        before, first, rewind_to = Found(), 0, None
        for _ in range(times):
            early = chance.random() < 0.25
            seconds = chance.uniform(0, 0.08 if early else longest)
            watched = chance.choice([(), (), (directory,), (directory / "media/picture",)])
            already = beside(directory, directory / "media/picture", directory / "media/report")
            flushed, at = log_until_killed(directory, first, rewind_to, seconds, wait=not early, watched=watched)
            found = found_in(directory)
            self._count("kills", True)
            self._count("after going back", rewind_to is not None)
            self._count("a last row was torn", found.torn)
            self._count("metrics.csv was being widened", beside(directory) - already)
            self._count("a medium was being written", beside(*(directory / "media").glob("*")) - already)
            if early and rewind_to is not None:
                # It may not have got as far as to go back; what it had before is there in any case.
                assert before.csv <= found.csv
                assert before.events <= found.events
                assert before.media <= found.media
            else:
                new = assert_logged_up_to_the_kill(found, before, first, flushed)
                assert_verify_finds(directory, found.csv ^ found.events | found.media ^ found.media_events)
                self._count("CSV and events were apart", new - before.all)
                self.most_apart = max(self.most_apart, len({step for _, step in new - before.all}))
                if not early:
                    self.seconds_lost.append(at - found.logged_until)
            # To go back behind what an unfinished one may not have taken away, or to append.
            must_go_back = early and rewind_to is not None
            if must_go_back or chance.random() < 0.5:
                highest = found.last_step + 1
                rewind_to = first = chance.randint(0, min(first, highest) if must_go_back else highest)
                before = found.before(first)
            else:
                rewind_to, first = None, found.last_step + 1
                before = found
        log_to_the_end(directory, first, first + 8, rewind_to)
        found = found_in(directory)
        assert not found.torn
        new = assert_logged_up_to_the_kill(found, before, first, first + 7)
        assert new == before.csv ^ before.events | before.media ^ before.media_events
        assert_verify_finds(directory, found.csv ^ found.events | found.media ^ found.media_events)
        assert not rewind_to or all(step < rewind_to for _, step in new)

    def _count(self, what, happened):
        self.counts[what] += bool(happened)
