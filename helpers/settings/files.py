"""Writing files so that each is there whole or not at all, and reading those that others may have written."""

from __future__ import annotations

import errno
import json
import math
import os
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from .errors import CourseError
from .wording import one_line


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


LARGEST_JSON = 64 << 20
"""The size in bytes above which a JSON file is not read; the course's are far below 1 MiB."""


def read_json(path: Path, kind: type = dict, finite: bool = True) -> Any:
    """Read a JSON file.

    Args:
        path: the file.
        kind: the type of the value; ``object`` admits any.
        finite: whether infinities and NaN are refused.

    Raises:
        FileNotFoundError: there is no such file.
        CourseError: it cannot be read, is no JSON, or holds a value of another kind.
    """
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise ValueError(f"it has more than {LARGEST_JSON >> 20} MiB")
        number = _finite if finite else float
        value = json.loads(path.read_bytes(), parse_float=number, parse_constant=number)
        if not isinstance(value, kind):
            raise ValueError(f"it holds {type(value).__name__}, not {kind.__name__}")
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else one_line(error)
        raise CourseError(
            f"{path.parent.name}/{path.name} is damaged or of another kind ({why}); restore it "
            "(git checkout, for a file of the course) or make it again"
        ) from error
    return value


def _finite(text: str) -> float:
    """Return the number that a text of JSON means."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is not a finite number")
    return number


def find_file(text: str | Path) -> Path | None:
    """Return the file that a user names, or None if there is none; ``~`` is the home folder."""
    try:
        path = Path(text).expanduser()
        return path if path.is_file() else None
    except (OSError, ValueError, RuntimeError):  # a name too long, a null character, no such user
        return None
