"""The store of intermediate results: the same configuration is computed once.

An artifact is a file and a manifest beside it. The manifest holds the configuration, the checksums of what went in
and the checksum of what came out, and is written last; a run that is killed leaves either a whole artifact or none.
Of several processes that need the same artifact one makes it, under a lock, and the others wait for it.
"""

from __future__ import annotations

import ast
import errno
import hashlib
import inspect
import io
import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from types import ModuleType

try:
    import fcntl
except ImportError:  # Windows: no locks; artifacts are whole all the same, but two processes may both make one
    fcntl = None

import numpy as np

from .. import settings
from ..settings import CourseError, cannot_write, disk_is_full, write_atomically
from .provenance import sha256_of

made = 0
"""How many artifacts this process has made, and not found."""

_tidy_later: list[Path] = []

_AS_LOADED = {file: file.read_text("utf-8") for file in (settings.ROOT / "helpers").rglob("*.py")}
"""The course's modules as they were when this process loaded them."""


def code_version(*modules: ModuleType) -> str:
    """A checksum of what modules do: of their syntax trees, so that comments and docstrings do not count.

    Part of every configuration: whoever edits an attack gets new images, not yesterday's.

    Raises:
        CourseError: one of the course's modules was edited after this process had loaded it.
    """
    digest = hashlib.sha256()
    for module in modules:
        for file, source in _sources_of(module):
            tree = _tree_of(source)
            if tree != _tree_of(_AS_LOADED.get(file, source)):
                raise CourseError(
                    f"{file.parent.name}/{file.name} was changed after it had been loaded, so that what is computed "
                    "now could be of either version; restart the kernel or the command: it goes on with what is finished"
                )
            digest.update(tree.encode())
    return digest.hexdigest()[:12]


def _sources_of(module: ModuleType) -> list[tuple[Path, str]]:
    """The files of a module, or of a package's modules, and what is in them."""
    if not hasattr(module, "__path__"):
        return [(Path(module.__file__), inspect.getsource(module))]
    return [(file, file.read_text("utf-8")) for file in sorted(Path(module.__file__).parent.rglob("*.py"))]


@lru_cache(maxsize=256)
def _tree_of(source: str) -> str:
    """A module's syntax tree without docstrings, in words."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [n for n in body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
    return ast.dump(tree)


def make(
    kind: str, config: dict, suffix: str, produce: Callable[[Path], None], meanwhile: Callable[[], None] | None = None
) -> Path:
    """The artifact of this configuration, computed only if it is not there whole.

    Any number of processes may ask for it at once: the first computes, the others wait and take what it made. If it
    fails or is killed, the next one computes.

    Args:
        kind: a folder's name.
        config: everything the result depends on, in JSON's types.
        suffix: of the file, with its dot.
        produce: writes the result to the path that it is given.
        meanwhile: what this process does, while another computes, before it waits.

    Returns:
        The file's path.

    Raises:
        CourseError: no space for the file; what was finished before is kept.
    """
    folder, key = folder_of(kind, config)
    file, manifest = folder / f"{key}{suffix}", folder / f"{key}.json"
    if _is_whole(file, manifest, config):
        return file
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if settings.workers()[0]:
            _follow(file, manifest, config, produce)
            return file
        with locked(folder / f".{key}.lock", f"{kind} {key}", None if settings.workers()[1] else meanwhile):
            if not _is_whole(file, manifest, config):  # else another process made it while this one waited
                _produce(file, manifest, config, produce)
                if settings.workers()[1]:
                    _tidy_later.append(checkpoints(kind, config))  # another worker may still read them
                else:
                    shutil.rmtree(checkpoints(kind, config), ignore_errors=True)
    except OSError as error:
        if not _is_of_the_disk(error):
            raise
        raise cannot_write(file, error) from error
    return file


def _is_of_the_disk(error: OSError) -> bool:
    """Whether a file could not be written: an OSError of a producer may be anything, such as a file that it lacks."""
    return disk_is_full(error) or error.errno in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR)


def tidy() -> None:
    """Remove the checkpoints of what several workers have made; called when all have come to the end of their work."""
    while _tidy_later:
        shutil.rmtree(_tidy_later.pop(), ignore_errors=True)


def _produce(file: Path, manifest: Path, config: dict, produce: Callable[[Path], None]) -> None:
    """Make a file and its manifest; the lock is this process's."""
    folder, key = file.parent, manifest.stem
    manifest.unlink(missing_ok=True)  # of a file that is no longer whole
    for left in (*folder.glob(f".{key}.part-*"), *folder.glob(f".{manifest.name}.*.tmp")):
        left.unlink(missing_ok=True)  # of a process that was killed
    # Not by the process's number: on a cluster two machines that share the store may both have a process of it.
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
        "sha256": sha256_of(file),
        "seconds": round(time.perf_counter() - start, 2),
    }
    write_atomically(manifest, json.dumps(record, indent=1, sort_keys=True).encode())
    global made
    made += 1


def _follow(file: Path, manifest: Path, config: dict, produce: Callable[[Path], None]) -> None:
    """Take part in making an artifact, as one worker of several (devices), and wait for worker 0 to write it.

    All workers find the artifact missing or all find it there: until this one takes part worker 0 cannot finish it,
    unless its making is nothing that workers share.
    """
    with tempfile.TemporaryDirectory() as passing:
        produce(Path(passing) / file.name)
    for _ in range(600):
        if _is_whole(file, manifest, config):
            return
        time.sleep(0.1)
    raise CourseError(
        f"worker 0 has not written {file}. All workers need the same store: set ARTIFACTS_DIR to a folder on a disk "
        "that they share"
    )


@contextmanager
def locked(lock: Path, what: str = "", meanwhile: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold a lock file; other processes and threads that want it wait.

    The lock is the operating system's (flock): it ends with the process that holds it, however that ends, so that a
    dead owner blocks nobody. On a network file system it works between machines where that file system has locks
    (NFS, and Lustre mounted with ``flock``); where it has none, nobody waits.

    Args:
        what: is named to the person whose process has to wait.
        meanwhile: what to do before that.
    """
    if fcntl is None:
        yield
        return
    descriptor = _acquire(lock, what, meanwhile)
    try:
        yield
    finally:
        with suppress(OSError):  # first the file, then the lock: who waits for it sees that the file is gone (below)
            lock.unlink()
        os.close(descriptor)


@contextmanager
def sole(lock: Path, otherwise: str) -> Iterator[int | None]:
    """Hold a lock file that nobody waits for, and keep the file.

    Yields:
        The descriptor that holds the lock: a child process that is given it holds it as well.

    Raises:
        CourseError: another process holds it; ``otherwise`` is the message.
    """
    if fcntl is None:
        yield None
        return
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CourseError(otherwise) from error
        except OSError as error:
            _check_unsupported(error)
        yield descriptor
    finally:
        os.close(descriptor)


def _acquire(lock: Path, what: str, meanwhile: Callable[[], None] | None) -> int:
    """A descriptor of the lock file that holds the lock."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _flock(descriptor, what, meanwhile)
            if _is_still(lock, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its owner removed it; a new file may be somebody's lock by now


def _flock(descriptor: int, what: str, meanwhile: Callable[[], None] | None) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if meanwhile:
            meanwhile()
        settings.note(f"another process is making {what}; waiting for it" if what else "waiting for another process")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        _check_unsupported(error)


def _check_unsupported(error: OSError) -> None:
    """Pass on what is no file system without locks."""
    if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP):
        raise error


def _is_still(lock: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(lock), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def make_array(kind: str, config: dict, shape: tuple[int, ...], produce: Callable[[np.ndarray], None]) -> np.ndarray:
    """An array artifact of images in [0, 1], kept as uint16 (k means k/65535) and memory-mapped when read.

    65535 is 255 x 257: a clean or FGSM image, whose values are multiples of 1/255, is kept exactly, and any other is
    moved by 1/131070 at most, a 250th of a grey level.

    Args:
        produce: fills the uint16 array that it is given, a part at a time (see to_uint16).
    """

    file = make(kind, config, ".npy", lambda path: _write_array(path, shape, produce))
    return np.load(file, mmap_mode="r")


def _write_array(path: Path, shape: tuple[int, ...], produce: Callable[[np.ndarray], None]) -> None:
    # In memory first (50,000 images: 0.3 GB). Writing through a memory map, a full disk would be a fatal signal and not
    # an error.
    array = np.empty(shape, np.uint16)
    produce(array)
    with open(path, "wb") as file:
        np.save(file, array)


def make_array_in_parts(
    kind: str, config: dict, shape: tuple[int, ...], size: int, produce: Callable[[int, int], np.ndarray], title: str
) -> np.ndarray:
    """make_array, ``size`` rows at a time. Parts that an interrupted run made are kept, and any number of processes
    that need the array share its parts.

    Args:
        produce: from the first row of a part and the row behind its last to the part, in storage form.
        title: of the progress bar.
    """

    def fill(out: np.ndarray) -> None:
        with settings.progress(total=len(out), title=title) as bar:
            fill_in_parts(kind, config, out, size, produce, bar.update)

    def write(path: Path) -> None:
        _write_array(path, shape, fill)

    def share() -> None:
        settings.note(f"another process is making {title}; taking a part in it")
        _share_parts(kind, config, shape[0], size, produce)

    return np.load(make(kind, config, ".npy", write, share), mmap_mode="r")


def fill_in_parts(
    kind: str,
    config: dict,
    out: np.ndarray,
    size: int,
    produce: Callable[[int, int], np.ndarray],
    done: Callable[[int], None] = lambda rows: None,
) -> None:
    """Fill an array artifact in the making; what make_array_in_parts does as the one process that writes the whole.

    Args:
        produce: from the first row of a part and the row behind its last to the part, as out has it.
        done: called with the number of rows of each part that is there.
    """
    folder = checkpoints(kind, config)
    if not settings.workers()[0]:
        folder.mkdir(parents=True, exist_ok=True)
    left = list(range(0, len(out), size))
    for wait in (False, True):  # first what nobody is at, then what others were at
        for first in left.copy():
            end = min(first + size, len(out))
            if (part := _part(folder, first, end, produce, wait)) is not None:
                out[first:end] = part
                left.remove(first)
                done(end - first)


def _share_parts(kind: str, config: dict, rows: int, size: int, produce: Callable[[int, int], np.ndarray]) -> None:
    """Make parts of an array that another process is making, from the other end, until there is none to be made."""
    folder, key = folder_of(kind, config)
    manifest, parts = folder / f"{key}.json", checkpoints(kind, config)
    parts.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):  # the folder goes when the array is whole
        for first in reversed(range(0, rows, size)):
            if manifest.is_file():
                break
            if not (parts / f"{first}.npy").is_file():
                _part(parts, first, min(first + size, rows), produce, wait=False)
    if manifest.is_file():
        shutil.rmtree(parts, ignore_errors=True)


def _part(folder: Path, first: int, end: int, produce: Callable[[int, int], np.ndarray], wait: bool):
    """A part that is there or that this process makes; None if another is at it and this one is not to wait."""
    file = folder / f"{first}.npy"
    with _claimed(file.with_suffix(".lock"), wait) as mine:
        if file.is_file():
            return np.load(file)
        if not mine:
            return None
        part = produce(first, end)
        if not settings.workers()[0]:
            buffer = io.BytesIO()
            np.save(buffer, part)
            write_atomically(file, buffer.getvalue())
        return part


@contextmanager
def _claimed(lock: Path, wait: bool) -> Iterator[bool]:
    """Whether a part is this process's to make. Workers (devices) make each part together and claim none."""
    if fcntl is None or settings.workers()[1]:
        yield True
        return
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        mine = True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            mine = False
        except OSError as error:
            _check_unsupported(error)
        yield mine
    finally:
        os.close(descriptor)


def make_json(kind: str, config: dict, produce: Callable[[], object]) -> object:
    """An artifact of JSON's types."""
    file = make(kind, config, ".result.json", lambda path: path.write_text(json.dumps(produce())) and None)
    return json.loads(file.read_text())


def folder_of(kind: str, config: dict) -> tuple[Path, str]:
    """Where an artifact lies: its folder, and the key its files are named by."""
    text = json.dumps(config, sort_keys=True)
    return settings.ARTIFACTS / kind, hashlib.sha256(text.encode()).hexdigest()[:16]


def checkpoints(kind: str, config: dict) -> Path:
    """A folder for the checkpoints of an artifact in the making; removed when the artifact is whole."""
    folder, key = folder_of(kind, config)
    return folder / f"{key}.checkpoints"


def _is_whole(file: Path, manifest: Path, config: dict) -> bool:
    try:
        record = json.loads(manifest.read_text())
        return record["config"] == json.loads(json.dumps(config)) and record["sha256"] == sha256_of(file)
    except (OSError, ValueError, KeyError):
        return False
