"""The store: computed once, recomputed when anything differs, and never half there."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from helpers import artifacts, settings
from helpers.artifacts import code, provenance
from helpers.settings import CourseError

CONFIG = {"eps": 0.03, "steps": 10, "rates": (1e-3, 1e-4)}


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "ARTIFACTS", tmp_path)
    return tmp_path


@pytest.fixture
def produce():
    """Writes how often it was called."""

    def write(path):
        write.calls += 1
        path.write_text(f"result {write.calls}")

    write.calls = 0
    return write


def files(store):
    return sorted(path.name for path in store.rglob("*") if path.is_file())


# --------------------------------------------------------------------------------------- reuse, recomputation


def test_the_same_configuration_is_computed_once(store, produce):
    first, fresh = artifacts.make("attacks", CONFIG, ".txt", produce)
    again = artifacts.make("attacks", dict(reversed(CONFIG.items())), ".txt", produce)  # in another order
    assert fresh and again == (first, False) and first.read_text() == "result 1" and produce.calls == 1
    assert first.parent == store / "attacks" and len(files(store)) == 2


@pytest.mark.parametrize("change", [{"eps": 0.06}, {"steps": 10.5}, {"more": None}, {"rates": (1e-3, 1e-5)}])
def test_another_configuration_is_computed_anew(store, produce, change):
    first = artifacts.make("attacks", CONFIG, ".txt", produce).path
    other = artifacts.make("attacks", CONFIG | change, ".txt", produce).path
    assert first != other and (first.read_text(), other.read_text()) == ("result 1", "result 2")
    assert (
        artifacts.make("noise", CONFIG, ".txt", produce).path.read_text() == "result 3"
    )  # nor is another kind the same


@pytest.mark.parametrize(
    "damage",
    [
        lambda file, manifest: file.write_text("result 7"),
        lambda file, manifest: file.write_text(""),
        lambda file, manifest: file.unlink(),
        lambda file, manifest: manifest.unlink(),
        lambda file, manifest: manifest.write_text(manifest.read_text()[:40]),
        lambda file, manifest: manifest.write_text("{}"),
        lambda file, manifest: manifest.write_text(manifest.read_text().replace("10", "11")),
    ],
    ids=[
        "changed",
        "emptied",
        "file lost",
        "manifest lost",
        "manifest cut",
        "manifest empty",
        "other configuration",
    ],
)
def test_what_is_not_whole_is_computed_anew(store, produce, damage):
    file = artifacts.make("attacks", CONFIG, ".txt", produce).path
    damage(file, file.with_suffix(".json"))
    assert artifacts.make("attacks", CONFIG, ".txt", produce).path.read_text() == "result 2"
    assert artifacts.make("attacks", CONFIG, ".txt", produce).path.read_text() == "result 2"


def test_the_manifest_tells_what_went_in_and_came_out(store, produce):
    file = artifacts.make("attacks", CONFIG, ".txt", produce).path
    manifest = json.loads(file.with_suffix(".json").read_text())
    assert manifest["config"] == json.loads(json.dumps(CONFIG))
    assert manifest["sha256"] == provenance.sha256_of(file) and manifest["seconds"] >= 0


def test_checkpoints_go_when_the_artifact_is_whole(store, produce):
    folder = artifacts.checkpoints("attacks", CONFIG)
    folder.mkdir(parents=True)
    (folder / "ckpt-1").write_text("half way")
    with pytest.raises(ZeroDivisionError):
        artifacts.make("attacks", CONFIG, ".txt", lambda path: 1 / 0)
    assert (folder / "ckpt-1").exists()
    artifacts.make("attacks", CONFIG, ".txt", produce)
    assert not folder.exists()


def test_arrays(store):
    images = np.random.default_rng(0).integers(0, 65536, (5, 4, 4, 3)).astype(np.uint16)
    calls = []

    def fill(out):
        calls.append(1)
        out[:3], out[3:] = images[:3], images[3:]

    for _ in range(2):
        stored = artifacts.make_array("attacks", CONFIG, images.shape, fill)
        np.testing.assert_array_equal(stored, images)
        assert isinstance(stored, np.memmap) and not stored.flags.writeable
    assert len(calls) == 1


def test_json(store):
    calls = []
    for _ in range(2):
        assert artifacts.make_json("correct", CONFIG, lambda: calls.append(1) or [0, 1, 1]) == [0, 1, 1]
    assert len(calls) == 1


# ---------------------------------------------------------------------------------------------------- failure


@pytest.mark.parametrize("failure", [ZeroDivisionError, KeyboardInterrupt, MemoryError])
def test_a_failing_step_leaves_nothing(store, produce, failure):
    def fail(path):
        path.write_text("half")
        raise failure

    with pytest.raises(failure):
        artifacts.make("attacks", CONFIG, ".txt", fail)
    assert files(store) == []
    assert artifacts.make("attacks", CONFIG, ".txt", produce).path.read_text() == "result 1"


def test_a_failing_step_keeps_what_was_there(store, produce):
    kept = artifacts.make("attacks", CONFIG, ".txt", produce).path
    with pytest.raises(ZeroDivisionError):
        artifacts.make("attacks", CONFIG | {"eps": 1}, ".txt", lambda path: 1 / 0)
    assert artifacts.make("attacks", CONFIG, ".txt", produce).path == kept and produce.calls == 1


def fail_as_a_full_disk(path):
    path.write_text("half")
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_named_with_its_remedy(store):
    message = r"cannot write \w+\.txt in attacks/: the disk is full\. Free some space .* or set ARTIFACTS_DIR"
    with pytest.raises(CourseError, match=message) as caught:
        artifacts.make("attacks", CONFIG, ".txt", fail_as_a_full_disk)
    assert files(store) == [] and "\n" not in str(caught.value) and str(store) not in str(caught.value)


def test_a_disk_that_is_full_when_the_manifest_is_written(store, produce, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(CourseError, match="the disk is full"):
        patch.setattr(os, "fsync", full)
        artifacts.make("attacks", CONFIG, ".txt", produce)
    assert artifacts.make("attacks", CONFIG, ".txt", produce).path.read_text() == "result 2"


def test_a_disk_that_fills_up_is_an_error_and_no_fatal_signal(store):
    """Writing through a memory map raises that signal (SIGBUS) unless the space was reserved."""
    safe = []

    def fill(out):
        mapped = getattr(out, "filename", None)
        safe.append(mapped is None or 512 * Path(mapped).stat().st_blocks >= out.nbytes)
        out[:] = 0

    artifacts.make_array("attacks", CONFIG, (100, 32, 32, 3), fill)
    assert safe == [True]


def test_a_file_that_the_system_refuses(store):
    """In earnest, by a limit on the size of files."""
    resource = pytest.importorskip("resource", reason="this system has no limits on files")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(
            CourseError, match="cannot write .* in attacks/: (the disk is full|File too large)"
        ):
            artifacts.make_array("attacks", CONFIG, (100, 32, 32, 3), lambda out: out.fill(1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert files(store) == []


def test_a_store_that_cannot_be_made(store, produce, monkeypatch):
    (store / "a-file").write_text("")
    monkeypatch.setattr(settings, "ARTIFACTS", store / "a-file")
    with pytest.raises(CourseError, match="cannot write .* Set ARTIFACTS_DIR to another disk"):
        artifacts.make("attacks", CONFIG, ".txt", produce)


@pytest.mark.parametrize("call", ["mkdir", "open"])
@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_store_that_may_not_be_written(store, produce, monkeypatch, call, code):
    """Neither the folder nor the lock; a system on a read-only medium or another user's store."""

    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    if call == "open":
        (store / "attacks").mkdir()
    monkeypatch.setattr(Path if call == "mkdir" else os, call, fail)
    with pytest.raises(
        CourseError, match=f"cannot write .*: {os.strerror(code)}. Set ARTIFACTS_DIR"
    ) as caught:
        artifacts.make("attacks", CONFIG, ".txt", produce)
    assert "\n" not in str(caught.value) and produce.calls == 0


KILLED = """
import os, signal, sys
from pathlib import Path
from helpers import artifacts, settings
from helpers.artifacts import store
settings.ARTIFACTS = Path(sys.argv[1])

def write(path):
    with open(path, "w") as file:
        file.write("half")
        file.flush()
        if sys.argv[2] == "while writing":
            print(path.name, flush=True)
            signal.pause()
        file.write(" and half")

def stop(path, content):
    print(path.name, flush=True)
    signal.pause()

store.write_atomically = stop
artifacts.make("attacks", {"eps": 0.03}, ".txt", write)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("moment", ["while writing", "before the manifest"])
def test_a_killed_process_leaves_nothing_that_is_taken_for_whole(store, produce, moment):
    command = [sys.executable, "-c", KILLED, str(store), moment]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=child_environment(), text=True) as process:
        assert process.stdout.readline().strip().endswith(".txt" if moment == "while writing" else ".json")
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert files(store) and not list(store.rglob("*.json"))
    for _ in range(2):
        made = artifacts.make("attacks", {"eps": 0.03}, ".txt", produce).path
        assert made.read_text() == "result 1" and produce.calls == 1


def child_environment():
    return os.environ | {"PYTHONPATH": str(settings.ROOT)}


# ---------------------------------------------------------------------------------------------- code versions

CODE = '''
"""A module."""
STEPS = 10

class Attack:
    """An attack."""

    def step(self, x):
        """One step."""
        return x + STEPS  # uphill
'''


@pytest.fixture
def version(tmp_path):
    """The code version of a module with this source."""

    def of(source):
        of.count += 1
        path = tmp_path / f"module{of.count}.py"
        path.write_text(source)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return artifacts.code_version(module)

    of.count = 0
    return of


@pytest.mark.parametrize(
    "old, new",
    [
        ("# uphill", "# downhill"),
        ('"""A module."""', '"""Another docstring."""'),
        ('"""An attack."""', ""),
        ('        """One step."""\n', ""),
        ("\n\n", "\n\n\n"),
        ("(self, x)", "(self,  x)"),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(version, old, new):
    assert old in CODE and version(CODE.replace(old, new)) == version(CODE)


@pytest.mark.parametrize("old, new", [("x + STEPS", "x - STEPS"), ("= 10", "= 11"), ("def step", "def leap")])
def test_code_counts(version, old, new):
    assert old in CODE and version(CODE.replace(old, new)) != version(CODE)


def test_every_module_counts():
    assert artifacts.code_version(artifacts, settings) != artifacts.code_version(artifacts)
    assert artifacts.code_version(artifacts) == artifacts.code_version(artifacts)


def test_what_is_no_matter_of_the_disk_is_not_said_to_be(store):
    def lacks_a_file(_):
        raise FileNotFoundError(errno.ENOENT, "no such file", "history.json")

    with pytest.raises(FileNotFoundError, match="history.json"):
        artifacts.make("ae", CONFIG, ".txt", lacks_a_file)


def test_a_module_that_was_edited_after_it_was_loaded_is_refused(version, tmp_path, monkeypatch):
    """Else what the old code makes would be kept as the new code's."""
    old = version(CODE)
    file, module = tmp_path / "module1.py", types.ModuleType("module1")
    module.__file__ = str(file)
    monkeypatch.setitem(sys.modules, "module1", module)
    monkeypatch.setattr(code, "_AS_LOADED", {file: CODE})
    file.write_text(CODE.replace("# uphill", "# upwards"))
    assert artifacts.code_version(module) == old, "a comment is no change"
    file.write_text(CODE.replace("x + STEPS", "x - STEPS"))
    with pytest.raises(
        CourseError, match=r"module1.py was changed after it had been loaded.*restart the kernel"
    ):
        artifacts.code_version(module)


def test_the_course_s_modules_are_among_those_that_are_watched():
    assert Path(settings.__file__) in code._AS_LOADED and artifacts.code_version(settings)


def test_the_parts_that_an_interrupted_run_made_are_kept(store):
    config, made = {"n": 10}, []

    def produce(first, end):
        if first == 8 and len(made) < 3:
            raise KeyboardInterrupt
        made.append((first, end))
        return np.full((end - first, 2), first, np.uint16)

    def fill(out):
        artifacts.fill_in_parts("parts", config, out, 4, produce)

    with pytest.raises(KeyboardInterrupt):
        artifacts.make_array("parts", config, (10, 2), fill)
    assert made == [(0, 4), (4, 8)]
    made.append("again")
    array = artifacts.make_array("parts", config, (10, 2), fill)
    assert made[3:] == [(8, 10)], "only what was missing is made"
    np.testing.assert_array_equal(array[:, 0], [0] * 4 + [4] * 4 + [8] * 2)
    assert not artifacts.checkpoints("parts", config).exists()


def test_of_several_workers_one_writes_and_none_loses_what_another_still_needs(store, monkeypatch):
    """A worker may still be at the last part when worker 0 has finished the artifact."""
    config, addresses = {"n": 10}, ["a:1", "b:1"]

    def fill(out):
        artifacts.fill_in_parts(
            "parts", config, out, 4, lambda first, end: np.full((end - first, 2), first, np.uint16)
        )

    monkeypatch.setattr(settings, "workers", lambda: (1, addresses))
    out = np.empty((10, 2), np.uint16)
    fill(out)
    assert out[9, 0] == 8 and not artifacts.checkpoints("parts", config).exists(), "worker 1 writes no parts"
    monkeypatch.setattr(settings, "workers", lambda: (0, addresses))
    artifacts.make_array("parts", config, (10, 2), fill)
    parts = artifacts.checkpoints("parts", config)
    assert sorted(file.name for file in parts.iterdir()) == ["0.npy", "4.npy", "8.npy"], (
        "worker 1 may read them yet"
    )
    artifacts.tidy()
    assert not parts.exists()


# ----------------------------------------------------------------------------------------------- files in use


def test_the_files_in_use_and_those_made_are_collected(store, produce):
    with provenance.files_used() as used:
        with provenance.artifacts_made() as made:
            first = artifacts.make("attacks", CONFIG, ".txt", produce).path
            second = artifacts.make("attacks", CONFIG | {"eps": 1}, ".txt", produce).path
        with provenance.artifacts_made() as found:
            artifacts.make("attacks", CONFIG, ".txt", produce)
    places = [f"artifacts/attacks/{file.name}" for file in (first, second)]
    assert made == places and found == []
    expected = [
        {"file": f"artifacts/attacks/{f.name}", "sha256": provenance.sha256_of(f)} for f in (first, second)
    ]
    assert used == sorted(expected, key=lambda one: one["file"])


def test_what_was_made_is_collected_from_a_block_that_fails(store, produce):
    with pytest.raises(ZeroDivisionError), provenance.artifacts_made() as made:
        artifacts.make("attacks", CONFIG, ".txt", produce)
        raise ZeroDivisionError
    assert len(made) == 1 and settings.files_log() is None
