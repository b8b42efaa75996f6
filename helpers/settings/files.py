"""Writing files so that each is there whole or not at all."""

from __future__ import annotations

import errno
import os
import uuid
from contextlib import suppress
from pathlib import Path

from .errors import CourseError


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, then rename it.

    Raises:
        CourseError: the disk is full or read-only; the message names the file.
    """
    # Not named by the process's number: two machines of a cluster that share the disk may have the same one.
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(scratch, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except OSError as error:
        with suppress(OSError):
            scratch.unlink()
        raise cannot_write(path, error) from error


def disk_is_full(error: Exception) -> bool:
    """Return whether an error means that there is no space left."""
    # NumPy reports a short write in its own words, without an error number.
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "requested and" in str(error)


def cannot_write(path: Path, error: OSError) -> CourseError:
    """Return the error for a file that could not be written."""
    full = disk_is_full(error)
    why = "the disk is full" if full else error.strerror or str(error)
    return CourseError(
        f"cannot write {path.name} in {path.parent.name}/: {why}. "
        + ("Free some space (make clean removes artifacts/) or set" if full else "Set")
        + " ARTIFACTS_DIR to another disk; finished steps are kept"
    )
