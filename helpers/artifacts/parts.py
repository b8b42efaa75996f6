"""Arrays that are made in parts: an interrupted run keeps its parts, and processes share the work."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path

import numpy as np

from .. import settings
from ..settings import CourseError
from . import locks, store
from .arrays import load_npy

Produce = Callable[[int, int], np.ndarray]
"""Makes the rows from the first index up to the second, which is left out, in storage form."""


def make_array_in_parts(
    kind: str, config: dict, shape: tuple[int, ...], size: int, produce: Produce, title: str
) -> np.ndarray:
    """Return an array as make_array does, made ``size`` rows at a time.

    Parts that an interrupted run made are kept. Any number of processes that need the array share its parts.

    Args:
        kind: as in make.
        config: as in make.
        shape: of the array.
        size: the number of rows in a part.
        produce: makes a part.
        title: of the progress bar.
    """

    def fill(out: np.ndarray) -> None:
        with settings.progress(total=len(out), title=title) as bar:
            fill_in_parts(kind, config, out, size, produce, bar.update)

    def write(path: Path) -> None:
        store.write_array(path, shape, fill)

    def share() -> None:
        settings.note(f"another process is making {title}; sharing the work")
        _share_parts(kind, config, shape, size, produce)

    return load_npy(store.make(kind, config, ".npy", write, share).path, shape, np.uint16)


def fill_in_parts(
    kind: str,
    config: dict,
    out: np.ndarray,
    size: int,
    produce: Produce,
    done: Callable[[int], None] = lambda rows: None,
) -> None:
    """Fill an array in parts, as the one process that will write the whole array.

    Args:
        kind: as in make.
        config: as in make.
        out: the array.
        size: the number of rows in a part.
        produce: makes a part.
        done: called with the number of rows of each finished part.
    """
    folder = store.checkpoints(kind, config)
    if not settings.workers()[0]:
        folder.mkdir(parents=True, exist_ok=True)
    left = list(range(0, len(out), size))
    for wait in (False, True):  # first the parts that nobody is making, then those that others were making
        for first in left.copy():
            end = min(first + size, len(out))
            if (part := _part(folder, first, (end - first, *out.shape[1:]), produce, wait)) is not None:
                out[first:end] = part
                left.remove(first)
                done(end - first)


def _share_parts(kind: str, config: dict, shape: tuple[int, ...], size: int, produce: Produce) -> None:
    """Make parts of an array that another process is making, from the other end, until none is left."""
    folder, key = store.folder_of(kind, config)
    manifest, parts = folder / f"{key}.json", store.checkpoints(kind, config)
    parts.mkdir(parents=True, exist_ok=True)

    def produce_unless_whole(first: int, end: int) -> np.ndarray:
        if manifest.is_file():  # the other process has just removed the parts
            raise FileNotFoundError
        return produce(first, end)

    with suppress(FileNotFoundError):  # the folder is removed when the array is whole
        for first in reversed(range(0, shape[0], size)):
            if manifest.is_file():
                break
            if not (parts / f"{first}.npy").is_file():
                rows = min(size, shape[0] - first)
                _part(parts, first, (rows, *shape[1:]), produce_unless_whole, wait=False)
    if manifest.is_file():
        shutil.rmtree(parts, ignore_errors=True)


def _part(
    folder: Path, first: int, shape: tuple[int, ...], produce: Produce, wait: bool
) -> np.ndarray | None:
    """Return a part, made by this process if need be.

    Returns None if another process is making it and ``wait`` is False.
    """
    file = folder / f"{first}.npy"
    number, workers = settings.workers()
    # Workers (devices) make each part together, so none of them claims it.
    with nullcontext(True) if workers else locks.claimed(file.with_suffix(".lock"), wait) as mine:
        with suppress(FileNotFoundError, CourseError):  # a damaged part is made again
            return load_npy(file, shape, np.uint16)
        if not mine:
            return None
        part = produce(first, first + shape[0])
        if not number:
            buffer = io.BytesIO()
            np.save(buffer, part)
            settings.write_atomically(file, buffer.getvalue())
        return part
