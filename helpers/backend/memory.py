"""The most memory that this process has held."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from pathlib import Path


def forget_peak() -> None:
    """Reset the peak, so that it counts from now on. Only Linux can do this."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mib() -> int:
    """Return the peak of the resident memory, in MiB."""
    status = Path("/proc/self/status")
    # On Linux getrusage may report the peak of the process that started this one.
    if status.is_file() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(found[1]) // 2**10
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (2**20 if sys.platform == "darwin" else 2**10)
