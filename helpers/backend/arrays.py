"""Arrays whose memory tensors share, so that a batch is not copied on its way into TensorFlow."""

from __future__ import annotations

import numpy as np

from . import tf

ALIGNMENT = 64
"""TensorFlow's kernels read memory from multiples of this many bytes, and NumPy promises only 16."""


def empty(shape: tuple[int, ...]) -> np.ndarray:
    """Return a new float32 array whose memory a tensor can share; its values are arbitrary."""
    size = int(np.prod(shape))
    spare = ALIGNMENT // 4
    memory = np.empty(size + spare, np.float32)
    first = -memory.ctypes.data % ALIGNMENT // 4
    return memory[first : first + size].reshape(shape)


def tensor(array: np.ndarray) -> tf.Tensor:
    """Return a tensor of an array that will not be changed any more; it shares the array's memory if it can.

    tf.constant copies an array twice: once to be independent of it, and once to align it. For a batch of an
    autoencoder that took as long as reading the images.
    """
    flags = array.flags
    if array.ctypes.data % ALIGNMENT or not (array.size and flags.c_contiguous and flags.writeable):
        return tf.constant(array)
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
