"""Processes that end at any point, disks that are full, two users, and clocks: the results stay the same.

A child that was forked runs steps of each kind that the course has. It is killed at its first, second, third
... change of the disk, which Python's audit events count. A file that is being opened for writing has a few
bytes of rubbish by then. A second child goes on.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path

import numpy as np
import pytest

from helpers import artifacts, settings
from helpers.artifacts import bundles
from helpers.settings import CourseError

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree")


def steps(store: Path, log: Path, size: int = 4) -> None:
    """Attacked images in parts, weights from them, answers of these, and the records at the end."""
    settings.ARTIFACTS = store
    os.environ["COURSE_PROGRESS"] = os.devnull

    def done(step: str) -> None:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, f"{step}\n".encode())
        os.close(descriptor)

    def produce(first: int, end: int) -> np.ndarray:
        done(f"part {first}")
        return np.full((end - first, size), first + 1, np.uint16)

    def write(path: Path) -> None:
        done("weights")
        bundles.save(path, [{"loss": 1.0}], [np.asarray(images[:, :2], np.float32)])

    def answer() -> list[int]:
        done("answers")
        return [int(found.weights[0].sum()), 1]

    images = artifacts.make_array_in_parts("attacks", {"n": 12}, (12, size), 4, produce, "a test")
    found = bundles.load(artifacts.make("networks", {"n": 2}, ".npz", write).path)
    correct = artifacts.make_json("correct", {"n": 3}, answer)
    settings.write_atomically(store / "report" / "results.json", json.dumps(correct).encode())


def count_changes(store: Path, stop: int, counted: list) -> None:
    """Count this process's changes of a folder, and kill it at one of them."""

    def watch(event: str, arguments: tuple) -> None:
        if event == "open":
            path, mode, flags = arguments
            changes = any(letter in (mode or "") for letter in "wax") or (flags or 0) & os.O_CREAT
        else:
            path, changes = (arguments or ("",))[0], event in CHANGES
        if not changes or not str(path).startswith(str(store)):
            return
        counted.append(f"{event} {Path(str(path)).name}")
        if len(counted) == stop:
            if event == "open" and not str(path).endswith(".lock"):
                # As if it had come as far as the first bytes.
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
                descriptor = os.open(path, os.O_WRONLY)
                os.write(descriptor, b"\x93NUM")
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def child(store: Path, log: Path, stop: int = 0, size: int = 4, before=lambda: None) -> int:
    """Start the steps in a child, and return its number; stop is the change at which it is killed."""
    number = os.fork()
    if number:
        return number
    status = 1
    try:
        before()
        counted = []
        count_changes(store, stop, counted)
        steps(store, log, size)
        if stop < 0:
            log.with_suffix(".changes").write_text("\n".join(counted))
        status = 0
    except CourseError as error:
        log.with_suffix(".error").write_text(str(error))
        status = 3
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def ended(number: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def contents(store: Path) -> dict[str, bytes]:
    """What is in a store, without the seconds in the manifests and a dead process's temporary files."""
    found = {}
    for file in store.rglob("*"):
        if file.is_file() and file.suffix not in (".lock", ".tmp"):
            content = file.read_bytes()
            if b'"seconds"' in content:
                content = json.dumps(json.loads(content) | {"seconds": 0}).encode()
            found[str(file.relative_to(store))] = content
    return found


def redone(log: Path) -> int:
    done = log.read_text().splitlines()
    assert len(set(done)) == 5
    return len(done) - 5


@pytest.fixture
def undisturbed(tmp_path):
    assert ended(child(tmp_path / "undisturbed", tmp_path / "log", stop=-1)) == 0
    assert redone(tmp_path / "log") == 0
    changes = (tmp_path / "log.changes").read_text().splitlines()
    return contents(tmp_path / "undisturbed"), changes


@pytest.mark.parametrize(
    "every", [pytest.param(8, marks=pytest.mark.deep), pytest.param(1, marks=pytest.mark.slow)]
)
def test_a_process_killed_at_any_change_of_the_disk_loses_at_most_one_step(tmp_path, undisturbed, every):
    whole, changes = undisturbed
    assert len(changes) >= 30
    lost, points = [], range(1, len(changes) + 1, every)
    for stop in points:
        change = changes[stop - 1]
        store, log = tmp_path / f"store{stop}", tmp_path / f"log{stop}"
        assert ended(child(store, log, stop)) == -signal.SIGKILL, change
        clock = time.time() + 86_400  # the next run's clock is a day behind the files
        for file in store.rglob("*"):
            os.utime(file, (clock, clock))
        assert ended(child(store, log)) == 0, change
        assert contents(store) == whole, f"after a kill at {change}"
        lost.append(redone(log))
    assert max(lost) <= 1, dict(zip(points, lost, strict=True))
    print(len(points), "points,", sum(lost), "steps redone")


@pytest.mark.parametrize("umask", [0o022, 0o002])
def test_two_processes_at_once_do_each_step_once(tmp_path, undisturbed, umask):
    store, log = tmp_path / "store", tmp_path / "log2"
    both = [child(store, log, before=lambda: os.umask(umask)) for _ in range(2)]
    assert [ended(number) for number in both] == [0, 0]
    assert contents(store) == undisturbed[0] and redone(log) == 0


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can become two users")
def test_two_users_with_a_group_share_a_store(tmp_path):
    """Their umask lets the group write, as on a shared machine; each may find the other's lock file."""
    store, log = tmp_path / "store", tmp_path / "log"
    place = tmp_path
    while place != Path("/tmp") and place != place.parent:  # pytest closes its folders to other users
        place.chmod(0o777)
        place = place.parent

    def become(user: int):
        def before() -> None:
            # Once as root, so that everything is imported: others may not be able to read this environment.
            steps(tmp_path / f"warm{user}", tmp_path / "warm-log")
            os.umask(0o002)
            os.setgroups([])
            os.setgid(4_321)
            os.setuid(user)

        return before

    both = [child(store, log, before=become(user)) for user in (4_001, 4_002)]
    statuses, error = [ended(number) for number in both], log.with_suffix(".error")
    assert statuses == [0, 0], error.read_text() if error.exists() else ""
    assert redone(log) == 0


@pytest.mark.slow
def test_a_full_disk_is_told_and_what_was_finished_is_kept(tmp_path, small_disk):
    disk, enlarge = small_disk
    size, whole, log = 60_000, tmp_path / "whole", tmp_path / "log"  # 0.5 MiB a part, 1.4 MiB an array
    assert ended(child(whole, tmp_path / "log0", size=size)) == 0
    store = disk / "store"
    for mib in (2, 3):  # full in the array, then in what follows
        enlarge(mib)
        status = ended(child(store, log, size=size))
        if status:
            message = log.with_suffix(".error").read_text()
            assert status == 3 and "the disk is full" in message and "\n" not in message
    assert log.with_suffix(".error").exists(), "the disk was never full"
    enlarge(50)
    assert ended(child(store, log, size=size)) == 0
    assert contents(store) == contents(whole) and redone(log) <= 1
