"""What the tests share that is no fixture."""

from contextlib import contextmanager

from helpers.backend import keras, tf


@contextmanager
def eagerly():
    """Run tf.functions step by step, so that no graph is optimised and every rounding is the same as elsewhere."""
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


def tiny_network(seed: int = 0) -> keras.Model:
    """A classifier of 8x8 images that trains in milliseconds; it has a BatchNorm."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3, strides=4),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(10),
        ],
        name="tiny",
    )
