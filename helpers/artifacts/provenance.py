"""Which tree, which libraries, which machine and which files produced a result."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from .. import settings

WEIGHT_FILES = (".h5", ".npz")
"""The suffixes of weight files: those of weights/, and those that runs write into artifacts/."""

PACKAGES = ("tensorflow", "tf_keras", "tf2cv", "numpy", "scipy", "scikit-image", "papermill")


NO_COMMIT = "unknown (not a git checkout)"
"""What ``commit`` returns for a course that came without its repository, as in a zip file."""


def commit() -> str:
    """Return the commit of the tree, with ``+changes`` if tracked files differ from it.

    A course that was unpacked inside another repository has no commit: that repository's is another tree's.
    """
    try:
        place, head = _git("rev-parse", "--show-toplevel", "--short=12", "HEAD").splitlines()
        if not Path(place).samefile(settings.ROOT):
            return NO_COMMIT
        return head + ("+changes" if _git("status", "--porcelain", "-uno") else "")
    except (OSError, ValueError, subprocess.CalledProcessError):
        return "unknown" if (settings.ROOT / ".git").exists() else NO_COMMIT


def _git(*words: str) -> str:
    """Return what a git command prints about the course's folder."""
    command, environment = ["git", "-C", str(settings.ROOT), *words], settings.environment.outside_git_hooks()
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return done.stdout.strip()


def environment() -> dict:
    """Return the versions of Python and the libraries, the lock file's checksum, and the kind of machine."""
    import psutil

    lock = settings.ROOT / "requirements.lock"
    return {
        "commit": commit(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "lock_sha256": hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else "missing",
        "machine": f"{sys.platform} {platform.machine()}, {psutil.cpu_count()} cores, "
        f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "training_precision": settings.training_precision(),
    }


@contextmanager
def files_used() -> Iterator[list[dict]]:
    """Collect the weight files and artifacts that this process and its children check or make in a block.

    Every file of weights/ and artifacts/ is compared with its checksum before it is used (sha256_of), and is
    noted at that moment.

    Yields:
        A list that is filled when the block ends, sorted: ``file``, its place in the tree, and ``sha256``.
    """
    used: list[dict] = []
    entries: list[dict] = []
    try:
        with _noted(entries):
            yield used
    finally:
        found = {(entry["file"], entry["sha256"]) for entry in entries}
        used += ({"file": file, "sha256": sha256} for file, sha256 in sorted(found))


@contextmanager
def artifacts_made() -> Iterator[list[str]]:
    """Collect the artifacts that this process and its children make in a block.

    Yields:
        A list that is filled when the block ends, with the place of each artifact in the tree.
    """
    made: list[str] = []
    entries: list[dict] = []
    try:
        with _noted(entries):
            yield made
    finally:
        made += (entry["file"] for entry in entries if entry["fresh"])


@contextmanager
def _noted(entries: list[dict]) -> Iterator[None]:
    """Add what note_file is told to a list when the block ends, and pass it on to an enclosing collector."""
    outer = settings.files_log()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "files.jsonl"
        log.touch()
        os.environ["COURSE_FILES_LOG"] = str(log)
        try:
            yield
        finally:
            text = log.read_text()
            if outer is None:
                del os.environ["COURSE_FILES_LOG"]
            else:
                os.environ["COURSE_FILES_LOG"] = str(outer)
                with open(outer, "a") as file:
                    file.write(text)
            entries += map(json.loads, text.splitlines())


def read_log(log: Path) -> list[dict]:
    """Return what note_file has written into a file (settings.files_log), each entry once, sorted."""
    return [json.loads(line) for line in sorted(set(log.read_text().splitlines()))]


def note_again(entries: list[dict]) -> None:
    """Tell the collectors about files that an earlier process used (read_log) to make what is used now."""
    if log := settings.files_log():
        with open(log, "a") as file:
            file.writelines(json.dumps(entry | {"fresh": False}) + "\n" for entry in entries)


def weights_among(used: list[dict]) -> list[dict]:
    """Return those of the files that files_used collected that hold weights."""
    return [one for one in used if one["file"].endswith(WEIGHT_FILES)]


def note_file(path: Path, sha256: str, fresh: bool = False) -> None:
    """Tell the collectors about a file, if it holds weights or is an artifact.

    Args:
        path: the file.
        sha256: its checksum.
        fresh: whether it was made just now.
    """
    log = settings.files_log()
    if not log or not (
        path.suffix in WEIGHT_FILES or path.resolve().is_relative_to(settings.ARTIFACTS.resolve())
    ):
        return
    with open(log, "a") as file:
        file.write(json.dumps({"file": _place(path), "sha256": sha256, "fresh": fresh}) + "\n")


def _place(path: Path) -> str:
    """Return where a file is, without the names of this machine's folders."""
    for name, folder in (("artifacts", settings.ARTIFACTS), ("", settings.ROOT)):
        if path.resolve().is_relative_to(folder.resolve()):
            inside = path.resolve().relative_to(folder.resolve())
            return (Path(name) / inside).as_posix()
    return path.name


def sha256_of(*paths: Path) -> str:
    """Return one checksum of one or several files, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    if len(paths) == 1:
        note_file(Path(paths[0]), digest.hexdigest())
    return digest.hexdigest()
