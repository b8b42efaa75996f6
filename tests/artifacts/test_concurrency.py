"""The store under several processes: one makes an artifact, the others wait for it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import ClassVar

import pytest

from helpers import artifacts, settings
from helpers.artifacts import locks, parts
from helpers.settings import CourseError

pytest.importorskip("fcntl", reason="this system has no flock, which the store's locks are")

SIZE, PARTS = 64, 20

WORKER = """
import os, signal, sys, time
from pathlib import Path
import psutil
from helpers import artifacts, settings

store, names = Path(sys.argv[1]), sys.argv[2].split(",")
pause, size, parts, stop = float(sys.argv[3]), *map(int, sys.argv[4:])
settings.ARTIFACTS = store / "store"

def alive(number):
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

def produce(name):
    def write(path):
        # The maker leaves its process's number; the number of another live process must not be there.
        mark = store / f"{name}.making"
        owner = int(mark.read_text() or 0) if mark.exists() else 0
        if owner and alive(owner):
            time.sleep(0.2)  # the system takes its files first and buries it then
            if alive(owner):
                (store / "violations").open("a").write(f"{name} is being made by two\\n")
        mark.write_text(str(os.getpid()))
        with open(path, "wb") as file:
            for k in range(parts + 1):
                if k == stop:
                    print("stopped", flush=True)
                    signal.pause()
                if k < parts:
                    file.write(name.encode() * size)
                    file.flush()
                    time.sleep(pause)
        with (store / "made").open("a") as log:
            log.write(name + "\\n")
        mark.unlink()
    return write

print("ready", flush=True)
sys.stdin.readline()
for name in names:
    content = artifacts.make("parts", {"name": name}, ".bin", produce(name)).path.read_bytes()
    if content != name.encode() * parts * size:
        (store / "violations").open("a").write(f"of {name} a half was read\\n")
print("done", flush=True)
"""


class Worker:
    """A process that asks for artifacts in the given order, as soon as it is told to go.

    If ``stop`` is not negative, it stops for good in the first artifact that it makes, after that many parts.
    """

    started: ClassVar[list[subprocess.Popen]] = []

    def __init__(self, folder, names, pause=0.002, stop=-1):
        numbers = map(str, (pause, SIZE, PARTS, stop))
        command = [sys.executable, "-c", WORKER, str(folder), ",".join(names), *numbers]
        environment = {name: value for name, value in os.environ.items() if name != "COURSE_PROGRESS"}
        environment["PYTHONPATH"] = str(settings.ROOT)
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(self.process)

    def go(self):
        assert self.process.stdout.readline() == "ready\n"
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def finish(self, timeout=60):
        out, err = self.process.communicate(timeout=timeout)
        return out, err


@pytest.fixture(autouse=True)
def none_is_left_running():
    yield
    while Worker.started:
        process = Worker.started.pop()
        process.kill()
        process.communicate()


def lines(file):
    return file.read_text().splitlines() if file.exists() else []


def whole(folder, names, monkeypatch):
    """Whether the store holds all of these, each with a manifest that fits, and nothing else."""
    monkeypatch.setattr(settings, "ARTIFACTS", folder / "store")
    for name in names:
        file, _ = artifacts.make("parts", {"name": name}, ".bin", lambda path: pytest.fail("it is not there"))
        assert file.read_bytes() == name.encode() * (PARTS * SIZE)
        manifest = json.loads(file.with_suffix(".json").read_text())
        assert manifest["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    # The lock file of a process that was killed may be left; nobody holds it.
    left = [
        p for p in (folder / "store").rglob("*") if p.is_file() and (p.suffix != ".lock" or p.stat().st_size)
    ]
    return len(left) == 2 * len(names)


def test_processes_that_need_the_same_artifacts_make_each_once(tmp_path, monkeypatch):
    names = ["a", "b", "c"]
    workers = [Worker(tmp_path, order) for order in ("abc", "abc", "bca", "cba")]
    for worker in workers:
        worker.go()
    for worker in workers:
        out, err = worker.finish()
        assert worker.process.returncode == 0 and out == "done\n", err
    assert sorted(lines(tmp_path / "made")) == names and lines(tmp_path / "violations") == []
    assert whole(tmp_path, names, monkeypatch)


@pytest.mark.deep
def test_processes_killed_at_any_point_leave_a_whole_store(tmp_path, monkeypatch):
    """Two at a time are killed with -9, each in its own artifact; later ones make both artifacts whole."""
    names = ["a", "b"]
    points = (0, 1, PARTS // 2, PARTS)
    victims = [[Worker(tmp_path, order, stop=point) for order in ("ab", "ba")] for point in points]
    survivors = [Worker(tmp_path, order) for order in ("ab", "ba", "ab")]
    for pair in victims:
        for victim in pair:
            victim.go()
        for victim in pair:
            assert victim.process.stdout.readline() == "stopped\n"
        for victim in pair:
            victim.process.kill()
            victim.finish()
        assert lines(tmp_path / "made") == []
    for worker in survivors:
        worker.go()
    for worker in survivors:
        out, err = worker.finish()
        assert worker.process.returncode == 0 and out == "done\n", err
    assert sorted(lines(tmp_path / "made")) == names and lines(tmp_path / "violations") == []
    assert whole(tmp_path, names, monkeypatch)


def test_a_dead_owner_blocks_nobody(tmp_path, monkeypatch):
    owner, waiting = Worker(tmp_path, ["a"], stop=1), Worker(tmp_path, ["a"])
    owner.go()
    assert owner.process.stdout.readline() == "stopped\n"
    waiting.go()
    assert "another process is making parts " in waiting.process.stderr.readline()
    assert waiting.process.poll() is None
    owner.process.send_signal(signal.SIGKILL)
    owner.finish()
    out, err = waiting.finish(timeout=20)
    assert out == "done\n" and err == ""
    assert lines(tmp_path / "made") == ["a"] and whole(tmp_path, ["a"], monkeypatch)


def test_who_needs_another_artifact_does_not_wait(tmp_path):
    owner, other = Worker(tmp_path, ["a"], stop=1), Worker(tmp_path, ["b"])
    owner.go()
    assert owner.process.stdout.readline() == "stopped\n"
    other.go()
    out, err = other.finish(timeout=20)
    assert out == "done\n" and err == "" and lines(tmp_path / "made") == ["b"]
    owner.process.kill()
    owner.finish()


def test_a_failure_hands_over_to_one_of_those_that_wait(tmp_path, monkeypatch):
    """Threads of one process wait for each other as processes do.

    The lock file is removed when the first one fails. A thread that waited for that file and one that comes
    later must not both hold a lock then.
    """
    monkeypatch.setattr(settings, "ARTIFACTS", tmp_path)
    working, release, at_work, most, found = threading.Event(), threading.Event(), [], [], []

    def fail(path):
        working.set()
        assert release.wait(20)
        raise ZeroDivisionError

    def write(path):
        at_work.append(1)
        most.append(len(at_work))
        time.sleep(0.1)
        at_work.pop()
        if len(most) < 3:
            raise ZeroDivisionError
        path.write_text("made")

    def ask(produce):
        try:
            found.append(artifacts.make("parts", {}, ".txt", produce).path.read_text())
        except ZeroDivisionError:
            found.append("failed")

    threads = [threading.Thread(target=ask, args=(produce,)) for produce in (fail, *[write] * 5)]
    threads[0].start()
    assert working.wait(20)
    for thread in threads[1:3]:
        thread.start()
    time.sleep(0.1)
    assert found == []
    release.set()
    for thread in threads[3:]:
        time.sleep(0.03)
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(found) == ["failed"] * 3 + ["made"] * 3
    assert most == [1, 1, 1], "never two at once, and none after the third, which made it"
    assert len([p for p in tmp_path.rglob("*") if p.is_file()]) == 2


SHARER = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
from helpers import artifacts, settings

folder, number, stop = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
settings.ARTIFACTS = folder / "store"
made = []

def makers():
    return {line.split()[0] for line in (folder / "parts").read_text().splitlines()}

def produce(first, end):
    made.append(first)
    with (folder / "parts").open("a") as log:
        log.write(f"{os.getpid()} {first}\\n")
    give_up = time.monotonic() + 30
    while len(makers()) < number and time.monotonic() < give_up:  # until each process has begun a part
        time.sleep(0.005)
    if len(made) == stop:
        print("stopped", flush=True)
        signal.pause()
    return np.full((end - first, 2), first, np.uint16)

print("ready", flush=True)
sys.stdin.readline()
array = artifacts.make_array_in_parts("shared", {}, (50, 2), 4, produce, "a test")
assert (array[:, 0] == np.arange(50) // 4 * 4).all()
print("done", flush=True)
"""


def sharers(folder, stops):
    """Start processes that share an array; the first one writes the whole.

    Each of ``stops`` is the part, counted from 1, at which that process stops; 0 means never.
    """
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SHARER, str(folder), str(len(stops)), str(stop)],
            env={**os.environ, "PYTHONPATH": str(settings.ROOT), "COURSE_PROGRESS": os.devnull},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for stop in stops
    ]
    Worker.started += started
    for process in started:
        assert process.stdout.readline() == "ready\n"
    for process in started:
        process.stdin.write("\n")
        process.stdin.flush()
        deadline = time.monotonic() + 30
        while not lines(folder / "parts") and time.monotonic() < deadline:  # the first one holds the lock
            time.sleep(0.005)
    return started


@pytest.mark.parametrize("number", [2, 3])
def test_processes_share_the_parts_of_an_array(tmp_path, number):
    """Each part is made once, and every process makes some."""
    for process in sharers(tmp_path, [0] * number):
        assert process.communicate(timeout=60)[0] == "done\n"
    made = [line.split() for line in lines(tmp_path / "parts")]
    assert sorted(int(first) for _, first in made) == list(range(0, 50, 4))
    assert len({maker for maker, _ in made}) == number
    assert not list((tmp_path / "store" / "shared").glob("*.checkpoints"))


@pytest.mark.deep
@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("part", [1, 2])
def test_of_processes_that_share_an_array_any_may_be_killed(tmp_path, victim, part):
    """The survivor makes the part that the killed process was making, whichever of them writes the whole."""
    processes = sharers(tmp_path, [part if k == victim else 0 for k in range(2)])
    assert processes[victim].stdout.readline() == "stopped\n"
    processes[victim].kill()
    assert processes[1 - victim].communicate(timeout=60)[0] == "done\n"
    made = [int(line.split()[1]) for line in lines(tmp_path / "parts")]
    assert set(made) == set(range(0, 50, 4)) and len(made) == 13 + 1


def test_a_part_is_not_made_again_when_the_array_has_just_become_whole(tmp_path, monkeypatch):
    """The last part may be finished, and all parts removed, between a helper's look and its claim."""
    monkeypatch.setattr(settings, "ARTIFACTS", tmp_path)
    folder, key = artifacts.folder_of("attacks", {"n": 1})
    claimed = locks.claimed

    def finished_meanwhile(*arguments):
        (folder / f"{key}.json").write_text("{}")
        return claimed(*arguments)

    monkeypatch.setattr(locks, "claimed", finished_meanwhile)
    parts._share_parts(
        "attacks", {"n": 1}, (8, 2), 4, lambda first, end: pytest.fail(f"{first} to {end} was made again")
    )
    assert not artifacts.checkpoints("attacks", {"n": 1}).exists()


def test_a_file_system_without_locks_still_has_a_store(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "ARTIFACTS", tmp_path)

    def unsupported(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", unsupported)
    assert (
        artifacts.make("parts", {}, ".txt", lambda path: path.write_text("made")).path.read_text() == "made"
    )


def test_what_only_one_may_run_is_refused_to_a_second_and_kept_by_a_child(tmp_path):
    lock = tmp_path / "lock"
    with artifacts.sole(lock, "it is being run") as descriptor:
        with pytest.raises(CourseError, match="it is being run"), artifacts.sole(lock, "it is being run"):
            pytest.fail("two hold it")
        child = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[descriptor]
        )
    with pytest.raises(CourseError, match="it is being run"), artifacts.sole(lock, "it is being run"):
        pytest.fail("its owner is gone, but not the child that has it")
    child.kill()
    child.communicate()
    with artifacts.sole(lock, "it is being run"):
        pass
