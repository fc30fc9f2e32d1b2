"""A run directory is written by one process at a time, however the last one ended."""

from __future__ import annotations

import copy
import errno
import fcntl
import os
import pickle
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_trackplus.run.lock import RunInUseError, RunLock

BEGIN = """
import multiprocessing, os, pickle, signal, sys
from pathlib import Path
from lightning_trackplus.run.lock import RunInUseError, RunLock

def attempt(lock):
    try:
        lock.acquire()
    except RunInUseError:
        return "refused"
    return "acquired"

def say(*words):
    print(*words, flush=True)

def in_child(work):
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    os.waitpid(pid, 0)
"""
HOLD = "lock = RunLock(Path(sys.argv[1])); say(attempt(lock)); sys.stdin.read()"
REFUSED = "The run directory {} is still being written by a running process{}. Wait for it or end it, or leave out version= to start a new run."  # noqa: E501
REFUSED_HERE = 'Another logger of this process is still writing to the run directory {}. Call its finalize("success") first, or leave out version= to start a new run.'  # noqa: E501


def start(directory, program):
    """Start a process with the program; return it."""
    command = [sys.executable, "-c", BEGIN + program, str(directory)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def holder(tmp_path):
    """Another process, which has the lock on the folder ``run``."""
    process = start(tmp_path / "run", HOLD)
    assert process.stdout.readline() == "acquired\n"
    yield process
    process.kill()
    process.communicate()


def said_by(directory, program):
    """Run the program as a process of its own; return what it says."""
    process = start(directory, program)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return output.split()


def is_locked(directory):
    """Return whether a process that has nothing to do with the lock is refused."""
    return said_by(directory, "say(attempt(RunLock(Path(sys.argv[1]))))") == ["refused"]


def test_a_run_that_another_process_writes_is_refused(tmp_path, holder):
    """The message says where, and what to do; with the other process' end the run is free."""
    with pytest.raises(RunInUseError) as raised:
        RunLock(tmp_path / "run").acquire()
    assert str(raised.value) == REFUSED.format(tmp_path / "run", "")
    holder.communicate()
    RunLock(tmp_path / "run").acquire()


def test_a_refused_lock_can_be_tried_again(tmp_path, holder):
    """A refusal leaves nothing behind that would be in the way once the run is free."""
    lock = RunLock(tmp_path / "run")
    for _ in range(3):
        with pytest.raises(RunInUseError):
            lock.acquire()
    lock.release()
    holder.communicate()
    lock.acquire()
    assert is_locked(tmp_path / "run")
    lock.release()
    assert not is_locked(tmp_path / "run")


def test_a_killed_process_leaves_no_lock(tmp_path, holder):
    """After SIGKILL, which no process can answer, the run is free at once, and no file tells of the lock."""
    assert is_locked(tmp_path / "run")
    holder.kill()
    holder.wait()
    assert not is_locked(tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize("ending", ["os._exit(3)", "sys.exit(3)", "raise SystemError", "os.abort()"])
def test_any_other_end_leaves_no_lock_either(tmp_path, ending):
    """However a process ends, the run is free."""
    process = start(tmp_path, f"say(attempt(RunLock(Path(sys.argv[1])))); sys.stderr.close(); {ending}")
    assert process.communicate()[0] == "acquired\n"
    assert process.returncode != 0
    assert not is_locked(tmp_path)


def test_a_forked_process_does_not_keep_the_lock_of_a_killed_one(tmp_path):
    """A worker that outlives its killed parent, as one of a DataLoader may, is in nobody's way."""
    program = """
lock = RunLock(Path(sys.argv[1])); lock.acquire()
pid = os.fork()
if pid == 0:
    sys.stdin.read()
    os._exit(0)
say(pid)
signal.pause()
"""
    parent = start(tmp_path, program)
    worker = int(parent.stdout.readline())
    assert is_locked(tmp_path)
    parent.kill()
    parent.wait()
    os.kill(worker, 0)  # It lives.
    assert not is_locked(tmp_path)
    parent.stdin.close()
    parent.stdout.close()


def test_the_end_of_a_forked_process_leaves_its_parents_lock(tmp_path):
    """What a child closes, releases or ends with does not release what its parent has locked."""
    program = """
lock = RunLock(Path(sys.argv[1])); lock.acquire()
in_child(lambda: None)
in_child(lock.release)
in_child(lambda: (lock.acquire(), lock.release()))
say("done"); sys.stdin.read()
"""
    parent = start(tmp_path, program)
    assert parent.stdout.readline() == "done\n"
    assert is_locked(tmp_path)
    parent.communicate()
    assert not is_locked(tmp_path)


def test_forked_processes_write_under_the_lock_of_their_parent(tmp_path):
    """A process of ``ddp_fork`` goes on in the run of its parent, which waits for it; so does a fork of that one."""
    program = """
lock = RunLock(Path(sys.argv[1])); lock.acquire()
def child():
    say("child", attempt(lock))
    in_child(lambda: say("grandchild", attempt(lock)))
    lock.release()
    say("again", attempt(lock), "other", attempt(RunLock(Path(sys.argv[1]))))
in_child(child)
"""
    words = ["child", "acquired", "grandchild", "acquired", "again", "acquired", "other", "refused"]
    assert said_by(tmp_path, program) == words


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_of_multiprocessing_write_under_the_lock_of_their_parent(tmp_path, method):
    """A lock that is handed over in a pickle, as by ``ddp_spawn``, knows whose it is."""
    (tmp_path / "program.py").write_text(
        BEGIN
        + f"""
def work(lock):
    say(attempt(lock), attempt(RunLock(Path(sys.argv[1]))))

if __name__ == "__main__":
    lock = RunLock(Path(sys.argv[1])); lock.acquire()
    process = multiprocessing.get_context({method!r}).Process(target=work, args=(lock,))
    process.start(); process.join()
"""
    )
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "run")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["acquired", "refused"]


def test_a_forked_process_locks_anew_what_its_parent_has_released(tmp_path):
    """A child whose parent has finished writing has a lock of its own, which keeps the parent out as well."""
    program = """
lock = RunLock(Path(sys.argv[1])); lock.acquire()
go, told = os.pipe(), os.pipe()
pid = os.fork()
if pid == 0:
    os.read(go[0], 1)
    say("child", attempt(lock))
    os.write(told[1], b".")
    sys.stdin.read()
    os._exit(0)
lock.release()
os.write(go[1], b".")
os.read(told[0], 1)
say("parent", attempt(lock))
os.waitpid(pid, 0)
say("then", attempt(lock))
"""
    process = start(tmp_path, program)
    assert [process.stdout.readline() for _ in range(2)] == ["child acquired\n", "parent refused\n"]
    assert is_locked(tmp_path)
    assert process.communicate()[0] == "then acquired\n"


def test_a_forked_process_has_no_part_in_a_lock_that_its_parent_has_lost(tmp_path):
    """What a parent has released, and another process has locked since, is closed to its children too."""
    program = """
lock = RunLock(Path(sys.argv[1])); lock.acquire(); lock.release()
say("released"); sys.stdin.readline()
in_child(lambda: say(attempt(lock)))
"""
    parent = start(tmp_path, program)
    assert parent.stdout.readline() == "released\n"
    other = start(tmp_path, HOLD)
    assert other.stdout.readline() == "acquired\n"
    assert parent.communicate("go on\n")[0] == "refused\n"
    other.communicate()


@pytest.mark.parametrize("how", ["the same", "a relative path", "a link"])
def test_two_loggers_of_one_process_do_not_share_a_run(tmp_path, monkeypatch, how):
    """The second is refused, however it writes the path, until the first has released it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "run")
    first, second = RunLock(tmp_path / "run"), RunLock(tmp_path / "run")
    if how != "the same":
        second = RunLock(Path("run" if how == "a relative path" else "link"))
    path = {"the same": tmp_path / "run", "a relative path": "run", "a link": "link"}[how]
    first.acquire()
    with pytest.raises(RunInUseError, match=re.escape(REFUSED_HERE.format(path))):
        second.acquire()
    assert is_locked(tmp_path / "run")
    first.release()
    second.acquire()
    assert is_locked(tmp_path / "run")
    second.release()


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda lock: pickle.loads(pickle.dumps(lock))])
def test_a_copy_does_not_hold_the_lock(tmp_path, copied):
    """A copy of a lock that is held is another logger's; its release releases nothing."""
    lock = RunLock(tmp_path)
    lock.acquire()
    other = copied(lock)
    with pytest.raises(RunInUseError, match=re.escape(REFUSED_HERE.format(tmp_path))):
        other.acquire()
    other.release()
    assert is_locked(tmp_path)
    lock.release()
    other.acquire()
    assert is_locked(tmp_path)
    other.release()


def test_runs_side_by_side_do_not_meet(tmp_path):
    """Each directory has a lock of its own, and so have those that lie in another."""
    locks = [RunLock(tmp_path / name) for name in ("version_0", "version_1", "version_0/train")]
    for lock in locks:
        lock.acquire()
    for lock in locks:
        lock.release()


def test_it_is_locked_once_and_released_once(tmp_path):
    """Several calls are as one, so that one release is enough, and more do nothing."""
    lock = RunLock(tmp_path)
    lock.release()
    lock.acquire()
    lock.acquire()
    lock.release()
    assert not is_locked(tmp_path)
    lock.release()


def test_no_descriptor_is_left_open(tmp_path, holder):
    """Neither a release nor a refusal leaves one behind."""
    before = os.listdir("/proc/self/fd") if Path("/proc/self/fd").is_dir() else []
    free, taken = RunLock(tmp_path / "free"), RunLock(tmp_path / "run")
    for _ in range(20):
        free.acquire()
        free.release()
        with pytest.raises(RunInUseError):
            taken.acquire()
    assert (os.listdir("/proc/self/fd") if before else []) == before


def test_a_directory_that_is_missing_is_made(tmp_path):
    """The directory need not be there before, and may go while it is locked."""
    lock = RunLock(tmp_path / "a" / "run")
    lock.acquire()
    assert is_locked(tmp_path / "a" / "run")
    shutil.rmtree(tmp_path / "a")
    lock.release()
    lock.acquire()
    assert is_locked(tmp_path / "a" / "run")
    lock.release()


def test_what_cannot_be_opened_is_not_locked(tmp_path):
    """A directory that cannot be made costs no exception; its writers report it."""
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "run", tmp_path / "file"):
        lock = RunLock(path)
        lock.acquire()
        assert not is_locked(path)
        lock.release()


def test_a_file_system_without_locks_lets_all_write(tmp_path, monkeypatch):
    """Where the system says that it cannot lock, as NFS does of directories, nothing is locked or left open."""

    def refuse(descriptor, operation):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    monkeypatch.setattr(fcntl, "flock", refuse)
    locks = [RunLock(tmp_path), RunLock(tmp_path)]
    for lock in locks:
        lock.acquire()
    assert not is_locked(tmp_path)
    for lock in locks:
        lock.release()


def test_a_platform_without_locks_lets_all_write(tmp_path):
    """Where Python has no ``fcntl``, nothing is locked."""
    program = """
import sys
sys.modules["fcntl"] = None
from pathlib import Path
from lightning_trackplus.run.lock import RunLock
first, second = RunLock(Path(sys.argv[1])), RunLock(Path(sys.argv[1]))
first.acquire(); second.acquire(); first.release(); second.release()
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)


HERE, LIVING = socket.gethostname(), os.getpid()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([f"events.out.tfevents.1700000000.{HERE}.{LIVING}.0"], (LIVING, HERE)),
        (["events.out.tfevents.1700000000.gpu-03.example.org.4711.0"], (4711, "gpu-03.example.org")),
        (["events.out.tfevents.1700000000.gpu-03.4711.12.suffix"], (4711, "gpu-03")),
        (["events.out.tfevents.1700000009.new.9.0", "events.out.tfevents.1700000001.old.1.3"], (9, "new")),
        (["events.out.tfevents.1700000001.a.1.10", "events.out.tfevents.1700000001.b.2.9"], (1, "a")),
        # It ended before, and another one has continued the run without an event so far.
        ([f"events.out.tfevents.1700000000.{HERE}.999999999.0"], None),
        (["events.out.tfevents.one", "metrics.csv", "events.out.tfevents.1700000000"], None),
        ([], None),
    ],
)
def test_the_refusal_names_who_writes(tmp_path, holder, files, said):
    """The host and the number of the process are told as the newest event file tells them, unless that one is gone."""
    for file in files:
        (tmp_path / "run" / file).touch()
    with pytest.raises(RunInUseError) as raised:
        RunLock(tmp_path / "run").acquire()
    who = "" if said is None else f", pid {said[0]} on {said[1]} according to its newest event file"
    assert str(raised.value) == REFUSED.format(tmp_path / "run", who)
