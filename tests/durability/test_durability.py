"""A real report, a real training and a sweep go on after kill -9, a full disk and a clock set back.

Each job is a command that a user types, in processes of its own. A second run of the same command must give
what an undisturbed run gives, and must not make again what the first one had finished. `--points 50` kills
each job at 50 points, evenly spaced over its changes of the disk; the tests take three.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
from processes import kill_with_descendants

from helpers import settings
from helpers.settings import CourseError
from helpers.sweeps import running

pytestmark = pytest.mark.slow

KILLED = Path(__file__).with_name("killed")
FINISHED = (".npy", ".npz", ".json")
GRID = "dataset: patches10\nprofile: smoke\nautoencoder: [none]\neps: [4/255, 8/255]\nsteps: [2]\nn: 16\n"
LIMIT = 600
"""Seconds for one run of a job."""


@dataclass(frozen=True)
class Job:
    """A command and the file of its results, both in a folder of the test's."""

    command: tuple[str, ...]
    results: str

    def start(self, folder: Path, **more: str) -> subprocess.Popen:
        """Start the job. Its store is the folder's ``store``."""
        words = [word.format(folder=folder) for word in self.command]
        here = settings.thread_variables(1) | {"ARTIFACTS_DIR": str(folder / "store")}
        paths = [str(KILLED), str(settings.ROOT)] if more else [str(settings.ROOT)]
        here |= {"PYTHONPATH": os.pathsep.join(paths), "COURSE_OFFLINE": "1"} | more
        return subprocess.Popen(
            [sys.executable, "-m", "helpers", *words],
            cwd=settings.ROOT,
            env=os.environ | here,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, folder: Path, **more: str) -> tuple[int, str]:
        """Run the job, and return its exit status and what it wrote to stderr."""
        process = self.start(folder, **more)
        _, error = process.communicate(timeout=LIMIT)
        return process.returncode, error

    def found(self, folder: Path) -> object:
        """Return the job's results, without when and how they were made."""
        found = json.loads(next(folder.glob(self.results)).read_text())
        return _without_seconds({key: value for key, value in found.items() if key not in ("begun", "steps")})


@dataclass(frozen=True)
class Undisturbed:
    """A job's results, the changes of the disk that led to them, and the bytes on the disk at the end."""

    results: object
    changes: list[str]
    size: int


SMALL = ("--profile", "smoke", "--dataset", "patches10")
JOBS = {
    "report": Job(("report", *SMALL, "--only", "01", "--out", "{folder}/report"), "report/results.json"),
    "training": Job(("train", *SMALL, "--out", "{folder}/trained.json"), "trained.json"),
    "sweep": Job(("sweep", "{folder}/grid.yml", "--cores", "2"), "store/sweeps/*/records.json"),
}


def _without_seconds(found: object) -> object:
    if isinstance(found, dict):
        return {key: _without_seconds(value) for key, value in found.items() if "second" not in key}
    return [_without_seconds(one) for one in found] if isinstance(found, list) else found


def _folder(place: Path) -> Path:
    place.mkdir()
    (place / "grid.yml").write_text(GRID)
    return place


@pytest.fixture(scope="module", params=JOBS)
def job(request) -> Job:
    """One of the jobs."""
    if request.param == "sweep":
        try:
            running.engine()
        except CourseError as error:
            pytest.skip(str(error))
    return JOBS[request.param]


@pytest.fixture(scope="module")
def undisturbed(job, tmp_path_factory) -> Undisturbed:
    """What a run leaves that nobody disturbed."""
    place = tmp_path_factory.mktemp("undisturbed")
    folder, count = _folder(place / "job"), place / "count"
    status, error = job.run(folder, **_watching(folder, count, 0))
    assert status == 0, error
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return Undisturbed(job.found(folder), count.read_text().splitlines(), size)


def _watching(folder: Path, count: Path, stop: int) -> dict[str, str]:
    return {"KILLED_FOLDER": str(folder), "KILLED_COUNT": str(count), "KILLED_AT": str(stop)}


def _finished(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return what tells whether a finished artifact has been written again: its inode and its time."""
    files = [file for file in (folder / "store").glob("*/*") if file.suffix in FINISHED]
    # A manifest is written last. Temporary files begin with a dot; checkpoints are in a folder of their own.
    return {
        file: (file.stat().st_ino, file.stat().st_mtime_ns)
        for file in files
        if not file.name.startswith(".") and file.with_name(f"{file.name.split('.')[0]}.json").is_file()
    }


def _kill_at(job: Job, folder: Path, count: Path, stop: int) -> bool:
    """Run a job to a change of the disk, and kill all its processes there; return whether it came so far."""
    process = job.start(folder, **_watching(folder, count, stop))
    root, end = psutil.Process(process.pid), time.monotonic() + LIMIT
    while not (stopped := _stopped(root)):
        if process.poll() is not None:  # the order of several processes' changes differs from run to run
            break
        assert time.monotonic() < end, f"change {stop} was never reached"
        time.sleep(0.02)
    if stopped:
        kill_with_descendants(process.pid)
    process.communicate(timeout=60)
    return bool(stopped)


def _descendants(root: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return root.children(recursive=True)
    return []


def _stopped(root: psutil.Process) -> list[psutil.Process]:
    found = []
    for each in (root, *_descendants(root)):
        with suppress(psutil.NoSuchProcess):
            if each.status() == psutil.STATUS_STOPPED:
                found.append(each)
    return found


def _set_clock_back(folder: Path) -> None:
    """Give all files the time of tomorrow, as if the next run's clock were a day behind."""
    tomorrow = time.time() + 86_400
    for file in folder.rglob("*"):
        os.utime(file, (tomorrow, tomorrow), follow_symlinks=False)


def test_a_job_goes_on_after_a_kill_at_any_point(job, undisturbed, tmp_path, request):
    whole, changes = undisturbed.results, undisturbed.changes
    points = np.linspace(1, len(changes), request.config.getoption("--points")).round().astype(int)
    killed = 0
    for stop in points:
        folder, count = _folder(tmp_path / f"kill{stop}"), tmp_path / f"kill{stop}.count"
        killed += _kill_at(job, folder, count, int(stop))
        _set_clock_back(folder)
        before = _finished(folder)
        status, error = job.run(folder)
        assert status == 0, f"after a kill at {changes[stop - 1]}: {error}"
        assert job.found(folder) == whole, f"after a kill at {changes[stop - 1]}"
        after = _finished(folder)
        again = [str(file.relative_to(folder)) for file, mark in before.items() if after.get(file) != mark]
        assert not again, f"made again after a kill at {changes[stop - 1]}"
    assert killed >= len(points) - 1  # a run with fewer changes may end before the last point
    print(f"{killed} kills at points of {len(changes)} changes")


def test_two_at_once_on_one_store_agree(job, undisturbed, tmp_path):
    """A grid is refused to a second user while it is being run; a report and a training share their work."""
    whole = undisturbed.results
    first, second = _folder(tmp_path / "first"), _folder(tmp_path / "second")
    (first / "store").mkdir()
    (second / "store").symlink_to(first / "store")
    both = [job.start(folder) for folder in (first, second)]
    errors = [process.communicate(timeout=LIMIT)[1] for process in both]
    if job is JOBS["sweep"]:
        assert sorted(process.returncode for process in both) == [0, 2], errors
        assert any("being run by another process" in error for error in errors)
        assert job.found(first) == whole
    else:
        assert [process.returncode for process in both] == [0, 0], errors
        assert job.found(first) == job.found(second) == whole


def test_a_full_disk_ends_a_job_in_one_line_and_the_next_run_goes_on(job, undisturbed, small_disk):
    """It is full early, half-way and near the end, each time a little later."""
    whole = undisturbed.results
    disk, enlarge = small_disk
    folder, told = _folder(disk / "job"), 0
    for share in (0.1, 0.5, 0.9):
        enlarge(max(1, int(share * undisturbed.size / 2**20)))
        status, error = job.run(folder)
        assert "Traceback" not in error, error
        if status:
            assert "the disk is full" in error, error
            told += 1
    assert told, "the disk was never full"
    before = _finished(folder)
    enlarge(400)
    status, error = job.run(folder)
    assert status == 0, error
    assert job.found(folder) == whole
    after = _finished(folder)
    assert all(after.get(file) == mark for file, mark in before.items())
