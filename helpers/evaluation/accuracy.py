"""What a model answers, and whether its answers are correct."""

from __future__ import annotations

import numpy as np

from ..attacks import Model, answers_of, checks, logits_of
from ..backend import keras, tf
from ..backend.tracing import traced
from ..datasets.storage import to_float


def predict(model: Model, images: np.ndarray, batch_size: int = 250) -> np.ndarray:
    """Run a model on images, batch by batch.

    Args:
        model: a Keras model or any callable; a classifier or an autoencoder.
        images: float32 [n, h, w, c] in [0, 1], or in storage form (uint8 or uint16), memory-mapped or not.
        batch_size: images in a batch.

    Returns:
        The outputs (a classifier's logits, an autoencoder's images), float32 [n, ...].

    Raises:
        CourseError: the images have another form, or the model cannot be called.
    """
    checks.check_callable(model)
    return outputs(model, checks.check_images(images, stored=True), batch_size)


def outputs(model: Model, images: np.ndarray, batch_size: int) -> np.ndarray:
    """Return what ``predict`` returns, for images that may leave [0, 1].

    A Keras model runs as a graph. A function runs as it is, so that it may use NumPy.
    """
    is_keras = isinstance(model, keras.Model)
    call = traced(model, _as_float(images[:1])).graph(logits_of) if is_keras else model
    found = []
    for first in range(0, len(images), batch_size):
        batch = _as_float(images[first : first + batch_size])
        # Fill up a smaller batch with copies: tracing the graph for another shape would take longer.
        padded = np.pad(batch, [(0, batch_size - len(batch))] + [(0, 0)] * (batch.ndim - 1), mode="edge")
        found.append(np.asarray(call(tf.constant(padded)), np.float32)[: len(batch)])
    return np.concatenate(found)


def is_correct(model: Model, images: np.ndarray, labels: np.ndarray, batch_size: int = 250) -> np.ndarray:
    """Return which images the model classifies correctly. An answer that holds a NaN is wrong.

    Args:
        model: a classifier, as for predict.
        images: as for predict.
        labels: integers [n].
        batch_size: images in a batch.

    Returns:
        Booleans [n].

    Raises:
        CourseError: images, labels or the model's outputs are not what an attack accepts (checks.py).
    """
    images = checks.check_images(images, stored=True)
    checks.check_labels(labels, len(images))
    checks.check_callable(model)
    logits = outputs(model, images, batch_size)
    checks.check_classes(logits[:1], labels)
    checks.check_logits(logits[:1])
    return answers_of(logits) == np.asarray(labels)


def _as_float(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32) if images.dtype.kind == "f" else to_float(images)
