"""Which tree, which libraries and which machine produced a result."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
from importlib.metadata import version

from . import settings

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
