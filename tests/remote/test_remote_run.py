"""Run directories at fsspec URLs: what lies there in the end, whatever fails in between."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings
from collections import Counter
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from lightning_trackplus.formats.event_files import EventFile, read_records
from lightning_trackplus.formats.layout import media_file
from lightning_trackplus.remote import remote_run
from lightning_trackplus.remote.remote_folder import remote_versions
from lightning_trackplus.remote.remote_run import RemoteRun
from lightning_trackplus.remote.spool import spool_of
from tests.support.csv_files import read_metrics
from tests.support.forking import Forked

LATER = 3600.0
"""An interval that is over in no test: what is uploaded then, `flush` and `close` upload."""


class LocalStore(LocalFileSystem):
    """A local folder under a protocol of its own; fsspec before 2026 strips none but ``file``."""

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(str(path).removeprefix(f"{cls.protocol}://"))


class Store(LocalStore):
    """An object store in a local folder: a put is all or nothing, and there is neither append nor move."""

    protocol = "objects"
    mv = fsspec.AbstractFileSystem.mv
    cachable = False
    before_put = staticmethod(lambda path: None)
    """Called with the path of each put; may raise or wait."""

    def _open(self, path, mode="rb", **options):
        if mode not in {"rb", "wb", "xb"}:
            raise NotImplementedError(f"objects cannot be opened with {mode!r}")
        return super()._open(path, mode, **options)

    def put_file(self, path1, path2, callback=None, **options):
        target = Path(self._strip_protocol(path2))
        type(self).before_put(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"part.{os.getpid()}")
        shutil.copyfile(path1, part)
        part.replace(target)

    def cp_file(self, path1, path2, **options):
        Path(self._strip_protocol(path2)).parent.mkdir(parents=True, exist_ok=True)
        super().cp_file(path1, path2, **options)


class RefusingStore(LocalStore):
    """A file system that refuses to append, to move over a file, and to write where there is no folder."""

    protocol = "refusing"
    cachable = False

    def _open(self, path, mode="rb", **options):
        assert mode in {"rb", "wb"}
        return super()._open(path, mode, **options)

    def mv(self, path1, path2, **options):
        if self.exists(path2):
            raise FileExistsError(path2)
        super().mv(path1, path2, **options)


class SilentStore(RefusingStore):
    """A file system that refuses to move over a file and does not say so."""

    protocol = "silent"

    def mv(self, path1, path2, **options):
        if not self.exists(path2):
            super().mv(path1, path2, **options)


for store in (Store, RefusingStore, SilentStore):
    fsspec.register_implementation(store.protocol, store, clobber=True)


@pytest.fixture(autouse=True)
def _own_stores(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKPLUS_SPOOL", str(tmp_path / "spools"))
    monkeypatch.setattr(Store, "before_put", staticmethod(lambda path: None))
    monkeypatch.setattr(remote_run, "_RETRY_PAUSES", (0.01, 0.02))
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture
def url(tmp_path):
    """The URL of a run in the object store, which lies in the folder `there`."""
    return f"objects://{tmp_path}/there"


@pytest.fixture
def there(tmp_path):
    return tmp_path / "there"


def opened(url, spool=None, **options):
    """Return a run that is begun, and its spool."""
    spool = spool_of(url) if spool is None else spool
    run = RemoteRun(url, spool, **{"interval": LATER, **options})
    run.fetch()
    run.start()
    return run, spool


def write(folder, files):
    """Write files, as old as those that no clock's tick can hide a change of."""
    for relative, data in files.items():
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, ns=(1_000_000_000, time.time_ns() - 10**9))


def content(url):
    """Return what lies at a URL, by relative path."""
    files, root = fsspec.core.url_to_fs(url)
    return {name.removeprefix(root).strip("/"): files.cat_file(name) for name in files.find(root)}


def messages(caught):
    return [str(warning.message) for warning in caught]


FILES = {
    "metrics.csv": b"step,epoch,loss\n0,0,0.5\n",
    "events.out.tfevents.1.host.1.0": b"",
    "hparams.yaml": b"lr: 0.1\n",
    "train/events.out.tfevents.1.host.1.1": b"",
    "media.csv": b"step,epoch,name,kind,file\n0,0,x,image,media/x/0000000000-000.png\n",
    "media/x/0000000000-000.png": b"picture",
}


@pytest.mark.parametrize("protocol", ["memory", "objects", "refusing", "silent", "file"])
def test_after_close_the_remote_folder_is_the_spool_and_the_spool_is_gone(protocol, tmp_path):
    """New files, files that grew, and files that were replaced lie there byte for byte, and nothing else."""
    url = f"{protocol}://{tmp_path}/there/version_0"
    run, spool = opened(url)
    write(spool, FILES)
    run.flush()
    assert content(url) == FILES
    changed = {
        "metrics.csv": b"step,epoch,loss\n0,0,0.5\n1,0,0.25\n",
        "hparams.yaml": b"lr: 1\n",
        "summary.json": b"{}",
    }
    write(spool, changed)
    run.close()
    assert content(url) == {**FILES, **changed}
    assert not spool.exists()


def test_changes_are_uploaded_in_the_background(url, there):
    """Without a call, what is written comes to the remote folder, and what changes comes again."""
    run, spool = opened(url, interval=0.01)
    for data in (b"step,epoch\n", b"step,epoch\n0,0\n"):
        write(spool, {"metrics.csv": data})
        _wait_for(lambda data=data: (there / "metrics.csv").is_file() and (there / "metrics.csv").read_bytes() == data)
    run.close()


def _wait_for(condition):
    end = time.monotonic() + 180  # A slow upload is followed by a rest ten times as long.
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("protocol", ["memory", "objects", "refusing", "silent"])
def test_a_run_is_continued_from_another_machine(protocol, tmp_path):
    """Tables, event files and runs below are brought, checkpoints and media are not; names of media stay taken."""
    url = f"{protocol}://{tmp_path}/there/version_0"
    run, spool = opened(url, tmp_path / "first")
    write(spool, FILES)
    run.close()
    files, root = fsspec.core.url_to_fs(url)
    files.makedirs(f"{root}/checkpoints")
    files.pipe(f"{root}/checkpoints/last.ckpt", b"weights")
    files.pipe(f"{root}/config.yaml", b"seed: 1")

    run, spool = opened(url, tmp_path / "second")
    brought = {path.relative_to(spool).as_posix() for path in spool.rglob("*") if path.is_file()}
    assert brought == {*FILES, ".uploaded.json"}
    assert all((spool / name).read_bytes() == data for name, data in FILES.items() if not name.startswith("media/"))
    assert media_file(spool, "x", 0, ".png") == "media/x/0000000000-001.png"
    write(spool, {"metrics.csv": FILES["metrics.csv"] + b"1,0,0.25\n", "media/x/0000000000-001.png": b"another"})
    run.close()
    wanted = {**FILES, "checkpoints/last.ckpt": b"weights", "config.yaml": b"seed: 1"}
    wanted |= {"metrics.csv": FILES["metrics.csv"] + b"1,0,0.25\n", "media/x/0000000000-001.png": b"another"}
    assert content(url) == wanted


def test_numbers_of_two_processes_are_in_tensorboard(url, tmp_path, there):
    """EventAccumulator reads the remote content, copied back, as one curve."""
    for start in (0, 5):
        run, spool = opened(url, tmp_path / f"spool{start}")
        with SummaryWriter(str(spool)) as writer:
            for step in range(start, start + 5):
                writer.add_scalar("loss", step / 2, step)
        # A SummaryWriter names its tenth file of a second before its ninth.
        events = max(spool.glob("events*"), key=lambda path: path.stat().st_mtime_ns)
        events.rename(spool / f"events.out.tfevents.{start:010}.host")
        run.close()
    shutil.copytree(there, tmp_path / "copy")
    curve = EventAccumulator(str(tmp_path / "copy")).Reload().Scalars("loss")
    assert [(event.step, event.value) for event in curve] == [(step, step / 2) for step in range(10)]


class OutageError(Exception):
    pass


def failing_every(count):
    """Return what lets every count-th put fail."""
    calls = iter(range(1, 10**9))

    def before_put(path):
        if next(calls) % count == 0:
            raise OutageError("the network is down")

    return staticmethod(before_put)


def test_what_failed_is_tried_again(url, monkeypatch):
    """Where every second put fails, all is there in the end, with a warning at the first failure and one at the end."""
    monkeypatch.setattr(Store, "before_put", failing_every(2))
    run, spool = opened(url)
    write(spool, FILES)
    with pytest.warns(UserWarning, match="^Uploading to ") as caught:
        run.close()
    assert content(url) == FILES
    assert messages(caught) == [
        f"Uploading to {url} failed, training continues. It is tried again; until then, the files are in {spool}."
        " OutageError: the network is down",
        f"Uploading to {url} failed 5 times in this run. By now, all files are there. The first failure: OutageError:"
        " the network is down",
    ]


def test_after_an_outage_the_next_run_uploads_what_is_left(url, there, monkeypatch):
    """Where nothing gets through, the end says what is missing and where it lies, and the next run brings it."""
    monkeypatch.setattr(Store, "before_put", failing_every(1))
    run, spool = opened(url)
    write(spool, FILES)
    with pytest.warns(UserWarning, match="^Uploading to ") as caught:
        run.close()
    *_, last = messages(caught)
    assert last == (
        f"Uploading to {url} failed 9 times in this run. These files are missing there, or old:"
        " events.out.tfevents.1.host.1.0, hparams.yaml, media.csv, media/x/0000000000-000.png, metrics.csv, and 1 other"
        " file. They are kept in"
        f" {spool}, and the next run that writes to this URL uploads them; or copy them by hand. The first failure:"
        " OutageError: the network is down"
    )
    assert len(caught) == 2
    assert not there.exists()

    monkeypatch.setattr(Store, "before_put", staticmethod(lambda path: None))
    run, spool = opened(url)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.close()
    assert content(url) == FILES
    assert not spool.exists()


def test_one_file_that_always_fails_keeps_no_other_back(url, monkeypatch):
    """Files that come after several that are refused are uploaded all the same."""

    def before_put(path):
        if path.name.startswith("bad"):
            raise PermissionError("no")

    monkeypatch.setattr(Store, "before_put", staticmethod(before_put))
    run, spool = opened(url)
    bad = {f"bad{number}": b"x" for number in range(8)}
    write(spool, {**bad, **FILES})
    with pytest.warns(UserWarning, match="^Uploading to ") as caught:
        run.close()
    assert len(caught) == 2
    assert content(url) == FILES
    assert all((spool / name).is_file() for name in bad)


def test_a_file_that_was_uploaded_after_a_failure_waits_for_no_other(url, monkeypatch):
    """Its failures are forgotten: in the next round numbers come before media again."""
    puts = []

    def before_put(path):
        puts.append(path.name)
        if len(puts) == 1:
            raise OutageError("the network is down")

    monkeypatch.setattr(Store, "before_put", staticmethod(before_put))
    run, spool = opened(url)
    write(spool, {"metrics.csv": b"step,epoch\n"})
    with pytest.warns(UserWarning, match="^Uploading to "):
        run.flush()
    write(spool, {"metrics.csv": b"step,epoch\n0,0\n", "media/x/1.png": b"picture"})
    run.close()
    assert puts == ["metrics.csv", "metrics.csv", "metrics.csv", "1.png"]


def test_warnings_that_are_errors_do_not_end_it(url, monkeypatch, recwarn):
    """Under ``-W error`` the upload goes on."""
    monkeypatch.setattr(Store, "before_put", failing_every(2))
    warnings.simplefilter("error")
    run, spool = opened(url)
    write(spool, FILES)
    run.close()
    assert content(url) == FILES


def upload_in_part_and_die(say, url):
    """Write to a run and end by SIGKILL, when a part of it is uploaded."""
    run, spool = opened(url)
    write(spool, {"metrics.csv": b"step,epoch,loss\n0,0,0.5\n"})
    run.flush()
    write(spool, {"metrics.csv": b"step,epoch,loss\n0,0,0.5\n1,0,0.25\n", "media/x/1.png": b"picture"})
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_what_a_killed_process_left_is_uploaded_by_the_next_run(url, there):
    """After SIGKILL, part of the files uploaded, the next process continues the tables and uploads everything."""
    killed = Forked(upload_in_part_and_die, url, environment={"TRACKPLUS_SPOOL": os.environ["TRACKPLUS_SPOOL"]})
    assert killed.join() == -signal.SIGKILL
    assert content(url) == {"metrics.csv": b"step,epoch,loss\n0,0,0.5\n"}
    run, spool = opened(url)
    with (spool / "metrics.csv").open("a") as table:
        table.write("2,0,0.125\n")
    run.close()
    assert read_metrics(there).loss.tolist() == [0.5, 0.25, 0.125]
    assert content(url).keys() == {"metrics.csv", "media/x/1.png"}
    assert content(url)["media/x/1.png"] == b"picture"


def test_media_that_a_killed_process_had_uploaded_are_not_uploaded_again(url, tmp_path):
    """What a spool says after a flush is enough for the next process to leave the remote media where they lie."""
    files = {"metrics.csv": b"step,epoch\n", "media/x/1.png": b"picture"}
    run, spool = opened(url)
    write(spool, files)
    run.flush()
    shutil.copytree(spool, tmp_path / "left")  # As the process would leave it if it were killed now.
    following, _ = opened(url, tmp_path / "left")
    following.close()
    assert content(url) == files
    run.close()


PROGRAM = """
import pathlib, sys
from lightning_trackplus.remote.remote_run import RemoteRun
spool = pathlib.Path(sys.argv[2])
run = RemoteRun(sys.argv[1], spool, interval=3600)
run.fetch()
run.start()
(spool / "metrics.csv").write_text("step,epoch\\n")
"""


def test_the_end_of_the_process_uploads_what_is_left(tmp_path):
    """A process that neither flushes nor closes has uploaded everything when it has ended."""
    url = f"file://{tmp_path}/there"
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, url, tmp_path / "spool"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert content(url) == {"metrics.csv": b"step,epoch\n"}
    assert not (tmp_path / "spool").exists()


def upload_after_a_fork(say, url):
    """Fork while the run is uploading, say how the child ended, and close the run."""
    run, spool = opened(url)
    write(spool, FILES)
    with run._lock:
        child = os.fork()
    if child == 0:
        run.flush()
        run.close()
        os._exit(len(content(url)))
    say(os.waitpid(child, 0)[1])
    run.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_forked_process_uploads_nothing(url):
    """In a child, `flush` and `close` do nothing, even where the parent is uploading; the parent then has it all."""
    parent = Forked(upload_after_a_fork, url, environment={"TRACKPLUS_SPOOL": os.environ["TRACKPLUS_SPOOL"]})
    assert parent.hear() == 0
    assert parent.join() == 0
    assert content(url) == FILES


def test_no_torn_record_is_uploaded(url, there, monkeypatch):
    """While a writer appends in pieces, each version that is uploaded ends behind a record or a line."""
    versions = {"events.out.tfevents.1.host.1.0": [], "metrics.csv": []}
    puts = Counter()
    run, spool = opened(url, interval=0.001)
    whole = EventFile(spool / "whole")
    for number in range(200):
        whole.write(b"%d" % number * 50)
    whole.close()
    pieces = (spool / "whole").read_bytes()
    (spool / "whole").unlink()

    def keep_version(path):
        if (there / path.name).is_file() and path.name in versions:
            versions[path.name].append((there / path.name).read_bytes())
        puts[path.name] += 1

    monkeypatch.setattr(Store, "before_put", staticmethod(keep_version))
    with (
        (spool / "events.out.tfevents.1.host.1.0").open("ab", buffering=0) as events,
        (spool / "metrics.csv").open("ab", buffering=0) as table,
    ):
        for start in range(0, len(pieces), 97):
            events.write(pieces[start : start + 97])
            table.write(b"1,2" if start % 2 else b",3\n")
            if start // 97 % 20 == 19:
                uploaded = puts.copy()
                _wait_for(lambda uploaded=uploaded: all(puts[name] > uploaded[name] for name in versions))
    run.close()
    assert (there / "events.out.tfevents.1.host.1.0").read_bytes() == pieces
    assert min(map(len, versions.values())) > 3
    for version in versions["events.out.tfevents.1.host.1.0"]:
        (spool.parent / "version").write_bytes(version)
        assert sum(len(record) + 16 for record in read_records(spool.parent / "version")) == len(version)
    assert all(version[-1:] in {b"", b"\n"} for version in versions["metrics.csv"])


def test_a_large_file_takes_no_memory(tmp_path):
    """64 MiB are uploaded and brought again within a few MiB of memory."""
    url = f"refusing://{tmp_path}/there"
    run, spool = opened(url, tmp_path / "first")
    size = 64 * 2**20
    with (spool / "events.out.tfevents.1").open("wb") as file:
        for _ in range(64):
            file.write(b"\0" * 2**20)
    tracemalloc.start()
    run.close()
    run, spool = opened(url, tmp_path / "second")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (spool / "events.out.tfevents.1").stat().st_size == size
    assert peak < 12 * 2**20
    run.close()


def test_media_leave_the_spool_when_they_are_uploaded(url):
    """After two rounds the spool holds a line for each media file, and the remote folder the files."""
    run, spool = opened(url)
    media = {f"media/x/{number:010}-000.png": bytes([number]) * 100_000 for number in range(20)}
    write(spool, media)
    run.flush()
    run.flush()
    assert sum(path.stat().st_size for path in spool.rglob("*") if path.is_file()) < 10_000
    assert content(url) == media
    run.close()
    assert content(url) == media


def test_a_table_stays_whole_in_the_spool(url):
    """However often it is uploaded as it is, its writer finds it as it was, and goes on behind it."""
    run, spool = opened(url)
    write(spool, FILES)
    for _ in range(3):
        run.flush()
    with (spool / "metrics.csv").open("ab") as table:
        table.write(b"1,0,0.25\n")
    run.close()
    assert content(url) == {**FILES, "metrics.csv": FILES["metrics.csv"] + b"1,0,0.25\n"}


def test_uploaded_media_that_are_removed_here_keep_no_round_back(url):
    """The round in which one is missing uploads what is new, without a warning."""
    run, spool = opened(url)
    write(spool, {"media/x/1.png": b"picture"})
    run.flush()
    (spool / "media/x/1.png").unlink()
    write(spool, {"metrics.csv": b"step,epoch\n"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.flush()
    assert content(url) == {"metrics.csv": b"step,epoch\n", "backup/removed/media/x/1.png": b"picture"}
    run.close()


@pytest.mark.parametrize("uploaded", [True, False])
@pytest.mark.parametrize("protocol", ["memory", "objects", "refusing", "silent"])
def test_media_that_move_to_the_backup_move_there_as_well(protocol, uploaded, tmp_path):
    """Where a resume takes media away and their names come again, the old and the new ones lie there."""
    url = f"{protocol}://{tmp_path}/there"
    run, spool = opened(url)
    write(spool, {"media/x/0000000005-000.png": b"old"})
    for _ in range(2 * uploaded):
        run.flush()
    (spool / "backup/0/media/x").mkdir(parents=True)
    (spool / "media/x/0000000005-000.png").rename(spool / "backup/0/media/x/0000000005-000.png")
    write(spool, {"media/x/0000000005-000.png": b"new one"})
    run.close()
    assert content(url) == {
        "media/x/0000000005-000.png": b"new one",
        "backup/0/media/x/0000000005-000.png": b"old",
    }


def test_media_wait_for_the_move_of_those_before_them(url, monkeypatch):
    """Where the move fails, the new file of the same name does not overwrite the old one there."""
    run, spool = opened(url)
    write(spool, {"media/x/5.png": b"old"})
    run.flush()
    run.flush()
    (spool / "backup").mkdir()
    (spool / "media/x/5.png").rename(spool / "backup/5.png")
    write(spool, {"media/x/5.png": b"new one"})

    def refuse(self, *paths, **options):
        raise OutageError("no copies today")

    monkeypatch.setattr(Store, "cp_file", refuse)
    with pytest.warns(UserWarning, match="no copies today"):
        run.flush()
    assert content(url) == {"media/x/5.png": b"old"}
    monkeypatch.undo()
    run.close()
    assert content(url) == {"media/x/5.png": b"new one", "backup/5.png": b"old"}


def test_what_is_removed_here_moves_to_the_backup_there(url):
    """A file that was uploaded and is then removed lies in the remote backup, so that no history is deleted."""
    run, spool = opened(url)
    write(spool, FILES)
    run.flush()
    (spool / "train/events.out.tfevents.1.host.1.1").unlink()
    run.close()
    wanted = {**FILES, "backup/removed/train/events.out.tfevents.1.host.1.1": b""}
    del wanted["train/events.out.tfevents.1.host.1.1"]
    assert content(url) == wanted


def test_a_spool_that_is_removed_takes_nothing_with_it(url):
    """Where somebody removes the spool in mid-run, the remote files stay, and the end says so."""
    run, spool = opened(url)
    write(spool, FILES)
    run.flush()
    shutil.rmtree(spool)
    with pytest.warns(UserWarning, match="^Uploading to ") as caught:
        run.close()
    assert content(url) == FILES
    assert messages(caught)[0] == (
        f"Uploading to {url} failed, training continues. It is tried again; until then, the files are in {spool}."
        f" FileNotFoundError: {spool}, with files that are not uploaded yet, was removed."
    )


def test_what_another_machine_wrote_meanwhile_is_kept(url, tmp_path, monkeypatch):
    """Where a table was changed on both sides, the local one goes on, and the remote one lies in the backup."""
    run, spool = opened(url, tmp_path / "first")
    write(spool, {"metrics.csv": b"step,epoch\n"})
    run.flush()
    monkeypatch.setattr(Store, "before_put", failing_every(1))
    write(spool, {"metrics.csv": b"step,epoch\n1,0\n"})
    with pytest.warns(UserWarning, match="the network is down"):
        run.close()
    monkeypatch.setattr(Store, "before_put", staticmethod(lambda path: None))
    other, elsewhere = opened(url, tmp_path / "second")
    write(elsewhere, {"metrics.csv": b"step,epoch\n2,0\n3,0\n"})
    other.close()

    run, _ = opened(url, tmp_path / "first")
    run.close()
    assert content(url) == {
        "metrics.csv": b"step,epoch\n1,0\n",
        "backup/removed/metrics.csv": b"step,epoch\n2,0\n3,0\n",
    }


def test_what_was_removed_there_is_uploaded_again(url, there, monkeypatch):
    """A spool that is left is uploaded in full where the remote run is gone."""
    run, spool = opened(url)
    write(spool, FILES)
    run.flush()
    monkeypatch.setattr(Store, "before_put", failing_every(1))
    write(spool, {"metrics.csv": b"step,epoch\n"})
    with pytest.warns(UserWarning, match="the network is down"):
        run.close()
    shutil.rmtree(there)
    monkeypatch.undo()
    run, _ = opened(url, spool)
    run.close()
    assert content(url) == {**FILES, "metrics.csv": b"step,epoch\n"}


def test_a_slow_store_keeps_nobody_waiting_but_close(url, monkeypatch):
    """While an upload hangs, files are written and changed; `close` waits for it and uploads the last state."""
    waits, goes_on = threading.Event(), threading.Event()

    def before_put(path):
        waits.set()
        assert goes_on.wait(30)

    monkeypatch.setattr(Store, "before_put", staticmethod(before_put))
    run, spool = opened(url, interval=0.001)
    write(spool, {"metrics.csv": b"step,epoch\n"})
    assert waits.wait(30)
    write(spool, {"metrics.csv": b"step,epoch\n0,0\n"})
    assert content(url) == {}
    goes_on.set()
    run.close()
    assert content(url) == {"metrics.csv": b"step,epoch\n0,0\n"}


def test_a_second_close_does_nothing(url, there):
    """The second call uploads nothing and raises nothing."""
    run, spool = opened(url)
    write(spool, FILES)
    run.close()
    shutil.rmtree(there)
    run.close()
    run.flush()
    assert not there.exists()


def test_a_url_that_cannot_be_read_is_an_error_before_the_training(url, monkeypatch):
    """`fetch` raises, since a table that is continued without its rows would overwrite them."""

    def refuse(self, *paths, **options):
        raise PermissionError("no access")

    monkeypatch.setattr(Store, "find", refuse)
    run = RemoteRun(url, spool_of(url))
    message = (
        f"The run directory {url} could not be read, so nothing can be written there. Check the URL and your"
        " access to it. PermissionError: no access"
    )
    with pytest.raises(OSError, match=re.escape(message)):
        run.fetch()
    with pytest.raises(ValueError, match="Protocol not known: nowhere"):
        RemoteRun("nowhere://bucket/run", spool_of("nowhere://bucket/run"))


def test_versions_are_those_there_and_those_that_only_lie_here(tmp_path):
    """A run that was never uploaded keeps its number; a missing folder has none."""
    root = f"objects://{tmp_path}/logs"
    assert remote_versions(root) == []
    for name in ("version_0", "version_2_test", "version_12", "other"):
        (tmp_path / "logs" / name).mkdir(parents=True)
    (tmp_path / "logs/version_99").write_bytes(b"no folder")
    RemoteRun(f"{root}/version_13", spool_of(f"{root}/version_13"))
    RemoteRun(f"{root}2/version_14", spool_of(f"{root}2/version_14"))
    assert remote_versions(root) == remote_versions(f"{root}/") == [0, 2, 12, 13]


def test_a_spool_has_one_folder_for_one_url(tmp_path, monkeypatch):
    """It is the same in every process, another one for each URL, and its name says whose it is, but no password."""
    monkeypatch.delenv("TRACKPLUS_SPOOL")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "platform", "linux")
    urls = ["s3://bucket/a/b", "s3://bucket/a-b", "s3://bucket/A/b", "gs://bucket/a/b", "s3://bucket/a/b/" + "x" * 300]
    spools = [spool_of(url) for url in urls]
    assert len(set(spools)) == len(urls)
    assert spools[0] == spool_of("s3://bucket/a/b/")
    assert spools[0].parent == tmp_path / "cache/lightning-trackplus/spool"
    assert spools[0].name.startswith("s3-bucket-a-b-")
    assert max(len(spool.name) for spool in spools) < 100
    assert "secret" not in spool_of("ftp://me:secret@host/logs").name
    monkeypatch.setenv("TRACKPLUS_SPOOL", str(tmp_path / "mine"))
    assert spool_of(urls[0]) == tmp_path / "mine" / spools[0].name
