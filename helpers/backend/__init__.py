"""TensorFlow and its Keras 2, imported without the notes that they write to stderr at start-up.

Set TF_CPP_MIN_LOG_LEVEL=0 to see those notes, for instance when a GPU is not found. COURSE_DEVICES says which devices
training and attacks are shared by (devices.py); that has to be settled here, before TensorFlow's first operation.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ..settings import CourseError, devices_option, note, shows_tensorflow_log, workers


@contextmanager
def _muted() -> Iterator[None]:
    """Send what is written to file descriptor 2, by C++ too, nowhere for a while."""
    if shows_tensorflow_log():
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _mirrored(count: str) -> None:
    """Every variable on several devices of this machine: its GPUs, or as many parts of its CPU."""
    gpus = tf.config.list_physical_devices("GPU")
    number = int(count or len(gpus))
    if not number or (gpus and number > len(gpus)):
        raise CourseError(
            f"COURSE_DEVICES is mirrored:{count or 'all'}, but there are {len(gpus)} GPUs; for parts of the CPU say "
            "how many (mirrored:2)"
        )
    if not gpus:
        parts = [tf.config.LogicalDeviceConfiguration()] * number
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
    names = [f"{'GPU' if gpus else 'CPU'}:{k}" for k in range(number)]
    tf.distribute.experimental_set_strategy(tf.distribute.MirroredStrategy(names))


def _start(option: str) -> None:
    """Create the devices and, unless it is one device, set the strategy that everything from here on runs under."""
    if option not in ("", "one") and "ipykernel" in sys.modules:
        raise CourseError(
            f"COURSE_DEVICES is {option}, but notebooks, in which one computes by hand, run on one device: leave it "
            "out. What python -m helpers train and measure have made on many they find in the store"
        )
    kind, _, count = option.partition(":")
    if kind == "mirrored" and (not count or (count.isdecimal() and int(count))):
        _mirrored(count)
    elif option == "workers":
        tf.distribute.experimental_set_strategy(tf.distribute.MultiWorkerMirroredStrategy())
    elif option not in ("", "one"):
        raise CourseError(
            f"COURSE_DEVICES is {option!r}; there are one, mirrored, mirrored:2 (3, ...) and workers"
        )
    tf.config.list_physical_devices()
    tf.zeros([1])  # creates the devices, which is when a machine without a GPU complains


_worker, _addresses = workers()
if _addresses:  # said now, for it may take long, and what follows is muted
    note(f"worker {_worker} of {len(_addresses)}, waiting for the others: {', '.join(_addresses)}")

with _muted():
    import tensorflow as tf

    _start(devices_option())

tf.get_logger().setLevel("ERROR")
keras = tf.keras

__all__ = ["keras", "tf"]
