"""Which tree, which libraries and which machine produced a result."""

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
"""How the names of weight files end: those of weights/, and those that runs train into artifacts/."""

PACKAGES = ("tensorflow", "tf_keras", "tf2cv", "numpy", "scipy", "scikit-image", "papermill")


def commit() -> str:
    """The commit of the tree, with ``+changes`` where tracked files differ from it; unknown outside a checkout."""
    try:
        git = ["git", "-C", str(settings.ROOT)]
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+changes" if changed.stdout.strip() else "")


def environment() -> dict:
    """Versions of Python and the libraries, the lock file's checksum, and the kind of machine."""
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
    """Collects the weight files and the artifacts that this process, and those that it starts, check or make meanwhile.

    Every file of weights/ and of artifacts/ is held to its checksum before it is used (provenance.sha256_of), which is
    where it is noted.

    Yields:
        A list, filled when the block ends: ``file``, its place in the tree, and ``sha256``, sorted.
    """
    used, before = [], settings.files_log()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "files.jsonl"
        log.touch()
        os.environ["COURSE_FILES_LOG"] = str(log)
        try:
            yield used
        finally:
            if before is None:
                del os.environ["COURSE_FILES_LOG"]
            else:
                os.environ["COURSE_FILES_LOG"] = str(before)
            used += (json.loads(line) for line in sorted(set(log.read_text().splitlines())))


def weights_among(used: list[dict]) -> list[dict]:
    """Those of the files that files_used collected that hold weights."""
    return [one for one in used if one["file"].endswith(WEIGHT_FILES)]


def note_file(path: Path, sha256: str) -> None:
    """Note a file for files_used, if it holds weights or is an artifact and anybody collects them."""
    log = settings.files_log()
    if not log or not (path.suffix in WEIGHT_FILES or path.resolve().is_relative_to(settings.ARTIFACTS.resolve())):
        return
    with open(log, "a") as file:
        file.write(json.dumps({"file": _place(path), "sha256": sha256}) + "\n")


def _place(path: Path) -> str:
    """Where a file is, without the names of this machine's folders."""
    for name, folder in (("artifacts", settings.ARTIFACTS), ("", settings.ROOT)):
        if path.resolve().is_relative_to(folder.resolve()):
            inside = path.resolve().relative_to(folder.resolve())
            return (Path(name) / inside).as_posix()
    return path.name


def sha256_of(*paths: Path) -> str:
    """One checksum of one or several files, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    if len(paths) == 1:
        note_file(Path(paths[0]), digest.hexdigest())
    return digest.hexdigest()
