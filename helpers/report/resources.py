"""What processes take: memory and processor time."""

from __future__ import annotations

import os
import threading

import psutil


def processor_seconds() -> float:
    """Return the processor time of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def resident_mib(processes: list[psutil.Process]) -> int:
    """Return the resident memory of some processes; what they share counts for each."""
    total = 0
    for process in processes:
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total // 2**20


class PeakMemory:
    """Measure the peak resident memory of this process's children, such as a kernel and its workers.

    Args:
        whole: whether this process counts too.
    """

    def __init__(self, whole: bool = False):
        self.peak_mib, self._whole = 0, whole

    def __enter__(self) -> PeakMemory:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while True:
            processes = me.children(recursive=True) + ([me] if self._whole else [])
            self.peak_mib = max(self.peak_mib, resident_mib(processes))
            if self._stop.wait(0.25):
                return
