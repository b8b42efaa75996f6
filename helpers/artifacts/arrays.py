"""Read arrays from files that others may have written, without trusting the sizes that the files declare."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from ..settings import CourseError, one_line

LARGEST = 2 << 30
"""The size in bytes above which the arrays of one file are not read: that of half a billion weights."""


def load_npz(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of an ``.npz`` file: numbers, booleans and text, but no objects.

    Raises:
        FileNotFoundError: there is no such file.
        CourseError: it is damaged, of another kind, or would take more memory than LARGEST.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > LARGEST:
                raise ValueError(f"its arrays have more than {LARGEST >> 30} GiB")
            names = {member.filename for member in members}
            if len(names) < len(members) or max(map(len, names), default=0) > 100:
                raise ValueError("its arrays have names that are long or not different")
            found = {}
            for member in members:
                with archive.open(member) as file:
                    found[member.filename.removesuffix(".npy")] = _read(file, member.file_size)
            return found
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged archive can raise nearly anything
        raise _damaged(path, error) from error


def load_npy(path: Path, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Read an ``.npy`` file as a memory map.

    Args:
        path: the file.
        shape: that it must have.
        dtype: that it must have.

    Raises:
        FileNotFoundError: there is no such file.
        CourseError: it is damaged, or an array of another kind.
    """
    try:
        array = np.load(path, mmap_mode="r")
        if array.shape != shape or array.dtype != dtype:
            raise ValueError(f"it holds {array.dtype} of shape {array.shape}")
        return array
    except FileNotFoundError:
        raise
    except Exception as error:  # as for load_npz
        raise _damaged(path, error) from error


def _read(file: IO[bytes], size: int) -> np.ndarray:
    """Read one array, if its header declares as many bytes as there are."""
    version = np.lib.format.read_magic(file)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, by_columns, dtype = read_header[version](file)
    content = file.read(size)
    count = 1
    for length in shape:
        count *= length
    if dtype.kind not in "biufU" or dtype.itemsize * count != len(content):
        raise ValueError(f"it has an array of {dtype} that is not as long as it says")
    if dtype.itemsize == 0:
        return np.empty(shape, dtype)
    return np.frombuffer(content, dtype).reshape(shape, order="F" if by_columns else "C").copy()


def _damaged(path: Path, error: Exception) -> CourseError:
    return CourseError(
        f"{path.parent.name}/{path.name} is damaged or of another kind ({one_line(error)}); delete it, "
        "and it is made again, or restore it (git checkout, for a file of the course)"
    )
