"""TensorFlow and its Keras 2, imported without the notes that they write to stderr at start-up.

Set TF_CPP_MIN_LOG_LEVEL=0 to see those notes, for instance when a GPU is not found.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _muted() -> Iterator[None]:
    """Send what is written to file descriptor 2, by C++ too, nowhere for a while."""
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
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


with _muted():
    import tensorflow as tf

    tf.config.list_physical_devices()
    tf.zeros([1])  # creates the devices, which is when a machine without a GPU complains

tf.get_logger().setLevel("ERROR")
keras = tf.keras

__all__ = ["keras", "tf"]
