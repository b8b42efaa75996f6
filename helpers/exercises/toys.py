"""Small networks and images on which the checks try answers.

Nothing is trained or downloaded, and no global seed is set: a check must not change the random numbers of a
student's next cell.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from ..backend import keras, tf

layers = keras.layers


@cache
def images(n: int = 24) -> np.ndarray:
    """Draw images of grey levels k/255, with 0 and 1 among them: float32 [n, 32, 32, 3] in [0, 1]."""
    values = np.random.default_rng(0).integers(-20, 276, (n, 32, 32, 3)).clip(0, 255)
    return values.astype(np.float32) / np.float32(255)


@cache
def network(confidence: float = 1.0) -> keras.Model:
    """Build a convolutional classifier whose BatchNorm statistics matter: [n, 32, 32, 3] to logits [n, 10].

    Args:
        confidence: a factor of the logits. With 1 the largest probability is about 0.9. With 40 the
            cross-entropy of probabilities clipped to [1e-7, 1 - 1e-7] has no gradient. With 3000 that of
            logits has none either.
    """
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(8, 3, strides=2, activation="relu"),
            layers.BatchNormalization(),
            layers.Conv2D(8, 3, strides=2, activation="relu"),
            layers.Flatten(),
            layers.Dense(10),
        ],
        name="toy",
    )
    rng = np.random.default_rng(1)
    model.set_weights(
        [rng.normal(0, 1, w.shape) / np.sqrt(max(1, np.prod(w.shape[:-1]))) for w in model.get_weights()]
    )
    norm, dense = model.layers[1], model.layers[-1]
    norm.set_weights([np.ones(8), np.zeros(8), rng.normal(0.3, 0.1, 8), rng.uniform(0.01, 0.05, 8)])
    logits = np.asarray(model(images(), training=False))
    scale = confidence * 2.5 / logits.std(1).mean()
    kernel, _ = dense.get_weights()
    dense.set_weights([kernel * scale, -logits.mean(0) * scale])  # centred, so that no class wins every image
    return model


@cache
def linear(confidence: float = 1.0) -> keras.Model:
    """Build a linear classifier without BatchNorm: [n, 32, 32, 3] to logits [n, 10].

    Args:
        confidence: a factor of the logits, whose standard deviation is 3 times this.
    """
    model = keras.Sequential(
        [keras.Input((32, 32, 3)), layers.Flatten(), layers.Dense(10)], name="toy_linear"
    )
    kernel = np.random.default_rng(8).normal(0, 1, (3072, 10))
    logits = images().reshape(-1, 3072) @ kernel
    scale = confidence * 3 / logits.std()
    model.set_weights([kernel * scale, -logits.mean(0) * scale])
    return model


def answers(model: keras.Model, x: np.ndarray) -> np.ndarray:
    """Return the class that the model gives each image: int32 [n]."""
    return np.asarray(model(tf.constant(x, tf.float32), training=False)).argmax(1).astype(np.int32)


@cache
def labels() -> np.ndarray:
    """Return labels for images(), int32 [n]: network()'s answers, but for every third image another class."""
    right = answers(network(), images())
    return np.where(np.arange(len(right)) % 3 == 2, (right + 4) % 10, right).astype(np.int32)


def losses(model: keras.Model, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the cross-entropy of each image, float64 [n]."""
    logits = np.asarray(model(tf.constant(x, tf.float32), training=False), np.float64)
    logits -= logits.max(1, keepdims=True)
    return np.log(np.exp(logits).sum(1)) - logits[np.arange(len(y)), y]
