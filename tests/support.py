"""What the tests share that is not a fixture."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from helpers import classifiers, datasets, defenses, settings
from helpers.backend import keras, tf
from helpers.classifiers import registry
from helpers.studies import pictures

TINY = replace(
    settings.PROFILES["smoke"],
    n_train=32,
    n_validation=8,
    n_test=16,
    n_sweep=8,
    ae_epochs=2,
    tune_epochs_final=1,
)
"""A profile for tests that run whole steps of the pipeline."""


@contextmanager
def eagerly():
    """Run tf.functions step by step, so that no graph is optimized and rounding is the same as elsewhere."""
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


class Stopped(Exception):
    """Stands for a kill."""


def grey_levels(n: int, seed: int = 0) -> np.ndarray:
    """Return random stored images of 8 x 8 pixels."""
    return np.random.default_rng(seed).integers(0, 256, (n, 8, 8, 3)).astype(np.uint8)


def without_times(history: list[dict]) -> list[dict]:
    """Return a history without the seconds, which differ from run to run."""
    return [{name: value for name, value in record.items() if name != "seconds"} for record in history]


def numbers(weights) -> list[np.ndarray]:
    """Return copies of weights as arrays."""
    return [np.asarray(weight).copy() for weight in weights]


def assert_same_end(one, other):
    """Check that two trainings, each (weights, history, ...), ended alike."""
    for a, b in zip(one[0], other[0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert one[1] == other[1]


def small_classifier() -> keras.Model:
    """Return an untrained classifier of 32x32 images, which is fast to attack and to train."""
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Conv2D(8, 5, strides=2),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(16, 3, strides=2),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10),
        ]
    )


@contextmanager
def small_in_registry(**changes):
    """Register small_classifier under the name ``small`` for a while."""
    entry = registry.Network("Small", small_classifier, {"patches10": 2}, **changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.MODELS, "small", entry)
        yield entry


@contextmanager
def small_systems():
    """Yield small_classifier, untrained, and the same behind an autoencoder that blurs."""
    with small_in_registry():
        keras.utils.set_random_seed(0)
        classifier = classifiers.build("small", datasets.CIFAR_MEAN, datasets.CIFAR_STD)
        layers = keras.layers
        blur = keras.Sequential(
            [keras.Input((32, 32, 3)), layers.AveragePooling2D(2), layers.UpSampling2D(2)]
        )
        models = {"none": classifier, "ae": defenses.defended(blur, classifier)}
        yield pictures.Systems(datasets.CIFAR_CLASSES, models)
