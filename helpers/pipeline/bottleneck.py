"""How much of an autoencoder's bottleneck is in use."""

from __future__ import annotations

import numpy as np

from .. import evaluation
from ..backend import keras, tf
from ..datasets import Split
from ..defenses.codebook import codebook_of

IMAGES = 500
"""Clean validation images on which a channel must be active once."""


def bottleneck_of(model: keras.Model) -> tf.Tensor | None:
    """Return the bottleneck of an autoencoder of Table 1's family: what its first enlarging layer takes.

    Return None for any other: one with a codebook, with a skip connection around the bottleneck, without
    weights, or without a layer that reduces the size.
    """
    one_path = all(hasattr(layer, "input") and not isinstance(layer.input, list) for layer in model.layers)
    if not one_path or not model.trainable_weights or codebook_of(model) is not None:
        return None
    images = [layer for layer in model.layers if len(layer.input.shape) == len(layer.output.shape) == 4]
    return next((layer.input for layer in images if layer.output.shape[1] > layer.input.shape[1]), None)


def active_channels(model: keras.Model, images: np.ndarray) -> tuple[int, int]:
    """Return how many channels of the bottleneck are active, and how many there are.

    A channel is dead if it is 0 everywhere in all of the images. A dead channel passes nothing on, and no
    gradient revives it.

    Args:
        model: An autoencoder of Table 1's family (bottleneck_of).
        images: float32 [n, 32, 32, 3] in [0, 1], or stored images.
    """
    values = evaluation.predict(keras.Model(model.input, bottleneck_of(model)), images)
    return int((values != 0).any((0, 1, 2)).sum()), values.shape[-1]


def channels_told(model: keras.Model, held_out: Split) -> str:
    """Say how many channels of an autoencoder's bottleneck are active on clean images; "" if it has none.

    Args:
        model: any autoencoder.
        held_out: clean images, of which the first IMAGES are taken.
    """
    if bottleneck_of(model) is None:
        return ""
    images = held_out.head(IMAGES).pixels
    active, there = active_channels(model, images)
    dead = f"; {there - active} dead, which pass nothing on" if active < there else ""
    return f"{active} of {there} channels of the bottleneck are active on {len(images)} clean images{dead}."


def autoencoder_in(model: keras.Model) -> keras.Model | None:
    """Return the autoencoder of Table 1's family before a classifier, or None if there is none."""
    parts = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    return next((part for part in parts if bottleneck_of(part) is not None), None)
