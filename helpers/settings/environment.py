"""The environment variables of the course: one function for each; no other module reads them."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from .errors import CourseError


def expanded(path: str) -> Path:
    """Return a path in which ``~`` is replaced by the user's home folder.

    A user without one, as in some containers, has none of the files that would lie there: ``~`` stays.
    """
    with suppress(RuntimeError):
        return Path(path).expanduser()
    return Path(path)


def artifacts_dir() -> Path:
    """Return the folder of the artifact store (ARTIFACTS_DIR), by default ``artifacts``.

    A relative path is relative to the course's root.
    """
    return expanded(os.environ.get("ARTIFACTS_DIR") or "artifacts")


def cifar10_dir() -> str | None:
    """Return the folder in which the user keeps CIFAR-10 (CIFAR10_DIR), exactly as given, or None."""
    return os.environ.get("CIFAR10_DIR") or None


def keras_home() -> Path:
    """Return the folder in which Keras keeps its downloads (KERAS_HOME)."""
    return expanded(os.environ.get("KERAS_HOME") or "~/.keras")


def is_offline() -> bool:
    """Return whether downloads are forbidden (COURSE_OFFLINE).

    Raises:
        CourseError: the value is neither 0 nor 1. A word such as "true" must not be taken for "no".
    """
    value = os.environ.get("COURSE_OFFLINE", "")
    if value not in ("", "0", "1"):
        raise CourseError(f"COURSE_OFFLINE is {value!r}; set it to 1, or to 0")
    return value == "1"


def training_precision() -> str:
    """Return the Keras policy with which classifiers are trained (COURSE_PRECISION).

    The default is mixed_bfloat16 on a processor with AMX tiles, where it halved the time of a training step
    of ResNet-20. Elsewhere it is float32, because bfloat16 is emulated there and slow. Evaluation always
    uses float32.

    Raises:
        CourseError: the value is neither float32 nor mixed_bfloat16.
    """
    asked = os.environ.get("COURSE_PRECISION")
    if asked in ("float32", "mixed_bfloat16"):
        return asked
    if asked:
        raise CourseError(f"COURSE_PRECISION is {asked!r}; choose float32 or mixed_bfloat16")
    cpuinfo = Path("/proc/cpuinfo")
    return "mixed_bfloat16" if cpuinfo.is_file() and "amx_bf16" in cpuinfo.read_text() else "float32"


def crafting_precision(profile: str) -> str:
    """Return the Keras policy in which a run crafts FGSM and PGD images.

    A quick run takes training_precision, which is twice as fast where that is bfloat16; any other run takes
    float32. Accuracy is measured in float32, so an image that is broken in bfloat16 only does not count. The
    stronger attacks use float32, because they ask the network which images they have broken.

    Args:
        profile: the name of the run's profile.
    """
    return training_precision() if profile == "quick" else "float32"


def takes_shipped_networks() -> bool:
    """Return whether a full run takes every network that the course ships (COURSE_NETWORKS).

    Raises:
        CourseError: the value is neither ``shipped`` nor empty.
    """
    asked = os.environ.get("COURSE_NETWORKS", "")
    if asked not in ("", "shipped"):
        raise CourseError(f"COURSE_NETWORKS is {asked!r}; set it to shipped, or leave it out")
    return asked == "shipped"


def devices_option() -> str:
    """Return which devices share training and attacks (COURSE_DEVICES).

    Both "" and ``one`` mean a single device. The back end checks the value, because only it knows the devices
    of this machine.
    """
    return os.environ.get("COURSE_DEVICES", "")


def workers() -> tuple[int, list[str]]:
    """Return this process's number among the workers that share its work, and the addresses of all of them.

    Returns:
        The number and the addresses from TF_CONFIG. Without workers: 0 and an empty list.

    Raises:
        CourseError: COURSE_DEVICES is ``workers``, but TF_CONFIG does not describe them.
    """
    if devices_option() != "workers":
        return 0, []
    try:
        given = json.loads(os.environ["TF_CONFIG"])
        addresses, index = given["cluster"]["worker"], int(given["task"]["index"])
        if given["task"]["type"] != "worker" or not 0 <= index < len(addresses):
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise CourseError(
            "COURSE_DEVICES is workers, but TF_CONFIG does not say which: it has to be "
            '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
        ) from None
    return index, addresses


def progress_file() -> str | None:
    """Return the file or terminal that shows progress (COURSE_PROGRESS), or None for this process's own."""
    return os.environ.get("COURSE_PROGRESS") or None


def files_log() -> Path | None:
    """Return the file that lists the artifacts and weight files in use (COURSE_FILES_LOG), or None."""
    log = os.environ.get("COURSE_FILES_LOG")
    return Path(log) if log else None


def shows_tensorflow_log() -> bool:
    """Return whether TensorFlow's own messages are wanted (TF_CPP_MIN_LOG_LEVEL is 0)."""
    return os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0"


def outside_git_hooks() -> dict[str, str]:
    """Return this process's variables but those that a git hook sets, such as GIT_DIR.

    They would make git speak of the repository that the hook runs for.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}


def thread_variables(count: int) -> dict[str, str]:
    """Return the variables with which a new process computes with some threads.

    Args:
        count: the threads of TensorFlow, OpenMP and OpenBLAS. A variable that the user has set stays.
    """
    names = (
        "TF_NUM_INTRAOP_THREADS",
        "TF_NUM_INTEROP_THREADS",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
    )
    return {name: os.environ.get(name) or str(count) for name in names}
