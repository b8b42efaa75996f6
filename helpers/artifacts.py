"""The store of intermediate results: the same configuration is computed once.

An artifact is a file and a manifest beside it. The manifest holds the configuration, the checksums of what went in
and the checksum of what came out, and is written last; a run that is killed leaves either a whole artifact or none.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import io
import json
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import numpy as np

from . import settings
from .datasets import sha256_of
from .settings import cannot_write, write_atomically


def code_version(*modules: ModuleType) -> str:
    """A checksum of what modules do: of their syntax trees, so that comments and docstrings do not count.

    Part of every configuration: whoever edits an attack gets new images, not yesterday's.
    """
    digest = hashlib.sha256()
    for module in modules:
        tree = ast.parse(inspect.getsource(module))
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list):
                node.body = [n for n in body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()[:12]


def make(kind: str, config: dict, suffix: str, produce: Callable[[Path], None]) -> Path:
    """The artifact of this configuration, computed only if it is not there whole.

    Args:
        kind: a folder's name.
        config: everything the result depends on, in JSON's types.
        suffix: of the file, with its dot.
        produce: writes the result to the path that it is given.

    Returns:
        The file's path.

    Raises:
        CourseError: no space for the file; what was finished before is kept.
    """
    folder, key = folder_of(kind, config)
    file, manifest = folder / f"{key}{suffix}", folder / f"{key}.json"
    if _is_whole(file, manifest, config):
        return file
    scratch = folder / f".{key}.{os.getpid()}{suffix}"
    start = time.perf_counter()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        produce(scratch)
        os.replace(scratch, file)
    except OSError as error:
        raise cannot_write(file, error) from error
    finally:
        with suppress(OSError):
            scratch.unlink()
    record = {
        "config": config,
        "sha256": sha256_of(file),
        "seconds": round(time.perf_counter() - start, 2),
    }
    write_atomically(manifest, json.dumps(record, indent=1, sort_keys=True).encode())
    shutil.rmtree(checkpoints(kind, config), ignore_errors=True)
    return file


def make_array(kind: str, config: dict, shape: tuple[int, ...], produce: Callable[[np.ndarray], None]) -> np.ndarray:
    """An array artifact of images in [0, 1], kept as uint16 (k means k/65535) and memory-mapped when read.

    65535 is 255 x 257: a clean or FGSM image, whose values are multiples of 1/255, is kept exactly, and any other is
    moved by 1/131070 at most, a 250th of a grey level.

    Args:
        produce: fills the uint16 array that it is given, a part at a time (see to_uint16).
    """

    def write(path: Path) -> None:
        # In memory first (50,000 images: 0.3 GB). Writing through a memory map, a full disk would be a fatal signal and
        # not an error.
        array = np.empty(shape, np.uint16)
        produce(array)
        with open(path, "wb") as file:
            np.save(file, array)

    return np.load(make(kind, config, ".npy", write), mmap_mode="r")


def fill_in_parts(
    kind: str,
    config: dict,
    out: np.ndarray,
    size: int,
    produce: Callable[[int, int], np.ndarray],
    done: Callable[[int], None] = lambda rows: None,
) -> None:
    """Fill an array artifact in the making, ``size`` rows at a time; parts that an interrupted run made are kept.

    Args:
        produce: from the first row of a part and the row behind its last to the part, as out has it.
        done: called with the number of rows of each part that is there.
    """
    folder = checkpoints(kind, config)
    for first in range(0, len(out), size):
        end, file = min(first + size, len(out)), folder / f"{first}.npy"
        if not file.is_file():
            buffer = io.BytesIO()
            np.save(buffer, produce(first, end))
            write_atomically(file, buffer.getvalue())
        out[first:end] = np.load(file)
        done(end - first)


def make_json(kind: str, config: dict, produce: Callable[[], object]) -> object:
    """An artifact of JSON's types."""
    file = make(kind, config, ".result.json", lambda path: path.write_text(json.dumps(produce())) and None)
    return json.loads(file.read_text())


def to_uint16(images: np.ndarray) -> np.ndarray:
    """Images in [0, 1] in storage form."""
    return np.rint(np.asarray(images, np.float64) * 65535).astype(np.uint16)


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
