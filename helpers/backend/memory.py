"""The most memory that this process has held."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from pathlib import Path


def forget_peak() -> None:
    """Count from now on; only Linux can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mib() -> int:
    """The peak of the resident memory, in MiB."""
    status = Path("/proc/self/status")
    if status.is_file():  # on Linux getrusage's number may be that of the process that started this one
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) // 2**10
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (2**20 if sys.platform == "darwin" else 2**10)
