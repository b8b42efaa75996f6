"""Tensors that share the memory of arrays, and those that cannot."""

import numpy as np
import pytest

from helpers import training
from helpers.backend import arrays, tf


@pytest.mark.parametrize("shape", [(128, 32, 32, 3), (1, 3), (5, 32, 32, 3), (0, 4)])
def test_an_aligned_array_becomes_a_tensor_without_a_copy(shape):
    array = arrays.empty(shape)
    array[...] = np.random.default_rng(0).random(shape)
    tensor = arrays.tensor(array)
    assert array.dtype == np.float32 and array.shape == shape
    np.testing.assert_array_equal(tensor.numpy(), array)
    if array.size:
        assert array.ctypes.data % arrays.ALIGNMENT == 0
        array[...] = 7
        assert (tensor.numpy() == 7).all(), "it shares the memory"


def test_the_memory_lives_as_long_as_the_tensor():
    def made(k):
        array = arrays.empty((128, 32, 32, 3))
        array[...] = k
        return arrays.tensor(array)

    tensors = [made(k) for k in range(20)]
    assert [float(tf.reduce_max(tensor)) for tensor in tensors] == list(range(20))


def test_other_arrays_are_copied():
    whole = arrays.empty((8, 16))
    whole[...] = np.arange(128).reshape(8, 16)
    frozen = whole.copy()
    frozen.flags.writeable = False
    labels = np.arange(4, dtype=np.int32)
    for array in (whole[:, ::2], whole[:, 1:], whole.T, whole.ravel()[1:], frozen, labels, np.float32(3)):
        array = np.asarray(array)
        tensor = arrays.tensor(array)
        assert tensor.dtype == array.dtype
        np.testing.assert_array_equal(tensor.numpy(), array)


def test_the_batches_of_a_training_are_shared():
    stored = np.random.default_rng(0).integers(0, 65536, (40, 32, 32, 3)).astype(np.uint16)
    batches = training.Samples([stored, stored], stored.astype(np.uint8)).batches(16, 0, 0)
    for part in next(batches):
        tensor = arrays.tensor(part)
        part[...] = 0
        assert not tensor.numpy().any()
