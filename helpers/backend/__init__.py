"""TensorFlow and its Keras 2, imported without the messages that they print at start-up.

Set TF_CPP_MIN_LOG_LEVEL=0 to see those messages, for instance when a GPU is not found. COURSE_DEVICES says
which devices share training and attacks (devices.py). That has to be settled here, before TensorFlow's first
operation.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from ..settings import CourseError, devices_option, is_noise, note, shows_tensorflow_log, workers


@contextmanager
def _muted() -> Iterator[None]:
    """Hold back what is written to file descriptor 2, by C++ code too, and then print all but the noise.

    If something fails, everything is printed.
    """
    if shows_tensorflow_log():
        yield
        return
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        kept, failed = os.dup(2), True
        os.dup2(held.fileno(), 2)
        try:
            yield
            failed = False
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            held.seek(0)
            lines = [line for line in held if failed or not is_noise(line)]
            os.write(2, b"".join(lines))


def _mirrored(count: str) -> None:
    """Copy every variable to several devices of this machine: its GPUs, or as many parts of its CPU.

    Args:
        count: the number of devices; "" for all GPUs.

    Raises:
        CourseError: there are fewer GPUs, or there is none and no number was given.
    """
    gpus = tf.config.list_physical_devices("GPU")
    number = int(count or len(gpus))
    if not number or (gpus and number > len(gpus)):
        raise CourseError(
            f"COURSE_DEVICES is mirrored:{count or 'all'}, but there are {len(gpus)} GPUs; for parts of the "
            "CPU say how many (mirrored:2)"
        )
    if not gpus:
        parts = [tf.config.LogicalDeviceConfiguration()] * number
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
    names = [f"{'GPU' if gpus else 'CPU'}:{k}" for k in range(number)]
    tf.distribute.experimental_set_strategy(tf.distribute.MirroredStrategy(names))


def _start(option: str) -> None:
    """Create the devices and, if there are several, set the strategy for everything that follows.

    Args:
        option: the value of COURSE_DEVICES.

    Raises:
        CourseError: the option is unknown, or this is a notebook, which runs on one device.
    """
    if option not in ("", "one") and "ipykernel" in sys.modules:
        raise CourseError(
            f"COURSE_DEVICES is {option}, but notebooks run on one device: leave it out. They find in the "
            "store what python -m helpers train and measure have made on many"
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
if _addresses:  # before the output is muted, because waiting may take long
    note(f"worker {_worker} of {len(_addresses)}, waiting for the others: {', '.join(_addresses)}")

with _muted():
    import tensorflow as tf

    _start(devices_option())

tf.get_logger().setLevel("ERROR")
keras = tf.keras

__all__ = ["keras", "tf"]
