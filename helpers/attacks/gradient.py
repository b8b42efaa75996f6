"""What all gradient attacks share: the input gradient, the direction of a step, and the projection.

A model is any callable from float32 images [n, h, w, c] in [0, 1] to logits [n, classes]: a classifier, or a
defense followed by one. A Keras model is called in inference mode, where BatchNorm uses its stored
statistics.
"""

from __future__ import annotations

import numpy as np

from ..backend import tf
from ..backend.tracing import Model, gradient_of, logits_of
from . import losses

NORMS = ("linf", "l2")


def input_gradient(
    model: Model, images: tf.Tensor, labels: tf.Tensor, loss: losses.Loss = losses.cross_entropy
) -> tf.Tensor:
    """Return the gradient of the loss at the images; it is NaN where a logit is.

    The loss is summed over the batch, not averaged, so that an image's gradient does not depend on the
    others.

    Raises:
        CourseError: the model cannot be differentiated.
    """
    with tf.GradientTape() as tape:
        tape.watch(images)
        logits = logits_of(model, images)
        total = tf.reduce_sum(loss(labels, logits))
    lost = tf.reduce_any(tf.math.is_nan(logits), 1)
    return tf.where(lost[:, None, None, None], np.nan, gradient_of(total, images, tape))


def steepest(gradient: tf.Tensor, norm: str) -> tf.Tensor:
    """Return the unit-norm direction of steepest ascent: the gradient's sign (linf) or direction (l2)."""
    if norm == "linf":
        return tf.sign(gradient)
    return gradient / tf.sqrt(tf.maximum(_squared_norm(gradient), 1e-30))


def project(moved: tf.Tensor, images: tf.Tensor, eps: tf.Tensor, norm: str) -> tf.Tensor:
    """Project moved images onto the eps-ball around the originals and into [0, 1]."""
    if norm == "linf":
        return tf.clip_by_value(moved, tf.maximum(images - eps, 0.0), tf.minimum(images + eps, 1.0))
    # Clip first: shrinking the change afterwards stays inside [0, 1].
    change = tf.clip_by_value(moved, 0.0, 1.0) - images
    size = tf.sqrt(_squared_norm(change))
    # Ignore an excess that is only rounding error, so that a single step of eps is left unchanged.
    shrink = tf.where(size > eps * (1 + 1e-6), eps / size, 1.0)
    return tf.clip_by_value(images + change * shrink, 0.0, 1.0)


def _squared_norm(images: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.square(images), [1, 2, 3], keepdims=True)
