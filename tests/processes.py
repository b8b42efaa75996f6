"""What the tests do to processes."""

from contextlib import suppress

import psutil


def kill_with_descendants(number: int) -> None:
    """Kill a process and its descendants, including any started during the killing."""
    first, stopped = psutil.Process(number), set()
    while new := {first, *first.children(recursive=True)} - stopped:
        for each in new:
            with suppress(psutil.NoSuchProcess):  # it has ended
                each.suspend()
        stopped |= new
    for each in stopped:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    assert not psutil.wait_procs(stopped, timeout=60)[1]  # their locks end with them
