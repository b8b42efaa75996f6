"""The paper's denoising autoencoder (Table 1), and the defense that puts it before a classifier."""

from __future__ import annotations

from ..attacks import logits_of
from ..backend import keras

layers = keras.layers


def build_autoencoder() -> keras.Model:
    """Build the autoencoder of Table 1: 3x3 kernels, ReLU, a sigmoid at the end, 3,795 parameters.

    It turns float32 images [n, 32, 32, 3] in [0, 1] into images of the same form.
    """
    relu = {"kernel_size": 3, "padding": "same", "activation": "relu"}
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(16, strides=2, name="encode1", **relu),
            layers.Conv2D(8, strides=2, name="encode2", **relu),
            layers.Conv2DTranspose(8, strides=2, name="decode1", **relu),
            layers.Conv2DTranspose(16, strides=2, name="decode2", **relu),
            layers.Conv2D(3, 3, padding="same", activation="sigmoid", name="image"),
        ],
        name="autoencoder",
    )


def defended(autoencoder: keras.Model, classifier: keras.Model) -> keras.Model:
    """Put an autoencoder before a classifier, as one model from images in [0, 1] to logits."""
    images = keras.Input((32, 32, 3))
    logits = logits_of(classifier, logits_of(autoencoder, images))
    return keras.Model(images, logits, name=f"ae_{classifier.name}")
