"""What a model answers, and whether its answers are correct."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..attacks import Model
from ..backend import keras, tf
from ..datasets.storage import to_float
from ..settings import CourseError


def predict(model: Model, images: np.ndarray, batch_size: int = 250) -> np.ndarray:
    """Run a model on images, batch by batch.

    Args:
        model: a Keras model or any callable; a classifier or an autoencoder.
        images: float32 [n, h, w, c] in [0, 1], or in storage form (uint8 or uint16), memory-mapped or not.
        batch_size: images in a batch.

    Returns:
        The outputs (a classifier's logits, an autoencoder's images), float32 [n, ...].

    Raises:
        CourseError: there are no images.
    """
    if not len(images):
        raise CourseError("there are no images to classify")
    outputs = []
    call: Callable = model.predict_on_batch if isinstance(model, keras.Model) else model
    for first in range(0, len(images), batch_size):
        batch = images[first : first + batch_size]
        batch = batch.astype(np.float32) if np.issubdtype(batch.dtype, np.floating) else to_float(batch)
        # Fill up a smaller batch with copies: tracing the graph for another shape would take longer.
        padded = np.pad(batch, [(0, batch_size - len(batch))] + [(0, 0)] * (batch.ndim - 1), mode="edge")
        outputs.append(np.asarray(call(tf.constant(padded)))[: len(batch)])
    return np.concatenate(outputs)


def is_correct(model: Model, images: np.ndarray, labels: np.ndarray, batch_size: int = 250) -> np.ndarray:
    """Return which images the model classifies correctly.

    Args:
        model: a classifier, as for predict.
        images: as for predict.
        labels: integers [n].
        batch_size: images in a batch.

    Returns:
        Booleans [n].

    Raises:
        CourseError: images and labels do not match, or there are none.
    """
    if np.shape(labels) != (len(images),):
        raise CourseError(f"{len(images)} images and labels {np.shape(labels)} do not match")
    return predict(model, images, batch_size).argmax(1) == labels
