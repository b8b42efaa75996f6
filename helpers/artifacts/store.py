"""The store of intermediate results: each configuration is computed once.

An artifact is a file and a manifest beside it. The manifest holds the configuration, the checksums of what
went in and the checksum of what came out. It is written last, so a run that is killed leaves a whole artifact
or none. If several processes need the same artifact, one makes it under a lock and the others wait.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import settings
from ..settings import CourseError, cannot_write, disk_is_full, write_atomically
from . import provenance
from .arrays import load_npy
from .locks import locked


class Made(NamedTuple):
    """An artifact.

    Attributes:
        path: its file.
        fresh: whether this process made it just now; otherwise it was in the store, or another process made
            it.
    """

    path: Path
    fresh: bool


_tidy_later: list[Path] = []


def make(
    kind: str,
    config: dict,
    suffix: str,
    produce: Callable[[Path], object],
    meanwhile: Callable[[], None] | None = None,
) -> Made:
    """Return the artifact of a configuration, which is made if it is not in the store.

    Any number of processes may ask for it at once: the first makes it, and the others wait for it. If the
    first fails or is killed, the next one makes it.

    Args:
        kind: the name of the artifact's folder.
        config: everything that the result depends on, in JSON's types.
        suffix: the file's suffix, with its dot.
        produce: writes the result to the path that it is given.
        meanwhile: called before this process waits for another one.

    Raises:
        CourseError: there is no space for the file; finished artifacts are kept.
    """
    folder, key = folder_of(kind, config)
    file, manifest = folder / f"{key}{suffix}", folder / f"{key}.json"
    number, workers = settings.workers()
    if _is_whole(file, manifest, config):
        if not workers:  # a process killed after it had made the artifact leaves its checkpoints
            shutil.rmtree(checkpoints(kind, config), ignore_errors=True)
        return Made(file, fresh=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if number:
            _follow(file, manifest, config, produce)
            return Made(file, fresh=True)
        with locked(folder / f".{key}.lock", f"{kind} {key}", None if workers else meanwhile):
            if _is_whole(file, manifest, config):  # another process made it while this one waited
                return Made(file, fresh=False)
            _produce(file, manifest, config, produce)
            if workers:
                _tidy_later.append(checkpoints(kind, config))  # another worker may still read them
            else:
                shutil.rmtree(checkpoints(kind, config), ignore_errors=True)
    except OSError as error:
        if not _is_of_the_disk(error):
            raise
        raise cannot_write(file, error) from error
    return Made(file, fresh=True)


def find(kind: str, config: dict, suffix: str) -> Path | None:
    """Return the file of the artifact of a configuration (make), or None if the store has none."""
    folder, key = folder_of(kind, config)
    file = folder / f"{key}{suffix}"
    return file if _is_whole(file, folder / f"{key}.json", config) else None


def forget(kind: str, config: dict) -> None:
    """Let the next ``make`` of this configuration make its artifact again."""
    folder, key = folder_of(kind, config)
    (folder / f"{key}.json").unlink(missing_ok=True)


def make_json(kind: str, config: dict, produce: Callable[[], object]) -> Any:
    """Return an artifact of JSON's types."""
    file = make(kind, config, ".result.json", lambda path: path.write_text(json.dumps(produce()))).path
    return settings.read_json(file, kind=object, finite=False)


def make_array(
    kind: str, config: dict, shape: tuple[int, ...], produce: Callable[[np.ndarray], None]
) -> np.ndarray:
    """Return an artifact of images in [0, 1], stored as uint16 (k means k/65535) and memory-mapped.

    65535 is 255 x 257, so a clean or FGSM image, whose values are multiples of 1/255, is stored exactly. Any
    other value changes by at most 1/131070, which is less than a 500th of a grey level.

    Args:
        kind: as in make.
        config: as in make.
        shape: of the array.
        produce: fills the uint16 array that it is given (see datasets.storage.to_uint16).
    """
    file = make(kind, config, ".npy", lambda path: write_array(path, shape, produce)).path
    return load_npy(file, shape, np.uint16)


def write_array(path: Path, shape: tuple[int, ...], produce: Callable[[np.ndarray], None]) -> None:
    """Write an array that ``produce`` fills.

    The array is filled in memory (50,000 images take 0.3 GB): with a memory map, a full disk would be a fatal
    signal and not an error.
    """
    array = np.empty(shape, np.uint16)
    produce(array)
    with open(path, "wb") as file:
        np.save(file, array)


def folder_of(kind: str, config: dict) -> tuple[Path, str]:
    """Return the folder of an artifact, and the key that its files are named by."""
    text = json.dumps(config, sort_keys=True)
    return settings.ARTIFACTS / kind, hashlib.sha256(text.encode()).hexdigest()[:16]


def checkpoints(kind: str, config: dict) -> Path:
    """Return the folder for the checkpoints of an unfinished artifact.

    It is removed when the artifact is whole.
    """
    folder, key = folder_of(kind, config)
    return folder / f"{key}.checkpoints"


def tidy() -> None:
    """Remove the checkpoints of what several workers have made. Call it when all of them have finished."""
    while _tidy_later:
        shutil.rmtree(_tidy_later.pop(), ignore_errors=True)


def _produce(file: Path, manifest: Path, config: dict, produce: Callable[[Path], object]) -> None:
    """Make a file and its manifest, while this process holds the lock."""
    folder, key = file.parent, manifest.stem
    manifest.unlink(missing_ok=True)  # of a file that is no longer whole
    for left in (*folder.glob(f".{key}.part-*"), *folder.glob(f".{manifest.name}.*.tmp")):
        left.unlink(missing_ok=True)  # of a process that was killed
    # Not named by the process's number: two machines of a cluster that share the store may have the same one.
    scratch = folder / f".{key}.part-{uuid.uuid4().hex}{file.name.removeprefix(key)}"
    start = time.perf_counter()
    try:
        produce(scratch)
        os.replace(scratch, file)
    finally:
        with suppress(OSError):
            scratch.unlink()
    record = {
        "config": config,
        "sha256": provenance.sha256_of(file),
        "seconds": round(time.perf_counter() - start, 2),
    }
    write_atomically(manifest, json.dumps(record, indent=1, sort_keys=True).encode())
    provenance.note_file(file, record["sha256"], fresh=True)


def _follow(file: Path, manifest: Path, config: dict, produce: Callable[[Path], object]) -> None:
    """Take part in making an artifact as one of several workers (devices).

    Only worker 0 writes it, and the others wait for that. Either all workers find the artifact or none does:
    worker 0 cannot finish it before this one takes part, unless the work is not shared at all.
    """
    with tempfile.TemporaryDirectory() as scratch:
        produce(Path(scratch) / file.name)
    for _ in range(600):
        if _is_whole(file, manifest, config):
            return
        time.sleep(0.1)
    raise CourseError(
        f"worker 0 has not written {file}. All workers need the same store: set ARTIFACTS_DIR to a folder "
        "on a disk that they share"
    )


def _is_of_the_disk(error: OSError) -> bool:
    """Return whether a file could not be written.

    A producer may also raise an OSError for another reason, such as a missing file.
    """
    return disk_is_full(error) or error.errno in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR)


def _is_whole(file: Path, manifest: Path, config: dict) -> bool:
    try:
        record = settings.read_json(manifest)
        return record.get("config") == json.loads(json.dumps(config)) and record.get(
            "sha256"
        ) == provenance.sha256_of(file)
    except (OSError, CourseError):
        return False
